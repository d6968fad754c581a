/*
 * A pool of compute threads that share out the items of a loop.
 *
 *     umi_pool_run(pool, panels, pack_panel, &job);   // pack_panel(&job, worker, item), all items
 *
 * Every worker starts with a contiguous range of items (neighbouring items are neighbours in
 * memory; interleaving them halves the speed of two threads) and takes what is left of the others'
 * ranges when its own is done. So a worker that another program has pushed off its core, or that
 * still sleeps, holds nobody up for longer than one item. Who computes an item cannot be seen in
 * its result: work functions depend on the item, and on the worker only for scratch memory.
 *
 * A layer's product of a small model takes tens of microseconds, waking a sleeping thread as long:
 * so workers spin for a while after each run (about 0.2 ms) and only then sleep. A step keeps them
 * awake; an idle server does not use the CPU.
 *
 * One thread at a time calls umi_pool_run, and it is worker 0 itself. Everything written before
 * the run is seen by the workers, everything they wrote is seen after it.
 */
#ifndef UM_KERNELS_CPU_THREADS_H
#define UM_KERNELS_CPU_THREADS_H

#include "core/base/status.h"

typedef struct umi_pool umi_pool;

typedef void (*umi_work_fn)(void *context, int32_t worker, int64_t item);

/* `threads` >= 1, the caller's included. UM_E_NOMEM, UM_E_INTERNAL when no thread starts. */
um_status umi_pool_create(int32_t threads, umi_pool **out, um_err *err);
/* Joins the workers. NULL is allowed. */
void umi_pool_destroy(umi_pool *pool);
int32_t umi_pool_threads(const umi_pool *pool);
/* work(context, worker, item) for every item in [0, items), each once. */
void umi_pool_run(umi_pool *pool, int64_t items, umi_work_fn work, void *context);

#endif
