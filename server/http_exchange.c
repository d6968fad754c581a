/*
 * One request and its response. The library calls in when headers, body bytes and the end of the
 * body are there; the handler calls in to answer. While the handler has nothing to say the
 * connection is suspended: a content reader that returned 0 otherwise would be asked again at once.
 *
 * An answer normally goes through the library. It takes none while a body is coming in, and when it
 * is given one before that it closes the socket with input unread, which makes the kernel discard
 * what the client has not read yet. So an answer to a half-read request is written to the socket
 * here, and the rest of the input is thrown away for a moment (UMI_PHASE_LINGERING).
 */
#include "server/http_internal.h"

#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/entropy.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "server/http_error.h"

/* The library's own buffer for a stream. It uses one for HTTP/1.0 alone, but wants it for each. */
#define STREAM_BLOCK_BYTES 16384
#define UNUSED_BLOCK_BYTES 64
#define KEEP_ALIVE ": keep-alive\n\n"

/* ---- request ------------------------------------------------------------------------------- */

const char *umi_exchange_request_header(const um_exchange *exchange, const char *name)
{
    return MHD_lookup_connection_value(exchange->connection->mhd, MHD_HEADER_KIND, name);
}

static bool is_request_id(const char *text)
{
    size_t length = text ? strlen(text) : 0;

    return length > 0 && length < UMI_ID_BYTES &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
               length;
}

/* The client's own names, where they are plain; else `fallback`. */
static void copy_id(char out[UMI_ID_BYTES], const char *theirs, const char *fallback)
{
    snprintf(out, UMI_ID_BYTES, "%s", is_request_id(theirs) ? theirs : fallback);
}

static void set_ids(um_exchange *exchange)
{
    char own[4 + 32 + 1] = "req_";

    um_entropy_hex(own + 4, 16);
    copy_id(exchange->request_id, umi_exchange_request_header(exchange, "X-Request-Id"), own);
    copy_id(exchange->client_id, umi_exchange_request_header(exchange, "X-Client-Request-Id"), "");
}

static um_exchange *exchange_create(umi_connection *connection, const char *method,
                                    const char *version)
{
    um_exchange *exchange = um_mem_zalloc(sizeof(*exchange));

    if (!exchange)
        return NULL;
    exchange->http = connection->http;
    exchange->connection = connection;
    exchange->head = strcmp(method, "HEAD") == 0;
    exchange->post = strcmp(method, "POST") == 0;
    exchange->old = strcmp(version, "HTTP/1.0") == 0;
    exchange->arrived_ns = um_clock_now_ns(um_clock_system());
    exchange->close = exchange->http->quiesced;
    exchange->http->exchange_count++;
    connection->exchange = exchange;
    set_ids(exchange);
    um_exchange_header(exchange, "x-request-id", exchange->request_id);
    um_exchange_header(exchange, "openai-version", "2020-10-01");
    um_exchange_header(exchange, "Server", "unmask");
    return exchange;
}

/* Who is at the other end of the socket, "" where that cannot be told: a balancer, whose own log has
 * the client under the same id, or the client itself. */
static void name_peer(const um_exchange *exchange, char *out, size_t size)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(exchange->connection->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;
    socklen_t length = address && address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                                 : sizeof(struct sockaddr_in);

    if (!address ||
        getnameinfo(address, length, out, (socklen_t)size, NULL, 0, NI_NUMERICHOST) != 0)
        *out = '\0';
}

static void log_end(const um_exchange *exchange)
{
    const um_route *route = exchange->route;
    char peer[INET6_ADDRSTRLEN];
    uint64_t elapsed = um_clock_now_ns(um_clock_system()) - exchange->arrived_ns;

    name_peer(exchange, peer, sizeof(peer));
    /* Probes and scrapes come all the time and tell little. */
    um_log(route && (route->flags & UM_ROUTE_OPEN) ? UM_LOG_DEBUG : UM_LOG_INFO, "request",
           "id=\"%s\" client_id=\"%s\" peer=%s route=%s status=%u key=\"%s\" ms=%" PRIu64,
           exchange->request_id, exchange->client_id, peer, route ? route->handler_name : "",
           exchange->status, exchange->key_name, elapsed / 1000000);
}

