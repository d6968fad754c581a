#include "server/app.h"

#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/mem.h"
#include "server/api_metrics.h"
#include "server/api_openapi.h"
#include "server/api_playground.h"
#include "server/api_status.h"
#include "server/api_tokens.h"
#include "server/keys.h"

#define IDLE_TIMEOUT_S 75
#define HEADER_TIMEOUT_MS 30000
#define BODY_TIMEOUT_MS 30000
#define READER_TIMEOUT_MS 30000
/* Of one denoising step, where --stall-timeout says nothing: on a CPU one over a long context may take
 * half an hour, and there is no device to lose. */
#define HOST_STALL_SECONDS 86400
#define DEVICE_STALL_SECONDS 60
#define WATCH_MS 1000
/* From where all work is told to end: a step in progress may still come back and have clients told. */
#define ABANDON_MS 5000
/* When all work has ended, answers may still be on their way to slow readers. */
#define FLUSH_TICK_MS 10
#define FLUSH_TICKS_MAX 200

/* The first is the playground's, left out by --no-playground. */
static const um_route routes[] = {
    {"GET", "/", "/", UM_ROUTE_OPEN, um_api_playground},
    {"POST", "/v1/chat/completions", "/v1/chat/completions", UM_ROUTE_GENERATES, um_api_chat},
    {"POST", "/v1/completions", "/v1/completions", UM_ROUTE_GENERATES, um_api_completions},
    {"POST", "/v1/fim/completions", "/v1/fim/completions", UM_ROUTE_GENERATES, um_api_fim},
    {"POST", "/v1/edit/completions", "/v1/edit/completions", UM_ROUTE_GENERATES, um_api_edit},
    {"POST", "/v1/responses", "/v1/responses", UM_ROUTE_GENERATES, um_api_responses},
    {"POST", "/tokenize", "/tokenize", UM_ROUTE_READY, um_api_tokenize},
    {"POST", "/v1/tokenize", "/v1/tokenize", UM_ROUTE_READY, um_api_tokenize},
    {"POST", "/detokenize", "/detokenize", UM_ROUTE_READY, um_api_detokenize},
    {"POST", "/v1/detokenize", "/v1/detokenize", UM_ROUTE_READY, um_api_detokenize},
    {"GET", "/v1/models", "/v1/models", 0, um_api_models},
    {"GET", "/v1/models/", "/v1/models/{id}", UM_ROUTE_PREFIX, um_api_model},
    {"GET", "/health", "/health", UM_ROUTE_OPEN, um_api_health},
    {"GET", "/v1/health", "/v1/health", UM_ROUTE_OPEN, um_api_health},
    {"GET", "/ready", "/ready", UM_ROUTE_OPEN, um_api_health},
    {"GET", "/health/live", "/health/live", UM_ROUTE_OPEN, um_api_live},
    {"GET", "/version", "/version", UM_ROUTE_OPEN, um_api_version},
    {"GET", "/metrics", "/metrics", UM_ROUTE_OPEN, um_api_metrics},
    {"GET", "/openapi.json", "/openapi.json", UM_ROUTE_OPEN, um_api_openapi},
    {.method = NULL},
};

/* ---- facts ---------------------------------------------------------------------------------- */

um_status um_app_gate(void *context, um_err *err)
{
    um_app *app = context;
    um_loading *loading = &app->loading;
    double share;

    switch (app->state) {
    case UM_APP_LOADING:
        pthread_mutex_lock(&loading->lock);
        share = loading->share;
        pthread_mutex_unlock(&loading->lock);
        return um_fail(err, UM_E_LOADING, "Model is loading (%d%%).", (int)(share * 100));
    case UM_APP_READY:
        if (um_engine_failure(app->engine, NULL) != UM_OK)
            return um_fail(err, UM_E_ENGINE, "The engine has stopped.");
        return UM_OK;
    case UM_APP_DRAINING:
    case UM_APP_STOPPING:
        break;
    }
    return um_fail(err, UM_E_DRAINING, "The server is shutting down.");
}

