#include "core/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/utf8.h"

static const struct {
    um_status status;
    const char *name;
    const char *text;
} status_table[] = {
#define UM_STATUS_ROW(name, value, text) {UM_##name, "UM_" #name, text},
    UM_STATUS_MAP(UM_STATUS_ROW)
#undef UM_STATUS_ROW
};

const char *um_status_name(um_status status)
{
    for (size_t i = 0; i < UM_COUNT_OF(status_table); i++)
        if (status_table[i].status == status)
            return status_table[i].name;
    return "UM_?";
}

const char *um_status_text(um_status status)
{
    for (size_t i = 0; i < UM_COUNT_OF(status_table); i++)
        if (status_table[i].status == status)
            return status_table[i].text;
    return "unknown status";
}

um_status um_fail_at(um_err *err, um_status status, const char *file, int line, const char *field,
                     const char *format, ...)
{
    va_list arguments;

    if (!err)
        return status;
    err->status = status;
    err->file = file;
    err->line = line;
    snprintf(err->field, sizeof(err->field), "%s", field);
    um_utf8_make_printable(err->field);
    va_start(arguments, format);
    vsnprintf(err->message, sizeof(err->message), format, arguments);
    va_end(arguments);
    um_utf8_make_printable(err->message);
    return status;
}

um_status um_err_prefix(um_err *err, um_status status, const char *format, ...)
{
    char prefix[UM_ERR_MESSAGE_BYTES], message[UM_ERR_MESSAGE_BYTES];
    va_list arguments;

    if (!err)
        return status;
    memcpy(message, err->message, sizeof(message));
    va_start(arguments, format);
    vsnprintf(prefix, sizeof(prefix), format, arguments);
    va_end(arguments);
    err->status = status;
    if (snprintf(err->message, sizeof(err->message), "%s: %s", prefix, message) < 0)
        memcpy(err->message, message, sizeof(message));
    um_utf8_make_printable(err->message);
    return status;
}

void um_check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "unmask: %s:%d: assertion failed: %s\n", file, line, what);
    abort();
}