static void tell_gone(um_exchange *exchange)
{
    if (exchange->state != UMI_OPEN && exchange->state != UMI_STREAMING)
        return;
    exchange->state = UMI_ANSWERED;
    if (exchange->on_gone)
        exchange->on_gone(exchange->context);
}

static void drop_body(um_exchange *exchange)
{
    um_http_body_freed(exchange->http, exchange->body.length);
    um_buf_deinit(&exchange->body);
}

void umi_exchange_destroy(um_exchange *exchange)
{
    if (exchange->state == UMI_READING)
        umi_http_reject(exchange->http, exchange->route, UM_HTTP_REJECT_BAD_REQUEST);
    tell_gone(exchange);
    log_end(exchange);
    exchange->connection->exchange = NULL;
    exchange->http->exchange_count--;
    exchange->http->answer_bytes -= exchange->answer_bytes;
    um_buf_deinit(&exchange->tail);
    drop_body(exchange);
    um_buf_deinit(&exchange->headers);
    um_buf_deinit(&exchange->answer);
    um_mem_free(exchange);
}

/* ---- suspend and resume -------------------------------------------------------------------- */

static void suspend(um_exchange *exchange, umi_phase phase)
{
    UM_ASSERT(!exchange->suspended);
    exchange->suspended = true;
    MHD_suspend_connection(exchange->connection->mhd);
    umi_connection_enter(exchange->connection, phase);
}

/* The watch stops (entering a phase does that) before the library gets the socket back. */
static void resume(um_exchange *exchange)
{
    umi_connection_enter(exchange->connection, UMI_PHASE_SENDING);
    if (!exchange->suspended)
        return;
    exchange->suspended = false;
    MHD_resume_connection(exchange->connection->mhd);
    umi_http_kick(exchange->http);
}

void umi_exchange_cut(um_exchange *exchange)
{
    exchange->cut = true;
    tell_gone(exchange);
    resume(exchange);
}

/* ---- answers through the library ----------------------------------------------------------- */

