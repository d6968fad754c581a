/*
 * Linear layers on every backend and instruction-set level, against products in double precision
 * written from the formulas of ops.h: kinds of weights, activations, biases, sources, accumulation.
 * Outputs lie between guard zones; inputs are surrounded by NaN.
 */
#include "core/base/mem.h"
#include "tests/ops/ops_fixture.h"

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
    {UM_WEIGHT_GATED, UM_ACT_RELU, UM_F32, UM_F32, UM_F32, 2, true, false, OPS_TIGHT},
    {UM_WEIGHT_GATED, UM_ACT_SILU, UM_BF16, UM_BF16, UM_BF16, 2, false, false, OPS_TIGHT},
    {UM_WEIGHT_GATED, UM_ACT_GELU, UM_BF16, UM_BF16, UM_F32, 2, true, false, OPS_PADDED},
    {UM_WEIGHT_GATED, UM_ACT_RELU, UM_BF16, UM_F32, UM_BF16, 2, false, false, OPS_TIGHT},
    {UM_WEIGHT_GATED, UM_ACT_GELU_TANH, UM_F32, UM_F32, UM_F32, 2, true, false, OPS_TIGHT},
    {UM_WEIGHT_ACTIVATED, UM_ACT_GELU_TANH, UM_F32, UM_F32, UM_F32, 1, true, false, OPS_PADDED},
    {UM_WEIGHT_ACTIVATED, UM_ACT_GELU_TANH, UM_BF16, UM_BF16, UM_BF16, 1, true, false, OPS_TIGHT},
    {UM_WEIGHT_ACTIVATED, UM_ACT_GELU, UM_F32, UM_BF16, UM_F16, 2, false, false, OPS_TIGHT},
    {UM_WEIGHT_ACTIVATED, UM_ACT_SILU, UM_BF16, UM_F32, UM_F32, 1, false, false, OPS_PADDED},
    {UM_WEIGHT_ACTIVATED, UM_ACT_RELU, UM_F32, UM_F32, UM_F32, 3, true, false, OPS_TIGHT},
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

static double activated(um_activation activation, double y)
{
    switch (activation) {
    case UM_ACT_SILU:
        return y / (1 + exp(-y));
    case UM_ACT_GELU:
        return y * 0.5 * (1 + erf(y / sqrt(2)));
    case UM_ACT_GELU_TANH:
        return y * 0.5 * (1 + tanh(sqrt(2 / acos(-1)) * (y + 0.044715 * y * y * y)));
    case UM_ACT_RELU:
        break;
    }
    return fmax(y, 0);
}

static double expected_linear(const linear_source *source, const um_tensor *x, int64_t r, int64_t o,
                              double *bound)
{
    double size, up_size, up, act;
    double y = dot_row(source, o, x, r, &size);

    *bound = DOT_TOLERANCE * size;
    if (source->spec.kind == UM_WEIGHT_PLAIN)
        return y;
    act = activated(source->spec.activation, y);
    /* slopes of silu and gelu stay below 1.13; the functions themselves are good to 5e-7 of |y| */
    *bound = 1.13 * *bound + 5e-7 * fabs(y);
    if (source->spec.kind == UM_WEIGHT_ACTIVATED)
        return act;
    up = dot_row(source, source->parts[0].host.rows + o, x, r, &up_size);
    *bound = *bound * fabs(up) + fabs(act) * DOT_TOLERANCE * up_size;
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

static void nan_stays_in_its_row_or_column(void)
{
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++)
        for (size_t m = 0; m < UM_COUNT_OF(linear_modes); m++) {
            char label[OPS_LABEL_BYTES];

            snprintf(label, sizeof(label), "%s NaN in linear mode %zu", backends.label[b], m);
            nan_linear(backends.at[b], &linear_modes[m], label);
            if (linear_modes[m].source != UM_F16) /* test data in f16 cannot be NaN */
                nan_weight(backends.at[b], &linear_modes[m], label);
        }
    ops_close(&backends);
}

static const um_test tests[] = {
    {"linear_matches_double", linear_matches_double, 120},
    UM_TEST(nan_stays_in_its_row_or_column),
};
UM_TEST_MAIN(tests)
