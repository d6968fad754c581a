/*
 * Token and confidence of scored rows: logits against double, tokens against an exact scan of the
 * backend's own logits, confidences against a softmax in double; scripted logits for every rule
 * that a request can set; Gumbel noise as LLaDA draws it.
 */
#include <float.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "tests/ops/score_fixture.h"

#define SCORE_ROWS 100

/* ---- scripted logits -------------------------------------------------------------------------- */

/* Rows that all see the same logits, under one rule. */
static void score_rows(um_backend *backend, const float *logits, int64_t vocab,
                       const um_score_row *rows, int64_t row_count, const um_score_rule *rule,
                       scored *out)
{
    score_call call = {.vocab = vocab, .rows = rows, .rules = rule, .rule_count = 1};

    score_logits(backend, logits, row_count, &call, out);
}

static void expect(const ops_backends *backends, const float *logits, int64_t vocab,
                   um_score_rule rule, int32_t token, double confidence, const char *file, int line)
{
    static const um_score_row row = {.position = 12};

    for (int b = 0; b < backends->count; b++) {
        double tolerance = confidence > 0 && confidence < 1 ? 1e-6 : 0;
        scored got;

        score_rows(backends->at[b], logits, vocab, &row, 1, &rule, &got);
        um_test_count();
        if (got.tokens[0] != token || !(fabs((double)got.confidences[0] - confidence) <= tolerance))
            um_test_fail(file, line, "%s: token %d confidence %.9g, expected %d and %.9g",
                         backends->label[b], (int)got.tokens[0], (double)got.confidences[0],
                         (int)token, confidence);
    }
}
#define EXPECT(logits, rule, token, confidence)                                                    \
    expect(&backends, (logits), (int64_t)UM_COUNT_OF(logits), (rule), (token), (confidence),       \
           __FILE__, __LINE__)

static void argmax_takes_the_lowest_index_of_equals(void)
{
    static const float one[] = {-3}, equal[] = {2, 2, 2, 2, 2}, late[] = {0, 1, 3, 3, 2, 3};
    static const float zeros[] = {-0.0f, 0.0f}, negative[] = {-5, -4, -4};
    float wide[300];
    ops_backends backends;

    ops_open(&backends, 0, 512);
    EXPECT(one, score_plain_rule(), 0, 1);
    EXPECT(equal, score_plain_rule(), 0, 0.2);
    EXPECT(late, score_plain_rule(), 2, 1 / (3 + exp(-3) + exp(-2) + exp(-1)));
    EXPECT(zeros, score_plain_rule(), 0, 0.5);
    EXPECT(negative, score_plain_rule(), 1, 1 / (2 + exp(-1)));
    for (int first = 0; first < 300; first += 7) { /* in every lane, a later equal one never wins */
        for (int v = 0; v < 300; v++)
            wide[v] = v == first || v > first + 30 ? 1.0f : -40.0f;
        EXPECT(wide, score_plain_rule(), first, first + 31 < 300 ? 1.0 / (300 - first - 30) : 1.0);
    }
    ops_close(&backends);
}

static void a_banned_id_is_never_chosen_nor_counted(void)
{
    static const float logits[] = {1, 5, 2, 4};
    static const float only[] = {-INFINITY, NAN, 7};
    um_score_rule rule = score_plain_rule();
    ops_backends backends;

    ops_open(&backends, 0, 64);
    rule.banned[0] = 1;
    EXPECT(logits, rule, 3, 1 / (1 + exp(-2) + exp(-3)));
    rule.banned[1] = 3;
    EXPECT(logits, rule, 2, 1 / (1 + exp(-1)));
    rule.banned[0] = 99; /* outside the vocabulary: nothing to ban */
    EXPECT(logits, rule, 1, 1 / (1 + exp(-4) + exp(-3)));
    /* nothing else is left: still not the banned one */
    rule = score_plain_rule();
    rule.banned[1] = 2;
    EXPECT(only, rule, 0, 0);
    rule.banned[0] = 0;
    EXPECT(only, rule, 1, 0);
    rule.temperature = 1;
    EXPECT(only, rule, 1, 0);
    ops_close(&backends);
}

