/*
 * The daemon inside the loop. libmicrohttpd runs without a thread of its own: its epoll descriptor
 * is watched by the loop, and MHD_run is called when that is ready, when MHD_get_timeout says so
 * and after every resume. Connections that are ready for the library need not wake its descriptor,
 * so MHD_get_timeout is asked after every run; 0 means a timer of zero.
 */
#include "server/http_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/mem.h"

#define TIMEOUT_MS_MAX 60000 /* a longer sleep than MHD_get_timeout asks for is a harmless run */

/* ---- the loop ------------------------------------------------------------------------------ */

static void on_run_timer(uv_timer_t *timer);
static void close_now(um_http *http);

static void run(um_http *http)
{
    MHD_UNSIGNED_LONG_LONG timeout;

    UM_ASSERT(!http->running);
    http->running = true;
    http->run_again = false;
    MHD_run(http->daemon);
    http->running = false;
    if (http->run_again || http->closing)
        uv_timer_start(&http->timer, on_run_timer, 0, 0);
    else if (MHD_get_timeout(http->daemon, &timeout) == MHD_YES)
        uv_timer_start(&http->timer, on_run_timer,
                       timeout < TIMEOUT_MS_MAX ? timeout : TIMEOUT_MS_MAX, 0);
    else
        uv_timer_stop(&http->timer);
}

static void on_run_timer(uv_timer_t *timer)
{
    um_http *http = timer->data;

    if (http->closing)
        close_now(http);
    else
        run(http);
}

static void on_daemon_ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run(poll->data);
}

void umi_http_kick(um_http *http)
{
    http->run_again = true;
    if (!http->running)
        uv_timer_start(&http->timer, on_run_timer, 0, 0);
}

/* ---- callbacks of the library -------------------------------------------------------------- */

static void on_connection(void *context, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    um_http *http = context;
    int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = umi_connection_create(http, mhd, fd);
        if (!*socket_context)
            shutdown(fd, SHUT_RDWR);
        return;
    }
    if (*socket_context)
        umi_connection_close(*socket_context);
    /* At the limit of connections the library stops listening, and starts again in the run after
     * the one that closed a connection. */
    http->run_again = true;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_bytes, void **request_context)
{
    size_t length = *upload_bytes;
    void *connection;

    (void)context;
    *upload_bytes = 0;
    if (*request_context)
        return length > 0 ? umi_exchange_upload(*request_context, upload, length)
                          : umi_exchange_complete(*request_context);
    connection = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    if (!connection)
        return MHD_NO;
    return umi_exchange_headers(connection, url, method, version, (um_exchange **)request_context);
}

static void on_completed(void *context, struct MHD_Connection *mhd, void **request_context,
                         enum MHD_RequestTerminationCode code)
{
    um_exchange *exchange = *request_context;
    umi_connection *connection;

    (void)context;
    (void)mhd;
    (void)code;
    if (!exchange)
        return;
    connection = exchange->connection;
    umi_exchange_destroy(exchange);
    *request_context = NULL;
    umi_connection_enter(connection, UMI_PHASE_BETWEEN);
}

/* URLs are matched as sent; only the tail of a PREFIX route is decoded, once. */
static size_t keep_escapes(void *context, struct MHD_Connection *mhd, char *text)
{
    (void)context;
    (void)mhd;
    return strlen(text);
}

/* ---- counters ------------------------------------------------------------------------------ */

static const char *const status_classes[UMI_STATUS_CLASSES] = {"2xx", "4xx", "5xx"};

void umi_http_count(um_http *http, const um_route *route, unsigned status)
{
    size_t row = route ? (size_t)(route - http->options.routes) : http->route_count;

    http->requests[row * UMI_STATUS_CLASSES + (status < 400 ? 0 : status < 500 ? 1 : 2)]++;
}

void um_http_counts(const um_http *http, um_http_count_fn visit, void *context)
{
    for (size_t i = 0; i < (http->route_count + 1) * UMI_STATUS_CLASSES; i++) {
        const um_route *route = &http->options.routes[i / UMI_STATUS_CLASSES];
        bool other = i / UMI_STATUS_CLASSES == http->route_count;

        visit(context, other ? "other" : route->handler_name, other ? "other" : route->method,
              status_classes[i % UMI_STATUS_CLASSES], http->requests[i]);
    }
}

