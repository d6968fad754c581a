/*
 * A pool of compute threads that run one function together, cut into as many shares as threads.
 *
 *     umi_pool_run(pool, work, &job);   // work(&job, 0..count-1), returns when all are done
 *
 * Each share is done once, by one thread; usually by the one of its index, but by another where
 * that one has no time. So `index` may pick scratch memory, but not the thread.
 *
 * A layer's product of a small model takes tens of microseconds, waking a sleeping thread as long:
 * so workers spin for a while after each run (about 0.2 ms) and only then sleep. A step keeps them
 * awake; an idle server does not use the CPU.
 *
 * One thread at a time calls umi_pool_run, and it does share 0 itself. Everything written before
 * the run is seen by the workers, everything they wrote is seen after it.
 */
#ifndef UM_KERNELS_CPU_THREADS_H
#define UM_KERNELS_CPU_THREADS_H

#include "core/base/status.h"

typedef struct umi_pool umi_pool;

typedef void (*umi_work_fn)(void *context, int32_t index, int32_t count);

/* `threads` >= 1, the caller's included. UM_E_NOMEM, UM_E_INTERNAL when no thread starts. */
um_status umi_pool_create(int32_t threads, umi_pool **out, um_err *err);
/* Joins the workers. NULL is allowed. */
void umi_pool_destroy(umi_pool *pool);
int32_t umi_pool_threads(const umi_pool *pool);
void umi_pool_run(umi_pool *pool, umi_work_fn work, void *context);

/* Start of worker `index`'s share of `total` items: contiguous, because interleaved columns halve
 * the speed of two threads. Its end is the start of index + 1. */
static inline int64_t umi_share(int64_t total, int32_t index, int32_t count)
{
    return total / count * index + total % count * index / count;
}

#endif
