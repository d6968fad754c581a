/*
 * What the device can do, measured: dense products in f32 and bf16, a streaming read. Timed by the
 * host's clock around work long enough that launching and waiting do not count. Owns nothing
 * between calls. Engine thread.
 */
#include "core/base/clock.h"
#include "core/base/rng.h"
#include "kernels/cuda/cuda_internal.h"
#include "kernels/cuda/cuda_launch.h"

#define SAMPLE_SECONDS 2e-3 /* work grows until a sample takes this long */
#define PRODUCT_MIN 256     /* edge of a square product */
#define PRODUCT_MAX 8192
#define READ_BYTES_MIN ((size_t)1 << 20)
#define READ_BYTES_MAX ((size_t)1 << 30)
#define READ_BLOCKS_PER_SM 8
#define PIECE_BYTES ((size_t)256 << 10)

/* One kind of work at one size: a square product of `size`, or a read of `size` bytes. */
typedef struct sample {
    umi_cuda *cuda;
    um_dtype dtype; /* UM_BYTES: read */
    size_t size;
    void *a, *b, *c; /* device; read: data, sums, unused */
} sample;

static void free_sample(sample *s)
{
    umi_cuda_free(s->a);
    umi_cuda_free(s->b);
    umi_cuda_free(s->c);
}

/* Pieces of staging hold random numbers of 0.5 <= |x| < 1: zeros would be multiplied faster. */
static void fill_piece(um_dtype dtype, uint32_t *words, size_t count)
{
    uint32_t kept = dtype == UM_BF16 ? 0x807f807fu : 0x807fffffu;
    uint32_t exponent = dtype == UM_BF16 ? 0x3f003f00u : 0x3f000000u;

    for (size_t i = 0; i + 4 <= count; i += 4) {
        um_philox(1, 0, 0, (uint32_t)(i / 4), 0, words + i);
        for (size_t j = i; j < i + 4; j++)
            words[j] = (words[j] & kept) | exponent;
    }
}

/* Device memory with the same random piece over and over. */
static um_status alloc_random(umi_cuda *cuda, um_dtype dtype, size_t bytes, void **out, um_err *err)
{
    void *piece = NULL;
    um_status status = umi_cuda_alloc(bytes, out, err);

    if (status == UM_OK)
        status = umi_cuda_stage(cuda, PIECE_BYTES, &piece, err);
    if (status == UM_OK)
        fill_piece(dtype, piece, PIECE_BYTES / sizeof(uint32_t));
    for (size_t done = 0; done < bytes && status == UM_OK; done += PIECE_BYTES) {
        size_t left = bytes - done;

        status = umi_cuda_send(cuda, (char *)*out + done, piece,
                               left < PIECE_BYTES ? left : PIECE_BYTES, err);
    }
    return status;
}

static int32_t read_blocks(const sample *s)
{
    return READ_BLOCKS_PER_SM * s->cuda->sm_count;
}

static um_status alloc_sample(sample *s, um_err *err)
{
    bool reads = s->dtype == UM_BYTES;
    size_t matrix = s->size * s->size * um_dtype_bytes(s->dtype);
    um_status status = alloc_random(s->cuda, s->dtype, reads ? s->size : matrix, &s->a, err);

    if (status == UM_OK && reads)
        return umi_cuda_alloc((size_t)read_blocks(s) * sizeof(float), &s->b, err);
    if (status == UM_OK)
        status = alloc_random(s->cuda, s->dtype, matrix, &s->b, err);
    if (status == UM_OK)
        status = umi_cuda_alloc(s->size * s->size * sizeof(float), &s->c, err);
    return status;
}

static um_status launch_sample(const sample *s, um_err *err)
{
    int64_t size = (int64_t)s->size;
    umi_cuda_weight weight = {.base = {.dtype = s->dtype, .out = size, .in = size}, .values = s->a};
    umi_cuda_product product = {.weight = &weight,
                                .cols = size,
                                .x = s->b,
                                .x_stride = size,
                                .rows = size,
                                .out = s->c,
                                .out_stride = size,
                                .out_dtype = UM_F32};

    if (s->dtype != UM_BYTES)
        return umi_cuda_multiply(s->cuda, &product, err);
    return UMI_CUDA_TRY(err, umi_launch_read(s->a, size / (int64_t)sizeof(float), s->b,
                                             read_blocks(s), s->cuda->stream));
}

static um_status time_sample(const sample *s, double *seconds, um_err *err)
{
    const um_clock *clock = um_clock_system();
    uint64_t start = um_clock_now_ns(clock);
    um_status status = launch_sample(s, err);

    if (status == UM_OK)
        status = UMI_CUDA_TRY(err, cudaStreamSynchronize(s->cuda->stream));
    *seconds = (double)(um_clock_now_ns(clock) - start) * 1e-9;
    return status;
}

/* The shortest time of a sample within `seconds`; the first, which tunes and loads, is left out. */
static um_status best_time(const sample *s, double seconds, double *best, um_err *err)
{
    double taken = 0, all = 0;
    um_status status = time_sample(s, &taken, err);

    *best = 0;
    while (status == UM_OK && (*best == 0 || all < seconds)) {
        status = time_sample(s, &taken, err);
        all += taken;
        if (*best == 0 || taken < *best)
            *best = taken;
    }
    return status;
}

/* Doubles the size from `s->size` until a sample is long enough to be timed. */
static um_status best_rate(sample s, size_t largest, double seconds, double *rate, um_err *err)
{
    um_status status = UM_OK;
    double best = 0;

    for (; status == UM_OK; s.size *= 2) {
        double size = (double)s.size;
        bool last;

        s.a = s.b = s.c = NULL;
        status = alloc_sample(&s, err);
        if (status == UM_OK)
            status = best_time(&s, 0, &best, err);
        last = best >= SAMPLE_SECONDS || 2 * s.size > largest;
        if (status == UM_OK && last)
            status = best_time(&s, seconds, &best, err);
        free_sample(&s);
        if (status == UM_OK)
            *rate = (s.dtype == UM_BYTES ? size : 2 * size * size * size) / best;
        if (last)
            break;
    }
    return status;
}

um_status umi_cuda_measure_peak(um_backend *backend, double seconds, um_peak *out, um_err *err)
{
    sample product = {.cuda = (umi_cuda *)backend, .dtype = UM_F32, .size = PRODUCT_MIN};
    sample read = {.cuda = (umi_cuda *)backend, .dtype = UM_BYTES, .size = READ_BYTES_MIN};
    um_status status = best_rate(product, PRODUCT_MAX, seconds / 3, &out->f32_flops, err);

    product.dtype = UM_BF16;
    if (status == UM_OK)
        status = best_rate(product, PRODUCT_MAX, seconds / 3, &out->bf16_flops, err);
    if (status == UM_OK)
        status = best_rate(read, READ_BYTES_MAX, seconds / 3, &out->read_bytes, err);
    return status;
}
