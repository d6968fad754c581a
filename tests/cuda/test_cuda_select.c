/*
 * Select of the cuda backend on the fake device, which also checks bounds, uninitialised bytes and
 * races, against the reference backend: every kind of rule on ragged sequences of up to some
 * thousand rows, in forward, reverse and lazy order.
 */
#include <float.h>

#include "tests/cuda/fake.h"
#include "tests/ops/ops_fixture.h"

enum { ROWS_MAX = 9000, RULES_MAX = 8 };

typedef struct call {
    int32_t rows, rule_count;
    um_select_rule rules[RULES_MAX];
    int32_t tokens[ROWS_MAX];
    float confidences[ROWS_MAX];
    um_score_row score_rows[ROWS_MAX];
} call;

typedef struct result {
    um_commit commits[ROWS_MAX]; /* all-ones bytes where nothing was written */
    int32_t counts[RULES_MAX];
} result;

static um_backend *open_backend(const char *name)
{
    const um_backend_limits limits = {
        .rows_max = ROWS_MAX, .sequence_max = ROWS_MAX, .width_max = 8, .vocab_max = 8};
    um_backend_options options = {.name = name, .threads = 1};
    um_backend *backend = NULL;
    um_err err = {0};

    if (strcmp(name, "cuda") == 0)
        backend = fake_open();
    else
        UM_CHECK_OK(um_backend_open(&options, &backend, &err), err);
    UM_CHECK_OK(um_backend_reserve(backend, &limits, &err), err);
    return backend;
}

static um_status select_rows(um_backend *backend, const call *c, result *out, um_err *err)
{
    ops_matrix tokens = ops_vector(backend, UM_I32, c->rows, c->tokens);
    ops_matrix confidences = ops_vector(backend, UM_F32, c->rows, c->confidences);
    ops_matrix score_rows = ops_structs(backend, c->rows, c->score_rows);
    ops_matrix rules = ops_structs(backend, c->rule_count, c->rules);
    ops_matrix commits =
        ops_make(backend, UM_BYTES, 1, c->rows * (int64_t)sizeof(um_commit), OPS_TIGHT);
    ops_matrix counts = ops_make(backend, UM_I32, 1, c->rule_count, OPS_TIGHT);
    um_select_args args = {.tokens = &tokens.view,
                           .confidences = &confidences.view,
                           .score_rows = &score_rows.view,
                           .rules = &rules.view,
                           .rule_count = c->rule_count,
                           .commits = &commits.view,
                           .counts = &counts.view};
    ops_matrix *const all[] = {&tokens, &confidences, &score_rows, &rules, &commits, &counts};
    um_status status = um_op_select(backend, &args, err);

    memset(out, 0xff, sizeof(*out));
    ops_download(&commits, um_backend_name(backend));
    ops_download(&counts, um_backend_name(backend));
    memcpy(out->commits, commits.host.data, (size_t)c->rows * sizeof(um_commit));
    memcpy(out->counts, counts.host.data, (size_t)c->rule_count * sizeof(int32_t));
    for (size_t i = 0; i < UM_COUNT_OF(all); i++)
        ops_free(all[i]);
    return status;
}

/* ---- cases -------------------------------------------------------------------------------------- */

/* A rule for a sequence of `rows` rows, its numbers from `draw`. */
static um_select_rule make_rule(uint32_t draw, int32_t kind, int32_t first, int32_t rows)
{
    static const float factors[] = {0.3f, 1, 1.5f, 4};
    um_select_rule rule = {.seed = draw * 0x9e3779b97f4a7c15u,
                           .step = draw % 9,
                           .choice = draw % 3,
                           .first = first,
                           .rows = rows,
                           .kind = kind,
                           .threshold = (float)(draw / 5 % 64) / 64,
                           .factor = factors[draw / 7 % 4],
                           .factor_quirk = (int32_t)(draw / 3 % 2),
                           .sequence = (int32_t)draw};

    if (rule.kind != UM_SELECT_INDEPENDENT)
        rule.count = (int32_t)(draw / 11 % (uint32_t)(rows + 3));
    if (draw % 2 == 0 && (rule.kind == UM_SELECT_THRESHOLD || rule.kind == UM_SELECT_FACTOR))
        rule.count = 1;
    if (rule.kind == UM_SELECT_COUNT && draw / 13 % 2)
        rule.order_temperature = 0.5f;
    return rule;
}

typedef enum values {
    FINE,   /* all different */
    COARSE, /* multiples of 1/64: ties everywhere */
    SURE,   /* near 1, as the factor rule likes them */
    ODD,    /* NaN, infinities, both zeros among them */
    VALUES,
} values;

static float confidence_of(values kind, uint32_t seed, int32_t row)
{
    static const float odd[] = {NAN, 0.0f, -0.0f, -INFINITY, INFINITY, -FLT_MAX, 1};
    float u = 0.5f + 0.5f * ops_uniform(seed, (uint32_t)row);

    switch (kind) {
    case COARSE:
        return floorf(64 * u) / 64;
    case SURE:
        return 1 - u * u * u * u / 8;
    case ODD:
        return row % 3 ? u : odd[(uint32_t)row / 3 % UM_COUNT_OF(odd)];
    default:
        return u;
    }
}

