/*
 * One connection: absolute deadlines, and the watch for a client that leaves.
 *
 * The library's own timeout counts silence, so a client that sends one byte a second never meets
 * it; and a suspended connection neither times out nor notices that its client is gone. One timer
 * and one poll handle per connection, made at its start and closed at its end, mend both. The watch
 * sees a client that leaves also while a request comes in: when bytes and their end arrive together,
 * the library takes the bytes and does not look again.
 *
 * A connection that must go is shut down, never closed: the descriptor is the library's.
 */
#include "server/http_internal.h"

#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/mem.h"
#include "server/http_socket.h"

#define LINGER_MS 2000
#define LEAVING_MS 100
#define BODY_BYTES_PER_SECOND_MIN 65536 /* a slower body runs out of time */
#define READER_LOOKS 4                  /* per reader_timeout_ms */

/* ---- watch --------------------------------------------------------------------------------- */

static void on_first_byte(uv_poll_t *watch, int status, int events)
{
    (void)status;
    (void)events;
    umi_connection_enter(watch->data, UMI_PHASE_HEADERS);
}

/* A half-closed client counts as gone: it cannot be told from one that closed. */
static void on_client_gone(uv_poll_t *watch, int status, int events)
{
    umi_connection *connection = watch->data;

    (void)status; /* an error is a client that reset the connection */
    (void)events;
    umi_exchange_cut(connection->exchange);
}

/* The library may still have a whole request to read, so it gets a moment. */
static void on_client_leaving(uv_poll_t *watch, int status, int events)
{
    (void)status;
    (void)events;
    umi_connection_enter(watch->data, UMI_PHASE_LEAVING);
}

static void watch_for(umi_connection *connection, int events, uv_poll_cb callback)
{
    int result = uv_poll_start(&connection->watch, events, callback);

    UM_ASSERT(result == 0);
}

/* ---- deadlines ----------------------------------------------------------------------------- */

/* Bytes that the client's machine has not acknowledged yet. */
static int bytes_in_socket(const umi_connection *connection)
{
    int bytes = 0;

    return ioctl(connection->fd, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

static uint64_t look_interval_ms(const umi_connection *connection)
{
    return connection->http->options.reader_timeout_ms / READER_LOOKS + 1;
}

static void on_timer(uv_timer_t *timer);

static void start_timer(umi_connection *connection, uint64_t milliseconds)
{
    int result = uv_timer_start(&connection->timer, on_timer, milliseconds, 0);

    UM_ASSERT(result == 0);
}

/* The library asks for more only when a whole buffer has gone, which a slow but honest reader may
 * need long for. So progress is what the socket holds: with a client that takes nothing, and
 * therefore a library that can add nothing, that number stands still. */
static void look_at_reader(umi_connection *connection)
{
    int bytes = bytes_in_socket(connection);
    uint64_t now = uv_now(connection->http->loop);

    if (bytes != connection->socket_bytes) {
        connection->socket_bytes = bytes;
        connection->progress_at = now;
    }
    if (now - connection->progress_at >= connection->http->options.reader_timeout_ms) {
        um_log(UM_LOG_INFO, "reader_too_slow", "id=\"%s\"",
               um_exchange_request_id(connection->exchange));
        umi_connection_shutdown(connection);
    } else {
        start_timer(connection, look_interval_ms(connection));
    }
}

static void on_timer(uv_timer_t *timer)
{
    umi_connection *connection = timer->data;

    switch (connection->phase) {
    case UMI_PHASE_BODY:
        umi_exchange_body_late(connection->exchange);
        break;
    case UMI_PHASE_IDLE:
        umi_exchange_ping(connection->exchange);
        break;
    case UMI_PHASE_SENDING:
        look_at_reader(connection);
        break;
    case UMI_PHASE_HEADERS:
    case UMI_PHASE_LEAVING:
    case UMI_PHASE_LINGERING:
        umi_connection_shutdown(connection);
        break;
    case UMI_PHASE_WAITING:
    case UMI_PHASE_BETWEEN:
    case UMI_PHASE_CLOSED:
        UM_FATAL("no timer runs in this phase");
    }
}

/* ---- memory of the library ------------------------------------------------------------------- */

/* The library maps UMI_CONNECTION_BYTES for each connection and clears what it does not need of them,
 * which takes as much of the machine for a stream that is silent as for a header of 64 KiB. Pages of
 * zeros are given back; they are zeros again when the library looks, which only this thread does.
 *
 * Where the mapping begins is known for short requests alone. The request's first line lies behind
 * whatever the library skipped (empty lines), so at most as far from the beginning as bytes were
 * received: with less than a page of them and the line at a page's start, it is the beginning. */
static void give_back_zeros(umi_connection *connection)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), begin = 0;
    char *pool = connection->first_line;

    connection->first_line = NULL;
    if (!pool || (uintptr_t)pool % page != 0 || UMI_CONNECTION_BYTES % page != 0 ||
        um_socket_bytes_received(connection->fd) >= page)
        return;
    for (size_t at = 0; at <= UMI_CONNECTION_BYTES; at += page) {
        bool zero = at < UMI_CONNECTION_BYTES && pool[at] == 0 &&
                    memcmp(pool + at, pool + at + 1, page - 1) == 0;

        if (zero)
            continue;
        if (at > begin)
            madvise(pool + begin, at - begin, MADV_DONTNEED);
        begin = at + page;
    }
}

