/* Commits and rows of a step -> changes and guesses of a draft. */
#include "core/engine/journal.h"

#include <math.h>

#include "core/base/mem.h"

um_status um_journal_init(um_journal *journal, int32_t tokens_max, um_err *err)
{
    *journal = (um_journal){
        .changes = um_mem_calloc((size_t)tokens_max, sizeof(*journal->changes)),
        .guesses = um_mem_calloc((size_t)tokens_max, sizeof(*journal->guesses)),
    };
    if (!journal->changes || !journal->guesses) {
        um_journal_deinit(journal);
        return um_fail(err, UM_E_NOMEM, "journal: no memory for %d positions", tokens_max);
    }
    return UM_OK;
}

void um_journal_deinit(um_journal *journal)
{
    um_mem_free(journal->changes);
    um_mem_free(journal->guesses);
    *journal = (um_journal){0};
}

/* Probabilities and draws are shares already; entropy and log-probability are logarithms of one. */
static float share_of(um_confidence kind, float confidence)
{
    bool is_log = kind == UM_CONFIDENCE_ENTROPY || kind == UM_CONFIDENCE_LOGPROB;

    return is_log ? expf(confidence) : confidence;
}

/* From the first generated position; -1 outside the canvas. */
static int32_t place_of(const um_canvas *canvas, int32_t position)
{
    int32_t place = position - canvas->prompt_tokens;

    return place < canvas->extent ? place : -1;
}

static int32_t note_changes(const um_canvas *canvas, const um_outcome *outcome,
                            um_draft_change *changes)
{
    int32_t count = 0;

    for (int32_t i = 0; i < outcome->commit_count; i++) {
        const um_commit *commit = &outcome->commits[i];
        int32_t place = place_of(canvas, commit->position);

        if (place < 0 || canvas->masked[commit->position])
            continue;
        changes[count++] = (um_draft_change){
            .position = place,
            .token = canvas->tokens[commit->position],
            .confidence = share_of(canvas->params->policy->confidence, commit->confidence),
        };
    }
    return count;
}

static int32_t note_guesses(const um_canvas *canvas, const um_outcome *outcome,
                            um_draft_change *guesses)
{
    const um_alternative *own = outcome->alternatives + outcome->alternative_count - 1;
    int32_t count = 0;

    UM_ASSERT(outcome->alternative_count > 0);
    for (int32_t i = 0; i < outcome->row_count; i++, own += outcome->alternative_count) {
        int32_t position = outcome->rows[i].position, place = place_of(canvas, position);
        bool is_mask = own->token == canvas->facts.mask_token && !canvas->facts.mask_is_text;

        if (place < 0 || !canvas->masked[position] || is_mask)
            continue;
        guesses[count++] = (um_draft_change){
            .position = place, .token = own->token, .confidence = expf(own->logprob)};
    }
    return count;
}

void um_journal_note(um_journal *journal, const um_canvas *canvas, int32_t block,
                     const um_outcome *outcome, bool guess)
{
    um_draft_step *step = &journal->step;

    *step = (um_draft_step){
        .step = canvas->step,
        .length = canvas->extent,
        .changes = note_changes(canvas, outcome, journal->changes),
        .block_ended = canvas->block != block || canvas->finished,
    };
    um_params_block(canvas->params, block, &step->block_begin, &step->block_end);
    if (canvas->hurries)
        step->block_end = canvas->extent;
    journal->guess_count = guess ? note_guesses(canvas, outcome, journal->guesses) : 0;
}

um_status um_journal_begin(const um_submission *submission, const um_canvas *canvas,
                           um_outbox *outbox, um_err *err)
{
    const int32_t *tokens = um_canvas_generated(canvas);
    um_draft_step step = {.length = canvas->extent};
    um_draft_change *changes;

    if (submission->draft_tokens == 0)
        return UM_OK;
    changes = um_mem_calloc((size_t)submission->draft_tokens, sizeof(*changes));
    if (!changes)
        return um_fail(err, UM_E_NOMEM, "journal: no memory for %d positions",
                       submission->draft_tokens);
    for (int32_t i = 0; i < submission->draft_tokens; i++)
        if (!canvas->masked[canvas->prompt_tokens + i])
            changes[step.changes++] = (um_draft_change){
                .position = i,
                .token = tokens[i],
                .confidence = 1.0f,
                .pinned = submission->pinned && submission->pinned[i],
            };
    um_params_block(canvas->params, canvas->block, &step.block_begin, &step.block_end);
    if (step.changes > 0)
        um_outbox_begin(outbox, &step, changes);
    um_mem_free(changes);
    return UM_OK;
}
