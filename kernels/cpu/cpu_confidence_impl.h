/*
 * How sure a row is: probabilities, margin, entropy, and the likeliest ids. Text shared by all
 * levels; see cpu_kernels.h. The order of every sum is fixed by the vocabulary.
 */
#ifndef UM_KERNELS_CPU_CONFIDENCE_IMPL_H
#define UM_KERNELS_CPU_CONFIDENCE_IMPL_H

#include <float.h>

#include "kernels/cpu/cpu_filter_impl.h"

/* softmax(logits), or with `filtered` softmax(logits / temperature) of the ids that are kept. */
typedef struct distribution {
    const float *logits;
    int64_t vocab;
    bool filtered;
    float temperature;
    cut kept;
    float max; /* the largest logit; -infinity: no id counts */
    float sum; /* of exp((l - max) / temperature); at least 1 */
} distribution;

static float largest(const float *logits, int64_t vocab)
{
    vf best = v_set1(-INFINITY);

    for (int64_t i = 0; i < vocab; i += VL)
        best = v_max(best, v_fill_from(v_load_n(logits + i, vocab - i), vocab - i, -INFINITY));
    return v_max_lane(best);
}

/* exp((l - max) / temperature) of ids i .. i + VL - 1, 0 where they do not count. */
UM_INLINE vf v_share(const distribution *d, bool filtered, int64_t i)
{
    vf l = v_load_n(d->logits + i, d->vocab - i), e;

    if (filtered)
        e = v_select(v_kept(&d->kept, l, i), v_weight(l, d->max, d->temperature), v_set1(0.0f));
    else
        e = v_exp(l - d->max);
    return v_fill_from(e, d->vocab - i, 0.0f);
}

/* w ln(w + 1e-10) for w = share / sum. */
UM_INLINE vf v_entropy_term(vf share, float sum)
{
    vf w = share / sum;

    return w * v_noise_log(w + 1e-10f);
}

/* Summed in blocks, because one running float would lose a long tail of small terms. */
enum { SUM_BLOCK = 64 * VL };

UM_INLINE float sum_up(const distribution *d, bool filtered, bool entropy)
{
    vf total = v_set1(0.0f);

    for (int64_t base = 0; base < d->vocab; base += SUM_BLOCK) {
        vf sum = v_set1(0.0f);

        for (int64_t i = base; i < d->vocab && i < base + SUM_BLOCK; i += VL) {
            vf term = v_share(d, filtered, i);

            sum = sum + (entropy ? v_entropy_term(term, d->sum) : term);
        }
        total = total + sum;
    }
    return v_sum(total);
}

/* Finds max and sum. */
static void measure_distribution(distribution *d)
{
    d->max = largest(d->logits, d->vocab);
    if (d->max == -INFINITY)
        return;
    d->sum = d->filtered ? sum_up(d, true, false) : sum_up(d, false, false);
}

static float probability(const distribution *d, float logit)
{
    return v_weight(v_set1(logit), d->max, d->temperature)[0] / d->sum;
}

static float log_probability(const distribution *d, float logit)
{
    float p;

    if (logit == -INFINITY)
        return -FLT_MAX;
    p = (logit - d->max) / d->temperature - um_noise_log(d->sum);
    return p > -FLT_MAX ? p : -FLT_MAX;
}

static float margin(const distribution *d)
{
    vf below = v_set1(-INFINITY);
    vi equal = {0};
    float second;
    int32_t firsts = 0;

    for (int64_t i = 0; i < d->vocab; i += VL) {
        vf l = v_fill_from(v_load_n(d->logits + i, d->vocab - i), d->vocab - i, -INFINITY);

        if (d->filtered)
            l = v_select(v_kept(&d->kept, l, i), l, v_set1(-INFINITY));
        equal -= (vi)(l == d->max); /* all ones is -1 */
        below = v_max(below, v_select((vi)(l < d->max), l, v_set1(-INFINITY)));
    }
    for (int lane = 0; lane < VL; lane++)
        firsts += equal[lane];
    second = firsts > 1 ? d->max : v_max_lane(below);
    return (1.0f - v_weight(v_set1(second), d->max, d->temperature)[0]) / d->sum;
}

static float confidence_of(const distribution *d, um_confidence kind, int32_t token)
{
    if (kind == UM_CONFIDENCE_LOGPROB)
        return log_probability(d, d->logits[token]);
    if (d->max == -INFINITY)
        return 0.0f;
    if (kind == UM_CONFIDENCE_MARGIN)
        return margin(d);
    if (kind == UM_CONFIDENCE_ENTROPY)
        return d->filtered ? sum_up(d, true, true) : sum_up(d, false, true);
    return probability(d, d->logits[token]);
}

/* ---- alternatives --------------------------------------------------------------------------- */

typedef struct likeliest {
    int32_t ids[UM_ALTERNATIVES_MAX];
    float logits[UM_ALTERNATIVES_MAX];
    int32_t count;
} likeliest;

/* An id that comes after all those in the list, into a list that may be full. */
static void insert_id(likeliest *list, int32_t wanted, int32_t id, float logit)
{
    int32_t at = list->count < wanted ? list->count++ : wanted - 1;

    for (; at > 0 && list->logits[at - 1] < logit; at--) {
        list->logits[at] = list->logits[at - 1];
        list->ids[at] = list->ids[at - 1];
    }
    list->logits[at] = logit;
    list->ids[at] = id;
}

/* The `wanted` largest logits, at most as many as there are ids; ties: lower ids. */
static void find_likeliest(const float *logits, int64_t vocab, int32_t wanted, likeliest *list)
{
    list->count = 0;
    if (wanted == 0)
        return;
    for (int64_t i = 0; i < vocab; i += VL) {
        vf l = v_fill_from(v_load_n(logits + i, vocab - i), vocab - i, -INFINITY);

        if (list->count == wanted && !v_any((vi)(l > list->logits[wanted - 1])))
            continue;
        for (int64_t v = i; v < vocab && v < i + VL; v++)
            if (list->count < wanted || logits[v] > list->logits[wanted - 1])
                insert_id(list, wanted, (int32_t)v, logits[v]);
    }
}

/* All but the last entry, from logits before edits and bans; their distribution for the last. */
static distribution list_alternatives(const float *logits, int64_t vocab, int32_t wanted,
                                      um_alternative *out)
{
    distribution plain = {.logits = logits, .vocab = vocab, .temperature = 1.0f};
    likeliest list;

    measure_distribution(&plain);
    find_likeliest(logits, vocab, wanted, &list);
    for (int32_t i = 0; i < list.count; i++)
        out[i] = (um_alternative){.token = list.ids[i],
                                  .logprob = log_probability(&plain, list.logits[i])};
    return plain;
}

#endif
