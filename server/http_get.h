/*
 * One GET to a server of ours, for the commands that ask a running one: HTTP/1.0, no TLS, bounded in
 * time from connect to the last byte, and in size.
 *
 * Blocks its thread; no state.
 */
#ifndef UM_SERVER_HTTP_GET_H
#define UM_SERVER_HTTP_GET_H

#include "core/base/buf.h"
#include "core/base/status.h"

typedef struct um_http_address {
    char host[256]; /* a name or an address, without brackets */
    char port[8];
    char text[320]; /* "http://host:port", for messages */
} um_http_address;

/* A listening address as one to connect to: a wildcard becomes loopback. UM_E_VALUE: too long. */
um_status um_http_address_make(const char *host, int64_t port, um_http_address *out, um_err *err);
/* "http://host[:port][/]", port 80 where none is given. UM_E_VALUE. */
um_status um_http_address_parse(const char *url, um_http_address *out, um_err *err);

typedef struct um_http_get_options {
    const char *path; /* with its leading slash */
    const char *key;  /* sent as a bearer token; NULL: none */
    uint32_t seconds_max;
    size_t bytes_max; /* of the answer; what is longer is UM_E_IO */
} um_http_get_options;

/* `body` is cleared first. UM_E_IO names the address and what went wrong; any HTTP status is UM_OK. */
um_status um_http_get(const um_http_address *address, const um_http_get_options *options,
                      unsigned *http_status, um_buf *body, um_err *err);

#endif
