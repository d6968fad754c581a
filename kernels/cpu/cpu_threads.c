/*
 * The pool of cpu_threads.h: a generation counter that starts a run, a countdown that ends it.
 *
 * Owner: the thread that calls run. Workers touch `work` and `context` only between seeing a new
 * generation (acquire) and counting down (release); run writes them only while none is in there.
 */
#include "kernels/cpu/cpu_threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "core/base/mem.h"

#define SPIN_PAUSES 20000

typedef struct worker {
    umi_pool *pool; /* borrowed */
    int32_t index;
    pthread_t thread;
} worker;

struct umi_pool {
    int32_t threads;
    int32_t started; /* workers that exist: 1 .. threads - 1 */
    worker *workers; /* [threads], owned; element 0 is the caller and unused */
    umi_work_fn work;
    void *context;
    _Atomic uint32_t generation; /* +1 per run */
    _Atomic int32_t pending;     /* workers still in this run */
    _Atomic bool stopping;
    /* Sleepers count themselves before they look at `generation` once more, and run looks at the
     * count after it has changed `generation`: both sequentially consistent, so one of the two
     * sees the other and no wake-up is lost. */
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

static void sleep_until_run(umi_pool *pool, uint32_t seen)
{
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->generation) == seen)
        pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

/* Returns the new generation. */
static uint32_t wait_for_run(umi_pool *pool, uint32_t seen)
{
    for (int32_t i = 0; i < SPIN_PAUSES; i++) {
        if (atomic_load_explicit(&pool->generation, memory_order_acquire) != seen)
            return seen + 1;
        pause_cpu();
    }
    sleep_until_run(pool, seen);
    return seen + 1;
}

static void *worker_main(void *argument)
{
    worker *self = argument;
    umi_pool *pool = self->pool;
    uint32_t generation = 0;

    for (;;) {
        generation = wait_for_run(pool, generation);
        if (atomic_load(&pool->stopping))
            return NULL;
        pool->work(pool->context, self->index, pool->threads);
        atomic_fetch_sub_explicit(&pool->pending, 1, memory_order_release);
    }
}

static void start_run(umi_pool *pool)
{
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
}

/* Spins; gives its core away when the others have waited long, since one of them may need it. */
static void wait_for_workers(umi_pool *pool)
{
    for (int32_t i = 0; atomic_load_explicit(&pool->pending, memory_order_acquire) > 0; i++) {
        if (i < SPIN_PAUSES) {
            pause_cpu();
        } else {
            sched_yield();
            i = SPIN_PAUSES;
        }
    }
}

void umi_pool_run(umi_pool *pool, umi_work_fn work, void *context)
{
    if (pool->threads > 1) {
        pool->work = work;
        pool->context = context;
        atomic_store_explicit(&pool->pending, pool->threads - 1, memory_order_relaxed);
        start_run(pool);
    }
    work(context, 0, pool->threads);
    wait_for_workers(pool);
}

int32_t umi_pool_threads(const umi_pool *pool)
{
    return pool->threads;
}

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
    if (!pool->workers) {
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
    start_run(pool);
    for (int32_t i = 1; i <= pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    um_mem_free(pool->workers);
    um_mem_free(pool);
}
