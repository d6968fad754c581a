/*
 * Reference ops of the decode: score (head, token, confidence) and select (which positions are
 * committed). Plain loops; `select` and umi_ref_score_row serve every host backend.
 */
#include "kernels/ref/ref_internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/rng.h"

/* ---- score -------------------------------------------------------------------------------- */

static bool contains(const int32_t *ids, int32_t count, int64_t id)
{
    for (int32_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static void leave_out(float *logits, int64_t vocab, const int32_t *ids, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        if (ids[i] >= 0 && ids[i] < vocab)
            logits[ids[i]] = -INFINITY;
}

/* Banned ids are skipped, not only -inf: a row whose other logits are all -inf or NaN must not
 * give a banned id either. */
static int32_t choose_token(const float *logits, int64_t vocab, const um_score_rule *rule,
                            int32_t position)
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
        if (contains(rule->banned, UM_BANNED_MAX, v))
            continue;
        if (best < 0 || value > best_value) {
            best = v;
            best_value = value;
        }
    }
    return best < 0 ? 0 : (int32_t)best;
}

/* Two levels, because one float32 running sum over 100,000 ids would lose a long tail of small
 * terms: each is below half a unit in the last place of the sum. */
#define SUM_BLOCK 256

static float softmax_at(const float *logits, int64_t vocab, int64_t token)
{
    float max = -INFINITY, sum = 0;

    for (int64_t v = 0; v < vocab; v++)
        if (logits[v] > max)
            max = logits[v];
    if (max == -INFINITY)
        return 0;
    for (int64_t begin = 0; begin < vocab; begin += SUM_BLOCK) {
        int64_t end = begin + SUM_BLOCK < vocab ? begin + SUM_BLOCK : vocab;
        float block = 0;

        for (int64_t v = begin; v < end; v++)
            block += expf(logits[v] - max);
        sum += block;
    }
    return expf(logits[token] - max) / sum;
}

void umi_ref_score_row(float *logits, int64_t vocab, const um_score_rule *rule, int32_t position,
                       int32_t *token, float *confidence)
{
    for (int64_t v = 0; v < vocab; v++)
        logits[v] = isnan(logits[v]) ? -INFINITY : fminf(logits[v], FLT_MAX);
    leave_out(logits, vocab, rule->banned, UM_BANNED_MAX);
    *token = choose_token(logits, vocab, rule, position);
    if (rule->confidence == UM_CONFIDENCE_RANDOM) {
        uint32_t draw[4];

        um_philox(rule->seed, rule->step, (uint32_t)position, UM_DRAW_ORDER, rule->choice, draw);
        *confidence = um_uniform(draw[0]);
    } else {
        leave_out(logits, vocab, rule->uncounted, UM_UNCOUNTED_MAX);
        *confidence = softmax_at(logits, vocab, *token);
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
    const um_score_row *rows = args->score_rows->data;
    const um_score_rule *rules = args->rules->data;
    int64_t row_count = args->hidden->rows, chunk = ref->tile_floats / args->vocab;

    (void)err;
    for (int64_t first = 0; first < row_count; first += chunk) {
        int64_t end = first + chunk < row_count ? first + chunk : row_count;

        for (int64_t r = first; r < end; r++)
            head_row(args, r, ref->row, ref->tile + (r - first) * args->vocab);
        for (int64_t r = first; r < end; r++) {
            float *logits = ref->tile + (r - first) * args->vocab;

            if (args->logits)
                memcpy(um_f32_row(args->logits, r), logits, (size_t)args->vocab * sizeof(float));
            umi_ref_score_row(logits, args->vocab, &rules[rows[r].rule], rows[r].position,
                              um_i32_row(args->tokens, 0) + r,
                              um_f32_row(args->confidences, 0) + r);
        }
    }
    return UM_OK;
}

/* ---- select ------------------------------------------------------------------------------- */

/* One integer whose descending order is (confidence descending, row ascending), unique per row, so
 * that any sort gives the one order. NaN comes last. */
static uint64_t order_key(float confidence, int32_t row)
{
    uint32_t bits;

    confidence += 0.0f; /* -0 becomes +0 */
    memcpy(&bits, &confidence, sizeof(bits));
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    if (isnan(confidence))
        bits = 0;
    return (uint64_t)bits << 32 | (uint32_t)~row;
}

static int32_t key_row(uint64_t key)
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

/* Descending. Heapsort: in place, and never worse than n log n; the library's qsort may allocate. */
static void sort_keys(uint64_t *keys, int32_t count)
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

/* Does rank r (from 1) of a sorted sequence with confidence w pass the rule on its own? */
static bool passes(const um_select_rule *rule, int32_t r, float w)
{
    if (rule->kind == UM_SELECT_THRESHOLD)
        return w >= rule->threshold;
    if (rule->kind == UM_SELECT_FACTOR)
        return ((float)r + 1.0f) * (1.0f - w) <= rule->factor;
    return false;
}

/* How many of the ranks are committed. */
static int32_t commit_count(const um_select_rule *rule, const uint64_t *keys,
                            const float *confidences)
{
    int32_t n = rule->rows, k = rule->count < n ? rule->count : n;

    while (k < n && passes(rule, k + 1, confidences[key_row(keys[k])]))
        k++;
    if (rule->kind == UM_SELECT_FACTOR && rule->factor_quirk && n >= 2 && k == n - 1)
        k = n;
    return k;
}

static int32_t select_sequence(const um_select_args *args, const um_select_rule *rule,
                               uint64_t *keys)
{
    const float *confidences = um_f32_row(args->confidences, 0) + rule->first;
    const int32_t *tokens = um_i32_row(args->tokens, 0) + rule->first;
    const um_score_row *rows = (const um_score_row *)args->score_rows->data + rule->first;
    um_commit *commits = (um_commit *)args->commits->data + rule->first;
    int32_t k, written = 0;

    for (int32_t i = 0; i < rule->rows; i++)
        keys[i] = order_key(confidences[i], i);
    sort_keys(keys, rule->rows);
    k = commit_count(rule, keys, confidences);
    for (int32_t i = 0; i < rule->rows && written < k; i++)
        if (order_key(confidences[i], i) >= keys[k - 1])
            commits[written++] = (um_commit){.sequence = rule->sequence,
                                             .position = rows[i].position,
                                             .token = tokens[i],
                                             .confidence = confidences[i]};
    return written;
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
