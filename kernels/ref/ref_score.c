/*
 * Reference score: head, edits, sampled distribution, token, confidence, alternatives. Plain loops
 * over one row of logits after the other.
 */
#include "kernels/ref/ref_internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/rng.h"

/* ---- logits ------------------------------------------------------------------------------- */

static float settle(float logit)
{
    return isnan(logit) ? -INFINITY : fminf(logit, FLT_MAX);
}

static void leave_out(float *logits, int64_t vocab, const int32_t *ids, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        if (ids[i] >= 0 && ids[i] < vocab)
            logits[ids[i]] = -INFINITY;
}

static void edit(float *logits, const um_logit_edit *edits, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        float *l = &logits[edits[i].token];

        *l = *l > 0 ? *l / edits[i].repetition : *l * edits[i].repetition;
        *l = settle(*l + edits[i].bias);
    }
}

static float largest(const float *logits, int64_t vocab)
{
    float max = -INFINITY;

    for (int64_t v = 0; v < vocab; v++)
        max = fmaxf(max, logits[v]);
    return max;
}

/* ---- sampled distribution ----------------------------------------------------------------- */

static float distribution_temperature(const um_score_rule *rule)
{
    return rule->temperature > 0 ? rule->temperature : 1.0f;
}

static uint64_t mass(float logit, float max, float temperature)
{
    return (uint64_t)((double)expf((logit - max) / temperature) * 0x1p32 + 0.5);
}

/* How many of the sorted ids top_p keeps. */
static int64_t keep_top_p(const float *logits, int64_t vocab, const um_score_rule *rule,
                          const uint64_t *keys)
{
    float max = logits[umi_ref_key_index(keys[0])], temperature = distribution_temperature(rule);
    uint64_t total = 0, before = 0, bound;
    int64_t kept = 0;

    for (int64_t v = 0; v < vocab; v++)
        total += mass(logits[v], max, temperature);
    bound = (uint64_t)((double)rule->top_p * (double)total);
    while (kept < vocab && before <= bound)
        before += mass(logits[umi_ref_key_index(keys[kept++])], max, temperature);
    return kept;
}

/* Ids are sorted; those that every filter keeps come first. Returns the key of the last of them:
 * an id is kept when its key is no smaller. */
static uint64_t find_cut(const float *logits, int64_t vocab, const um_score_rule *rule,
                         uint64_t *keys)
{
    int64_t kept = vocab;
    float max;

    if (rule->top_p >= 1 && rule->top_k == 0 && rule->min_p <= 0)
        return 0;
    for (int64_t v = 0; v < vocab; v++)
        keys[v] = umi_ref_order_key(logits[v], (int32_t)v);
    umi_ref_sort_keys(keys, (int32_t)vocab);
    max = logits[umi_ref_key_index(keys[0])];
    if (max == -INFINITY)
        return 0;
    if (rule->top_p < 1)
        kept = keep_top_p(logits, vocab, rule, keys);
    if (rule->top_k > 0 && rule->top_k < kept) {
        float last = logits[umi_ref_key_index(keys[rule->top_k - 1])];

        while (logits[umi_ref_key_index(keys[kept - 1])] < last)
            kept--;
    }
    if (rule->min_p > 0) {
        float last = max + distribution_temperature(rule) * um_noise_log(rule->min_p);

        while (logits[umi_ref_key_index(keys[kept - 1])] < last)
            kept--;
    }
    return keys[kept - 1];
}

static bool is_kept(const float *logits, int64_t v, uint64_t cut)
{
    return umi_ref_order_key(logits[v], (int32_t)v) >= cut;
}

/* ---- token -------------------------------------------------------------------------------- */

static bool is_banned(const um_score_rule *rule, int64_t id)
{
    return rule->banned[0] == id || rule->banned[1] == id;
}
_Static_assert(UM_BANNED_MAX == 2, "is_banned looks at two");

/* Banned ids are skipped, not only -inf: a row whose other logits are all -inf must not give a
 * banned id either. */
static int32_t choose_token(const float *logits, int64_t vocab, const um_score_rule *rule,
                            int32_t position, uint64_t cut)
{
    uint32_t noise[4] = {0};
    float best_value = 0;
    int64_t best = -1;

    for (int64_t v = 0; v < vocab; v++) {
        float value = logits[v];

        if (rule->temperature > 0) {
            if (v % 4 == 0)
                um_philox(rule->seed, rule->step, (uint32_t)position, (uint32_t)(v / 4),
                          rule->choice, noise);
            value += rule->temperature * um_gumbel(noise[v % 4]);
        }
        if (is_banned(rule, v) || !is_kept(logits, v, cut))
            continue;
        if (best < 0 || value > best_value) {
            best = v;
            best_value = value;
        }
    }
    return best < 0 ? 0 : (int32_t)best;
}

/* ---- confidence --------------------------------------------------------------------------- */

/* A distribution: softmax(logits / temperature) over the ids that a cut keeps. */
typedef struct distribution {
    const float *logits;
    int64_t vocab;
    float temperature;
    uint64_t cut;
    float max; /* the largest logit; -infinity: no id counts */
    float sum; /* of exp((l - max) / temperature) */
} distribution;

static float weight(const distribution *d, int64_t v)
{
    return is_kept(d->logits, v, d->cut) ? expf((d->logits[v] - d->max) / d->temperature) : 0.0f;
}

static float entropy_term(const distribution *d, int64_t v)
{
    float w = weight(d, v) / d->sum;

    return w * logf(w + 1e-10f);
}

/* In double, because a float32 running sum over 100,000 ids would lose a long tail of small terms:
 * each is below half a unit in the last place of the sum. */
