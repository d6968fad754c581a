/*
 * A server that is nothing but the transport: routes that echo, wait, stream slowly, without end or
 * in bulk. test_transport.py starts it with short deadlines and speaks HTTP to it.
 *
 *     http_echo NAME=VALUE...      options below; prints "port N", serves until SIGTERM
 *
 * SIGUSR1 quiesces. After SIGTERM everything is closed and freed, so that a leak is seen.
 */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "core/base/buf.h"
#include "core/base/mem.h"
#include "server/http.h"

#define EVENT_BYTES 4096
#define UNSENT_MAX 262144
#define LIST_MAX 4

typedef struct echo_server {
    um_http *http;
    uv_signal_t terminate, quiesce;
    um_status gate;
    unsigned gone; /* on_gone calls */
    um_http_key keys[LIST_MAX];
    const char *origins[LIST_MAX], *hosts[LIST_MAX];
    um_http_options options;
} echo_server;

/* A stream or a late reply, driven by a timer or by another thread. */
typedef struct job {
    echo_server *server;
    um_exchange *exchange;
    uv_timer_t timer;
    uv_async_t wake; /* sent by `thread` */
    pthread_t thread;
    unsigned handles;
    bool threaded;
    uint64_t total, done; /* events, or bytes of /huge */
    _Atomic uint64_t made;
    atomic_bool stop;
} job;

/* ---- jobs ---------------------------------------------------------------------------------- */

static void on_job_closed(uv_handle_t *handle)
{
    job *j = handle->data;

    if (--j->handles == 0)
        um_mem_free(j);
}

static void job_end(job *j)
{
    if (j->threaded) {
        atomic_store(&j->stop, true);
        pthread_join(j->thread, NULL);
        uv_close((uv_handle_t *)&j->wake, on_job_closed);
    }
    uv_close((uv_handle_t *)&j->timer, on_job_closed);
}

static void on_job_gone(void *context)
{
    job *j = context;

    j->server->gone++;
    job_end(j);
}

static job *job_start(echo_server *server, um_exchange *exchange)
{
    job *j = um_mem_zalloc(sizeof(*j));

    UM_ASSERT(j);
    j->server = server;
    j->exchange = exchange;
    j->handles = 1;
    j->timer.data = j;
    uv_timer_init(server->terminate.loop, &j->timer);
    um_exchange_set_context(exchange, j, on_job_gone);
    return j;
}

static uint64_t body_number(const um_exchange *exchange)
{
    size_t length;

    return strtoull(um_exchange_body(exchange, &length), NULL, 10);
}

static void write_event(um_exchange *exchange, uint64_t number)
{
    char text[48];
    int length = snprintf(text, sizeof(text), "data: %" PRIu64 "\n\n", number);

    um_exchange_stream_write(exchange, text, (size_t)length);
}

/* ---- plain routes -------------------------------------------------------------------------- */

static void reply_text(um_exchange *exchange, const char *text)
{
    um_exchange_reply(exchange, 200, "text/plain; charset=utf-8", text, strlen(text));
}

static void handle_echo(void *context, um_exchange *exchange)
{
    size_t length;
    const char *body = um_exchange_body(exchange, &length);

    (void)context;
    um_exchange_header(exchange, "x-key-name", um_exchange_key_name(exchange));
    um_exchange_reply(exchange, 200, "application/json", body, length);
}

static void handle_tail(void *context, um_exchange *exchange)
{
    (void)context;
    um_exchange_header(exchange, "x-split", "a\r\nb: c");
    reply_text(exchange, um_exchange_tail(exchange));
}

static void handle_open(void *context, um_exchange *exchange)
{
    (void)context;
    reply_text(exchange, um_exchange_method(exchange));
}

static void handle_error(void *context, um_exchange *exchange)
{
    um_status status = (um_status)strtol(um_exchange_tail(exchange), NULL, 10);
    um_err err = {0};

    (void)context;
    if (um_fail_field(&err, status, "a[0].b", "cut \xc3\xa9 \xff\xe2\x82") == status)
        um_exchange_reply_error(exchange, &err);
}

static void count_line(void *context, const char *handler, const char *method,
                       const char *status_class, uint64_t count)
{
    if (count > 0)
        um_buf_printf(context, "%s %s %s %" PRIu64 "\n", handler, method, status_class, count);
}

