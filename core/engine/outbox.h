/*
 * What the engine has to tell about its requests, level-triggered. Each request has an outbox: text
 * released and not yet taken, and the end. The ready list holds every outbox with news, once. The
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

typedef struct um_outbox {
    um_event news;          /* text: reserved at creation, so that posting never allocates */
    bool announced;         /* in the ready list */
    struct um_outbox *next; /* ready list */
} um_outbox;

/* `result_tokens` > 0: events carry that many tokens and confidences. UM_E_NOMEM. */
um_status um_outbox_create(size_t text_bytes_max, int32_t result_tokens, um_outbox **out,
                           um_err *err);
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
    const int32_t *tokens;    /* copied if the outbox carries tokens */
    const float *confidences; /* likewise */
    um_finish finish;         /* um_ready_finish only */
    const um_err *error;      /* um_ready_finish only; NULL: success */
} um_post;

/* Engine thread. Wakes the front end outside the lock. */
void um_ready_post(um_ready *ready, um_outbox *outbox, const um_post *post);
/* The last post; the outbox now belongs to the list. */
void um_ready_finish(um_ready *ready, um_outbox *outbox, const um_post *post);

/* Front-end thread (one): the news of the outbox that has waited longest. UM_OK or UM_EMPTY. Take
 * until empty after each wake. Where memory is out, text and tokens of a request that goes on stay
 * for its next event. */
um_status um_ready_take(um_ready *ready, um_event *event);

#endif
