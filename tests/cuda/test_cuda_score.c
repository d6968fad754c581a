/*
 * Score of the cuda backend on the fake device, which also checks bounds, uninitialised bytes and
 * races, against the reference backend on the same logits, bit for bit: each row's hidden state
 * picks one column of the head, so that no product rounds. Tokens and alternatives must be equal,
 * confidences near. Then: order of execution and company do not show; what it moves and launches.
 */
#include <float.h>

#include "core/base/rng.h"
#include "tests/cuda/fake.h"
#include "tests/ops/ops_fixture.h"

enum { ROWS_MAX = 24, RULES_MAX = 24, ALTERNATIVES_MAX = UM_ALTERNATIVES_MAX + 1 };

/* One call of the op, in host memory. */
typedef struct call {
    int32_t rows, vocab, rule_count, edit_count, alternative_count;
    float scale;
    const float *logits; /* [rows][vocab] before scale */
    um_score_row score_rows[ROWS_MAX];
    um_score_rule rules[RULES_MAX];
    const um_logit_edit *edits;
} call;

typedef struct result {
    int32_t tokens[ROWS_MAX];
    float confidences[ROWS_MAX];
    um_alternative alternatives[ROWS_MAX * ALTERNATIVES_MAX];
} result;

/* ---- running ---------------------------------------------------------------------------------- */

static um_backend *open_backend(const char *name, int64_t vocab, size_t tile_bytes)
{
    const um_backend_limits limits = {
        .rows_max = ROWS_MAX, .sequence_max = ROWS_MAX, .width_max = ROWS_MAX, .vocab_max = vocab};
    um_backend_options options = {.name = name, .tile_bytes = tile_bytes, .threads = 1};
    um_backend *backend = NULL;
    um_err err = {0};

    if (strcmp(name, "cuda") == 0)
        backend = fake_open_tile(tile_bytes);
    else
        UM_CHECK_OK(um_backend_open(&options, &backend, &err), err);
    UM_CHECK_OK(um_backend_reserve(backend, &limits, &err), err);
    return backend;
}

/* Row r's hidden state is 1 in column r, which holds its logits. */
static um_weight *make_head(um_backend *backend, const call *c)
{
    ops_matrix weights = ops_make(NULL, UM_F32, c->vocab, c->rows, OPS_TIGHT);
    um_weight_spec spec = {.dtype = UM_F32, .part_count = 1, .parts = {weights.host}};
    um_weight *head = NULL;
    um_err err = {0};

    for (int32_t v = 0; v < c->vocab; v++)
        for (int32_t r = 0; r < c->rows; r++)
            um_f32_row(&weights.host, v)[r] = c->logits[(int64_t)r * c->vocab + v];
    UM_CHECK_OK(um_weight_create(backend, &spec, &head, &err), err);
    ops_free(&weights);
    return head;
}

/* Tensors of a call on a backend. */
typedef struct fixture {
    um_backend *backend;
    const call *c;
    um_weight *head;
    ops_matrix hidden, score_rows, rules, edits, tokens, confidences, alternatives;
} fixture;

static fixture make(um_backend *backend, const call *c)
{
    int64_t alternatives = c->alternative_count * (int64_t)sizeof(um_alternative);
    fixture f = {.backend = backend,
                 .c = c,
                 .head = make_head(backend, c),
                 .hidden = ops_make(backend, UM_F32, c->rows, c->rows, OPS_TIGHT),
                 .score_rows = ops_structs(backend, c->rows, c->score_rows),
                 .rules = ops_structs(backend, c->rule_count, c->rules),
                 .edits = ops_structs(backend, c->edit_count, c->edits),
                 .tokens = ops_make(backend, UM_I32, 1, c->rows, OPS_TIGHT),
                 .confidences = ops_make(backend, UM_F32, 1, c->rows, OPS_TIGHT),
                 .alternatives = ops_make(backend, UM_BYTES, c->rows, alternatives, OPS_TIGHT)};

    for (int32_t r = 0; r < c->rows; r++)
        for (int32_t i = 0; i < c->rows; i++)
            ops_set(&f.hidden.host, r, i, i == r ? 1.0f : 0.0f);
    ops_upload(&f.hidden);
    return f;
}

