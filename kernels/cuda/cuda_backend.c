/*
 * The cuda backend: opening (device, then cuBLAS), the table of slots, and the plugin's entry.
 *
 * Opening looks for a device before anything else, so that a machine without one loses a few
 * milliseconds: cuBLAS, 600 MB of library, is opened only afterwards. Engine thread.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "kernels/cuda/cuda_internal.h"
#include "kernels/plugin.h"

#define TILE_BYTES ((size_t)64 << 20)
#define ARCH_MIN 80 /* cp.async and mma with bf16 */
#define VERSION_ARGS(version) (version) / 1000, (version) % 1000 / 10 /* 13000: 13.0 */

/* ---- memory slots ---------------------------------------------------------------------------- */

static void *cuda_alloc(um_backend *backend, size_t bytes)
{
    const umi_cuda *cuda = (const umi_cuda *)backend;
    void *data;

    if (umi_cuda_alloc(bytes, &data, NULL) != UM_OK)
        return NULL;
    if (cudaMemsetAsync(data, 0, bytes, cuda->stream) == cudaSuccess)
        return data;
    umi_cuda_free(data);
    return NULL;
}

static void cuda_release(um_backend *backend, void *data, size_t bytes)
{
    (void)backend;
    (void)bytes;
    umi_cuda_free(data);
}

/* ---- reserve --------------------------------------------------------------------------------- */

/* Floats of `rows` rows of `width`, of as many rows as fit `bytes`, but at least one. */
static int64_t bounded_floats(int64_t rows, int64_t width, size_t bytes)
{
    int64_t most = width ? (int64_t)(bytes / sizeof(float)) / width : 0;

    if (most < 1)
        most = 1;
    return (rows < most ? rows : most) * width;
}

static um_status reserve_tile(umi_cuda *cuda, const um_backend_limits *limits, um_err *err)
{
    int64_t logits, products;
    um_status status;
    void *tile;

    if (limits->vocab_max > (int64_t)(cuda->tile_bytes / sizeof(float)))
        return um_fail(err, UM_E_UNSUPPORTED,
                       "a row of %lld logits does not fit the logits tile of %zu bytes",
                       (long long)limits->vocab_max, cuda->tile_bytes);
    logits = bounded_floats(limits->rows_max, UMI_CUDA_LOGITS_STRIDE(limits->vocab_max),
                            cuda->tile_bytes);
    products = bounded_floats(limits->rows_max, 2 * limits->width_max, cuda->tile_bytes);
    if (products > logits)
        logits = products;
    if (logits <= cuda->tile_floats)
        return UM_OK;
    status = umi_cuda_alloc((size_t)logits * sizeof(float), &tile, err);
    if (status != UM_OK)
        return status;
    umi_cuda_free(cuda->tile);
    cuda->tile = tile;
    cuda->tile_floats = logits;
    return UM_OK;
}

