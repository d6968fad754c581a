/*
 * Tensors: sizes, ownership, views and copies; conversion from checkpoint dtypes. Memory itself is
 * the backend's.
 */
#include "kernels/tensor.h"

#include <string.h>

#include "core/base/mem.h"
#include "kernels/ops_table.h"

size_t um_dtype_bytes(um_dtype dtype)
{
    switch (dtype) {
    case UM_F32:
    case UM_I32:
        return 4;
    case UM_BF16:
    case UM_F16:
        return 2;
    case UM_BYTES:
        return 1;
    }
    UM_FATAL("unknown dtype");
}

const char *um_dtype_name(um_dtype dtype)
{
    switch (dtype) {
    case UM_F32:
        return "f32";
    case UM_BF16:
        return "bf16";
    case UM_F16:
        return "f16";
    case UM_I32:
        return "i32";
    case UM_BYTES:
        return "bytes";
    }
    UM_FATAL("unknown dtype");
}

um_status um_tensor_create(um_backend *backend, um_dtype dtype, int64_t rows, int64_t cols,
                           um_tensor *out, um_err *err)
{
    um_tensor tensor = {.dtype = dtype, .rows = rows, .cols = cols, .stride = cols};
    size_t elements;

    UM_ASSERT(rows > 0);
    UM_ASSERT(cols > 0);
    *out = (um_tensor){0};
    if (um_mem_mul((size_t)rows, (size_t)cols, &elements) &&
        um_mem_mul(elements, um_dtype_bytes(dtype), &tensor.bytes))
        tensor.data = backend->ops->alloc(backend, tensor.bytes);
    if (!tensor.data)
        return um_fail(err, UM_E_NOMEM, "no memory for a tensor of %lld x %lld %s", (long long)rows,
                       (long long)cols, um_dtype_name(dtype));
    *out = tensor;
    return UM_OK;
}

void um_tensor_destroy(um_backend *backend, um_tensor *tensor)
{
    if (tensor->bytes)
        backend->ops->release(backend, tensor->data, tensor->bytes);
    *tensor = (um_tensor){0};
}

um_tensor um_tensor_view(const um_tensor *tensor, int64_t row, int64_t rows, int64_t col,
                         int64_t cols)
{
    um_tensor view = *tensor;

    UM_ASSERT(row >= 0 && rows >= 0 && rows <= tensor->rows - row);
    UM_ASSERT(col >= 0 && cols >= 0 && cols <= tensor->cols - col);
    view.rows = rows;
    view.cols = cols;
    view.data = (char *)tensor->data +
                (row * tensor->stride + col) * (int64_t)um_dtype_bytes(tensor->dtype);
    view.bytes = 0;
    return view;
}

um_tensor um_tensor_host(um_dtype dtype, int64_t rows, int64_t cols, const void *data)
{
    /* const is dropped because one tensor type serves inputs and outputs; ops write through their
     * `out` tensors only. */
    return (um_tensor){
        .dtype = dtype, .rows = rows, .cols = cols, .stride = cols, .data = (void *)data};
}

static size_t copy_bytes(const um_tensor *tensor, int64_t count)
{
    UM_ASSERT(tensor->rows == 1 || tensor->stride == tensor->cols);
    UM_ASSERT(count >= 0 && count <= tensor->rows * tensor->cols);
    return (size_t)count * um_dtype_bytes(tensor->dtype);
}

um_status um_tensor_upload(um_backend *backend, const um_tensor *to, const void *from,
                           int64_t count, um_err *err)
{
    return backend->ops->upload(backend, to->data, from, copy_bytes(to, count), err);
}

um_status um_tensor_download(um_backend *backend, const um_tensor *from, void *to, int64_t count,
                             um_err *err)
{
    return backend->ops->download(backend, to, from->data, copy_bytes(from, count), err);
}

float um_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 31u, mantissa = half & 1023u;
    union {
        uint32_t bits;
        float value;
    } u;

    if (exponent == 0) { /* zero or subnormal: mantissa * 2^-24, exact in f32 */
        u.value = (float)mantissa * 0x1p-24f;
        u.bits |= sign;
    } else if (exponent == 31) {
        u.bits = sign | 0x7f800000u | mantissa << 13;
    } else {
        u.bits = sign | (exponent + 112) << 23 | mantissa << 13;
    }
    return u.value;
}

void um_widen(um_dtype dtype, const void *from, float *to, int64_t count)
{
    const uint16_t *half = from;

    UM_ASSERT(dtype == UM_F32 || dtype == UM_BF16 || dtype == UM_F16);
    if (dtype == UM_F32) {
        memcpy(to, from, (size_t)count * sizeof(float));
    } else if (dtype == UM_BF16) {
        for (int64_t i = 0; i < count; i++)
            to[i] = um_bf16_to_f32(half[i]);
    } else {
        for (int64_t i = 0; i < count; i++)
            to[i] = um_f16_to_f32(half[i]);
    }
}

#define CONVERT_CHUNK 256

void um_convert(um_dtype from_dtype, const void *from, um_dtype to_dtype, void *to, int64_t count)
{
    const char *source = from;
    uint16_t *half = to;
    float wide[CONVERT_CHUNK];

    UM_ASSERT(to_dtype == UM_F32 || to_dtype == UM_BF16);
    if (from_dtype == to_dtype) {
        memcpy(to, from, (size_t)count * um_dtype_bytes(to_dtype));
    } else if (to_dtype == UM_F32) {
        um_widen(from_dtype, from, to, count);
    } else {
        for (int64_t done = 0, part; done < count; done += part) {
            part = count - done < CONVERT_CHUNK ? count - done : CONVERT_CHUNK;
            um_widen(from_dtype, source + (size_t)done * um_dtype_bytes(from_dtype), wide, part);
            for (int64_t i = 0; i < part; i++)
                half[done + i] = um_f32_to_bf16(wide[i]);
        }
    }
}