static float sum_up(const distribution *d, float (*term)(const distribution *d, int64_t v))
{
    double sum = 0;

    for (int64_t v = 0; v < d->vocab; v++)
        sum += (double)term(d, v);
    return (float)sum;
}

static distribution make_distribution(const float *logits, int64_t vocab, float temperature,
                                      uint64_t cut)
{
    distribution d = {.logits = logits,
                      .vocab = vocab,
                      .temperature = temperature,
                      .cut = cut,
                      .max = largest(logits, vocab)};

    if (d.max > -INFINITY)
        d.sum = sum_up(&d, weight);
    return d;
}

static float log_probability(const distribution *d, int64_t v)
{
    if (d->logits[v] == -INFINITY)
        return -FLT_MAX;
    return fmaxf((d->logits[v] - d->max) / d->temperature - logf(d->sum), -FLT_MAX);
}

static float margin(const distribution *d)
{
    float first = 0, second = 0;

    for (int64_t v = 0; v < d->vocab; v++) {
        float w = weight(d, v);

        second = fmaxf(second, fminf(first, w));
        first = fmaxf(first, w);
    }
    return (first - second) / d->sum;
}

static float confidence_of(const distribution *d, um_confidence kind, int32_t token)
{
    if (kind == UM_CONFIDENCE_LOGPROB)
        return log_probability(d, token);
    if (d->max == -INFINITY)
        return 0;
    if (kind == UM_CONFIDENCE_MARGIN)
        return margin(d);
    if (kind == UM_CONFIDENCE_ENTROPY)
        return sum_up(d, entropy_term);
    return weight(d, token) / d->sum;
}

static float order_draw(const um_score_rule *rule, int32_t position)
{
    uint32_t draw[4];

    um_philox(rule->seed, rule->step, (uint32_t)position, UM_DRAW_ORDER, rule->choice, draw);
    return um_uniform(draw[0]);
}

/* ---- one row ------------------------------------------------------------------------------ */

/* The likeliest ids by the plain logits, then the chosen one. */
static void list_alternatives(const um_score_args *args, int64_t row, const float *plain,
                              int32_t token, uint64_t *keys)
{
    um_alternative *out =
        (um_alternative *)((char *)args->alternatives->data + row * args->alternatives->stride);
    distribution d = make_distribution(plain, args->vocab, 1, 0);

    for (int64_t v = 0; v < args->vocab; v++)
        keys[v] = umi_ref_order_key(plain[v], (int32_t)v);
    umi_ref_sort_keys(keys, (int32_t)args->vocab);
    for (int32_t i = 0; i < args->alternative_count; i++) {
        int32_t id = i < args->alternative_count - 1 ? umi_ref_key_index(keys[i]) : token;

        out[i] = (um_alternative){.token = id, .logprob = log_probability(&d, id)};
    }
}

/* `plain` holds the row's logits, settled; `logits` is room for as many. */
static void score_row(const umi_ref *ref, const um_score_args *args, int64_t row,
                      const float *plain, float *logits)
{
    const um_score_row *at = (const um_score_row *)args->score_rows->data + row;
    const um_score_rule *rule = (const um_score_rule *)args->rules->data + at->rule;
    float *confidence = um_f32_row(args->confidences, 0) + row;
    int32_t *token = um_i32_row(args->tokens, 0) + row;
    uint64_t cut;

    memcpy(logits, plain, (size_t)args->vocab * sizeof(float));
    if (rule->edit_count > 0)
        edit(logits, (const um_logit_edit *)args->edits->data + rule->first_edit, rule->edit_count);
    leave_out(logits, args->vocab, rule->banned, UM_BANNED_MAX);
    cut = find_cut(logits, args->vocab, rule, ref->keys);
    *token = choose_token(logits, args->vocab, rule, at->position, cut);
    if (args->alternative_count > 0)
        list_alternatives(args, row, plain, *token, ref->keys);
    if (rule->confidence == UM_CONFIDENCE_RANDOM) {
        *confidence = order_draw(rule, at->position);
    } else {
        distribution d;

        leave_out(logits, args->vocab, rule->uncounted, UM_UNCOUNTED_MAX);
        d = rule->filtered
                ? make_distribution(logits, args->vocab, distribution_temperature(rule), cut)
                : make_distribution(logits, args->vocab, 1, 0);
        *confidence = confidence_of(&d, (um_confidence)rule->confidence, *token);
    }
}

static void head_row(const um_score_args *args, int64_t row, float *x, float *logits)
{
    const umi_ref_weight *head = (const umi_ref_weight *)args->head;
    const um_tensor *hidden = args->hidden;

    um_widen(hidden->dtype,
             (const char *)hidden->data +
                 row * hidden->stride * (int64_t)um_dtype_bytes(hidden->dtype),
             x, head->base.in);
    umi_ref_products(head, 0, args->vocab, x, logits);
    for (int64_t v = 0; v < args->vocab; v++)
        logits[v] *= args->scale;
}

um_status umi_ref_score(um_backend *backend, const um_score_args *args, um_err *err)
{
    umi_ref *ref = (umi_ref *)backend;

    (void)err;
    for (int64_t r = 0; r < args->hidden->rows; r++) {
        head_row(args, r, ref->row, ref->plain);
        if (args->logits)
            memcpy(um_f32_row(args->logits, r), ref->plain, (size_t)args->vocab * sizeof(float));
        for (int64_t v = 0; v < args->vocab; v++)
            ref->plain[v] = settle(ref->plain[v]);
        score_row(ref, args, r, ref->plain, ref->tile);
    }
    return UM_OK;
}