/* LLaDA's confidence_eos_eot_inf: such a row comes last, the others' softmax leaves the ids out. */
static void uncounted_ids_have_confidence_zero(void)
{
    static const float eos[] = {1, 2, 9, 3}, text[] = {1, 8, 6, 2}, two[] = {4, 4};
    um_score_rule rule = score_plain_rule();
    ops_backends backends;

    ops_open(&backends, 0, 64);
    rule.uncounted[0] = 2;
    rule.uncounted[1] = 3;
    EXPECT(eos, rule, 2, 0);
    EXPECT(text, rule, 1, 1 / (1 + exp(-7)));
    rule.uncounted[0] = 0;
    rule.uncounted[1] = 1;
    EXPECT(two, rule, 0, 0); /* nothing counts */
    rule.banned[0] = 2;      /* logits_eos_inf beside it */
    rule.uncounted[0] = 3;
    rule.uncounted[1] = -1;
    EXPECT(eos, rule, 3, 0);
    EXPECT(text, rule, 1, 1 / (1 + exp(-7)));
    ops_close(&backends);
}

static void logits_that_are_not_finite_keep_to_the_rule(void)
{
    static const float nan_best[] = {1, NAN, 3, 2}, all_nan[] = {NAN, NAN, NAN};
    static const float infinite[] = {1, INFINITY, 3, INFINITY}, none[] = {-INFINITY, -INFINITY};
    static const float mixed[] = {-INFINITY, NAN, -1e30f}, huge[] = {3e38f, -3e38f, 0};
    um_score_rule rule = score_plain_rule();
    ops_backends backends;

    ops_open(&backends, 0, 64);
    EXPECT(nan_best, rule, 2, 1 / (1 + exp(-1) + exp(-2)));
    EXPECT(all_nan, rule, 0, 0);
    EXPECT(infinite, rule, 1, 0.5);
    EXPECT(none, rule, 0, 0);
    EXPECT(mixed, rule, 2, 1);
    EXPECT(huge, rule, 0, 1);
    rule.temperature = 1;
    EXPECT(mixed, rule, 2, 1);
    EXPECT(all_nan, rule, 0, 0);
    ops_close(&backends);
}

/* ---- noise ------------------------------------------------------------------------------------ */

/* The first seed whose draws for vocabulary entries 0, 1, 2 lie within 0.01 of the three values. */
static uint64_t seed_near(double u0, double u1, double u2, int32_t position)
{
    for (uint64_t seed = 0; seed < 10000000; seed++) {
        uint32_t words[4];

        um_philox(seed, 0, (uint32_t)position, 0, 0, words);
        if (fabs((double)um_uniform(words[0]) - u0) < 0.01 &&
            fabs((double)um_uniform(words[1]) - u1) < 0.01 &&
            fabs((double)um_uniform(words[2]) - u2) < 0.01)
            return seed;
    }
    um_test_fail(__FILE__, __LINE__, "no such seed");
    return 0;
}

/* ML-GSAI/LLaDA generate.py with logits (1, 2, 0.5) and u = (0.9, 0.1, 0.5): z = l - T ln(-ln u) is
 * largest at 1 for T = 0.2 and at 0 for T = 1. */
static void temperature_scales_the_noise_as_in_llada(void)
{
    static const float logits[] = {1, 2, 0.5f};
    double total = exp(1) + exp(2) + exp(0.5);
    um_score_rule rule = score_plain_rule();
    ops_backends backends;

    ops_open(&backends, 0, 64);
    rule.seed = seed_near(0.9, 0.1, 0.5, 12);
    EXPECT(logits, rule, 1, exp(2) / total);
    rule.temperature = 0.2f;
    EXPECT(logits, rule, 1, exp(2) / total);
    rule.temperature = 1;
    EXPECT(logits, rule, 0, exp(1) / total); /* the softmax stays at temperature 1 */
    ops_close(&backends);
}

/* The first position, and its draw, for which u of vocabulary entry 0 is extreme. */
static int32_t extreme_position(bool high, uint32_t words[4])
{
    for (int32_t position = 0; position < 4000000; position++) {
        um_philox(0, 0, (uint32_t)position, 0, 0, words);
        if ((high ? ~words[0] : words[0]) < 1u << 14)
            return position;
    }
    um_test_fail(__FILE__, __LINE__, "no such position");
    return 0;
}

