/*
 * The endpoints that generate: body -> request_json -> api_submit (both on the thread pool, since a
 * body may be long) -> engine -> stream.c. Every refusal happens before a 200.
 *
 * HTTP thread only, but for what is said above.
 */
#ifndef UM_SERVER_API_OPENAI_H
#define UM_SERVER_API_OPENAI_H

#include "server/http.h"
#include "server/request_json.h"
#include "server/stream.h"

typedef struct um_app um_app;

/* Requests that did not get as far as the engine, by reason. */
typedef enum um_api_reject {
    UM_API_REJECT_QUEUE_FULL,
    UM_API_REJECT_CONTEXT_LENGTH,
    UM_API_REJECT_BAD_REQUEST,
    UM_API_REJECT_DRAINING, /* began after the gate let the request in */
    UM_API_REJECT_ENGINE,   /* it is dead, or out of memory */
    UM_API_REJECT_COUNT,
} um_api_reject;

typedef struct um_api_counts {
    uint64_t rejected[UM_API_REJECT_COUNT];
    uint64_t aborted; /* the client left before the engine was asked */
    uint64_t more; /* prompts and choices beyond the first of their request, taken by the engine */
    um_stream_counts frames;
} um_api_counts;

typedef struct umi_ticket umi_ticket;
#define UM_API_BUCKETS 256

/* State of these endpoints; zero-initialise. */
typedef struct um_api {
    size_t open;                         /* requests being read or answered */
    umi_ticket *tickets[UM_API_BUCKETS]; /* choices of all streams by engine id, chained */
    um_api_counts counts;
} um_api;

/* Route handlers; context is the um_app. */
void um_api_chat(void *app, um_exchange *exchange);
void um_api_completions(void *app, um_exchange *exchange);
void um_api_fim(void *app, um_exchange *exchange);
void um_api_edit(void *app, um_exchange *exchange);
void um_api_responses(void *app, um_exchange *exchange);

/* Takes everything that the engine has to tell. */
void um_api_pump(um_app *app);
/* Answers every request that the engine has with `err`, in its stead: it will not. */
void um_api_fail_all(um_app *app, const um_err *err);

#endif
