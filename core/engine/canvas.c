/* A request's token row and where it stands in its denoising schedule. Engine thread; owns its
 * arrays, knows no batch. */
#include "core/engine/canvas.h"

#include <string.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/engine/schedule.h"

/* Canvas positions of the active block, [begin, end). */
static void active_block(const um_canvas *canvas, int32_t *begin, int32_t *end)
{
    um_params_block(canvas->params, canvas->block, begin, end);
    *begin += canvas->prompt_tokens;
    *end += canvas->prompt_tokens;
}

/* The samplers of Dream and DiffuLLaMA know no blocks: masks of the prompt count with the first. */
static bool takes_prompt(const um_canvas *canvas)
{
    return canvas->block == 0 && um_count_knows_no_blocks(canvas->params->count);
}

/* Positions whose masks the active block's schedule counts, [begin, end). */
static void schedule_span(const um_canvas *canvas, int32_t *begin, int32_t *end)
{
    active_block(canvas, begin, end);
    if (takes_prompt(canvas))
        *begin = 0;
}

static int32_t masks_left(const um_canvas *canvas)
{
    int32_t begin, end, count = 0;

    schedule_span(canvas, &begin, &end);
    for (int32_t i = begin; i < end; i++)
        count += canvas->masked[i];
    return count;
}

