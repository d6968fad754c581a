/* See ops_fixture.h. */
#include "tests/ops/ops_fixture.h"

#include <stdlib.h>

#include "core/base/mem.h"
#include "core/base/rng.h"

/* The list of backends under test; tile_bytes is the caller's. */
static const um_backend_options variants[] = {
    {.name = "ref", .threads = 1},
    {.name = "cpu", .isa = "portable", .threads = 1},
    {.name = "cpu", .isa = "portable", .threads = 2},
    {.name = "cpu", .isa = "avx2", .threads = 1},
    {.name = "cpu", .isa = "avx2", .threads = 2},
    {.name = "cpu", .isa = "avx512", .threads = 1},
    {.name = "cpu", .isa = "avx512", .threads = 2},
    {.name = "cpu", .isa = "avx512bf16", .threads = 1},
    {.name = "cpu", .isa = "avx512bf16", .threads = 2},
#ifdef UM_CUDA_FAKE_PLUGIN
    {.name = "cuda", .plugin = UM_CUDA_FAKE_PLUGIN, .batch_invariant = true},
#endif
};

void ops_open(ops_backends *backends, size_t tile_bytes, int64_t vocab_max)
{
    um_backend_limits limits = {.rows_max = OPS_ROWS_MAX,
                                .sequence_max = OPS_ROWS_MAX,
                                .width_max = OPS_WIDTH_MAX,
                                .vocab_max = vocab_max};

    const char *device = getenv("UM_CUDA_TEST_PLUGIN");

    *backends = (ops_backends){0};
    for (size_t i = 0; i < UM_COUNT_OF(variants); i++) {
        um_backend_options options = variants[i];
        um_backend *backend;
        um_err err = {0};
        um_status status;

        options.tile_bytes = tile_bytes;
        if (options.plugin && device)
            options.plugin = device;
        status = um_backend_open(&options, &backend, &err);
        if (status == UM_E_UNSUPPORTED_VALUE) {
            printf("    left out: %s\n", err.message);
            continue;
        }
        UM_CHECK_OK(status, err);
        UM_CHECK(um_backend_is_batch_invariant(backend));
        UM_CHECK_OK(um_backend_reserve(backend, &limits, &err), err);
        snprintf(backends->label[backends->count], sizeof(backends->label[0]), "%s/%d",
                 um_backend_name(backend), (int)options.threads);
        backends->at[backends->count++] = backend;
    }
}

bool ops_is_fake_device(const um_backend *backend)
{
    return !um_backend_is_host(backend);
}

void ops_close(ops_backends *backends)
{
    for (int i = 0; i < backends->count; i++)
        um_backend_close(backends->at[i]);
}

/* At least this many elements before the first and behind the last. */
#define GUARD_ELEMENTS 64

ops_matrix ops_make(um_backend *backend, um_dtype dtype, int64_t rows, int64_t cols,
                    ops_layout layout)
{
    int64_t stride = layout == OPS_PADDED ? cols + 7 : cols > 0 ? cols : 8; /* 0: alignment */
    int64_t guard = GUARD_ELEMENTS / stride + 1, all_rows = rows + 2 * guard;
    int64_t col = layout == OPS_PADDED ? 3 : 0;
    size_t bytes = (size_t)(all_rows * stride) * um_dtype_bytes(dtype);
    ops_matrix matrix = {.backend = backend};
    void *data = um_mem_alloc_aligned(bytes);
    um_err err = {0};

    UM_ASSERT(data != NULL);
    memset(data, 0xff, bytes);
    matrix.host_store = um_tensor_host(dtype, all_rows, stride, data);
    matrix.host_store.bytes = bytes;
    matrix.host = um_tensor_view(&matrix.host_store, guard, rows, col, cols);
    if (!backend)
        return matrix;
    UM_CHECK_OK(um_tensor_create(backend, dtype, all_rows, stride, &matrix.store, &err), err);
    matrix.view = um_tensor_view(&matrix.store, guard, rows, col, cols);
    ops_upload(&matrix);
    return matrix;
}

ops_matrix ops_vector(um_backend *backend, um_dtype dtype, int64_t count, const void *data)
{
    ops_matrix matrix = ops_make(backend, dtype, 1, count, OPS_TIGHT);

    memcpy(matrix.host.data, data, (size_t)count * um_dtype_bytes(dtype));
    ops_upload(&matrix);
    return matrix;
}

void ops_free(ops_matrix *matrix)
{
    if (matrix->backend)
        um_tensor_destroy(matrix->backend, &matrix->store);
    um_mem_free_aligned(matrix->host_store.data, matrix->host_store.bytes);
    *matrix = (ops_matrix){0};
}

void ops_upload(const ops_matrix *matrix)
{
    const um_tensor *from = &matrix->host_store;
    um_err err = {0};

    UM_CHECK_OK(um_tensor_upload(matrix->backend, &matrix->store, from->data,
                                 from->rows * from->cols, &err),
                err);
}

static void check_guards(const ops_matrix *matrix, const char *label)
{
    const unsigned char *bytes = matrix->host_store.data;
    size_t size = um_dtype_bytes(matrix->host.dtype);
    size_t first = (size_t)((const unsigned char *)matrix->host.data - bytes);
    size_t row_bytes = (size_t)matrix->host.cols * size;
    size_t stride_bytes = (size_t)matrix->host.stride * size;
    size_t end = first + (size_t)matrix->host.rows * stride_bytes;

    um_test_count();
    for (size_t i = 0; i < matrix->host_store.bytes; i++) {
        bool inside = i >= first && i < end && (i - first) % stride_bytes < row_bytes;

        if (!inside && bytes[i] != 0xff) {
            um_test_fail(__FILE__, __LINE__, "%s: wrote outside its output, at byte %td", label,
                         (ptrdiff_t)i - (ptrdiff_t)first);
            return;
        }
    }
}