const char *um_app_backend_name(const um_app *app)
{
    return app->engine ? um_backend_name(app->served.backend) : app->config->backend;
}

int64_t um_app_model_time(const um_app *app)
{
    char pattern[4096];
    int64_t newest = 0;
    glob_t found;

    if (app->engine)
        return app->served.info->mtime;
    snprintf(pattern, sizeof(pattern), "%s/*.safetensors", app->config->model);
    if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0)
        return 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct stat info;

        if (stat(found.gl_pathv[i], &info) == 0 && info.st_mtime > newest)
            newest = info.st_mtime;
    }
    globfree(&found);
    return newest;
}

/* --model-id, else the directory's own name. */
static um_status name_model(um_app *app, um_err *err)
{
    char path[PATH_MAX];
    const char *slash;

    if (!realpath(app->config->model, path))
        return um_fail_field(err, UM_E_NOT_FOUND, "--model", "--model %.256s: no such directory",
                             app->config->model);
    slash = strrchr(path, '/');
    app->model_id = um_mem_strdup(app->config->model_id ? app->config->model_id
                                  : slash[1]            ? slash + 1
                                                        : "model");
    return app->model_id ? UM_OK : um_fail(err, UM_E_NOMEM, "no memory for the model's id");
}

/* ---- steps that do not come back ------------------------------------------------------------- */

static void on_abandon_tick(uv_timer_t *timer)
{
    um_app *app = timer->data;
    bool told = app->http_closing || um_http_exchange_count(app->http) == 0;

    if (!told && ++app->flush_ticks < FLUSH_TICKS_MAX)
        return;
    fprintf(stderr, "unmask: %s\n", app->failure.message);
    _exit(EXIT_FAILURE);
}

/* The step's thread cannot be joined, nor what it holds be freed. So clients are told from here, as of
 * a failed step: what had begun by an error, what had not by a 503, which a balancer repeats. Then the
 * process ends, for a supervisor to start anew. `failure` says why. */
static void abandon(um_app *app)
{
    um_log(UM_LOG_ERROR, "step_abandoned", "open=%zu message=\"%s\"", app->api.open,
           app->failure.message);
    app->state = UM_APP_STOPPING;
    uv_timer_stop(&app->watch);
    if (!app->http_closing) {
        um_http_quiesce(app->http);
        um_api_fail_all(app, &app->failure);
    }
    uv_timer_start(&app->timer, on_abandon_tick, 0, FLUSH_TICK_MS);
}

/* Time is counted in looks: a clock goes on while the whole process is paused, and the step is not to
 * blame for that. A step that is slow but ends is seen young by some look. */
static void on_watch(uv_timer_t *timer)
{
    um_app *app = timer->data;
    int64_t limit = app->config->stall_timeout;

    if (limit == 0)
        limit = um_backend_is_host(app->served.backend) ? HOST_STALL_SECONDS : DEVICE_STALL_SECONDS;
    if (!um_engine_stalled(app->engine, 2 * WATCH_MS / 1000.0)) {
        app->quiet_looks = 0;
        return;
    }
    if (++app->quiet_looks * WATCH_MS < limit * 1000)
        return;
    um_fail(&app->failure, UM_E_ENGINE, "a step has not ended for %lld s (--stall-timeout)",
            (long long)limit);
    abandon(app);
}

static void on_abandon(uv_timer_t *timer)
{
    um_app *app = timer->data;

    um_fail(&app->failure, UM_E_SHUTDOWN, "told to stop, and what runs does not end");
    abandon(app);
}

/* ---- stopping ------------------------------------------------------------------------------- */

static void on_handle_closed(uv_handle_t *handle)
{
    um_app *app = handle->data;

    app->handles--;
}

static void close_handles(um_app *app)
{
    if (app->handles == 0)
        return;
    uv_close((uv_handle_t *)&app->wake, on_handle_closed);
    uv_close((uv_handle_t *)&app->timer, on_handle_closed);
    uv_close((uv_handle_t *)&app->watch, on_handle_closed);
    for (size_t i = 0; i < UM_COUNT_OF(app->signals); i++)
        uv_close((uv_handle_t *)&app->signals[i], on_handle_closed);
}

