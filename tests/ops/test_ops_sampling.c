/*
 * The distribution that score samples from and what it says of it: top_p, top_k and min_p, every
 * confidence, edits and alternatives, on random and hostile rows, against a reference in double
 * precision written from ops.h: a sort of the whole vocabulary, masses as integers. Where a border
 * of top_p or min_p lies closer than float32 can tell, either side is right; rows whose borders are
 * exact have tests of their own.
 */
#include <float.h>
#include <stdlib.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "tests/ops/score_fixture.h"

/* ---- reference ------------------------------------------------------------------------------- */

typedef struct ranked {
    float logit;
    int32_t id;
} ranked;

static int compare_ranked(const void *left, const void *right)
{
    const ranked *a = left, *b = right;

    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return a->id - b->id;
}

static ranked *rank(const float *logits, int64_t vocab)
{
    ranked *order = um_mem_calloc((size_t)vocab, sizeof(*order));

    for (int64_t v = 0; v < vocab; v++)
        order[v] = (ranked){.logit = logits[v], .id = (int32_t)v};
    qsort(order, (size_t)vocab, sizeof(*order), compare_ranked);
    return order;
}

static float settled(float logit)
{
    return isnan(logit) ? -INFINITY : logit > FLT_MAX ? FLT_MAX : logit;
}

/* A row before (plain) and after its rule's edits and bans. */
typedef struct reference {
    int64_t vocab;
    float *plain, *logits;
    ranked *plain_order, *order;
    double plain_log_sum; /* of exp(plain - largest) */
} reference;

static void make_reference(reference *ref, const float *logits, int64_t vocab,
                           const um_score_rule *rule, const um_logit_edit *edits)
{
    *ref = (reference){.vocab = vocab, .plain = um_mem_calloc((size_t)vocab, 2 * sizeof(float))};
    ref->logits = ref->plain + vocab;
    for (int64_t v = 0; v < vocab; v++)
        ref->plain[v] = ref->logits[v] = settled(logits[v]);
    for (int32_t i = 0; i < rule->edit_count; i++) {
        const um_logit_edit *edit = &edits[rule->first_edit + i];
        float l = ref->logits[edit->token];

        l = l > 0 ? l / edit->repetition : l * edit->repetition;
        ref->logits[edit->token] = settled(l + edit->bias);
    }
    for (int i = 0; i < UM_BANNED_MAX; i++)
        if (rule->banned[i] >= 0 && rule->banned[i] < vocab)
            ref->logits[rule->banned[i]] = -INFINITY;
    ref->plain_order = rank(ref->plain, vocab);
    ref->order = rank(ref->logits, vocab);
    for (int64_t v = 0; v < vocab; v++)
        ref->plain_log_sum += exp((double)ref->plain[v] - (double)ref->plain_order[0].logit);
    ref->plain_log_sum = log(ref->plain_log_sum);
}

static void free_reference(reference *ref)
{
    um_mem_free(ref->plain);
    um_mem_free(ref->plain_order);
    um_mem_free(ref->order);
}

static double temperature_of(const um_score_rule *rule)
{
    return rule->temperature > 0 ? (double)rule->temperature : 1;
}

static double mass(const reference *ref, const um_score_rule *rule, int64_t rank_index)
{
    double x = (double)ref->order[rank_index].logit - (double)ref->order[0].logit;

    return floor(0x1p32 * exp(x / temperature_of(rule)) + 0.5);
}

/* float32 masses and their sum are good to 2e-7: borders nearer than this may fall either way. */
#define BORDER 1e-6

