/*
 * `unmask health`: is the server of these options ready? For images, which have no curl, and for
 * probes. One GET /health, bounded in time from connect to the last byte.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "server/commands.h"

#define SECONDS_MAX 4 /* below the timeouts that probes come with, so that the reason is told */
#define ANSWER_BYTES_MAX 4096
#define URL_BYTES 320

typedef struct probe {
    char url[URL_BYTES];
    int fd;
    uint64_t deadline_ns;
    char answer[ANSWER_BYTES_MAX + 1]; /* what came, NUL-terminated */
    size_t length;
} probe;

/* The address that reaches a server listening on `host`: a wildcard is no address to connect to. */
static const char *reachable(const char *host)
{
    if (strcmp(host, "0.0.0.0") == 0 || host[0] == '\0')
        return "127.0.0.1";
    return strcmp(host, "::") == 0 ? "::1" : host;
}

/* UM_OK when the socket is ready for `events` or has failed: the next call on it tells which. */
static um_status wait_for(const probe *p, short events, um_err *err)
{
    struct pollfd poll_fd = {.fd = p->fd, .events = events};
    uint64_t now;
    int ready;

    do {
        now = um_clock_now_ns(um_clock_system());
        if (now >= p->deadline_ns)
            return um_fail(err, UM_E_IO, "%s: no answer within %d s", p->url, SECONDS_MAX);
        ready = poll(&poll_fd, 1, (int)((p->deadline_ns - now) / 1000000 + 1));
    } while (ready == 0 || (ready < 0 && errno == EINTR));
    return ready > 0 ? UM_OK : um_fail(err, UM_E_IO, "%s: poll: %s", p->url, strerror(errno));
}

static um_status fail_errno(const probe *p, int number, um_err *err)
{
    return um_fail(err, UM_E_IO, "%s: %s", p->url, strerror(number));
}

static um_status connect_to(probe *p, const struct addrinfo *address, um_err *err)
{
    socklen_t size = sizeof(int);
    um_status status;
    int failure = 0;

    p->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0)
        return fail_errno(p, errno, err);
    if (connect(p->fd, address->ai_addr, address->ai_addrlen) == 0)
        return UM_OK;
    if (errno != EINPROGRESS)
        return fail_errno(p, errno, err);
    status = wait_for(p, POLLOUT, err);
    if (status != UM_OK)
        return status;
    if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0)
        failure = errno;
    return failure ? fail_errno(p, failure, err) : UM_OK;
}

/* Short enough for any socket's buffer, so one send takes it. */
static um_status send_request(const probe *p, um_err *err)
{
    static const char request[] = "GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n";

    if (send(p->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1)
        return fail_errno(p, errno, err);
    return UM_OK;
}

/* Reads up to the end of the connection, or as much as is kept. */
static um_status read_answer(probe *p, um_err *err)
{
    um_status status = UM_OK;
    ssize_t got = 1;

    while (got != 0 && p->length < ANSWER_BYTES_MAX) {
        status = wait_for(p, POLLIN, err);
        if (status != UM_OK)
            return status;
        got = recv(p->fd, p->answer + p->length, ANSWER_BYTES_MAX - p->length, 0);
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return fail_errno(p, errno, err);
        p->length += got > 0 ? (size_t)got : 0;
    }
    p->answer[p->length] = '\0';
    return UM_OK;
}

/* HTTP/1.x 200 is ready; anything else is told with its status line and body. */
static um_status judge(const probe *p, um_err *err)
{
    const char *status_line = p->answer, *body = strstr(p->answer, "\r\n\r\n");

    if (strncmp(status_line, "HTTP/1.", 7) != 0)
        return um_fail(err, UM_E_IO, "%s: no HTTP answer", p->url);
    if (strncmp(status_line + 8, " 200 ", 5) == 0)
        return UM_OK;
    return um_fail(err, UM_E_IO, "%s: %.*s: %.300s", p->url, (int)strcspn(status_line, "\r\n"),
                   status_line, body ? body + 4 : "");
}

static um_status ask(probe *p, const struct addrinfo *address, um_err *err)
{
    um_status status = connect_to(p, address, err);

    if (status == UM_OK)
        status = send_request(p, err);
    if (status == UM_OK)
        status = read_answer(p, err);
    if (p->fd >= 0)
        close(p->fd);
    return status == UM_OK ? judge(p, err) : status;
}

um_status um_cmd_health(const um_config *config, um_err *err)
{
    probe p = {.fd = -1,
               .deadline_ns =
                   um_clock_now_ns(um_clock_system()) + SECONDS_MAX * UINT64_C(1000000000)};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *address = NULL;
    const char *host = reachable(config->host);
    um_status status;
    char port[8];
    int failure;

    if (config->arguments.count > 0)
        return um_fail(err, UM_E_VALUE, "health takes options only, not \"%.64s\"",
                       config->arguments.items[0]);
    snprintf(port, sizeof(port), "%d", (int)config->port);
    snprintf(p.url, sizeof(p.url),
             strchr(host, ':') ? "http://[%.255s]:%s/health" : "http://%.255s:%s/health", host,
             port);
    failure = getaddrinfo(host, port, &hints, &address);
    if (failure != 0)
        return um_fail(err, UM_E_IO, "%s: %s", p.url, gai_strerror(failure));
    status = ask(&p, address, err);
    freeaddrinfo(address);
    if (status == UM_OK)
        puts("ready");
    return status;
}