/* The engine is joined before the wake-up handle closes: its last sender must be gone. */
static void teardown(um_app *app)
{
    um_log(UM_LOG_INFO, "stopped", "state=clean");
    um_test_step_release(app->test_step);
    um_engine_destroy(app->engine);
    app->engine = NULL;
    um_served_close(&app->served);
    close_handles(app);
}

static void on_http_closed(void *context)
{
    um_app *app = context;

    app->http = NULL;
    um_app_settle(app);
}

static void close_http(um_app *app)
{
    if (app->http_closing)
        return;
    app->http_closing = true;
    app->state = UM_APP_STOPPING;
    uv_timer_stop(&app->timer);
    um_http_close(app->http, on_http_closed, app);
}

static void on_flush_tick(uv_timer_t *timer)
{
    um_app *app = timer->data;

    if (um_http_exchange_count(app->http) == 0 || ++app->flush_ticks >= FLUSH_TICKS_MAX)
        close_http(app);
}

static void begin_stop(um_app *app)
{
    app->state = UM_APP_STOPPING;
    um_http_quiesce(app->http);
    uv_timer_start(&app->timer, on_flush_tick, 0, FLUSH_TICK_MS);
}

void um_app_settle(um_app *app)
{
    if (app->api.open > 0 || app->loader_runs)
        return;
    if (app->state == UM_APP_DRAINING)
        begin_stop(app);
    else if (app->state == UM_APP_STOPPING && !app->http)
        teardown(app);
}

static void abort_work(um_app *app)
{
    if (app->engine)
        um_engine_abort(app->engine, UM_E_SHUTDOWN);
    um_test_step_release(app->test_step);
}

static void on_drain_timeout(uv_timer_t *timer)
{
    um_app *app = timer->data;

    um_log(UM_LOG_WARN, "drain_timeout", "open=%zu", app->api.open);
    abort_work(app);
    uv_timer_start(&app->timer, on_abandon, ABANDON_MS, 0); /* the flush takes the timer over */
}

static void begin_drain(um_app *app)
{
    um_log(UM_LOG_INFO, "draining", "open=%zu", app->api.open);
    app->state = UM_APP_DRAINING;
    pthread_mutex_lock(&app->loading.lock);
    app->loading.give_up = true;
    pthread_mutex_unlock(&app->loading.lock);
    if (app->engine)
        um_engine_drain(app->engine);
    uv_timer_start(&app->timer, on_drain_timeout, (uint64_t)app->config->drain_timeout * 1000, 0);
    um_app_settle(app);
}

/* ---- loading -------------------------------------------------------------------------------- */

static bool on_progress(void *context, double share)
{
    um_app *app = context;
    bool go_on;

    pthread_mutex_lock(&app->loading.lock);
    app->loading.share = share;
    go_on = !app->loading.give_up;
    pthread_mutex_unlock(&app->loading.lock);
    return go_on;
}

/* Loader thread. The join in finish_loading hands `served` over. */
static void *load(void *context)
{
    um_app *app = context;
    um_err err = {0};
    um_status status = um_served_open(app->config, on_progress, app, &app->served, &err);

    pthread_mutex_lock(&app->loading.lock);
    app->loading.done = true;
    app->loading.status = status;
    app->loading.err = err;
    pthread_mutex_unlock(&app->loading.lock);
    uv_async_send(&app->wake);
    return NULL;
}

/* Engine thread. */
static void wake(void *context)
{
    um_app *app = context;

    uv_async_send(&app->wake);
}

static um_status start_engine(um_app *app, um_err *err)
{
    um_status status;

    app->served.engine.wake = wake;
    app->served.engine.wake_context = app;
    um_test_step_wrap(app->test_step, &app->served.engine);
    status = um_engine_create(&app->served.engine, &app->engine, err);
    return status == UM_OK ? um_engine_start(app->engine, err) : status;
}