static void handle_counts(void *context, um_exchange *exchange)
{
    echo_server *server = context;
    um_buf text = {0};

    um_buf_printf(&text, "gone %u\nexchanges %zu\nbody bytes %zu\n", server->gone,
                  um_http_exchange_count(server->http), um_http_body_bytes(server->http));
    for (um_http_reject r = 0; r < UM_HTTP_REJECT_COUNT; r++)
        um_buf_printf(&text, "rejected %s %" PRIu64 "\n", um_http_reject_name(r),
                      um_http_rejected(server->http, r));
    um_http_counts(server->http, count_line, &text);
    reply_text(exchange, um_buf_view(&text));
    um_buf_deinit(&text);
}

static void set_key(um_http_key *key, const char *name, const char *text)
{
    memset(key, 0, sizeof(*key));
    memcpy(key->name, name, strlen(name));
    memcpy(key->padded, text, strlen(text));
}

/* The body is the only key from now on. */
static void handle_keys(void *context, um_exchange *exchange)
{
    echo_server *server = context;
    size_t length;

    set_key(&server->keys[0], "new", um_exchange_body(exchange, &length));
    um_http_set_keys(server->http, server->keys, 1);
    reply_text(exchange, "set");
}

static um_status gate(void *context, um_err *err)
{
    echo_server *server = context;

    return server->gate == UM_OK ? UM_OK : um_fail(err, server->gate, "gate is shut");
}

static void handle_gate(void *context, um_exchange *exchange)
{
    echo_server *server = context;

    server->gate = (um_status)(-(int)body_number(exchange));
    reply_text(exchange, "set");
}

/* ---- late replies -------------------------------------------------------------------------- */

static void handle_never(void *context, um_exchange *exchange)
{
    job_start(context, exchange);
}

static void on_late(uv_timer_t *timer)
{
    job *j = timer->data;

    reply_text(j->exchange, "late");
    job_end(j);
}

/* Answers after as many milliseconds as the body says. */
static void handle_late(void *context, um_exchange *exchange)
{
    job *j = job_start(context, exchange);

    uv_timer_start(&j->timer, on_late, body_number(exchange), 0);
}

/* ---- streams ------------------------------------------------------------------------------- */

static void on_tick(uv_timer_t *timer)
{
    job *j = timer->data;

    if (um_exchange_unsent(j->exchange) > UNSENT_MAX)
        return;
    write_event(j->exchange, j->done++);
    if (j->done == j->total) {
        um_exchange_stream_end(j->exchange);
        job_end(j);
    }
}

/* As many events as the body says, one each 5 ms; 0: without end. */
static void handle_stream(void *context, um_exchange *exchange)
{
    job *j = job_start(context, exchange);

    j->total = body_number(exchange);
    um_exchange_stream_begin(exchange);
    um_exchange_stream_write(exchange, ": accepted\n\n", 12);
    uv_timer_start(&j->timer, on_tick, 5, 5);
}

/* The same, but begun only when the connection is suspended already. */
static void on_late_begin(uv_timer_t *timer)
{
    job *j = timer->data;

    um_exchange_stream_begin(j->exchange);
    uv_timer_start(&j->timer, on_tick, 0, 5);
}

static void handle_late_stream(void *context, um_exchange *exchange)
{
    job *j = job_start(context, exchange);

    j->total = body_number(exchange);
    uv_timer_start(&j->timer, on_late_begin, 10, 0);
}

/* The whole answer inside the handler. */
static void handle_instant_stream(void *context, um_exchange *exchange)
{
    (void)context;
    um_exchange_stream_begin(exchange);
    for (uint64_t i = 0; i < body_number(exchange); i++)
        write_event(exchange, i);
    um_exchange_stream_end(exchange);
}

static void handle_silent(void *context, um_exchange *exchange)
{
    job_start(context, exchange);
    um_exchange_stream_begin(exchange);
    um_exchange_stream_write(exchange, "data: 1\n\n", 9);
}

static void handle_half_event(void *context, um_exchange *exchange)
{
    job_start(context, exchange);
    um_exchange_stream_begin(exchange);
    um_exchange_stream_write(exchange, "data: 1\n", 8);
}

