/*
 * Batch invariance: a row has the same bits alone, in every batch, at every offset, at one and two
 * threads and with every tile size. Each op is run over all units (300 rows; whole sequences for
 * attention), over single units (every third row, every sequence) and over 30 ranges of units, on
 * the fake device fewer, and compared byte by byte.
 */
#include "core/base/mem.h"
#include "tests/ops/score_fixture.h"

#define SUBJECT_ROWS 300
#define RANGES 30

/* One op with fixed inputs for SUBJECT_ROWS rows. `run` computes rows [first, first + rows) of the
 * inputs in one call, into `out`. */
typedef struct subject {
    um_backend *backend;
    ops_matrix inputs[3];
    um_weight *weight; /* owned, or NULL */
    int32_t variant;
    void (*run)(const struct subject *s, int64_t first, int64_t rows, ops_matrix *out);
    um_dtype out_dtype;
    int64_t out_cols;
    const int32_t *units; /* [unit_count + 1] first row of each */
    int32_t unit_count;
} subject;

static void subject_deinit(subject *s)
{
    for (int i = 0; i < 3; i++)
        if (s->inputs[i].host.data)
            ops_free(&s->inputs[i]);
    um_weight_destroy(s->backend, s->weight);
}

/* Rows of the units [from, to) computed in a call of their own equal those of `full`. */
static void check_range(const subject *s, const ops_matrix *full, int32_t from, int32_t to,
                        const char *label)
{
    int64_t first = s->units[from], rows = s->units[to] - first;
    ops_matrix part = ops_make(s->backend, s->out_dtype, rows, s->out_cols, OPS_TIGHT);

    s->run(s, first, rows, &part);
    for (int64_t r = 0; r < rows; r++) {
        um_test_count();
        if (!ops_same_row(&full->host, first + r, &part.host, r))
            um_test_fail(__FILE__, __LINE__,
                         "%s: row %lld differs in a call of %lld rows from %lld", label,
                         (long long)(first + r), (long long)rows, (long long)first);
    }
    ops_free(&part);
}

static void check_subject(const subject *s, ops_matrix *full, const char *label)
{
    bool fake = ops_is_fake_device(s->backend);
    int32_t step = s->unit_count < 100 ? 1 : fake ? 30 : 3;
    uint32_t ranges = fake ? RANGES / 5 : RANGES;

    s->run(s, 0, s->units[s->unit_count], full);
    for (int32_t u = 0; u < s->unit_count; u += step)
        check_range(s, full, u, u + 1, label);
    for (uint32_t i = 0; i < ranges; i++) {
        double a = 0.5 + 0.5 * (double)ops_uniform(71, 2 * i);
        double b = 0.5 + 0.5 * (double)ops_uniform(71, 2 * i + 1);
        int32_t from = (int32_t)(a * (s->unit_count - 1));
        int32_t to = from + 1 + (int32_t)(b * (s->unit_count - 1 - from));

        check_range(s, full, from, to, label);
    }
}

/* Every backend by itself; then those that differ in threads only against each other. */
static void check_everywhere(void (*make)(subject *s, um_backend *backend, int32_t variant),
                             int32_t variants, const char *op)
{
    ops_backends backends;
    ops_matrix full[OPS_BACKENDS_MAX];

    ops_open(&backends, 0, 1024);
    for (int32_t variant = 0; variant < variants; variant++) {
        for (int b = 0; b < backends.count; b++) {
            subject s = {.backend = backends.at[b], .variant = variant};
            char label[OPS_LABEL_BYTES];

            snprintf(label, sizeof(label), "%s %s variant %d", backends.label[b], op, (int)variant);
            make(&s, backends.at[b], variant);
            full[b] =
                ops_make(s.backend, s.out_dtype, s.units[s.unit_count], s.out_cols, OPS_TIGHT);
            check_subject(&s, &full[b], label);
            if (b > 0 &&
                strcmp(um_backend_name(backends.at[b]), um_backend_name(backends.at[b - 1])) == 0)
                for (int64_t r = 0; r < full[b].host.rows; r++)
                    UM_CHECK(ops_same_row(&full[b].host, r, &full[b - 1].host, r));
            subject_deinit(&s);
        }
        for (int b = 0; b < backends.count; b++)
            ops_free(&full[b]);
    }
    ops_close(&backends);
}

/* Each row a unit of its own. */
static const int32_t *row_units(void)
{
    static int32_t units[SUBJECT_ROWS + 1];

    for (int32_t i = 0; i <= SUBJECT_ROWS; i++)
        units[i] = i;
    return units;
}

/* ---- linear --------------------------------------------------------------------------------- */