static ssize_t read_stream(void *context, uint64_t position, char *out, size_t max)
{
    um_exchange *exchange = context;
    size_t unsent = um_exchange_unsent(exchange);

    (void)position;
    if (exchange->cut)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (unsent == 0 && exchange->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (unsent == 0) {
        um_buf_deinit(&exchange->answer); /* thousands may be silent for long */
        suspend(exchange, UMI_PHASE_IDLE);
        return 0;
    }
    unsent = unsent < max ? unsent : max;
    memcpy(out, exchange->answer.data + exchange->answer_sent, unsent);
    exchange->answer_sent += unsent;
    /* Moving the rest to the front only when it is the smaller half keeps the cost linear. */
    if (exchange->answer_sent * 2 >= exchange->answer.length) {
        um_buf_consume(&exchange->answer, exchange->answer_sent);
        exchange->answer_sent = 0;
    }
    return (ssize_t)unsent;
}

/* Visits the header list; false when the visitor fails. */
static bool each_header(const um_exchange *exchange,
                        bool (*visit)(void *, const char *, const char *), void *context)
{
    const char *name = um_buf_view(&exchange->headers);
    const char *end = name + exchange->headers.length;

    while (name < end) {
        const char *value = name + strlen(name) + 1;

        if (!visit(context, name, value))
            return false;
        name = value + strlen(value) + 1;
    }
    return true;
}

static bool add_header(void *response, const char *name, const char *value)
{
    return MHD_add_response_header(response, name, value) == MHD_YES;
}

/* Hands the answer to the library. MHD_NO: memory is out, the connection must be closed. */
static enum MHD_Result queue(um_exchange *exchange)
{
    struct MHD_Response *response;
    enum MHD_Result result = MHD_NO;

    UM_ASSERT(!exchange->queued);
    if (exchange->close)
        um_exchange_header(exchange, "Connection", "close");
    if (um_buf_failed(&exchange->headers) || um_buf_failed(&exchange->answer))
        return MHD_NO;
    /* The buffer outlives the response: both end when the library completes the request. */
    response = exchange->stream
                   ? MHD_create_response_from_callback(
                         MHD_SIZE_UNKNOWN, exchange->old ? STREAM_BLOCK_BYTES : UNUSED_BLOCK_BYTES,
                         read_stream, exchange, NULL)
                   : MHD_create_response_from_buffer(exchange->answer.length, exchange->answer.data,
                                                     MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    if (each_header(exchange, add_header, response))
        result = MHD_queue_response(exchange->connection->mhd, exchange->status, response);
    MHD_destroy_response(response);
    exchange->queued = result == MHD_YES;
    um_buf_deinit(&exchange->headers); /* the library has copies */
    return result;
}

/* The handler has decided. Inside the handler its caller sends; later it is done here. */
static void send_answer(um_exchange *exchange)
{
    if (exchange->in_handler)
        return;
    /* On failure the handler hears of it when the library closes, not inside its own call. */
    exchange->cut = queue(exchange) != MHD_YES;
    resume(exchange);
}

/* ---- answers past the library -------------------------------------------------------------- */

static bool print_header(void *out, const char *name, const char *value)
{
    um_buf_printf(out, "%s: %s\r\n", name, value);
    return true;
}

static void print_answer(const um_exchange *exchange, um_buf *out)
{
    char date[64];
    time_t now = time(NULL);
    struct tm utc;

    gmtime_r(&now, &utc);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &utc);
    um_buf_printf(out, "HTTP/1.1 %u %s\r\nDate: %s\r\nConnection: close\r\nContent-Length: %zu\r\n",
                  exchange->status, MHD_get_reason_phrase_for(exchange->status), date,
                  exchange->answer.length);
    each_header(exchange, print_header, out);
    um_buf_text(out, "\r\n");
    if (!exchange->head)
        um_buf_append(out, um_buf_view(&exchange->answer), exchange->answer.length);
}

/* A short write means that the client does not read; it then gets a cut answer. */
static void answer_half_read(um_exchange *exchange)
{
    um_buf text = {0};

    drop_body(exchange);
    print_answer(exchange, &text);
    if (!um_buf_failed(&text) && !um_buf_failed(&exchange->headers) &&
        !um_buf_failed(&exchange->answer))
        send(exchange->connection->fd, text.data, text.length, MSG_NOSIGNAL | MSG_DONTWAIT);
    um_buf_deinit(&text);
    shutdown(exchange->connection->fd, SHUT_WR);
    exchange->cut = true;
    umi_connection_enter(exchange->connection, UMI_PHASE_LINGERING);
}

/* ---- the transport's own answers ----------------------------------------------------------- */

static void set_answer(um_exchange *exchange, unsigned status)
{
    uint64_t elapsed = um_clock_now_ns(um_clock_system()) - exchange->arrived_ns;
    char text[24];

    exchange->status = status;
    exchange->state = UMI_ANSWERED;
    if ((status == 429 || status == 503) && !exchange->retry_hinted)
        um_exchange_retry_after(exchange, 1000);
    if (exchange->post) {
        snprintf(text, sizeof(text), "%" PRIu64, elapsed / 1000000);
        um_exchange_header(exchange, "openai-processing-ms", text);
    }
    umi_http_count(exchange->http, exchange->route, status);
}

void umi_exchange_refuse(um_exchange *exchange, unsigned http_status, const char *code,
                         const char *message)
{
    um_exchange_header(exchange, "Content-Type", UMI_JSON);
    um_http_error_custom(message, http_status < 500 ? "invalid_request_error" : "server_error",
                         NULL, code, &exchange->answer);
    set_answer(exchange, http_status);
}

void umi_exchange_no_content(um_exchange *exchange)
{
    set_answer(exchange, 204);
}

void umi_exchange_too_large(um_exchange *exchange)
{
    char message[96];

    snprintf(message, sizeof(message), "The body is larger than the limit of %zu bytes.",
             exchange->http->options.body_bytes_max);
    umi_http_reject(exchange->http, exchange->route, UM_HTTP_REJECT_BAD_REQUEST);
    umi_exchange_refuse(exchange, 413, "request_too_large", message);
}

void umi_exchange_no_room(um_exchange *exchange)
{
    umi_http_reject(exchange->http, exchange->route, UM_HTTP_REJECT_ENGINE);
    umi_exchange_refuse(exchange, 503, "overloaded", "No room for the body; try again.");
}

void umi_exchange_body_late(um_exchange *exchange)
{
    umi_http_reject(exchange->http, exchange->route, UM_HTTP_REJECT_BAD_REQUEST);
    umi_exchange_refuse(exchange, 408, "request_timeout", "The body did not come in time.");
    answer_half_read(exchange);
}

/* ---- calls of the library ------------------------------------------------------------------ */

enum MHD_Result umi_exchange_headers(umi_connection *connection, const char *url,
                                     const char *method, const char *version, um_exchange **out)
{
    um_exchange *exchange = exchange_create(connection, method, version);
    const char *expect;

    *out = exchange;
    if (!exchange)
        return MHD_NO;
    connection->first_line = (char *)(uintptr_t)method;
    if (umi_access_check(exchange, url, method)) {
        umi_connection_enter_body(connection, umi_access_announced(exchange));
        return MHD_YES;
    }
    if (!umi_access_has_body(exchange))
        return MHD_YES; /* answered at the end, so that the connection can stay open */
    expect = umi_exchange_request_header(exchange, "Expect");
    if (expect && strcasecmp(expect, "100-continue") == 0)
        return umi_exchange_complete(exchange); /* the client has sent nothing yet */
    answer_half_read(exchange);
    return MHD_YES;
}

/* False: out of memory, or of the room that all bodies share. */
static bool keep_bytes(um_exchange *exchange, const char *bytes, size_t length)
{
    um_http *http = exchange->http;

    if (length > umi_http_body_room(http))
        return false;
    um_buf_append(&exchange->body, bytes, length);
    if (um_buf_failed(&exchange->body))
        return false;
    http->body_bytes += length;
    return true;
}

enum MHD_Result umi_exchange_upload(um_exchange *exchange, const char *bytes, size_t length)
{
    if (exchange->state != UMI_READING)
        return MHD_YES; /* lingering: thrown away */
    if (length > exchange->http->options.body_bytes_max - exchange->body.length)
        umi_exchange_too_large(exchange);
    else if (!keep_bytes(exchange, bytes, length))
        umi_exchange_no_room(exchange);
    else
        return MHD_YES;
    answer_half_read(exchange);
    return MHD_YES;
}

static void call_handler(um_exchange *exchange)
{
    exchange->state = UMI_OPEN;
    exchange->in_handler = true;
    exchange->route->handler(exchange->http->options.context, exchange);
    exchange->in_handler = false;
}

/* Also called once more after a suspended exchange was cut. */
enum MHD_Result umi_exchange_complete(um_exchange *exchange)
{
    if (!exchange->cut && exchange->state == UMI_READING)
        call_handler(exchange);
    if (exchange->cut)
        return MHD_NO;
    if (exchange->state == UMI_OPEN) {
        suspend(exchange, UMI_PHASE_WAITING);
        return MHD_YES;
    }
    umi_connection_enter(exchange->connection, UMI_PHASE_SENDING);
    return queue(exchange);
}

/* ---- for handlers -------------------------------------------------------------------------- */

const char *um_exchange_method(const um_exchange *exchange)
{
    return exchange->route->method;
}

const char *um_exchange_tail(const um_exchange *exchange)
{
    return um_buf_view(&exchange->tail);
}

const char *um_exchange_body(const um_exchange *exchange, size_t *length)
{
    *length = exchange->body.length;
    return um_buf_view(&exchange->body);
}

um_buf um_exchange_take_body(um_exchange *exchange)
{
    um_buf body = exchange->body;

    exchange->body = (um_buf){0};
    return body;
}

const char *um_exchange_request_id(const um_exchange *exchange)
{
    return exchange->request_id;
}

const char *um_exchange_key_name(const um_exchange *exchange)
{
    return exchange->key_name;
}

void um_exchange_set_context(um_exchange *exchange, void *context, void (*on_gone)(void *context))
{
    exchange->context = context;
    exchange->on_gone = on_gone;
}

void um_exchange_header(um_exchange *exchange, const char *name, const char *value)
{
    UM_ASSERT(!exchange->queued);
    if (!*value)
        return; /* the library takes no empty ones */
    um_buf_append(&exchange->headers, name, strlen(name) + 1);
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;

        um_buf_char(&exchange->headers, (char)(c < ' ' || c == 127 ? '?' : c));
    }
    um_buf_char(&exchange->headers, '\0');
}

