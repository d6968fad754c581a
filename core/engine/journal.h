/*
 * What a step changed on one canvas, in the words of um_event: scratch of the engine, filled anew
 * for each request that wants its draft shown.
 *
 * Owner thread: the engine's; um_journal_begin is the submitting thread's. Nothing is allocated
 * after um_journal_init.
 */
#ifndef UM_ENGINE_JOURNAL_H
#define UM_ENGINE_JOURNAL_H

#include "core/engine/canvas.h"
#include "core/engine/outbox.h"

/* What a step says of one request. Borrowed from plan and result. */
typedef struct um_outcome {
    const um_commit *commits; /* ascending positions, a subset of the rows' */
    int32_t commit_count;
    const um_score_row *rows;
    int32_t row_count;
    const um_alternative *alternatives; /* [row_count][alternative_count] */
    int32_t alternative_count;
} um_outcome;

typedef struct um_journal {
    um_draft_step step;
    um_draft_change *changes; /* [step.changes] owned */
    um_draft_change *guesses; /* [guess_count] owned */
    int32_t guess_count;
} um_journal;

/* Room for the largest canvas. UM_E_NOMEM. */
um_status um_journal_init(um_journal *journal, int32_t tokens_max, um_err *err);
void um_journal_deinit(um_journal *journal);

/* `canvas` has taken the outcome; `block` was active before. `guess`: what the rows that were not
 * filled would have got. */
void um_journal_note(um_journal *journal, const um_canvas *canvas, int32_t block,
                     const um_outcome *outcome, bool guess);

/* Step 0 of a canvas that begins with tokens; nothing where all is masked. UM_E_NOMEM. */
um_status um_journal_begin(const um_submission *submission, const um_canvas *canvas,
                           um_outbox *outbox, um_err *err);

#endif
