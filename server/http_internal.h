/*
 * Shared by the files of the HTTP transport; nobody else includes it.
 *
 *   http.c           the daemon inside the loop, counters, open and close
 *   http_exchange.c  one request and its response
 *   http_access.c    may this request pass: URL, method, host, key, gate, media type, size
 *   http_limits.c    one connection: its deadlines and the watch for clients that leave
 *
 * Calls go downward in this list or through the functions below. Everything runs on the loop's
 * thread.
 */
#ifndef UM_SERVER_HTTP_INTERNAL_H
#define UM_SERVER_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <stdio.h>

#include "server/http.h"

#define UMI_JSON "application/json"
#define UMI_ID_BYTES 129           /* of request ids, with the NUL */
#define UMI_STATUS_CLASSES 3       /* 2xx, 4xx, 5xx */
#define UMI_HEADER_BYTES_MAX 65536 /* request line and headers; more is 431 */
#define UMI_CONNECTION_BYTES ((size_t)2 * UMI_HEADER_BYTES_MAX) /* the library's, for one */

/* What a connection is doing; decides what its timer and its watch mean. */
typedef enum umi_phase {
    UMI_PHASE_HEADERS,   /* deadline for the end of the headers */
    UMI_PHASE_BODY,      /* deadline for the end of the body */
    UMI_PHASE_WAITING,   /* suspended for the handler; watched for a client that leaves */
    UMI_PHASE_IDLE,      /* suspended stream, all written is sent; timer: keep-alive comment */
    UMI_PHASE_SENDING,   /* bytes are going out; timer: does the client take them */
    UMI_PHASE_LEAVING,   /* the client closed before its request was whole */
    UMI_PHASE_LINGERING, /* answered before the body was read; input is thrown away */
    UMI_PHASE_BETWEEN,   /* kept alive; watched for the first byte of the next request */
    UMI_PHASE_CLOSED,
} umi_phase;

typedef struct umi_connection {
    um_http *http;
    struct MHD_Connection *mhd;
    int fd; /* the library's; never closed here */
    umi_phase phase;
    um_exchange *exchange; /* NULL between requests */
    uv_timer_t timer;
    uv_poll_t watch;
    unsigned handles;     /* of the two above, not yet closed */
    int socket_bytes;     /* not acknowledged by the client's machine, at the last look */
    uint64_t progress_at; /* loop milliseconds when that number last changed */
    char *first_line; /* of the request, in the library's memory, until a stream is first silent */
    struct umi_connection *prev, *next; /* http->connections */
} umi_connection;

typedef enum umi_state {
    UMI_READING,   /* headers seen, body not complete */
    UMI_OPEN,      /* the handler's, not answered */
    UMI_STREAMING, /* the handler's, stream begun */
    UMI_ANSWERED,  /* nobody's: the rest of the answer goes out by itself */
} umi_state;

struct um_exchange {
    um_http *http;
    umi_connection *connection;
    const um_route *route; /* NULL: no such URL */
    bool head, post;
    bool old; /* HTTP/1.0: a stream is not chunked */
    char request_id[UMI_ID_BYTES];
    char client_id[UMI_ID_BYTES]; /* theirs, for the log */
    char key_name[64];
    uint64_t arrived_ns;
    um_buf tail; /* decoded rest of a PREFIX path */
    um_buf body;

    umi_state state;
    bool stream;       /* the answer is a stream */
    bool in_handler;   /* inside route->handler */
    bool queued;       /* the library has the response */
    bool suspended;    /* inside the library */
    bool cut;          /* no (more) answer: the connection is to be closed */
    bool ended;        /* the stream is complete once `answer` is sent */
    bool close;        /* the answer closes the connection */
    bool retry_hinted; /* um_exchange_retry_after was called */
    unsigned status;
    um_buf headers;      /* name NUL value NUL ... */
    um_buf answer;       /* whole body, or stream text from answer_sent on */
    size_t answer_sent;  /* streams only */
    size_t answer_bytes; /* counted in http->answer_bytes until the exchange ends */
    char stream_tail[2]; /* last two bytes written */

