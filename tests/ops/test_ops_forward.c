/*
 * Ops of the forward pass but attention, on every backend and instruction-set level, against references in
 * double precision that are written here from the formulas of ops.h (rounding points included) and
 * share no code with ref. Outputs lie between guard zones; inputs are surrounded by NaN.
 */
#include "core/base/mem.h"
#include "tests/ops/ops_fixture.h"

/* ---- linear --------------------------------------------------------------------------------- */

typedef struct linear_mode {
    um_weight_kind kind;
    um_activation activation;
    um_dtype dtype, out_dtype, source;
    int32_t parts; /* PLAIN: the rows are cut into so many */
    bool biased, accumulate;
    ops_layout layout;
} linear_mode;

static const linear_mode linear_modes[] = {
    {UM_WEIGHT_PLAIN, 0, UM_F32, UM_F32, UM_F32, 1, false, false, OPS_TIGHT},
    {UM_WEIGHT_PLAIN, 0, UM_F32, UM_F32, UM_BF16, 3, true, false, OPS_PADDED},
    {UM_WEIGHT_PLAIN, 0, UM_F32, UM_F32, UM_F16, 1, true, true, OPS_PADDED},
    {UM_WEIGHT_PLAIN, 0, UM_F32, UM_BF16, UM_F32, 2, false, false, OPS_TIGHT},
    {UM_WEIGHT_PLAIN, 0, UM_BF16, UM_F32, UM_BF16, 3, false, false, OPS_TIGHT},
    {UM_WEIGHT_PLAIN, 0, UM_BF16, UM_F32, UM_F32, 1, true, true, OPS_TIGHT},
    {UM_WEIGHT_PLAIN, 0, UM_BF16, UM_F32, UM_F16, 1, false, true, OPS_PADDED},
    {UM_WEIGHT_PLAIN, 0, UM_BF16, UM_BF16, UM_F16, 4, true, false, OPS_PADDED},
    {UM_WEIGHT_GATED, UM_ACT_SILU, UM_F32, UM_F32, UM_F32, 2, false, false, OPS_TIGHT},
    {UM_WEIGHT_GATED, UM_ACT_GELU, UM_F32, UM_F32, UM_BF16, 2, true, false, OPS_PADDED},
    {UM_WEIGHT_GATED, UM_ACT_RELU, UM_F32, UM_F32, UM_F32, 2, true, true, OPS_TIGHT},
    {UM_WEIGHT_GATED, UM_ACT_SILU, UM_BF16, UM_BF16, UM_BF16, 2, false, false, OPS_TIGHT},
    {UM_WEIGHT_GATED, UM_ACT_GELU, UM_BF16, UM_BF16, UM_F32, 2, true, false, OPS_PADDED},
    {UM_WEIGHT_GATED, UM_ACT_RELU, UM_BF16, UM_F32, UM_BF16, 2, false, false, OPS_TIGHT},
};

static const struct {
    int64_t rows, in, out;
} linear_shapes[] = {
    {1, 1, 1},     {1, 3, 17},    {2, 17, 3},    {3, 63, 65},   {1, 64, 64},
    {5, 65, 63},   {6, 128, 64},  {17, 96, 192}, {13, 33, 6},   {64, 64, 128},
    {65, 100, 48}, {7, 1027, 96}, {4, 2, 260},   {257, 40, 70}, {1, 513, 8},
};

/* A whole weight with what it was made of, in double. */
typedef struct linear_source {
    um_weight_spec spec;
    ops_matrix parts[UM_WEIGHT_PARTS_MAX];
    ops_matrix biases[UM_WEIGHT_PARTS_MAX];
} linear_source;