static um_status cuda_reserve(um_backend *backend, const um_backend_limits *limits, um_err *err)
{
    umi_cuda *cuda = (umi_cuda *)backend;
    um_status status = reserve_tile(cuda, limits, err);

    if (status == UM_OK)
        status = umi_cuda_attention_reserve(cuda, limits, err);
    if (status == UM_OK)
        status = umi_cuda_score_reserve(cuda, limits, err);
    return status;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void cuda_close(um_backend *backend)
{
    umi_cuda *cuda = (umi_cuda *)backend;

    if (cuda->stream)
        (void)cudaStreamSynchronize(cuda->stream);
    umi_cuda_score_close(cuda);
    umi_cuda_attention_close(cuda);
    umi_cuda_linear_close(cuda);
    umi_cuda_free(cuda->tile);
    umi_cuda_memory_close(cuda);
    if (cuda->stream)
        (void)cudaStreamDestroy(cuda->stream);
    umi_cublas_close(&cuda->lt);
    um_mem_free(cuda);
}

static const um_ops_table cuda_ops = {
    .close = cuda_close,
    .reserve = cuda_reserve,
    .alloc = cuda_alloc,
    .release = cuda_release,
    .upload = umi_cuda_upload,
    .download = umi_cuda_download,
    .weight_create = umi_cuda_weight_create,
    .weight_destroy = umi_cuda_weight_destroy,
    .embed = umi_cuda_embed,
    .rmsnorm = umi_cuda_rmsnorm,
    .layernorm = umi_cuda_layernorm,
    .linear = umi_cuda_linear,
    .rope = umi_cuda_rope,
    .attention = umi_cuda_attention,
    .mix = umi_cuda_mix,
    .score = umi_cuda_score,
    .select = umi_cuda_select,
    .measure_peak = umi_cuda_measure_peak,
};

/* Why the driver shows no device; the runtime has one text for no driver and for an old one. */
static um_status no_device(cudaError_t error, um_err *err)
{
    int driver = 0;

    if (error != cudaErrorInsufficientDriver)
        return um_fail(err, UM_E_NOT_FOUND, "no CUDA device: %s", cudaGetErrorString(error));
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return um_fail(err, UM_E_NOT_FOUND, "no CUDA driver is installed");
    return um_fail(err, UM_E_NOT_FOUND, "the driver is for CUDA %d.%d; %d.%d is needed",
                   VERSION_ARGS(driver), VERSION_ARGS(CUDART_VERSION));
}

/* The first device that the driver shows (CUDA_VISIBLE_DEVICES chooses), if it can run us. */
static um_status find_device(struct cudaDeviceProp *prop, um_err *err)
{
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    um_status status;

    if (error != cudaSuccess)
        return no_device(error, err);
    if (count == 0)
        return um_fail(err, UM_E_NOT_FOUND, "no CUDA device");
    status = UMI_CUDA_TRY(err, cudaGetDeviceProperties(prop, 0));
    if (status != UM_OK)
        return status;
    if (10 * prop->major + prop->minor < ARCH_MIN)
        return um_fail(err, UM_E_UNSUPPORTED, "%s is sm_%d%d; at least sm_%d is needed", prop->name,
                       prop->major, prop->minor, ARCH_MIN);
    return UM_OK;
}

static void describe(umi_cuda *cuda, const struct cudaDeviceProp *prop)
{
    um_backend *base = &cuda->base;
    int driver = 0;

    (void)cudaDriverGetVersion(&driver);
    snprintf(base->name, sizeof(base->name), "cuda-sm_%d", cuda->arch);
    snprintf(base->description, sizeof(base->description),
             "cuda, %.40s, sm_%d, %.1f GiB, driver %d.%d, tile %zu MiB%s", prop->name, cuda->arch,
             (double)prop->totalGlobalMem / (double)(1 << 30), VERSION_ARGS(driver),
             cuda->tile_bytes >> 20, base->is_batch_invariant ? ", batch-invariant" : "");
}

static um_status open_parts(umi_cuda *cuda, um_err *err)
{
    um_status status = umi_cublas_open(&cuda->lt, err);

    if (status == UM_OK)
        status = UMI_CUDA_TRY(err, cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking));
    if (status == UM_OK)
        status = umi_cuda_memory_open(cuda, err);
    if (status == UM_OK)
        status = umi_cuda_linear_open(cuda, err);
    return status;
}

static um_status cuda_open(const um_backend_options *options, um_backend **out, um_err *err)
{
    struct cudaDeviceProp prop = {0};
    um_status status = find_device(&prop, err);
    umi_cuda *cuda;

    if (status != UM_OK)
        return status;
    cuda = um_mem_zalloc(sizeof(*cuda));
    if (!cuda)
        return um_fail(err, UM_E_NOMEM, "no memory for backend cuda");
    cuda->base.ops = &cuda_ops;
    cuda->base.is_batch_invariant = options->batch_invariant;
    cuda->sm_count = prop.multiProcessorCount;
    cuda->arch = 10 * prop.major + prop.minor;
    cuda->shared_max = prop.sharedMemPerBlockOptin;
    cuda->tile_bytes = options->tile_bytes ? options->tile_bytes : TILE_BYTES;
    describe(cuda, &prop);
    status = open_parts(cuda, err);
    if (status != UM_OK) {
        cuda_close(&cuda->base);
        return status;
    }
    *out = &cuda->base;
    return UM_OK;
}

/* ---- the plugin's entry ------------------------------------------------------------------------ */

__attribute__((visibility("default"))) um_status
unmask_plugin_open(const umi_plugin_abi *program, const um_backend_options *options,
                   um_backend **out, um_err *err);

um_status unmask_plugin_open(const umi_plugin_abi *program, const um_backend_options *options,
                             um_backend **out, um_err *err)
{
    const umi_plugin_abi own = UMI_PLUGIN_ABI;

    *out = NULL;
    if (memcmp(program, &own, sizeof(own)) != 0)
        return um_fail(err, UM_E_UNSUPPORTED, "the plugin and the program are of different builds");
    return cuda_open(options, out, err);
}
