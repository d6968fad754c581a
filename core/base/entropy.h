/*
 * Unpredictable bytes from the kernel: ids, nonces, and seeds where a request has none. What is drawn
 * from a seed is rng.h's.
 *
 * Any thread. A kernel without entropy is fatal.
 */
#ifndef UM_BASE_ENTROPY_H
#define UM_BASE_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

#define UM_ENTROPY_BYTES_MAX 64

/* At most UM_ENTROPY_BYTES_MAX at a time, which the kernel gives whole. */
void um_entropy(void *out, size_t bytes);
/* `bytes` of them as 2 * bytes lower-case hexadecimal digits and a NUL. */
void um_entropy_hex(char *out, size_t bytes);
uint64_t um_entropy_seed(void);

#endif