/* How many of the ordered ids are kept when borders are moved by `slack`. */
static int64_t kept_count(const reference *ref, const um_score_rule *rule, double slack)
{
    int64_t kept = ref->vocab;
    double max = (double)ref->order[0].logit;

    if (ref->order[0].logit == -INFINITY)
        return kept;
    if (rule->top_p < 1) {
        double total = 0, before = 0;

        for (int64_t i = 0; i < ref->vocab; i++)
            total += mass(ref, rule, i);
        for (kept = 0; kept < ref->vocab; kept++) {
            if (kept > 0 && before > floor((double)rule->top_p * total) + slack * total)
                break;
            before += mass(ref, rule, kept);
        }
    }
    if (rule->top_k > 0 && kept > rule->top_k) {
        int64_t all = kept;

        for (kept = rule->top_k; kept < all; kept++)
            if (ref->order[kept].logit < ref->order[rule->top_k - 1].logit)
                break;
    }
    if (rule->min_p > 0) {
        double drop = temperature_of(rule) * log((double)rule->min_p);

        while (ref->order[kept - 1].logit < ref->order[0].logit &&
               (double)ref->order[kept - 1].logit < max + drop - slack * (fabs(max) + fabs(drop)))
            kept--;
    }
    return kept;
}

/* What is right for one row: several, where a border is too near to tell. */
#define EXPECTATIONS_MAX 24
typedef struct expectation {
    int count;
    int32_t tokens[EXPECTATIONS_MAX];
    double confidences[EXPECTATIONS_MAX];
    double tolerances[EXPECTATIONS_MAX];
} expectation;

static bool holds(const int32_t ids[2], int32_t id)
{
    return ids[0] == id || ids[1] == id;
}

/* x = (l - max) / T is rounded twice, the sum of exponentials is good to 1e-6, and the result is
 * rounded. */
#define LOG_TOLERANCE(x, log_sum) (1e-6 + 3e-7 * fabs(x) + 1e-7 * (log_sum))

/* Confidence, over the first `kept` ids with `filtered`. */
static double expected_confidence(const reference *ref, const um_score_rule *rule, int64_t kept,
                                  int32_t token, double *tolerance)
{
    double temperature = rule->filtered ? temperature_of(rule) : 1;
    double max = -HUGE_VAL, sum = 0, entropy = 0, own = -HUGE_VAL, first = 0, second = 0;
    int64_t count = rule->filtered ? kept : ref->vocab;

    for (int64_t i = 0; i < count; i++) {
        if (!holds(rule->uncounted, ref->order[i].id)) {
            max = fmax(max, (double)ref->order[i].logit);
            if (ref->order[i].id == token)
                own = (double)ref->order[i].logit;
        }
    }
    *tolerance = 0;
    if (max == -HUGE_VAL || (own == -HUGE_VAL && rule->confidence == UM_CONFIDENCE_LOGPROB))
        return rule->confidence == UM_CONFIDENCE_LOGPROB ? -(double)FLT_MAX : 0;
    for (int64_t i = 0; i < count; i++)
        if (!holds(rule->uncounted, ref->order[i].id))
            sum += exp(((double)ref->order[i].logit - max) / temperature);
    for (int64_t i = 0; i < count; i++) {
        double w = exp(((double)ref->order[i].logit - max) / temperature) / sum;

        if (holds(rule->uncounted, ref->order[i].id))
            continue;
        entropy += w * log(w + 1e-10);
        second = fmax(second, fmin(first, w));
        first = fmax(first, w);
    }
    own = (own - max) / temperature;
    switch (rule->confidence) {
    case UM_CONFIDENCE_MARGIN: /* observed: see the printed share of these tolerances */
        *tolerance = 1e-6;
        return first - second;
    case UM_CONFIDENCE_ENTROPY:
        *tolerance = 2e-6 * (1 + fabs(entropy));
        return entropy;
    case UM_CONFIDENCE_LOGPROB:
        *tolerance = LOG_TOLERANCE(own, log(sum));
        return fmax(own - log(sum), -(double)FLT_MAX);
    default:
        *tolerance = (1.5e-6 + (own > -HUGE_VAL ? 3e-7 * -own : 0)) * exp(own) / sum + 1e-37;
        return exp(own) / sum;
    }
}