static void discard(fixture *f)
{
    ops_matrix *all[] = {&f->hidden, &f->score_rows,  &f->rules,       &f->edits,
                         &f->tokens, &f->confidences, &f->alternatives};

    for (size_t i = 0; i < UM_COUNT_OF(all); i++)
        ops_free(all[i]);
    um_weight_destroy(f->backend, f->head);
}

/* Launches only; the output stays on the device. */
static um_status launch(const fixture *f, um_err *err)
{
    const call *c = f->c;
    um_score_args args = {.hidden = &f->hidden.view,
                          .head = f->head,
                          .scale = c->scale,
                          .vocab = c->vocab,
                          .score_rows = &f->score_rows.view,
                          .rules = &f->rules.view,
                          .rule_count = c->rule_count,
                          .edits = c->edit_count ? &f->edits.view : NULL,
                          .tokens = &f->tokens.view,
                          .confidences = &f->confidences.view,
                          .alternatives = c->alternative_count ? &f->alternatives.view : NULL,
                          .alternative_count = c->alternative_count};

    return um_op_score(f->backend, &args, err);
}

static void fetch(fixture *f, result *out, const char *label)
{
    size_t bytes = (size_t)f->c->alternative_count * sizeof(um_alternative);

    memset(out, 0xff, sizeof(*out));
    ops_download(&f->tokens, label);
    ops_download(&f->confidences, label);
    ops_download(&f->alternatives, label);
    memcpy(out->tokens, f->tokens.host.data, (size_t)f->c->rows * sizeof(int32_t));
    memcpy(out->confidences, f->confidences.host.data, (size_t)f->c->rows * sizeof(float));
    for (int32_t r = 0; r < f->c->rows; r++)
        memcpy(out->alternatives + r * ALTERNATIVES_MAX,
               (const char *)f->alternatives.host.data + r * f->alternatives.host.stride, bytes);
}

static void run(um_backend *backend, const call *c, result *out, const char *label)
{
    fixture f = make(backend, c);
    um_err err = {0};

    UM_CHECK_OK(launch(&f, &err), err);
    fetch(&f, out, label);
    discard(&f);
}

/* ---- against the reference ---------------------------------------------------------------------- */

/* Two orders of a sum of up to 152,064 float32 terms, two implementations of exp and log. A
 * probability keeps its relative error; a logarithm turns that of its argument into an absolute one,
 * and a margin is a difference of numbers up to 1. */
static bool is_near(um_confidence kind, float a, float b)
{
    float size = fabsf(b);

    switch (kind) {
    case UM_CONFIDENCE_RANDOM:
        return a == b;
    case UM_CONFIDENCE_MARGIN:
        return fabsf(a - b) <= 1e-6f;
    case UM_CONFIDENCE_ENTROPY:
    case UM_CONFIDENCE_LOGPROB:
        return a == b || fabsf(a - b) <= 1e-6f * fmaxf(size, 1);
    default:
        return a == b || fabsf(a - b) <= 2e-6f * size;
    }
}