static double exact_gumbel(uint32_t x)
{
    return -log(-log1p(-((double)~x + 0.5) * 0x1p-32));
}

/* Two entries whose noisy logits differ by 2e-5 one way or the other: the noise of a backend must
 * be that exact where u is near 0 (the worst noise) and near 1 (the best). */
static void noise_is_exact_at_both_ends(void)
{
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int high = 0; high < 2; high++) {
        uint32_t words[4];
        um_score_row row = {.position = extreme_position(high, words)};
        um_score_rule rule = score_plain_rule();
        double gap = exact_gumbel(words[0]) - exact_gumbel(words[1]);

        rule.temperature = 1;
        for (int b = 0; b < backends.count; b++)
            for (int side = 0; side < 2; side++) {
                float logits[2] = {0, (float)(gap + (side ? 2e-5 : -2e-5))};
                scored got;

                score_rows(backends.at[b], logits, 2, &row, 1, &rule, &got);
                UM_CHECK_INT(got.tokens[0], side);
            }
    }
    ops_close(&backends);
}

/* Draws over positions, steps and choices follow softmax(l / T): chi-square with 4 degrees of
 * freedom over 10,000 draws; 23.5 has a probability of 1e-4, and the draws are fixed. */
static void samples_follow_the_softmax(void)
{
    static const float logits[5] = {0.5f, 0, 1.2f, -1, 0.9f};
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++)
        for (int t = 0; t < 3 && !ops_is_fake_device(backends.at[b]); t++) {
            um_score_rule rule = score_plain_rule();
            double counts[5] = {0}, total = 0, chi_square = 0;

            rule.temperature = t == 0 ? 1.0f : t == 1 ? 0.5f : 2.0f;
            rule.seed = 77;
            for (int call = 0; call < 100; call++) {
                um_score_row rows[SCORE_ROWS];
                scored got;

                rule.step = (uint32_t)call % 10;
                rule.choice = (uint32_t)call / 10;
                for (int32_t r = 0; r < SCORE_ROWS; r++)
                    rows[r] = (um_score_row){.position = r};
                score_rows(backends.at[b], logits, 5, rows, SCORE_ROWS, &rule, &got);
                for (int r = 0; r < SCORE_ROWS; r++)
                    counts[got.tokens[r]]++;
            }
            for (int v = 0; v < 5; v++)
                total += exp((double)logits[v] / (double)rule.temperature);
            for (int v = 0; v < 5; v++) {
                double expected = 10000 * exp((double)logits[v] / (double)rule.temperature) / total;

                chi_square += (counts[v] - expected) * (counts[v] - expected) / expected;
            }
            UM_CHECK_NEAR(chi_square, 0, 23.5);
        }
    ops_close(&backends);
}

static void random_confidence_is_the_order_draw(void)
{
    static const float logits[] = {1, 3, 2};
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++) {
        um_score_rule rule = score_plain_rule();
        um_score_row rows[20];
        scored got;

        rule.confidence = UM_CONFIDENCE_RANDOM;
        rule.seed = 0x123456789abcdef0u;
        rule.step = 3;
        rule.choice = 2;
        rule.uncounted[0] = 1; /* random order asks nothing of the softmax */
        for (int32_t r = 0; r < 20; r++)
            rows[r] = (um_score_row){.position = 100 - r};
        score_rows(backends.at[b], logits, 3, rows, 20, &rule, &got);
        for (int r = 0; r < 20; r++) {
            uint32_t words[4];

            um_philox(rule.seed, 3, (uint32_t)(100 - r), UM_DRAW_ORDER, 2, words);
            UM_CHECK_INT(got.tokens[r], 1);
            UM_CHECK(got.confidences[r] == um_uniform(words[0]));
        }
    }
    ops_close(&backends);
}

/* ---- logits, tokens and confidences of real heads ----------------------------------------------- */

typedef struct head_case {
    int64_t rows, width, vocab, stored; /* `stored` rows in the head, of which `vocab` count */
    um_dtype dtype;
    bool biased;
    float scale;
    ops_layout layout;
    size_t tile_bytes;
} head_case;

