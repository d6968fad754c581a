/*
 * What --batch-invariant promises of dense products: a row has the same bits in a call of any number
 * of rows. On the fake device with small matrices, where its own product holds the promise; with
 * UM_CUDA_TEST_PLUGIN, so on a device, with every matrix of LLaDA-8B and Dream-7B.
 */
#include <stdlib.h>

#include "core/base/mem.h"
#include "tests/cuda/fake.h"
#include "tests/test.h"

enum { ROWS = 512, OFFSET = 17 };

typedef struct shape {
    const char *name;
    int64_t out, in;
} shape;

static const shape small[] = {{"small", 96, 64}, {"odd", 33, 40}};
static const shape real[] = {
    {"LLaDA-8B qkv", 12288, 4096},          {"LLaDA-8B attention out", 4096, 4096},
    {"LLaDA-8B gate and up", 24576, 4096},  {"LLaDA-8B down", 4096, 12288},
    {"LLaDA-8B head", 126464, 4096},        {"Dream-7B qkv", 4608, 3584},
    {"Dream-7B attention out", 3584, 3584}, {"Dream-7B gate and up", 37888, 3584},
    {"Dream-7B down", 3584, 18944},         {"Dream-7B head", 152064, 3584},
};
static const int64_t row_counts[] = {1,  2,  3,  7,   8,   9,   15,  16,  31,  32,
                                     48, 64, 65, 100, 128, 130, 192, 256, 300, 448};

/* Both signs, magnitudes from 2^-7 to 2. */
static uint16_t *random_bf16(int64_t count, uint64_t seed)
{
    uint16_t *values = um_mem_calloc((size_t)count, sizeof(*values));

    UM_ASSERT(values != NULL);
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        values[i] = (uint16_t)(0x3c00u | (seed >> 40 & 0x83ffu));
    }
    return values;
}

static um_backend *open_backend(const shape *s)
{
    const um_backend_limits limits = {.rows_max = ROWS,
                                      .sequence_max = ROWS,
                                      .width_max = s->out > s->in ? s->out : s->in,
                                      .vocab_max = 1};
    um_backend_options options = {.name = "cuda", .plugin = fake_plugin(), .batch_invariant = true};
    um_backend *backend = NULL;
    um_err err = {0};

    UM_CHECK_OK(um_backend_open(&options, &backend, &err), err);
    if (!backend)
        UM_FATAL("no backend");
    UM_CHECK(um_backend_is_batch_invariant(backend));
    UM_CHECK_OK(um_backend_reserve(backend, &limits, &err), err);
    return backend;
}

static um_weight *make_weight(um_backend *backend, const shape *s)
{
    uint16_t *values = random_bf16(s->out * s->in, 1);
    um_weight_spec spec = {.dtype = UM_BF16,
                           .part_count = 1,
                           .parts = {um_tensor_host(UM_BF16, s->out, s->in, values)}};
    um_weight *weight = NULL;
    um_err err = {0};

    UM_CHECK_OK(um_weight_create(backend, &spec, &weight, &err), err);
    um_mem_free(values);
    return weight;
}

/* Rows [first, first + rows) of x, whose products come back to `host`. */
static void multiply(um_backend *backend, const um_tensor *x, const um_weight *weight,
                     int64_t first, int64_t rows, const um_tensor *out, float *host)
{
    um_tensor some = um_tensor_view(x, first, rows, 0, x->cols);
    um_tensor to = um_tensor_view(out, 0, rows, 0, out->cols);
    um_linear_args args = {.x = &some, .weight = weight, .out = &to};
    um_err err = {0};

    UM_CHECK_OK(um_op_linear(backend, &args, &err), err);
    UM_CHECK_OK(um_tensor_download(backend, &to, host, rows * out->cols, &err), err);
}

static void check_shape(const shape *s)
{
    um_backend *backend = open_backend(s);
    um_weight *weight = make_weight(backend, s);
    uint16_t *values = random_bf16(ROWS * s->in, 2);
    size_t bytes = (size_t)(ROWS * s->out) * sizeof(float);
    float *all = um_mem_zalloc(bytes), *some = um_mem_zalloc(bytes);
    um_tensor x, out;
    um_err err = {0};

    UM_ASSERT(all && some);
    UM_CHECK_OK(um_tensor_create(backend, UM_BF16, ROWS, s->in, &x, &err), err);
    UM_CHECK_OK(um_tensor_create(backend, UM_F32, ROWS, s->out, &out, &err), err);
    UM_CHECK_OK(um_tensor_upload(backend, &x, values, ROWS * s->in, &err), err);
    multiply(backend, &x, weight, 0, ROWS, &out, all);
    for (size_t i = 0; i < UM_COUNT_OF(row_counts); i++) {
        int64_t rows = row_counts[i];

        memset(some, 0xff, bytes);
        multiply(backend, &x, weight, OFFSET, rows, &out, some);
        um_test_count();
        if (memcmp(some, all + OFFSET * s->out, (size_t)(rows * s->out) * sizeof(float)) != 0)
            um_test_fail(__FILE__, __LINE__, "%s: other bits in a call of %lld rows", s->name,
                         (long long)rows);
    }
    um_tensor_destroy(backend, &out);
    um_tensor_destroy(backend, &x);
    um_mem_free(some);
    um_mem_free(all);
    um_mem_free(values);
    um_weight_destroy(backend, weight);
    um_backend_close(backend);
}

static void a_row_has_the_same_bits_in_any_call(void)
{
    const bool device = getenv("UM_CUDA_TEST_PLUGIN") != NULL;
    const shape *shapes = device ? real : small;
    size_t count = device ? UM_COUNT_OF(real) : UM_COUNT_OF(small);

    for (size_t i = 0; i < count; i++)
        check_shape(&shapes[i]);
}

static const um_test tests[] = {
    {"a_row_has_the_same_bits_in_any_call", a_row_has_the_same_bits_in_any_call, 600},
};
UM_TEST_MAIN(tests)
