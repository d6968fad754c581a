/*
 * The cpu backend's own parts: which level a CPU gets, the thread pool, and what happens when
 * memory runs out. That the kernels compute the right thing is the business of tests/ops.
 */
#include "core/base/mem.h"
#include "kernels/cpu/cpu_features.h"
#include "kernels/cpu/cpu_threads.h"
#include "kernels/ops.h"
#include "tests/test.h"

#include <stdatomic.h>
#include <time.h>

/* ---- levels --------------------------------------------------------------------------------- */

/* CPUID as such machines report it; the last three are the same silicon with state that the
 * operating system does not save, or a hypervisor that hides a feature. */
static void a_cpu_gets_the_level_it_can_run(void)
{
    static const struct {
        const char *machine;
        umi_cpuid cpuid;
        umi_cpu_level level;
    } cases[] = {
        {"no CPUID", {0}, UMI_LEVEL_PORTABLE},
        {"Sandy Bridge: AVX, no FMA", {0x1fbae3bf, 0, 0, 0x7}, UMI_LEVEL_PORTABLE},
        {"Haswell", {0x7ffafbbf, 0x000027ab, 0, 0x7}, UMI_LEVEL_AVX2},
        {"Skylake-X", {0x7ffefbbf, 0xd39ffffb, 0, 0x2e7}, UMI_LEVEL_AVX512},
        {"Zen 4", {0xfffa3203, 0xf1bf07ab, 0x20, 0xe7}, UMI_LEVEL_AVX512BF16},
        {"Skylake-X, no ZMM state", {0x7ffefbbf, 0xd39ffffb, 0, 0x7}, UMI_LEVEL_AVX2},
        {"Haswell, no YMM state", {0x7ffafbbf, 0x000027ab, 0, 0x3}, UMI_LEVEL_PORTABLE},
        {"Zen 4, AVX-512 hidden", {0xfffa3203, 0x219c07ab, 0x20, 0x7}, UMI_LEVEL_AVX2},
    };

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        umi_cpu_level level = umi_cpu_level_decide(&cases[i].cpuid);

        um_test_count();
        if (level != cases[i].level)
            um_test_fail(__FILE__, __LINE__, "%s: level %s, expected %s", cases[i].machine,
                         umi_cpu_level_name(level), umi_cpu_level_name(cases[i].level));
    }
}

static void level_names_parse_to_themselves_and_others_do_not(void)
{
    umi_cpu_level level;
    um_err err = {0};

    for (int i = 0; i < UMI_LEVEL_COUNT; i++) {
        UM_CHECK_OK(umi_cpu_level_parse(umi_cpu_level_name((umi_cpu_level)i), &level, &err), err);
        UM_CHECK_INT(level, i);
    }
    UM_CHECK_STATUS(umi_cpu_level_parse("avx", &level, &err), UM_E_VALUE);
    UM_CHECK_STR(err.field, "isa");
    UM_CHECK(strstr(err.message, "avx512bf16") != NULL);
}

static void isa_caps_the_level_or_is_an_error(void)
{
    umi_cpuid cpuid = umi_cpuid_read();
    umi_cpu_level best = umi_cpu_level_decide(&cpuid);

    for (int i = 0; i < UMI_LEVEL_COUNT; i++) {
        const char *isa = umi_cpu_level_name((umi_cpu_level)i);
        um_backend_options options = {.name = "cpu", .isa = isa, .threads = 1};
        um_backend *backend;
        um_err err = {0};
        char name[32];

        if (i > (int)best) {
            UM_CHECK_STATUS(um_backend_open(&options, &backend, &err), UM_E_UNSUPPORTED_VALUE);
            UM_CHECK(backend == NULL);
            UM_CHECK(strstr(err.message, isa) != NULL);
            continue;
        }
        UM_CHECK_OK(um_backend_open(&options, &backend, &err), err);
        snprintf(name, sizeof(name), "cpu-%s", isa);
        UM_CHECK_STR(um_backend_name(backend), name);
        um_backend_close(backend);
    }
}

/* ---- pool ----------------------------------------------------------------------------------- */

enum { THREADS = 4, ITEMS = 23, RUNS = 2000 };

typedef struct pool_job {
    int32_t seen[ITEMS]; /* written by whoever has the item: the pool orders it for everybody */
    int32_t round;       /* written before a run, read in it */
    _Atomic int32_t wrong;
} pool_job;

static void count_visit(void *context, int32_t worker, int64_t item)
{
    pool_job *job = context;

    if (worker < 0 || worker >= THREADS || job->seen[item] != job->round)
        atomic_fetch_add(&job->wrong, 1);
    job->seen[item]++;
}

/* Data races would show under ThreadSanitizer: nothing but the pool orders these accesses. */
static void every_item_is_done_once_per_run_and_sees_what_came_before(void)
{
    pool_job job = {0};
    um_err err = {0};
    umi_pool *pool;

    UM_CHECK_OK(umi_pool_create(THREADS, &pool, &err), err);
    UM_CHECK_INT(umi_pool_threads(pool), THREADS);
    for (job.round = 0; job.round < RUNS; job.round++)
        umi_pool_run(pool, ITEMS, count_visit, &job);
    for (int i = 0; i < ITEMS; i++)
        UM_CHECK_INT(job.seen[i], RUNS);
    UM_CHECK_INT(atomic_load(&job.wrong), 0);
    umi_pool_destroy(pool);
}