void umi_http_reject(um_http *http, const um_route *route, um_http_reject reason)
{
    if (route && (route->flags & UM_ROUTE_GENERATES))
        http->rejected[reason]++;
}

uint64_t um_http_generations(const um_http *http)
{
    return http->generations;
}

uint64_t um_http_rejected(const um_http *http, um_http_reject reason)
{
    UM_ASSERT(reason < UM_HTTP_REJECT_COUNT);
    return http->rejected[reason];
}

const char *um_http_reject_name(um_http_reject reason)
{
    static const char *const names[UM_HTTP_REJECT_COUNT] = {"auth", "loading", "draining", "engine",
                                                            "bad_request"};

    UM_ASSERT(reason < UM_HTTP_REJECT_COUNT);
    return names[reason];
}

/* ---- bodies -------------------------------------------------------------------------------- */

size_t umi_http_body_room(const um_http *http)
{
    return http->options.body_bytes_total_max - http->body_bytes;
}

size_t umi_http_answer_room(const um_http *http)
{
    return http->options.body_bytes_total_max - http->answer_bytes;
}

size_t um_http_body_bytes(const um_http *http)
{
    return http->body_bytes;
}

void um_http_body_freed(um_http *http, size_t bytes)
{
    UM_ASSERT(bytes <= http->body_bytes);
    http->body_bytes -= bytes;
}

/* ---- open ---------------------------------------------------------------------------------- */

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
    return memcmp(&((const struct sockaddr_in6 *)address)->sin6_addr, &in6addr_loopback,
                  sizeof(in6addr_loopback)) == 0;
}

static um_status bind_socket(um_http *http, const struct addrinfo *address, int fd, um_err *err)
{
    union {
        struct sockaddr any;
        struct sockaddr_in ip4;
        struct sockaddr_in6 ip6;
    } bound;
    socklen_t length = sizeof(bound);
    int on = 1;

    memset(&bound, 0, sizeof(bound));
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, SOMAXCONN) != 0 ||
        getsockname(fd, &bound.any, &length) != 0)
        return um_fail(err, UM_E_IO, "cannot listen on %s port %u: %s", http->options.host,
                       http->options.port, strerror(errno));
    http->loopback = is_loopback(&bound.any);
    http->port = ntohs(bound.any.sa_family == AF_INET ? bound.ip4.sin_port : bound.ip6.sin6_port);
    return UM_OK;
}

/* The library could listen by itself, but would not say why it failed. */
static um_status listen_socket(um_http *http, int *out, bool *ipv6, um_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *address = NULL;
    char port[8];
    um_status status;
    int fd, failure;

    snprintf(port, sizeof(port), "%u", http->options.port);
    failure = getaddrinfo(http->options.host, port, &hints, &address);
    if (failure != 0)
        return um_fail(err, UM_E_IO, "cannot listen on %s: %s", http->options.host,
                       gai_strerror(failure));
    fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        status = um_fail(err, UM_E_IO, "socket: %s", strerror(errno));
        goto done;
    }
    status = bind_socket(http, address, fd, err);
    if (status == UM_OK) {
        *out = fd;
        *ipv6 = address->ai_family == AF_INET6;
        fd = -1;
    }
done:
    if (fd >= 0)
        close(fd);
    freeaddrinfo(address);
    return status;
}

static um_status start_daemon(um_http *http, um_err *err)
{
    const um_http_options *options = &http->options;
    bool ipv6 = false;
    int fd = -1;
    um_status status = listen_socket(http, &fd, &ipv6, err);

    if (status != UM_OK)
        return status;
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | (ipv6 ? MHD_USE_IPv6 : MHD_NO_FLAG), 0, NULL,
        NULL, on_request, http, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)options->connections_max, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)options->connections_per_address_max, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)UMI_CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)options->idle_timeout_s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, http, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes,
        NULL, MHD_OPTION_END);
    /* A daemon that fails closes the socket in most of its failures, so nobody else may. */
    return http->daemon ? UM_OK : um_fail(err, UM_E_NOMEM, "libmicrohttpd did not start");
}

