/*
 * Row-wise ops of the forward pass, on every backend and instruction-set level, against references
 * in double precision that are written here from the formulas of ops.h (rounding points included)
 * and share no code with ref. Outputs lie between guard zones; inputs are surrounded by NaN.
 */
#include "tests/ops/ops_fixture.h"

/* ---- embed ---------------------------------------------------------------------------------- */

static void embed_is_exact(void)
{
    static const int32_t ids[] = {4, 0, 39, 4, 17};
    static const int64_t widths[] = {1, 3, 17, 63, 64, 65};
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++)
        for (int64_t c = 0; c < 24; c++) {
            um_backend *backend = backends.at[b];
            int64_t width = widths[c % 6], rows = c % 2 ? 5 : 1;
            um_dtype dtype = c < 12 ? UM_F32 : UM_BF16;
            float scale = c % 3 ? 1.0f : 8.0f; /* a power of two: the product is exact */
            ops_matrix table = ops_make(backend, dtype, 40, width, c % 2 ? OPS_PADDED : OPS_TIGHT);
            ops_matrix out = ops_make(backend, UM_F32, rows, width, c % 4 ? OPS_TIGHT : OPS_PADDED);
            ops_matrix id_row = ops_vector(backend, UM_I32, 5, ids);
            um_embed_args args = {
                .ids = &id_row.view, .table = &table.view, .scale = scale, .out = &out.view};
            um_err err = {0};

            ops_fill(&table, 3, 1.0f);
            UM_CHECK_OK(um_op_embed(backend, &args, &err), err);
            ops_download(&out, backends.label[b]);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = 0; i < width; i++)
                    UM_CHECK(ops_get(&out.host, r, i) ==
                             (double)scale * ops_get(&table.host, ids[r], i));
            ops_free(&id_row);
            ops_free(&out);
            ops_free(&table);
        }
    ops_close(&backends);
}

/* x = scale * table[id] + position_table[position] (GPT-2): one rounding of the sum. */
static void embed_adds_learned_positions(void)
{
    static const int32_t ids[] = {4, 0, 39, 4, 17}, positions[] = {0, 11, 2, 2, 5};
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++)
        for (int c = 0; c < 4; c++) {
            um_backend *backend = backends.at[b];
            um_dtype dtype = c < 2 ? UM_F32 : UM_BF16;
            int64_t width = c % 2 ? 65 : 3;
            ops_matrix table = ops_make(backend, dtype, 40, width, OPS_TIGHT);
            ops_matrix learned = ops_make(backend, dtype, 12, width, OPS_PADDED);
            ops_matrix out = ops_make(backend, UM_F32, 5, width, OPS_PADDED);
            ops_matrix id_row = ops_vector(backend, UM_I32, 5, ids);
            ops_matrix position_row = ops_vector(backend, UM_I32, 5, positions);
            um_embed_args args = {.ids = &id_row.view,
                                  .table = &table.view,
                                  .scale = 2,
                                  .positions = &position_row.view,
                                  .position_table = &learned.view,
                                  .out = &out.view};
            um_err err = {0};

            ops_fill(&table, 3, 1.0f);
            ops_fill(&learned, 4, 1.0f);
            UM_CHECK_OK(um_op_embed(backend, &args, &err), err);
            ops_download(&out, backends.label[b]);
            for (int64_t r = 0; r < 5; r++)
                for (int64_t i = 0; i < width; i++) {
                    double sum = 2 * ops_get(&table.host, ids[r], i) +
                                 ops_get(&learned.host, positions[r], i);

                    UM_CHECK(ops_get(&out.host, r, i) == (double)(float)sum);
                }
            ops_free(&position_row);
            ops_free(&id_row);
            ops_free(&out);
            ops_free(&learned);
            ops_free(&table);
        }
    ops_close(&backends);
}

/* ---- rmsnorm -------------------------------------------------------------------------------- */