    void *context;
    void (*on_gone)(void *context);
};

struct um_http {
    uv_loop_t *loop;
    um_http_options options; /* borrowed strings, see http.h */
    bool loopback;
    uint16_t port;
    size_t route_count;

    struct MHD_Daemon *daemon;
    uv_poll_t poll;   /* the daemon's epoll descriptor */
    uv_timer_t timer; /* the next MHD_run */
    unsigned handles; /* of all kinds, not yet closed */
    bool running;     /* inside MHD_run */
    bool run_again;   /* MHD_run is due whatever MHD_get_timeout says */
    bool quiesced, closing;
    umi_connection *connections;
    void (*closed)(void *context);
    void *closed_context;

    size_t exchange_count;
    size_t body_bytes;   /* of all bodies: coming in, complete, or taken and not yet freed */
    size_t answer_bytes; /* of all whole answers to POSTs that are not sent to their end */
    uint64_t *requests;  /* [route_count + 1][UMI_STATUS_CLASSES]; the last row: no route */
    uint64_t generations;
    uint64_t rejected[UM_HTTP_REJECT_COUNT];
};

/* ---- http.c -------------------------------------------------------------------------------- */

/* MHD_run as soon as the loop turns. */
void umi_http_kick(um_http *http);
void umi_http_handle_closed(um_http *http);
void umi_http_count(um_http *http, const um_route *route, unsigned status);
void umi_http_reject(um_http *http, const um_route *route, um_http_reject reason);
/* Bytes that bodies may still take. */
size_t umi_http_body_room(const um_http *http);
size_t umi_http_answer_room(const um_http *http);

/* ---- http_exchange.c ----------------------------------------------------------------------- */

/* The three calls of the library for one request; MHD_NO closes the connection. */
enum MHD_Result umi_exchange_headers(umi_connection *connection, const char *url,
                                     const char *method, const char *version, um_exchange **out);
enum MHD_Result umi_exchange_upload(um_exchange *exchange, const char *bytes, size_t length);
enum MHD_Result umi_exchange_complete(um_exchange *exchange);
/* The library is done with the request; tells the handler if it still waits. Frees it. */
void umi_exchange_destroy(um_exchange *exchange);

/* An answer of the transport itself, sent at the next chance. */
void umi_exchange_refuse(um_exchange *exchange, unsigned http_status, const char *code,
                         const char *message);
void umi_exchange_no_content(um_exchange *exchange);
void umi_exchange_too_large(um_exchange *exchange);
/* 503: no room for the body, or for the part of it that came. */
void umi_exchange_no_room(um_exchange *exchange);
/* The client left or the server ends: tell the handler, let the library close. */
void umi_exchange_cut(um_exchange *exchange);
/* The body did not come in time. */
void umi_exchange_body_late(um_exchange *exchange);
/* Nothing was sent for a while. */
void umi_exchange_ping(um_exchange *exchange);
const char *umi_exchange_request_header(const um_exchange *exchange, const char *name);

/* ---- http_access.c ------------------------------------------------------------------------- */

/* Finds the route and checks everything that the headers tell. False: an answer was given. */
bool umi_access_check(um_exchange *exchange, const char *url, const char *method);
/* Bytes announced by Content-Length, 0 without one. */
uint64_t umi_access_announced(const um_exchange *exchange);
bool umi_access_has_body(const um_exchange *exchange);

/* ---- http_limits.c ------------------------------------------------------------------------- */

/* NULL when memory or handles are out. */
umi_connection *umi_connection_create(um_http *http, struct MHD_Connection *mhd, int fd);
/* The library is about to close the socket. Frees the connection once its handles are closed. */
void umi_connection_close(umi_connection *connection);
void umi_connection_enter(umi_connection *connection, umi_phase phase);
/* The same for UMI_PHASE_BODY, whose time grows with the announced bytes. */
void umi_connection_enter_body(umi_connection *connection, uint64_t bytes);
/* Both directions, so that the library notices; the descriptor stays its own. */
void umi_connection_shutdown(umi_connection *connection);

#endif
