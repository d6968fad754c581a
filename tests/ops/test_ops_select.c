/*
 * Which scored rows are committed: the tables of Fast-dLLM, ties, what lies outside every rule,
 * thousands of random cases against a naive selection written from the published code, DiffuLLaMA's
 * competition, and the distribution of what is drawn.
 */
#include "core/base/rng.h"
#include "tests/ops/ops_fixture.h"

#define SELECT_ROWS 200
#define SELECT_RULES 40

/* Positions of the rows, deliberately not their indices. */
static int32_t position_of(int32_t row)
{
    return 5 + 3 * row;
}

typedef struct selection {
    um_commit commits[SELECT_ROWS];
    int32_t counts[SELECT_RULES];
} selection;

/* `masked` NULL: all are. Entries that no rule writes keep all-ones bytes. */
static void run_select(um_backend *backend, const float *confidences, const bool *masked,
                       int32_t rows, const um_select_rule *rules, int32_t rule_count,
                       selection *out)
{
    int32_t tokens[SELECT_ROWS] = {0};
    um_score_row score_rows[SELECT_ROWS] = {{0}};
    ops_matrix token_row, row_array;
    ops_matrix confidence_row = ops_vector(backend, UM_F32, rows, confidences);
    ops_matrix rule_array = ops_structs(backend, rule_count, rules);
    ops_matrix commits = ops_make(backend, UM_BYTES, 1, sizeof(out->commits), OPS_TIGHT);
    ops_matrix counts = ops_make(backend, UM_I32, 1, SELECT_RULES, OPS_TIGHT);
    um_select_args args = {.tokens = &token_row.view,
                           .confidences = &confidence_row.view,
                           .score_rows = &row_array.view,
                           .rules = &rule_array.view,
                           .rule_count = rule_count,
                           .commits = &commits.view,
                           .counts = &counts.view};
    um_err err = {0};

    for (int32_t r = 0; r < rows; r++) {
        tokens[r] = 1000 + r;
        score_rows[r] =
            (um_score_row){.position = position_of(r), .rule = -1, .masked = !masked || masked[r]};
    }
    token_row = ops_vector(backend, UM_I32, rows, tokens);
    row_array = ops_structs(backend, rows, score_rows);
    UM_CHECK_OK(um_op_select(backend, &args, &err), err);
    ops_download(&commits, "commits");
    ops_download(&counts, "counts");
    memcpy(out->commits, commits.host.data, sizeof(out->commits));
    memcpy(out->counts, counts.host.data, sizeof(out->counts));
    ops_free(&row_array);
    ops_free(&token_row);
    ops_free(&counts);
    ops_free(&commits);
    ops_free(&rule_array);
    ops_free(&confidence_row);
}

/* Commits of one rule are exactly the rows marked in `wanted`, in ascending position. */
static bool selected(const selection *got, const um_select_rule *rule, int32_t index,
                     const float *confidences, const bool *wanted)
{
    int32_t n = 0;

    for (int32_t i = 0; i < rule->rows; i++) {
        const um_commit *commit = &got->commits[rule->first + n];
        int32_t row = rule->first + i;

        if (!wanted[i])
            continue;
        if (n >= got->counts[index] || commit->sequence != rule->sequence ||
            commit->position != position_of(row) || commit->token != 1000 + row ||
            memcmp(&commit->confidence, &confidences[row], sizeof(float)) != 0)
            return false;
        n++;
    }
    for (int32_t i = n; i < rule->rows; i++) /* the rest of the rule's room is untouched */
        if (got->commits[rule->first + i].sequence != -1)
            return false;
    return n == got->counts[index];
}

