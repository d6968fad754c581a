/*
 * Attention of the cuda backend, its own kernels on the fake device, which also checks bounds,
 * uninitialised bytes and races: against a softmax in double precision, for ragged packs, every
 * kind of head and sequences whose keys are split; in forward, reverse and lazy order; the same
 * bits alone and in any pack; and what it moves, launches and sends.
 */
#include <stdlib.h>

#include "tests/cuda/fake.h"
#include "tests/ops/ops_fixture.h"

enum { ROWS_MAX = 1400, LENGTH_MAX = 700, WIDTH_MAX = 2048, SEQUENCES_MAX = 6 };

typedef struct shape {
    int32_t heads, kv_heads, head_dim;
    um_dtype dtype;
    float q_scale; /* how peaked the softmax is */
    int32_t range; /* keys of a range where the keys are split; 0: they are not */
    int32_t lengths[SEQUENCES_MAX];
} shape;

/* Tensors of a shape, filled. */
typedef struct fixture {
    um_backend *backend;
    shape shape;
    int32_t sequences;
    int32_t cu_seqlens[SEQUENCES_MAX + 1];
    ops_matrix q, k, v, out;
} fixture;

static um_backend *open_backend(void)
{
    const um_backend_limits limits = {
        .rows_max = ROWS_MAX, .sequence_max = LENGTH_MAX, .width_max = WIDTH_MAX, .vocab_max = 64};
    um_backend *backend = fake_open();
    um_err err = {0};

    UM_CHECK_OK(um_backend_reserve(backend, &limits, &err), err);
    return backend;
}

static fixture make(um_backend *backend, const shape *s)
{
    fixture f = {.backend = backend, .shape = *s};
    int32_t rows, q_width = s->heads * s->head_dim, k_width = s->kv_heads * s->head_dim;

    for (int i = 0; i < SEQUENCES_MAX && s->lengths[i] > 0; i++) {
        f.cu_seqlens[i + 1] = f.cu_seqlens[i] + s->lengths[i];
        f.sequences++;
    }
    rows = f.cu_seqlens[f.sequences];
    f.q = ops_make(backend, s->dtype, rows, q_width, OPS_TIGHT);
    f.k = ops_make(backend, s->dtype, rows, k_width, OPS_TIGHT);
    f.v = ops_make(backend, s->dtype, rows, k_width, OPS_TIGHT);
    f.out = ops_make(backend, s->dtype, rows, q_width, OPS_TIGHT);
    ops_fill(&f.q, 51, s->q_scale);
    ops_fill(&f.k, 52, 2.0f);
    ops_fill(&f.v, 53, 1.0f);
    return f;
}

static void discard(fixture *f)
{
    ops_free(&f->out);
    ops_free(&f->v);
    ops_free(&f->k);
    ops_free(&f->q);
}

/* Launches only; the output stays on the device. */
static um_status launch(const fixture *f, um_err *err)
{
    um_attention_args args = {.q = &f->q.view,
                              .k = &f->k.view,
                              .v = &f->v.view,
                              .cu_seqlens = f->cu_seqlens,
                              .sequence_count = f->sequences,
                              .heads = f->shape.heads,
                              .kv_heads = f->shape.kv_heads,
                              .head_dim = f->shape.head_dim,
                              .scale = (float)(1 / sqrt((double)f->shape.head_dim)),
                              .out = &f->out.view};

    return um_op_attention(f->backend, &args, err);
}

static void run(fixture *f, const char *label)
{
    um_err err = {0};

    UM_CHECK_OK(launch(f, &err), err);
    ops_download(&f->out, label);
}

/* ---- against double precision --------------------------------------------------------------- */