static void make_source(linear_source *source, const linear_mode *mode, int64_t in, int64_t out)
{
    int64_t left = out;
    int32_t parts = mode->parts < out || mode->kind == UM_WEIGHT_GATED ? mode->parts : 1;

    *source = (linear_source){.spec = {.kind = mode->kind,
                                       .activation = mode->activation,
                                       .dtype = mode->dtype,
                                       .part_count = parts}};
    for (int32_t p = 0; p < parts; p++) {
        int64_t rows = mode->kind == UM_WEIGHT_GATED ? out : p == parts - 1 ? left : left / 2;

        left -= rows;
        source->parts[p] = ops_make(NULL, mode->source, rows, in, mode->layout);
        ops_fill(&source->parts[p], 11 + (uint32_t)p, 0.5f);
        source->spec.parts[p] = source->parts[p].host;
        /* a part without bias among biased ones counts as zero */
        if (!mode->biased || (parts == 3 && p == 1))
            continue;
        source->biases[p] = ops_make(NULL, mode->source, 1, rows, OPS_TIGHT);
        ops_fill(&source->biases[p], 21 + (uint32_t)p, 1.0f);
        source->spec.biases[p] = source->biases[p].host;
    }
}

static void free_source(linear_source *source)
{
    for (int32_t p = 0; p < source->spec.part_count; p++) {
        ops_free(&source->parts[p]);
        if (source->spec.biases[p].data)
            ops_free(&source->biases[p]);
    }
}

/* Row o of the stacked parts times x[r], plus bias; *size is the sum of magnitudes. */
static double dot_row(const linear_source *source, int64_t o, const um_tensor *x, int64_t r,
                      double *size)
{
    int32_t p = 0;
    double sum = 0;

    for (; o >= source->parts[p].host.rows; p++)
        o -= source->parts[p].host.rows;
    if (source->spec.biases[p].data)
        sum = ops_get(&source->biases[p].host, 0, o);
    *size = fabs(sum);
    for (int64_t k = 0; k < x->cols; k++) {
        double product =
            ops_round(source->spec.dtype, ops_get(&source->parts[p].host, o, k)) * ops_get(x, r, k);

        sum += product;
        *size += fabs(product);
    }
    return sum;
}

/* Float32 accumulation, as a share of the sum of magnitudes: observed 2.3e-7 (avx2, K = 1,027);
 * twice that, because the data decide how errors add up. */
#define DOT_TOLERANCE 5e-7

static double expected_linear(const linear_source *source, const um_tensor *x, int64_t r, int64_t o,
                              double *bound)
{
    double size, up_size, up, act;
    double y = dot_row(source, o, x, r, &size);

    *bound = DOT_TOLERANCE * size;
    if (source->spec.kind == UM_WEIGHT_PLAIN)
        return y;
    up = dot_row(source, source->parts[0].host.rows + o, x, r, &up_size);
    act = source->spec.activation == UM_ACT_SILU   ? y / (1 + exp(-y))
          : source->spec.activation == UM_ACT_GELU ? y * 0.5 * (1 + erf(y / sqrt(2)))
                                                   : fmax(y, 0);
    /* slopes of silu and gelu stay below 1.13; the functions themselves are good to 5e-7 of |y| */
    *bound = (1.13 * *bound + 5e-7 * fabs(y)) * fabs(up) + fabs(act) * DOT_TOLERANCE * up_size;
    return act * up;
}

static void run_linear(um_backend *backend, const linear_source *source, const linear_mode *mode,
                       int64_t rows, const double *expected, const double *bounds,
                       const char *label, ops_stats *stats)
{
    int64_t in = source->parts[0].host.cols;
    ops_matrix x, out;
    um_weight *weight;
    um_err err = {0};

    UM_CHECK_OK(um_weight_create(backend, &source->spec, &weight, &err), err);
    x = ops_make(backend, mode->dtype, rows, in, mode->layout);
    out = ops_make(backend, mode->out_dtype, rows, um_weight_out(weight), mode->layout);
    ops_fill(&x, 1, 1.0f);
    if (mode->accumulate)
        ops_fill(&out, 2, 2.0f);
    um_linear_args args = {
        .x = &x.view, .weight = weight, .accumulate = mode->accumulate, .out = &out.view};
    UM_CHECK_OK(um_op_linear(backend, &args, &err), err);
    ops_download(&out, label);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t o = 0; o < out.host.cols; o++)
            ops_check_element(stats, label, &out.host, r, o, expected[r * out.host.cols + o],
                              bounds[r * out.host.cols + o]);
    ops_free(&out);
    ops_free(&x);
    um_weight_destroy(backend, weight);
}