static const head_case head_cases[] = {
    {1, 1, 1, 1, UM_F32, false, 1, OPS_TIGHT, 0},
    {3, 3, 3, 3, UM_F32, true, 1, OPS_PADDED, 0},
    {2, 17, 17, 20, UM_BF16, false, 0.25f, OPS_TIGHT, 0},
    {5, 16, 40, 40, UM_F32, false, 1, OPS_TIGHT, 0},
    {9, 63, 63, 63, UM_BF16, true, 1, OPS_PADDED, 300},
    {65, 64, 65, 70, UM_F32, true, 0.125f, OPS_TIGHT, 4096},
    {100, 96, 1000, 1003, UM_BF16, false, 1, OPS_TIGHT, 16000},
    {37, 65, 1024, 1024, UM_F32, false, 1, OPS_PADDED, 0},
    {4, 8, 126464, 126464, UM_F32, false, 1, OPS_TIGHT, (size_t)3 * 126464 * 4},
    {3, 8, 126464, 126464, UM_BF16, true, 1, OPS_TIGHT, 0},
};

/* Rules that rows take in turn: greedy, warm, banned, uncounted, both. */
static const um_score_rule head_rules[] = {
    {.top_p = 1, .banned = {-1, -1}, .uncounted = {-1, -1}},
    {.top_p = 1,
     .seed = 5,
     .step = 1,
     .temperature = 0.7f,
     .banned = {-1, -1},
     .uncounted = {-1, -1}},
    {.top_p = 1, .banned = {2, 0}, .uncounted = {-1, -1}},
    {.top_p = 1, .banned = {-1, -1}, .uncounted = {1, 3}},
    {.top_p = 1, .seed = 6, .choice = 1, .temperature = 1, .banned = {-1, 5}, .uncounted = {4, -1}},
};

static bool is_in(const int32_t *ids, int64_t id)
{
    return ids[0] == id || ids[1] == id;
}

/* What um_op_score promises of a row, given the logits that it computed. */
static void check_scored_row(const float *logits, int64_t vocab, const um_score_rule *rule,
                             int32_t position, int32_t token, float confidence, const char *label,
                             double *worst)
{
    double max = -HUGE_VAL, sum = 0, expected = 0, error;
    float best = -INFINITY;
    int64_t winner = -1;

    for (int64_t v = 0; v < vocab; v++) {
        uint32_t words[4];
        float z = logits[v];

        if (is_in(rule->banned, v))
            continue;
        if (rule->temperature > 0) {
            um_philox(rule->seed, rule->step, (uint32_t)position, (uint32_t)v / 4, rule->choice,
                      words);
            z += rule->temperature * um_gumbel(words[v % 4]);
        }
        if (winner < 0 || z > best) {
            best = z;
            winner = v;
        }
        if (!is_in(rule->uncounted, v))
            max = fmax(max, (double)logits[v]);
    }
    for (int64_t v = 0; v < vocab; v++)
        if (!is_in(rule->banned, v) && !is_in(rule->uncounted, v))
            sum += exp((double)logits[v] - max);
    if (sum > 0 && !is_in(rule->uncounted, winner) && !is_in(rule->banned, winner))
        expected = exp((double)logits[winner < 0 ? 0 : winner] - max) / sum;
    error = fabs((double)confidence - expected);
    um_test_count();
    /* a sum of up to 126,464 float32 terms: observed 4.2e-7 of the value (cpu) */
    if (token != (winner < 0 ? 0 : winner) || !(error <= 1e-6 * expected))
        um_test_fail(__FILE__, __LINE__, "%s: token %d confidence %.9g, expected %lld and %.9g",
                     label, (int)token, (double)confidence, (long long)winner, expected);
    if (expected > 0)
        *worst = fmax(*worst, error / expected);
}

