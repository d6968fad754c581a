/* One bounded GET. Plain sockets: a library for one request line would be longer than this file. */
#include "server/http_get.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/clock.h"

#define CHUNK_BYTES 16384

typedef struct call {
    const um_http_address *address;
    const um_http_get_options *options;
    int fd; /* -1: none */
    uint64_t deadline_ns;
} call;

/* ---- addresses ------------------------------------------------------------------------------ */

um_status um_http_address_make(const char *host, int64_t port, um_http_address *out, um_err *err)
{
    if (strcmp(host, "0.0.0.0") == 0 || !*host)
        host = "127.0.0.1";
    if (strcmp(host, "::") == 0)
        host = "::1";
    if (strlen(host) >= sizeof(out->host))
        return um_fail(err, UM_E_VALUE, "the host \"%.32s...\" is longer than %zu bytes", host,
                       sizeof(out->host) - 1);
    snprintf(out->host, sizeof(out->host), "%s", host);
    snprintf(out->port, sizeof(out->port), "%d", (int)port);
    snprintf(out->text, sizeof(out->text), strchr(host, ':') ? "http://[%s]:%s" : "http://%s:%s",
             out->host, out->port);
    return UM_OK;
}

um_status um_http_address_parse(const char *url, um_http_address *out, um_err *err)
{
    static const char scheme[] = "http://";
    const char *at = url + strlen(scheme), *end, *port;
    char host[sizeof(out->host)], *rest;
    bool bracketed;
    long number = 80;

    if (strncmp(url, scheme, strlen(scheme)) != 0)
        return um_fail(err, UM_E_VALUE, "\"%.128s\" does not begin with %s", url, scheme);
    bracketed = *at == '[';
    at += bracketed;
    end = at + strcspn(at, bracketed ? "]" : ":/");
    port = end + (bracketed && *end == ']');
    if (end == at || (size_t)(end - at) >= sizeof(host))
        return um_fail(err, UM_E_VALUE, "\"%.128s\" names no host, or one that is too long", url);
    snprintf(host, sizeof(host), "%.*s", (int)(end - at), at);
    if (*port == ':') {
        number = strtol(port + 1, &rest, 10);
        port = rest;
    }
    if (number < 1 || number > 65535 || (*port && strcmp(port, "/") != 0))
        return um_fail(err, UM_E_VALUE, "\"%.128s\": expected http://HOST[:PORT], port 1 to 65535",
                       url);
    return um_http_address_make(host, number, out, err);
}

/* ---- the call ------------------------------------------------------------------------------- */

static um_status fail_errno(const call *c, int number, um_err *err)
{
    return um_fail(err, UM_E_IO, "%s: %s", c->address->text, strerror(number));
}

/* UM_OK when the socket is ready for `events` or has failed: the next call on it tells which. */
static um_status wait_for(const call *c, short events, um_err *err)
{
    struct pollfd poll_fd = {.fd = c->fd, .events = events};
    uint64_t now;
    int ready;

    do {
        now = um_clock_now_ns(um_clock_system());
        if (now >= c->deadline_ns)
            return um_fail(err, UM_E_IO, "%s: no answer within %u s", c->address->text,
                           c->options->seconds_max);
        ready = poll(&poll_fd, 1, (int)((c->deadline_ns - now) / 1000000 + 1));
    } while (ready == 0 || (ready < 0 && errno == EINTR));
    return ready > 0 ? UM_OK : fail_errno(c, errno, err);
}

static um_status connect_to(call *c, const struct addrinfo *to, um_err *err)
{
    socklen_t size = sizeof(int);
    um_status status;
    int failure = 0;

    c->fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return fail_errno(c, errno, err);
    if (connect(c->fd, to->ai_addr, to->ai_addrlen) == 0)
        return UM_OK;
    if (errno != EINPROGRESS)
        return fail_errno(c, errno, err);
    status = wait_for(c, POLLOUT, err);
    if (status != UM_OK)
        return status;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0)
        failure = errno;
    return failure ? fail_errno(c, failure, err) : UM_OK;
}