/* Sequences of these lengths, one row between each that belongs to none. Kind < 0: each its own. */
static void make_call(call *c, const int32_t *lengths, int32_t count, uint32_t seed, int32_t kind)
{
    *c = (call){.rule_count = count};
    for (int32_t s = 0; s < count; s++) {
        uint32_t draw = (uint32_t)(1e6 * (1 + (double)ops_uniform(seed, 1000000 + (uint32_t)s)));
        um_select_rule *rule = &c->rules[s];

        *rule = make_rule(draw, kind < 0 ? (int32_t)(draw % 5) : kind, c->rows, lengths[s]);
        for (int32_t i = 0; i <= lengths[s]; i++) {
            values shape = (values)((seed + (uint32_t)s) % VALUES);
            bool masked = rule->kind != UM_SELECT_COMPETING || (draw >> i % 20 & 1);

            c->tokens[c->rows + i] = 1000 + 3 * i + s;
            c->confidences[c->rows + i] = confidence_of(shape, seed, c->rows + i);
            c->score_rows[c->rows + i] =
                (um_score_row){.position = 5 + 2 * i, .rule = -1, .masked = masked};
        }
        c->rows += lengths[s] + 1;
    }
    UM_ASSERT(c->rows <= ROWS_MAX);
}

/* Byte for byte, also where neither wrote. */
static void agree(um_backend *cuda, um_backend *ref, const call *c, const char *label)
{
    static result got, expected;
    um_err err = {0};

    UM_CHECK_OK(select_rows(cuda, c, &got, &err), err);
    UM_CHECK_OK(select_rows(ref, c, &expected, &err), err);
    for (int32_t s = 0; s < c->rule_count; s++) {
        um_test_count();
        if (got.counts[s] != expected.counts[s])
            um_test_fail(__FILE__, __LINE__, "%s, sequence %d of kind %d: %d commits, expected %d",
                         label, (int)s, (int)c->rules[s].kind, (int)got.counts[s],
                         (int)expected.counts[s]);
    }
    UM_CHECK(memcmp(got.commits, expected.commits, sizeof(got.commits)) == 0);
}

static void agrees_with_ref(void)
{
    static const int32_t lengths[][RULES_MAX] = {
        {1, 2, 3, 0, 5, 7, 31, 1},
        {32, 33, 63, 64, 65, 0, 100, 1},
        {255, 256, 257, 128, 1, 2, 511, 9},
        {513, 1000, 4, 300, 16, 17, 130, 64},
    };
    um_backend *cuda = open_backend("cuda"), *ref = open_backend("ref");
    static call c;

    for (uint32_t seed = 0; seed < 160; seed++) {
        char label[OPS_LABEL_BYTES];

        snprintf(label, sizeof(label), "seed %u", seed);
        make_call(&c, lengths[seed % UM_COUNT_OF(lengths)], RULES_MAX, seed, -1);
        agree(cuda, ref, &c, label);
    }
    um_backend_close(ref);
    um_backend_close(cuda);
}

/* Up to the last sequence whose keys lie in shared memory, and beyond. */
static void long_sequences_agree_with_ref(void)
{
    static const int32_t lengths[][RULES_MAX] = {{4095, 4096}, {4097, 10}, {8000, 300}};
    um_backend *cuda = open_backend("cuda"), *ref = open_backend("ref");
    static call c;

    for (uint32_t i = 0; i < UM_COUNT_OF(lengths); i++)
        for (uint32_t kind = 0; kind < 5; kind++) {
            char label[OPS_LABEL_BYTES];

            snprintf(label, sizeof(label), "%d rows, kind %u", (int)lengths[i][0], kind);
            make_call(&c, lengths[i], 2, 10 * i + kind, (int32_t)kind);
            agree(cuda, ref, &c, label);
        }
    um_backend_close(ref);
    um_backend_close(cuda);
}

static void order_of_execution_does_not_show(void)
{
    static const int32_t lengths[RULES_MAX] = {257, 4, 33, 4500, 512, 1, 0, 600};
    static const struct {
        const char *name, *on, *off;
    } switches[] = {{"ORDER", "reverse", ""}, {"LAZY", "1", "0"}};
    um_backend *backend = open_backend("cuda");
    static result forward, other;
    static call c;
    um_err err = {0};

    for (uint32_t seed = 0; seed < 5; seed++) {
        make_call(&c, lengths, RULES_MAX, seed, -1);
        UM_CHECK_OK(select_rows(backend, &c, &forward, &err), err);
        for (size_t i = 0; i < UM_COUNT_OF(switches); i++) {
            fake_set(switches[i].name, switches[i].on);
            UM_CHECK_OK(select_rows(backend, &c, &other, &err), err);
            fake_set(switches[i].name, switches[i].off);
            UM_CHECK(memcmp(&forward, &other, sizeof(forward)) == 0);
        }
    }
    um_backend_close(backend);
}

/* One launch, one block a sequence, no conflict between banks; what a fault looks like. */
static void a_call_is_one_launch(void)
{
    static const int32_t lengths[RULES_MAX] = {100, 32, 64, 1};
    um_backend *backend = open_backend("cuda");
    fakecuda_kernel seen;
    static result out;
    static call c;
    um_err err = {0};

    make_call(&c, lengths, 4, 1, -1);
    fake_reset_kernels();
    UM_CHECK_OK(select_rows(backend, &c, &out, &err), err);
    seen = fake_kernel("selection::select_rows");
    UM_CHECK_INT(seen.launches, 1);
    UM_CHECK_INT(seen.blocks, 4);
    fake_set("FAIL_LAUNCH", "1");
    UM_CHECK_STATUS(select_rows(backend, &c, &out, &err), UM_E_DEVICE);
    fake_set("FAIL_LAUNCH", "0");
    UM_CHECK_OK(select_rows(backend, &c, &out, &err), err);
    um_backend_close(backend);
}

static const um_test tests[] = {
    {"agrees_with_ref", agrees_with_ref, 120},
    {"long_sequences_agree_with_ref", long_sequences_agree_with_ref, 120},
    {"order_of_execution_does_not_show", order_of_execution_does_not_show, 120},
    {"a_call_is_one_launch", a_call_is_one_launch, 0},
};
UM_TEST_MAIN(tests)