/* The expectation is computed once and serves all backends. */
static void linear_case(const ops_backends *backends, const linear_mode *mode, int64_t rows,
                        int64_t in, int64_t width, ops_stats *stats)
{
    double *expected = um_mem_calloc((size_t)(rows * width), 2 * sizeof(double));
    double *bounds = expected + rows * width;
    ops_matrix x = ops_make(NULL, mode->dtype, rows, in, OPS_TIGHT);
    ops_matrix old = ops_make(NULL, UM_F32, rows, width, OPS_TIGHT);
    linear_source source;

    make_source(&source, mode, in, width);
    ops_fill(&x, 1, 1.0f);
    ops_fill(&old, 2, 2.0f);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t o = 0; o < width; o++) {
            int64_t i = r * width + o;

            expected[i] = expected_linear(&source, &x.host, r, o, &bounds[i]);
            if (mode->accumulate) {
                expected[i] += ops_get(&old.host, r, o);
                bounds[i] += DOT_TOLERANCE * fabs(ops_get(&old.host, r, o));
            }
        }
    for (int b = 0; b < backends->count; b++) {
        char label[OPS_LABEL_BYTES];

        snprintf(label, sizeof(label), "%s linear mode %td, %lld x %lld -> %lld",
                 backends->label[b], mode - linear_modes, (long long)rows, (long long)in,
                 (long long)width);
        run_linear(backends->at[b], &source, mode, rows, expected, bounds, label, &stats[b]);
    }
    free_source(&source);
    ops_free(&old);
    ops_free(&x);
    um_mem_free(expected);
}

static void linear_matches_double(void)
{
    ops_stats stats[OPS_BACKENDS_MAX] = {{0}};
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (size_t m = 0; m < UM_COUNT_OF(linear_modes); m++)
        for (size_t s = 0; s < UM_COUNT_OF(linear_shapes); s++)
            linear_case(&backends, &linear_modes[m], linear_shapes[s].rows, linear_shapes[s].in,
                        linear_shapes[s].out, stats);
    for (int b = 0; b < backends.count; b++)
        ops_stats_finish(&stats[b], "linear", backends.label[b]);
    ops_close(&backends);
}

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
            ops_matrix table = ops_make(backend, dtype, 40, width, c % 4 ? OPS_PADDED : OPS_TIGHT);
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
    {1, 6, 3, 80, UM_BF16, OPS_PADDED},
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
        ops_stats_finish(&stats, "mix", backends.label[b]);
    }
    ops_close(&backends);
}

/* ---- not finite ----------------------------------------------------------------------------- */

static void nan_linear(um_backend *backend, const linear_mode *mode, const char *label)
{
    ops_matrix x = ops_make(backend, mode->dtype, 9, 70, OPS_TIGHT), out[2];
    linear_source source;
    um_weight *weight;
    um_err err = {0};

    make_source(&source, mode, 70, 67);
    UM_CHECK_OK(um_weight_create(backend, &source.spec, &weight, &err), err);
    ops_fill(&x, 1, 1.0f);
    for (int pass = 0; pass < 2; pass++) {
        out[pass] = ops_make(backend, mode->out_dtype, 9, um_weight_out(weight), OPS_TIGHT);
        ops_fill(&out[pass], 2, 1.0f);
        um_linear_args args = {
            .x = &x.view, .weight = weight, .accumulate = mode->accumulate, .out = &out[pass].view};
        UM_CHECK_OK(um_op_linear(backend, &args, &err), err);
        ops_download(&out[pass], label);
        ops_set(&x.host, 1, 69, NAN);
        ops_upload(&x);
    }
    ops_check_isolated(&out[0].host, &out[1].host, 1, 2, label);
    ops_free(&out[1]);
    ops_free(&out[0]);
    um_weight_destroy(backend, weight);
    free_source(&source);
    ops_free(&x);
}