static void any_number_of_items_is_done(void)
{
    um_err err = {0};
    umi_pool *pool;

    UM_CHECK_OK(umi_pool_create(THREADS, &pool, &err), err);
    for (int64_t items = 0; items <= ITEMS; items++) {
        pool_job job = {0};

        umi_pool_run(pool, items, count_visit, &job);
        for (int64_t i = 0; i < ITEMS; i++)
            UM_CHECK_INT(job.seen[i], i < items);
    }
    umi_pool_destroy(pool);
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* The first item to start waits until every other one is done: only if idle workers take over the
 * rest of a stuck worker's range does the run end before the test's time limit. */
static void wait_for_the_others(void *context, int32_t worker, int64_t item)
{
    _Atomic int32_t *done = context;

    (void)worker;
    if (item == 0)
        while (atomic_load(done) < ITEMS - 1)
            sleep_ms(1);
    atomic_fetch_add(done, 1);
}

static void a_stuck_worker_holds_up_one_item_only(void)
{
    _Atomic int32_t done = 0;
    um_err err = {0};
    umi_pool *pool;

    UM_CHECK_OK(umi_pool_create(THREADS, &pool, &err), err);
    umi_pool_run(pool, ITEMS, wait_for_the_others, &done);
    UM_CHECK_INT(atomic_load(&done), ITEMS);
    umi_pool_destroy(pool);
}

/* Pauses around the length of the spin, so that runs meet workers that spin, that are falling
 * asleep and that sleep: a lost wake-up would leave item 0 waiting until the time limit. */
static void no_wake_up_is_lost_while_workers_fall_asleep(void)
{
    um_err err = {0};
    umi_pool *pool;

    UM_CHECK_OK(umi_pool_create(2, &pool, &err), err);
    for (int i = 0; i < 1000; i++) {
        _Atomic int32_t done = 0;

        umi_pool_run(pool, ITEMS, wait_for_the_others, &done);
        UM_CHECK_INT(atomic_load(&done), ITEMS);
        nanosleep(&(struct timespec){.tv_nsec = i * 1500}, NULL);
    }
    umi_pool_destroy(pool);
}

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void an_idle_pool_uses_no_cpu(void)
{
    pool_job job = {0};
    um_err err = {0};
    umi_pool *pool;
    double before;

    UM_CHECK_OK(umi_pool_create(THREADS, &pool, &err), err);
    umi_pool_run(pool, ITEMS, count_visit, &job);
    sleep_ms(300); /* far beyond the spin, also on a loaded machine */
    before = cpu_seconds();
    sleep_ms(300);
    UM_CHECK(cpu_seconds() - before < 0.01); /* of the 0.3 that one spinning thread would take */
    umi_pool_destroy(pool);
}

/* ---- memory runs out ------------------------------------------------------------------------ */

/* Opens, reserves and packs with the n-th allocation failing, for every n until none fails: each
 * failure is reported and, under AddressSanitizer, leaks nothing. */
static um_status open_reserve_pack(um_err *err)
{
    um_backend_options options = {.name = "cpu", .threads = 2};
    um_backend_limits limits = {
        .rows_max = 8, .sequence_max = 8, .width_max = 64, .vocab_max = 100};
    float values[12] = {0}, bias[3] = {0};
    um_weight_spec spec = {.dtype = UM_F32,
                           .part_count = 1,
                           .parts = {um_tensor_host(UM_F32, 3, 4, values)},
                           .biases = {um_tensor_host(UM_F32, 1, 3, bias)}};
    um_backend *backend = NULL;
    um_weight *weight = NULL;
    um_status status = um_backend_open(&options, &backend, err);

    if (status == UM_OK)
        status = um_backend_reserve(backend, &limits, err);
    if (status == UM_OK)
        status = um_weight_create(backend, &spec, &weight, err);
    if (backend)
        um_weight_destroy(backend, weight);
    um_backend_close(backend);
    return status;
}

static void every_failed_allocation_is_reported(void)
{
    um_status status = UM_E_NOMEM;
    long n = 0;

    while (status != UM_OK && n < 100) {
        um_err err = {0};

        um_mem_fail_after(++n);
        status = open_reserve_pack(&err);
        UM_CHECK(um_mem_fail_pending() == (status == UM_OK));
        if (status != UM_OK) {
            UM_CHECK_INT(status, UM_E_NOMEM);
            UM_CHECK(err.message[0] != '\0');
        }
    }
    um_mem_fail_after(0);
    UM_CHECK(n > 8); /* backend, pool, workers, scratch, weight, panels, bias ... */
    UM_CHECK_INT(status, UM_OK);
}

static const um_test tests[] = {
    {"a CPU gets the level it can run", a_cpu_gets_the_level_it_can_run, 0},
    {"level names parse to themselves and others do not",
     level_names_parse_to_themselves_and_others_do_not, 0},
    {"isa caps the level or is an error", isa_caps_the_level_or_is_an_error, 0},
    {"every item is done once per run and sees what came before",
     every_item_is_done_once_per_run_and_sees_what_came_before, 0},
    {"any number of items is done", any_number_of_items_is_done, 0},
    {"a stuck worker holds up one item only", a_stuck_worker_holds_up_one_item_only, 0},
    {"no wake-up is lost while workers fall asleep", no_wake_up_is_lost_while_workers_fall_asleep,
     0},
    {"an idle pool uses no CPU", an_idle_pool_uses_no_cpu, 0},
    {"every failed allocation is reported", every_failed_allocation_is_reported, 0},
};
UM_TEST_MAIN(tests)