static const struct {
    um_weight_kind kind;
    um_dtype dtype, out_dtype;
    bool accumulate;
    int64_t in, out;
} linear_variants[] = {
    {UM_WEIGHT_PLAIN, UM_F32, UM_F32, true, 130, 67},
    {UM_WEIGHT_PLAIN, UM_BF16, UM_F32, true, 1100, 48},
    {UM_WEIGHT_PLAIN, UM_BF16, UM_BF16, false, 64, 200},
    {UM_WEIGHT_GATED, UM_F32, UM_F32, false, 65, 70},
    {UM_WEIGHT_GATED, UM_BF16, UM_BF16, false, 96, 129},
};

static void run_linear(const subject *s, int64_t first, int64_t rows, ops_matrix *out)
{
    const um_tensor *all = &s->inputs[0].view;
    um_tensor x = um_tensor_view(all, first, rows, 0, all->cols);
    um_linear_args args = {.x = &x,
                           .weight = s->weight,
                           .accumulate = linear_variants[s->variant].accumulate,
                           .out = &out->view};
    um_err err = {0};

    for (int64_t r = 0; r < rows; r++) /* what is added to depends on the row alone */
        for (int64_t c = 0; c < out->host.cols; c++)
            ops_set(&out->host, r, c, (float)((first + r) % 13) - 0.1f * (float)(c % 7));
    ops_upload(out);
    UM_CHECK_OK(um_op_linear(s->backend, &args, &err), err);
    ops_download(out, "linear");
}

static void make_linear(subject *s, um_backend *backend, int32_t variant)
{
    um_weight_spec spec = {.kind = linear_variants[variant].kind,
                           .activation = UM_ACT_SILU,
                           .dtype = linear_variants[variant].dtype,
                           .part_count = 2};
    int64_t in = linear_variants[variant].in, out = linear_variants[variant].out;
    um_err err = {0};

    if (spec.kind == UM_WEIGHT_PLAIN)
        spec.part_count = 1;
    s->inputs[0] = ops_make(backend, spec.dtype, SUBJECT_ROWS, in, OPS_TIGHT);
    s->inputs[1] = ops_make(NULL, spec.dtype, 2 * out, in, OPS_TIGHT);
    ops_fill(&s->inputs[0], 61, 1.0f);
    ops_fill(&s->inputs[1], 62, 0.5f);
    spec.parts[0] = um_tensor_view(&s->inputs[1].host, 0, out, 0, in);
    spec.parts[1] = um_tensor_view(&s->inputs[1].host, out, out, 0, in);
    UM_CHECK_OK(um_weight_create(backend, &spec, &s->weight, &err), err);
    s->run = run_linear;
    s->out_dtype = linear_variants[variant].out_dtype;
    s->out_cols = out;
    s->units = row_units();
    s->unit_count = SUBJECT_ROWS;
}

static void linear_rows_do_not_depend_on_the_batch(void)
{
    check_everywhere(make_linear, UM_COUNT_OF(linear_variants), "linear");
}

/* ---- norms ---------------------------------------------------------------------------------- */

static void run_rmsnorm(const subject *s, int64_t first, int64_t rows, ops_matrix *out)
{
    const um_tensor *all = &s->inputs[0].view;
    um_tensor x = um_tensor_view(all, first, rows, 0, all->cols);
    um_rmsnorm_args args = {.x = &x, .gain = &s->inputs[1].view, .eps = 1e-5f, .out = &out->view};
    um_err err = {0};

    UM_CHECK_OK(um_op_rmsnorm(s->backend, &args, &err), err);
    ops_download(out, "rmsnorm");
}

static void run_layernorm(const subject *s, int64_t first, int64_t rows, ops_matrix *out)
{
    const um_tensor *all = &s->inputs[0].view;
    um_tensor x = um_tensor_view(all, first, rows, 0, all->cols);
    um_layernorm_args args = {.x = &x,
                              .gain = &s->inputs[1].view,
                              .bias = &s->inputs[1].view,
                              .eps = 1e-5f,
                              .out = &out->view};
    um_err err = {0};

    UM_CHECK_OK(um_op_layernorm(s->backend, &args, &err), err);
    ops_download(out, "layernorm");
}

static void make_norm(subject *s, um_backend *backend, int32_t variant)
{
    s->inputs[0] = ops_make(backend, UM_F32, SUBJECT_ROWS, 131, OPS_TIGHT);
    s->inputs[1] = ops_make(backend, UM_F32, 1, 131, OPS_TIGHT);
    ops_fill(&s->inputs[0], 63, 2.0f);
    ops_fill(&s->inputs[1], 64, 1.0f);
    s->run = variant < 2 ? run_rmsnorm : run_layernorm;
    s->out_dtype = variant % 2 ? UM_BF16 : UM_F32;
    s->out_cols = 131;
    s->units = row_units();
    s->unit_count = SUBJECT_ROWS;
}