static void expect(const ops_backends *backends, const float *confidences, um_select_rule rule,
                   const char *wanted, const char *file, int line)
{
    bool marks[SELECT_ROWS];

    rule.rows = (int32_t)strlen(wanted);
    rule.sequence = 7;
    for (int32_t i = 0; i < rule.rows; i++)
        marks[i] = wanted[i] == 'x';
    for (int b = 0; b < backends->count; b++) {
        selection got;

        run_select(backends->at[b], confidences, NULL, rule.rows, &rule, 1, &got);
        um_test_count();
        if (!selected(&got, &rule, 0, confidences, marks))
            um_test_fail(file, line, "%s: not '%s' but %d commits", backends->label[b], wanted,
                         (int)got.counts[0]);
    }
}
/* `wanted` has an x for each row to be committed. */
#define EXPECT(confidences, rule, wanted)                                                          \
    expect(&backends, (confidences), (rule), (wanted), __FILE__, __LINE__)

static um_select_rule quota(int32_t count)
{
    return (um_select_rule){.kind = UM_SELECT_COUNT, .count = count};
}
static um_select_rule threshold(float value)
{
    return (um_select_rule){.kind = UM_SELECT_THRESHOLD, .count = 1, .threshold = value};
}
static um_select_rule factor(float value, bool quirk)
{
    return (um_select_rule){
        .kind = UM_SELECT_FACTOR, .count = 1, .factor = value, .factor_quirk = quirk};
}

/* Sorted confidences and how many are committed: threshold 0.9; factor 1 as in the later Fast-dLLM
 * code (a failing last rank passes); factor 1 strictly. */
static void fast_dllm_table(void)
{
    static const float a[] = {0.95f, 0.90f, 0.60f, 0.30f}, b[] = {0.95f, 0.90f, 0.80f, 0.30f};
    static const float c[] = {0.50f, 0.50f}, d[] = {0.10f};
    static const float shuffled[] = {0.30f, 0.90f, 0.95f, 0.80f};
    ops_backends backends;

    ops_open(&backends, 0, 64);
    EXPECT(a, threshold(0.9f), "xx--");
    EXPECT(b, threshold(0.9f), "xx--");
    EXPECT(c, threshold(0.9f), "x-");
    EXPECT(d, threshold(0.9f), "x");
    EXPECT(a, factor(1, true), "xx--");
    EXPECT(b, factor(1, true), "xxxx");
    EXPECT(c, factor(1, true), "xx");
    EXPECT(d, factor(1, true), "x");
    EXPECT(a, factor(1, false), "xx--");
    EXPECT(b, factor(1, false), "xxx-");
    EXPECT(c, factor(1, false), "x-");
    EXPECT(d, factor(1, false), "x");
    EXPECT(shuffled, threshold(0.9f), "-xx-");
    EXPECT(shuffled, factor(1, false), "-xxx");
    ops_close(&backends);
}

static void quota_takes_the_most_confident(void)
{
    static const float w[] = {0.2f, 0.9f, 0.5f, 0.9f, 0.7f};
    ops_backends backends;

    ops_open(&backends, 0, 64);
    EXPECT(w, quota(0), "-----");
    EXPECT(w, quota(1), "-x---");
    EXPECT(w, quota(2), "-x-x-");
    EXPECT(w, quota(3), "-x-xx");
    EXPECT(w, quota(5), "xxxxx");
    EXPECT(w, quota(9), "xxxxx");
    EXPECT(w, quota(3), "");
    ops_close(&backends);
}

static void ties_go_to_the_lowest_position(void)
{
    static const float equal[] = {0.25f, 0.25f, 0.25f, 0.25f, 0.25f};
    static const float zeros[] = {0.0f, 0.0f, -0.0f, 0.5f, 0.0f};
    static const float zero_signs[] = {-0.0f, 0.0f};
    static const float nans[] = {NAN, 0.0f, -1.0f, NAN, 0.5f};
    static const float infinities[] = {-INFINITY, NAN, INFINITY, 1.0f};
    ops_backends backends;

    ops_open(&backends, 0, 64);
    EXPECT(equal, quota(3), "xxx--");
    EXPECT(equal, threshold(0.9f), "x----");
    EXPECT(equal, threshold(0.25f), "xxxxx");
    EXPECT(zeros, quota(3), "xx-x-");
    EXPECT(zeros, quota(4), "xxxx-");
    EXPECT(zero_signs, quota(1), "x-");
    /* a NaN confidence is the least, and passes no rule */
    EXPECT(nans, quota(3), "-xx-x");
    EXPECT(nans, quota(4), "xxx-x");
    EXPECT(nans, threshold(0.0f), "-x--x");
    EXPECT(infinities, quota(3), "x-xx");
    ops_close(&backends);
}

