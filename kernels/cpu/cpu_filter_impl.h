/*
 * Which ids top_p, top_k and min_p keep, without sorting the vocabulary. Text shared by all levels;
 * see cpu_kernels.h.
 *
 * Ids are ordered by (logit descending, id ascending), and every filter keeps a prefix of that
 * order. Where the prefix ends is found by a radix selection over the bits of the logits, highest
 * digit first: a histogram of the weight of each digit's ids, then the next digit of the ids that
 * share the first, and so on. Weights are integers, so histograms do not depend on the order in
 * which ids come.
 */
#ifndef UM_KERNELS_CPU_FILTER_IMPL_H
#define UM_KERNELS_CPU_FILTER_IMPL_H

#include <math.h>
#include <string.h>

#include "core/base/rng.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/cpu_vec.h"

/* The last id of a prefix: it holds every id with a larger logit, and of those with this one the
 * ids up to `id`. */
typedef struct cut {
    float logit;
    int32_t id;
} cut;

UM_INLINE cut cut_nothing(void)
{
    return (cut){.logit = -INFINITY, .id = INT32_MAX};
}
UM_INLINE vi v_kept(const cut *last, vf logits, int64_t base)
{
    vi index = v_lane_index() + (int32_t)base;

    return (vi)(logits > last->logit) | ((vi)(logits == last->logit) & (vi)(index <= last->id));
}

/* exp((l - max) / temperature) in every lane. */
UM_INLINE vf v_weight(vf logits, float max, float temperature)
{
    return v_exp((logits - max) / temperature);
}

/* ---- radix selection ------------------------------------------------------------------------ */

enum { LEVELS = 3 };
static const int level_shift[LEVELS] = {21, 10, 0};
static const int level_bits[LEVELS] = {11, 11, 10};
_Static_assert(UMI_HISTOGRAM == 1 << 11, "room for the widest digit");

typedef struct filter {
    const float *logits;
    int64_t vocab;
    float max;
    float temperature;
    bool counting; /* every id weighs 1, else its mass */
    float least;   /* logits below weigh nothing */
    cut among;     /* others weigh nothing */
    uint64_t *histogram;
} filter;

/* exp(-23) * 2^32 is below one half: less than that has a mass of zero. A little more is left to
 * the rounding of the bound. */
#define MASSLESS (-23.5f)