static const shape shapes[] = {
    /* the ragged pack, and every size of head; seven query heads of a KV head share a tile */
    {7, 1, 4, UM_F32, 1, 0, {1, 63, 64, 65, 130}},
    {7, 1, 8, UM_F32, 1, 0, {1, 63, 64, 65, 130}},
    {7, 1, 128, UM_F32, 1, 0, {1, 63, 64, 65, 130}},
    {7, 1, 4, UM_BF16, 1, 0, {1, 63, 64, 65, 130}},
    {7, 1, 8, UM_BF16, 1, 0, {1, 63, 64, 65, 130}},
    {7, 1, 32, UM_BF16, 1, 0, {1, 63, 64, 65, 130}},
    {7, 1, 96, UM_BF16, 1, 0, {1, 63, 64, 65, 130}},
    {7, 1, 64, UM_BF16, 1, 0, {1, 63, 64, 65, 130}},
    {7, 1, 128, UM_BF16, 1, 0, {1, 63, 64, 65, 130}},
    /* one query head for each KV head */
    {3, 3, 32, UM_F32, 2, 0, {65, 1, 130}},
    {3, 3, 64, UM_F32, 2, 0, {65, 1, 130}},
    {2, 2, 96, UM_F32, 2, 0, {65, 1, 130}},
    {3, 3, 64, UM_BF16, 2, 0, {65, 1, 130}},
    {3, 3, 128, UM_BF16, 2, 0, {65, 1, 130}},
    /* several KV heads of several heads; peaked */
    {8, 2, 64, UM_BF16, 8, 0, {130, 64}},
    {14, 2, 128, UM_BF16, 8, 0, {40}},
    {4, 2, 64, UM_F32, 30, 0, {130}},
    /* wider than a block takes */
    {2, 1, 200, UM_F32, 1, 0, {70}},
    {2, 1, 200, UM_BF16, 1, 0, {70}},
    /* many keys, few heads: split; beside a sequence that is not */
    {1, 1, 16, UM_F32, 2, 256, {600, 20}},
    {2, 1, 64, UM_BF16, 1, 256, {600, 20}},
    {1, 1, 128, UM_BF16, 2, 192, {65, 513, 3}},
    {1, 1, 24, UM_BF16, 1, 192, {30, 520}},
    /* as long, but with heads enough */
    {7, 7, 8, UM_BF16, 1, 0, {600}},
};

/*
 * Float32: an error of 1e-7 s in a score of size s becomes a relative error of its weight. bf16: a
 * weight may also fall on the other side of its rounding. The worst is one in [1/2, 1), which moves
 * by 2^-8 in a sum of at least 3/2, the largest weight being 1. That is wide; but such a weight is
 * rare, while a rounding point in the wrong place would show in every fourth element, and at most
 * one in a hundred may differ at all (ops_stats_finish).
 */
static double bound_of(const shape *s, double score_max, double v_max)
{
    double bound = (5e-7 + 3e-7 * score_max) * v_max;

    return s->dtype == UM_BF16 ? bound + 0x1p-8 / 1.5 * v_max : bound;
}

/* One query head of one row. The weights of each range are rounded relative to the range's largest
 * score, and brought to the row's own afterwards. */
static void check_row(const fixture *f, int32_t first, int32_t length, int64_t row, int64_t head,
                      const char *label, ops_stats *stats)
{
    const shape *s = &f->shape;
    const int64_t dim = s->head_dim, col = head * dim;
    const int64_t kv_col = head / (s->heads / s->kv_heads) * dim;
    const int32_t range = s->range && length > 512 ? s->range : length;
    double weights[LENGTH_MAX], max = -HUGE_VAL, size = 0, sum = 0;

    for (int32_t j = 0; j < length; j++) {
        double dot = 0;

        for (int64_t i = 0; i < dim; i++)
            dot += ops_get(&f->q.host, row, col + i) * ops_get(&f->k.host, first + j, kv_col + i);
        weights[j] = dot / sqrt((double)dim);
        max = fmax(max, weights[j]);
        size = fmax(size, fabs(weights[j]));
    }
    for (int32_t start = 0; start < length; start += range) {
        int32_t end = start + range < length ? start + range : length;
        double range_max = -HUGE_VAL;

        for (int32_t j = start; j < end; j++)
            range_max = fmax(range_max, weights[j]);
        for (int32_t j = start; j < end; j++) {
            double p = exp(weights[j] - range_max);

            sum += p * exp(range_max - max);
            weights[j] = ops_round(s->dtype, p) * exp(range_max - max);
        }
    }
    for (int64_t i = 0; i < dim; i++) {
        double o = 0, v_max = 0;

        for (int32_t j = 0; j < length; j++) {
            double v = ops_get(&f->v.host, first + j, kv_col + i);

            o += weights[j] * v;
            v_max = fmax(v_max, fabs(v));
        }
        ops_check_element(stats, label, &f->out.host, row, col + i, o / sum,
                          bound_of(s, size, v_max));
    }
}

