/* What the rules demand of log-probabilities, drafts and score rules, for the simulation. The script's
 * alternatives are a function of position and step. */
#include "tests/engine/sim_internal.h"

#include <math.h>
#include <string.h>

/* ---- what the step answers ---------------------------------------------------------------------- */

static um_alternative scripted(int32_t place, int32_t step, int32_t rank)
{
    return (um_alternative){.token = 'a' + (place + step + rank) % 26,
                            .logprob = -(float)rank - (float)((place * 7 + step * 13) % 100) / 50};
}

/* Is one of the row's positions filled by the step? */
static const um_commit *find_commit(const um_step_result *result, const um_select_rule *rule,
                                    int32_t count, int32_t position)
{
    for (int32_t i = 0; i < count; i++)
        if (result->commits[rule->first + i].position == position)
            return &result->commits[rule->first + i];
    return NULL;
}

static void note_guess(sim_request *r, int32_t place, um_alternative own)
{
    if (place >= 0 && own.token != MASK)
        r->guesses[r->guess_count++] = (um_draft_change){
            .position = place, .token = own.token, .confidence = expf(own.logprob)};
}

void umi_sim_script_alternatives(const um_plan *plan, um_step_result *result, int32_t index,
                                 sim_request *r)
{
    const um_select_rule *rule = &plan->select_rules[index];
    int32_t width = plan->alternative_count;

    r->guess_count = 0;
    for (int32_t row = rule->first; row < rule->first + rule->rows && width > 0; row++) {
        um_alternative *out = um_step_result_alternatives(result, plan, row);
        int32_t position = plan->score_rows[row].position;
        int32_t place = position - r->submission.prompt_tokens;
        const um_commit *commit = find_commit(result, rule, result->counts[index], position);

        for (int32_t i = 0; i < width; i++)
            out[i] = scripted(place + CONTEXT, r->step, i + 1);
        out[width - 1] = scripted(place + CONTEXT, r->step, 0);
        if (commit)
            out[width - 1].token = commit->token;
        if (commit && commit->token != MASK && place >= 0)
            r->filled_in[place] = r->step;
        else
            note_guess(r, place, out[width - 1]);
    }
}

/* ---- what the step is told ------------------------------------------------------------------------ */

static bool bans(const um_plan *plan, const um_score_rule *rule, int32_t token)
{
    for (int32_t i = 0; i < rule->edit_count; i++)
        if (plan->edits[rule->first_edit + i].token == token)
            return plan->edits[rule->first_edit + i].bias == -INFINITY;
    return false;
}

void umi_sim_check_rules(sim *s, const um_plan *plan, int32_t index, const sim_request *r)
{
    const um_select_rule *select = &plan->select_rules[index];
    const um_params *p = &r->submission.params;

    for (int32_t row = select->first; row < select->first + select->rows; row++) {
        const um_score_rule *rule = &plan->score_rules[plan->score_rows[row].rule];
        int32_t place = plan->score_rows[row].position - r->submission.prompt_tokens;
        bool early = place >= 0 && place < p->min_tokens;

        if (rule->seed != p->seed || rule->step != (uint32_t)r->step)
            umi_sim_fault(s, "request %llu: a row has somebody else's rule",
                          (unsigned long long)r->id);
        if (bans(plan, rule, UM_BYTE_END) != (early || p->ignore_eos) ||
            bans(plan, rule, UM_BYTE_TURN) != (early || p->ignore_eos) ||
            (r->submission.stop_token_count > 0 && bans(plan, rule, r->stop_token) != early))
            umi_sim_fault(s, "request %llu: its end is banned in the wrong places",
                          (unsigned long long)r->id);
    }
    if (plan->alternative_count < p->logprobs ||
        (r->submission.want_guess && plan->alternative_count < 1))
        umi_sim_fault(s, "request %llu: fewer alternatives than it wants",
                      (unsigned long long)r->id);
}

/* ---- what the reader gets ------------------------------------------------------------------------- */

static bool same_guesses(const sim_request *r, const um_event *event)
{
    int32_t expected = event->step_count > 0 && r->submission.want_guess ? r->guess_count : 0;

    if (event->guess_count != expected)
        return false;
    for (int32_t i = 0; i < expected; i++)
        if (event->guesses[i].position != r->guesses[i].position ||
            event->guesses[i].token != r->guesses[i].token ||
            event->guesses[i].confidence != r->guesses[i].confidence)
            return false;
    return true;
}

/* Step 0 is what the canvas began with. */
static bool fits(const sim_request *r, const um_draft_step *step, const um_draft_change *change)
{
    int32_t place = change->position, end = step->step > 0 ? step->block_end : step->length;
    bool pinned = step->step == 0 && r->pinned[place];

    return place >= 0 && place < end && change->pinned == pinned && change->confidence >= 0 &&
           change->confidence <= 1;
}