static uint64_t count_addresses(const struct addrinfo *to)
{
    uint64_t count = 0;

    for (; to; to = to->ai_next)
        count++;
    return count;
}

/* The first of the addresses that takes the connection: "localhost" is ::1 too, where nobody may be.
 * Each gets its share of the time that is left; the error is the first one's. */
static um_status connect_to_any(call *c, const struct addrinfo *to, um_err *err)
{
    uint64_t deadline_ns = c->deadline_ns;
    um_status status = UM_OK;

    for (const struct addrinfo *at = to; at; at = at->ai_next) {
        uint64_t now = um_clock_now_ns(um_clock_system());
        um_err other = {0};

        if (c->fd >= 0)
            close(c->fd);
        c->deadline_ns =
            now < deadline_ns ? now + (deadline_ns - now) / count_addresses(at) : deadline_ns;
        status = connect_to(c, at, at == to ? err : &other);
        if (status == UM_OK)
            break;
    }
    c->deadline_ns = deadline_ns;
    return status;
}

/* Short enough for any socket's buffer, so one send takes it. */
static um_status send_request(const call *c, um_err *err)
{
    const char *key = c->options->key;
    um_buf request = {0};
    um_status status = UM_OK;

    um_buf_printf(&request, "GET %s HTTP/1.0\r\nHost: localhost\r\n", c->options->path);
    if (key)
        um_buf_printf(&request, "Authorization: Bearer %s\r\n", key);
    um_buf_text(&request, "\r\n");
    if (um_buf_failed(&request))
        status = um_fail(err, UM_E_NOMEM, "no memory for a request");
    else if (send(c->fd, request.data, request.length, MSG_NOSIGNAL) != (ssize_t)request.length)
        status = fail_errno(c, errno, err);
    um_buf_deinit(&request);
    return status;
}

/* Everything up to the end of the connection. */
static um_status read_answer(const call *c, um_buf *out, um_err *err)
{
    char chunk[CHUNK_BYTES];

    for (;;) {
        um_status status = wait_for(c, POLLIN, err);
        ssize_t count;

        if (status != UM_OK)
            return status;
        count = recv(c->fd, chunk, sizeof(chunk), 0);
        if (count == 0)
            return UM_OK;
        if (count < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (count < 0)
            return fail_errno(c, errno, err);
        um_buf_append(out, chunk, (size_t)count);
        if (um_buf_failed(out) || out->length > c->options->bytes_max)
            return um_fail(err, UM_E_IO, "%s: the answer is longer than %zu bytes",
                           c->address->text, c->options->bytes_max);
    }
}

/* Splits status line and headers off. */
static um_status take_head(const call *c, um_buf *answer, unsigned *http_status, um_err *err)
{
    const char *text = um_buf_view(answer);
    const char *body = strstr(text, "\r\n\r\n");

    if (!body || sscanf(text, "HTTP/1.%*1[01] %3u", http_status) != 1)
        return um_fail(err, UM_E_IO, "%s: what answers there does not speak HTTP",
                       c->address->text);
    um_buf_consume(answer, (size_t)(body + 4 - text));
    return UM_OK;
}

um_status um_http_get(const um_http_address *address, const um_http_get_options *options,
                      unsigned *http_status, um_buf *body, um_err *err)
{
    call c = {.address = address,
              .options = options,
              .fd = -1,
              .deadline_ns =
                  um_clock_now_ns(um_clock_system()) + options->seconds_max * UINT64_C(1000000000)};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *to = NULL;
    int failure = getaddrinfo(address->host, address->port, &hints, &to);
    um_status status;

    um_buf_clear(body);
    if (failure != 0)
        return um_fail(err, UM_E_IO, "%s: %s", address->text, gai_strerror(failure));
    status = connect_to_any(&c, to, err);
    if (status == UM_OK)
        status = send_request(&c, err);
    if (status == UM_OK)
        status = read_answer(&c, body, err);
    if (status == UM_OK)
        status = take_head(&c, body, http_status, err);
    if (c.fd >= 0)
        close(c.fd);
    freeaddrinfo(to);
    return status;
}
