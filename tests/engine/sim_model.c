/* What the rules demand, written down a second time and more simply than in core/engine: whole
 * decodes instead of increments, lists instead of links. */
#include "tests/engine/sim_internal.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"

/* ---- the model: schedule and text ------------------------------------------------------------ */

int32_t umi_sim_row_length(const sim_request *r)
{
    return r->submission.prompt_tokens + r->extent + r->submission.suffix_tokens;
}

static int32_t rows_for(const sim_request *r, int32_t length)
{
    return length * (r->submission.params.cfg_scale > 0.0f ? 2 : 1);
}

static int32_t rows_of(const sim_request *r)
{
    return rows_for(r, umi_sim_row_length(r));
}

static int32_t masks_between(const sim_request *r, int32_t begin, int32_t end)
{
    int32_t masks = 0;

    for (int32_t i = begin; i < end; i++)
        masks += r->row[i] == MASK;
    return masks;
}

int32_t umi_sim_block_masks(const sim_request *r)
{
    int32_t prompt = r->submission.prompt_tokens, length = r->submission.params.block_length;
    int32_t begin = r->block * length;

    return masks_between(r, prompt + begin, prompt + umi_sim_smaller(begin + length, r->extent));
}

int32_t umi_sim_all_masks(const sim_request *r)
{
    return masks_between(r, 0, r->submission.prompt_tokens + r->extent);
}

/* Writes the row anew: `extent` positions, those in front of `kept` as they are. */
static void lay_out(sim_request *r, int32_t kept, int32_t extent)
{
    const um_submission *from = &r->submission;
    int32_t at = from->prompt_tokens + kept;

    for (; at < from->prompt_tokens + extent; at++) {
        r->row[at] = MASK;
        r->given[at] = false;
    }
    for (int32_t i = 0; i < from->suffix_tokens; i++, at++) {
        r->row[at] = from->suffix[i];
        r->given[at] = true;
    }
    r->extent = extent;
}

bool umi_sim_canvas_done(const sim_request *r)
{
    return r->done;
}

static bool ends_answer(const sim_request *r, int32_t token)
{
    return token == UM_BYTE_END || token == UM_BYTE_TURN ||
           (r->submission.stop_token_count > 0 && token == r->stop_token);
}

/* Behind the last block there is none, or the gap grows by one. */
static void next_block(const sim *s, sim_request *r)
{
    const um_params *p = &r->submission.params;
    bool ended = false;

    r->block++;
    r->block_step = 0;
    if (r->block * p->block_length < r->extent)
        return;
    for (int32_t i = 0; i < r->extent; i++) {
        int32_t token = r->row[r->submission.prompt_tokens + i];

        ended = ended || ends_answer(r, token);
    }
    if (r->extent == p->canvas_tokens || ended || s->mode == UM_SIM_NO_GROWTH)
        r->done = true;
    else
        lay_out(r, r->extent, umi_sim_smaller(r->extent + p->block_length, p->canvas_tokens));
}

/* The first block from here on that has something to fill. */
static void find_block(const sim *s, sim_request *r)
{
    while (!r->done && umi_sim_block_masks(r) == 0)
        next_block(s, r);
    r->block_masks = r->done ? 0 : umi_sim_block_masks(r);
}

static bool is_noisy(const sim *s, const sim_request *r, int32_t at)
{
    uint32_t bits[4];

    um_philox(r->submission.params.seed, 0, (uint32_t)at, 0x80000003u, 0, bits);
    return s->mode != UM_SIM_NO_NOISE && um_uniform(bits[0]) < r->submission.params.noise;
}

