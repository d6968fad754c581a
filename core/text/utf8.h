/*
 * UTF-8: validation, and how much of a growing byte string is safe to send.
 */
#ifndef UM_TEXT_UTF8_H
#define UM_TEXT_UTF8_H

#include "core/base/buf.h"

/* Length of the longest valid prefix (RFC 3629: no surrogates, no overlong forms). */
size_t um_utf8_valid_prefix(const char *bytes, size_t length);
/* Length of `bytes` without a trailing sequence that later bytes could still complete. Invalid
 * bytes in the middle count as complete (they will be shown as U+FFFD). */
size_t um_utf8_complete_prefix(const char *bytes, size_t length);
/* Appends `bytes` with every maximal invalid subpart replaced by U+FFFD (Unicode 15, table 3-8;
 * what Rust's String::from_utf8_lossy does). */
void um_utf8_append_lossy(um_buf *out, const char *bytes, size_t length);

#endif