static void compare(const call *c, const result *got, const result *expected, const char *label)
{
    for (int32_t r = 0; r < c->rows; r++) {
        const um_score_rule *rule = &c->rules[c->score_rows[r].rule];

        um_test_count();
        if (got->tokens[r] != expected->tokens[r] ||
            !is_near((um_confidence)rule->confidence, got->confidences[r],
                     expected->confidences[r]))
            um_test_fail(__FILE__, __LINE__, "%s row %d rule %d: %d %.9g, expected %d %.9g", label,
                         (int)r, (int)c->score_rows[r].rule, (int)got->tokens[r],
                         (double)got->confidences[r], (int)expected->tokens[r],
                         (double)expected->confidences[r]);
        for (int32_t i = 0; i < c->alternative_count; i++) {
            const um_alternative *a = &got->alternatives[r * ALTERNATIVES_MAX + i];
            const um_alternative *b = &expected->alternatives[r * ALTERNATIVES_MAX + i];

            um_test_count();
            if (a->token != b->token || !is_near(UM_CONFIDENCE_LOGPROB, a->logprob, b->logprob))
                um_test_fail(__FILE__, __LINE__,
                             "%s row %d alternative %d: %d %.9g, expected %d %.9g", label, (int)r,
                             (int)i, (int)a->token, (double)a->logprob, (int)b->token,
                             (double)b->logprob);
        }
    }
}

/* Rules that between them use every field; no filter keeps only one id. */
static int32_t every_rule(um_score_rule *rules)
{
    static const um_score_rule templates[] = {
        {.top_p = 1},
        {.top_p = 1, .temperature = 0.7f},
        {.top_p = 1, .temperature = 1, .confidence = UM_CONFIDENCE_RANDOM},
        {.top_p = 1, .confidence = UM_CONFIDENCE_MARGIN},
        {.top_p = 1, .confidence = UM_CONFIDENCE_ENTROPY, .temperature = 0.3f},
        {.top_p = 1, .confidence = UM_CONFIDENCE_LOGPROB},
        {.top_p = 0.9f, .temperature = 1},
        {.top_p = 0.5f, .temperature = 2, .filtered = 1},
        {.top_p = 1, .top_k = 3, .temperature = 1.5f, .filtered = 1},
        {.top_p = 0.95f,
         .top_k = 40,
         .temperature = 1,
         .confidence = UM_CONFIDENCE_ENTROPY,
         .filtered = 1},
        {.top_p = 1,
         .min_p = 0.1f,
         .temperature = 1,
         .confidence = UM_CONFIDENCE_MARGIN,
         .filtered = 1},
        {.top_p = 0.8f,
         .min_p = 0.02f,
         .top_k = 7,
         .temperature = 0.8f,
         .confidence = UM_CONFIDENCE_LOGPROB,
         .filtered = 1},
        {.top_p = 0.7f, .confidence = UM_CONFIDENCE_MARGIN, .filtered = 1},
        {.top_p = 0.999f, .temperature = 3, .confidence = UM_CONFIDENCE_LOGPROB},
    };
    int32_t count = (int32_t)UM_COUNT_OF(templates);

    for (int32_t i = 0; i < count; i++) {
        rules[i] = templates[i];
        rules[i].seed = 0x9e3779b97f4a7c15u * (uint64_t)(i + 1);
        rules[i].step = (uint32_t)i % 5;
        rules[i].choice = (uint32_t)i % 3;
        for (int32_t k = 0; k < 2; k++) /* bans and uncounted ids come and go */
            rules[i].banned[k] = rules[i].uncounted[k] = -1;
        if (i % 3 == 1)
            rules[i].banned[i % 2] = i % 7;
        if (!rules[i].filtered && i % 4 == 0)
            rules[i].uncounted[0] = (i + 1) % 4;
    }
    return count;
}

/* Edits for every second rule: penalties, a bias, a ban by bias, one that would overflow. */
static void add_edits(call *c)
{
    static const um_logit_edit templates[] = {
        {0, 1.5f, 1}, {1, 0, 1.3f}, {2, -INFINITY, 1}, {3, -4.25f, 0.25f}, {4, 3e38f, 1e-3f}};
    static um_logit_edit edits[RULES_MAX * UM_COUNT_OF(templates)];

    c->edits = edits;
    for (int32_t i = 1; i < c->rule_count; i += 2) {
        c->rules[i].first_edit = c->edit_count;
        for (int32_t k = 0; k < (int32_t)UM_COUNT_OF(templates) - (i % 4 == 1); k++) {
            um_logit_edit edit = templates[k];

            edit.token = edit.token * 11 + i;
            if (edit.token >= c->vocab)
                break;
            edits[c->edit_count++] = edit;
            c->rules[i].edit_count++;
        }
    }
}