/* Unsigned integers in the order of the floats; -0 is 0. */
UM_INLINE vu v_ordered_bits(vf v)
{
    vu bits = (vu)(v + 0.0f);

    return bits ^ ((vu)((vi)bits >> 31) | 0x80000000u);
}
static float from_ordered_bits(uint32_t bits)
{
    float value;

    bits = bits & 0x80000000u ? bits & 0x7fffffffu : ~bits;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

UM_INLINE uint64_t to_integer(float weight)
{
    return (uint64_t)(int64_t)((double)weight + 0.5);
}
static uint64_t mass_of(const filter *f, float logit)
{
    return to_integer(v_weight(v_set1(logit), f->max, f->temperature)[0] * 0x1p32f);
}

/* Adds the weights of the lanes with a bit set. */
UM_INLINE void add_weights(const filter *f, vf logits, vu digits, uint32_t lanes)
{
    uint32_t digit[VL];
    float weights[VL];

    v_store(weights,
            f->counting ? v_set1(1.0f) : v_weight(logits, f->max, f->temperature) * 0x1p32f);
    memcpy(digit, &digits, sizeof(digit));
    for (; lanes != 0; lanes &= lanes - 1) {
        int lane = __builtin_ctz(lanes);

        f->histogram[digit[lane]] += to_integer(weights[lane]);
    }
}

/* The histogram of one level's digit, over the ids whose higher bits are `prefix`. Returns the
 * weight of all of them. */
static uint64_t tally(const filter *f, int level, uint32_t prefix)
{
    uint32_t digit_mask = (1u << level_bits[level]) - 1;
    uint64_t total = 0;

    memset(f->histogram, 0, UMI_HISTOGRAM * sizeof(*f->histogram));
    for (int64_t i = 0; i < f->vocab; i += VL) {
        vf l = v_fill_from(v_load_n(f->logits + i, f->vocab - i), f->vocab - i, NAN);
        vu bits = v_ordered_bits(l), digits = (bits >> level_shift[level]) & digit_mask;
        vi chosen = v_kept(&f->among, l, i) & (vi)(l >= f->least);
        uint32_t lanes;

        if (level > 0)
            chosen &= (vi)(bits >> (level_shift[level] + level_bits[level]) == prefix);
        lanes = v_bits(chosen);
        if (lanes != 0)
            add_weights(f, l, digits, lanes);
    }
    for (int64_t d = 0; d < UMI_HISTOGRAM; d++)
        total += f->histogram[d];
    return total;
}

/* The logit of the last id whose preceding ids weigh at most `bound` together; *before is what the
 * ids with larger logits weigh. The histogram is that of the first level, and holds more than
 * `bound`. */
static float find_border(const filter *f, uint64_t bound, uint64_t *before)
{
    uint32_t prefix = 0;

    *before = 0;
    for (int level = 0; level < LEVELS; level++) {
        uint32_t digit = (1u << level_bits[level]) - 1;

        if (level > 0)
            (void)tally(f, level, prefix);
        while (digit > 0 && *before + f->histogram[digit] <= bound)
            *before += f->histogram[digit--];
        prefix = prefix << level_bits[level] | digit;
    }
    return from_ordered_bits(prefix);
}

/* The id that has `count` others with this logit before it. */
static int32_t nth_equal(const filter *f, float logit, uint64_t count)
{
    for (int64_t i = 0; i < f->vocab; i += VL) {
        vf l = v_load_n(f->logits + i, f->vocab - i);

        if (!v_any((vi)(l == logit)))
            continue;
        for (int64_t v = i; v < f->vocab && v < i + VL; v++)
            if (f->logits[v] == logit && count-- == 0)
                return (int32_t)v;
    }
    UM_FATAL("fewer ids at the border than weighed");
}

static cut keep_top_p(const filter *f, float top_p)
{
    uint64_t bound = (uint64_t)((double)top_p * (double)tally(f, 0, 0)), before;
    float logit = find_border(f, bound, &before);

    return (cut){.logit = logit, .id = nth_equal(f, logit, (bound - before) / mass_of(f, logit))};
}

static cut keep_top_k(const filter *f, int32_t top_k)
{
    uint64_t bound = (uint64_t)top_k - 1, before;
    float logit;

    if (tally(f, 0, 0) <= bound)
        return f->among;
    logit = find_border(f, bound, &before);
    return logit == f->among.logit ? f->among : (cut){.logit = logit, .id = INT32_MAX};
}

UM_INLINE bool has_filters(const um_score_rule *rule)
{
    return rule->top_p < 1 || rule->top_k > 0 || rule->min_p > 0;
}

/* `max` is the largest logit, above -infinity. */
static cut find_cut(const float *logits, int64_t vocab, const um_score_rule *rule, float max,
                    uint64_t *histogram)
{
    filter f = {.logits = logits,
                .vocab = vocab,
                .max = max,
                .temperature = rule->temperature > 0 ? rule->temperature : 1.0f,
                .among = cut_nothing(),
                .histogram = histogram};

    f.least = max + f.temperature * MASSLESS;
    if (rule->top_p < 1)
        f.among = keep_top_p(&f, rule->top_p);
    f.counting = true;
    f.least = -INFINITY;
    if (rule->top_k > 0)
        f.among = keep_top_k(&f, rule->top_k);
    if (rule->min_p > 0) {
        float least = max + f.temperature * um_noise_log(rule->min_p);

        if (least > f.among.logit)
            f.among = (cut){.logit = least, .id = INT32_MAX};
    }
    return f.among;
}

#endif