static float noisy(const reference *ref, const um_score_rule *rule, int32_t position, int32_t id)
{
    uint32_t words[4];

    if (rule->temperature <= 0)
        return ref->logits[id];
    um_philox(rule->seed, rule->step, (uint32_t)position, (uint32_t)id / 4, rule->choice, words);
    return ref->logits[id] + rule->temperature * um_gumbel(words[id % 4]);
}

/* The winner among the first `kept` ids; the lowest that is not banned where all are -inf. */
static int32_t expected_token(const reference *ref, const um_score_rule *rule, int32_t position,
                              int64_t kept)
{
    float best = -INFINITY;
    int32_t token = -1, lowest = 0;

    for (int64_t i = 0; i < kept; i++) {
        int32_t id = ref->order[i].id;
        float value = noisy(ref, rule, position, id);

        if (value > best || (value == best && token >= 0 && id < token)) {
            best = value;
            token = id;
        }
    }
    while (lowest < ref->vocab - 1 && holds(rule->banned, lowest))
        lowest++;
    return token >= 0 ? token : holds(rule->banned, lowest) ? 0 : lowest;
}

static void expect_row(const reference *ref, const um_score_rule *rule, int32_t position,
                       expectation *out)
{
    int64_t low = kept_count(ref, rule, -BORDER), high = kept_count(ref, rule, BORDER);

    out->count = 0;
    UM_CHECK(high - low < EXPECTATIONS_MAX);
    for (int64_t kept = low; kept <= high && out->count < EXPECTATIONS_MAX; kept++) {
        int32_t token = expected_token(ref, rule, position, kept);
        int i = out->count++;

        out->tokens[i] = token;
        out->tolerances[i] = 0;
        if (rule->confidence == UM_CONFIDENCE_RANDOM) {
            uint32_t words[4];

            um_philox(rule->seed, rule->step, (uint32_t)position, UM_DRAW_ORDER, rule->choice,
                      words);
            out->confidences[i] = (double)um_uniform(words[0]);
        } else {
            out->confidences[i] = expected_confidence(ref, rule, kept, token, &out->tolerances[i]);
        }
    }
}

/* Largest error as a share of its tolerance, by confidence. */
typedef struct worst_errors {
    double by_kind[UM_CONFIDENCE_LOGPROB + 1];
} worst_errors;

static void check_row(const expectation *expected, const um_score_rule *rule, int32_t token,
                      float confidence, const char *label, worst_errors *worst)
{
    for (int i = 0; i < expected->count; i++) {
        double error = fabs((double)confidence - expected->confidences[i]);

        if (token != expected->tokens[i] || !(error <= expected->tolerances[i]))
            continue;
        um_test_count();
        if (expected->tolerances[i] > 0)
            worst->by_kind[rule->confidence] =
                fmax(worst->by_kind[rule->confidence], error / expected->tolerances[i]);
        return;
    }
    um_test_fail(__FILE__, __LINE__,
                 "%s: top_p %g, top_k %d, min_p %g, temperature %g, confidence %d%s: token %d at "
                 "%.9g, expected %d at %.9g +- %.2g",
                 label, (double)rule->top_p, (int)rule->top_k, (double)rule->min_p,
                 (double)rule->temperature, (int)rule->confidence,
                 rule->filtered ? " filtered" : "", (int)token, (double)confidence,
                 (int)expected->tokens[0], expected->confidences[0], expected->tolerances[0]);
}

static double plain_logprob(const reference *ref, int32_t id, double *tolerance)
{
    double x = (double)ref->plain[id] - (double)ref->plain_order[0].logit;

    *tolerance = 0;
    if (ref->plain[id] == -INFINITY)
        return -(double)FLT_MAX;
    *tolerance = LOG_TOLERANCE(x, ref->plain_log_sum);
    return fmax(x - ref->plain_log_sum, -(double)FLT_MAX);
}

