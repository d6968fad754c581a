/*
 * A POST body on its way through the thread pool: taken from the exchange, parsed there and made
 * into what the endpoint needs, then finished on the HTTP thread. The pool has few threads, so that
 * few bodies exist as trees at a time, however many connections bring one.
 *
 * A client that leaves takes its exchange along; a job that no thread has begun is not begun then.
 */
#ifndef UM_SERVER_API_JOB_H
#define UM_SERVER_API_JOB_H

#include "server/api_submit.h"
#include "server/http.h"

typedef struct um_app um_app;
typedef struct um_api_job um_api_job;

typedef struct um_api_job_kind {
    um_endpoint endpoint;
    /* Thread pool: the request is parsed and its body still there. Of the app it may read only what
     * never changes once the model is loaded. */
    um_status (*prepare)(um_api_job *job, um_err *err);
    /* HTTP thread, and the client is there: answers the exchange. job->err.status is UM_OK or why
     * parsing or preparing failed. */
    void (*finish)(um_api_job *job);
    /* HTTP thread: the client left before; may be NULL. */
    void (*gone)(um_api_job *job);
    /* HTTP thread: there was no memory for a job. */
    void (*refuse)(um_app *app, um_exchange *exchange, const um_err *err);
} um_api_job_kind;

struct um_api_job {
    uv_work_t pool;
    const um_api_job_kind *kind; /* static */
    um_app *app;
    um_exchange *exchange;  /* NULL: the client left */
    um_buf body;            /* taken from the exchange, which may be gone while the pool reads */
    size_t body_bytes;      /* of it, to be given back to the transport */
    um_api_request request; /* without its body once prepared */
    uint64_t owner;         /* whose turn it is: the key's, or the user's where one is named */
    um_err err;
    /* what prepare makes of it */
    um_api_work work;
    um_buf answer;
};

void um_api_job_begin(um_app *app, const um_api_job_kind *kind, um_exchange *exchange);

#endif