/* Float32 sum of squares, square root and two products: observed 6.5e-7 (ref, which adds 1,536
 * squares one after the other) and 1.7e-7 (cpu, whose sums are blocked). */
#define NORM_TOLERANCE 1e-6

typedef struct norm_case {
    int64_t rows, width;
    um_dtype out_dtype;
    bool in_place;
    ops_layout layout;
} norm_case;

static const norm_case norm_cases[] = {
    {1, 1, UM_F32, false, OPS_TIGHT},     {1, 3, UM_BF16, false, OPS_TIGHT},
    {4, 17, UM_F32, false, OPS_PADDED},   {3, 63, UM_BF16, false, OPS_PADDED},
    {7, 64, UM_F32, true, OPS_TIGHT},     {9, 65, UM_F32, true, OPS_PADDED},
    {65, 100, UM_BF16, false, OPS_TIGHT}, {5, 1536, UM_F32, false, OPS_PADDED},
    {5, 1536, UM_BF16, false, OPS_TIGHT}, {300, 128, UM_BF16, false, OPS_PADDED},
};

static void check_norm_row(const norm_case *c, const um_tensor *x, const um_tensor *gain,
                           const um_tensor *out, int64_t row, const char *label, ops_stats *stats)
{
    double squares = 0, factor;

    for (int64_t i = 0; i < c->width; i++)
        squares += ops_get(x, row, i) * ops_get(x, row, i);
    factor = 1 / sqrt(squares / (double)c->width + 1e-5);
    for (int64_t i = 0; i < c->width; i++) {
        double normed = ops_round(c->out_dtype, ops_get(x, row, i) * factor);
        double y = normed * ops_get(gain, 0, i);
        /* in bf16 the first rounding, too, may fall to the other side: 2^-7 of the value */
        double other_side = c->out_dtype == UM_BF16 ? 0x1p-7 * fabs(y) : 0;

        ops_check_element(stats, label, out, row, i, y, NORM_TOLERANCE * fabs(y) + other_side);
    }
}

static void run_norm(um_backend *backend, const norm_case *c, const char *label, ops_stats *stats)
{
    ops_matrix x = ops_make(backend, UM_F32, c->rows, c->width, c->layout);
    ops_matrix gain = ops_make(backend, UM_F32, 1, c->width, OPS_TIGHT);
    ops_matrix out = ops_make(backend, c->out_dtype, c->rows, c->width, c->layout);
    ops_matrix copy = ops_make(backend, UM_F32, c->rows, c->width, c->layout);
    ops_matrix *written = c->in_place ? &copy : &out;
    um_rmsnorm_args args = {.x = c->in_place ? &copy.view : &x.view,
                            .gain = &gain.view,
                            .eps = 1e-5f,
                            .out = &written->view};
    um_err err = {0};

    ops_fill(&x, 5, 3.0f);
    ops_fill(&copy, 5, 3.0f);
    ops_fill(&gain, 6, 1.5f);
    UM_CHECK_OK(um_op_rmsnorm(backend, &args, &err), err);
    ops_download(written, label);
    for (int64_t r = 0; r < c->rows; r++)
        check_norm_row(c, &x.host, &gain.host, &written->host, r, label, stats);
    ops_free(&copy);
    ops_free(&out);
    ops_free(&gain);
    ops_free(&x);
}

static void rmsnorm_matches_double(void)
{
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++) {
        ops_stats stats = {0};

        for (size_t i = 0; i < UM_COUNT_OF(norm_cases); i++) {
            char label[OPS_LABEL_BYTES];

            snprintf(label, sizeof(label), "%s rmsnorm case %zu", backends.label[b], i);
            run_norm(backends.at[b], &norm_cases[i], label, &stats);
        }
        ops_stats_finish(&stats, "rmsnorm", backends.label[b]);
    }
    ops_close(&backends);
}

/* ---- layernorm ------------------------------------------------------------------------------ */