static void check_alternatives(const reference *ref, const um_alternative *got, int32_t count,
                               int32_t token, const char *label)
{
    for (int32_t i = 0; i < count; i++) {
        int32_t id = i < count - 1 ? ref->plain_order[i].id : token;
        double tolerance, expected = plain_logprob(ref, id, &tolerance);

        um_test_count();
        if (got[i].token != id || !(fabs((double)got[i].logprob - expected) <= tolerance))
            um_test_fail(__FILE__, __LINE__,
                         "%s: alternative %d is %d at %.9g, expected %d at %.9g", label, (int)i,
                         (int)got[i].token, (double)got[i].logprob, (int)id, expected);
    }
}

/* ---- sweeps ---------------------------------------------------------------------------------- */

static const struct {
    float top_p;
    int32_t top_k;
    float min_p;
} filters[] = {
    {1, 0, 0},    {0.9f, 0, 0}, {0.5f, 0, 0},  {1, 1, 0},        {1, 5, 0},
    {1, 0, 0.1f}, {1, 0, 1},    {0.95f, 7, 0}, {0.8f, 4, 0.05f}, {1e-6f, 0, 0},
};
static const float temperatures[] = {0, 0.3f, 1, 2.5f};

#define RULES_MAX OPS_ROWS_MAX

/* Every `stride`-th of all combinations; those without `filtered` leave ids uncounted, some. */
static int32_t make_rules(um_score_rule *rules, int32_t stride)
{
    int32_t combinations = (int32_t)(UM_COUNT_OF(filters) * UM_COUNT_OF(temperatures)) * 5 * 2;
    int32_t count = 0;

    UM_ASSERT(combinations <= RULES_MAX);
    for (int32_t i = 0; i < combinations; i += stride) {
        int32_t filter = i / 40;
        um_score_rule *rule = &rules[count++];

        *rule = score_plain_rule();
        rule->seed = 1000 + (uint64_t)i;
        rule->step = (uint32_t)i % 7;
        rule->choice = (uint32_t)i % 3;
        rule->filtered = i % 2;
        rule->confidence = i / 2 % 5;
        rule->temperature = temperatures[i / 10 % 4];
        rule->top_p = filters[filter].top_p;
        rule->top_k = filters[filter].top_k;
        rule->min_p = filters[filter].min_p;
        rule->banned[0] = 2;
        if (!rule->filtered && filter % 2)
            rule->uncounted[1] = 4;
    }
    return count;
}

enum { PATTERNS = 14 };

static float pattern_logit(int pattern, int64_t v, int64_t vocab)
{
    float u = ops_uniform(300 + (uint32_t)pattern, (uint32_t)v);

    switch (pattern) {
    case 0:
        return 8 * u;
    case 1: /* ties over few values */
        return floorf(4 * u);
    case 2:
        return -0.01f * (float)v;
    case 3:
        return 0.01f * (float)v;
    case 4:
        return 1.5f;
    case 5:
        return v % 2 ? -INFINITY : 8 * u;
    case 6:
        return -INFINITY;
    case 7:
        return v % 5 == 1 ? NAN : 3 * u;
    case 8:
        return v % 11 == 3 ? INFINITY : 3 * u;
    case 9:
        return v == vocab / 2 ? -7.0f : -INFINITY;
    case 10:
        return v % 3 == 0 ? 3e38f : -3e38f * fabsf(u);
    case 11: /* zeros of both signs among denormals */
        return v % 3 == 0 ? -0.0f : v % 3 == 1 ? 0.0f : 1e-40f * u;
    case 12:
        return v == vocab - 1 ? 50.0f : -50.0f;
    default: /* a long tail, many of whose masses round to 0 or 1 */
        return v == 0 ? 0.0f : -22.0f - u;
    }
}

/* One call scores the row under every rule; rows of other rules must not matter. A fake device is
 * left out but for every twentieth call. */