void umi_sim_begin(const sim *s, sim_request *r)
{
    const um_submission *from = &r->submission;
    const um_params *p = &from->params;
    int32_t extent = p->canvas_tokens, last_free = -1;

    for (int32_t i = 0; i < from->prompt_tokens; i++) {
        r->row[i] = from->prompt[i];
        r->given[i] = r->row[i] != MASK;
    }
    if (p->grows)
        for (extent = p->block_length; extent < from->draft_tokens;)
            extent += p->block_length;
    lay_out(r, 0, umi_sim_smaller(extent, p->canvas_tokens));
    for (int32_t i = 0; i < from->draft_tokens; i++) {
        int32_t at = from->prompt_tokens + i;

        if (from->draft[i] == UM_DRAFT_MASKED)
            continue;
        if (!from->pinned[i])
            last_free = at;
        r->given[at] = from->pinned[i] || !is_noisy(s, r, at);
        r->row[at] = r->given[at] ? from->draft[i] : MASK;
    }
    if (last_free >= 0 &&
        masks_between(r, from->prompt_tokens, from->prompt_tokens + r->extent) == 0) {
        r->row[last_free] = MASK;
        r->given[last_free] = false;
    }
    find_block(s, r);
}

void umi_sim_move_schedule(const sim *s, sim_request *r)
{
    const um_params *p = &r->submission.params;
    bool quota = p->count == UM_COUNT_QUOTA;

    r->step++;
    r->block_step++;
    r->hurried = r->hurries;
    r->done = r->hurries;
    if (r->done ||
        (umi_sim_block_masks(r) > 0 &&
         !(quota && r->block_step == umi_sim_smaller(p->steps_per_block, r->block_masks))))
        return;
    next_block(s, r);
    find_block(s, r);
}

void umi_sim_count_draft(const sim_request *r, int32_t *accepted, int32_t *rejected)
{
    const um_submission *from = &r->submission;

    *accepted = 0;
    *rejected = 0;
    for (int32_t i = 0; i < from->draft_tokens; i++) {
        int32_t token = r->row[from->prompt_tokens + i];

        if (from->draft[i] == UM_DRAFT_MASKED || from->pinned[i])
            continue;
        if (token == from->draft[i])
            (*accepted)++;
        else if (token != MASK || r->ending == UM_OK)
            (*rejected)++;
    }
}

int32_t umi_sim_settled(const sim_request *r)
{
    const int32_t *generated = r->row + r->submission.prompt_tokens;
    int32_t settled = 0;

    while (settled < r->extent && generated[settled] != MASK)
        settled++;
    return settled;
}

/* Tokens of the first `count` positions up to the end of the answer. `ended`: an end token or the
 * budget was met. */
static int32_t answer_tokens(const sim_request *r, int32_t count, bool *ended)
{
    const int32_t *generated = r->row + r->submission.prompt_tokens;
    int32_t limit = umi_sim_smaller(count, r->submission.params.max_tokens);
    int32_t length = 0;

    while (length < limit && !ends_answer(r, generated[length]))
        length++;
    *ended = length < limit || length == r->submission.params.max_tokens;
    return length;
}

static void decode(const sim *s, const sim_request *r, int32_t length, um_buf *out)
{
    um_err err = {0};

    if (um_tokenizer_decode(s->tokenizer, r->row + r->submission.prompt_tokens, (size_t)length,
                            true, out, &err) != UM_OK)
        abort();
}

/* Where the earliest stop string begins in the text; its length if none does. */
static size_t earliest_stop(const sim_request *r, const um_buf *text)
{
    for (size_t at = 0; at < text->length; at++)
        for (int32_t i = 0; i < r->submission.stop_count; i++)
            if (text->length - at >= (size_t)r->stops[i].length &&
                memcmp(text->data + at, r->stops[i].bytes, (size_t)r->stops[i].length) == 0)
                return at;
    return text->length;
}

/* Could more text turn the tail from some place before `limit` into a stop string? */
static bool may_still_match(const sim_request *r, const um_buf *text, size_t limit)
{
    for (size_t at = 0; at < limit; at++)
        for (int32_t i = 0; i < r->submission.stop_count; i++)
            if (text->length - at < (size_t)r->stops[i].length &&
                memcmp(text->data + at, r->stops[i].bytes, text->length - at) == 0)
                return true;
    return false;
}