static void check_logits_row(const head_case *c, const um_weight_spec *spec,
                             const um_tensor *hidden, int64_t row, const um_tensor *logits,
                             const char *label, ops_stats *stats)
{
    for (int64_t v = 0; v < c->vocab; v++) {
        double sum = c->biased ? ops_get(&spec->biases[0], 0, v) : 0, size = fabs(sum);

        for (int64_t i = 0; i < c->width; i++) {
            double product = ops_get(&spec->parts[0], v, i) * ops_get(hidden, row, i);

            sum += product;
            size += fabs(product);
        }
        /* as for linear layers */
        ops_check_element(stats, label, logits, row, v, (double)c->scale * sum,
                          5e-7 * (double)c->scale * size);
    }
}

static void run_head(um_backend *backend, const head_case *c, const char *label, ops_stats *stats,
                     double *worst)
{
    um_weight_spec spec = {.dtype = c->dtype, .part_count = 1};
    ops_matrix weights = ops_make(NULL, c->dtype, c->stored, c->width, OPS_TIGHT);
    ops_matrix bias = ops_make(NULL, UM_F32, 1, c->stored, OPS_TIGHT);
    ops_matrix hidden = ops_make(backend, c->dtype, c->rows, c->width, c->layout);
    ops_matrix logits = ops_make(backend, UM_F32, c->rows, c->vocab, c->layout);
    um_score_row rows[SCORE_ROWS];
    um_weight *head;
    um_err err = {0};
    scored got;

    ops_fill(&weights, 51, 1.0f);
    ops_fill(&bias, 52, 1.0f);
    ops_fill(&hidden, 53, 2.0f);
    spec.parts[0] = weights.host;
    if (c->biased)
        spec.biases[0] = bias.host;
    for (int32_t r = 0; r < c->rows; r++)
        rows[r] = (um_score_row){.position = 3 * r, .rule = r % (int32_t)UM_COUNT_OF(head_rules)};
    UM_CHECK_OK(um_weight_create(backend, &spec, &head, &err), err);
    score_run(backend,
              &(score_call){.hidden = hidden.view,
                            .head = head,
                            .scale = c->scale,
                            .vocab = c->vocab,
                            .rows = rows,
                            .rules = head_rules,
                            .rule_count = UM_COUNT_OF(head_rules),
                            .logits = &logits.view},
              &got);
    ops_download(&logits, label);
    for (int64_t r = 0; r < c->rows; r++) {
        check_logits_row(c, &spec, &hidden.host, r, &logits.host, label, stats);
        check_scored_row(um_f32_row(&logits.host, r), c->vocab, &head_rules[rows[r].rule],
                         rows[r].position, got.tokens[r], got.confidences[r], label, worst);
    }
    um_weight_destroy(backend, head);
    ops_free(&logits);
    ops_free(&hidden);
    ops_free(&bias);
    ops_free(&weights);
}

static void heads_match_double(void)
{
    ops_stats stats[OPS_BACKENDS_MAX] = {{0}};
    double worst[OPS_BACKENDS_MAX] = {0};
    ops_backends backends;

    for (size_t i = 0; i < UM_COUNT_OF(head_cases); i++) {
        const head_case *c = &head_cases[i];

        ops_open(&backends, c->tile_bytes, c->vocab);
        for (int b = 0; b < backends.count; b++) {
            char label[OPS_LABEL_BYTES];

            snprintf(label, sizeof(label), "%s head case %zu", backends.label[b], i);
            run_head(backends.at[b], c, label, &stats[b], &worst[b]);
            if (i == UM_COUNT_OF(head_cases) - 1) {
                ops_stats_finish(&stats[b], "head", backends.label[b]);
                printf("    %-18s %-9s worst relative error of a confidence %.2g\n",
                       backends.label[b], "score", worst[b]);
            }
        }
        ops_close(&backends);
    }
}

static const um_test tests[] = {
    UM_TEST(argmax_takes_the_lowest_index_of_equals),
    UM_TEST(a_banned_id_is_never_chosen_nor_counted),
    UM_TEST(uncounted_ids_have_confidence_zero),
    UM_TEST(logits_that_are_not_finite_keep_to_the_rule),
    UM_TEST(temperature_scales_the_noise_as_in_llada),
    UM_TEST(noise_is_exact_at_both_ends),
    UM_TEST(samples_follow_the_softmax),
    UM_TEST(random_confidence_is_the_order_draw),
    {"heads_match_double", heads_match_double, 120},
};
UM_TEST_MAIN(tests)
