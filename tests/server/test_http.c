/*
 * The transport when memory is out: every allocation of its opening and of every kind of request
 * fails once. Server and client live in one thread, which turns the loop between reads. What goes
 * over the wire otherwise is test_transport.py's matter.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "core/base/buf.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "server/http.h"
#include "server/http_error.h"
#include "tests/test.h"

#define WALK_MAX 200    /* allocations that one request may make */
#define TURNS_MAX 20000 /* of the loop, for one request */

typedef struct fixture {
    uv_loop_t loop;
    um_http *http;
    um_exchange *waiting; /* to be answered from outside the handler */
    bool closed;
} fixture;

static void on_gone(void *context)
{
    fixture *f = context;

    UM_CHECK(f->waiting != NULL);
    f->waiting = NULL;
}

static void handle_now(void *context, um_exchange *exchange)
{
    size_t length;
    const char *body = um_exchange_body(exchange, &length);

    (void)context;
    um_exchange_reply(exchange, 200, "application/json", body, length);
}

static void handle_tail(void *context, um_exchange *exchange)
{
    const char *tail = um_exchange_tail(exchange);

    (void)context;
    um_exchange_reply(exchange, 200, "text/plain", tail, strlen(tail));
}

static void handle_later(void *context, um_exchange *exchange)
{
    fixture *f = context;

    f->waiting = exchange;
    um_exchange_set_context(exchange, f, on_gone);
}

static void handle_stream(void *context, um_exchange *exchange)
{
    handle_later(context, exchange);
    um_exchange_stream_begin(exchange);
    um_exchange_stream_write(exchange, "data: 1\n\n", 9);
}

static const um_route routes[] = {
    {"POST", "/now", "/now", 0, handle_now},
    {"POST", "/later", "/later", 0, handle_later},
    {"POST", "/stream", "/stream", 0, handle_stream},
    {"GET", "/tail/", "/tail/{rest}", UM_ROUTE_PREFIX, handle_tail},
    {0},
};

static um_status fixture_open(fixture *f, um_err *err)
{
    um_http_options options = {.host = "127.0.0.1",
                               .routes = routes,
                               .context = f,
                               .body_bytes_max = 1000,
                               .body_bytes_total_max = 1000,
                               .connections_max = 8,
                               .idle_timeout_s = 5,
                               .header_timeout_ms = 5000,
                               .body_timeout_ms = 5000,
                               .reader_timeout_ms = 5000,
                               .ping_interval_ms = 5000};

    return um_http_open(&f->loop, &options, &f->http, err);
}

static void on_closed(void *context)
{
    ((fixture *)context)->closed = true;
}

static void fixture_close(fixture *f)
{
    um_http_close(f->http, on_closed, f);
    uv_run(&f->loop, UV_RUN_DEFAULT); /* ends when no handle is left */
    UM_CHECK(f->closed);
    UM_CHECK_INT(uv_loop_close(&f->loop), 0);
}

static void opening_survives_every_failed_allocation(void)
{
    fixture f = {0};
    um_err err = {0};
    long n = 0;
    um_status status = UM_E_NOMEM;

    uv_loop_init(&f.loop);
    while (status != UM_OK && ++n < WALK_MAX) {
        um_mem_fail_after(n);
        status = fixture_open(&f, &err);
        if (status != UM_OK) {
            UM_CHECK_STATUS(status, UM_E_NOMEM);
            UM_CHECK(!f.http);
        }
    }
    UM_CHECK(um_mem_fail_pending());
    um_mem_fail_after(0);
    UM_CHECK(n > 2); /* the walk met the struct and the counters */
    fixture_close(&f);
}