/* Every row of short sequences, every 13th of long ones, whose kernels are the same. */
static void check_output(const fixture *f, const char *label, ops_stats *stats)
{
    for (int32_t s = 0; s < f->sequences; s++) {
        int32_t first = f->cu_seqlens[s], length = f->cu_seqlens[s + 1] - first;

        for (int32_t r = 0; r<length; r += length> 200 ? 13 : 1)
            for (int64_t h = 0; h < f->shape.heads; h++)
                check_row(f, first, length, first + r, h, label, stats);
    }
}

static void matches_double(void)
{
    um_backend *backend = open_backend();

    for (size_t i = 0; i < UM_COUNT_OF(shapes); i++) {
        fixture f = make(backend, &shapes[i]);
        ops_stats stats = {0};
        char label[OPS_LABEL_BYTES];

        snprintf(label, sizeof(label), "shape %zu", i);
        run(&f, label);
        check_output(&f, label, &stats);
        ops_stats_finish(&stats, "attention", label);
        discard(&f);
    }
    um_backend_close(backend);
}

/* ---- order and company ---------------------------------------------------------------------- */

/* Kernels must not depend on which block or warp comes first, nor the host on when they run. */
static void order_of_execution_does_not_show(void)
{
    static const shape cases[] = {
        {7, 1, 8, UM_F32, 1, 0, {1, 63, 64, 65, 130}},
        {7, 1, 64, UM_BF16, 1, 0, {1, 63, 64, 65, 130}},
        {1, 1, 128, UM_BF16, 1, 256, {65, 600}},
    };
    static const char *const switches[] = {"ORDER", "LAZY"};
    um_backend *backend = open_backend();

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        fixture forward = make(backend, &cases[i]);

        run(&forward, "forward");
        for (size_t w = 0; w < UM_COUNT_OF(switches); w++) {
            fixture other = make(backend, &cases[i]);

            fake_set(switches[w], w == 0 ? "reverse" : "1");
            run(&other, switches[w]);
            fake_set(switches[w], w == 0 ? "" : "0");
            for (int64_t r = 0; r < forward.out.host.rows; r++)
                UM_CHECK(ops_same_row(&forward.out.host, r, &other.out.host, r));
            discard(&other);
        }
        discard(&forward);
    }
    um_backend_close(backend);
}

/* Sequence s of `all` at `row` of `one`. */
static void copy_sequence(const fixture *all, int32_t s, const fixture *one, int64_t row)
{
    const ops_matrix *from[] = {&all->q, &all->k, &all->v}, *to[] = {&one->q, &one->k, &one->v};
    int32_t first = all->cu_seqlens[s], length = all->cu_seqlens[s + 1] - first;

    for (int i = 0; i < 3; i++) {
        for (int32_t r = 0; r < length; r++)
            for (int64_t c = 0; c < to[i]->host.cols; c++)
                ops_set(&to[i]->host, row + r, c, (float)ops_get(&from[i]->host, first + r, c));
        ops_upload(to[i]);
    }
}

