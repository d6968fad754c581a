/*
 * One row of logits -> token, confidence and alternatives. Text shared by all levels; see
 * cpu_kernels.h. The order of every reduction is fixed by the vocabulary, and the noise is that of
 * rng.h, bit for bit.
 */
#ifndef UM_KERNELS_CPU_SCORE_IMPL_H
#define UM_KERNELS_CPU_SCORE_IMPL_H

#include "kernels/cpu/cpu_confidence_impl.h"

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

/* Logits as they were before edits and bans overwrote them. */
typedef struct plain_logits {
    const um_logit_edit *edits;
    int32_t edit_count;
    float *edited; /* [edit_count] */
    const int32_t *banned;
    float banned_logits[UM_BANNED_MAX];
} plain_logits;

static float edited(float l, const um_logit_edit *edit)
{
    l = (l > 0 ? l / edit->repetition : l * edit->repetition) + edit->bias;
    if (l != l)
        return -INFINITY;
    return l > FLT_MAX ? FLT_MAX : l;
}

static void edit_and_ban(float *logits, int64_t vocab, plain_logits *plain)
{
    for (int32_t i = 0; i < plain->edit_count; i++) {
        float *l = &logits[plain->edits[i].token];

        plain->edited[i] = *l;
        *l = edited(*l, &plain->edits[i]);
    }
    for (int32_t i = 0; i < UM_BANNED_MAX; i++)
        if (plain->banned[i] >= 0 && plain->banned[i] < vocab)
            plain->banned_logits[i] = logits[plain->banned[i]];
    leave_out(logits, vocab, plain->banned, UM_BANNED_MAX);
}

static float plain_logit(const float *logits, const plain_logits *plain, int32_t token)
{
    for (int32_t i = 0; i < plain->edit_count; i++)
        if (plain->edits[i].token == token)
            return plain->edited[i];
    for (int32_t i = 0; i < UM_BANNED_MAX; i++)
        if (plain->banned[i] == token)
            return plain->banned_logits[i];
    return logits[token];
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

/* Ids i .. i + VL - 1 that are kept; -infinity in place of the others. */
UM_INLINE vf load_kept(const float *logits, int64_t vocab, const cut *last, int64_t i)
{
    vf l = v_fill_from(v_load_n(logits + i, vocab - i), vocab - i, -INFINITY);

    return v_select(v_kept(last, l, i), l, v_set1(-INFINITY));
}

/* No id of the block can win: no noise need be drawn for it. */
UM_INLINE bool is_left_out(const float *logits, int64_t vocab, const cut *last, int64_t base)
{
    for (int64_t i = base; i < vocab && i < base + 4 * VL; i += VL)
        if (v_any((vi)(load_kept(logits, vocab, last, i) > -INFINITY)))
            return false;
    return true;
}

/* `last` NULL: every id is kept; known when compiled. */
UM_INLINE int32_t best_noisy(const float *logits, int64_t vocab, const um_score_rule *rule,
                             int32_t position, const cut *last)
{
    best_lanes best = {v_set1(-INFINITY), (vi){0} - 1};

    for (int64_t base = 0; base < vocab; base += 4 * VL) {
        float noise[4 * VL];
        vu draw[4];

        if (last && is_left_out(logits, vocab, last, base))
            continue;
        v_philox(rule->seed, rule->step, (uint32_t)position, (uint32_t)(base / 4), rule->choice,
                 draw);
        v_store_interleaved(noise, v_gumbel(draw[0]), v_gumbel(draw[1]), v_gumbel(draw[2]),
                            v_gumbel(draw[3]));
        for (int64_t i = base; i < vocab && i < base + 4 * VL; i += VL) {
            vf l = last ? load_kept(logits, vocab, last, i) : v_load_n(logits + i, vocab - i);
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

static int32_t choose_token(const float *logits, int64_t vocab, const um_score_rule *rule,
                            int32_t position, const cut *last)
{
    int32_t token;

    if (rule->temperature <= 0)
        token = best_plain(logits, vocab); /* every filter keeps it */
    else if (has_filters(rule))
        token = best_noisy(logits, vocab, rule, position, last);
    else
        token = best_noisy(logits, vocab, rule, position, NULL);
    return token < 0 ? first_allowed(vocab, rule) : token;
}

static float order_draw(const um_score_rule *rule, int32_t position)
{
    uint32_t draw[4];

    um_philox(rule->seed, rule->step, (uint32_t)position, UM_DRAW_ORDER, rule->choice, draw);
    return um_uniform(draw[0]);
}

/* Ids that do not count are lost from the logits. */
static float row_confidence(float *logits, int64_t vocab, const um_score_rule *rule,
                            int32_t position, const cut *last, int32_t token)
{
    distribution d = {.logits = logits, .vocab = vocab, .temperature = 1.0f};

    if (rule->confidence == UM_CONFIDENCE_RANDOM)
        return order_draw(rule, position);
    leave_out(logits, vocab, rule->uncounted, UM_UNCOUNTED_MAX);
    if (rule->filtered) {
        d.filtered = true;
        d.temperature = rule->temperature > 0 ? rule->temperature : 1.0f;
        d.kept = *last;
    }
    measure_distribution(&d);
    return confidence_of(&d, (um_confidence)rule->confidence, token);
}

static void scan(const um_score_args *args, int64_t row, float *logits, umi_score_scratch *scratch)
{
    const um_score_row *at = (const um_score_row *)args->score_rows->data + row;
    const um_score_rule *rule = (const um_score_rule *)args->rules->data + at->rule;
    int32_t wanted = args->alternative_count - 1, token;
    plain_logits plain = {
        .edit_count = rule->edit_count, .edited = scratch->edited, .banned = rule->banned};
    um_alternative *alternatives = NULL;
    distribution plain_distribution;
    cut last = cut_nothing();

    settle_logits(logits, args->vocab, args->scale,
                  args->logits ? um_f32_row(args->logits, row) : NULL);
    if (args->alternatives) {
        alternatives =
            (um_alternative *)((char *)args->alternatives->data + row * args->alternatives->stride);
        plain_distribution = list_alternatives(logits, args->vocab, wanted, alternatives);
    }
    if (rule->edit_count > 0)
        plain.edits = (const um_logit_edit *)args->edits->data + rule->first_edit;
    edit_and_ban(logits, args->vocab, &plain);
    if (has_filters(rule)) {
        float max = largest(logits, args->vocab);

        if (max > -INFINITY)
            last = find_cut(logits, args->vocab, rule, max, scratch->histogram);
    }
    token = choose_token(logits, args->vocab, rule, at->position, &last);
    um_i32_row(args->tokens, 0)[row] = token;
    if (alternatives)
        alternatives[wanted] = (um_alternative){
            .token = token,
            .logprob = log_probability(&plain_distribution, plain_logit(logits, &plain, token))};
    um_f32_row(args->confidences, 0)[row] =
        row_confidence(logits, args->vocab, rule, at->position, &last, token);
}

#endif