void um_exchange_retry_after(um_exchange *exchange, uint32_t milliseconds)
{
    char text[16];
    uint32_t clamped = milliseconds < 1000 ? 1000 : milliseconds > 30000 ? 30000 : milliseconds;

    snprintf(text, sizeof(text), "%" PRIu32, (clamped + 999) / 1000);
    um_exchange_header(exchange, "Retry-After", text);
    snprintf(text, sizeof(text), "%" PRIu32, clamped);
    um_exchange_header(exchange, "retry-after-ms", text);
    exchange->retry_hinted = true;
}

void um_exchange_reply(um_exchange *exchange, unsigned http_status, const char *content_type,
                       const char *body, size_t length)
{
    UM_ASSERT(exchange->state == UMI_OPEN);
    if (exchange->post && length > umi_http_answer_room(exchange->http)) {
        um_err err = {0};

        um_fail(&err, UM_E_OVERLOADED,
                "the answer has %zu bytes; so many are waiting to be read that there is no room",
                length);
        um_exchange_reply_error(exchange, &err);
        return;
    }
    if (exchange->post) {
        exchange->answer_bytes = length;
        exchange->http->answer_bytes += length;
    }
    um_exchange_header(exchange, "Content-Type", content_type);
    um_buf_append(&exchange->answer, body, length);
    set_answer(exchange, http_status);
    send_answer(exchange);
}

