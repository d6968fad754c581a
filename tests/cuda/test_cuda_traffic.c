/*
 * What the kernels that work row by row move: bytes as their formulas say, every 32-byte sector
 * used in full, no bank conflict. Attention, score and select have theirs in their own tests.
 *
 * Bytes are counted for each thread, so a value that all threads of a block read counts for each.
 */
#include "kernels/cuda/cuda_launch.h"
#include "tests/fakecuda/fakecuda.h"
#include "tests/test.h"

enum {
    ROWS = 5,
    COLS = 2048, /* all threads of a block have work */
    ELEMENTS = ROWS * COLS,
    THREADS = 256,
    HEADS = 8,
    KV_HEADS = 2,
    HEAD_DIM = 128,
    ROTATED = (HEADS + KV_HEADS) * HEAD_DIM,
    QKV = (HEADS + 2 * KV_HEADS) * HEAD_DIM,
    READ_BLOCKS = 16,
    BUFFERS_MAX = 16,
};

/* Device memory of a test, each buffer its own allocation; all zero, so indices are valid. */
typedef struct buffers {
    void *all[BUFFERS_MAX];
    int count;
} buffers;

static void *zeros(buffers *b, int64_t bytes)
{
    void *data = NULL;

    UM_ASSERT(b->count < BUFFERS_MAX);
    UM_CHECK_INT(cudaMalloc(&data, (size_t)bytes), cudaSuccess);
    UM_CHECK_INT(cudaMemset(data, 0, (size_t)bytes), cudaSuccess);
    b->all[b->count++] = data;
    return data;
}

static void release(buffers *b)
{
    while (b->count > 0)
        UM_CHECK_INT(cudaFree(b->all[--b->count]), cudaSuccess);
}

static int64_t element_bytes(bool bf16)
{
    return bf16 ? 2 : 4;
}

/* The only kernel that ran since the last call, and what it moved. */
static void check(const char *name, int64_t read, int64_t written)
{
    fakecuda_kernel kernel = {0};

    UM_CHECK_INT(fakecuda_kernels(&kernel, 1), 1);
    UM_CHECK_STR(kernel.name, name);
    UM_CHECK_INT(kernel.launches, 1);
    UM_CHECK_INT(kernel.bytes_read, read);
    UM_CHECK_INT(kernel.bytes_written, written);
    UM_CHECK_INT(kernel.global_sectors, kernel.global_ideal);
    UM_CHECK_INT(kernel.shared_waves, kernel.shared_ideal);
    fakecuda_reset_kernels();
}

static void embedding(void)
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        buffers b = {0};
        const umi_embed_job job = {.ids = zeros(&b, ROWS * 4),
                                   .table = zeros(&b, COLS * element_bytes(bf16)),
                                   .table_stride = COLS,
                                   .out = zeros(&b, ELEMENTS * 4),
                                   .out_stride = COLS,
                                   .rows = ROWS,
                                   .cols = COLS,
                                   .scale = 1.0f,
                                   .bf16 = bf16};

        UM_CHECK_INT(umi_launch_embed(&job, NULL), cudaSuccess);
        /* the table's row, and an id for each four elements */
        check(bf16 ? "embed<device::bf16, true>" : "embed<float, true>",
              ELEMENTS * element_bytes(bf16) + ELEMENTS / 4 * 4, ELEMENTS * 4);
        release(&b);
    }
}

static void norms(void)
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        buffers b = {0};
        const umi_norm_job job = {.x = zeros(&b, ELEMENTS * 4),
                                  .x_stride = COLS,
                                  .gain = zeros(&b, COLS * 4),
                                  .bias = zeros(&b, COLS * 4),
                                  .out = zeros(&b, ELEMENTS * element_bytes(bf16)),
                                  .out_stride = COLS,
                                  .rows = ROWS,
                                  .cols = COLS,
                                  .eps = 1e-5f,
                                  .bf16 = bf16};

        UM_CHECK_INT(umi_launch_rmsnorm(&job, NULL), cudaSuccess);
        /* x for the sum and for the result, and the gain */
        check(bf16 ? "rmsnorm<device::bf16, true>" : "rmsnorm<float, true>", ELEMENTS * (2 + 1) * 4,
              ELEMENTS * element_bytes(bf16));
        UM_CHECK_INT(umi_launch_layernorm(&job, NULL), cudaSuccess);
        /* x for the mean, the variance and the result, gain and bias */
        check(bf16 ? "layernorm<device::bf16, true>" : "layernorm<float, true>",
              ELEMENTS * (3 + 2) * 4, ELEMENTS * element_bytes(bf16));
        release(&b);
    }
}

