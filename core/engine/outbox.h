/*
 * What the engine has to tell about its requests, level-triggered. Each request has an outbox: text,
 * log-probabilities and draft steps not yet taken, and the end. The ready list holds every outbox with news, once. The
 * engine posts, the front end takes; many posts may be taken as one event, none is lost, and
 * memory is bounded by each request's own budget, so a slow client can never stall a step.
 *
 * Ownership: an outbox belongs to its request until the last post (um_ready_finish), then to the
 * ready list, and ends when its done event is taken. One lock guards list and outboxes.
 */
#ifndef UM_ENGINE_OUTBOX_H
#define UM_ENGINE_OUTBOX_H

#include <pthread.h>

#include "core/base/mailbox.h"
#include "core/engine/messages.h"

/* What an outbox must hold. Zero: events do not carry it. */
typedef struct um_outbox_options {
    size_t text_bytes_max;
    int32_t result_tokens; /* tokens and confidences of the canvas as it stands */
    int32_t logprobs;      /* entries of each of logprob_rows rows */
    int32_t logprob_rows;
    int32_t draft_tokens; /* changes, and as many guesses */
    int32_t draft_blocks; /* may end */
} um_outbox_options;

typedef struct um_outbox {
    um_event news;          /* all reserved at creation, so that posting never allocates */
    um_outbox_options room; /* what was reserved */
    int32_t steps_max;
    bool announced;         /* in the ready list */
    struct um_outbox *next; /* ready list */
} um_outbox;

/* UM_E_NOMEM. */
um_status um_outbox_create(const um_outbox_options *options, um_outbox **out, um_err *err);
void um_outbox_destroy(um_outbox *outbox);

typedef struct um_ready {
    pthread_mutex_t lock; /* guards the list and every outbox of the engine */
    um_outbox *head;
    um_outbox *tail;
    um_wake_fn wake; /* the list was empty and is not any more; may be NULL */
    void *context;   /* borrowed */
} um_ready;

void um_ready_init(um_ready *ready, um_wake_fn wake, void *context);
/* Destroys the outboxes that are still listed; every request has ended. */
void um_ready_deinit(um_ready *ready);

/* What a post says; borrowed for the call. */
typedef struct um_post {
    uint64_t id;
    bool started;
    um_usage usage;
    const um_buf *text;       /* appended; NULL: none */
    const int32_t *tokens;    /* [token_count] copied if the outbox carries tokens */
    const float *confidences; /* likewise */
    int32_t token_count;      /* at most what the outbox carries; the rest stays as it is */
    /* rows of logprobs to append: of so many places in the table; the outbox carries them */
    const um_alternative *logprobs; /* [canvas_tokens][logprobs] */
    const int32_t *logprob_places;
    int32_t logprob_rows;
    const um_draft_step *step;      /* appended if the outbox carries steps; NULL: none */
    const um_draft_change *changes; /* [step->changes] */
    const um_draft_change *guesses; /* in place of those before */
    int32_t guess_count;
    um_finish finish;    /* um_ready_finish only */
    um_status status;    /* um_ready_finish only, as is: */
    int32_t deadline_ms; /* as in um_event */
} um_post;

/* Before the first post: the draft that the canvas begins with. No news by itself. */
void um_outbox_begin(um_outbox *outbox, const um_draft_step *step, const um_draft_change *changes);

/* Engine thread. Wakes the front end outside the lock. A step without changes that does not end a
 * block gives way to the next, so that steps not taken are bounded by the canvas. */
void um_ready_post(um_ready *ready, um_outbox *outbox, const um_post *post);
/* The last post; the outbox now belongs to the list. */
void um_ready_finish(um_ready *ready, um_outbox *outbox, const um_post *post);

/* Front-end thread (one): the news of the outbox that has waited longest. UM_OK or UM_EMPTY. Take
 * until empty after each wake. Where memory is out, what a request that goes on has to tell stays
 * for its next event. */
um_status um_ready_take(um_ready *ready, um_event *event);

#endif