static void check_same_sequence(const fixture *all, int32_t s, const fixture *one, int64_t row)
{
    int32_t first = all->cu_seqlens[s], length = all->cu_seqlens[s + 1] - first;

    for (int32_t r = 0; r < length; r++) {
        um_test_count();
        if (!ops_same_row(&all->out.host, first + r, &one->out.host, row + r))
            um_test_fail(__FILE__, __LINE__, "row %d of sequence %d differs", (int)r, (int)s);
    }
}

static void company_case(um_backend *backend, const shape *packed)
{
    shape reversed = *packed;
    fixture all = make(backend, packed), back;

    run(&all, "packed");
    for (int32_t s = 0; s < all.sequences; s++) {
        shape alone = *packed;
        fixture one;

        memset(alone.lengths, 0, sizeof(alone.lengths));
        alone.lengths[0] = packed->lengths[s];
        reversed.lengths[all.sequences - 1 - s] = packed->lengths[s];
        one = make(backend, &alone);
        copy_sequence(&all, s, &one, 0);
        run(&one, "alone");
        check_same_sequence(&all, s, &one, 0);
        discard(&one);
    }
    back = make(backend, &reversed);
    for (int32_t s = 0; s < all.sequences; s++)
        copy_sequence(&all, s, &back, back.cu_seqlens[all.sequences - 1 - s]);
    run(&back, "other order");
    for (int32_t s = 0; s < all.sequences; s++)
        check_same_sequence(&all, s, &back, back.cu_seqlens[all.sequences - 1 - s]);
    discard(&back);
    discard(&all);
}

/* Batch invariance, bit for bit: alone, in a pack, in the same pack in another order. */
static void company_does_not_show(void)
{
    static const shape packs[] = {
        {7, 1, 64, UM_BF16, 1, 0, {1, 63, 64, 65, 130}},
        {2, 2, 128, UM_BF16, 1, 256, {130, 600, 7, 64}},
        {7, 1, 8, UM_BF16, 1, 0, {1, 63, 64, 65, 130}},
        {2, 1, 16, UM_F32, 1, 256, {63, 600, 65}},
    };
    um_backend *backend = open_backend();

    for (size_t i = 0; i < UM_COUNT_OF(packs); i++)
        company_case(backend, &packs[i]);
    um_backend_close(backend);
}

/* NaN in the middle sequence, in the query of one row or in the key or value of one. */
static void nan_stays_in_its_sequence(void)
{
    static const shape packs[] = {
        {2, 1, 64, UM_BF16, 1, 0, {64, 70, 3}},
        {1, 1, 128, UM_BF16, 1, 256, {64, 600, 3}},
        {2, 1, 4, UM_F32, 1, 0, {64, 70, 3}},
    };
    um_backend *backend = open_backend();

    for (size_t i = 0; i < UM_COUNT_OF(packs); i++)
        for (int where = 0; where < 3; where++) {
            fixture clean = make(backend, &packs[i]), broken = make(backend, &packs[i]);
            ops_matrix *inputs[] = {&broken.q, &broken.k, &broken.v};
            int32_t row = clean.cu_seqlens[1] + 66;

            for (int64_t c = 0; c < inputs[where]->host.cols; c++)
                ops_set(&inputs[where]->host, row, c, NAN);
            ops_upload(inputs[where]);
            run(&clean, "clean");
            run(&broken, "broken");
            ops_check_isolated(&clean.out.host, &broken.out.host,
                               where == 0 ? row : clean.cu_seqlens[1],
                               where == 0 ? row + 1 : clean.cu_seqlens[2], "NaN");
            discard(&broken);
            discard(&clean);
        }
    um_backend_close(backend);
}

/* ---- what it costs -------------------------------------------------------------------------- */

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Of one sequence, in attend_mma; a tile has 64 packed rows, a tile of keys 64 keys. */
typedef struct cost {
    int64_t blocks;
    int64_t mma;
    int64_t read;
    int64_t written;
} cost;