static void minimum_holds_for_every_kind(void)
{
    static const float w[] = {0.1f, 0.3f, 0.2f, 0.97f}, low[] = {0.1f};
    um_select_rule at_least = threshold(0.9f);
    ops_backends backends;

    ops_open(&backends, 0, 64);
    at_least.count = 2;
    EXPECT(w, at_least, "-x-x");
    at_least.count = 0;
    at_least.threshold = 0.99f;
    EXPECT(w, at_least, "----");
    at_least = factor(1, true); /* the quirk starts at the second rank */
    at_least.count = 0;
    EXPECT(low, at_least, "-");
    at_least = factor(0.01f, false);
    at_least.count = 3;
    EXPECT(w, at_least, "-xxx");
    at_least.factor_quirk = true;
    EXPECT(w, at_least, "xxxx");
    ops_close(&backends);
}

/* Several requests in one call, with rows between them that belong to none. */
static void sequences_do_not_mix(void)
{
    static const float w[] = {0.9f, 0.1f, 0.8f, 0.99f, 0.3f, 0.4f, 0.5f, 0.6f};
    const um_select_rule rules[] = {
        {.first = 4, .rows = 3, .kind = UM_SELECT_COUNT, .count = 2, .sequence = 30},
        {.first = 0, .rows = 3, .kind = UM_SELECT_THRESHOLD, .count = 1, .threshold = 0.85f},
        {.first = 8, .rows = 0, .kind = UM_SELECT_COUNT, .count = 1, .sequence = 2},
    };
    static const bool first[] = {false, true, true}, second[] = {true, false, false};
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++) {
        selection got;

        run_select(backends.at[b], w, NULL, 8, rules, 3, &got);
        UM_CHECK(selected(&got, &rules[0], 0, w, first));
        UM_CHECK(selected(&got, &rules[1], 1, w, second));
        UM_CHECK_INT(got.counts[2], 0);
        UM_CHECK_INT(got.counts[3], -1); /* no fourth rule */
        UM_CHECK_INT(got.commits[3].sequence, -1);
        UM_CHECK_INT(got.commits[7].sequence, -1);
    }
    ops_close(&backends);
}

/* ---- random cases ---------------------------------------------------------------------------- */

/* Rank of each row by counting who comes before it: no sort. */
static int32_t rank_of(const float *w, int32_t rows, int32_t row)
{
    int32_t rank = 1;

    for (int32_t i = 0; i < rows; i++)
        rank += w[i] > w[row] || (w[i] == w[row] && i < row);
    return rank;
}

/* NVlabs/Fast-dLLM generate.py and its copies: walk down the sorted list until a limit fails. */
static int32_t naive_count(const um_select_rule *rule, const double *sorted)
{
    int32_t n = rule->rows, top;

    if (rule->kind == UM_SELECT_COUNT)
        return rule->count < n ? rule->count : n;
    for (top = 0; top < n; top++) {
        double limit = rule->kind == UM_SELECT_THRESHOLD ? (double)rule->threshold
                                                         : 1 - (double)rule->factor / (top + 2);

        if (top > 0 && sorted[top] < limit)
            break;
    }
    if (rule->kind == UM_SELECT_FACTOR && rule->factor_quirk && top == n - 1)
        top++;
    return top;
}