void um_exchange_reply_error(um_exchange *exchange, const um_err *err)
{
    const um_http_error *entry = um_http_error_find(err->status);

    UM_ASSERT(exchange->state == UMI_OPEN);
    if (entry->http_status == 504)
        um_exchange_header(exchange, "x-should-retry", "false");
    um_exchange_header(exchange, "Content-Type", UMI_JSON);
    um_http_error_body(err, &exchange->answer);
    set_answer(exchange, entry->http_status);
    send_answer(exchange);
}

void um_exchange_stream_begin(um_exchange *exchange)
{
    UM_ASSERT(exchange->state == UMI_OPEN);
    exchange->state = UMI_STREAMING;
    exchange->stream = true;
    exchange->status = 200;
    memset(exchange->stream_tail, '\n', sizeof(exchange->stream_tail));
    um_exchange_header(exchange, "Content-Type", "text/event-stream; charset=utf-8");
    um_exchange_header(exchange, "Cache-Control", "no-cache");
    um_exchange_header(exchange, "X-Accel-Buffering", "no");
    umi_http_count(exchange->http, exchange->route, 200);
    send_answer(exchange);
}

/* There is news for the reader; it asks by itself unless it is suspended. */
static void wake_reader(um_exchange *exchange)
{
    if (exchange->suspended)
        resume(exchange);
}

/* A reader that waits for a slow client is not asked again, so the socket must tell the library. */
static void cut_stream(um_exchange *exchange)
{
    exchange->cut = true;
    if (exchange->queued && !exchange->suspended)
        umi_connection_shutdown(exchange->connection);
}

void um_exchange_stream_write(um_exchange *exchange, const char *bytes, size_t length)
{
    UM_ASSERT(exchange->state == UMI_STREAMING);
    if (length == 0)
        return;
    um_buf_append(&exchange->answer, bytes, length);
    if (um_buf_failed(&exchange->answer))
        cut_stream(exchange); /* the handler hears of it when the library closes */
    exchange->stream_tail[0] = length > 1 ? bytes[length - 2] : exchange->stream_tail[1];
    exchange->stream_tail[1] = bytes[length - 1];
    wake_reader(exchange);
}

size_t um_exchange_unsent(const um_exchange *exchange)
{
    return exchange->answer.length - exchange->answer_sent;
}

void um_exchange_stream_end(um_exchange *exchange)
{
    UM_ASSERT(exchange->state == UMI_STREAMING);
    exchange->state = UMI_ANSWERED;
    exchange->ended = true;
    wake_reader(exchange);
}

void um_exchange_stream_abort(um_exchange *exchange)
{
    UM_ASSERT(exchange->state == UMI_STREAMING);
    exchange->state = UMI_ANSWERED;
    cut_stream(exchange);
    wake_reader(exchange);
}

void umi_exchange_ping(um_exchange *exchange)
{
    if (exchange->state == UMI_STREAMING && memcmp(exchange->stream_tail, "\n\n", 2) == 0)
        um_exchange_stream_write(exchange, KEEP_ALIVE, strlen(KEEP_ALIVE));
    else
        umi_connection_enter(exchange->connection, UMI_PHASE_IDLE);
}