static void sweep_row(const ops_backends *backends, int call_index, const float *logits,
                      int64_t vocab, const um_score_rule *rules, int32_t rule_count,
                      const um_logit_edit *edits, int32_t edit_count, int32_t alternative_count,
                      const char *name, worst_errors *worst)
{
    static scored got[OPS_BACKENDS_MAX];
    bool taken[OPS_BACKENDS_MAX];
    um_score_row rows[RULES_MAX];
    score_call call = {.vocab = vocab,
                       .rows = rows,
                       .rules = rules,
                       .rule_count = rule_count,
                       .edits = edits,
                       .edit_count = edit_count,
                       .alternative_count = alternative_count};

    for (int32_t r = 0; r < rule_count; r++)
        rows[r] = (um_score_row){.position = 3 + 7 * r, .rule = r, .masked = r % 2};
    for (int b = 0; b < backends->count; b++) {
        taken[b] = call_index % 20 == 0 || !ops_is_fake_device(backends->at[b]);
        if (taken[b])
            score_logits(backends->at[b], logits, rule_count, &call, &got[b]);
    }
    for (int32_t r = 0; r < rule_count; r++) {
        expectation expected;
        reference ref;

        make_reference(&ref, logits, vocab, &rules[r], edits);
        expect_row(&ref, &rules[r], rows[r].position, &expected);
        for (int b = 0; b < backends->count; b++) {
            char label[OPS_LABEL_BYTES];

            if (!taken[b])
                continue;
            snprintf(label, sizeof(label), "%s %s, vocabulary of %lld", backends->label[b], name,
                     (long long)vocab);
            check_row(&expected, &rules[r], got[b].tokens[r], got[b].confidences[r], label,
                      &worst[b]);
            check_alternatives(&ref, got[b].alternatives[r], alternative_count, got[b].tokens[r],
                               label);
        }
        free_reference(&ref);
    }
}

static void sweep(const int64_t *vocabs, int vocab_count, int patterns, int32_t stride,
                  int32_t alternatives)
{
    static const char *const kinds[] = {"probability", "random", "margin", "entropy", "logprob"};
    um_score_rule rules[RULES_MAX];
    int32_t rule_count = make_rules(rules, stride);
    worst_errors worst[OPS_BACKENDS_MAX] = {{{0}}};
    int64_t vocab_max = vocabs[vocab_count - 1];
    float *logits = um_mem_calloc((size_t)vocab_max, sizeof(*logits));
    ops_backends backends;

    ops_open(&backends, 0, vocab_max);
    for (int i = 0; i < vocab_count; i++)
        for (int pattern = 0; pattern < patterns; pattern++) {
            int64_t vocab = vocabs[i];
            char name[32];

            for (int64_t v = 0; v < vocab; v++)
                logits[v] = pattern_logit(pattern, v, vocab);
            snprintf(name, sizeof(name), "pattern %d", pattern);
            sweep_row(&backends, pattern + 5 * i, logits, vocab, rules, rule_count, NULL, 0,
                      alternatives <= vocab + 1 ? alternatives : (int32_t)vocab + 1, name, worst);
        }
    for (int b = 0; b < backends.count; b++) {
        printf("    %-18s worst error / tolerance:", backends.label[b]);
        for (int kind = 0; kind <= UM_CONFIDENCE_LOGPROB; kind++)
            printf(" %s %.2f", kinds[kind], worst[b].by_kind[kind]);
        printf("\n");
    }
    ops_close(&backends);
    um_mem_free(logits);
}

static void every_filter_and_confidence_on_hostile_rows(void)
{
    static const int64_t vocabs[] = {1, 2, 3, 5, 17, 64, 65, 300};

    sweep(vocabs, UM_COUNT_OF(vocabs), PATTERNS, 1, 6);
}

