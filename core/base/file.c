#include "core/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES 16384

static um_status check(int fd, size_t bytes_max, size_t *size, um_err *err)
{
    struct stat info;

    if (fstat(fd, &info) != 0)
        return um_fail(err, UM_E_IO, "cannot tell its size: %s", strerror(errno));
    if (!S_ISREG(info.st_mode))
        return um_fail(err, UM_E_FORMAT, "it is no regular file");
    *size = (size_t)info.st_size;
    if (*size > bytes_max)
        return um_fail(err, UM_E_FORMAT, "it has %zu bytes; the limit is %zu", *size, bytes_max);
    return UM_OK;
}

static um_status read_bytes(int fd, size_t size, um_buf *out, um_err *err)
{
    char block[BLOCK_BYTES];

    while (size > 0) {
        ssize_t count = read(fd, block, size < sizeof(block) ? size : sizeof(block));

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return um_fail(err, UM_E_IO, "cannot read: %s", strerror(errno));
        if (count == 0)
            return um_fail(err, UM_E_IO, "it became shorter by %zu bytes", size);
        um_buf_append(out, block, (size_t)count);
        size -= (size_t)count;
    }
    return UM_OK;
}

um_status um_file_read(const char *path, size_t bytes_max, um_buf *out, um_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* opening a pipe would wait */
    size_t size = 0;
    um_status status;

    if (fd < 0)
        return um_fail(err, errno == ENOENT ? UM_E_NOT_FOUND : UM_E_IO, "cannot open: %s",
                       strerror(errno));
    status = check(fd, bytes_max, &size, err);
    if (status == UM_OK) {
        um_buf_reserve(out, out->length + size);
        if (um_buf_failed(out))
            status = um_fail(err, UM_E_NOMEM, "no memory for its %zu bytes", size);
        else
            status = read_bytes(fd, size, out, err);
    }
    close(fd);
    return status;
}
