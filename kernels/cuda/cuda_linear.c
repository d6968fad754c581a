/*
 * Dense products through cuBLASLt, behind a tuning table, and the linear op made of them.
 *
 * Weights are [out][in] row-major, which cuBLASLt sees as column-major [in x out]; rows of x and of
 * the result are columns to it. So the number of rows is its n, which no alignment depends on: a
 * product runs with the rows that there are, nothing is padded. Only the choice of an algorithm
 * goes by buckets of rows: the table holds one per shape, dtype and bucket, asked of the heuristic
 * for the bucket's row count at first use.
 *
 * Batch invariance: one algorithm per shape for any number of rows, asked for at one row count,
 * with no workspace and no reduction between blocks. That leaves k to one block in one order
 * whatever n is. On a device scripts/gpu_check verifies it; on its own the default promises nothing.
 *
 * f32 is computed in f32, never in TF32; bf16 products are accumulated in f32. Owns tunings, handle
 * and workspace. Engine thread.
 */
#include <string.h>

#include "core/base/mem.h"
#include "kernels/cuda/cuda_internal.h"
#include "kernels/cuda/cuda_launch.h"

/* What NVIDIA recommends for devices since sm_90. */
#define WORKSPACE_BYTES ((size_t)32 << 20)
/* Rows to tune for when one algorithm serves all: a window or two. */
#define INVARIANT_ROWS 64
/* Buckets of design: 8, 16, 32, 48, 64, 96, 128, 192, 256, then multiples of 64; a step of more
 * than ROWS_TUNED rows is bound by arithmetic and runs with the algorithm of the last bucket. */
#define ROWS_TUNED 2048
#define SMALL_BUCKETS 9
#define BUCKETS (SMALL_BUCKETS + (ROWS_TUNED - 256) / 64)

static const int64_t SMALL_BUCKET_ROWS[SMALL_BUCKETS] = {8, 16, 32, 48, 64, 96, 128, 192, 256};

/* What an algorithm depends on beside the number of rows. */
typedef struct tuning_key {
    int64_t cols;
    int64_t in;
    int32_t dtype;
    int32_t out_dtype;
    int32_t x_align; /* bytes that every row of x is aligned to, at most 16 */
    int32_t out_align;
    int32_t add_bias;
    int32_t reserved; /* 0: no padding, so that keys can be compared as bytes */
} tuning_key;

struct umi_cuda_tuning {
    tuning_key key;
    cublasLtMatmulDesc_t desc;     /* owned, like the layouts */
    cublasLtMatrixLayout_t weight; /* [in x cols] */
    cublasLtMatrixLayout_t x;      /* [in x rows] */
    cublasLtMatrixLayout_t out;    /* [cols x rows] */
    bool tuned[BUCKETS];
    cublasLtMatmulAlgo_t algos[BUCKETS];
};

/* ---- buckets --------------------------------------------------------------------------------- */

static int32_t bucket_of(int64_t rows)
{
    int32_t bucket = 0;

    if (rows > ROWS_TUNED)
        return BUCKETS - 1;
    if (rows > 256)
        return SMALL_BUCKETS - 1 + (int32_t)((rows - 256 + 63) / 64);
    while (rows > SMALL_BUCKET_ROWS[bucket])
        bucket++;
    return bucket;
}

