/*
 * What the host side of the cuda backend is made of: the backend's struct, checking of CUDA calls,
 * pinned staging, dense products. For the C files of this folder.
 *
 * Everything runs on one stream in the order of the calls, so an op needs no synchronisation of its
 * own: it launches and returns, and a fault of the device shows at the next download, which is
 * where the one host synchronisation of a step is. Nothing here logs (log level and allocation
 * counters of the program are not the plugin's). Owner: the engine thread.
 */
#ifndef UM_KERNELS_CUDA_INTERNAL_H
#define UM_KERNELS_CUDA_INTERNAL_H

#include <cuda_runtime_api.h>

#include "kernels/cuda/cuda_cublas.h"
#include "kernels/ops_table.h"

/* Private state of cuda_attention.c, cuda_score.c and cuda_linear.c. */
typedef struct umi_cuda_attention_state umi_cuda_attention_state;
typedef struct umi_cuda_score_state umi_cuda_score_state;
typedef struct umi_cuda_tuning umi_cuda_tuning;

/* Rows of logits in the tile begin at 128 bits. */
#define UMI_CUDA_LOGITS_STRIDE(vocab) (((vocab) + 3) & ~(int64_t)3)

/* One half of the pinned staging that uploads go through. */
typedef struct umi_cuda_half {
    char *data;       /* pinned, owned; UMI_CUDA_STAGING_BYTES */
    size_t used;      /* filled since the half was taken into use */
    cudaEvent_t sent; /* behind its last copy, when it was left full; owned */
    bool in_flight;   /* `sent` has been recorded and not been waited for */
} umi_cuda_half;

typedef struct umi_cuda {
    um_backend base; /* first */

    /* The device. */
    int sm_count;
    int arch;              /* 90 for sm_90 */
    size_t shared_max;     /* bytes that a block may have when the kernel opts in */
    cudaStream_t stream;   /* owned; the only one */
    um_cublas lt;          /* owned */
    cublasLtHandle_t blas; /* owned */
    void *workspace;       /* of cuBLASLt, device, owned */

    /* Host to device and back. */
    umi_cuda_half halves[2];
    int half;      /* the one being filled */
    char *landing; /* pinned, owned; UMI_CUDA_STAGING_BYTES: downloads land here */

    /* Scratch. The stream runs one op at a time, so that the tile serves as the logits of a head
     * and as the products of a gated layer. */
    size_t tile_bytes;   /* the bound of the logits tile, as asked for */
    float *tile;         /* device, owned */
    int64_t tile_floats; /* its size: >= min(rows_max, tile_bytes / row) rows of logits, each
                          * rounded up to 128 bits; one row always fits */

    umi_cuda_tuning *tunings; /* owned; cuda_linear.c */
    int32_t tuning_count;
    int32_t tuning_capacity;

    umi_cuda_attention_state *attention; /* owned; NULL until the first reserve */
    umi_cuda_score_state *score;         /* owned; NULL until the first reserve */
} umi_cuda;

typedef struct umi_cuda_weight {
    um_weight base; /* first */
    void *values;   /* device [rows][in] in base.dtype: parts stacked top to bottom; owned */
    float *bias;    /* device [rows], or NULL; owned */
} umi_cuda_weight;

/* ---- checking ----------------------------------------------------------------------------- */

/*
 * Every call of the runtime and every launch goes through this; the message names the call:
 *
 *     status = UMI_CUDA_TRY(err, cudaStreamSynchronize(cuda->stream));
 *     if (status == UM_OK)
 *         status = UMI_CUDA_TRY(err, umi_launch_embed(&job, cuda->stream));
 *
 * UM_E_NOMEM when device memory is out, UM_E_DEVICE otherwise. After a fault that the driver cannot
 * recover from the message says that the device is lost.
 */
#define UMI_CUDA_TRY(err, call) umi_cuda_status((call), #call, (err))
um_status umi_cuda_status(cudaError_t error, const char *call, um_err *err);
/* The same for cuBLASLt. */
#define UMI_CUBLAS_TRY(cuda, err, call) umi_cublas_status(&(cuda)->lt, (call), #call, (err))
um_status umi_cublas_status(const um_cublas *lt, cublasStatus_t error, const char *call,
                            um_err *err);

