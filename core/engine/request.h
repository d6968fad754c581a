/*
 * A request inside the engine: canvas, emitter, timing and where it stands. Made by
 * um_engine_submit on the caller's thread, then owned by the engine thread until it is finished;
 * the outbox is the only part that both threads touch (see outbox.h).
 */
#ifndef UM_ENGINE_REQUEST_H
#define UM_ENGINE_REQUEST_H

#include "core/engine/emit.h"
#include "core/engine/outbox.h"

typedef enum um_request_state {
    UM_REQUEST_QUEUED,
    UM_REQUEST_RUNNING,
    UM_REQUEST_DONE,
} um_request_state;

typedef struct um_request {
    uint64_t id;
    uint64_t owner; /* hash of key or user: fairness of admission; 0 = nobody in particular */
    um_params params;
    um_stop_string stops[UM_STOP_STRINGS_MAX];
    int32_t stop_count;
    um_canvas canvas;
    um_emit emit;
    um_buf text;       /* released text not yet handed to the outbox; reserved at creation */
    um_outbox *outbox; /* shared, reference held by the engine until the end event */
    um_request_state state;
    bool cancelled;
    /* time, nanoseconds of the engine's clock; 0 = not yet */
    uint64_t arrived_ns, started_ns, first_text_ns, last_text_ns, finished_ns;
    uint64_t deadline_ns; /* request timeout */
    /* scheduling */
    uint64_t turn;           /* serial number of the last step that served it */
    struct um_request *next; /* queue link */
} um_request;

/* Rows that this request needs in a step: its canvas, twice with guidance. */
int32_t um_request_rows(const um_request *request);

#endif