static int64_t bucket_rows(int32_t bucket)
{
    return bucket < SMALL_BUCKETS ? SMALL_BUCKET_ROWS[bucket]
                                  : 256 + 64 * (int64_t)(bucket - SMALL_BUCKETS + 1);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static cudaDataType_t data_type(um_dtype dtype)
{
    return dtype == UM_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* Alignment of all rows of a matrix, at most the 16 bytes of the widest access. */
static int32_t row_align(const void *data, int64_t stride, um_dtype dtype)
{
    uintptr_t bits = (uintptr_t)data | (uintptr_t)stride * um_dtype_bytes(dtype) | 16u;

    return (int32_t)(bits & (~bits + 1)); /* the lowest bit that is set */
}

static um_status set_desc(umi_cuda *cuda, umi_cuda_tuning *tuning, um_err *err)
{
    const int32_t transpose = CUBLAS_OP_T;
    const uint32_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    um_status status = UMI_CUBLAS_TRY(cuda, err,
                                      cuda->lt.desc_set(tuning->desc, CUBLASLT_MATMUL_DESC_TRANSA,
                                                        &transpose, sizeof(transpose)));

    if (status == UM_OK && tuning->key.add_bias)
        status = UMI_CUBLAS_TRY(cuda, err,
                                cuda->lt.desc_set(tuning->desc, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                  &epilogue, sizeof(epilogue)));
    return status;
}

static um_status create_tuning(umi_cuda *cuda, const tuning_key *key, umi_cuda_tuning *tuning,
                               um_err *err)
{
    cudaDataType_t in_type = data_type((um_dtype)key->dtype);
    cudaDataType_t out_type = data_type((um_dtype)key->out_dtype);
    uint64_t in = (uint64_t)key->in, cols = (uint64_t)key->cols;
    um_status status;

    *tuning = (umi_cuda_tuning){.key = *key};
    status = UMI_CUBLAS_TRY(cuda, err,
                            cuda->lt.desc_create(&tuning->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    if (status == UM_OK)
        status = set_desc(cuda, tuning, err);
    if (status == UM_OK)
        status = UMI_CUBLAS_TRY(
            cuda, err, cuda->lt.layout_create(&tuning->weight, in_type, in, cols, key->in));
    if (status == UM_OK)
        status =
            UMI_CUBLAS_TRY(cuda, err, cuda->lt.layout_create(&tuning->x, in_type, in, 1, key->in));
    if (status == UM_OK)
        status = UMI_CUBLAS_TRY(cuda, err,
                                cuda->lt.layout_create(&tuning->out, out_type, cols, 1, key->cols));
    return status;
}

static void destroy_tuning(umi_cuda *cuda, umi_cuda_tuning *tuning)
{
    if (tuning->out)
        (void)cuda->lt.layout_destroy(tuning->out);
    if (tuning->x)
        (void)cuda->lt.layout_destroy(tuning->x);
    if (tuning->weight)
        (void)cuda->lt.layout_destroy(tuning->weight);
    if (tuning->desc)
        (void)cuda->lt.desc_destroy(tuning->desc);
}

static um_status set_rows(umi_cuda *cuda, cublasLtMatrixLayout_t layout, int64_t rows,
                          int64_t stride, um_err *err)
{
    uint64_t count = (uint64_t)rows;
    um_status status = UMI_CUBLAS_TRY(
        cuda, err, cuda->lt.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_COLS, &count, sizeof(count)));

    if (status == UM_OK)
        status = UMI_CUBLAS_TRY(
            cuda, err,
            cuda->lt.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_LD, &stride, sizeof(stride)));
    return status;
}

/* ---- choosing an algorithm -------------------------------------------------------------------- */

static um_status prefer(umi_cuda *cuda, cublasLtMatmulPreference_t preference,
                        cublasLtMatmulPreferenceAttributes_t attribute, uint32_t value, um_err *err)
{
    return UMI_CUBLAS_TRY(cuda, err,
                          cuda->lt.preference_set(preference, attribute, &value, sizeof(value)));
}

static um_status fill_preference(umi_cuda *cuda, cublasLtMatmulPreference_t preference,
                                 const tuning_key *key, um_err *err)
{
    uint64_t workspace = cuda->workspace ? WORKSPACE_BYTES : 0;
    um_status status =
        UMI_CUBLAS_TRY(cuda, err,
                       cuda->lt.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                               &workspace, sizeof(workspace)));

    if (status == UM_OK)
        status = prefer(cuda, preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                        (uint32_t)key->x_align, err);
    if (status == UM_OK)
        status = prefer(cuda, preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                        (uint32_t)key->out_align, err);
    if (status == UM_OK)
        status = prefer(cuda, preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                        (uint32_t)key->out_align, err);
    if (status == UM_OK && cuda->base.is_batch_invariant)
        status = prefer(cuda, preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                        CUBLASLT_REDUCTION_SCHEME_NONE, err);
    return status;
}

/* Leaves k to one block, whatever the heuristic had in mind. */
static um_status forbid_split(umi_cuda *cuda, cublasLtMatmulAlgo_t *algo, um_err *err)
{
    const int32_t splits = 1;
    const uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_NONE;
    um_status status = UMI_CUBLAS_TRY(
        cuda, err,
        cuda->lt.algo_set(algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &splits, sizeof(splits)));

    if (status == UM_OK)
        status = UMI_CUBLAS_TRY(cuda, err,
                                cuda->lt.algo_set(algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
                                                  &scheme, sizeof(scheme)));
    return status;
}

/* Asks the heuristic; the layouts hold the row count to ask for. */
static um_status choose_algo(umi_cuda *cuda, const umi_cuda_tuning *tuning,
                             cublasLtMatmulAlgo_t *out, um_err *err)
{
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found = {0};
    int count = 0;
    um_status status = UMI_CUBLAS_TRY(cuda, err, cuda->lt.preference_create(&preference));

    if (status == UM_OK)
        status = fill_preference(cuda, preference, &tuning->key, err);
    if (status == UM_OK)
        status = UMI_CUBLAS_TRY(cuda, err,
                                cuda->lt.heuristic(cuda->blas, tuning->desc, tuning->weight,
                                                   tuning->x, tuning->out, tuning->out, preference,
                                                   1, &found, &count));
    if (status == UM_OK && (count == 0 || found.state != CUBLAS_STATUS_SUCCESS))
        status = um_fail(err, UM_E_UNSUPPORTED,
                         "cuBLASLt knows no algorithm for a product of %lld x %lld %s",
                         (long long)tuning->key.cols, (long long)tuning->key.in,
                         um_dtype_name((um_dtype)tuning->key.dtype));
    if (status == UM_OK && cuda->base.is_batch_invariant)
        status = forbid_split(cuda, &found.algo, err);
    if (status == UM_OK)
        *out = found.algo;
    if (preference)
        (void)cuda->lt.preference_destroy(preference);
    return status;
}

/* The algorithm for a number of rows; afterwards the layouts are for some other number. */
static um_status tuned_algo(umi_cuda *cuda, umi_cuda_tuning *tuning, int64_t rows,
                            const cublasLtMatmulAlgo_t **out, um_err *err)
{
    bool invariant = cuda->base.is_batch_invariant;
    int32_t bucket = bucket_of(invariant ? INVARIANT_ROWS : rows);
    um_status status;

    *out = &tuning->algos[bucket];
    if (tuning->tuned[bucket])
        return UM_OK;
    status = set_rows(cuda, tuning->x, bucket_rows(bucket), tuning->key.in, err);
    if (status == UM_OK)
        status = set_rows(cuda, tuning->out, bucket_rows(bucket), tuning->key.cols, err);
    if (status == UM_OK)
        status = choose_algo(cuda, tuning, &tuning->algos[bucket], err);
    tuning->tuned[bucket] = status == UM_OK;
    return status;
}

static um_status add_tuning(umi_cuda *cuda, const tuning_key *key, umi_cuda_tuning **out,
                            um_err *err)
{
    umi_cuda_tuning *tuning;
    um_status status;

    if (cuda->tuning_count == cuda->tuning_capacity) {
        int32_t capacity = cuda->tuning_capacity ? 2 * cuda->tuning_capacity : 8;
        umi_cuda_tuning *grown =
            um_mem_realloc(cuda->tunings, (size_t)capacity * sizeof(*cuda->tunings));

        if (!grown)
            return um_fail(err, UM_E_NOMEM, "no memory for %d tuned shapes", capacity);
        cuda->tunings = grown;
        cuda->tuning_capacity = capacity;
    }
    tuning = &cuda->tunings[cuda->tuning_count];
    status = create_tuning(cuda, key, tuning, err);
    if (status != UM_OK) {
        destroy_tuning(cuda, tuning);
        return status;
    }
    cuda->tuning_count++;
    *out = tuning;
    return UM_OK;
}

static um_status find_tuning(umi_cuda *cuda, const umi_cuda_product *product, umi_cuda_tuning **out,
                             um_err *err)
{
    um_dtype dtype = product->weight->base.dtype;
    tuning_key key = {
        .cols = product->cols,
        .in = product->weight->base.in,
        .dtype = (int32_t)dtype,
        .out_dtype = (int32_t)product->out_dtype,
        .x_align = row_align(product->x, product->x_stride, dtype),
        .out_align = row_align(product->out, product->out_stride, product->out_dtype),
        .add_bias = product->add_bias,
    };

    for (int32_t i = 0; i < cuda->tuning_count; i++) {
        if (memcmp(&cuda->tunings[i].key, &key, sizeof(key)) != 0)
            continue;
        *out = &cuda->tunings[i];
        return UM_OK;
    }
    return add_tuning(cuda, &key, out, err);
}

/* ---- products --------------------------------------------------------------------------------- */

um_status umi_cuda_multiply(umi_cuda *cuda, const umi_cuda_product *product, um_err *err)
{
    const umi_cuda_weight *weight = product->weight;
    const float one = 1.0f, kept = product->accumulate ? 1.0f : 0.0f;
    const cublasLtMatmulAlgo_t *algo = NULL;
    const void *bias = weight->bias;
    umi_cuda_tuning *tuning = NULL;
    um_status status;

    UM_ASSERT(product->out_dtype == UM_F32 || (!product->accumulate && !product->add_bias));
    UM_ASSERT(!product->add_bias || bias);
    if (product->rows == 0)
        return UM_OK;
    status = find_tuning(cuda, product, &tuning, err);
    if (status != UM_OK)
        return status;
    UM_ASSERT(tuning != NULL);
    if (product->add_bias)
        status = UMI_CUBLAS_TRY(cuda, err,
                                cuda->lt.desc_set(tuning->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                  &bias, sizeof(bias)));
    if (status == UM_OK)
        status = tuned_algo(cuda, tuning, product->rows, &algo, err);
    if (status == UM_OK)
        status = set_rows(cuda, tuning->x, product->rows, product->x_stride, err);
    if (status == UM_OK)
        status = set_rows(cuda, tuning->out, product->rows, product->out_stride, err);
    if (status == UM_OK)
        status = UMI_CUBLAS_TRY(
            cuda, err,
            cuda->lt.matmul(cuda->blas, tuning->desc, &one, weight->values, tuning->weight,
                            product->x, tuning->x, &kept, product->out, tuning->out, product->out,
                            tuning->out, algo, cuda->workspace,
                            cuda->workspace ? WORKSPACE_BYTES : 0, cuda->stream));
    return status;
}

/* ---- the op ---------------------------------------------------------------------------------- */

static umi_finish finish_of(const um_weight *weight)
{
    static const umi_finish table[] = {
        [UM_ACT_SILU] = UMI_FINISH_SILU,
        [UM_ACT_GELU] = UMI_FINISH_GELU,
        [UM_ACT_RELU] = UMI_FINISH_RELU,
        [UM_ACT_GELU_TANH] = UMI_FINISH_GELU_TANH,
    };

    return weight->kind == UM_WEIGHT_PLAIN ? UMI_FINISH_NONE : table[weight->activation];
}

/* Rows [row, row + rows) through the tile: their products, then activation and rounding. */
static um_status linear_chunk(umi_cuda *cuda, const um_linear_args *args, int64_t row, int64_t rows,
                              um_err *err)
{
    const umi_cuda_weight *weight = (const umi_cuda_weight *)args->weight;
    bool gated = weight->base.kind == UM_WEIGHT_GATED;
    int64_t cols = gated ? 2 * weight->base.out : weight->base.out;
    um_tensor x = um_tensor_view(args->x, row, rows, 0, args->x->cols);
    um_tensor out = um_tensor_view(args->out, row, rows, 0, args->out->cols);
    umi_cuda_product product = {.weight = weight,
                                .cols = cols,
                                .x = x.data,
                                .x_stride = x.stride,
                                .rows = rows,
                                .out = cuda->tile,
                                .out_stride = cols,
                                .out_dtype = UM_F32};
    umi_finish_job job = {.products = cuda->tile,
                          .products_stride = cols,
                          .bias = weight->bias,
                          .out = out.data,
                          .out_stride = out.stride,
                          .rows = rows,
                          .cols = (int32_t)out.cols,
                          .finish = finish_of(&weight->base),
                          .gated = gated,
                          .accumulate = args->accumulate,
                          .bf16 = out.dtype == UM_BF16};
    um_status status = umi_cuda_multiply(cuda, &product, err);

    if (status == UM_OK)
        status = UMI_CUDA_TRY(err, umi_launch_finish(&job, cuda->stream));
    return status;
}

static um_status linear_through_tile(umi_cuda *cuda, const um_linear_args *args, um_err *err)
{
    const um_weight *weight = args->weight;
    int64_t cols = weight->kind == UM_WEIGHT_GATED ? 2 * weight->out : weight->out;
    int64_t chunk = cuda->tile_floats / cols, rows = args->out->rows;
    um_status status = UM_OK;

    for (int64_t row = 0, count; row < rows && status == UM_OK; row += count) {
        count = rows - row < chunk ? rows - row : chunk;
        status = linear_chunk(cuda, args, row, count, err);
    }
    return status;
}

/* Can cuBLASLt do all of it? It has no bf16 result of an f32 product, and it would round a bias to
 * bf16 where the result is. */
static bool is_one_product(const umi_cuda_weight *weight, um_dtype out)
{
    if (weight->base.kind != UM_WEIGHT_PLAIN)
        return false;
    return out == UM_F32 || (weight->base.dtype == UM_BF16 && !weight->bias);
}

um_status umi_cuda_linear(um_backend *backend, const um_linear_args *args, um_err *err)
{
    umi_cuda *cuda = (umi_cuda *)backend;
    const umi_cuda_weight *weight = (const umi_cuda_weight *)args->weight;
    const um_tensor *x = args->x, *out = args->out;
    umi_cuda_product product = {.weight = weight,
                                .cols = weight->base.out,
                                .x = x->data,
                                .x_stride = x->stride,
                                .rows = out->rows,
                                .out = out->data,
                                .out_stride = out->stride,
                                .out_dtype = out->dtype,
                                .add_bias = weight->bias != NULL,
                                .accumulate = args->accumulate};

    if (!is_one_product(weight, out->dtype))
        return linear_through_tile(cuda, args, err);
    return umi_cuda_multiply(cuda, &product, err);
}

/* ---- life ------------------------------------------------------------------------------------ */

um_status umi_cuda_linear_open(umi_cuda *cuda, um_err *err)
{
    um_status status = UMI_CUBLAS_TRY(cuda, err, cuda->lt.create(&cuda->blas));

    if (status == UM_OK && !cuda->base.is_batch_invariant)
        status = umi_cuda_alloc(WORKSPACE_BYTES, &cuda->workspace, err);
    return status;
}

void umi_cuda_linear_close(umi_cuda *cuda)
{
    for (int32_t i = 0; i < cuda->tuning_count; i++)
        destroy_tuning(cuda, &cuda->tunings[i]);
    um_mem_free(cuda->tunings);
    umi_cuda_free(cuda->workspace);
    if (cuda->blas)
        (void)cuda->lt.destroy(cuda->blas);
}