static void rotary_embedding(void)
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        buffers b = {0};
        const umi_rope_job job = {.qkv = zeros(&b, ROWS * QKV * 4),
                                  .qkv_stride = QKV,
                                  .positions = zeros(&b, ROWS * 4),
                                  .cos_sin = zeros(&b, HEAD_DIM * 4),
                                  .cos_sin_stride = HEAD_DIM,
                                  .q = zeros(&b, ROWS * HEADS * HEAD_DIM * element_bytes(bf16)),
                                  .k = zeros(&b, ROWS * KV_HEADS * HEAD_DIM * element_bytes(bf16)),
                                  .v = zeros(&b, ROWS * KV_HEADS * HEAD_DIM * element_bytes(bf16)),
                                  .q_stride = HEADS * HEAD_DIM,
                                  .k_stride = KV_HEADS * HEAD_DIM,
                                  .v_stride = KV_HEADS * HEAD_DIM,
                                  .rows = ROWS,
                                  .heads = HEADS,
                                  .kv_heads = KV_HEADS,
                                  .head_dim = HEAD_DIM,
                                  .bf16 = bf16};

        UM_CHECK_INT(umi_launch_rope(&job, NULL), cudaSuccess);
        /* the row, a cosine and a sine for each pair that turns, a position for each thread */
        check(bf16 ? "rope<device::bf16, true>" : "rope<float, true>",
              ROWS * (QKV + ROTATED + THREADS) * 4, ROWS * QKV * element_bytes(bf16));
        release(&b);
    }
}

static void activation(void)
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        buffers b = {0};
        const umi_finish_job job = {.products = zeros(&b, ELEMENTS * 2 * 4),
                                    .products_stride = 2 * COLS,
                                    .bias = zeros(&b, 2 * COLS * 4),
                                    .out = zeros(&b, ELEMENTS * element_bytes(bf16)),
                                    .out_stride = COLS,
                                    .rows = ROWS,
                                    .cols = COLS,
                                    .finish = UMI_FINISH_SILU,
                                    .gated = true,
                                    .bf16 = bf16};

        UM_CHECK_INT(umi_launch_finish(&job, NULL), cudaSuccess);
        /* gate and up, each with its bias */
        check(bf16 ? "finish<device::bf16, true>" : "finish<float, true>", ELEMENTS * 2 * 2 * 4,
              ELEMENTS * element_bytes(bf16));
        release(&b);
    }
}

static void guidance(void)
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        buffers b = {0};
        const umi_mix_job job = {.x = zeros(&b, COLS * 4),
                                 .x_stride = COLS,
                                 .conditional = zeros(&b, ROWS * 4),
                                 .unconditional = zeros(&b, ROWS * 4),
                                 .scales = zeros(&b, ROWS * 4),
                                 .out = zeros(&b, ELEMENTS * element_bytes(bf16)),
                                 .out_stride = COLS,
                                 .rows = ROWS,
                                 .cols = COLS,
                                 .bf16 = bf16};

        UM_CHECK_INT(umi_launch_mix(&job, NULL), cudaSuccess);
        /* both rows, and two indices and a scale for each four elements */
        check(bf16 ? "mix<device::bf16, true>" : "mix<float, true>",
              ELEMENTS * 2 * 4 + ELEMENTS / 4 * 3 * 4, ELEMENTS * element_bytes(bf16));
        release(&b);
    }
}

static void reading(void)
{
    buffers b = {0};
    const float *data = zeros(&b, ELEMENTS * 4);
    float *sums = zeros(&b, READ_BLOCKS * 4);

    UM_CHECK_INT(umi_launch_read(data, ELEMENTS, sums, READ_BLOCKS, NULL), cudaSuccess);
    check("stream_read", ELEMENTS * 4, READ_BLOCKS * 4);
    release(&b);
}

static const um_test tests[] = {
    {"embedding", embedding, 0},
    {"norms", norms, 0},
    {"rotary_embedding", rotary_embedding, 0},
    {"activation", activation, 0},
    {"guidance", guidance, 0},
    {"reading", reading, 0},
};
UM_TEST_MAIN(tests)