bool umi_sim_decided(const sim *s, const sim_request *r, int32_t count, um_buf *text,
                     um_finish *finish)
{
    const um_params *p = &r->submission.params;
    bool ended, cut;
    int32_t length = answer_tokens(r, count, &ended);
    size_t stop;

    um_buf_clear(text);
    decode(s, r, length, text);
    stop = earliest_stop(r, text);
    cut = stop < text->length;
    *finish = cut || length < umi_sim_smaller(count, p->max_tokens) ||
                      (length == p->max_tokens && p->exact_length && !p->grows && !r->hurried)
                  ? UM_FINISH_STOP
                  : UM_FINISH_LENGTH;
    if (!ended && cut && !may_still_match(r, text, stop))
        ended = true;
    if (cut) {
        text->length = stop;
        text->data[stop] = '\0';
    }
    return ended;
}

static bool answer_is_over(const sim *s, const sim_request *r)
{
    um_buf text = {0};
    um_finish finish;
    bool over =
        umi_sim_canvas_done(r) || (r->submission.params.early_stop &&
                                   umi_sim_decided(s, r, umi_sim_settled(r), &text, &finish));

    um_buf_deinit(&text);
    return over;
}

int32_t umi_sim_visible_tokens(const sim *s, const sim_request *r)
{
    int32_t known = umi_sim_canvas_done(r) ? r->extent : umi_sim_settled(r);
    const int32_t *generated = r->row + r->submission.prompt_tokens;
    int32_t visible = 0, count = 0;
    um_buf text = {0};
    um_finish finish;
    bool ended;

    while (count < known && !umi_sim_decided(s, r, count, &text, &finish))
        count++;
    count = answer_tokens(r, count, &ended);
    for (int32_t i = 0; i < count; i++)
        visible += !um_tokenizer_is_special(s->tokenizer, generated[i]);
    um_buf_deinit(&text);
    return visible;
}

/* ---- the model: queue and turns --------------------------------------------------------------- */

static void remove_at(sim_request **list, int32_t *count, int32_t index)
{
    memmove(list + index, list + index + 1, (size_t)(*count - index - 1) * sizeof(*list));
    (*count)--;
}

void umi_sim_end(sim_request *r, um_status ending)
{
    r->over = true;
    r->ending = ending;
}

static bool late(const sim *s, const sim_request *r, int32_t limit_ms)
{
    return limit_ms > 0 && s->clock.now_ns - r->arrived_ns >= (uint64_t)limit_ms * 1000000;
}

static um_status model_verdict(const sim *s, const sim_request *r)
{
    if (s->failed)
        return UM_E_ENGINE;
    if (r->cancel_asked)
        return UM_E_CANCELLED;
    if (late(s, r, s->options.request_timeout_ms))
        return UM_E_TIMEOUT;
    if (!r->admitted && s->mode != UM_SIM_NO_DEADLINE &&
        late(s, r, r->submission.params.deadline_ms))
        return UM_E_TIMEOUT;
    if (!r->admitted && late(s, r, s->options.queue_timeout_ms))
        return UM_E_QUEUE_TIMEOUT;
    return UM_OK;
}

static void model_sweep(sim *s, sim_request **list, int32_t *count)
{
    for (int32_t i = *count - 1; i >= 0; i--) {
        um_status verdict = model_verdict(s, list[i]);

        if (verdict == UM_OK)
            continue;
        umi_sim_end(list[i], verdict);
        remove_at(list, count, i);
    }
}

static bool owner_has_place(const sim *s, uint64_t owner)
{
    if (owner == 0 || s->mode == UM_SIM_UNFAIR)
        return false;
    for (int32_t i = 0; i < s->running_count; i++)
        if (s->running[i]->submission.owner == owner)
            return true;
    return false;
}

/* What a request may come to need of a step. */
static int32_t most_rows_of(const sim_request *r)
{
    const um_submission *from = &r->submission;

    return rows_for(r, from->prompt_tokens + from->params.canvas_tokens + from->suffix_tokens);
}

