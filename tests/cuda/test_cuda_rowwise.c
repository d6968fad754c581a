/*
 * What the row-wise kernels of the cuda backend move, counted by the fake device on aligned rows of
 * real width: bytes equal to the formula, every access coalesced, no bank conflicts. Their results
 * are compared in tests/ops.
 */
#include "tests/cuda/fake.h"
#include "tests/test.h"

enum { ROWS = 3, COLS = 2048, HEADS = 12, KV_HEADS = 2, HEAD_DIM = 128 };
enum { Q_COLS = HEADS * HEAD_DIM, KV_COLS = KV_HEADS * HEAD_DIM, QKV_COLS = Q_COLS + 2 * KV_COLS };

typedef struct fixture {
    um_backend *backend;
    um_tensor x, vector, out_bf16, table_bf16, ids, qkv, cos_sin, q, k, v;
} fixture;

static um_tensor make(um_backend *backend, um_dtype dtype, int64_t rows, int64_t cols)
{
    um_tensor tensor;
    um_err err = {0};

    UM_CHECK_OK(um_tensor_create(backend, dtype, rows, cols, &tensor, &err), err);
    return tensor;
}

/* Zeros throughout: what is moved does not depend on values. */
static fixture open_all(void)
{
    const um_backend_limits limits = {
        .rows_max = ROWS, .sequence_max = ROWS, .width_max = QKV_COLS, .vocab_max = 64};
    um_backend *b = fake_open();
    um_err err = {0};

    UM_CHECK_OK(um_backend_reserve(b, &limits, &err), err);
    fake_reset_kernels();
    return (fixture){.backend = b,
                     .x = make(b, UM_F32, ROWS, COLS),
                     .vector = make(b, UM_F32, 1, COLS),
                     .out_bf16 = make(b, UM_BF16, ROWS, COLS),
                     .table_bf16 = make(b, UM_BF16, ROWS, COLS),
                     .ids = make(b, UM_I32, 1, ROWS),
                     .qkv = make(b, UM_F32, ROWS, QKV_COLS),
                     .cos_sin = make(b, UM_F32, ROWS, HEAD_DIM),
                     .q = make(b, UM_BF16, ROWS, Q_COLS),
                     .k = make(b, UM_BF16, ROWS, KV_COLS),
                     .v = make(b, UM_BF16, ROWS, KV_COLS)};
}

static void close_all(fixture *f)
{
    um_tensor *all[] = {&f->x,   &f->vector,  &f->out_bf16, &f->table_bf16, &f->ids,
                        &f->qkv, &f->cos_sin, &f->q,        &f->k,          &f->v};

    for (size_t i = 0; i < UM_COUNT_OF(all); i++)
        um_tensor_destroy(f->backend, all[i]);
    um_backend_close(f->backend);
}

/* Bytes are those that the lanes ask for: an index that a whole block reads counts for each lane. */
static void check_moved(const char *name, uint64_t read_each_row, uint64_t written_each_row)
{
    fakecuda_kernel k = fake_kernel(name);

    UM_CHECK_INT(k.launches, 1);
    UM_CHECK_INT(k.bytes_read, ROWS * read_each_row);
    UM_CHECK_INT(k.bytes_written, ROWS * written_each_row);
    UM_CHECK_INT(k.global_sectors, k.global_ideal);
    UM_CHECK_INT(k.shared_waves, k.shared_ideal);
}

static void embedding_reads_a_row_once(void)
{
    fixture f = open_all();
    um_embed_args args = {.ids = &f.ids, .table = &f.table_bf16, .scale = 1, .out = &f.x};
    um_err err = {0};

    UM_CHECK_OK(um_op_embed(f.backend, &args, &err), err);
    check_moved("embed<", 2 * COLS + COLS / 4 * sizeof(int32_t), 4 * COLS);
    close_all(&f);
}

static void rmsnorm_reads_a_row_twice(void)
{
    fixture f = open_all();
    um_rmsnorm_args args = {.x = &f.x, .gain = &f.vector, .eps = 1e-5f, .out = &f.out_bf16};
    um_err err = {0};

    UM_CHECK_OK(um_op_rmsnorm(f.backend, &args, &err), err);
    check_moved("rmsnorm<", (4 + 4 + 4) * COLS, 2 * COLS);
    close_all(&f);
}

static void layernorm_reads_a_row_three_times(void)
{
    fixture f = open_all();
    um_layernorm_args args = {
        .x = &f.x, .gain = &f.vector, .bias = &f.vector, .eps = 1e-5f, .out = &f.out_bf16};
    um_err err = {0};

    UM_CHECK_OK(um_op_layernorm(f.backend, &args, &err), err);
    check_moved("layernorm<", (3 * 4 + 4 + 4) * COLS, 2 * COLS);
    close_all(&f);
}

static void rope_reads_q_k_v_once(void)
{
    fixture f = open_all();
    um_rope_args args = {.qkv = &f.qkv,
                         .positions = &f.ids,
                         .cos_sin = &f.cos_sin,
                         .heads = HEADS,
                         .kv_heads = KV_HEADS,
                         .head_dim = HEAD_DIM,
                         .q = &f.q,
                         .k = &f.k,
                         .v = &f.v};
    um_err err = {0};

    UM_CHECK_OK(um_op_rope(f.backend, &args, &err), err);
    check_moved("rope<", 4 * QKV_COLS + 4 * (Q_COLS + KV_COLS) + 256 * sizeof(int32_t),
                2 * QKV_COLS);
    close_all(&f);
}

static void mix_reads_two_rows(void)
{
    fixture f = open_all();
    um_mix_args args = {.x = &f.x,
                        .conditional = &f.ids,
                        .unconditional = &f.ids,
                        .scales = &f.vector,
                        .out = &f.out_bf16};
    um_err err = {0};

    UM_CHECK_OK(um_op_mix(f.backend, &args, &err), err);
    check_moved("mix<", (4 + 4) * COLS + COLS / 4 * 3 * 4, 2 * COLS);
    close_all(&f);
}

/* Gate and up of a row, once; the products themselves are cuBLASLt's. */
static void a_gated_layer_reads_its_products_once(void)
{
    static const float values[COLS * 4];
    fixture f = open_all();
    um_tensor x = make(f.backend, UM_BF16, ROWS, 4);
    um_weight_spec spec = {.kind = UM_WEIGHT_GATED, .dtype = UM_BF16, .part_count = 2};
    um_linear_args args = {.x = &x, .out = &f.out_bf16};
    um_weight *weight = NULL;
    um_err err = {0};

    spec.parts[0] = spec.parts[1] = um_tensor_host(UM_F32, COLS, 4, values);
    UM_CHECK_OK(um_weight_create(f.backend, &spec, &weight, &err), err);
    args.weight = weight;
    UM_CHECK_OK(um_op_linear(f.backend, &args, &err), err);
    check_moved("finish<", (4 + 4) * COLS, 2 * COLS);
    um_weight_destroy(f.backend, weight);
    um_tensor_destroy(f.backend, &x);
    close_all(&f);
}

static const um_test tests[] = {
    UM_TEST(embedding_reads_a_row_once),
    UM_TEST(rmsnorm_reads_a_row_twice),
    UM_TEST(layernorm_reads_a_row_three_times),
    UM_TEST(rope_reads_q_k_v_once),
    UM_TEST(mix_reads_two_rows),
    UM_TEST(a_gated_layer_reads_its_products_once),
};
UM_TEST_MAIN(tests)