typedef enum shape {
    SPREAD, /* all different */
    STEPS,  /* multiples of 1/4: ties everywhere */
    FLAT,   /* all equal */
    PEAKED, /* a few far above the rest */
    SHAPES,
} shape;

static float logit_of(shape kind, int32_t row, int32_t v)
{
    float u = ops_uniform(700 + (uint32_t)row, (uint32_t)v);

    if (kind == FLAT)
        return -3.25f;
    if (kind == STEPS)
        return 0.25f * floorf(24 * u);
    if (kind == PEAKED)
        return v % 97 == row ? 12 + u : 2 * u - 8;
    return 9 * u;
}

static float *make_logits(int32_t rows, int32_t vocab)
{
    static float logits[4 * 152064];

    UM_ASSERT((int64_t)rows * vocab <= (int64_t)UM_COUNT_OF(logits));
    for (int32_t r = 0; r < rows; r++)
        for (int32_t v = 0; v < vocab; v++)
            logits[(int64_t)r * vocab + v] = logit_of((shape)(r % SHAPES), r / SHAPES, v);
    return logits;
}

static call make_call(int32_t rows, int32_t vocab, int32_t first_rule)
{
    static const um_logit_edit none[1];
    call c = {.rows = rows,
              .vocab = vocab,
              .scale = 1,
              .logits = make_logits(rows, vocab),
              .edits = none};

    c.rule_count = every_rule(c.rules);
    for (int32_t r = 0; r < rows; r++)
        c.score_rows[r] = (um_score_row){
            .position = 7 * r + vocab % 5, .rule = (first_rule + r) % c.rule_count, .masked = 1};
    return c;
}

static void agree(um_backend *cuda, um_backend *ref, const call *c, const char *label)
{
    static result got, expected;

    run(cuda, c, &got, label);
    run(ref, c, &expected, label);
    compare(c, &got, &expected, label);
}

/* Each rule meets each shape of row. */
static void check_vocab(int32_t vocab, int32_t rows, int32_t step)
{
    um_backend *cuda = open_backend("cuda", vocab, 0), *ref = open_backend("ref", vocab, 0);
    um_score_rule rules[RULES_MAX];
    int32_t rule_count = every_rule(rules);

    for (int32_t first = 0; first < rule_count; first += step)
        for (int32_t with = 0; with < 2; with++) {
            call c = make_call(rows, vocab, first);
            char label[OPS_LABEL_BYTES];

            snprintf(label, sizeof(label), "vocabulary %d, first rule %d%s", (int)vocab, (int)first,
                     with ? ", edits and alternatives" : "");
            if (with) {
                c.alternative_count = vocab < UM_ALTERNATIVES_MAX ? vocab + 1 : ALTERNATIVES_MAX;
                add_edits(&c);
            }
            agree(cuda, ref, &c, label);
        }
    um_backend_close(ref);
    um_backend_close(cuda);
}

static void agrees_with_ref_on_small_vocabularies(void)
{
    static const int32_t vocabs[] = {1, 2, 3, 4, 5, 17, 66, 67, 2047, 2048, 2049, 2052, 4099};

    for (size_t i = 0; i < UM_COUNT_OF(vocabs); i++)
        check_vocab(vocabs[i], SHAPES, 1);
}

static void agrees_with_ref_on_real_vocabularies(void)
{
    check_vocab(126464, SHAPES, 4); /* LLaDA */
    check_vocab(152064, SHAPES, 7); /* Dream */
    check_vocab(50257, SHAPES, 7);  /* GPT-2: an odd number */
}

