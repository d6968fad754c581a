/*
 * um_status -> HTTP status, error type and error code: the one table (http_error.c). Also builds
 * the error body, which always has the four keys message, type, param and code.
 */
#ifndef UM_SERVER_HTTP_ERROR_H
#define UM_SERVER_HTTP_ERROR_H

#include "core/base/buf.h"
#include "core/base/status.h"

typedef struct um_http_error {
    um_status status;
    unsigned http_status;
    const char *type; /* "invalid_request_error" */
    const char *code; /* "integer_above_max_value" */
} um_http_error;

/* Never NULL: unknown statuses are 500 internal_error. */
const um_http_error *um_http_error_find(um_status status);
/* {"error":{"message","type","param","code"}} appended to `out`. */
void um_http_error_body(const um_err *err, um_buf *out);
/* The same for errors that exist only in HTTP (unknown_url, method_not_allowed, ...). */
void um_http_error_custom(const char *message, const char *type, const char *param,
                          const char *code, um_buf *out);

#endif