static void every_filter_and_confidence_at_real_vocabularies(void)
{
    static const int64_t vocabs[] = {50257, 126464, 152064};

    sweep(vocabs, UM_COUNT_OF(vocabs), 2, 37, UM_ALTERNATIVES_MAX + 1);
}

/* ---- edits ----------------------------------------------------------------------------------- */

/* Two rules with edits of their own and one without, over a vocabulary with hostile logits. */
static void edits_come_first_and_stay_with_their_rule(void)
{
    static const um_logit_edit edits[] = {
        {.token = 5, .bias = 100, .repetition = 1},
        {.token = 0, .bias = -100, .repetition = 1},
        {.token = 3, .bias = 0, .repetition = 1.5f},
        {.token = 7, .bias = -INFINITY, .repetition = 2},
        {.token = 1, .bias = 0.25f, .repetition = 0.5f},
        {.token = 9, .bias = 1, .repetition = 1},
        {.token = 63, .bias = 3, .repetition = 1.1f},
    };
    um_score_rule rules[RULES_MAX];
    int32_t rule_count = make_rules(rules, 3);
    worst_errors worst[OPS_BACKENDS_MAX] = {{{0}}};
    float logits[64];
    ops_backends backends;

    for (int32_t r = 0; r < rule_count; r++) {
        rules[r].first_edit = r % 3 == 1 ? 4 : 0;
        rules[r].edit_count = r % 3 == 0 ? 4 : r % 3 == 1 ? 3 : 0;
    }
    ops_open(&backends, 0, 64);
    for (int pattern = 0; pattern < PATTERNS; pattern++) {
        for (int64_t v = 0; v < 64; v++)
            logits[v] = pattern_logit(pattern, v, 64);
        sweep_row(&backends, pattern, logits, 64, rules, rule_count, edits, UM_COUNT_OF(edits), 6,
                  "edits", worst);
    }
    ops_close(&backends);
}

/* ---- scripted rows --------------------------------------------------------------------------- */

static void expect(const ops_backends *backends, const float *logits, int64_t vocab,
                   const um_score_rule *rule, int32_t token, double confidence, const char *file,
                   int line)
{
    static const um_score_row row = {.position = 12, .masked = 1};
    score_call call = {.vocab = vocab, .rows = &row, .rules = rule, .rule_count = 1};

    for (int b = 0; b < backends->count; b++) {
        static scored got;

        score_logits(backends->at[b], logits, 1, &call, &got);
        um_test_count();
        if (got.tokens[0] != token || !(fabs((double)got.confidences[0] - confidence) <= 1e-6))
            um_test_fail(file, line, "%s: token %d at %.9g, expected %d at %.9g",
                         backends->label[b], (int)got.tokens[0], (double)got.confidences[0],
                         (int)token, confidence);
    }
}
#define EXPECT(logits, rule, token, confidence)                                                    \
    expect(&backends, (logits), (int64_t)UM_COUNT_OF(logits), &(rule), (token), (confidence),      \
           __FILE__, __LINE__)

/* DreamLM/Dream generation_utils.py, sample_tokens with probabilities (.5, .3, .2): the id that
 * crosses top_p is kept; filters act at temperature 0, too, and change the confidence. */