/* Longer lists of edits than a block has threads, in chunks that the scratch for them bounds. */
static void many_edits_agree_with_ref(void)
{
    enum { VOCAB = 3001, EDITS = 1500 };
    static um_logit_edit edits[EDITS];
    um_backend *cuda = open_backend("cuda", VOCAB, (size_t)6 * 3004 * 4);
    um_backend *ref = open_backend("ref", VOCAB, 0);
    call c = make_call(6, VOCAB, 0);

    for (int32_t i = 0; i < EDITS; i++)
        edits[i] = (um_logit_edit){.token = 2 * i + 1,
                                   .bias = 3 * ops_uniform(3, (uint32_t)i),
                                   .repetition = i % 2 ? 1.2f : 1};
    c.alternative_count = 6;
    c.edits = edits;
    c.edit_count = EDITS;
    for (int32_t i = 0; i < c.rule_count; i++)
        c.rules[i].edit_count = EDITS;
    agree(cuda, ref, &c, "many edits");
    um_backend_close(ref);
    um_backend_close(cuda);
}

/* Logits that are not finite. A row at a time, since 0 * NaN is NaN. */
static void what_is_not_finite_agrees_with_ref(void)
{
    static const float rows[][5] = {
        {1, NAN, 3, 2, -1},
        {NAN, NAN, NAN, NAN, NAN},
        {1, INFINITY, 3, INFINITY, 0},
        {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY},
        {-INFINITY, NAN, -1e30f, -INFINITY, NAN},
        {3e38f, -3e38f, 0, FLT_MAX, -FLT_MAX},
        {-0.0f, 0.0f, -0.0f, 0.0f, -1},
        {NAN, -INFINITY, 5, -INFINITY, NAN},
    };
    um_backend *cuda = open_backend("cuda", 8, 0), *ref = open_backend("ref", 8, 0);

    for (size_t i = 0; i < UM_COUNT_OF(rows); i++)
        for (int32_t vocab = 1; vocab <= 5; vocab++) {
            call c = make_call(1, vocab, 0);

            c.logits = rows[i];
            c.alternative_count = vocab + 1;
            add_edits(&c);
            for (int32_t rule = 0; rule < c.rule_count; rule++) {
                char label[OPS_LABEL_BYTES];

                snprintf(label, sizeof(label), "row %zu of %d", i, (int)vocab);
                c.score_rows[0].rule = rule;
                agree(cuda, ref, &c, label);
            }
        }
    um_backend_close(ref);
    um_backend_close(cuda);
}

/* Equal logits around the border of top_p and of top_k: the lowest ids stay. */
static void ties_at_a_border_agree_with_ref(void)
{
    enum { VOCAB = 5000 };
    um_backend *cuda = open_backend("cuda", VOCAB, 0), *ref = open_backend("ref", VOCAB, 0);
    static float logits[VOCAB];

    for (int32_t v = 0; v < VOCAB; v++) /* 10 first, 4000 tied, the rest far below */
        logits[v] = v % 500 == 3 ? 6.0f : v % 5 ? 1.0f : -9.0f;
    for (int32_t i = 1; i < 40; i++) {
        call c = make_call(1, VOCAB, 0);
        char label[OPS_LABEL_BYTES];

        c.logits = logits;
        c.score_rows[0].rule = 0;
        c.rules[0] = (um_score_rule){.seed = (uint64_t)i,
                                     .temperature = 1,
                                     .filtered = 1,
                                     .top_p = (float)i / 40,
                                     .top_k = i % 3 ? 0 : 9 + i,
                                     .banned = {-1, -1},
                                     .uncounted = {-1, -1}};
        snprintf(label, sizeof(label), "top_p %d/40", (int)i);
        agree(cuda, ref, &c, label);
    }
    um_backend_close(ref);
    um_backend_close(cuda);
}

