/* A request's token row and where it stands in its denoising schedule. Engine thread; owns its
 * arrays, knows no batch. */
#include "core/engine/canvas.h"

#include <string.h>

#include "core/base/mem.h"
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

um_status um_canvas_init(um_canvas *canvas, const um_params *params, const um_canvas_facts *facts,
                         const int32_t *prompt, int32_t prompt_tokens, um_err *err)
{
    int32_t length = prompt_tokens + params->canvas_tokens;

    UM_ASSERT(prompt_tokens >= 0 && params->canvas_tokens > 0);
    *canvas = (um_canvas){
        .params = params,
        .facts = *facts,
        .tokens = um_mem_calloc((size_t)length, sizeof(*canvas->tokens)),
        .confidences = um_mem_calloc((size_t)length, sizeof(*canvas->confidences)),
        .given = um_mem_calloc((size_t)length, sizeof(*canvas->given)),
        .masked = um_mem_calloc((size_t)length, sizeof(*canvas->masked)),
        .length = length,
        .prompt_tokens = prompt_tokens,
    };
    if (!canvas->tokens || !canvas->confidences || !canvas->given || !canvas->masked) {
        um_canvas_deinit(canvas);
        return um_fail(err, UM_E_NOMEM, "canvas: no memory for %d positions", length);
    }
    for (int32_t i = 0; i < length; i++) {
        canvas->tokens[i] = i < prompt_tokens ? prompt[i] : facts->mask_token;
        canvas->masked[i] =
            i >= prompt_tokens || (prompt[i] == facts->mask_token && !facts->mask_is_text);
        canvas->given[i] = !canvas->masked[i];
    }
    canvas->block_masks = masks_left(canvas);
    skip_idle_steps(canvas);
    return UM_OK;
}

void um_canvas_deinit(um_canvas *canvas)
{
    um_mem_free(canvas->tokens);
    um_mem_free(canvas->confidences);
    um_mem_free(canvas->given);
    um_mem_free(canvas->masked);
    *canvas = (um_canvas){0};
}

const int32_t *um_canvas_generated(const um_canvas *canvas)
{
    return canvas->tokens + canvas->prompt_tokens;
}

int32_t um_canvas_candidates(const um_canvas *canvas, int32_t *positions)
{
    bool competing = canvas->params->count == UM_COUNT_COMPETING;
    int32_t begin, end, count = 0;

    if (canvas->finished)
        return 0;
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

    return !params->reference_quirks || (!bounded && canvas->block_step >= params->block_length);
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

static void begin_next_block(um_canvas *canvas)
{
    canvas->block++;
    canvas->block_step = 0;
    if (canvas->block == canvas->params->block_count) {
        canvas->finished = true;
        return;
    }
    canvas->block_masks = masks_left(canvas);
    UM_ASSERT(canvas->block_masks > 0); /* nothing is committed right of the active block */
}

static void fill_position(um_canvas *canvas, const um_commit *commit)
{
    const um_canvas_facts *facts = &canvas->facts;
    int32_t at = commit->position;

    UM_ASSERT(at >= 0 && at < canvas->length);
    UM_ASSERT(canvas->masked[at]);
    if (commit->token == facts->mask_token && !facts->mask_is_text)
        return;
    canvas->tokens[at] = at == 0 && facts->has_first_token ? facts->first_token : commit->token;
    canvas->confidences[at] = commit->confidence;
    canvas->masked[at] = 0;
}

void um_canvas_apply(um_canvas *canvas, const um_commit *commits, int32_t count)
{
    const uint8_t *masked = canvas->masked + canvas->prompt_tokens;

    UM_ASSERT(!canvas->finished);
    for (int32_t i = 0; i < count; i++)
        fill_position(canvas, &commits[i]);
    canvas->step++;
    canvas->block_step++;
    while (canvas->settled < canvas->params->canvas_tokens && !masked[canvas->settled])
        canvas->settled++;
    if (block_ended(canvas))
        begin_next_block(canvas);
    skip_idle_steps(canvas);
}