static void on_abort(uv_timer_t *timer)
{
    job *j = timer->data;

    um_exchange_stream_abort(j->exchange);
    job_end(j);
}

static void handle_abort(void *context, um_exchange *exchange)
{
    job *j = job_start(context, exchange);

    um_exchange_stream_begin(exchange);
    um_exchange_stream_write(exchange, "data: 1\n\n", 9);
    uv_timer_start(&j->timer, on_abort, 20, 0);
}

static void on_huge_tick(uv_timer_t *timer)
{
    job *j = timer->data;
    char event[EVENT_BYTES];

    memset(event, 'x', sizeof(event));
    memcpy(event, "data: ", 6);
    memcpy(event + sizeof(event) - 2, "\n\n", 2);
    while (um_exchange_unsent(j->exchange) < UNSENT_MAX && j->done < j->total) {
        um_exchange_stream_write(j->exchange, event, sizeof(event));
        j->done += sizeof(event);
    }
    if (j->done >= j->total) {
        um_exchange_stream_end(j->exchange);
        job_end(j);
    }
}

/* At least as many bytes as the body says, as fast as the client takes them. */
static void handle_huge(void *context, um_exchange *exchange)
{
    job *j = job_start(context, exchange);

    j->total = body_number(exchange);
    um_exchange_stream_begin(exchange);
    uv_timer_start(&j->timer, on_huge_tick, 0, 1);
}

static void on_wake(uv_async_t *wake)
{
    job *j = wake->data;
    uint64_t made = atomic_load(&j->made);

    while (j->done < made)
        write_event(j->exchange, j->done++);
    if (j->done == j->total) {
        um_exchange_stream_end(j->exchange);
        job_end(j);
    }
}

static void *make_events(void *context)
{
    job *j = context;

    /* Waits vary from none to some 50 us, so that wakes meet the loop asleep, awake and between. */
    for (uint64_t i = 1; i <= j->total && !atomic_load(&j->stop); i++) {
        atomic_store(&j->made, i);
        uv_async_send(&j->wake);
        for (volatile uint64_t spin = 0; spin < (i * 7919) % 97 * 100; spin++)
            ;
    }
    return NULL;
}

/* As many events as the body says, each announced by another thread. */
static void handle_threaded(void *context, um_exchange *exchange)
{
    job *j = job_start(context, exchange);

    j->total = body_number(exchange);
    j->threaded = true;
    j->handles++;
    j->wake.data = j;
    um_exchange_stream_begin(exchange);
    uv_async_init(j->server->terminate.loop, &j->wake, on_wake);
    UM_ASSERT(pthread_create(&j->thread, NULL, make_events, j) == 0);
}

static const um_route routes[] = {
    {"POST", "/echo", "/echo", 0, handle_echo},
    {"POST", "/generate", "/generate", UM_ROUTE_GENERATES, handle_echo},
    {"GET", "/tail/", "/tail/{rest}", UM_ROUTE_PREFIX, handle_tail},
    {"GET", "/open", "/open", UM_ROUTE_OPEN, handle_open},
    {"GET", "/metrics", "/metrics", UM_ROUTE_OPEN, handle_counts},
    {"GET", "/error/", "/error/{status}", UM_ROUTE_PREFIX, handle_error},
    {"POST", "/keys", "/keys", UM_ROUTE_OPEN, handle_keys},
    {"POST", "/gate", "/gate", UM_ROUTE_OPEN, handle_gate},
    {"POST", "/never", "/never", 0, handle_never},
    {"POST", "/late", "/late", 0, handle_late},
    {"POST", "/stream", "/stream", 0, handle_stream},
    {"POST", "/late-stream", "/late-stream", 0, handle_late_stream},
    {"POST", "/instant-stream", "/instant-stream", 0, handle_instant_stream},
    {"POST", "/silent", "/silent", 0, handle_silent},
    {"POST", "/half-event", "/half-event", 0, handle_half_event},
    {"POST", "/abort", "/abort", 0, handle_abort},
    {"POST", "/huge", "/huge", 0, handle_huge},
    {"POST", "/threaded", "/threaded", 0, handle_threaded},
    {0},
};

/* ---- main ---------------------------------------------------------------------------------- */

