#include "core/base/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "core/base/mem.h"

struct um_mailbox {
    size_t capacity; /* messages */
    size_t message_bytes;
    um_wake_fn wake;
    void *context;        /* borrowed */
    char *ring;           /* [capacity][message_bytes], owned */
    pthread_mutex_t lock; /* guards head and count */
    pthread_cond_t not_empty;
    size_t head;
    size_t count;
};

um_status um_mailbox_create(size_t capacity, size_t message_bytes, um_wake_fn wake, void *context,
                            um_mailbox **out, um_err *err)
{
    um_mailbox *box = um_mem_zalloc(sizeof(*box));
    pthread_condattr_t attributes;

    UM_ASSERT(capacity > 0 && message_bytes > 0);
    *out = NULL;
    if (box)
        box->ring = um_mem_calloc(capacity, message_bytes);
    if (!box || !box->ring) {
        um_mem_free(box);
        return um_fail(err, UM_E_NOMEM, "mailbox: no memory for %zu messages", capacity);
    }
    box->capacity = capacity;
    box->message_bytes = message_bytes;
    box->wake = wake;
    box->context = context;
    pthread_mutex_init(&box->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&box->not_empty, &attributes);
    pthread_condattr_destroy(&attributes);
    *out = box;
    return UM_OK;
}

void um_mailbox_destroy(um_mailbox *box)
{
    if (!box)
        return;
    pthread_cond_destroy(&box->not_empty);
    pthread_mutex_destroy(&box->lock);
    um_mem_free(box->ring);
    um_mem_free(box);
}

um_status um_mailbox_put(um_mailbox *box, const void *message)
{
    bool was_empty;
    size_t tail;

    pthread_mutex_lock(&box->lock);
    if (box->count == box->capacity) {
        pthread_mutex_unlock(&box->lock);
        return UM_AGAIN;
    }
    was_empty = box->count == 0;
    tail = (box->head + box->count) % box->capacity;
    memcpy(box->ring + tail * box->message_bytes, message, box->message_bytes);
    box->count++;
    pthread_cond_signal(&box->not_empty);
    pthread_mutex_unlock(&box->lock);
    if (was_empty && box->wake)
        box->wake(box->context);
    return UM_OK;
}

um_status um_mailbox_take(um_mailbox *box, void *message)
{
    um_status status = UM_EMPTY;

    pthread_mutex_lock(&box->lock);
    if (box->count > 0) {
        memcpy(message, box->ring + box->head * box->message_bytes, box->message_bytes);
        box->head = (box->head + 1) % box->capacity;
        box->count--;
        status = UM_OK;
    }
    pthread_mutex_unlock(&box->lock);
    return status;
}

static struct timespec deadline_after(int64_t timeout_ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(timeout_ms / 1000);
    at.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (at.tv_nsec >= 1000000000L) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000L;
    }
    return at;
}

bool um_mailbox_wait(um_mailbox *box, int64_t timeout_ms)
{
    struct timespec at = deadline_after(timeout_ms < 0 ? 0 : timeout_ms);
    bool ready;
    int result = 0;

    pthread_mutex_lock(&box->lock);
    while (box->count == 0 && result != ETIMEDOUT) {
        if (timeout_ms < 0)
            pthread_cond_wait(&box->not_empty, &box->lock);
        else
            result = pthread_cond_timedwait(&box->not_empty, &box->lock, &at);
    }
    ready = box->count > 0;
    pthread_mutex_unlock(&box->lock);
    return ready;
}
