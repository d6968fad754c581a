/*
 * Selection of the rows that a step commits, for every host backend, and the order of keys that it
 * and score sort by.
 */
#include "kernels/ref/ref_internal.h"

#include <math.h>
#include <string.h>

#include "core/base/rng.h"

/* ---- order -------------------------------------------------------------------------------- */

uint64_t umi_ref_order_key(float value, int32_t index)
{
    uint32_t bits;

    value += 0.0f; /* -0 becomes +0 */
    memcpy(&bits, &value, sizeof(bits));
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    if (isnan(value))
        bits = 0;
    return (uint64_t)bits << 32 | (uint32_t)~index;
}

int32_t umi_ref_key_index(uint64_t key)
{
    return (int32_t) ~(uint32_t)key;
}

/* Moves keys[root] down a heap whose top is the smallest. */
static void sift_down(uint64_t *keys, int32_t root, int32_t count)
{
    uint64_t key = keys[root];

    for (int32_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
        if (child + 1 < count && keys[child + 1] < keys[child])
            child++;
        if (key <= keys[child])
            break;
        keys[root] = keys[child];
        root = child;
    }
    keys[root] = key;
}

/* Heapsort: in place, and never worse than n log n; the library's qsort may allocate. */
void umi_ref_sort_keys(uint64_t *keys, int32_t count)
{
    for (int32_t root = count / 2 - 1; root >= 0; root--)
        sift_down(keys, root, count);
    for (int32_t end = count - 1; end > 0; end--) {
        uint64_t smallest = keys[0];

        keys[0] = keys[end];
        keys[end] = smallest;
        sift_down(keys, 0, end);
    }
}

/* ---- select ------------------------------------------------------------------------------- */

/* What a rule sees: its own rows, from 0. */
typedef struct selection {
    const um_select_rule *rule;
    const um_score_row *rows;
    const int32_t *tokens;
    const float *confidences;
    um_commit *commits;
    int32_t commit_count;
} selection;

static void commit(selection *s, int32_t row)
{
    s->commits[s->commit_count++] = (um_commit){.sequence = s->rule->sequence,
                                                .position = s->rows[row].position,
                                                .token = s->tokens[row],
                                                .confidence = s->confidences[row]};
}

static uint32_t draw(const selection *s, int32_t row, uint32_t purpose)
{
    uint32_t words[4];

    um_philox(s->rule->seed, s->rule->step, (uint32_t)s->rows[row].position, purpose,
              s->rule->choice, words);
    return words[0];
}

static void select_independent(selection *s)
{
    for (int32_t i = 0; i < s->rule->rows; i++)
        if (um_uniform(draw(s, i, UM_DRAW_COMMIT)) < s->rule->threshold)
            commit(s, i);
}

/* A row's place in the order; unique. */
static uint64_t row_key(const selection *s, int32_t row)
{
    float value = s->confidences[row];

    if (s->rule->order_temperature > 0)
        value = value / s->rule->order_temperature + um_gumbel(draw(s, row, UM_DRAW_RANK));
    return umi_ref_order_key(value, row);
}

/* Rows that are not masked compete, too, so the others may all be too weak, or all pass. */
static void select_competing(selection *s, const uint64_t *keys)
{
    int32_t n = s->rule->rows;
    uint64_t last; /* the least confidence that passes, its index aside */

    if (s->rule->count >= n)
        return;
    last = keys[n - 1 - s->rule->count] >> 32;
    for (int32_t i = 0; i < n; i++)
        if (s->rows[i].masked && row_key(s, i) >> 32 >= last)
            commit(s, i);
}

/* Does rank r (from 1) of a sorted sequence with confidence w pass the rule on its own? */
static bool passes(const um_select_rule *rule, int32_t r, float w)
{
    if (rule->kind == UM_SELECT_THRESHOLD)
        return w >= rule->threshold;
    if (rule->kind == UM_SELECT_FACTOR)
        return ((float)r + 1.0f) * (1.0f - w) <= rule->factor;
    return false;
}

/* The first so many ranks of COUNT, THRESHOLD and FACTOR. */
static void select_ranks(selection *s, const uint64_t *keys)
{
    const um_select_rule *rule = s->rule;
    int32_t n = rule->rows, k = rule->count < n ? rule->count : n;

    while (k < n && passes(rule, k + 1, s->confidences[umi_ref_key_index(keys[k])]))
        k++;
    if (rule->kind == UM_SELECT_FACTOR && rule->factor_quirk && n >= 2 && k == n - 1)
        k = n;
    for (int32_t i = 0; i < n && s->commit_count < k; i++)
        if (row_key(s, i) >= keys[k - 1])
            commit(s, i);
}

static int32_t select_sequence(const um_select_args *args, const um_select_rule *rule,
                               uint64_t *keys)
{
    selection s = {.rule = rule,
                   .rows = (const um_score_row *)args->score_rows->data + rule->first,
                   .tokens = um_i32_row(args->tokens, 0) + rule->first,
                   .confidences = um_f32_row(args->confidences, 0) + rule->first,
                   .commits = (um_commit *)args->commits->data + rule->first};

    if (rule->kind == UM_SELECT_INDEPENDENT) {
        select_independent(&s);
        return s.commit_count;
    }
    for (int32_t i = 0; i < rule->rows; i++)
        keys[i] = row_key(&s, i);
    umi_ref_sort_keys(keys, rule->rows);
    if (rule->kind == UM_SELECT_COMPETING)
        select_competing(&s, keys);
    else
        select_ranks(&s, keys);
    return s.commit_count;
}

um_status umi_ref_select(um_backend *backend, const um_select_args *args, um_err *err)
{
    uint64_t *keys = ((umi_ref *)backend)->keys;
    const um_select_rule *rules = args->rules->data;

    (void)err;
    for (int32_t i = 0; i < args->rule_count; i++)
        um_i32_row(args->counts, 0)[i] = select_sequence(args, &rules[i], keys);
    return UM_OK;
}