/* Confidences are multiples of 1/64, so that ties abound and both forms of the factor rule are
 * exact. */
static void random_case(const ops_backends *backends, uint32_t seed)
{
    static const float factors[] = {0.5f, 1, 1.5f, 2};
    uint32_t draw = (uint32_t)(1000 * (1 + (double)ops_uniform(seed, 900)));
    um_select_rule rule = {.rows = 1 + (int32_t)(draw % SELECT_ROWS),
                           .kind = (int32_t)(seed % 3),
                           .count = 1 + (int32_t)(seed % 3 ? 0 : draw % 20),
                           .threshold = (float)(draw % 64) / 64,
                           .factor = factors[draw % 4],
                           .factor_quirk = seed % 2,
                           .sequence = 1};
    float w[SELECT_ROWS];
    double sorted[SELECT_ROWS];
    bool wanted[SELECT_ROWS];
    int32_t count;

    if (seed % 5 == 0)
        rule.rows = 1 + rule.rows % 4;
    for (int32_t i = 0; i < rule.rows; i++) {
        float u = 0.5f + 0.5f * ops_uniform(seed, (uint32_t)i);

        w[i] = floorf(64 * (seed % 4 < 2 ? sqrtf(sqrtf(u)) : u)) / 64;
    }
    for (int32_t i = 0; i < rule.rows; i++)
        sorted[rank_of(w, rule.rows, i) - 1] = (double)w[i];
    count = naive_count(&rule, sorted);
    for (int32_t i = 0; i < rule.rows; i++)
        wanted[i] = rank_of(w, rule.rows, i) <= count;
    for (int b = 0; b < backends->count; b++) {
        selection got;

        run_select(backends->at[b], w, NULL, rule.rows, &rule, 1, &got);
        um_test_count();
        if (!selected(&got, &rule, 0, w, wanted))
            um_test_fail(__FILE__, __LINE__, "%s: seed %u: %d commits, expected %d",
                         backends->label[b], seed, (int)got.counts[0], (int)count);
    }
}

static void random_cases_match_the_published_loop(void)
{
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (uint32_t seed = 0; seed < 3000; seed++)
        random_case(&backends, seed);
    ops_close(&backends);
}

/* ---- competition ----------------------------------------------------------------------------- */

/* HKUNLP/DiffuLLaMA trainer.py, generate_samples: the cutoff is the (count+1)-th smallest score, and
 * what is still masked and not below it is revealed. Without a sort: a score is not below it when at
 * least count + 1 scores are no larger. */
static bool naive_competes(const float *w, int32_t rows, int32_t count, float score)
{
    int32_t no_larger = 0;

    for (int32_t i = 0; i < rows; i++)
        no_larger += w[i] <= score;
    return no_larger > count;
}

/* 75 positions in 50 steps, new scores in each: revealed ones go on competing, so that some steps
 * reveal many and some none. The number that stays behind is the published float32 product. */
static void competing_reveals_what_diffullama_reveals(void)
{
    enum { N = 75, STEPS = 50 };
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++) {
        bool masked[N], wanted[N];
        int32_t left = N, idle = 0;

        memset(masked, true, sizeof(masked));
        for (int32_t t = STEPS - 1; t >= 1; t--) {
            float share = (float)t / (float)STEPS, w[N];
            um_select_rule rule = {.rows = N,
                                   .kind = UM_SELECT_COMPETING,
                                   .count = (int32_t)((float)N * share),
                                   .sequence = 3};
            selection got;

            for (int32_t i = 0; i < N; i++)
                w[i] = -6 + 5 * ops_uniform(81, (uint32_t)(t * N + i));
            for (int32_t i = 0; i < N; i++)
                wanted[i] = masked[i] && naive_competes(w, N, rule.count, w[i]);
            run_select(backends.at[b], w, masked, N, &rule, 1, &got);
            UM_CHECK(selected(&got, &rule, 0, w, wanted));
            for (int32_t i = 0; i < N; i++)
                masked[i] = masked[i] && !wanted[i];
            left -= got.counts[0];
            idle += got.counts[0] == 0;
            if (t == 42)
                UM_CHECK_INT(rule.count, 62); /* 75 * 42 / 50 is 63 */
        }
        UM_CHECK(idle > 0); /* or the case would show no competition */
        UM_CHECK(left <= 1);
    }
    ops_close(&backends);
}