static um_status join_loop(um_http *http, um_err *err)
{
    int fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    int result = uv_poll_init(http->loop, &http->poll, fd);

    if (result != 0)
        return um_fail(err, UM_E_IO, "cannot watch the HTTP daemon: %s", uv_strerror(result));
    uv_timer_init(http->loop, &http->timer);
    http->handles = 2;
    http->poll.data = http;
    http->timer.data = http;
    result = uv_poll_start(&http->poll, UV_READABLE, on_daemon_ready);
    UM_ASSERT(result == 0);
    umi_http_kick(http); /* the first run starts to listen */
    return UM_OK;
}

static void destroy(um_http *http)
{
    if (!http)
        return;
    um_mem_free(http->requests);
    um_mem_free(http);
}

um_status um_http_open(uv_loop_t *loop, const um_http_options *options, um_http **out, um_err *err)
{
    um_status status;
    um_http *http = um_mem_zalloc(sizeof(*http));

    *out = NULL;
    if (!http)
        return um_fail(err, UM_E_NOMEM, "http: no memory for %zu bytes", sizeof(*http));
    http->loop = loop;
    http->options = *options;
    while (options->routes[http->route_count].method)
        http->route_count++;
    http->requests = um_mem_calloc((http->route_count + 1) * UMI_STATUS_CLASSES, sizeof(uint64_t));
    if (!http->requests) {
        status = um_fail(err, UM_E_NOMEM, "http: no memory for counters of %zu routes",
                         http->route_count);
        goto done;
    }
    status = start_daemon(http, err);
    if (status != UM_OK)
        goto done;
    status = join_loop(http, err);
    if (status != UM_OK) {
        MHD_stop_daemon(http->daemon);
        goto done;
    }
    *out = http;
    http = NULL;
done:
    destroy(http);
    return status;
}

uint16_t um_http_port(const um_http *http)
{
    return http->port;
}

bool um_http_is_loopback(const um_http *http)
{
    return http->loopback;
}

size_t um_http_exchange_count(const um_http *http)
{
    return http->exchange_count;
}

void um_http_set_keys(um_http *http, const um_http_key *keys, size_t key_count)
{
    http->options.keys = keys;
    http->options.key_count = key_count;
}

/* ---- close --------------------------------------------------------------------------------- */

void um_http_quiesce(um_http *http)
{
    int fd;

    if (http->quiesced)
        return;
    http->quiesced = true;
    fd = MHD_quiesce_daemon(http->daemon);
    if (fd >= 0)
        close(fd);
    for (umi_connection *connection = http->connections; connection; connection = connection->next)
        if (connection->exchange)
            connection->exchange->close = true;
        else if (connection->phase == UMI_PHASE_BETWEEN)
            umi_connection_shutdown(connection);
}

void umi_http_handle_closed(um_http *http)
{
    UM_ASSERT(http->handles > 0);
    if (--http->handles > 0)
        return;
    if (http->closed)
        http->closed(http->closed_context);
    destroy(http);
}

static void on_own_handle_closed(uv_handle_t *handle)
{
    umi_http_handle_closed(handle->data);
}

/* Every suspended connection is resumed first: the library must not be stopped with one. Stopping
 * it ends all requests and connections, through the callbacks above. */
static void close_now(um_http *http)
{
    uv_poll_stop(&http->poll); /* before the library closes its descriptor */
    for (umi_connection *connection = http->connections; connection; connection = connection->next)
        if (connection->exchange)
            umi_exchange_cut(connection->exchange);
    MHD_stop_daemon(http->daemon);
    http->daemon = NULL;
    UM_ASSERT(!http->connections);
    uv_close((uv_handle_t *)&http->poll, on_own_handle_closed);
    uv_close((uv_handle_t *)&http->timer, on_own_handle_closed);
}

void um_http_close(um_http *http, void (*closed)(void *context), void *context)
{
    UM_ASSERT(!http->closing);
    http->closed = closed;
    http->closed_context = context;
    http->closing = true;
    umi_http_kick(http); /* from the loop: the caller may be inside a callback of the library */
}
