/*
 * The serving process: owns loop, transport, checkpoint and engine, in this order of life:
 *
 *     LOADING    listening; a loader thread opens the checkpoint; /health says 503 model_loading
 *     READY      the engine thread runs
 *     DRAINING   after SIGTERM, SIGINT or the engine's failure: new work is refused, what runs goes
 *                on for a while
 *     STOPPING   nothing is left: transport, engine and handles close, then the loop ends
 *
 * HTTP thread only, but for `loading`. The handlers of api_*.c get the app as their context.
 */
#ifndef UM_SERVER_APP_H
#define UM_SERVER_APP_H

#include <pthread.h>
#include <time.h>

#include "server/api_openai.h"
#include "server/http.h"
#include "server/served.h"
#include "server/test_step.h"

typedef enum um_app_state {
    UM_APP_LOADING,
    UM_APP_READY,
    UM_APP_DRAINING,
    UM_APP_STOPPING,
} um_app_state;

/* Shared with the loader thread. */
typedef struct um_loading {
    pthread_mutex_t lock; /* guards the rest */
    double share;         /* 0..1 */
    bool give_up;
    bool done;
    um_status status; /* when done */
    um_err err;
} um_loading;

typedef struct um_app {
    const um_config *config; /* borrowed */
    char *model_id;          /* owned */
    um_app_state state;
    uv_loop_t loop;
    uv_async_t wake; /* engine or loader have news */
    uv_signal_t signals[3];
    uv_timer_t timer;    /* of drain and stop */
    uv_timer_t watch;    /* of steps that do not end */
    int64_t quiet_looks; /* of the watch, in a row, that saw the same step */
    unsigned handles;    /* of the above, initialised and not yet closed */
    um_http_key *keys;   /* [key_count], owned */
    size_t key_count;
    bool http_closing;
    int flush_ticks;
    um_http *http; /* owned, as is the engine */
    pthread_t loader;
    bool loader_runs; /* to be joined */
    um_loading loading;
    time_t started;
    uint64_t opened_ns;
    double load_seconds;
    um_served served;        /* from READY on */
    um_test_step *test_step; /* NULL without --test-step */
    um_engine *engine;       /* NULL before READY */
    um_api api;
    um_buf openapi; /* the document, once somebody asked for it */
    um_err failure; /* why it ends by itself, if it does: the process's status and last words */
} um_app;

/* Runs the server until it is told to stop. */
um_status um_app_run(const um_config *config, um_err *err);

/* The state as an answer: UM_OK when requests are welcome, else LOADING, DRAINING or ENGINE. A
 * um_gate_fn: the context is the app. */
um_status um_app_gate(void *app, um_err *err);
/* "cpu-avx512bf16"; the option's word while the model loads. */
const char *um_app_backend_name(const um_app *app);
/* When the weights were last written, Unix seconds; 0 where that cannot be told. */
int64_t um_app_model_time(const um_app *app);
/* An HTTP request or a job of the API has come to its end. */
void um_app_settle(um_app *app);

#endif