/*
 * Each block reads its item (32 bytes in each of 128 threads) and its rows of Q once, K in the first
 * pass, all tiles of K but the last again in the second, and V. A product of 64 x 64 scores is
 * (64 / 16) (64 / 8) (dim / 16) mma, as is one of weights by V.
 */
static cost cost_of(const shape *s, int64_t length)
{
    const int64_t group = s->heads / s->kv_heads, rows = 64 / group, dim = s->head_dim;
    const int64_t tiles = ceil_div(length, rows), steps = ceil_div(length, 64);
    const int64_t last = length - 64 * (steps - 1), blocks = tiles * s->kv_heads;

    return (cost){.blocks = blocks,
                  .mma = blocks * (3 * steps - 1) * (64 / 16) * (64 / 8) * (dim / 16),
                  .read = blocks * (128 * 32 + (3 * length - last) * dim * 2) +
                          length * s->heads * dim * 2,
                  .written = length * s->heads * dim * 2};
}

/* Bytes, mma, launches; no bank conflict; no sector of which half is wasted. */
static void costs_what_the_formula_says(void)
{
    static const shape packs[] = {
        {7, 1, 128, UM_BF16, 1, 0, {1, 63, 64, 65, 130}},
        {4, 4, 64, UM_BF16, 1, 0, {65, 130}},
    };
    um_backend *backend = open_backend();

    for (size_t i = 0; i < UM_COUNT_OF(packs); i++) {
        fixture f = make(backend, &packs[i]);
        cost expected = {0};
        fakecuda_kernel seen;

        for (int32_t s = 0; s < f.sequences; s++) {
            cost c = cost_of(&packs[i], packs[i].lengths[s]);

            expected.blocks += c.blocks;
            expected.mma += c.mma;
            expected.read += c.read;
            expected.written += c.written;
        }
        fake_reset_kernels();
        run(&f, "cost");
        seen = fake_kernel("attend_mma");
        UM_CHECK_INT(seen.launches, 1);
        UM_CHECK_INT(seen.blocks, expected.blocks);
        UM_CHECK_INT(seen.mma, expected.mma);
        UM_CHECK_INT(seen.bytes_read, expected.read);
        UM_CHECK_INT(seen.bytes_written, expected.written);
        UM_CHECK_INT(seen.shared_waves, seen.shared_ideal);
        UM_CHECK_INT(seen.global_sectors, seen.global_ideal);
        discard(&f);
    }
    um_backend_close(backend);
}

/* The other kernels: no bank conflict, and whole sectors but for the maxima and sums of parts. */
static void plain_kernels_waste_no_access(void)
{
    static const shape packs[] = {
        {7, 1, 32, UM_F32, 1, 0, {1, 63, 130}},
        {7, 1, 96, UM_BF16, 1, 0, {65}},
        {1, 1, 128, UM_BF16, 1, 256, {600}},
    };
    static const char *const kernels[] = {"attend_fma", "attend_mma", "combine"};
    um_backend *backend = open_backend();

    fake_reset_kernels();
    for (size_t i = 0; i < UM_COUNT_OF(packs); i++) {
        fixture f = make(backend, &packs[i]);

        run(&f, "accesses");
        discard(&f);
    }
    for (size_t i = 0; i < UM_COUNT_OF(kernels); i++) {
        fakecuda_kernel seen = fake_kernel(kernels[i]);

        UM_CHECK(seen.launches > 0);
        UM_CHECK_INT(seen.shared_waves, seen.shared_ideal);
        UM_CHECK(100 * seen.global_sectors <= 102 * seen.global_ideal);
    }
    um_backend_close(backend);
}

