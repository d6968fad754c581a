/*
 * Tensors: dtype, two-dimensional shape, row stride, and where the elements live.
 *
 * Everything that a denoising step touches is a matrix of rows (one row per token position of the
 * packed batch); vectors have one row. A tensor either owns its storage (made by
 * um_tensor_create, freed by um_tensor_destroy) or is a view into another one, which must outlive
 * it. `data` is in the backend's memory: the host must not read it except through
 * um_tensor_download, unless um_backend_is_host().
 *
 * Owner thread: the engine's. Not synchronised.
 */
#ifndef UM_KERNELS_TENSOR_H
#define UM_KERNELS_TENSOR_H

#include "core/base/status.h"

typedef struct um_backend um_backend;

typedef enum um_dtype {
    UM_F32,
    UM_BF16, /* high half of a float32, round to nearest even */
    UM_F16,  /* only in checkpoints; widened or rounded at load */
    UM_I32,
    UM_BYTES, /* arrays of plain structs: one element is one byte */
} um_dtype;

size_t um_dtype_bytes(um_dtype dtype);
const char *um_dtype_name(um_dtype dtype); /* "f32", "bf16", ... */

typedef struct um_tensor {
    um_dtype dtype;
    int64_t rows;
    int64_t cols;
    int64_t stride; /* elements between the starts of neighbouring rows, >= cols */
    void *data;     /* backend memory */
    size_t bytes;   /* > 0: this tensor owns `data` of that size; 0: a view */
} um_tensor;

/* Zeroed storage in the backend's memory. UM_E_NOMEM. */
um_status um_tensor_create(um_backend *backend, um_dtype dtype, int64_t rows, int64_t cols,
                           um_tensor *out, um_err *err);
void um_tensor_destroy(um_backend *backend, um_tensor *tensor);

/* Rows [row, row+rows) and columns [col, col+cols) of a tensor, without copying. */
um_tensor um_tensor_view(const um_tensor *tensor, int64_t row, int64_t rows, int64_t col,
                         int64_t cols);
/* Memory seen as a tensor (checkpoint data, a part of a larger block, test fixtures). Contiguous; a
 * view. */
um_tensor um_tensor_host(um_dtype dtype, int64_t rows, int64_t cols, const void *data);

/* Copies `count` elements from or to the start of a contiguous tensor. */
um_status um_tensor_upload(um_backend *backend, const um_tensor *to, const void *from,
                           int64_t count, um_err *err);
um_status um_tensor_download(um_backend *backend, const um_tensor *from, void *to, int64_t count,
                             um_err *err);

/* Address of an element in host memory (ref and cpu backends, tests). */
static inline float *um_f32_row(const um_tensor *t, int64_t row)
{
    return (float *)t->data + row * t->stride;
}
static inline uint16_t *um_bf16_row(const um_tensor *t, int64_t row)
{
    return (uint16_t *)t->data + row * t->stride;
}
static inline int32_t *um_i32_row(const um_tensor *t, int64_t row)
{
    return (int32_t *)t->data + row * t->stride;
}

/* bf16 <-> f32 and f16 -> f32, the one definition of rounding in the tree (nearest, ties to even;
 * NaN stays NaN). */
static inline float um_bf16_to_f32(uint16_t half)
{
    union {
        uint32_t bits;
        float value;
    } u = {.bits = (uint32_t)half << 16};
    return u.value;
}
static inline uint16_t um_f32_to_bf16(float value)
{
    union {
        float value;
        uint32_t bits;
    } u = {.value = value};
    if ((u.bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((u.bits >> 16) | 0x0040u);
    return (uint16_t)((u.bits + 0x7fffu + ((u.bits >> 16) & 1u)) >> 16);
}
float um_f16_to_f32(uint16_t half);

/* `count` host elements of f32, bf16 or f16 widened exactly. */
void um_widen(um_dtype dtype, const void *from, float *to, int64_t count);
/* The same into f32 (exactly) or bf16 (rounded once). */
void um_convert(um_dtype from_dtype, const void *from, um_dtype to_dtype, void *to, int64_t count);

#endif