static void scale_and_plain_logits_agree_with_ref(void)
{
    enum { VOCAB = 67, ROWS = 4 };
    um_backend *backends[] = {open_backend("cuda", VOCAB, 0), open_backend("ref", VOCAB, 0)};
    call c = make_call(ROWS, VOCAB, 0);
    ops_matrix logits[2];
    static result results[2];

    c.scale = 0.125f;
    for (int b = 0; b < 2; b++) {
        fixture f = make(backends[b], &c);
        um_score_args args = {.hidden = &f.hidden.view,
                              .head = f.head,
                              .scale = c.scale,
                              .vocab = VOCAB,
                              .score_rows = &f.score_rows.view,
                              .rules = &f.rules.view,
                              .rule_count = c.rule_count,
                              .tokens = &f.tokens.view,
                              .confidences = &f.confidences.view};
        um_err err = {0};

        logits[b] = ops_make(backends[b], UM_F32, ROWS, VOCAB, OPS_PADDED);
        args.logits = &logits[b].view;
        UM_CHECK_OK(um_op_score(backends[b], &args, &err), err);
        ops_download(&logits[b], "logits");
        fetch(&f, &results[b], "scaled");
        discard(&f);
    }
    compare(&c, &results[0], &results[1], "scaled");
    for (int32_t r = 0; r < ROWS; r++)
        UM_CHECK(ops_same_row(&logits[0].host, r, &logits[1].host, r));
    for (int b = 0; b < 2; b++) {
        ops_free(&logits[b]);
        um_backend_close(backends[b]);
    }
}

/* ---- order and company ---------------------------------------------------------------------------- */

/* Row `a` of one result is row `b` of another, bit for bit. */
static bool same_row(const result *one, int32_t a, const result *other, int32_t b)
{
    return one->tokens[a] == other->tokens[b] &&
           memcmp(&one->confidences[a], &other->confidences[b], sizeof(float)) == 0 &&
           memcmp(&one->alternatives[a * ALTERNATIVES_MAX],
                  &other->alternatives[b * ALTERNATIVES_MAX],
                  ALTERNATIVES_MAX * sizeof(um_alternative)) == 0;
}

static call company_call(void)
{
    call c = make_call(16, 1003, 0);

    c.alternative_count = 6;
    add_edits(&c);
    return c;
}

static void order_of_execution_does_not_show(void)
{
    static const struct {
        const char *name, *on, *off;
    } switches[] = {{"ORDER", "reverse", ""}, {"LAZY", "1", "0"}};
    um_backend *backend = open_backend("cuda", 1003, 0);
    call c = company_call();
    static result forward, other;

    run(backend, &c, &forward, "forward");
    for (size_t i = 0; i < UM_COUNT_OF(switches); i++) {
        fake_set(switches[i].name, switches[i].on);
        run(backend, &c, &other, switches[i].name);
        fake_set(switches[i].name, switches[i].off);
        for (int32_t r = 0; r < c.rows; r++)
            UM_CHECK(same_row(&forward, r, &other, r));
    }
    um_backend_close(backend);
}

/* All rows in one call; each alone; in reverse; on a tile of one row and of three. */
static void company_does_not_show(void)
{
    static const size_t tiles[] = {(size_t)1003 * 4, (size_t)1004 * 4 * 3 + 100};
    um_backend *backend = open_backend("cuda", 1003, 0);
    call c = company_call(), other = c;
    static result all, part;
    static float reversed[16 * 1003];

    run(backend, &c, &all, "all");
    for (int32_t r = 0; r < c.rows; r++) {
        other.rows = 1;
        other.logits = c.logits + (int64_t)r * c.vocab;
        other.score_rows[0] = c.score_rows[r];
        run(backend, &other, &part, "alone");
        UM_CHECK(same_row(&all, r, &part, 0));
    }
    other.rows = c.rows;
    other.logits = reversed;
    for (int32_t r = 0; r < c.rows; r++) {
        memcpy(reversed + (int64_t)(c.rows - 1 - r) * c.vocab, c.logits + (int64_t)r * c.vocab,
               (size_t)c.vocab * sizeof(float));
        other.score_rows[c.rows - 1 - r] = c.score_rows[r];
    }
    run(backend, &other, &part, "reversed");
    for (int32_t r = 0; r < c.rows; r++)
        UM_CHECK(same_row(&all, r, &part, c.rows - 1 - r));
    um_backend_close(backend);
    for (size_t i = 0; i < UM_COUNT_OF(tiles); i++) {
        backend = open_backend("cuda", 1003, tiles[i]);
        run(backend, &c, &part, "small tile");
        for (int32_t r = 0; r < c.rows; r++)
            UM_CHECK(same_row(&all, r, &part, r));
        um_backend_close(backend);
    }
}