/* Layers of a step share the list: it is sent once, without waiting and without allocating. */
static void list_is_sent_when_it_changes(void)
{
    static const shape packs[] = {{2, 1, 64, UM_BF16, 1, 0, {64, 70}},
                                  {2, 1, 64, UM_BF16, 1, 0, {70, 64}}};
    um_backend *backend = open_backend();
    fixture first = make(backend, &packs[0]), second = make(backend, &packs[1]);
    fixture *const calls[] = {&first, &first, &second, &second, &first};
    const uint64_t sends[] = {1, 0, 1, 0, 1};
    um_err err = {0};

    for (size_t i = 0; i < UM_COUNT_OF(calls); i++) {
        fakecuda_counts before = fake_counts(), after;

        UM_CHECK_OK(launch(calls[i], &err), err);
        after = fake_counts();
        UM_CHECK_INT(after.copies_to_device - before.copies_to_device, sends[i]);
        UM_CHECK_INT(after.launches - before.launches, 1);
        UM_CHECK_INT(after.host_waits - before.host_waits, 0);
        UM_CHECK_INT(after.device_allocations - before.device_allocations, 0);
        UM_CHECK_INT(after.pinned_allocations - before.pinned_allocations, 0);
    }
    discard(&second);
    discard(&first);
    um_backend_close(backend);
}

/* A launch that fails is an error of the op, and the next one works. */
static void failed_launch_is_an_error(void)
{
    static const shape split = {1, 1, 64, UM_BF16, 1, 256, {600}};
    um_backend *backend = open_backend();
    fixture f = make(backend, &split);

    for (int n = 1; n <= 2; n++) { /* attention, then the addition of its parts */
        um_err err = {0};

        fake_set("FAIL_LAUNCH", n == 1 ? "1" : "2");
        UM_CHECK_INT(launch(&f, &err), UM_E_DEVICE);
        fake_set("FAIL_LAUNCH", "0");
        UM_CHECK_OK(launch(&f, &err), err);
    }
    discard(&f);
    um_backend_close(backend);
}

/* Scratch of its own for long sequences: every allocation fails once, the small one stays. */
static void failed_reserve_keeps_the_old_scratch(void)
{
    static const shape small = {2, 1, 64, UM_BF16, 1, 0, {20, 7}};
    const um_backend_limits limits = {
        .rows_max = 64, .sequence_max = 64, .width_max = 128, .vocab_max = 64};
    const um_backend_limits larger = {
        .rows_max = ROWS_MAX, .sequence_max = LENGTH_MAX, .width_max = 128, .vocab_max = 64};
    um_backend *other = fake_open(); /* holds the runtime */
    const uint64_t live = fake_counts().live_allocations;
    um_backend *backend = fake_open();
    um_status status = UM_E_NOMEM;
    um_err err = {0};
    fixture f;
    int failures = 0;

    UM_CHECK_OK(um_backend_reserve(backend, &limits, &err), err);
    f = make(backend, &small);
    for (int n = 1; status == UM_E_NOMEM && n < 100; n++) {
        char number[16];

        snprintf(number, sizeof(number), "%d", n);
        fake_set("FAIL_ALLOC", number);
        status = um_backend_reserve(backend, &larger, &err);
        fake_set("FAIL_ALLOC", "0");
        failures += status == UM_E_NOMEM;
        run(&f, "old scratch");
    }
    UM_CHECK_OK(status, err);
    UM_CHECK(failures >= 3); /* the list, sums and scales */
    discard(&f);
    um_backend_close(backend);
    UM_CHECK_INT(fake_counts().live_allocations, live);
    um_backend_close(other);
}

static const um_test tests[] = {
    {"matches_double", matches_double, 180},
    {"order_of_execution_does_not_show", order_of_execution_does_not_show, 120},
    {"company_does_not_show", company_does_not_show, 120},
    UM_TEST(nan_stays_in_its_sequence),
    UM_TEST(costs_what_the_formula_says),
    UM_TEST(plain_kernels_waste_no_access),
    UM_TEST(list_is_sent_when_it_changes),
    UM_TEST(failed_launch_is_an_error),
    UM_TEST(failed_reserve_keeps_the_old_scratch),
};
UM_TEST_MAIN(tests)