static void finish_loading(um_app *app)
{
    um_status status;

    pthread_join(app->loader, NULL);
    app->loader_runs = false;
    status = app->loading.status;
    if (status == UM_OK && app->state == UM_APP_LOADING)
        status = start_engine(app, &app->loading.err);
    if (app->state != UM_APP_LOADING) {
        um_app_settle(app); /* told to stop meanwhile */
        return;
    }
    app->load_seconds = (double)(um_clock_now_ns(um_clock_system()) - app->opened_ns) / 1e9;
    if (status != UM_OK) {
        um_log(UM_LOG_ERROR, "load_failed", "%s", app->loading.err.message);
        app->failure = app->loading.err;
        app->failure.status = status;
        begin_drain(app);
        return;
    }
    app->state = UM_APP_READY;
    uv_timer_start(&app->watch, on_watch, WATCH_MS, WATCH_MS);
    um_log(UM_LOG_INFO, "ready",
           "model=\"%s\" precision=%s parameters=%llu weight_mib=%zu seconds=%.2f", app->model_id,
           app->served.info->precision == UM_F32 ? "f32" : "bf16",
           (unsigned long long)app->served.info->parameters, app->served.info->weight_bytes >> 20,
           app->load_seconds);
}

static bool loader_is_done(um_app *app)
{
    bool done;

    pthread_mutex_lock(&app->loading.lock);
    done = app->loading.done;
    pthread_mutex_unlock(&app->loading.lock);
    return done;
}

static void on_wake(uv_async_t *handle)
{
    um_app *app = handle->data;

    if (app->loader_runs && loader_is_done(app))
        finish_loading(app);
    if (app->engine)
        um_api_pump(app);
    /* Nothing in this process can bring a lost device back: end, for a supervisor to start anew.
     * Behind the pump, which takes the news of it and may have closed the engine. */
    if (app->engine && um_engine_failure(app->engine, &app->failure) != UM_OK &&
        app->state == UM_APP_READY)
        begin_drain(app);
}

/* ---- signals -------------------------------------------------------------------------------- */

static void reload_keys(um_app *app)
{
    um_http_key *keys;
    size_t count;
    um_err err = {0};

    if (um_keys_load(app->config, &keys, &count, &err) != UM_OK) {
        um_log(UM_LOG_ERROR, "keys_kept", "%s", err.message);
        return;
    }
    um_http_set_keys(app->http, keys, count);
    um_mem_free(app->keys);
    app->keys = keys;
    um_log(UM_LOG_INFO, "keys_read", "count=%zu", count);
}

static void on_signal(uv_signal_t *handle, int number)
{
    um_app *app = handle->data;

    if (number == SIGHUP) {
        if (app->http)
            reload_keys(app);
    } else if (app->state < UM_APP_DRAINING) {
        begin_drain(app);
    } else {
        um_log(UM_LOG_WARN, "stopping_at_once", "open=%zu", app->api.open);
        abort_work(app);
        close_http(app);
        uv_timer_start(&app->watch, on_abandon, ABANDON_MS, 0);
    }
}

/* ---- start ---------------------------------------------------------------------------------- */

static um_status open_handles(um_app *app, um_err *err)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

    /* These fail only where the process has no descriptors left. */
    if (uv_async_init(&app->loop, &app->wake, on_wake) != 0)
        return um_fail(err, UM_E_IO, "cannot make the wake-up handle");
    uv_timer_init(&app->loop, &app->timer);
    uv_timer_init(&app->loop, &app->watch);
    app->wake.data = app->timer.data = app->watch.data = app;
    for (size_t i = 0; i < UM_COUNT_OF(numbers); i++) {
        uv_signal_init(&app->loop, &app->signals[i]);
        app->signals[i].data = app;
    }
    app->handles = 3 + UM_COUNT_OF(numbers);
    for (size_t i = 0; i < UM_COUNT_OF(numbers); i++)
        if (uv_signal_start(&app->signals[i], on_signal, numbers[i]) != 0)
            return um_fail(err, UM_E_IO, "cannot watch for signal %d", numbers[i]);
    return UM_OK;
}

