#include "core/base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE_BYTES ((size_t)2 << 20)
#define ALIGN_BYTES ((size_t)64)
#define TRIM_BYTES (256 << 10)

static _Atomic long fail_countdown;

void um_mem_fail_after(long countdown)
{
    atomic_store(&fail_countdown, countdown);
}

bool um_mem_fail_pending(void)
{
    return atomic_load(&fail_countdown) > 0;
}

static bool must_fail(void)
{
    if (UM_LIKELY(atomic_load_explicit(&fail_countdown, memory_order_relaxed) <= 0))
        return false;
    return atomic_fetch_sub(&fail_countdown, 1) == 1;
}

bool um_mem_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool um_mem_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

void *um_mem_zalloc(size_t bytes)
{
    return must_fail() ? NULL : calloc(1, bytes ? bytes : 1);
}

void *um_mem_calloc(size_t count, size_t bytes_each)
{
    size_t bytes;

    return um_mem_mul(count, bytes_each, &bytes) ? um_mem_zalloc(bytes) : NULL;
}

void *um_mem_realloc(void *block, size_t bytes)
{
    return must_fail() ? NULL : realloc(block, bytes ? bytes : 1);
}

char *um_mem_strndup(const char *text, size_t length)
{
    size_t bytes;
    char *copy;

    if (!um_mem_add(length, 1, &bytes))
        return NULL;
    copy = um_mem_zalloc(bytes);
    if (copy)
        memcpy(copy, text, length);
    return copy;
}

char *um_mem_strdup(const char *text)
{
    return um_mem_strndup(text, strlen(text));
}

void um_mem_free(void *block)
{
    free(block);
}

void um_mem_join_freed(void)
{
    mallopt(M_MXFAST, 0);
    mallopt(M_TRIM_THRESHOLD, TRIM_BYTES); /* for good: it would grow with what was freed */
}

void um_mem_trim(void)
{
    malloc_trim(0);
}

/* Large blocks come straight from mmap: aligned for huge pages, and zero pages cost nothing until
 * they are touched. */
static void *map_huge(size_t bytes)
{
    size_t mapped;
    char *base, *start;
    size_t lead, tail;

    if (!um_mem_add(bytes, HUGE_PAGE_BYTES, &mapped))
        return NULL;
    base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    lead = (HUGE_PAGE_BYTES - ((uintptr_t)base & (HUGE_PAGE_BYTES - 1))) & (HUGE_PAGE_BYTES - 1);
    start = base + lead;
    tail = mapped - lead - bytes;
    if (lead)
        munmap(base, lead);
    if (tail)
        munmap(start + bytes, tail);
    madvise(start, bytes, MADV_HUGEPAGE); /* advice only: may be refused, nothing depends on it */
    return start;
}

/* One rounding for both sides, so that free knows how a block was made from its size alone. */
static bool rounded(size_t bytes, size_t *out)
{
    size_t unit = bytes >= HUGE_PAGE_BYTES ? 4096 : ALIGN_BYTES;

    if (!um_mem_add(bytes ? bytes : 1, unit - 1, out))
        return false;
    *out &= ~(unit - 1);
    return true;
}

void *um_mem_alloc_aligned(size_t bytes)
{
    void *block = NULL;
    size_t size;

    if (must_fail() || !rounded(bytes, &size))
        return NULL;
    if (bytes >= HUGE_PAGE_BYTES)
        return map_huge(size);
    block = aligned_alloc(ALIGN_BYTES, size);
    if (block)
        memset(block, 0, size);
    return block;
}

void um_mem_free_aligned(void *block, size_t bytes)
{
    size_t size;

    if (!block)
        return;
    if (bytes >= HUGE_PAGE_BYTES && rounded(bytes, &size))
        munmap(block, size);
    else
        free(block);
}
