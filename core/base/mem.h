/*
 * Heap memory: overflow-checked sizes, zeroed and aligned allocation, and a hook that lets tests
 * make the n-th allocation fail. Every allocation of the project goes through here; NULL means
 * out of memory and is always handled. Any thread.
 */
#ifndef UM_BASE_MEM_H
#define UM_BASE_MEM_H

#include "core/base/check.h"

/* a*b or a+b; false on overflow, and *out is then untouched. */
UM_MUST_USE bool um_mem_mul(size_t a, size_t b, size_t *out);
UM_MUST_USE bool um_mem_add(size_t a, size_t b, size_t *out);

/* Zeroed; NULL when memory is out or the product overflows. Free with um_mem_free. */
UM_MUST_USE void *um_mem_zalloc(size_t bytes);
UM_MUST_USE void *um_mem_calloc(size_t count, size_t bytes_each);
/* Grows or makes a block; the added part is not zeroed. On failure the old block stays valid. */
UM_MUST_USE void *um_mem_realloc(void *block, size_t bytes);
UM_MUST_USE char *um_mem_strndup(const char *text, size_t length);
UM_MUST_USE char *um_mem_strdup(const char *text);
void um_mem_free(void *block);
/* For processes with rare peaks of many small blocks: freed ones are joined at once from now on, so
 * that um_mem_trim can give them back to the kernel, cheaply and from every thread's heap. */
void um_mem_join_freed(void);
void um_mem_trim(void);

/* 64-byte aligned, zeroed lazily by the kernel for large blocks, transparent huge pages asked for
 * from 2 MiB on. Free with um_mem_free_aligned and the same size. */
UM_MUST_USE void *um_mem_alloc_aligned(size_t bytes);
void um_mem_free_aligned(void *block, size_t bytes);

/* Test hook: allocation number `countdown` from now (1 = the next) fails, once; 0 = never.
 * um_mem_fail_pending() tells whether the failure is still to come. Process-wide, test only. */
void um_mem_fail_after(long countdown);
bool um_mem_fail_pending(void);

#endif