/* ---- what it costs ---------------------------------------------------------------------------------- */

typedef struct traffic {
    int64_t prepare, choose; /* bytes read */
} traffic;

/* One row whose logits are all but unique. */
static traffic traffic_of(int32_t vocab, um_score_rule rule)
{
    um_backend *backend = open_backend("cuda", vocab, 0);
    call c = make_call(1, vocab, 0);
    fakecuda_kernel prepare, choose;
    static result out;

    c.rules[0] = rule;
    c.rule_count = 1;
    fake_reset_kernels();
    run(backend, &c, &out, "traffic");
    prepare = fake_kernel("score::prepare");
    choose = fake_kernel("score::choose");
    UM_CHECK_INT(prepare.blocks, 1);
    UM_CHECK_INT(choose.blocks, 1);
    UM_CHECK_INT(prepare.global_sectors, prepare.global_ideal);
    UM_CHECK_INT(choose.global_sectors, choose.global_ideal);
    UM_CHECK_INT(choose.shared_waves, choose.shared_ideal);
    UM_CHECK_INT(choose.bytes_written, 8); /* a token and a confidence */
    UM_CHECK_INT(choose.atomics, 0);
    um_backend_close(backend);
    return (traffic){(int64_t)prepare.bytes_read, (int64_t)choose.bytes_read};
}

/* How often the kernels read a row: what each thread reads of the rule is the same for every
 * vocabulary, and small. */
static void rows_are_read_as_often_as_the_rule_needs(void)
{
    static const struct {
        um_score_rule rule;
        int64_t prepare, choose;
    } cases[] = {
        {{.top_p = 1}, 0, 2}, /* best, sum */
        {{.top_p = 1, .temperature = 1}, 0, 2},
        {{.top_p = 1, .confidence = UM_CONFIDENCE_RANDOM}, 0, 1},
        {{.top_p = 1, .confidence = UM_CONFIDENCE_ENTROPY}, 0, 3},
        {{.top_p = 1, .min_p = 0.1f, .temperature = 1}, 1, 2}, /* largest */
        {{.top_p = 1, .top_k = 50, .temperature = 1}, 3, 2},   /* three digits */
        {{.top_p = 0.9f, .temperature = 1}, 5, 2},             /* largest, mass, three digits */
    };
    const int64_t small = 1024, large = 126464;

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        um_score_rule rule = cases[i].rule;
        traffic a, b;

        for (int32_t k = 0; k < 2; k++)
            rule.banned[k] = rule.uncounted[k] = -1;
        a = traffic_of((int32_t)small, rule);
        b = traffic_of((int32_t)large, rule);
        UM_CHECK_INT(b.prepare - a.prepare, cases[i].prepare * (large - small) * 4);
        UM_CHECK_INT(b.choose - a.choose, cases[i].choose * (large - small) * 4);
        UM_CHECK(a.prepare - cases[i].prepare * small * 4 <= 512 * 96);
        UM_CHECK(a.choose - cases[i].choose * small * 4 <= 512 * 96);
    }
}