/* The most that a request waits if only those ahead of it and itself are counted. */
static void start_waiting(sim *s, sim_request *r)
{
    int32_t budget = s->options.rows_per_step;
    int64_t sum = 0;

    for (int32_t i = 0; i < s->running_count; i++)
        sum += umi_sim_smaller(most_rows_of(s->running[i]), budget);
    r->waited = 0;
    r->wait_bound = (int32_t)((2 * sum + budget - 1) / budget) + 1;
    if (s->mode == UM_SIM_NO_PATIENCE)
        r->wait_bound = 0;
}

static void model_admit(sim *s)
{
    while (s->queue_count > 0 && s->running_count < s->options.batch_max) {
        sim_request *r;
        int32_t next = 0;

        while (next < s->queue_count && owner_has_place(s, s->queue[next]->submission.owner))
            next++;
        next = next < s->queue_count ? next : 0;
        r = s->queue[next];
        remove_at(s->queue, &s->queue_count, next);
        r->admitted = true;
        s->running[s->running_count++] = r;
        start_waiting(s, r);
    }
}

/* Its block's last step, of all that is masked: nothing is left to hurry. */
static bool ends_anyway(const sim_request *r)
{
    const um_params *p = &r->submission.params;
    int32_t masks = umi_sim_block_masks(r), steps = p->steps_per_block - r->block_step, count = 1;

    if (p->count == UM_COUNT_QUOTA) {
        steps = umi_sim_smaller(p->steps_per_block, r->block_masks);
        if (steps > 0) /* always, unless a canary spoils the model */
            count = r->block_masks / steps + (r->block_step < r->block_masks % steps);
    } else if (p->steps_per_block > 0) {
        count = steps > 1 ? (masks + steps - 1) / steps : masks;
    }
    return r->extent == p->canvas_tokens && count == umi_sim_all_masks(r);
}

/* A round of all who run, and one more, would pass the deadline. */
static void model_hurry(sim *s)
{
    int64_t rows = 0, round_ns;

    for (int32_t i = 0; i < s->running_count; i++)
        rows += rows_of(s->running[i]);
    round_ns = (rows + s->options.rows_per_step - 1) / s->options.rows_per_step * s->step_ns;
    for (int32_t i = 0; i < s->running_count; i++) {
        sim_request *r = s->running[i];
        int64_t left_ns = (int64_t)r->submission.params.deadline_ms * 1000000 -
                          (int64_t)(s->clock.now_ns - r->arrived_ns);

        if (r->submission.params.deadline_ms > 0 && left_ns < 2 * round_ns &&
            s->mode != UM_SIM_NO_DEADLINE && !ends_anyway(r))
            r->hurries = true;
    }
}

void umi_sim_before_turn(sim *s)
{
    int64_t rows = 0;

    model_sweep(s, s->queue, &s->queue_count);
    model_sweep(s, s->running, &s->running_count);
    model_admit(s);
    model_hurry(s);
    for (s->served = 0; s->served < s->running_count; s->served++) {
        rows += rows_of(s->running[s->served]);
        if (s->served > 0 && rows > s->options.rows_per_step)
            break;
    }
}

/* After a step: who was served goes behind, who is finished leaves. */
void umi_sim_after_turn(sim *s)
{
    int32_t served = s->served;

    if (s->failed) {
        model_sweep(s, s->queue, &s->queue_count);
        model_sweep(s, s->running, &s->running_count);
        return;
    }
    for (int32_t i = served; i < s->running_count; i++) {
        s->report->waits++;
        if (++s->running[i]->waited > s->running[i]->wait_bound)
            umi_sim_fault(s, "request %llu waited %d steps, the bound is %d",
                          (unsigned long long)s->running[i]->id, s->running[i]->waited,
                          s->running[i]->wait_bound);
    }
    for (; served > 0; served--) {
        sim_request *r = s->running[0];

        remove_at(s->running, &s->running_count, 0);
        r->waited = 0;
        if (answer_is_over(s, r))
            umi_sim_end(r, UM_OK);
        else
            s->running[s->running_count++] = r;
    }
    for (int32_t i = s->running_count - 1; i >= 0 && s->running[i]->waited == 0; i--)
        start_waiting(s, s->running[i]);
}
