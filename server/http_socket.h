/*
 * What the kernel knows of a TCP socket. A file of its own, since its header and the C library's (which
 * libuv includes) declare the same names.
 */
#ifndef UM_SERVER_HTTP_SOCKET_H
#define UM_SERVER_HTTP_SOCKET_H

#include <stdint.h>

/* Bytes that the other side has sent and this machine has taken, read or not; UINT64_MAX where the
 * kernel does not tell (before 4.1). */
uint64_t um_socket_bytes_received(int fd);

#endif