/* ---- phases -------------------------------------------------------------------------------- */

void umi_connection_enter(umi_connection *connection, umi_phase phase)
{
    const um_http_options *options = &connection->http->options;

    connection->phase = phase;
    uv_timer_stop(&connection->timer);
    uv_poll_stop(&connection->watch);
    switch (phase) {
    case UMI_PHASE_HEADERS:
        watch_for(connection, UV_DISCONNECT, on_client_leaving);
        start_timer(connection, options->header_timeout_ms);
        break;
    case UMI_PHASE_BODY:
        watch_for(connection, UV_DISCONNECT, on_client_leaving);
        start_timer(connection, options->body_timeout_ms);
        break;
    case UMI_PHASE_WAITING:
        watch_for(connection, UV_DISCONNECT, on_client_gone);
        break;
    case UMI_PHASE_IDLE:
        give_back_zeros(connection);
        watch_for(connection, UV_DISCONNECT, on_client_gone);
        if (options->ping_interval_ms > 0)
            start_timer(connection, options->ping_interval_ms);
        break;
    case UMI_PHASE_SENDING:
        connection->socket_bytes = bytes_in_socket(connection);
        connection->progress_at = uv_now(connection->http->loop);
        start_timer(connection, look_interval_ms(connection));
        break;
    case UMI_PHASE_LEAVING:
        start_timer(connection, LEAVING_MS);
        break;
    case UMI_PHASE_LINGERING:
        start_timer(connection, LINGER_MS);
        break;
    case UMI_PHASE_BETWEEN:
        watch_for(connection, UV_READABLE, on_first_byte);
        break;
    case UMI_PHASE_CLOSED:
        break;
    }
}

void umi_connection_enter_body(umi_connection *connection, uint64_t bytes)
{
    umi_connection_enter(connection, UMI_PHASE_BODY);
    start_timer(connection, connection->http->options.body_timeout_ms +
                                bytes * 1000 / BODY_BYTES_PER_SECOND_MIN);
}

void umi_connection_shutdown(umi_connection *connection)
{
    shutdown(connection->fd, SHUT_RDWR);
    umi_http_kick(connection->http);
}

/* ---- life ---------------------------------------------------------------------------------- */

umi_connection *umi_connection_create(um_http *http, struct MHD_Connection *mhd, int fd)
{
    umi_connection *connection = um_mem_zalloc(sizeof(*connection));

    if (!connection)
        return NULL;
    connection->http = http;
    connection->mhd = mhd;
    connection->fd = fd;
    connection->timer.data = connection;
    connection->watch.data = connection;
    if (uv_poll_init(http->loop, &connection->watch, fd) != 0) {
        um_mem_free(connection);
        return NULL;
    }
    uv_timer_init(http->loop, &connection->timer);
    connection->handles = 2;
    http->handles += 2;
    connection->next = http->connections;
    if (connection->next)
        connection->next->prev = connection;
    http->connections = connection;
    umi_connection_enter(connection, UMI_PHASE_HEADERS);
    return connection;
}

static void on_handle_closed(uv_handle_t *handle)
{
    umi_connection *connection = handle->data;
    um_http *http = connection->http;

    if (--connection->handles == 0)
        um_mem_free(connection);
    umi_http_handle_closed(http);
}

void umi_connection_close(umi_connection *connection)
{
    UM_ASSERT(!connection->exchange);
    umi_connection_enter(connection, UMI_PHASE_CLOSED);
    if (connection->prev)
        connection->prev->next = connection->next;
    else
        connection->http->connections = connection->next;
    if (connection->next)
        connection->next->prev = connection->prev;
    uv_close((uv_handle_t *)&connection->watch, on_handle_closed);
    uv_close((uv_handle_t *)&connection->timer, on_handle_closed);
}