static int32_t min_int(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* A schedule by time leaves steps without a commit, which change nothing and are not run. There may
 * be thousands of them before a long prompt's single mask, so masks are counted once. */
static void skip_idle_steps(um_canvas *canvas)
{
    const um_params *params = canvas->params;
    int32_t left;

    if (params->count != UM_COUNT_TIME || canvas->finished)
        return;
    left = masks_left(canvas);
    while (um_schedule_time(left, canvas->block_step, params->steps_per_block, params->eps) == 0)
        canvas->block_step++;
}

/* ---- beginning ------------------------------------------------------------------------------- */

/* Canvas positions at the start: everything, or the blocks that the draft needs. */
static int32_t first_extent(const um_params *params, int32_t draft_tokens)
{
    int32_t begin, end, block = draft_tokens > 0 ? (draft_tokens - 1) / params->block_length : 0;

    if (!params->grows)
        return params->canvas_tokens;
    um_params_block(params, block, &begin, &end);
    return end;
}

static bool is_mask(const um_canvas_facts *facts, int32_t token)
{
    return token == facts->mask_token && !facts->mask_is_text;
}

static void set_position(um_canvas *canvas, int32_t at, int32_t token, bool masked)
{
    canvas->tokens[at] = masked ? canvas->facts.mask_token : token;
    canvas->masked[at] = masked;
    canvas->given[at] = !masked;
}

static bool is_noisy(const um_canvas *canvas, int32_t at)
{
    uint32_t bits[4];

    um_philox(canvas->params->seed, 0, (uint32_t)at, UM_DRAW_NOISE, canvas->params->choice, bits);
    return um_uniform(bits[0]) < canvas->params->noise;
}

/* Returns how many positions of the canvas are masked. */
static int32_t place_draft(um_canvas *canvas, const um_submission *submission)
{
    int32_t masks = canvas->extent - submission->draft_tokens;

    for (int32_t i = 0; i < canvas->extent; i++) {
        int32_t at = canvas->prompt_tokens + i;
        int32_t token = i < submission->draft_tokens ? submission->draft[i] : UM_DRAFT_MASKED;
        bool empty = token == UM_DRAFT_MASKED || is_mask(&canvas->facts, token);
        bool pinned = !empty && submission->pinned && submission->pinned[i];
        bool masked = empty || (!pinned && is_noisy(canvas, at));

        set_position(canvas, at, token, masked);
        if (i >= submission->draft_tokens)
            continue;
        canvas->draft[i] = empty || pinned ? UM_DRAFT_MASKED : token;
        masks += masked;
    }
    return masks;
}

/* So that there is something to do. */
static void mask_last_free(um_canvas *canvas)
{
    int32_t i = canvas->draft_tokens - 1;

    while (i >= 0 && canvas->draft[i] == UM_DRAFT_MASKED)
        i--;
    UM_ASSERT(i >= 0 || canvas->extent < canvas->params->canvas_tokens);
    if (i >= 0)
        set_position(canvas, canvas->prompt_tokens + i, 0, true);
}

static void fill_row(um_canvas *canvas, const um_submission *submission)
{
    for (int32_t i = 0; i < canvas->prompt_tokens; i++)
        set_position(canvas, i, submission->prompt[i],
                     is_mask(&canvas->facts, submission->prompt[i]));
    if (place_draft(canvas, submission) == 0)
        mask_last_free(canvas);
    for (int32_t i = 0; i < canvas->suffix_tokens; i++)
        set_position(canvas, canvas->length - canvas->suffix_tokens + i, submission->suffix[i],
                     false);
}

static void begin_next_block(um_canvas *canvas);
static void settle(um_canvas *canvas);

um_status um_canvas_init(um_canvas *canvas, const um_params *params, const um_canvas_facts *facts,
                         const um_submission *submission, um_err *err)
{
    int32_t extent = first_extent(params, submission->draft_tokens);
    int32_t around = submission->prompt_tokens + submission->suffix_tokens;
    size_t room = (size_t)around + (size_t)params->canvas_tokens;
    size_t draft = (size_t)submission->draft_tokens;

    UM_ASSERT(submission->prompt_tokens >= 0 && submission->suffix_tokens >= 0);
    UM_ASSERT(params->canvas_tokens > 0 && submission->draft_tokens <= params->canvas_tokens);
    UM_ASSERT(submission->stop_token_count <= UM_STOP_TOKENS_MAX);
    *canvas = (um_canvas){
        .params = params,
        .facts = *facts,
        .tokens = um_mem_calloc(room, sizeof(*canvas->tokens)),
        .confidences = um_mem_calloc(room, sizeof(*canvas->confidences)),
        .given = um_mem_calloc(room, sizeof(*canvas->given)),
        .masked = um_mem_calloc(room, sizeof(*canvas->masked)),
        .draft = draft > 0 ? um_mem_calloc(draft, sizeof(*canvas->draft)) : NULL,
        .length = around + extent,
        .prompt_tokens = submission->prompt_tokens,
        .extent = extent,
        .suffix_tokens = submission->suffix_tokens,
        .draft_tokens = submission->draft_tokens,
        .stop_tokens = submission->stop_tokens,
        .stop_token_count = submission->stop_token_count,
        .last_block = -1,
    };
    if (!canvas->tokens || !canvas->confidences || !canvas->given || !canvas->masked ||
        (draft > 0 && !canvas->draft)) {
        um_canvas_deinit(canvas);
        return um_fail(err, UM_E_NOMEM, "canvas: no memory for %zu positions", room);
    }
    fill_row(canvas, submission);
    settle(canvas);
    canvas->block_masks = masks_left(canvas);
    if (canvas->block_masks == 0)
        begin_next_block(canvas);
    UM_ASSERT(!canvas->finished);
    skip_idle_steps(canvas);
    return UM_OK;
}

void um_canvas_deinit(um_canvas *canvas)
{
    um_mem_free(canvas->tokens);
    um_mem_free(canvas->confidences);
    um_mem_free(canvas->given);
    um_mem_free(canvas->masked);
    um_mem_free(canvas->draft);
    *canvas = (um_canvas){0};
}

const int32_t *um_canvas_generated(const um_canvas *canvas)
{
    return canvas->tokens + canvas->prompt_tokens;
}

void um_canvas_count_draft(const um_canvas *canvas, bool over, int32_t *accepted, int32_t *rejected)
{
    const int32_t *tokens = um_canvas_generated(canvas);
    const uint8_t *masked = canvas->masked + canvas->prompt_tokens;

    *accepted = 0;
    *rejected = 0;
    for (int32_t i = 0; i < canvas->draft_tokens; i++) {
        if (canvas->draft[i] == UM_DRAFT_MASKED || (masked[i] && !over))
            continue;
        if (!masked[i] && tokens[i] == canvas->draft[i])
            (*accepted)++;
        else
            (*rejected)++;
    }
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* Every masked position, for a last step; `positions` may be NULL. */
static int32_t list_masked(const um_canvas *canvas, int32_t *positions)
{
    int32_t count = 0;

    for (int32_t i = 0; i < canvas->prompt_tokens + canvas->extent; i++) {
        if (!canvas->masked[i])
            continue;
        if (positions)
            positions[count] = i;
        count++;
    }
    return count;
}

int32_t um_canvas_candidates(const um_canvas *canvas, int32_t *positions)
{
    bool competing = canvas->params->count == UM_COUNT_COMPETING;
    int32_t begin, end, count = 0;

    if (canvas->finished)
        return 0;
    if (canvas->hurries)
        return list_masked(canvas, positions);
    schedule_span(canvas, &begin, &end);
    if (!um_count_knows_no_blocks(canvas->params->count))
        begin = 0; /* LLaDA: also what an earlier block left masked */
    for (int32_t i = begin; i < end; i++)
        if (canvas->masked[i] || (competing && !canvas->given[i]))
            positions[count++] = i;
    UM_ASSERT(count > 0);
    return count;
}

/* Steps of the active block under a quota: those with nothing to commit are not run. */
static int32_t quota_steps(const um_canvas *canvas)
{
    return min_int(canvas->params->steps_per_block, canvas->block_masks);
}

/* Threshold and factor commit at least this many, so that a step bound holds. */
static int32_t least(const um_canvas *canvas)
{
    int32_t left = masks_left(canvas);
    int32_t steps = canvas->params->steps_per_block - canvas->block_step;

    if (canvas->params->steps_per_block == 0)
        return 1;
    return steps > 1 ? (left + steps - 1) / steps : left;
}

void um_canvas_select_rule(const um_canvas *canvas, um_select_rule *rule)
{
    const um_params *params = canvas->params;

    UM_ASSERT(!canvas->finished);
    rule->threshold = params->threshold;
    rule->factor = params->factor;
    rule->factor_quirk = params->reference_quirks;
    rule->order_temperature = params->order_temperature;
    if (canvas->hurries) {
        rule->kind = UM_SELECT_COUNT;
        rule->count = list_masked(canvas, NULL);
        return;
    }
    switch (params->count) {
    case UM_COUNT_QUOTA:
        rule->kind = UM_SELECT_COUNT;
        rule->count =
            um_schedule_quota(canvas->block_masks, canvas->block_step, quota_steps(canvas));
        break;
    case UM_COUNT_TIME:
        rule->kind = UM_SELECT_COUNT;
        rule->count = um_schedule_time(masks_left(canvas), canvas->block_step,
                                       params->steps_per_block, params->eps);
        break;
    case UM_COUNT_THRESHOLD:
        rule->kind = UM_SELECT_THRESHOLD;
        rule->count = least(canvas);
        break;
    case UM_COUNT_FACTOR:
        rule->kind = UM_SELECT_FACTOR;
        rule->count = least(canvas);
        break;
    case UM_COUNT_INDEPENDENT:
        rule->kind = UM_SELECT_INDEPENDENT;
        rule->threshold =
            um_schedule_time_share(canvas->block_step, params->steps_per_block, params->eps);
        break;
    case UM_COUNT_COMPETING:
        rule->kind = UM_SELECT_COMPETING;
        rule->count =
            um_schedule_competing(canvas->block_masks, canvas->block_step, params->steps_per_block);
        break;
    case UM_COUNT_SCHEDULE:
        UM_FATAL("parameters are not resolved");
    }
}

/* Without a bound on steps, a block whose surest prediction is MASK would never end. */
bool um_canvas_guards_mask(const um_canvas *canvas)
{
    const um_params *params = canvas->params;
    bool bounded = params->count != UM_COUNT_THRESHOLD && params->count != UM_COUNT_FACTOR;

    return !params->reference_quirks || canvas->hurries ||
           (!bounded && canvas->block_step >= params->block_length);
}

static bool block_ended(const um_canvas *canvas)
{
    const um_params *params = canvas->params;

    if (params->count == UM_COUNT_QUOTA && canvas->block_step >= quota_steps(canvas))
        return true;
    if (um_count_knows_no_blocks(params->count) && canvas->block_step >= params->steps_per_block)
        return true;
    return masks_left(canvas) == 0;
}

/* ---- from block to block --------------------------------------------------------------------- */

/* Does a position that is filled end the answer? */
static bool has_end(const um_canvas *canvas)
{
    const um_canvas_facts *facts = &canvas->facts;

    for (int32_t i = canvas->prompt_tokens; i < canvas->prompt_tokens + canvas->extent; i++)
        if (!canvas->masked[i] &&
            (um_is_among(facts->end_tokens, facts->end_token_count, canvas->tokens[i]) ||
             um_is_among(canvas->stop_tokens, canvas->stop_token_count, canvas->tokens[i])))
            return true;
    return false;
}

/* The suffix moves up, and masks take its place. */
static void grow_to(um_canvas *canvas, int32_t extent)
{
    int32_t from = canvas->prompt_tokens + canvas->extent;
    int32_t to = canvas->prompt_tokens + extent;

    memmove(canvas->tokens + to, canvas->tokens + from,
            (size_t)canvas->suffix_tokens * sizeof(*canvas->tokens));
    for (int32_t i = from; i < to; i++)
        set_position(canvas, i, 0, true);
    for (int32_t i = to; i < to + canvas->suffix_tokens; i++) {
        canvas->masked[i] = 0;
        canvas->given[i] = 1;
    }
    canvas->extent = extent;
    canvas->length += to - from;
}

/* Is the active block, which the last one led to, on the canvas? */
static bool block_is_there(um_canvas *canvas)
{
    int32_t begin, end;

    if (canvas->block == canvas->params->block_count)
        return false;
    um_params_block(canvas->params, canvas->block, &begin, &end);
    if (end <= canvas->extent)
        return true;
    if (has_end(canvas))
        return false;
    grow_to(canvas, end);
    return true;
}

static void begin_next_block(um_canvas *canvas)
{
    canvas->block_masks = 0;
    canvas->block_step = 0;
    while (canvas->block_masks == 0) {
        canvas->block++;
        canvas->finished = !block_is_there(canvas);
        if (canvas->finished)
            return;
        canvas->block_masks = masks_left(canvas);
    }
}

static void settle(um_canvas *canvas)
{
    const uint8_t *masked = canvas->masked + canvas->prompt_tokens;

    while (canvas->settled < canvas->extent && !masked[canvas->settled])
        canvas->settled++;
}

/* Will the coming step fill all that is masked, and nothing be left to do? */
static bool is_last_step(const um_canvas *canvas)
{
    um_select_rule rule = {0};

    if (canvas->extent < canvas->params->canvas_tokens)
        return false;
    um_canvas_select_rule(canvas, &rule);
    switch ((um_select_kind)rule.kind) {
    case UM_SELECT_COUNT:
    case UM_SELECT_THRESHOLD:
    case UM_SELECT_FACTOR:
        return rule.count == list_masked(canvas, NULL);
    case UM_SELECT_INDEPENDENT:
    case UM_SELECT_COMPETING:
        return canvas->block + 1 == canvas->params->block_count &&
               canvas->block_step + 1 == canvas->params->steps_per_block;
    }
    UM_FATAL("an unknown kind of selection");
}

bool um_canvas_hurry(um_canvas *canvas)
{
    UM_ASSERT(!canvas->finished);
    canvas->hurries = canvas->hurries || !is_last_step(canvas);
    return canvas->hurries;
}

static void fill_position(um_canvas *canvas, const um_commit *commit)
{
    const um_canvas_facts *facts = &canvas->facts;
    int32_t at = commit->position;

    UM_ASSERT(at >= 0 && at < canvas->length);
    UM_ASSERT(canvas->masked[at]);
    if (is_mask(facts, commit->token))
        return;
    canvas->tokens[at] = at == 0 && facts->has_first_token ? facts->first_token : commit->token;
    canvas->confidences[at] = commit->confidence;
    canvas->masked[at] = 0;
}

void um_canvas_apply(um_canvas *canvas, const um_commit *commits, int32_t count)
{
    UM_ASSERT(!canvas->finished);
    for (int32_t i = 0; i < count; i++)
        fill_position(canvas, &commits[i]);
    canvas->blocks += canvas->block != canvas->last_block;
    canvas->last_block = canvas->block;
    canvas->step++;
    canvas->block_step++;
    settle(canvas);
    if (canvas->hurries)
        canvas->finished = true;
    else if (block_ended(canvas))
        begin_next_block(canvas);
    skip_idle_steps(canvas);
}
