/*
 * One row of logits -> token and confidence. Text shared by all levels; see cpu_kernels.h. The
 * order of every reduction is fixed by the vocabulary, and the noise is that of rng.h, bit for bit.
 */
#ifndef UM_KERNELS_CPU_SCORE_IMPL_H
#define UM_KERNELS_CPU_SCORE_IMPL_H

#include <float.h>
#include <math.h>

#include "core/base/rng.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/cpu_vec.h"

/* Logits as the rules want them: scaled, NaN as -inf, +inf as the largest float. */
static void settle_logits(float *logits, int64_t vocab, float scale, float *copy)
{
    for (int64_t i = 0; i < vocab; i += VL) {
        int64_t left = vocab - i;
        vf l = v_load_n(logits + i, left) * scale;

        if (copy)
            v_store_n(copy + i, l, left);
        l = v_select((vi)(l == l), l, v_set1(-INFINITY));
        l = v_select((vi)(l > FLT_MAX), v_set1(FLT_MAX), l);
        v_store_n(logits + i, l, left);
    }
}

static void leave_out(float *logits, int64_t vocab, const int32_t *ids, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        if (ids[i] >= 0 && ids[i] < vocab)
            logits[ids[i]] = -INFINITY;
}

/* The best value of each lane's column and where it was first seen. */
typedef struct best_lanes {
    vf value;
    vi index; /* -1: nothing above -inf */
} best_lanes;

UM_INLINE void keep_best(best_lanes *best, vf value, int64_t base)
{
    vi better = (vi)(value > best->value);

    best->value = v_select(better, value, best->value);
    best->index = (better & (v_lane_index() + (int32_t)base)) | (~better & best->index);
}

/* Highest value, lowest index among equals; -1 when nothing was above -inf. */
static int32_t best_index(const best_lanes *best)
{
    float value = -INFINITY;
    int32_t index = -1;

    for (int i = 0; i < VL; i++)
        if (best->index[i] >= 0 && (best->value[i] > value || index < 0 ||
                                    (best->value[i] == value && best->index[i] < index))) {
            value = best->value[i];
            index = best->index[i];
        }
    return index;
}

static int32_t best_plain(const float *logits, int64_t vocab)
{
    best_lanes best = {v_set1(-INFINITY), (vi){0} - 1};

    for (int64_t i = 0; i < vocab; i += VL)
        keep_best(&best, v_fill_from(v_load_n(logits + i, vocab - i), vocab - i, -INFINITY), i);
    return best_index(&best);
}

static int32_t best_noisy(const float *logits, int64_t vocab, const um_score_rule *rule,
                          int32_t position)
{
    best_lanes best = {v_set1(-INFINITY), (vi){0} - 1};

    for (int64_t base = 0; base < vocab; base += 4 * VL) {
        float noise[4 * VL];
        vu draw[4];

        v_philox(rule->seed, rule->step, (uint32_t)position, (uint32_t)(base / 4), rule->choice,
                 draw);
        v_store_interleaved(noise, v_gumbel(draw[0]), v_gumbel(draw[1]), v_gumbel(draw[2]),
                            v_gumbel(draw[3]));
        for (int64_t i = base; i < vocab && i < base + 4 * VL; i += VL) {
            vf l = v_load_n(logits + i, vocab - i);
            vf value = l + rule->temperature * v_load(noise + (i - base));

            keep_best(&best, v_fill_from(value, vocab - i, -INFINITY), i);
        }
    }
    return best_index(&best);
}

/* Where every logit is -inf the lowest id that is not banned wins. */
static int32_t first_allowed(int64_t vocab, const um_score_rule *rule)
{
    for (int32_t v = 0; v < vocab && v <= UM_BANNED_MAX; v++) {
        bool banned = false;

        for (int32_t i = 0; i < UM_BANNED_MAX; i++)
            banned = banned || rule->banned[i] == v;
        if (!banned)
            return v;
    }
    return 0;
}

/* Summed in blocks, because one running float would lose a long tail of small terms. */
enum { SUM_BLOCK = 64 * VL };

static float softmax_at(const float *logits, int64_t vocab, int64_t token)
{
    vf best = v_set1(-INFINITY), total = v_set1(0.0f), max;

    for (int64_t i = 0; i < vocab; i += VL)
        best = v_max(best, v_fill_from(v_load_n(logits + i, vocab - i), vocab - i, -INFINITY));
    max = v_set1(v_max_lane(best));
    if (max[0] == -INFINITY)
        return 0.0f;
    for (int64_t base = 0; base < vocab; base += SUM_BLOCK) {
        vf sum = v_set1(0.0f);

        for (int64_t i = base; i < vocab && i < base + SUM_BLOCK; i += VL)
            sum = sum + v_fill_from(v_exp(v_load_n(logits + i, vocab - i) - max), vocab - i, 0.0f);
        total = total + sum;
    }
    return v_exp(v_set1(logits[token]) - max)[0] / v_sum(total);
}

static void scan(const um_score_args *args, int64_t row, float *logits)
{
    const um_score_row *at = (const um_score_row *)args->score_rows->data + row;
    const um_score_rule *rule = (const um_score_rule *)args->rules->data + at->rule;
    float *confidence = um_f32_row(args->confidences, 0) + row;
    int32_t token;

    settle_logits(logits, args->vocab, args->scale,
                  args->logits ? um_f32_row(args->logits, row) : NULL);
    leave_out(logits, args->vocab, rule->banned, UM_BANNED_MAX);
    token = rule->temperature > 0 ? best_noisy(logits, args->vocab, rule, at->position)
                                  : best_plain(logits, args->vocab);
    if (token < 0)
        token = first_allowed(args->vocab, rule);
    um_i32_row(args->tokens, 0)[row] = token;
    if (rule->confidence == UM_CONFIDENCE_RANDOM) {
        uint32_t draw[4];

        um_philox(rule->seed, rule->step, (uint32_t)at->position, UM_DRAW_ORDER, rule->choice,
                  draw);
        *confidence = um_uniform(draw[0]);
    } else {
        leave_out(logits, args->vocab, rule->uncounted, UM_UNCOUNTED_MAX);
        *confidence = softmax_at(logits, args->vocab, token);
    }
}

#endif