/* Launches and products follow from shapes; the host neither waits nor allocates. */
static void a_call_neither_waits_nor_allocates(void)
{
    static const struct {
        int32_t alternatives;
        float scale;
        uint64_t launches; /* of a chunk */
    } cases[] = {{0, 1, 2}, {3, 1, 3}, {0, 0.5f, 3}, {1, 2, 4}};
    um_backend *backend = open_backend("cuda", 1003, (size_t)1004 * 4 * 6);

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        call c = make_call(16, 1003, 0); /* chunks of 6, 6 and 4 rows */
        fakecuda_counts before, after;
        um_err err = {0};
        fixture f;

        c.alternative_count = cases[i].alternatives;
        c.scale = cases[i].scale;
        f = make(backend, &c);
        UM_CHECK_OK(launch(&f, &err), err); /* chooses products for these shapes */
        before = fake_counts();
        UM_CHECK_OK(launch(&f, &err), err);
        after = fake_counts();
        UM_CHECK_INT(after.launches - before.launches, 3 * cases[i].launches);
        UM_CHECK_INT(after.matmuls - before.matmuls, 3);
        UM_CHECK_INT(after.host_waits - before.host_waits, 0);
        UM_CHECK_INT(after.device_allocations - before.device_allocations, 0);
        UM_CHECK_INT(after.pinned_allocations - before.pinned_allocations, 0);
        UM_CHECK_INT(after.objects_created - before.objects_created, 0);
        UM_CHECK_INT(after.copies_to_device - before.copies_to_device, 0);
        UM_CHECK_INT(after.copies_to_host - before.copies_to_host, 0);
        discard(&f);
    }
    um_backend_close(backend);
}

/* ---- failures ---------------------------------------------------------------------------------------- */

/* A launch that fails is an error of the op, and the next call works. */
static void failed_launch_is_an_error(void)
{
    um_backend *backend = open_backend("cuda", 67, 0);
    call c = make_call(4, 67, 0);
    fixture f;

    c.scale = 0.5f;
    c.alternative_count = 3;
    f = make(backend, &c);
    for (int n = 1; n <= 4; n++) {
        char number[8];
        um_err err = {0};

        snprintf(number, sizeof(number), "%d", n);
        fake_set("FAIL_LAUNCH", number);
        UM_CHECK_INT(launch(&f, &err), UM_E_DEVICE);
        fake_set("FAIL_LAUNCH", "0");
        UM_CHECK_OK(launch(&f, &err), err);
    }
    discard(&f);
    um_backend_close(backend);
}

static void a_vocabulary_beyond_the_bound_is_refused(void)
{
    um_backend_limits limits = {.rows_max = 1, .sequence_max = 1, .width_max = 1};
    um_backend *backend = open_backend("cuda", 67, 0);
    um_err err = {0};

    limits.vocab_max = (1 << 20) + 1;
    UM_CHECK_STATUS(um_backend_reserve(backend, &limits, &err), UM_E_UNSUPPORTED);
    UM_CHECK(strstr(err.message, "1048577") && strstr(err.message, "1048576"));
    um_backend_close(backend);
}

static const um_test tests[] = {
    {"agrees_with_ref_on_small_vocabularies", agrees_with_ref_on_small_vocabularies, 180},
    {"agrees_with_ref_on_real_vocabularies", agrees_with_ref_on_real_vocabularies, 240},
    {"many_edits_agree_with_ref", many_edits_agree_with_ref, 0},
    {"what_is_not_finite_agrees_with_ref", what_is_not_finite_agrees_with_ref, 0},
    {"ties_at_a_border_agree_with_ref", ties_at_a_border_agree_with_ref, 0},
    {"scale_and_plain_logits_agree_with_ref", scale_and_plain_logits_agree_with_ref, 0},
    {"order_of_execution_does_not_show", order_of_execution_does_not_show, 120},
    {"company_does_not_show", company_does_not_show, 120},
    {"rows_are_read_as_often_as_the_rule_needs", rows_are_read_as_often_as_the_rule_needs, 120},
    {"a_call_neither_waits_nor_allocates", a_call_neither_waits_nor_allocates, 0},
    {"failed_launch_is_an_error", failed_launch_is_an_error, 0},
    {"a_vocabulary_beyond_the_bound_is_refused", a_vocabulary_beyond_the_bound_is_refused, 0},
};
UM_TEST_MAIN(tests)
