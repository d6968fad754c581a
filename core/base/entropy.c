#include "core/base/entropy.h"

#include <errno.h>
#include <sys/random.h>

#include "core/base/check.h"

void um_entropy(void *out, size_t bytes)
{
    ssize_t got;

    UM_ASSERT(bytes <= UM_ENTROPY_BYTES_MAX);
    do
        got = getrandom(out, bytes, 0);
    while (got < 0 && errno == EINTR);
    if (got != (ssize_t)bytes)
        UM_FATAL("getrandom");
}

void um_entropy_hex(char *out, size_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char random[UM_ENTROPY_BYTES_MAX];

    um_entropy(random, bytes);
    for (size_t i = 0; i < bytes; i++) {
        *out++ = digits[random[i] >> 4];
        *out++ = digits[random[i] & 15];
    }
    *out = '\0';
}

uint64_t um_entropy_seed(void)
{
    uint64_t seed;

    um_entropy(&seed, sizeof(seed));
    return seed;
}
