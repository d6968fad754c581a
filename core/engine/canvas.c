/* A request's token row and denoising schedule. Engine thread; owns its three arrays, knows no
 * batch. The schedule is that of ML-GSAI/LLaDA generate.py (quota) and NVlabs/Fast-dLLM
 * llada/generate.py (threshold, factor). */
#include "core/engine/canvas.h"

#include <string.h>

#include "core/base/mem.h"

/* Canvas positions of the active block, [begin, end). */
static void active_block(const um_canvas *canvas, int32_t *begin, int32_t *end)
{
    um_params_block(canvas->params, canvas->block, begin, end);
    *begin += canvas->prompt_tokens;
    *end += canvas->prompt_tokens;
}

static int32_t count_masks(const um_canvas *canvas, int32_t begin, int32_t end)
{
    int32_t count = 0;

    for (int32_t i = begin; i < end; i++)
        count += canvas->tokens[i] == canvas->mask_token;
    return count;
}

static int32_t masks_left(const um_canvas *canvas)
{
    int32_t begin, end;

    active_block(canvas, &begin, &end);
    return count_masks(canvas, begin, end);
}

static int32_t min_int(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

um_status um_canvas_init(um_canvas *canvas, const um_params *params, int32_t mask_token,
                         const int32_t *prompt, int32_t prompt_tokens, um_err *err)
{
    int32_t length = prompt_tokens + params->canvas_tokens;

    UM_ASSERT(prompt_tokens >= 0 && params->canvas_tokens > 0);
    *canvas = (um_canvas){
        .params = params,
        .mask_token = mask_token,
        .tokens = um_mem_calloc((size_t)length, sizeof(*canvas->tokens)),
        .confidences = um_mem_calloc((size_t)length, sizeof(*canvas->confidences)),
        .given = um_mem_calloc((size_t)length, sizeof(*canvas->given)),
        .length = length,
        .prompt_tokens = prompt_tokens,
    };
    if (!canvas->tokens || !canvas->confidences || !canvas->given) {
        um_canvas_deinit(canvas);
        return um_fail(err, UM_E_NOMEM, "canvas: no memory for %d positions", length);
    }
    for (int32_t i = 0; i < length; i++) {
        canvas->tokens[i] = i < prompt_tokens ? prompt[i] : mask_token;
        canvas->given[i] = canvas->tokens[i] != mask_token;
    }
    canvas->block_masks = masks_left(canvas);
    return UM_OK;
}

void um_canvas_deinit(um_canvas *canvas)
{
    um_mem_free(canvas->tokens);
    um_mem_free(canvas->confidences);
    um_mem_free(canvas->given);
    *canvas = (um_canvas){0};
}

const int32_t *um_canvas_generated(const um_canvas *canvas)
{
    return canvas->tokens + canvas->prompt_tokens;
}

int32_t um_canvas_candidates(const um_canvas *canvas, int32_t *positions)
{
    int32_t begin, end, count = 0;

    if (canvas->finished)
        return 0;
    active_block(canvas, &begin, &end);
    for (int32_t i = 0; i < end; i++)
        if (canvas->tokens[i] == canvas->mask_token)
            positions[count++] = i;
    UM_ASSERT(count > 0);
    return count;
}

/* Steps of the active block under a quota: those with nothing to commit are not run. */
static int32_t quota_steps(const um_canvas *canvas)
{
    return min_int(canvas->params->steps_per_block, canvas->block_masks);
}

static int32_t quota(const um_canvas *canvas)
{
    int32_t steps = quota_steps(canvas);

    return canvas->block_masks / steps + (canvas->block_step < canvas->block_masks % steps);
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
    switch (params->policy->count) {
    case UM_COUNT_QUOTA:
        rule->kind = UM_SELECT_COUNT;
        rule->count = quota(canvas);
        break;
    case UM_COUNT_THRESHOLD:
        rule->kind = UM_SELECT_THRESHOLD;
        rule->count = least(canvas);
        break;
    case UM_COUNT_FACTOR:
        rule->kind = UM_SELECT_FACTOR;
        rule->count = least(canvas);
        break;
    }
}

bool um_canvas_guards_mask(const um_canvas *canvas)
{
    return !canvas->params->reference_quirks || canvas->block_step >= canvas->params->block_length;
}

static bool block_ended(const um_canvas *canvas)
{
    if (canvas->params->policy->count == UM_COUNT_QUOTA &&
        canvas->block_step >= quota_steps(canvas))
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

void um_canvas_apply(um_canvas *canvas, const um_commit *commits, int32_t count)
{
    const int32_t *generated = um_canvas_generated(canvas);

    UM_ASSERT(!canvas->finished);
    for (int32_t i = 0; i < count; i++) {
        const um_commit *commit = &commits[i];

        UM_ASSERT(commit->position >= 0 && commit->position < canvas->length);
        UM_ASSERT(canvas->tokens[commit->position] == canvas->mask_token);
        canvas->tokens[commit->position] = commit->token;
        if (commit->token != canvas->mask_token)
            canvas->confidences[commit->position] = commit->confidence;
    }
    canvas->step++;
    canvas->block_step++;
    while (canvas->settled < canvas->params->canvas_tokens &&
           generated[canvas->settled] != canvas->mask_token)
        canvas->settled++;
    if (block_ended(canvas))
        begin_next_block(canvas);
}