static void check_layernorm_row(const norm_case *c, const um_tensor *x, const um_tensor *gain,
                                const um_tensor *bias, const um_tensor *out, int64_t row,
                                const char *label, ops_stats *stats)
{
    double sum = 0, size = 0, squares = 0, mean, factor;

    for (int64_t i = 0; i < c->width; i++) {
        sum += ops_get(x, row, i);
        size += fabs(ops_get(x, row, i));
    }
    mean = sum / (double)c->width;
    for (int64_t i = 0; i < c->width; i++)
        squares += (ops_get(x, row, i) - mean) * (ops_get(x, row, i) - mean);
    factor = 1 / sqrt(squares / (double)c->width + 1e-5);
    for (int64_t i = 0; i < c->width; i++) {
        double g = ops_get(gain, 0, i), b = bias ? ops_get(bias, 0, i) : 0;
        double normed = (ops_get(x, row, i) - mean) * factor * g;
        /* the mean is good to 5e-7 of the mean magnitude, as sums of products are */
        double mean_error = 5e-7 * size / (double)c->width * factor * fabs(g);

        ops_check_element(stats, label, out, row, i, normed + b,
                          NORM_TOLERANCE * (fabs(normed) + fabs(b)) + mean_error);
    }
}

static void run_layernorm(um_backend *backend, const norm_case *c, bool biased, const char *label,
                          ops_stats *stats)
{
    ops_matrix x = ops_make(backend, UM_F32, c->rows, c->width, c->layout);
    ops_matrix gain = ops_make(backend, UM_F32, 1, c->width, OPS_TIGHT);
    ops_matrix bias = ops_make(backend, UM_F32, 1, c->width, OPS_TIGHT);
    ops_matrix out = ops_make(backend, c->out_dtype, c->rows, c->width, c->layout);
    ops_matrix copy = ops_make(backend, UM_F32, c->rows, c->width, c->layout);
    ops_matrix *written = c->in_place ? &copy : &out;
    um_layernorm_args args = {.x = c->in_place ? &copy.view : &x.view,
                              .gain = &gain.view,
                              .bias = biased ? &bias.view : NULL,
                              .eps = 1e-5f,
                              .out = &written->view};
    um_err err = {0};

    ops_fill(&x, 5, 3.0f);
    ops_fill(&copy, 5, 3.0f);
    ops_fill(&gain, 6, 1.5f);
    ops_fill(&bias, 7, 1.0f);
    UM_CHECK_OK(um_op_layernorm(backend, &args, &err), err);
    ops_download(written, label);
    for (int64_t r = 0; r < c->rows; r++)
        check_layernorm_row(c, &x.host, &gain.host, biased ? &bias.host : NULL, &written->host, r,
                            label, stats);
    ops_free(&copy);
    ops_free(&out);
    ops_free(&bias);
    ops_free(&gain);
    ops_free(&x);
}

static void layernorm_matches_double(void)
{
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++) {
        ops_stats stats = {0};

        for (size_t i = 0; i < 2 * UM_COUNT_OF(norm_cases); i++) {
            char label[OPS_LABEL_BYTES];

            snprintf(label, sizeof(label), "%s layernorm case %zu", backends.label[b], i);
            run_layernorm(backends.at[b], &norm_cases[i / 2], i % 2, label, &stats);
        }
        ops_stats_finish(&stats, "layernorm", backends.label[b]);
    }
    ops_close(&backends);
}

/* ---- rope ----------------------------------------------------------------------------------- */

typedef struct rope_case {
    int64_t rows;
    int32_t heads, kv_heads, head_dim;
    um_dtype dtype;
    ops_layout layout;
} rope_case;

