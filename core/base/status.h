/*
 * Result codes and error messages: one convention for the whole tree.
 *
 * UM_OK is 0; failures are negative; positive values are ordinary other outcomes (empty, again).
 * A function that can fail returns um_status and takes `um_err *err` last (may be NULL). The
 * message says what was attempted, the value and the bound; `field` names the request field or
 * option at fault ("diffusion.steps") and is empty where no field is.
 *
 * The class of an error is decided where it is born. Only server/http_error.c knows HTTP numbers.
 *
 * Usage:
 *     if (steps < 1)
 *         return um_fail_field(err, UM_E_INT_BELOW_MIN, "diffusion.steps",
 *                              "diffusion.steps is %d; the minimum is 1", steps);
 */
#ifndef UM_BASE_STATUS_H
#define UM_BASE_STATUS_H

#include "core/base/check.h"

/* X(name, value, text) */
#define UM_STATUS_MAP(X)                                                                           \
    X(OK, 0, "ok")                                                                                 \
    X(EMPTY, 1, "nothing there")                                                                   \
    X(AGAIN, 2, "not yet")                                                                         \
    /* the caller's fault: one code per kind, as clients are told */                               \
    X(E_JSON, -1, "invalid JSON")                                                                  \
    X(E_MISSING, -2, "missing required parameter")                                                 \
    X(E_TYPE, -3, "invalid type")                                                                  \
    X(E_VALUE, -4, "invalid value")                                                                \
    X(E_EMPTY_ARRAY, -5, "empty array")                                                            \
    X(E_ARRAY_ABOVE_MAX, -6, "array above maximum length")                                         \
    X(E_STRING_ABOVE_MAX, -7, "string above maximum length")                                       \
    X(E_INT_BELOW_MIN, -8, "integer below minimum")                                                \
    X(E_INT_ABOVE_MAX, -9, "integer above maximum")                                                \
    X(E_DEC_BELOW_MIN, -10, "number below minimum")                                                \
    X(E_DEC_ABOVE_MAX, -11, "number above maximum")                                                \
    X(E_UNSUPPORTED_PARAM, -12, "unsupported parameter")                                           \
    X(E_UNSUPPORTED_VALUE, -13, "unsupported value")                                               \
    X(E_UNKNOWN_PARAM, -14, "unknown parameter")                                                   \
    X(E_CONFLICT, -15, "conflicting parameters")                                                   \
    X(E_CONTEXT_LENGTH, -16, "context length exceeded")                                            \
    X(E_MODEL_NOT_FOUND, -17, "model not found")                                                   \
    /* no room, or not now */                                                                      \
    X(E_QUEUE_FULL, -30, "queue full")                                                             \
    X(E_QUEUE_TIMEOUT, -31, "waited too long in the queue")                                        \
    X(E_LOADING, -32, "model is loading")                                                          \
    X(E_DRAINING, -33, "server is draining")                                                       \
    X(E_OVERLOADED, -34, "out of memory for requests")                                             \
    X(E_TIMEOUT, -35, "generation took too long")                                                  \
    X(E_CANCELLED, -36, "cancelled")                                                               \
    X(E_SHUTDOWN, -37, "server is shutting down")                                                  \
    /* ours, the machine's, or the checkpoint's */                                                 \
    X(E_NOMEM, -50, "out of memory")                                                               \
    X(E_IO, -51, "input/output error")                                                             \
    X(E_NOT_FOUND, -52, "not found")                                                               \
    X(E_FORMAT, -53, "malformed file")                                                             \
    X(E_UNSUPPORTED, -54, "not supported")                                                         \
    X(E_DEVICE, -55, "device failure")                                                             \
    X(E_ENGINE, -56, "engine failure")                                                             \
    X(E_INTERNAL, -57, "internal error")

typedef enum um_status {
#define UM_STATUS_ENUM(name, value, text) UM_##name = (value),
    UM_STATUS_MAP(UM_STATUS_ENUM)
#undef UM_STATUS_ENUM
} um_status;

#define UM_ERR_MESSAGE_BYTES 512
#define UM_ERR_FIELD_BYTES 96

/* Storage is the caller's; zero-initialise. Written only on failure. */
typedef struct um_err {
    um_status status;
    int line;
    const char *file; /* source file, static */
    /* NUL-terminated and cut to fit. They may quote a client or a file: what is not printable UTF-8
     * is replaced where they are written, so that they can go to terminals, logs and JSON as they
     * are. */
    char field[UM_ERR_FIELD_BYTES]; /* "" when no field is at fault */
    char message[UM_ERR_MESSAGE_BYTES];
} um_err;

/* "UM_E_NOMEM" and "out of memory"; "UM_?" for an unknown code. Static strings. */
const char *um_status_name(um_status status);
const char *um_status_text(um_status status);

/* Fill `err` (if not NULL) and return `status`, so that `return um_fail(...)` reads well. */
#define um_fail(err, status, ...) um_fail_at((err), (status), __FILE__, __LINE__, "", __VA_ARGS__)
#define um_fail_field(err, status, field, ...)                                                     \
    um_fail_at((err), (status), __FILE__, __LINE__, (field), __VA_ARGS__)

um_status um_fail_at(um_err *err, um_status status, const char *file, int line, const char *field,
                     const char *format, ...) UM_PRINTF(6, 7);

/* Put "prefix: " before a message already in `err` (file name, tensor name); returns its status. */
um_status um_err_prefix(um_err *err, um_status status, const char *format, ...) UM_PRINTF(3, 4);

#endif
