/*
 * Reading whole files of bounded size. What is no regular file is refused, so that a pipe or a
 * device under a checkpoint's name cannot hold the program up. Any thread.
 */
#ifndef UM_BASE_FILE_H
#define UM_BASE_FILE_H

#include "core/base/buf.h"
#include "core/base/status.h"

/* Appends the file's bytes. UM_E_NOT_FOUND, UM_E_IO, UM_E_FORMAT (no regular file, or longer than
 * bytes_max), UM_E_NOMEM. The message does not name the path: the caller prefixes what it calls
 * the file. */
um_status um_file_read(const char *path, size_t bytes_max, um_buf *out, um_err *err);

#endif
