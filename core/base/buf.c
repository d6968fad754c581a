#include "core/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"

#define CAPACITY_MIN 64

void um_buf_reserve(um_buf *buf, size_t capacity)
{
    size_t bytes;
    char *data;

    if (buf->failed || capacity < buf->capacity)
        return;
    if (!um_mem_add(capacity, 1, &bytes) || !(data = um_mem_realloc(buf->data, bytes))) {
        buf->failed = true;
        return;
    }
    buf->data = data;
    buf->capacity = bytes;
    buf->data[buf->length] = '\0';
}

/* Doubling keeps a sequence of appends linear; returns false when memory is out. */
static bool make_room(um_buf *buf, size_t count)
{
    size_t needed, doubled;

    if (buf->failed)
        return false;
    if (!um_mem_add(buf->length, count, &needed)) {
        buf->failed = true;
        return false;
    }
    if (needed < buf->capacity)
        return true;
    doubled = buf->capacity > CAPACITY_MIN ? buf->capacity * 2 : CAPACITY_MIN;
    um_buf_reserve(buf, needed > doubled ? needed : doubled);
    return !buf->failed;
}

void um_buf_append(um_buf *buf, const void *bytes, size_t count)
{
    if (count == 0 || !make_room(buf, count))
        return;
    memcpy(buf->data + buf->length, bytes, count);
    buf->length += count;
    buf->data[buf->length] = '\0';
}

void um_buf_text(um_buf *buf, const char *text)
{
    um_buf_append(buf, text, strlen(text));
}

void um_buf_char(um_buf *buf, char c)
{
    um_buf_append(buf, &c, 1);
}

void um_buf_printf(um_buf *buf, const char *format, ...)
{
    va_list arguments, again;
    int length;

    va_start(arguments, format);
    va_copy(again, arguments);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length > 0 && make_room(buf, (size_t)length)) {
        vsnprintf(buf->data + buf->length, (size_t)length + 1, format, again);
        buf->length += (size_t)length;
    }
    va_end(again);
}

void um_buf_consume(um_buf *buf, size_t count)
{
    UM_ASSERT(count <= buf->length);
    if (count == 0)
        return;
    memmove(buf->data, buf->data + count, buf->length - count + 1);
    buf->length -= count;
}

void um_buf_clear(um_buf *buf)
{
    buf->length = 0;
    buf->failed = false;
    if (buf->data)
        buf->data[0] = '\0';
}

void um_buf_deinit(um_buf *buf)
{
    um_mem_free(buf->data);
    *buf = (um_buf){0};
}

const char *um_buf_view(const um_buf *buf)
{
    return buf->data ? buf->data : "";
}

bool um_buf_failed(const um_buf *buf)
{
    return buf->failed;
}
