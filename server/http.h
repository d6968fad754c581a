/*
 * HTTP transport: libmicrohttpd's epoll descriptor inside the libuv loop. Owns connections,
 * limits, deadlines, keys, hosts and CORS; knows routes but nothing of their meaning.
 *
 * A route's handler gets an exchange (one request and its response) once the body is complete, and
 * then does exactly one of:
 *   um_exchange_reply()                      answer now;
 *   um_exchange_reply() later                the connection is suspended in between;
 *   um_exchange_stream_begin(), _write()*, _end()   a stream of bytes (SSE).
 * If the client leaves first, on_gone is called once and the exchange must not be used after it.
 *
 * Only the loop's thread calls anything here (libmicrohttpd is not called from elsewhere).
 */
#ifndef UM_SERVER_HTTP_H
#define UM_SERVER_HTTP_H

#include <uv.h>

#include "core/base/buf.h"
#include "core/base/status.h"

typedef struct um_http um_http;
typedef struct um_exchange um_exchange;

/* The exchange is ready; `context` is um_http_options.context. */
typedef void (*um_handler_fn)(void *context, um_exchange *exchange);

typedef enum um_route_flags {
    UM_ROUTE_OPEN = 1,      /* needs no API key */
    UM_ROUTE_PREFIX = 2,    /* matches any path that begins with `path`; the rest is the tail */
    UM_ROUTE_READY = 4,     /* refused with 503 while loading or draining */
    UM_ROUTE_GENERATES = 8, /* likewise, and what is refused is counted by reason */
} um_route_flags;

typedef struct um_route {
    const char *method; /* "GET" (also answers HEAD) or "POST" */
    const char *path;
    const char *handler_name; /* of http_requests_total and logs: the path, its tail as {id} */
    unsigned flags;
    um_handler_fn handler;
} um_route;

/* 503 gate for UM_ROUTE_READY and UM_ROUTE_GENERATES: UM_OK, or UM_E_LOADING / UM_E_DRAINING / UM_E_ENGINE. */
typedef um_status (*um_gate_fn)(void *context, um_err *err);

typedef struct um_http_key {
    char name[64];       /* for logs and metrics */
    uint8_t padded[256]; /* zero-padded key, compared in constant time */
} um_http_key;

typedef struct um_http_options {
    const char *host;
    uint16_t port;          /* 0: any free one; see um_http_port */
    const um_route *routes; /* ends with method NULL; static */
    void *context;
    um_gate_fn gate;
    size_t body_bytes_max;                /* --max-body */
    size_t body_bytes_total_max;          /* --max-body-total, of all requests together; and of all
                                             whole answers */
    uint32_t connections_max;             /* --max-connections */
    uint32_t connections_per_address_max; /* 0: no limit */
    uint32_t idle_timeout_s;              /* keep-alive, 75 */
    uint32_t header_timeout_ms;           /* 30 000, from connect or a later request's first byte */
    uint32_t body_timeout_ms;             /* 30 000 + 1 s per 64 KiB announced */
    uint32_t reader_timeout_ms;           /* a stream reader that takes no byte, 30 000 */
    uint32_t ping_interval_ms;            /* SSE keep-alive comment, 10 000; 0: off */
    const um_http_key *keys; /* [key_count], borrowed; key_count 0: any or no key passes */
    size_t key_count;
    bool metrics_auth;               /* /metrics needs a key too */
    const char *const *cors_origins; /* [cors_origin_count]; "*" = any */
    size_t cors_origin_count;
    const char *const *allowed_hosts; /* beside localhost, 127.0.0.1, [::1] on a loopback bind */
    size_t allowed_host_count;
} um_http_options;

um_status um_http_open(uv_loop_t *loop, const um_http_options *options, um_http **out, um_err *err);
uint16_t um_http_port(const um_http *http);
bool um_http_is_loopback(const um_http *http); /* only this machine can reach it */
/* Stop accepting; open exchanges go on, their answers close the connection. */
void um_http_quiesce(um_http *http);
size_t um_http_exchange_count(const um_http *http); /* begun and not yet completed */
size_t um_http_body_bytes(const um_http *http);     /* of which body_bytes_total_max is the bound */
/* Ends everything (open streams are cut), closes all handles, then calls `closed` from the loop. */
void um_http_close(um_http *http, void (*closed)(void *context), void *context);
/* Replaces the key list (SIGHUP). */
void um_http_set_keys(um_http *http, const um_http_key *keys, size_t key_count);