static void competing_at_its_ends(void)
{
    static const float w[] = {0.5f, NAN, 0.5f, -1, 0.9f, 0.5f};
    static const bool masked[] = {true, true, false, true, true, true};
    static const struct {
        int32_t count;
        const char *wanted;
    } cases[] = {
        {0, "xx-xxx"}, /* even NaN, the least of all */
        {1, "x--xxx"}, {2, "x---xx"}, {3, "x---xx"},   {4, "x---xx"}, /* ties pass together */
        {5, "----x-"}, {6, "------"}, {100, "------"},
    };
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++)
        for (size_t c = 0; c < UM_COUNT_OF(cases); c++) {
            um_select_rule rule = {
                .rows = 6, .kind = UM_SELECT_COMPETING, .count = cases[c].count, .sequence = 3};
            bool wanted[6];
            selection got;

            for (int i = 0; i < 6; i++)
                wanted[i] = cases[c].wanted[i] == 'x';
            run_select(backends.at[b], w, masked, 6, &rule, 1, &got);
            UM_CHECK(selected(&got, &rule, 0, w, wanted));
        }
    ops_close(&backends);
}

/* ---- draws ----------------------------------------------------------------------------------- */

/* Each row by its own draw, whatever its confidence, and at the right rate. */
static void independent_rows_are_drawn_at_their_rate(void)
{
    static const float rates[] = {0, 0.02f, 0.5f, 0.93f, 1};
    float w[SELECT_ROWS];
    ops_backends backends;

    for (int32_t i = 0; i < SELECT_ROWS; i++)
        w[i] = i % 3 ? 0.1f : NAN;
    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++)
        for (size_t r = 0; r < UM_COUNT_OF(rates); r++) {
            double drawn = 0, n = 100.0 * SELECT_ROWS, p = (double)rates[r];

            for (uint32_t step = 0; step < 100; step++) {
                um_select_rule rule = {.seed = 0x100000002u,
                                       .step = step,
                                       .choice = 4,
                                       .rows = SELECT_ROWS,
                                       .kind = UM_SELECT_INDEPENDENT,
                                       .threshold = rates[r],
                                       .sequence = 3};
                bool wanted[SELECT_ROWS];
                selection got;

                for (int32_t i = 0; i < SELECT_ROWS; i++) {
                    uint32_t words[4];

                    um_philox(rule.seed, step, (uint32_t)position_of(i), UM_DRAW_COMMIT, 4, words);
                    wanted[i] = um_uniform(words[0]) < rates[r];
                }
                run_select(backends.at[b], w, NULL, SELECT_ROWS, &rule, 1, &got);
                UM_CHECK(selected(&got, &rule, 0, w, wanted));
                drawn += got.counts[0];
            }
            UM_CHECK_NEAR(drawn, n * p, 4 * sqrt(n * p * (1 - p))); /* 4 standard deviations */
        }
    ops_close(&backends);
}

/* Dream's alg_temp: two of five without replacement by softmax(w / T). Chi-square over the ten pairs
 * of 20,000 draws, 9 degrees of freedom; 33.7 has a probability of 1e-4, and the draws are fixed. */