/* ---- memory -------------------------------------------------------------------------------- */

#define UMI_CUDA_STAGING_BYTES ((size_t)4 << 20)

/* Device memory of its own allocation, not cleared. For scratch: when it must grow, make the new
 * one first, then free the old one. UM_E_NOMEM. */
um_status umi_cuda_alloc(size_t bytes, void **out, um_err *err);
/* Accepts NULL; waits until the device no longer uses it. */
void umi_cuda_free(void *data);

/* Pinned memory for `bytes` <= UMI_CUDA_STAGING_BYTES that is about to be sent, 16-byte aligned;
 * fill it, then send all or a part of it. Host memory is reusable at once, the device has the data
 * before any later launch. Waits only when both halves are still being read. */
um_status umi_cuda_stage(umi_cuda *cuda, size_t bytes, void **out, um_err *err);
um_status umi_cuda_send(umi_cuda *cuda, void *to, const void *staged, size_t bytes, um_err *err);
/* Any size, from any host memory, which is reusable at return. */
um_status umi_cuda_upload(um_backend *backend, void *to, const void *from, size_t bytes,
                          um_err *err);
/* Waits for the stream: this is where faults of earlier launches show. */
um_status umi_cuda_download(um_backend *backend, void *to, const void *from, size_t bytes,
                            um_err *err);
um_status umi_cuda_memory_open(umi_cuda *cuda, um_err *err);
void umi_cuda_memory_close(umi_cuda *cuda);

/* ---- products ------------------------------------------------------------------------------ */

/* out[r][o] = sum_k weight[o][k] x[r][k] (+ bias[o]) (+ out[r][o]), accumulated in f32. */
typedef struct umi_cuda_product {
    const umi_cuda_weight *weight;
    int64_t cols;  /* the first `cols` rows of the weight */
    const void *x; /* device [rows][in], dtype of the weight */
    int64_t x_stride;
    int64_t rows;
    void *out; /* device [rows][cols] */
    int64_t out_stride;
    um_dtype out_dtype; /* f32 or bf16 */
    bool add_bias;      /* f32 out only; needs weight->bias */
    bool accumulate;    /* f32 out only */
} umi_cuda_product;
um_status umi_cuda_multiply(umi_cuda *cuda, const umi_cuda_product *product, um_err *err);

um_status umi_cuda_linear_open(umi_cuda *cuda, um_err *err);
void umi_cuda_linear_close(umi_cuda *cuda);
um_status umi_cuda_linear(um_backend *backend, const um_linear_args *args, um_err *err);
um_status umi_cuda_weight_create(um_backend *backend, const um_weight_spec *spec, um_weight **out,
                                 um_err *err);
void umi_cuda_weight_destroy(um_backend *backend, um_weight *weight);
um_status umi_cuda_measure_peak(um_backend *backend, double seconds, um_peak *out, um_err *err);

/* ---- row-wise ------------------------------------------------------------------------------ */

um_status umi_cuda_embed(um_backend *backend, const um_embed_args *args, um_err *err);
um_status umi_cuda_rmsnorm(um_backend *backend, const um_rmsnorm_args *args, um_err *err);
um_status umi_cuda_layernorm(um_backend *backend, const um_layernorm_args *args, um_err *err);
um_status umi_cuda_rope(um_backend *backend, const um_rope_args *args, um_err *err);
um_status umi_cuda_mix(um_backend *backend, const um_mix_args *args, um_err *err);

/* ---- attention, score, select ---------------------------------------------------------------- */

/* The reserve hooks get limits that include all earlier ones and are called after the tile has been
 * made; on failure the old scratch stays. The close hooks accept a state that is NULL. */
um_status umi_cuda_attention_reserve(umi_cuda *cuda, const um_backend_limits *limits, um_err *err);
void umi_cuda_attention_close(umi_cuda *cuda);
um_status umi_cuda_attention(um_backend *backend, const um_attention_args *args, um_err *err);

um_status umi_cuda_score_reserve(umi_cuda *cuda, const um_backend_limits *limits, um_err *err);
void umi_cuda_score_close(umi_cuda *cuda);
um_status umi_cuda_score(um_backend *backend, const um_score_args *args, um_err *err);
um_status umi_cuda_select(um_backend *backend, const um_select_args *args, um_err *err);

#endif