/* ---- one exchange -------------------------------------------------------------------------- */

const char *um_exchange_method(const um_exchange *exchange); /* "GET", "POST"; HEAD counts as GET */
const char *
um_exchange_tail(const um_exchange *exchange); /* percent-decoded rest of a PREFIX path */
const char *um_exchange_body(const um_exchange *exchange, size_t *length);
/* The body becomes the caller's, to be freed with um_buf_deinit; the exchange has none any more. Its
 * bytes count for body_bytes_total_max until um_http_body_freed. */
um_buf um_exchange_take_body(um_exchange *exchange);
void um_http_body_freed(um_http *http, size_t bytes);
const char *um_exchange_request_id(const um_exchange *exchange); /* x-request-id */
const char *um_exchange_key_name(const um_exchange *exchange);   /* "" without a key */

/* The handler's own object, and what to call when the client leaves before the answer is out. */
void um_exchange_set_context(um_exchange *exchange, void *context, void (*on_gone)(void *context));

/* Extra response header; before the reply or stream begins. Copied; control characters in the value
 * become '?'; an empty value makes no header. */
void um_exchange_header(um_exchange *exchange, const char *name, const char *value);
/* Retry-After (whole seconds, 1 to 30) and retry-after-ms for an answer that follows. */
void um_exchange_retry_after(um_exchange *exchange, uint32_t milliseconds);

/* The whole answer. Body is copied. After it the exchange is no longer the handler's. A POST whose
 * answer has no room beside all those that clients have not read yet is answered with 503. */
void um_exchange_reply(um_exchange *exchange, unsigned http_status, const char *content_type,
                       const char *body, size_t length);
/* The standard error body for `err`; http_error.c decides status, type and code. A 429 or 503 without
 * um_exchange_retry_after says one second; a 504 says x-should-retry: false. */
void um_exchange_reply_error(um_exchange *exchange, const um_err *err);

/* SSE: 200 with the headers of the API, then what the handler writes (nothing of its own but the
 * keep-alive comment after silence, and that only where the last write ended an event). Text waits in
 * the exchange's buffer until the client takes it; um_exchange_unsent tells how much. */
void um_exchange_stream_begin(um_exchange *exchange);
void um_exchange_stream_write(um_exchange *exchange, const char *bytes, size_t length);
size_t um_exchange_unsent(const um_exchange *exchange);
void um_exchange_stream_end(um_exchange *exchange);   /* clean end once all is sent */
void um_exchange_stream_abort(um_exchange *exchange); /* drop without the terminating chunk */

/* Counters for /metrics: http_requests_total{handler,method,status}. Visits every series. */
typedef void (*um_http_count_fn)(void *context, const char *handler, const char *method,
                                 const char *status_class, uint64_t count);
void um_http_counts(const um_http *http, um_http_count_fn visit, void *context);
/* Requests to UM_ROUTE_GENERATES routes that ended before their handler saw them. */
typedef enum um_http_reject {
    UM_HTTP_REJECT_AUTH,        /* "auth": no key, wrong key, host not allowed */
    UM_HTTP_REJECT_LOADING,     /* "loading" */
    UM_HTTP_REJECT_DRAINING,    /* "draining" */
    UM_HTTP_REJECT_ENGINE,      /* "engine": it is dead, or there is no memory */
    UM_HTTP_REJECT_BAD_REQUEST, /* "bad_request": media type, size, too slow, client left */
    UM_HTTP_REJECT_COUNT,
} um_http_reject;

/* Requests to UM_ROUTE_GENERATES routes, counted as they come; each then ends as one of the rejected or
 * in its handler's hands. */
uint64_t um_http_generations(const um_http *http);
const char *um_http_reject_name(um_http_reject reason);
uint64_t um_http_rejected(const um_http *http, um_http_reject reason);

#endif