static um_status open_http(um_app *app, um_err *err)
{
    const um_config *config = app->config;
    um_http_options options = {
        .host = config->host,
        .port = (uint16_t)config->port,
        .routes = config->playground ? routes : routes + 1,
        .context = app,
        .gate = um_app_gate,
        .body_bytes_max = (size_t)config->max_body,
        .body_bytes_total_max = (size_t)config->max_body_total,
        .connections_max = (uint32_t)config->max_connections,
        .connections_per_address_max = (uint32_t)config->max_connections_per_address,
        .idle_timeout_s = IDLE_TIMEOUT_S,
        .header_timeout_ms = HEADER_TIMEOUT_MS,
        .body_timeout_ms = BODY_TIMEOUT_MS,
        .reader_timeout_ms = READER_TIMEOUT_MS,
        .ping_interval_ms = (uint32_t)config->sse_ping_interval * 1000,
        .keys = app->keys,
        .key_count = app->key_count,
        .metrics_auth = config->metrics_auth,
        .cors_origins = (const char *const *)config->cors_origin.items,
        .cors_origin_count = config->cors_origin.count,
        .allowed_hosts = (const char *const *)config->allowed_host.items,
        .allowed_host_count = config->allowed_host.count,
    };
    um_status status;

    if (config->max_body_total < config->max_body)
        return um_fail(err, UM_E_VALUE, "--max-body-total %lld is below --max-body %lld",
                       (long long)config->max_body_total, (long long)config->max_body);
    status = um_http_open(&app->loop, &options, &app->http, err);
    if (status != UM_OK)
        return status;
    um_log(UM_LOG_INFO, "listening", "host=%s port=%u model=\"%s\"", config->host,
           um_http_port(app->http), app->model_id);
    if (!um_http_is_loopback(app->http) && app->key_count == 0)
        um_log(UM_LOG_WARN, "no_key",
               "host=%s is open to everybody who can reach it; see --api-key", config->host);
    return UM_OK;
}

static um_status start_loader(um_app *app, um_err *err)
{
    if (pthread_create(&app->loader, NULL, load, app) != 0)
        return um_fail(err, UM_E_NOMEM, "cannot start the loader thread");
    app->loader_runs = true;
    return UM_OK;
}

static um_status start(um_app *app, um_err *err)
{
    um_status status = name_model(app, err);

    if (status == UM_OK)
        status = um_keys_load(app->config, &app->keys, &app->key_count, err);
    if (status == UM_OK)
        status = um_test_step_open(app->config->test_step, &app->test_step, err);
    if (status == UM_OK)
        status = open_handles(app, err);
    if (status == UM_OK)
        status = open_http(app, err);
    if (status == UM_OK)
        status = start_loader(app, err);
    if (status == UM_OK)
        return UM_OK;
    if (app->http)
        close_http(app);
    else
        close_handles(app);
    return status;
}

um_status um_app_run(const um_config *config, um_err *err)
{
    um_app *app = um_mem_zalloc(sizeof(*app));
    um_status status;

    if (!app)
        return um_fail(err, UM_E_NOMEM, "no memory for the server");
    app->config = config;
    app->started = time(NULL);
    app->opened_ns = um_clock_now_ns(um_clock_system());
    pthread_mutex_init(&app->loading.lock, NULL);
    um_mem_join_freed();
    signal(SIGPIPE, SIG_IGN); /* a client that leaves is told by write's error */
    if (uv_loop_init(&app->loop) != 0) {
        status = um_fail(err, UM_E_IO, "cannot make the event loop");
        goto done;
    }
    status = start(app, err);
    uv_run(&app->loop, UV_RUN_DEFAULT);
    UM_ASSERT(app->handles == 0);
    if (uv_loop_close(&app->loop) != 0)
        UM_FATAL("a handle of the loop was left open");
    if (status == UM_OK && app->failure.status != UM_OK) {
        status = app->failure.status;
        *err = app->failure;
    }
done:
    pthread_mutex_destroy(&app->loading.lock);
    um_test_step_close(app->test_step);
    um_mem_free(app->keys);
    um_mem_free(app->model_id);
    um_buf_deinit(&app->openapi);
    um_mem_free(app);
    return status;
}