static int connect_client(const fixture *f)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(um_http_port(f->http))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    UM_CHECK_INT(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* What a handler that was given an exchange would do from elsewhere. */
static void answer_waiting(fixture *f, bool stream)
{
    um_exchange *exchange = f->waiting;

    if (!exchange)
        return;
    f->waiting = NULL;
    if (stream) {
        um_exchange_stream_write(exchange, "data: 2\n\n", 9);
        um_exchange_stream_end(exchange);
    } else {
        um_exchange_reply(exchange, 200, "application/json", "{}", 2);
    }
}

/* Sends a request and turns the loop until the server has closed. The whole answer is in `out`. */
static void exchange_once(fixture *f, const char *text, um_buf *out)
{
    bool stream = strstr(text, "/stream") != NULL, open = true;
    int fd = connect_client(f);
    char bytes[4096];

    UM_CHECK_INT(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    for (int turn = 0; open && turn < TURNS_MAX; turn++) {
        ssize_t got;

        uv_run(&f->loop, UV_RUN_NOWAIT);
        answer_waiting(f, stream);
        got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (got > 0)
            um_buf_append(out, bytes, (size_t)got);
        else
            open = got < 0 && (errno == EAGAIN || errno == EINTR);
        if (open && got < 0)
            usleep(50);
    }
    UM_CHECK(!open);
    close(fd);
    for (int turn = 0; um_http_exchange_count(f->http) > 0 && turn < TURNS_MAX; turn++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(50);
    }
    UM_CHECK_INT(um_http_exchange_count(f->http), 0);
    UM_CHECK(!f->waiting);
}

static bool ends_with(const um_buf *text, const char *end)
{
    size_t length = strlen(end);

    return text->length >= length && strcmp(um_buf_view(text) + text->length - length, end) == 0;
}

/* Without memory an answer is missing, a 503, or a stream that breaks off; never a wrong one. */
static void check_walked_answer(const um_buf *answer, const char *expected, bool failed)
{
    const char *text = um_buf_view(answer);
    bool cut_stream = strstr(text, "chunked") && !ends_with(answer, "\r\n0\r\n\r\n");

    UM_CHECK(ends_with(answer, expected) ||
             (failed && (answer->length == 0 || strstr(text, " 503 ") || cut_stream)));
}

static void walk(const char *request, const char *expected, long least)
{
    fixture f = {0};
    um_err err = {0};
    um_buf answer = {0};
    bool failed = true;
    long n = 0;

    um_log_set_level(UM_LOG_OFF);
    uv_loop_init(&f.loop);
    UM_CHECK_OK(fixture_open(&f, &err), err);
    um_buf_reserve(&answer, 65536); /* so that only the server's allocations are counted */
    while (failed && ++n < WALK_MAX) {
        um_buf_clear(&answer);
        um_mem_fail_after(n);
        exchange_once(&f, request, &answer);
        failed = !um_mem_fail_pending();
        um_mem_fail_after(0);
        check_walked_answer(&answer, expected, failed);
    }
    UM_CHECK(n > least);
    UM_CHECK(n < WALK_MAX);
    um_buf_deinit(&answer);
    fixture_close(&f);
}

static void a_reply_survives_every_failed_allocation(void)
{
    walk(
        "POST /now HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        "{}", 4);
}

static void a_late_reply_survives_every_failed_allocation(void)
{
    walk("POST /later HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "
         "2\r\n\r\n{}",
         "{}", 4);
}

static void a_stream_survives_every_failed_allocation(void)
{
    walk("POST /stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "
         "2\r\n\r\n{}",
         "\r\n0\r\n\r\n", 4);
}

static void a_tail_survives_every_failed_allocation(void)
{
    walk("GET /tail/abc%20d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
         "\r\n\r\nabc d", 3);
}

static void a_refusal_survives_every_failed_allocation(void)
{
    walk("GET /nope HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "}}", 4);
}

static void a_refusal_inside_the_body_survives_every_failed_allocation(void)
{
    walk("POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{}", "}}", 4);
}

/* Every status of the caller's and of room has its own row; an unknown one is ours. */
static void every_status_has_a_row(void)
{
#define UM_STATUS_CHECK(name, value, text)                                                         \
    if ((value) < 0 && (value) > -40 && (value) != UM_E_CANCELLED)                                 \
        UM_CHECK_STR(um_status_name(um_http_error_find((um_status)(value))->status), "UM_" #name);
    UM_STATUS_MAP(UM_STATUS_CHECK)
#undef UM_STATUS_CHECK
    UM_CHECK_INT(um_http_error_find((um_status)-999)->http_status, 500);
}

static void error_bodies_are_json_whatever_the_message(void)
{
    um_err err = {0};
    char every_byte[256] = "";
    um_err parse_err = {0};
    um_buf body = {0};
    um_json *root = NULL;
    const char *text;

    for (int i = 1; i < 256; i++)
        every_byte[i - 1] = (char)i;
    um_fail_field(&err, UM_E_VALUE, "a\"b", "%s", every_byte);
    um_http_error_body(&err, &body);
    UM_CHECK_OK(um_json_parse(um_buf_view(&body), body.length, &root, &parse_err), parse_err);
    UM_CHECK_OK(um_json_get_string(um_json_member(root, "error"), "param", NULL, &text, &parse_err),
                parse_err);
    UM_CHECK_STR(text, "a\"b");
    um_json_free(root);
    um_buf_clear(&body);
    err = (um_err){.status = UM_E_INTERNAL};
    um_http_error_body(&err, &body);
    UM_CHECK_STR(um_buf_view(&body),
                 "{\"error\":{\"message\":\"internal error\",\"type\":"
                 "\"server_error\",\"param\":null,\"code\":\"internal_error\"}}");
    um_buf_deinit(&body);
}

static const um_test tests[] = {
    UM_TEST(opening_survives_every_failed_allocation),
    UM_TEST(a_reply_survives_every_failed_allocation),
    UM_TEST(a_late_reply_survives_every_failed_allocation),
    UM_TEST(a_stream_survives_every_failed_allocation),
    UM_TEST(a_tail_survives_every_failed_allocation),
    UM_TEST(a_refusal_survives_every_failed_allocation),
    UM_TEST(a_refusal_inside_the_body_survives_every_failed_allocation),
    UM_TEST(every_status_has_a_row),
    UM_TEST(error_bodies_are_json_whatever_the_message),
};

UM_TEST_MAIN(tests)
