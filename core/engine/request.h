/*
 * A request inside the engine: canvas, emitter, outbox, timing and where it stands. Made by
 * um_engine_submit on the caller's thread with all the memory that it will ever need, then owned
 * by the engine thread until it ends.
 */
#ifndef UM_ENGINE_REQUEST_H
#define UM_ENGINE_REQUEST_H

#include "core/engine/canvas.h"
#include "core/engine/edits.h"
#include "core/engine/emit.h"
#include "core/engine/journal.h"
#include "core/engine/outbox.h"

typedef struct um_request {
    uint64_t id;
    uint64_t owner;
    um_params params;
    um_stop_string *stops; /* NULL: none; owned, as are the stop tokens */
    int32_t *stop_tokens;  /* NULL: none */
    bool want_guess;
    int32_t alternatives; /* entries that it wants of each score row */
    um_canvas canvas;
    um_emit emit;
    um_edits *edits;          /* owned; NULL: none */
    um_alternative *logprobs; /* [canvas_tokens][params.logprobs] at the commit, the token's own
                                 entry first; owned, NULL unless wanted */
    int32_t rows_told;        /* of visible tokens, in posts so far */
    um_outbox *outbox;        /* owned until the last post */
    /* nanoseconds of the engine's clock */
    uint64_t arrived_ns;
    uint64_t started_ns;   /* first step began */
    uint64_t last_text_ns; /* text was released last; 0: never */
    /* where it stands */
    um_status verdict;       /* why it ends before its time; UM_OK: it goes on */
    struct um_request *next; /* queue links */
    struct um_request *previous;
    /* under the engine's lock */
    int32_t live_index; /* place in the table of live requests */
    bool cancel_asked;
    bool admitted; /* runs: out of the queue; written by the engine thread alone */
    uint64_t admitted_ns;
} um_request;

/* What a request's text is made of; the same for all requests of an engine. */
typedef struct um_request_facts {
    const um_tokenizer *tokenizer; /* borrowed */
    um_canvas_facts canvas;
} um_request_facts;

/* Copies what it needs of the submission. UM_E_NOMEM. */
um_status um_request_create(const um_submission *submission, const um_request_facts *facts,
                            um_request **out, um_err *err);
void um_request_destroy(um_request *request);

/* Rows that this request needs in a step: prompt, canvas as it stands and suffix, twice with
 * guidance. */
int32_t um_request_rows(const um_request *request);
/* Applies one step's commits and appends the text that they released to `text`. Where the draft is
 * wanted, `journal` gets what the step changed. */
void um_request_advance(um_request *request, const um_outcome *outcome, um_buf *text,
                        um_journal *journal);
/* Its deadline is near: the coming step is the last one. */
void um_request_hurry(um_request *request);
/* Nothing is left to do, or (early_stop) nothing that the answer shows can still change. */
bool um_request_finished(const um_request *request);
um_usage um_request_usage(const um_request *request);

#endif