static void read_steps(sim *s, sim_request *r, const um_event *event)
{
    const um_draft_step *last = &event->steps[event->step_count - 1];
    int32_t changes = 0;

    for (int32_t i = 0; i < event->step_count; i++) {
        const um_draft_step *step = &event->steps[i];

        if (step->step <= r->told_step || step->length < r->told_length)
            umi_sim_fault(s, "request %llu: step %d of length %d after step %d of %d",
                          (unsigned long long)r->id, step->step, step->length, r->told_step,
                          r->told_length);
        r->told_step = step->step;
        r->told_length = step->length;
        r->told_blocks += step->block_ended;
        for (int32_t k = 0; k < step->changes; k++) {
            const um_draft_change *change = &event->changes[changes++];

            if (!fits(r, step, change))
                umi_sim_fault(s, "request %llu: step %d has a change at %d",
                              (unsigned long long)r->id, step->step, change->position);
            r->replay[change->position] = change->token;
        }
    }
    if (changes != event->change_count)
        umi_sim_fault(s, "request %llu: changes of no step", (unsigned long long)r->id);
    if (r->told_step != r->step || r->told_blocks != r->ended_blocks || last->length != r->extent)
        umi_sim_fault(s, "request %llu: told of %d steps and %d blocks, it made %d and %d",
                      (unsigned long long)r->id, r->told_step, r->told_blocks, r->step,
                      r->ended_blocks);
    if (last->block_begin != r->last_block * r->submission.params.block_length)
        umi_sim_fault(s, "request %llu: the last step's block begins at %d",
                      (unsigned long long)r->id, last->block_begin);
}

static void read_draft(sim *s, sim_request *r, const um_event *event)
{
    const int32_t *canvas = r->row + r->submission.prompt_tokens;

    if (event->step_count > 0)
        read_steps(s, r, event);
    else if (event->change_count > 0)
        umi_sim_fault(s, "request %llu: changes without a step", (unsigned long long)r->id);
    if (memcmp(r->replay, canvas, (size_t)r->extent * sizeof(*canvas)) != 0)
        umi_sim_fault(s, "request %llu: the draft's replay is not its canvas",
                      (unsigned long long)r->id);
    if (!same_guesses(r, event))
        umi_sim_fault(s, "request %llu: its guesses are not the last step's",
                      (unsigned long long)r->id);
}

void umi_sim_read_draft(sim *s, sim_request *r, const um_event *event)
{
    size_t width = (size_t)r->submission.params.logprobs;

    s->report->changes += event->change_count;
    s->report->guesses += event->guess_count;
    s->report->rows += event->logprob_rows;
    if (r->submission.want_draft)
        read_draft(s, r, event);
    else if (event->steps || event->changes || event->guesses)
        umi_sim_fault(s, "request %llu: a draft that nobody wanted", (unsigned long long)r->id);
    if (event->logprob_rows > 0 && (width == 0 || event->logprob_rows > CONTEXT - r->rows_read))
        umi_sim_fault(s, "request %llu: %d rows of log-probabilities", (unsigned long long)r->id,
                      event->logprob_rows);
    else if (event->logprob_rows > 0)
        memcpy(r->rows + (size_t)r->rows_read * width, event->logprobs,
               (size_t)event->logprob_rows * width * sizeof(*event->logprobs));
    r->rows_read += event->logprob_rows;
}

/* The n-th row is that of the n-th visible token, as it was in the step that filled its place. */
void umi_sim_check_rows(sim *s, const sim_request *r)
{
    const int32_t *canvas = r->row + r->submission.prompt_tokens;
    int32_t width = r->submission.params.logprobs, row = 0;
    const um_alternative *at = r->rows;

    if (width == 0)
        return;
    if (r->rows_read != r->last.usage.completion_tokens)
        umi_sim_fault(s, "request %llu: %d rows for %d tokens", (unsigned long long)r->id,
                      r->rows_read, r->last.usage.completion_tokens);
    for (int32_t place = 0; row < r->rows_read && place < r->extent; place++) {
        um_alternative own = scripted(place + CONTEXT, r->filled_in[place], 0);
        bool same = at->token == canvas[place] && at->logprob == own.logprob;

        if (um_tokenizer_is_special(s->tokenizer, canvas[place]))
            continue;
        for (int32_t i = 1; i < width; i++) {
            um_alternative other = scripted(place + CONTEXT, r->filled_in[place], i);

            same = same && at[i].token == other.token && at[i].logprob == other.logprob;
        }
        if (!same)
            umi_sim_fault(s, "request %llu: a row is not that of position %d",
                          (unsigned long long)r->id, place);
        at += width;
        row++;
    }
    if (row != r->rows_read)
        umi_sim_fault(s, "request %llu: rows of no token", (unsigned long long)r->id);
}
