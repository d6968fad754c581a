/*
 * UTF-8: validation, how much of a growing byte string is safe to send, and what is fit to show.
 */
#ifndef UM_BASE_UTF8_H
#define UM_BASE_UTF8_H

#include "core/base/buf.h"

/* Length of the longest valid prefix (RFC 3629: no surrogates, no overlong forms). */
size_t um_utf8_valid_prefix(const char *bytes, size_t length);
/* Length of `bytes` without a trailing sequence that later bytes could still complete. Invalid
 * bytes in the middle count as complete (they will be shown as U+FFFD). */
size_t um_utf8_complete_prefix(const char *bytes, size_t length);
/* Appends `bytes` with every maximal invalid subpart replaced by U+FFFD (Unicode 15, table 3-8;
 * what Rust's String::from_utf8_lossy does). */
void um_utf8_append_lossy(um_buf *out, const char *bytes, size_t length);
/* Makes a NUL-terminated text fit for a terminal and one line, in place: white space other than
 * blanks becomes a blank; control characters (C0, C1, DEL) and invalid subparts become '?'. What
 * comes out is valid UTF-8 and no longer than before. */
void um_utf8_make_printable(char *text);

#endif