static const rope_case rope_cases[] = {
    {1, 1, 1, 2, UM_F32, OPS_TIGHT},    {3, 4, 4, 4, UM_F32, OPS_PADDED},
    {5, 4, 2, 6, UM_BF16, OPS_PADDED},  {17, 3, 1, 34, UM_F32, OPS_TIGHT},
    {65, 8, 2, 64, UM_BF16, OPS_TIGHT}, {9, 2, 2, 128, UM_F32, OPS_PADDED},
    {1, 6, 3, 80, UM_BF16, OPS_PADDED}, {6, 4, 2, 128, UM_F32, OPS_TIGHT},
};

#define ROPE_POSITIONS 512

static void check_rotated(const rope_case *c, const um_tensor *qkv, const um_tensor *table,
                          int32_t position, int64_t row, int64_t qkv_col, const um_tensor *out,
                          int64_t col, const char *label, ops_stats *stats)
{
    int64_t half = c->head_dim / 2;

    for (int64_t i = 0; i < c->head_dim; i++) {
        int64_t j = i % half, partner = i < half ? i + half : i - half;
        double cosine = ops_get(table, position, j), sine = ops_get(table, position, half + j);
        double x = ops_get(qkv, row, qkv_col + i), other = ops_get(qkv, row, qkv_col + partner);
        double y = x * cosine + (i < half ? -other : other) * sine;

        /* two products and a sum, at most 3 roundings of 2^-24; observed 0.57 of that */
        ops_check_element(stats, label, out, row, col + i, y,
                          1.8e-7 * (fabs(x * cosine) + fabs(other * sine)));
    }
}

static void run_rope(um_backend *backend, const rope_case *c, const char *label, ops_stats *stats)
{
    int64_t q_width = c->heads * c->head_dim, k_width = c->kv_heads * c->head_dim;
    ops_matrix qkv = ops_make(backend, UM_F32, c->rows, q_width + 2 * k_width, c->layout);
    ops_matrix table = ops_make(backend, UM_F32, ROPE_POSITIONS, c->head_dim, OPS_TIGHT);
    ops_matrix q = ops_make(backend, c->dtype, c->rows, q_width, c->layout);
    ops_matrix k = ops_make(backend, c->dtype, c->rows, k_width, c->layout);
    ops_matrix v = ops_make(backend, c->dtype, c->rows, k_width, c->layout);
    int32_t positions[OPS_ROWS_MAX];
    ops_matrix position_row;
    um_rope_args args = {.qkv = &qkv.view,
                         .positions = &position_row.view,
                         .cos_sin = &table.view,
                         .heads = c->heads,
                         .kv_heads = c->kv_heads,
                         .head_dim = c->head_dim,
                         .q = &q.view,
                         .k = &k.view,
                         .v = &v.view};
    um_err err = {0};

    ops_fill(&qkv, 7, 2.0f);
    ops_fill(&table, 8, 1.0f);
    for (int64_t r = 0; r < c->rows; r++)
        positions[r] = (int32_t)((r * 131 + 511) % ROPE_POSITIONS);
    position_row = ops_vector(backend, UM_I32, c->rows, positions);
    UM_CHECK_OK(um_op_rope(backend, &args, &err), err);
    ops_download(&q, label);
    ops_download(&k, label);
    ops_download(&v, label);
    for (int64_t r = 0; r < c->rows; r++) {
        for (int64_t col = 0; col < q_width; col += c->head_dim)
            check_rotated(c, &qkv.host, &table.host, positions[r], r, col, &q.host, col, label,
                          stats);
        for (int64_t col = 0; col < k_width; col += c->head_dim)
            check_rotated(c, &qkv.host, &table.host, positions[r], r, q_width + col, &k.host, col,
                          label, stats);
        for (int64_t col = 0; col < k_width; col++) /* rounded only: exact */
            UM_CHECK(ops_get(&v.host, r, col) ==
                     ops_round(c->dtype, ops_get(&qkv.host, r, q_width + k_width + col)));
    }
    ops_free(&position_row);
    ops_free(&v);
    ops_free(&k);
    ops_free(&q);
    ops_free(&table);
    ops_free(&qkv);
}