/* NaN in a weight (the gate, of gated ones) breaks its column and no other. */
static void nan_weight(um_backend *backend, const linear_mode *mode, const char *label)
{
    ops_matrix x = ops_make(backend, mode->dtype, 5, 33, OPS_TIGHT), out[2];
    um_err err = {0};

    ops_fill(&x, 1, 1.0f);
    for (int pass = 0; pass < 2; pass++) {
        linear_source source;
        um_weight *weight;

        make_source(&source, mode, 33, 70);
        if (pass == 1)
            ops_set(&source.parts[0].host, 3, 32, NAN);
        UM_CHECK_OK(um_weight_create(backend, &source.spec, &weight, &err), err);
        out[pass] = ops_make(backend, mode->out_dtype, 5, 70, OPS_TIGHT);
        ops_fill(&out[pass], 2, 1.0f);
        um_linear_args args = {
            .x = &x.view, .weight = weight, .accumulate = mode->accumulate, .out = &out[pass].view};
        UM_CHECK_OK(um_op_linear(backend, &args, &err), err);
        ops_download(&out[pass], label);
        um_weight_destroy(backend, weight);
        free_source(&source);
    }
    for (int64_t r = 0; r < 5; r++)
        for (int64_t o = 0; o < 70; o++) {
            double y = ops_get(&out[1].host, r, o);

            um_test_count();
            if (!(o == 3 ? isnan(y) : y == ops_get(&out[0].host, r, o)))
                um_test_fail(__FILE__, __LINE__, "%s: element (%lld, %lld) is %g", label,
                             (long long)r, (long long)o, y);
        }
    ops_free(&out[1]);
    ops_free(&out[0]);
    ops_free(&x);
}

static void nan_rmsnorm(um_backend *backend, um_dtype dtype, const char *label)
{
    ops_matrix x = ops_make(backend, UM_F32, 4, 37, OPS_TIGHT), out[2];
    ops_matrix gain = ops_make(backend, UM_F32, 1, 37, OPS_TIGHT);
    um_err err = {0};

    ops_fill(&x, 5, 1.0f);
    ops_fill(&gain, 6, 1.0f);
    for (int pass = 0; pass < 2; pass++) {
        out[pass] = ops_make(backend, dtype, 4, 37, OPS_TIGHT);
        um_rmsnorm_args args = {
            .x = &x.view, .gain = &gain.view, .eps = 1e-6f, .out = &out[pass].view};
        UM_CHECK_OK(um_op_rmsnorm(backend, &args, &err), err);
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

        for (size_t m = 0; m < UM_COUNT_OF(linear_modes); m++) {
            snprintf(label, sizeof(label), "%s NaN in linear mode %zu", backends.label[b], m);
            nan_linear(backend, &linear_modes[m], label);
            if (linear_modes[m].source != UM_F16) /* test data in f16 cannot be NaN */
                nan_weight(backend, &linear_modes[m], label);
        }
        snprintf(label, sizeof(label), "%s NaN in rmsnorm", backends.label[b]);
        nan_rmsnorm(backend, UM_F32, label);
        nan_rmsnorm(backend, UM_BF16, label);
    }
    ops_close(&backends);
}

static const um_test tests[] = {
    {"linear_matches_double", linear_matches_double, 120},
    UM_TEST(embed_is_exact),
    UM_TEST(rmsnorm_matches_double),
    UM_TEST(rope_matches_double),
    UM_TEST(mix_matches_double),
    UM_TEST(nan_stays_in_the_rows_that_depend_on_it),
};
UM_TEST_MAIN(tests)