static void add_text(const char **list, size_t *count, const char *text)
{
    UM_ASSERT(*count < LIST_MAX);
    list[(*count)++] = text;
}

/* "key=name:KEY", "cors=ORIGIN", "host=NAME", "bind=ADDRESS" or a number. */
static void set_option(echo_server *server, char *argument)
{
    um_http_options *o = &server->options;
    const struct {
        const char *name;
        uint32_t *value;
    } numbers[] = {
        {"connections_max", &o->connections_max},
        {"connections_per_address_max", &o->connections_per_address_max},
        {"idle_timeout_s", &o->idle_timeout_s},
        {"header_timeout_ms", &o->header_timeout_ms},
        {"body_timeout_ms", &o->body_timeout_ms},
        {"reader_timeout_ms", &o->reader_timeout_ms},
        {"ping_interval_ms", &o->ping_interval_ms},
    };
    char *value = strchr(argument, '='), *key;

    UM_ASSERT(value);
    *value++ = '\0';
    if (strcmp(argument, "key") == 0 && (key = strchr(value, ':'))) {
        *key++ = '\0';
        UM_ASSERT(o->key_count < LIST_MAX);
        set_key(&server->keys[o->key_count++], value, key);
    } else if (strcmp(argument, "cors") == 0) {
        add_text(server->origins, &o->cors_origin_count, value);
    } else if (strcmp(argument, "host") == 0) {
        add_text(server->hosts, &o->allowed_host_count, value);
    } else if (strcmp(argument, "bind") == 0) {
        o->host = value;
    } else if (strcmp(argument, "metrics_auth") == 0) {
        o->metrics_auth = *value == '1';
    } else if (strcmp(argument, "body_bytes_max") == 0) {
        o->body_bytes_max = strtoull(value, NULL, 10);
    } else if (strcmp(argument, "body_bytes_total_max") == 0) {
        o->body_bytes_total_max = strtoull(value, NULL, 10);
    }
    for (size_t i = 0; i < UM_COUNT_OF(numbers); i++)
        if (strcmp(argument, numbers[i].name) == 0)
            *numbers[i].value = (uint32_t)strtoul(value, NULL, 10);
}

static void on_closed(void *context)
{
    echo_server *server = context;

    uv_close((uv_handle_t *)&server->terminate, NULL);
    uv_close((uv_handle_t *)&server->quiesce, NULL);
}

static void on_terminate(uv_signal_t *handle, int number)
{
    echo_server *server = handle->data;

    (void)number;
    uv_signal_stop(handle);
    um_http_close(server->http, on_closed, server);
}

static void on_quiesce(uv_signal_t *handle, int number)
{
    (void)number;
    um_http_quiesce(((echo_server *)handle->data)->http);
}

int main(int argc, char **argv)
{
    echo_server server = {.options = {.host = "127.0.0.1",
                                      .routes = routes,
                                      .gate = gate,
                                      .body_bytes_max = 1 << 20,
                                      .body_bytes_total_max = 1 << 28,
                                      .connections_max = 1024,
                                      .idle_timeout_s = 75,
                                      .header_timeout_ms = 30000,
                                      .body_timeout_ms = 30000,
                                      .reader_timeout_ms = 30000,
                                      .ping_interval_ms = 10000}};
    uv_loop_t loop;
    um_err err = {0};

    for (int i = 1; i < argc; i++)
        set_option(&server, argv[i]);
    server.options.context = &server;
    server.options.keys = server.keys;
    server.options.cors_origins = server.origins;
    server.options.allowed_hosts = server.hosts;
    uv_loop_init(&loop);
    uv_signal_init(&loop, &server.terminate);
    uv_signal_init(&loop, &server.quiesce);
    server.terminate.data = server.quiesce.data = &server;
    uv_signal_start(&server.terminate, on_terminate, SIGTERM);
    uv_signal_start(&server.quiesce, on_quiesce, SIGUSR1);
    if (um_http_open(&loop, &server.options, &server.http, &err) != UM_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    printf("port %u\n", um_http_port(server.http));
    fflush(stdout);
    uv_run(&loop, UV_RUN_DEFAULT);
    UM_ASSERT(uv_loop_close(&loop) == 0);
    return 0;
}
