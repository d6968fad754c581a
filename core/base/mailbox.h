/*
 * Bounded queue of fixed-size messages between threads.
 *
 * Any thread may put; one thread takes. A put that finds the box empty calls `wake` (outside the
 * lock), so wake-ups may coalesce but are never lost: the taker drains until empty each time it is
 * woken. um_mailbox_wait blocks the taker until a message is there or the deadline passes.
 */
#ifndef UM_BASE_MAILBOX_H
#define UM_BASE_MAILBOX_H

#include "core/base/status.h"

typedef struct um_mailbox um_mailbox;

typedef void (*um_wake_fn)(void *context);

/* `wake` may be NULL. All memory is reserved here. UM_E_NOMEM. */
um_status um_mailbox_create(size_t capacity, size_t message_bytes, um_wake_fn wake, void *context,
                            um_mailbox **out, um_err *err);
void um_mailbox_destroy(um_mailbox *box);

/* Copies the message in. UM_OK, or UM_AGAIN when full (nothing was put). Any thread. */
UM_MUST_USE um_status um_mailbox_put(um_mailbox *box, const void *message);
/* Copies the oldest message out. UM_OK, or UM_EMPTY. */
UM_MUST_USE um_status um_mailbox_take(um_mailbox *box, void *message);
/* Blocks until the box is not empty or timeout_ms passed (negative: no limit). True: not empty. */
bool um_mailbox_wait(um_mailbox *box, int64_t timeout_ms);

#endif
