/* Admission order. Engine thread; its length is bounded where requests enter (engine.c). */
#include "core/engine/queue.h"

void um_queue_push(um_queue *queue, um_request *request)
{
    request->next = NULL;
    request->previous = queue->tail;
    if (queue->tail)
        queue->tail->next = request;
    else
        queue->head = request;
    queue->tail = request;
    queue->count++;
}

void um_queue_remove(um_queue *queue, um_request *request)
{
    UM_ASSERT(queue->count > 0);
    if (request->previous)
        request->previous->next = request->next;
    else
        queue->head = request->next;
    if (request->next)
        request->next->previous = request->previous;
    else
        queue->tail = request->previous;
    request->next = NULL;
    request->previous = NULL;
    queue->count--;
}

static bool owner_runs(uint64_t owner, um_request *const *running, int32_t running_count)
{
    for (int32_t i = 0; owner != 0 && i < running_count; i++)
        if (running[i]->owner == owner)
            return true;
    return false;
}

um_request *um_queue_pick(um_queue *queue, um_request *const *running, int32_t running_count)
{
    um_request *request = queue->head;

    while (request && owner_runs(request->owner, running, running_count))
        request = request->next;
    if (!request)
        request = queue->head; /* every owner has one already: the oldest */
    if (request)
        um_queue_remove(queue, request);
    return request;
}
