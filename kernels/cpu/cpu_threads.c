/*
 * The pool of cpu_threads.h: one atomic word, the gate, says whether a run is open, which one, and
 * how many workers are in it; each worker's range has an atomic cursor that anybody may advance.
 *
 * Owner: the thread that calls run. It writes `items`, `work`, `context` and the ranges only while
 * the gate is closed and nobody is inside; a worker reads them only between entering and leaving.
 */
#include "kernels/cpu/cpu_threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "core/base/mem.h"

#define SPIN_PAUSES 20000 /* before a worker sleeps */
#define YIELD_PAUSES 1000 /* before the caller gives its core away */
#define CACHE_LINE 64

/* The gate: run number in the high half, then the open bit, then the count of workers inside. */
#define GATE_RUN ((uint64_t)1 << 32)
#define GATE_OPEN ((uint64_t)1 << 31)
#define GATE_INSIDE (GATE_OPEN - 1)

/* Items [next, end) of a worker's own range are still to be taken. */
typedef struct range {
    UM_ALIGNED(CACHE_LINE) _Atomic int64_t next;
    int64_t end;
} range;

typedef struct worker {
    umi_pool *pool; /* borrowed */
    int32_t index;
    pthread_t thread;
} worker;

struct umi_pool {
    int32_t threads;
    int32_t started; /* workers that exist: 1 .. threads - 1 */
    worker *workers; /* [threads], owned; element 0 is the caller and unused */
    range *ranges;   /* [threads], owned */
    umi_work_fn work;
    void *context;
    _Atomic uint64_t gate;
    _Atomic bool stopping;
    /* Sleepers count themselves before they look at the gate once more, and run looks at the count
     * after it has opened the gate: both sequentially consistent, so one of the two sees the other
     * and no wake-up is lost. */
    _Atomic int32_t sleepers;
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* ---- workers -------------------------------------------------------------------------------- */

/* Own items first, then the others' in turn. */
static void work_off(umi_pool *pool, int32_t index)
{
    for (int32_t i = 0; i < pool->threads; i++) {
        range *r = &pool->ranges[(index + i) % pool->threads];
        int64_t item;

        /* Relaxed: the gate orders the ranges, the cursor only hands out each item once. */
        while ((item = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed)) < r->end)
            pool->work(pool->context, index, item);
    }
}

static void sleep_until_run(umi_pool *pool, uint64_t seen)
{
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->gate) / GATE_RUN == seen)
        pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

/* Returns once the run number is no longer `seen`. */
static uint64_t wait_for_run(umi_pool *pool, uint64_t seen)
{
    for (int32_t i = 0; i < SPIN_PAUSES; i++) {
        uint64_t gate = atomic_load_explicit(&pool->gate, memory_order_acquire);

        if (gate / GATE_RUN != seen)
            return gate / GATE_RUN;
        pause_cpu();
    }
    sleep_until_run(pool, seen);
    return atomic_load(&pool->gate) / GATE_RUN;
}

/* Joins the run that is open; false when it has closed meanwhile. */
static bool enter(umi_pool *pool)
{
    uint64_t gate = atomic_load_explicit(&pool->gate, memory_order_acquire);

    while (gate & GATE_OPEN)
        if (atomic_compare_exchange_weak_explicit(&pool->gate, &gate, gate + 1,
                                                  memory_order_acquire, memory_order_acquire))
            return true;
    return false;
}

static void *worker_main(void *argument)
{
    worker *self = argument;
    umi_pool *pool = self->pool;
    uint64_t run = 0;

    for (;;) {
        run = wait_for_run(pool, run);
        if (atomic_load(&pool->stopping))
            return NULL;
        if (enter(pool)) {
            work_off(pool, self->index);
            atomic_fetch_sub_explicit(&pool->gate, 1, memory_order_release);
        }
    }
}

/* ---- the caller's side ---------------------------------------------------------------------- */

/* Start of worker `index`'s range; its end is the start of index + 1. */
static int64_t share(int64_t items, int32_t index, int32_t threads)
{
    return items / threads * index + items % threads * index / threads;
}

static void open_gate(umi_pool *pool)
{
    uint64_t run = atomic_load_explicit(&pool->gate, memory_order_relaxed) / GATE_RUN;

    atomic_store(&pool->gate, (run + 1) * GATE_RUN | GATE_OPEN);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
}

/* Keeps latecomers out and waits for those inside; gives its core away when that takes long, since
 * one of them may need it. */
static void close_gate(umi_pool *pool)
{
    int32_t pauses = 0;

    atomic_fetch_and_explicit(&pool->gate, ~GATE_OPEN, memory_order_relaxed);
    while (atomic_load_explicit(&pool->gate, memory_order_acquire) & GATE_INSIDE) {
        if (pauses < YIELD_PAUSES) {
            pauses++;
            pause_cpu();
        } else {
            sched_yield();
        }
    }
}

void umi_pool_run(umi_pool *pool, int64_t items, umi_work_fn work, void *context)
{
    if (pool->threads == 1 || items <= 1) {
        for (int64_t item = 0; item < items; item++)
            work(context, 0, item);
        return;
    }
    pool->work = work;
    pool->context = context;
    for (int32_t i = 0; i < pool->threads; i++) {
        atomic_store_explicit(&pool->ranges[i].next, share(items, i, pool->threads),
                              memory_order_relaxed);
        pool->ranges[i].end = share(items, i + 1, pool->threads);
    }
    open_gate(pool);
    work_off(pool, 0);
    close_gate(pool);
}

int32_t umi_pool_threads(const umi_pool *pool)
{
    return pool->threads;
}

/* ---- life ----------------------------------------------------------------------------------- */

static um_status start_workers(umi_pool *pool, um_err *err)
{
    for (int32_t i = 1; i < pool->threads; i++) {
        worker *w = &pool->workers[i];
        int error;

        w->pool = pool;
        w->index = i;
        error = pthread_create(&w->thread, NULL, worker_main, w);
        if (error)
            return um_fail(err, UM_E_INTERNAL, "cannot start compute thread %d of %d: %s", i + 1,
                           pool->threads, strerror(error));
        pool->started++;
    }
    return UM_OK;
}

um_status umi_pool_create(int32_t threads, umi_pool **out, um_err *err)
{
    um_status status = UM_OK;
    umi_pool *pool;

    UM_ASSERT(threads >= 1);
    *out = NULL;
    pool = um_mem_zalloc(sizeof(*pool));
    if (!pool)
        return um_fail(err, UM_E_NOMEM, "no memory for the thread pool");
    pool->threads = threads;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->workers = um_mem_calloc((size_t)threads, sizeof(*pool->workers));
    pool->ranges = um_mem_alloc_aligned((size_t)threads * sizeof(*pool->ranges));
    if (!pool->workers || !pool->ranges) {
        status = um_fail(err, UM_E_NOMEM, "no memory for %d compute threads", threads);
        goto done;
    }
    status = start_workers(pool, err);
    if (status != UM_OK)
        goto done;
    *out = pool;
    pool = NULL;
done:
    umi_pool_destroy(pool);
    return status;
}

void umi_pool_destroy(umi_pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->stopping, true);
    open_gate(pool);
    for (int32_t i = 1; i <= pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    um_mem_free_aligned(pool->ranges, (size_t)pool->threads * sizeof(*pool->ranges));
    um_mem_free(pool->workers);
    um_mem_free(pool);
}