static void normed_rows_do_not_depend_on_the_batch(void)
{
    check_everywhere(make_norm, 4, "norm");
}

/* ---- attention ------------------------------------------------------------------------------ */

static const int32_t sequence_units[] = {0, 1, 40, 41, 105, 107, 170, 203, 219, 300};

static const struct {
    um_dtype dtype;
    int32_t heads, kv_heads, head_dim;
} attention_variants[] = {{UM_F32, 4, 2, 32}, {UM_BF16, 4, 1, 64}, {UM_BF16, 3, 3, 17}};

static void run_attention(const subject *s, int64_t first, int64_t rows, ops_matrix *out)
{
    um_tensor view[3];
    int32_t cu_seqlens[UM_COUNT_OF(sequence_units)], count = 0;
    um_attention_args args = {.q = &view[0],
                              .k = &view[1],
                              .v = &view[2],
                              .cu_seqlens = cu_seqlens,
                              .heads = attention_variants[s->variant].heads,
                              .kv_heads = attention_variants[s->variant].kv_heads,
                              .head_dim = attention_variants[s->variant].head_dim,
                              .scale = 0.2f,
                              .out = &out->view};
    um_err err = {0};

    for (int i = 0; i < 3; i++)
        view[i] = um_tensor_view(&s->inputs[i].view, first, rows, 0, s->inputs[i].view.cols);
    for (int32_t u = 0; u <= s->unit_count; u++)
        if (s->units[u] >= first && s->units[u] <= first + rows)
            cu_seqlens[count++] = s->units[u] - (int32_t)first;
    args.sequence_count = count - 1;
    UM_CHECK_OK(um_op_attention(s->backend, &args, &err), err);
    ops_download(out, "attention");
}

static void make_attention(subject *s, um_backend *backend, int32_t variant)
{
    int64_t dim = attention_variants[variant].head_dim;
    int64_t widths[3] = {attention_variants[variant].heads * dim,
                         attention_variants[variant].kv_heads * dim,
                         attention_variants[variant].kv_heads * dim};

    for (int i = 0; i < 3; i++) {
        s->inputs[i] = ops_make(backend, attention_variants[variant].dtype, SUBJECT_ROWS, widths[i],
                                OPS_TIGHT);
        ops_fill(&s->inputs[i], 65 + (uint32_t)i, 2.0f);
    }
    s->run = run_attention;
    s->out_dtype = attention_variants[variant].dtype;
    s->out_cols = widths[0];
    s->units = sequence_units;
    s->unit_count = UM_COUNT_OF(sequence_units) - 1;
}

static void attention_does_not_depend_on_other_sequences(void)
{
    check_everywhere(make_attention, UM_COUNT_OF(attention_variants), "attention");
}

/* ---- score ---------------------------------------------------------------------------------- */

#define SCORE_VOCAB 1003

#define SCORE_ALTERNATIVES 4
#define SCORE_COLS (2 + 2 * SCORE_ALTERNATIVES)

static const um_score_rule score_rules[] = {
    {.top_p = 1, .banned = {-1, -1}, .uncounted = {-1, -1}},
    {.top_p = 1, .seed = 9, .temperature = 1, .banned = {3, -1}, .uncounted = {-1, -1}},
    {.top_p = 1,
     .seed = 8,
     .step = 4,
     .temperature = 0.3f,
     .confidence = UM_CONFIDENCE_LOGPROB,
     .banned = {-1, -1},
     .uncounted = {4, 5}},
    {.top_p = 0.9f,
     .seed = 7,
     .temperature = 0.8f,
     .confidence = UM_CONFIDENCE_ENTROPY,
     .filtered = 1,
     .banned = {-1, -1},
     .uncounted = {-1, -1},
     .edit_count = 2},
    {.top_p = 0.95f,
     .top_k = 20,
     .min_p = 0.01f,
     .seed = 6,
     .temperature = 2,
     .confidence = UM_CONFIDENCE_MARGIN,
     .filtered = 1,
     .banned = {7, -1},
     .uncounted = {-1, -1},
     .first_edit = 1,
     .edit_count = 2},
};
static const um_logit_edit score_edits[] = {{.token = 17, .bias = 3, .repetition = 1},
                                            {.token = 18, .bias = 0, .repetition = 1.3f},
                                            {.token = 19, .bias = -INFINITY, .repetition = 1}};

