/* Packs the canvases of a step's requests and states what to score and commit. Engine thread. */
#include "core/engine/batcher.h"

#include <string.h>

/* How many requests from the front fit. */
static int32_t count_fitting(um_request *const *running, int32_t count, int32_t rows_per_step)
{
    int64_t rows = um_request_rows(running[0]);
    int32_t served = 1;

    while (served < count) {
        rows += um_request_rows(running[served]);
        if (rows > rows_per_step)
            break;
        served++;
    }
    return served;
}

/* Appends one sequence; with `masks_given`, the unconditional one. Returns its first row. */
static int32_t add_sequence(um_plan *plan, const um_canvas *canvas, bool masks_given)
{
    int32_t first = plan->row_count;
    int32_t *ids = plan->ids + first;
    int32_t *positions = plan->positions + first;

    UM_ASSERT(plan->sequence_count < plan->limits.sequences_max);
    UM_ASSERT(canvas->length <= plan->limits.rows_max - first);
    for (int32_t i = 0; i < canvas->length; i++) {
        ids[i] = masks_given && canvas->given[i] ? canvas->facts.mask_token : canvas->tokens[i];
        positions[i] = i;
    }
    plan->row_count += canvas->length;
    plan->sequence_count++;
    plan->cu_seqlens[plan->sequence_count] = plan->row_count;
    return first;
}

/* Hidden rows of the candidates in one sequence: with shifted logits the row in front of each; the
 * first position has none, and its own serves. Returns the first one's index in gather. */
static int32_t add_hidden(um_plan *plan, const int32_t *candidates, int32_t count,
                          int32_t first_row, bool logit_shift)
{
    int32_t first = plan->hidden_count;

    for (int32_t i = 0; i < count; i++)
        plan->gather[first + i] = first_row + candidates[i] - (logit_shift && candidates[i] > 0);
    plan->hidden_count += count;
    return first;
}

static um_score_rule score_rule(const um_request *request, const um_batch_facts *facts)
{
    const um_params *params = &request->params;
    const um_canvas *canvas = &request->canvas;
    um_score_rule rule = {
        .seed = params->seed,
        .step = (uint32_t)canvas->step,
        .choice = params->choice,
        .temperature = params->temperature,
        .confidence = (int32_t)params->policy->confidence,
        .filtered = params->filtered,
        .top_p = params->top_p,
        .min_p = params->min_p,
        .top_k = params->top_k,
        .banned = {-1, -1},
        .uncounted = {-1, -1},
    };

    if (um_canvas_guards_mask(canvas))
        rule.banned[0] = canvas->facts.mask_token;
    if (params->eos_rule == UM_EOS_LOGITS)
        rule.banned[1] = facts->eos_token;
    if (params->eos_rule == UM_EOS_CONFIDENCE) {
        rule.uncounted[0] = facts->turn_token;
        /* at T > 0 the authors' code writes the end token's -inf to an array that is not read
         * again (ML-GSAI/LLaDA issue 137) */
        if (!params->reference_quirks || params->temperature == 0.0f)
            rule.uncounted[1] = facts->eos_token;
    }
    return rule;
}

/* Canvas positions in which the answer must not end. */
static bool is_early(const um_request *request, int32_t position)
{
    int32_t from_begin = position - request->canvas.prompt_tokens;

    return from_begin >= 0 && from_begin < request->params.min_tokens;
}

/* Gives the rows from `first` on their rules and the rules their edits. */
static void add_rules(um_plan *plan, const um_request *request, int32_t index, int32_t first,
                      const um_batch_facts *facts)
{
    um_score_rule *general = &plan->score_rules[index];
    um_edits_runs runs;
    bool early = false;

    *general = score_rule(request, facts);
    if (!request->edits)
        return;
    for (int32_t i = first; i < plan->score_count; i++) {
        if (!is_early(request, plan->score_rows[i].position))
            continue;
        plan->score_rows[i].rule = plan->rule_count;
        early = true;
    }
    runs = um_edits_write(request->edits, &request->canvas, early, plan->edits + plan->edit_count);
    general->first_edit = plan->edit_count + runs.general_first;
    general->edit_count = runs.general_count;
    if (early) {
        um_score_rule *second = &plan->score_rules[plan->rule_count++];

        UM_ASSERT(plan->rule_count <= plan->limits.sequences_max);
        *second = *general;
        second->first_edit = plan->edit_count;
        second->edit_count = runs.early_count;
    }
    plan->edit_count += runs.count;
    UM_ASSERT(plan->edit_count <= plan->limits.edits_max);
}

static void add_request(um_plan *plan, const um_request *request, const um_batch_facts *facts)
{
    const um_canvas *canvas = &request->canvas;
    bool guided = request->params.cfg_scale > 0.0f;
    int32_t index = plan->request_count++;
    int32_t first = plan->score_count;
    um_select_rule *select = &plan->select_rules[index];
    /* candidates are written where the plan wants one index per score row anyway */
    int32_t *candidates = plan->conditional + first;
    int32_t row, count, conditional, unconditional = 0;

    UM_ASSERT(canvas->length <= plan->limits.rows_max - first);
    count = um_canvas_candidates(canvas, candidates);
    row = add_sequence(plan, canvas, false);
    conditional = add_hidden(plan, candidates, count, row, facts->logit_shift);
    if (guided) {
        row = add_sequence(plan, canvas, true);
        unconditional = add_hidden(plan, candidates, count, row, facts->logit_shift);
    }
    for (int32_t i = 0; i < count; i++) {
        plan->score_rows[first + i] = (um_score_row){
            .position = candidates[i], .rule = index, .masked = canvas->masked[candidates[i]]};
        plan->guidance[first + i] = request->params.cfg_scale;
        plan->unconditional[first + i] = guided ? unconditional + i : -1;
        plan->conditional[first + i] = conditional + i; /* last: overwrites the candidate */
    }
    plan->score_count += count;
    if (request->alternatives > plan->alternative_count)
        plan->alternative_count = request->alternatives;
    add_rules(plan, request, index, first, facts);
    *select = (um_select_rule){.seed = request->params.seed,
                               .step = (uint32_t)canvas->step,
                               .choice = request->params.choice,
                               .first = first,
                               .rows = count,
                               .sequence = index};
    um_canvas_select_rule(canvas, select);
}

int32_t um_batcher_plan(um_request *const *running, int32_t count, int32_t rows_per_step,
                        const um_batch_facts *facts, um_plan *plan)
{
    int32_t served;

    UM_ASSERT(count > 0);
    served = count_fitting(running, count, rows_per_step);
    um_plan_clear(plan);
    plan->rule_count = served; /* the general ones; others follow */
    for (int32_t i = 0; i < served; i++)
        add_request(plan, running[i], facts);
    return served;
}

static void reverse(um_request **items, int32_t count)
{
    for (int32_t i = 0; i < count / 2; i++) {
        um_request *item = items[i];

        items[i] = items[count - 1 - i];
        items[count - 1 - i] = item;
    }
}

void um_batcher_rotate(um_request **running, int32_t count, int32_t served)
{
    UM_ASSERT(served >= 0 && served <= count);
    reverse(running, served);
    reverse(running + served, count - served);
    reverse(running, count);
}