static void rope_matches_double(void)
{
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++) {
        ops_stats stats = {0};

        for (size_t i = 0; i < UM_COUNT_OF(rope_cases); i++) {
            char label[OPS_LABEL_BYTES];

            snprintf(label, sizeof(label), "%s rope case %zu", backends.label[b], i);
            run_rope(backends.at[b], &rope_cases[i], label, &stats);
        }
        ops_stats_finish(&stats, "rope", backends.label[b]);
    }
    ops_close(&backends);
}

static void check_split(const um_tensor *qkv, int64_t col, const ops_matrix *out)
{
    for (int64_t r = 0; r < qkv->rows; r++)
        for (int64_t i = 0; i < out->host.cols; i++)
            UM_CHECK(ops_get(&out->host, r, i) ==
                     ops_round(out->host.dtype, ops_get(qkv, r, col + i)));
}

static void rope_without_a_table_splits_and_rounds(void)
{
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++)
        for (size_t c = 0; c < UM_COUNT_OF(rope_cases); c++) {
            const rope_case *shape = &rope_cases[c];
            int64_t q_width = shape->heads * shape->head_dim;
            int64_t k_width = shape->kv_heads * shape->head_dim;
            um_backend *backend = backends.at[b];
            ops_matrix qkv =
                ops_make(backend, UM_F32, shape->rows, q_width + 2 * k_width, shape->layout);
            ops_matrix q = ops_make(backend, shape->dtype, shape->rows, q_width, shape->layout);
            ops_matrix k = ops_make(backend, shape->dtype, shape->rows, k_width, shape->layout);
            ops_matrix v = ops_make(backend, shape->dtype, shape->rows, k_width, shape->layout);
            um_rope_args args = {.qkv = &qkv.view,
                                 .heads = shape->heads,
                                 .kv_heads = shape->kv_heads,
                                 .head_dim = shape->head_dim,
                                 .q = &q.view,
                                 .k = &k.view,
                                 .v = &v.view};
            um_err err = {0};

            ops_fill(&qkv, 7, 2.0f);
            UM_CHECK_OK(um_op_rope(backend, &args, &err), err);
            ops_download(&q, backends.label[b]);
            ops_download(&k, backends.label[b]);
            ops_download(&v, backends.label[b]);
            check_split(&qkv.host, 0, &q);
            check_split(&qkv.host, q_width, &k);
            check_split(&qkv.host, q_width + k_width, &v);
            ops_free(&v);
            ops_free(&k);
            ops_free(&q);
            ops_free(&qkv);
        }
    ops_close(&backends);
}

/* ---- mix ------------------------------------------------------------------------------------ */

static void run_mix(um_backend *backend, int64_t width, um_dtype dtype, ops_layout layout,
                    const char *label, ops_stats *stats)
{
    static const int32_t conditional[] = {0, 3, 5, 2, 2}, unconditional[] = {1, -1, 4, 0, -7};
    static const float scales[] = {1.0f, 2.0f, 0.0f, 0.5f, 1.0f};
    ops_matrix x = ops_make(backend, UM_F32, 6, width, layout);
    ops_matrix out = ops_make(backend, dtype, 5, width, layout);
    ops_matrix c_row = ops_vector(backend, UM_I32, 5, conditional);
    ops_matrix u_row = ops_vector(backend, UM_I32, 5, unconditional);
    ops_matrix scale_row = ops_vector(backend, UM_F32, 5, scales);
    um_mix_args args = {.x = &x.view,
                        .conditional = &c_row.view,
                        .unconditional = &u_row.view,
                        .scales = &scale_row.view,
                        .out = &out.view};
    um_err err = {0};

    ops_fill(&x, 9, 2.0f);
    UM_CHECK_OK(um_op_mix(backend, &args, &err), err);
    ops_download(&out, label);
    for (int64_t r = 0; r < 5; r++)
        for (int64_t i = 0; i < width; i++) {
            double c = ops_get(&x.host, conditional[r], i), change = 0, u = c;

            if (unconditional[r] >= 0) {
                u = ops_get(&x.host, unconditional[r], i);
                change = ((double)scales[r] + 1) * (c - u);
            }
            /* at most 3 roundings of 2^-24; observed 0.62 of that */
            ops_check_element(stats, label, &out.host, r, i, u + change,
                              1.8e-7 * (fabs(u) + fabs(change)));
        }
    ops_free(&scale_row);
    ops_free(&u_row);
    ops_free(&c_row);
    ops_free(&out);
    ops_free(&x);
}

