/*
 * Requests that wait for a place in the batch: first come, first served, but an owner without a
 * running request goes before owners that have one. Links requests, owns none. Engine thread.
 */
#ifndef UM_ENGINE_QUEUE_H
#define UM_ENGINE_QUEUE_H

#include "core/engine/request.h"

typedef struct um_queue {
    um_request *head; /* the oldest */
    um_request *tail;
    int32_t count;
} um_queue;

void um_queue_push(um_queue *queue, um_request *request);
void um_queue_remove(um_queue *queue, um_request *request);
/* Removes and returns the next to run beside `running`; NULL when the queue is empty. */
um_request *um_queue_pick(um_queue *queue, um_request *const *running, int32_t running_count);

#endif