/* out: the token, the confidence, then the alternatives. */
static void run_score(const subject *s, int64_t first, int64_t rows, ops_matrix *out)
{
    static scored got;
    um_score_row score_rows[SUBJECT_ROWS] = {{0}};
    const um_tensor *all = &s->inputs[0].view;
    score_call call = {.hidden = um_tensor_view(all, first, rows, 0, all->cols),
                       .head = s->weight,
                       .scale = 1,
                       .vocab = SCORE_VOCAB,
                       .rows = score_rows,
                       .rules = score_rules,
                       .rule_count = UM_COUNT_OF(score_rules),
                       .edits = score_edits,
                       .edit_count = UM_COUNT_OF(score_edits),
                       .alternative_count = SCORE_ALTERNATIVES};

    for (int64_t r = 0; r < rows; r++)
        score_rows[r] = (um_score_row){.position = (int32_t)(first + r) % 50,
                                       .rule = (int32_t)((first + r) % call.rule_count)};
    score_run(s->backend, &call, &got);
    for (int64_t r = 0; r < rows; r++) {
        ops_set(&out->host, r, 0, (float)got.tokens[r]);
        ops_set(&out->host, r, 1, got.confidences[r]);
        for (int64_t i = 0; i < SCORE_ALTERNATIVES; i++) {
            ops_set(&out->host, r, 2 + 2 * i, (float)got.alternatives[r][i].token);
            ops_set(&out->host, r, 3 + 2 * i, got.alternatives[r][i].logprob);
        }
    }
}

static void make_score(subject *s, um_backend *backend, int32_t variant)
{
    um_weight_spec spec = {.dtype = variant ? UM_BF16 : UM_F32, .part_count = 1};
    um_err err = {0};

    s->inputs[0] = ops_make(backend, spec.dtype, SUBJECT_ROWS, 96, OPS_TIGHT);
    s->inputs[1] = ops_make(NULL, spec.dtype, SCORE_VOCAB, 96, OPS_TIGHT);
    ops_fill(&s->inputs[0], 68, 1.0f);
    ops_fill(&s->inputs[1], 69, 1.0f);
    spec.parts[0] = s->inputs[1].host;
    UM_CHECK_OK(um_weight_create(backend, &spec, &s->weight, &err), err);
    s->run = run_score;
    s->out_dtype = UM_F32;
    s->out_cols = SCORE_COLS;
    s->units = row_units();
    s->unit_count = SUBJECT_ROWS;
}

static void scores_do_not_depend_on_the_batch(void)
{
    check_everywhere(make_score, 2, "score");
}

/* A tile of one row, of three and of all. */
static void scores_do_not_depend_on_the_tile(void)
{
    static const size_t tiles[] = {0, (size_t)SCORE_VOCAB * 4, (size_t)SCORE_VOCAB * 4 * 3 + 100};
    ops_backends backends[UM_COUNT_OF(tiles)];

    for (size_t t = 0; t < UM_COUNT_OF(tiles); t++)
        ops_open(&backends[t], tiles[t], SCORE_VOCAB);
    for (int32_t variant = 0; variant < 2; variant++)
        for (int b = 0; b < backends[0].count; b++) {
            int64_t rows = ops_is_fake_device(backends[0].at[b]) ? 40 : SUBJECT_ROWS;
            ops_matrix out[UM_COUNT_OF(tiles)];

            for (size_t t = 0; t < UM_COUNT_OF(tiles); t++) {
                subject s = {.backend = backends[t].at[b], .variant = variant};

                make_score(&s, s.backend, variant);
                out[t] = ops_make(s.backend, UM_F32, rows, SCORE_COLS, OPS_TIGHT);
                s.run(&s, 0, rows, &out[t]);
                for (int64_t r = 0; r < rows; r++)
                    UM_CHECK(ops_same_row(&out[0].host, r, &out[t].host, r));
                subject_deinit(&s);
            }
            for (size_t t = 0; t < UM_COUNT_OF(tiles); t++)
                ops_free(&out[t]);
        }
    for (size_t t = 0; t < UM_COUNT_OF(tiles); t++)
        ops_close(&backends[t]);
}

static const um_test tests[] = {
    {"linear_rows_do_not_depend_on_the_batch", linear_rows_do_not_depend_on_the_batch, 120},
    UM_TEST(normed_rows_do_not_depend_on_the_batch),
    {"attention_does_not_depend_on_other_sequences", attention_does_not_depend_on_other_sequences,
     120},
    {"scores_do_not_depend_on_the_batch", scores_do_not_depend_on_the_batch, 120},
    UM_TEST(scores_do_not_depend_on_the_tile),
};
UM_TEST_MAIN(tests)