static void a_temperature_draws_without_replacement(void)
{
    static const float w[5] = {-0.2f, -1.1f, -0.6f, -3, -0.9f};
    enum { SEQUENCES = SELECT_ROWS / 5 };
    double weights[5], total = 0;
    float confidences[SELECT_ROWS];
    ops_backends backends;

    _Static_assert(SEQUENCES <= SELECT_RULES, "a rule for each sequence");
    for (int i = 0; i < 5; i++)
        total += weights[i] = exp((double)w[i] / 0.7);
    for (int i = 0; i < SELECT_ROWS; i++)
        confidences[i] = w[i % 5];
    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++) {
        double counts[5][5] = {{0}}, chi_square = 0;

        for (uint32_t step = 0; step < 500; step++) {
            um_select_rule rules[SEQUENCES];
            selection got;

            for (int32_t s = 0; s < SEQUENCES; s++)
                rules[s] = (um_select_rule){.seed = 19,
                                            .step = step,
                                            .first = 5 * s,
                                            .rows = 5,
                                            .kind = UM_SELECT_COUNT,
                                            .count = 2,
                                            .order_temperature = 0.7f};
            run_select(backends.at[b], confidences, NULL, SELECT_ROWS, rules, SEQUENCES, &got);
            for (int32_t s = 0; s < SEQUENCES; s++) {
                const um_commit *pair = &got.commits[5 * s];

                UM_CHECK_INT(got.counts[s], 2);
                counts[(pair[0].token - 1000) % 5][(pair[1].token - 1000) % 5]++;
            }
        }
        for (int i = 0; i < 5; i++)
            for (int j = i + 1; j < 5; j++) {
                double a = weights[i] / total, c = weights[j] / total;
                double expected = 500 * SEQUENCES * (a * c / (1 - a) + c * a / (1 - c));

                chi_square += (counts[i][j] - expected) * (counts[i][j] - expected) / expected;
            }
        UM_CHECK_NEAR(chi_square, 0, 33.7);
    }
    ops_close(&backends);
}

/* The order is that of w / T + noise, with the noise of its own counter; a NaN stays last. */
static void a_temperature_orders_by_noisy_confidence(void)
{
    enum { N = 40 };
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++)
        for (uint32_t seed = 0; seed < 50; seed++) {
            um_select_rule rule = {.seed = seed,
                                   .step = 7,
                                   .choice = 1,
                                   .rows = N,
                                   .kind = UM_SELECT_COUNT,
                                   .count = (int32_t)(seed % N),
                                   .order_temperature = seed % 2 ? 0.25f : 4.0f,
                                   .sequence = 3};
            float w[N], keys[N];
            bool wanted[N];
            selection got;

            for (int32_t i = 0; i < N; i++) {
                uint32_t words[4];

                w[i] = i == 5 ? NAN : ops_uniform(seed, (uint32_t)i);
                um_philox(seed, 7, (uint32_t)position_of(i), UM_DRAW_RANK, 1, words);
                keys[i] = i == 5 ? -INFINITY : w[i] / rule.order_temperature + um_gumbel(words[0]);
            }
            for (int32_t i = 0; i < N; i++)
                wanted[i] = rank_of(keys, N, i) <= rule.count;
            run_select(backends.at[b], w, NULL, N, &rule, 1, &got);
            UM_CHECK(selected(&got, &rule, 0, w, wanted));
        }
    ops_close(&backends);
}

static const um_test tests[] = {
    UM_TEST(fast_dllm_table),
    UM_TEST(quota_takes_the_most_confident),
    UM_TEST(ties_go_to_the_lowest_position),
    UM_TEST(minimum_holds_for_every_kind),
    UM_TEST(sequences_do_not_mix),
    UM_TEST(random_cases_match_the_published_loop),
    UM_TEST(competing_reveals_what_diffullama_reveals),
    UM_TEST(competing_at_its_ends),
    UM_TEST(independent_rows_are_drawn_at_their_rate),
    UM_TEST(a_temperature_draws_without_replacement),
    UM_TEST(a_temperature_orders_by_noisy_confidence),
};
UM_TEST_MAIN(tests)