static void mix_matches_double(void)
{
    static const int64_t widths[] = {1, 3, 17, 63, 65, 1024};
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++) {
        ops_stats stats = {0};

        for (size_t i = 0; i < UM_COUNT_OF(widths); i++) {
            run_mix(backends.at[b], widths[i], UM_F32, OPS_PADDED, backends.label[b], &stats);
            run_mix(backends.at[b], widths[i], UM_BF16, OPS_TIGHT, backends.label[b], &stats);
        }
        run_mix(backends.at[b], 64, UM_F32, OPS_TIGHT, backends.label[b], &stats);
        ops_stats_finish(&stats, "mix", backends.label[b]);
    }
    ops_close(&backends);
}

/* ---- not finite ----------------------------------------------------------------------------- */

static void nan_norm(um_backend *backend, bool layer, um_dtype dtype, const char *label)
{
    ops_matrix x = ops_make(backend, UM_F32, 4, 37, OPS_TIGHT), out[2];
    ops_matrix gain = ops_make(backend, UM_F32, 1, 37, OPS_TIGHT);
    um_err err = {0};

    ops_fill(&x, 5, 1.0f);
    ops_fill(&gain, 6, 1.0f);
    for (int pass = 0; pass < 2; pass++) {
        out[pass] = ops_make(backend, dtype, 4, 37, OPS_TIGHT);
        um_rmsnorm_args rms = {
            .x = &x.view, .gain = &gain.view, .eps = 1e-6f, .out = &out[pass].view};
        um_layernorm_args with_mean = {
            .x = &x.view, .gain = &gain.view, .eps = 1e-6f, .out = &out[pass].view};
        UM_CHECK_OK(layer ? um_op_layernorm(backend, &with_mean, &err)
                          : um_op_rmsnorm(backend, &rms, &err),
                    err);
        ops_download(&out[pass], label);
        ops_set(&x.host, 2, 36, NAN);
        ops_upload(&x);
    }
    ops_check_isolated(&out[0].host, &out[1].host, 2, 3, label);
    ops_free(&out[1]);
    ops_free(&out[0]);
    ops_free(&gain);
    ops_free(&x);
}

static void nan_stays_in_the_rows_that_depend_on_it(void)
{
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++) {
        um_backend *backend = backends.at[b];
        char label[OPS_LABEL_BYTES];

        for (int layer = 0; layer < 2; layer++) {
            snprintf(label, sizeof(label), "%s NaN in %s norm", backends.label[b],
                     layer ? "layer" : "RMS");
            nan_norm(backend, layer, UM_F32, label);
            nan_norm(backend, layer, UM_BF16, label);
        }
    }
    ops_close(&backends);
}

static const um_test tests[] = {
    UM_TEST(embed_is_exact),         UM_TEST(embed_adds_learned_positions),
    UM_TEST(rmsnorm_matches_double), UM_TEST(layernorm_matches_double),
    UM_TEST(rope_matches_double),    UM_TEST(rope_without_a_table_splits_and_rounds),
    UM_TEST(mix_matches_double),     UM_TEST(nan_stays_in_the_rows_that_depend_on_it),
};
UM_TEST_MAIN(tests)
