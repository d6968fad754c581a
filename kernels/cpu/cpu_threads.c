/*
 * The pool of cpu_threads.h: a generation counter that starts a run, a countdown that ends it.
 *
 * Each share of a run is claimed before it is done. A thread takes its own share first, then those
 * that nobody has begun: so a worker that is asleep, or that the machine gave no time slice, is not
 * waited for. (Beside other programs the plain barrier that was here first made steps of a small
 * model some hundred times slower.) Who does a share cannot change its bits.
 *
 * Owner: the thread that calls run. `work` and `context` are read only by who holds a claim of the
 * current generation, and written only when all its shares are done.
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
    /* [threads], owned: the last generation whose share i was claimed */
    _Atomic uint32_t *claims;
    umi_work_fn work;
    void *context;
    _Atomic uint32_t generation; /* +1 per run */
    _Atomic int32_t pending;     /* shares of this run that are not done */
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

/* Returns the new generation, which may be several later than the one seen. */
static uint32_t wait_for_run(umi_pool *pool, uint32_t seen)
{
    uint32_t generation;

    for (int32_t i = 0; i < SPIN_PAUSES; i++) {
        generation = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (generation != seen)
            return generation;
        pause_cpu();
    }
    sleep_until_run(pool, seen);
    return atomic_load(&pool->generation);
}

/* True when the share was free in this generation and is now the caller's. A thread that comes late
 * holds an old generation and gets nothing. */
static bool claim(umi_pool *pool, int32_t share, uint32_t generation)
{
    uint32_t last = atomic_load_explicit(&pool->claims[share], memory_order_relaxed);

    return (int32_t)(generation - last) > 0 &&
           atomic_compare_exchange_strong(&pool->claims[share], &last, generation);
}

/* Does the shares that can be claimed, `first` before the others. */
static void do_shares(umi_pool *pool, int32_t first, uint32_t generation)
{
    for (int32_t i = 0; i < pool->threads; i++) {
        int32_t share = (first + i) % pool->threads;

        if (claim(pool, share, generation)) {
            pool->work(pool->context, share, pool->threads);
            atomic_fetch_sub_explicit(&pool->pending, 1, memory_order_release);
        }
    }
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
        do_shares(pool, self->index, generation);
    }
}

/* Returns the generation it begins. */
static uint32_t start_run(umi_pool *pool)
{
    uint32_t generation = atomic_fetch_add(&pool->generation, 1) + 1;

    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
    return generation;
}

/* Spins; gives its core away when the others have waited long, since one of them may need it. */
static void wait_for_shares(umi_pool *pool)
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
    if (pool->threads == 1) {
        work(context, 0, 1);
        return;
    }
    pool->work = work;
    pool->context = context;
    atomic_store_explicit(&pool->pending, pool->threads, memory_order_relaxed);
    do_shares(pool, 0, start_run(pool));
    wait_for_shares(pool);
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
    pool->claims = um_mem_calloc((size_t)threads, sizeof(*pool->claims));
    if (!pool->workers || !pool->claims) {
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
    um_mem_free(pool->claims);
    um_mem_free(pool->workers);
    um_mem_free(pool);
}