void ops_download(ops_matrix *matrix, const char *label)
{
    const um_tensor *to = &matrix->host_store;
    um_err err = {0};

    UM_CHECK_OK(
        um_tensor_download(matrix->backend, &matrix->store, to->data, to->rows * to->cols, &err),
        err);
    check_guards(matrix, label);
}

float ops_uniform(uint32_t seed, uint32_t index)
{
    uint32_t words[4];

    um_philox(seed, index, 0, 0, 0, words);
    return 2.0f * um_uniform(words[0]) - 1.0f;
}

void ops_fill(ops_matrix *matrix, uint32_t seed, float scale)
{
    uint32_t index = 0;

    for (int64_t r = 0; r < matrix->host.rows; r++)
        for (int64_t c = 0; c < matrix->host.cols; c++)
            ops_set(&matrix->host, r, c, scale * ops_uniform(seed, index++));
    if (matrix->backend)
        ops_upload(matrix);
}

double ops_get(const um_tensor *t, int64_t row, int64_t col)
{
    if (t->dtype == UM_F32)
        return (double)um_f32_row(t, row)[col];
    if (t->dtype == UM_F16)
        return (double)um_f16_to_f32(um_bf16_row(t, row)[col]);
    return (double)um_bf16_to_f32(um_bf16_row(t, row)[col]);
}

/* Truncation is good enough to make test data; values below the normal range become zero. */
static uint16_t truncate_to_f16(float value)
{
    union {
        float value;
        uint32_t bits;
    } u = {.value = value};
    int32_t exponent = (int32_t)(u.bits >> 23 & 255u) - 112;
    uint16_t sign = (uint16_t)(u.bits >> 16 & 0x8000u);

    if (exponent < 1)
        return sign;
    return (uint16_t)(sign | (uint32_t)exponent << 10 | (u.bits >> 13 & 1023u));
}

void ops_set(const um_tensor *t, int64_t row, int64_t col, float value)
{
    if (t->dtype == UM_F32)
        um_f32_row(t, row)[col] = value;
    else if (t->dtype == UM_F16)
        um_bf16_row(t, row)[col] = truncate_to_f16(value);
    else
        um_bf16_row(t, row)[col] = um_f32_to_bf16(value);
}

bool ops_same_row(const um_tensor *a, int64_t row_a, const um_tensor *b, int64_t row_b)
{
    size_t size = um_dtype_bytes(a->dtype);

    UM_ASSERT(a->dtype == b->dtype && a->cols == b->cols);
    return memcmp((const char *)a->data + (size_t)(row_a * a->stride) * size,
                  (const char *)b->data + (size_t)(row_b * b->stride) * size,
                  (size_t)a->cols * size) == 0;
}

static bool row_is_nan(const um_tensor *t, int64_t row)
{
    for (int64_t c = 0; c < t->cols; c++)
        if (!isnan(ops_get(t, row, c)))
            return false;
    return true;
}

void ops_check_isolated(const um_tensor *clean, const um_tensor *broken, int64_t first, int64_t end,
                        const char *label)
{
    for (int64_t r = 0; r < clean->rows; r++) {
        bool good =
            r >= first && r < end ? row_is_nan(broken, r) : ops_same_row(clean, r, broken, r);

        um_test_count();
        if (!good)
            um_test_fail(__FILE__, __LINE__, "%s: row %lld", label, (long long)r);
    }
}

double ops_round(um_dtype dtype, double value)
{
    int exponent;

    if (dtype == UM_F32)
        return value;
    frexp(value, &exponent);
    return ldexp(nearbyint(ldexp(value, 8 - exponent)), exponent - 8);
}

void ops_check_element(ops_stats *stats, const char *label, const um_tensor *t, int64_t row,
                       int64_t col, double expected, double bound)
{
    double actual = ops_get(t, row, col), error = fabs(actual - expected), rounding = 0;

    bound += 1e-30; /* expectations of exactly zero */
    if (t->dtype == UM_BF16) {
        rounding = 0x1.02p-8 * fabs(expected);
        stats->elements++;
        stats->different += actual != ops_round(UM_BF16, expected);
    }
    um_test_count();
    if (!(error <= bound + rounding))
        um_test_fail(__FILE__, __LINE__, "%s: element (%lld, %lld) is %.9g, expected %.9g +- %.3g",
                     label, (long long)row, (long long)col, actual, expected, bound + rounding);
    if (t->dtype == UM_BF16)
        stats->worst_bf16 = fmax(stats->worst_bf16, (error - rounding) / bound);
    else
        stats->worst_f32 = fmax(stats->worst_f32, error / bound);
}

void ops_stats_finish(const ops_stats *stats, const char *op, const char *label)
{
    printf("    %-18s %-9s worst error / bound: f32 %.2f, bf16 %.2f; %lld of %lld bf16 differ\n",
           label, op, stats->worst_f32, stats->worst_bf16, (long long)stats->different,
           (long long)stats->elements);
    UM_CHECK(stats->different * 100 <= stats->elements);
}