static void dream_confidences(void)
{
    const float p[] = {logf(0.3f), logf(0.5f), logf(0.2f)};
    um_score_rule rule = score_plain_rule();
    ops_backends backends;

    ops_open(&backends, 0, 64);
    rule.filtered = 1;
    EXPECT(p, rule, 1, 0.5);
    rule.top_p = 0.6f;
    EXPECT(p, rule, 1, 0.5 / 0.8);
    rule.top_p = 0.4f;
    EXPECT(p, rule, 1, 1);
    rule.top_p = 1;
    rule.confidence = UM_CONFIDENCE_MARGIN;
    EXPECT(p, rule, 1, 0.2);
    rule.top_k = 2;
    EXPECT(p, rule, 1, 0.25);
    rule.top_k = 1;
    EXPECT(p, rule, 1, 1);
    rule.confidence = UM_CONFIDENCE_ENTROPY;
    EXPECT(p, rule, 1, 0);
    rule.top_k = 0;
    EXPECT(p, rule, 1, 0.5 * log(0.5) + 0.3 * log(0.3) + 0.2 * log(0.2));
    rule.top_p = 0.6f;
    EXPECT(p, rule, 1, 0.625 * log(0.625) + 0.375 * log(0.375));
    rule.confidence = UM_CONFIDENCE_PROBABILITY;
    rule.top_p = 1;
    rule.min_p = 0.5f;
    EXPECT(p, rule, 1, 0.5 / 0.8);
    rule.filtered = 0; /* LLaDA: the plain softmax, whatever is sampled from */
    rule.top_p = 0.4f;
    EXPECT(p, rule, 1, 0.5);
    rule.confidence = UM_CONFIDENCE_LOGPROB; /* DiffuLLaMA */
    EXPECT(p, rule, 1, log(0.5));
    ops_close(&backends);
}

/* At temperature T the confidence is of softmax(l / T), filtered; top_p .4 leaves one id. */
static void dream_confidence_is_of_the_scaled_logits(void)
{
    static const float logits[] = {0, 1, -1};
    um_score_rule rule = score_plain_rule();
    double total = 1 + exp(-5) + exp(-10);
    ops_backends backends;

    ops_open(&backends, 0, 64);
    rule.temperature = 0.2f;
    rule.filtered = 1;
    rule.top_p = 0.4f;
    EXPECT(logits, rule, 1, 1);
    rule.top_p = 0.999f; /* 1 / total = .9933 before the second, .99995 before the third */
    rule.confidence = UM_CONFIDENCE_MARGIN;
    EXPECT(logits, rule, 1, (1 - exp(-5)) / (1 + exp(-5)));
    rule.top_p = 1;
    EXPECT(logits, rule, 1, (1 - exp(-5)) / total);
    ops_close(&backends);
}

/* Masses of equal logits are equal integers, so that a border can be met exactly. */
static void a_mass_of_exactly_top_p_keeps_the_next_id(void)
{
    float equal[129];
    um_score_rule rule = score_plain_rule();
    ops_backends backends;

    for (int v = 0; v < 129; v++)
        equal[v] = -2.5f;
    ops_open(&backends, 0, 129);
    rule.filtered = 1;
    for (int kept = 1; kept < 128; kept++) { /* of 128 ids: kept - 1 before the last one */
        rule.banned[0] = 64;
        rule.top_p = (float)(kept - 1) / 128;
        if (kept > 1)
            EXPECT(equal, rule, 0, 1.0 / kept);
        rule.top_p = ((float)kept - 0.5f) / 128;
        EXPECT(equal, rule, 0, 1.0 / kept);
    }
    rule.top_p = 0x1.fffffep-1f; /* the largest below 1 */
    EXPECT(equal, rule, 0, 1.0 / 128);
    ops_close(&backends);
}

static void ties_stay_with_top_k_but_not_those_that_top_p_cut(void)
{
    static const float logits[] = {1, 2, 1, 0, 1, 1};
    um_score_rule rule = score_plain_rule();
    double e = exp(-1);
    ops_backends backends;

    ops_open(&backends, 0, 64);
    rule.filtered = 1;
    rule.top_k = 2;
    EXPECT(logits, rule, 1, 1 / (1 + 4 * e));
    rule.top_k = 5;
    EXPECT(logits, rule, 1, 1 / (1 + 4 * e));
    rule.top_k = 6;
    EXPECT(logits, rule, 1, 1 / (1 + 4 * e + e * e));
    rule.top_k = 1000;
    EXPECT(logits, rule, 1, 1 / (1 + 4 * e + e * e));
    rule.top_p = 0.6f; /* .384 and .141 each: the second and third id, .525 < .6 < .667 */
    rule.top_k = 0;
    EXPECT(logits, rule, 1, 1 / (1 + 2 * e));
    rule.top_k = 2;
    EXPECT(logits, rule, 1, 1 / (1 + 2 * e));
    rule.top_k = 1;
    EXPECT(logits, rule, 1, 1);
    ops_close(&backends);
}

