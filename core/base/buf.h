/*
 * Growable bytes: the only string builder in the tree. Always NUL-terminated behind `length`.
 * Running out of memory is sticky: appends then do nothing and um_buf_failed() is true, so that a
 * builder checks once at the end. Storage is the caller's; zero-initialised is empty and valid.
 */
#ifndef UM_BASE_BUF_H
#define UM_BASE_BUF_H

#include "core/base/check.h"

typedef struct um_buf {
    char *data; /* owned; NULL when empty */
    size_t length;
    size_t capacity;
    bool failed;
} um_buf;

void um_buf_append(um_buf *buf, const void *bytes, size_t count);
void um_buf_text(um_buf *buf, const char *text);
void um_buf_char(um_buf *buf, char c);
void um_buf_printf(um_buf *buf, const char *format, ...) UM_PRINTF(2, 3);
/* Makes room for `capacity` bytes in all, so that later appends up to there do not allocate. */
void um_buf_reserve(um_buf *buf, size_t capacity);
/* Drops `count` bytes from the front. */
void um_buf_consume(um_buf *buf, size_t count);
void um_buf_clear(um_buf *buf);
void um_buf_deinit(um_buf *buf);
/* The text so far, "" when empty; borrowed until the next change. */
const char *um_buf_view(const um_buf *buf);
bool um_buf_failed(const um_buf *buf);

#endif