/* ---- draws ----------------------------------------------------------------------------------- */

/* What is kept is drawn by its share and nothing else at all: chi-square with at most 4 degrees of
 * freedom over 10,000 draws; 23.5 has a probability of 1e-4, and the draws are fixed. */
static void draws_follow_the_filtered_softmax(void)
{
    static const float logits[8] = {0.5f, 0, 1.2f, -1, 0.9f, -INFINITY, 0.9f, NAN};
    static const struct {
        float temperature, top_p;
        int32_t top_k;
        float min_p;
        const char *kept; /* worked out by hand */
    } cases[] = {
        {1, 0.74f, 0, 0, "x_x_x_x_"}, {0.5f, 0.7f, 0, 0, "__x_x_x_"},
        {2, 1, 2, 0, "__x_x_x_"},     {1, 1, 0, 0.4f, "x_x_x_x_"},
        {1, 0.8f, 1, 0, "__x_____"},  {1, 0.75f, 4, 0.2f, "x_x_x_x_"},
    };
    static scored got;
    ops_backends backends;

    ops_open(&backends, 0, 64);
    for (int b = 0; b < backends.count; b++)
        for (size_t c = 0; c < UM_COUNT_OF(cases) && !ops_is_fake_device(backends.at[b]); c++) {
            um_score_rule rule = score_plain_rule();
            um_score_row rows[200];
            score_call call = {.vocab = 8, .rows = rows, .rules = &rule, .rule_count = 1};
            double counts[8] = {0}, total = 0, chi_square = 0;

            rule.temperature = cases[c].temperature;
            rule.top_p = cases[c].top_p;
            rule.top_k = cases[c].top_k;
            rule.min_p = cases[c].min_p;
            rule.seed = 78;
            for (int32_t r = 0; r < 200; r++)
                rows[r] = (um_score_row){.position = r};
            for (uint32_t step = 0; step < 50; step++) {
                rule.step = step;
                score_logits(backends.at[b], logits, 200, &call, &got);
                for (int r = 0; r < 200; r++)
                    counts[got.tokens[r]]++;
            }
            for (int v = 0; v < 8; v++)
                if (cases[c].kept[v] == 'x')
                    total += exp((double)logits[v] / (double)rule.temperature);
            for (int v = 0; v < 8; v++) {
                double expected = 10000 * exp((double)logits[v] / (double)rule.temperature) / total;

                if (cases[c].kept[v] == 'x')
                    chi_square += (counts[v] - expected) * (counts[v] - expected) / expected;
                else
                    UM_CHECK_NEAR(counts[v], 0, 0);
            }
            UM_CHECK_NEAR(chi_square, 0, 23.5);
        }
    ops_close(&backends);
}

static const um_test tests[] = {
    {"every_filter_and_confidence_on_hostile_rows", every_filter_and_confidence_on_hostile_rows,
     300},
    {"every_filter_and_confidence_at_real_vocabularies",
     every_filter_and_confidence_at_real_vocabularies, 120},
    {"edits_come_first_and_stay_with_their_rule", edits_come_first_and_stay_with_their_rule, 120},
    UM_TEST(dream_confidences),
    UM_TEST(dream_confidence_is_of_the_scaled_logits),
    UM_TEST(a_mass_of_exactly_top_p_keeps_the_next_id),
    UM_TEST(ties_stay_with_top_k_but_not_those_that_top_p_cut),
    UM_TEST(draws_follow_the_filtered_softmax),
};
UM_TEST_MAIN(tests)
