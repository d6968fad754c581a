/*
 * Lost wake-ups: the taker sleeps whenever there is nothing to take and is woken only by what the
 * putters promise (mailbox.h, engine.h). One wake-up lost and a test hangs until its time limit.
 * Meant for ThreadSanitizer too.
 */
#include "tests/test.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "core/base/mailbox.h"
#include "core/engine/engine.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/fake_step.h"

#define PRODUCERS 4
#define MESSAGES (UM_TEST_SANITIZED ? 5000 : 50000) /* of each producer */
#define CAPACITY 3                                  /* small, so that full and empty are common */
#define REQUESTS (UM_TEST_SANITIZED ? 300 : 2000)   /* of each submitter */

typedef struct message {
    int32_t producer;
    int32_t number;
} message;

typedef struct box_test {
    um_mailbox *box;
    sem_t woken;
    bool uses_wake; /* the taker sleeps on `woken`, else in um_mailbox_wait */
} box_test;

typedef struct producer {
    box_test *test;
    int32_t index;
    pthread_t thread;
} producer;

static void wake_taker(void *context)
{
    sem_post(&((box_test *)context)->woken);
}

static void *produce(void *context)
{
    producer *self = context;

    for (int32_t i = 0; i < MESSAGES; i++) {
        message m = {self->index, i};

        while (um_mailbox_put(self->test->box, &m) == UM_AGAIN)
            sched_yield();
    }
    return NULL;
}

static void sleep_until_woken(box_test *test)
{
    if (test->uses_wake)
        sem_wait(&test->woken);
    else
        UM_CHECK(um_mailbox_wait(test->box, -1));
}

static void run_box(bool uses_wake)
{
    box_test test = {.uses_wake = uses_wake};
    producer producers[PRODUCERS];
    int32_t next[PRODUCERS] = {0};
    int64_t left = (int64_t)PRODUCERS * MESSAGES;
    bool in_order = true;
    um_err err = {0};
    message m;

    sem_init(&test.woken, 0, 0);
    UM_CHECK_OK(um_mailbox_create(CAPACITY, sizeof(m), uses_wake ? wake_taker : NULL, &test,
                                  &test.box, &err),
                err);
    for (int32_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (producer){.test = &test, .index = i};
        pthread_create(&producers[i].thread, NULL, produce, &producers[i]);
    }
    while (left > 0) {
        sleep_until_woken(&test);
        while (um_mailbox_take(test.box, &m) == UM_OK) {
            in_order = in_order && m.number == next[m.producer]++;
            left--;
        }
    }
    for (int32_t i = 0; i < PRODUCERS; i++)
        pthread_join(producers[i].thread, NULL);
    UM_CHECK(in_order); /* each producer's messages, none lost or doubled */
    UM_CHECK_INT(left, 0);
    um_mailbox_destroy(test.box);
    sem_destroy(&test.woken);
}

static void a_waiting_taker_gets_every_message(void)
{
    run_box(false);
}

static void a_woken_taker_gets_every_message(void)
{
    run_box(true);
}

static void waiting_ends_with_its_time_limit(void)
{
    um_mailbox *box = NULL;
    message m = {0};
    um_err err = {0};

    UM_CHECK_OK(um_mailbox_create(1, sizeof(m), NULL, NULL, &box, &err), err);
    UM_CHECK(!um_mailbox_wait(box, 0));
    UM_CHECK(!um_mailbox_wait(box, 5));
    UM_CHECK_STATUS(um_mailbox_put(box, &m), UM_OK);
    UM_CHECK_STATUS(um_mailbox_put(box, &m), UM_AGAIN);
    UM_CHECK(um_mailbox_wait(box, 0));
    UM_CHECK(um_mailbox_wait(box, -1));
    um_mailbox_destroy(box);
}

/* ---- the engine's thread, submitters, a canceller and a reader that sleeps ------------------- */

typedef struct engine_test {
    um_tokenizer *tokenizer;
    um_engine *engine;
    sem_t woken;
    _Atomic bool over;
} engine_test;

static void wake_reader(void *context)
{
    sem_post(&((engine_test *)context)->woken);
}

static um_status quick_step(void *context, const um_plan *plan, um_step_result *result, um_err *err)
{
    (void)context;
    (void)err;
    um_fake_step(plan, 'a', result);
    return UM_OK;
}

static void start_engine(engine_test *test, int32_t batch_max, int32_t queue_max)
{
    um_engine_options options = {
        .batch_max = batch_max,
        .queue_max = queue_max,
        .rows_per_step = 16,
        .tokenizer = test->tokenizer,
        .context_max = 16,
        .canvas = {.mask_token = UM_BYTE_MASK},
        .wake = wake_reader,
        .wake_context = test,
        .step = quick_step,
    };
    um_err err = {0};

    UM_CHECK_OK(um_engine_create(&options, &test->engine, &err), err);
    UM_CHECK_OK(um_engine_start(test->engine, &err), err);
}

static void engine_test_open(engine_test *test)
{
    *test = (engine_test){.tokenizer = um_byte_tokenizer_open()};
    sem_init(&test->woken, 0, 0);
}

static void engine_test_close(engine_test *test)
{
    um_engine_destroy(test->engine);
    um_tokenizer_close(test->tokenizer);
    sem_destroy(&test->woken);
}

static um_submission make_submission(int32_t tokens)
{
    return (um_submission){.params = {.policy = um_policy_find("low_confidence"),
                                      .count = UM_COUNT_QUOTA,
                                      .top_p = 1.0f,
                                      .max_tokens = tokens,
                                      .canvas_tokens = tokens,
                                      .block_length = tokens,
                                      .block_count = 1,
                                      .steps_per_block = tokens,
                                      .early_stop = true,
                                      .logprobs = 2},
                           .want_draft = true,
                           .want_guess = true,
                           .owner = (uint64_t)tokens % 3};
}

static void *submit_many(void *context)
{
    engine_test *test = context;

    for (int32_t i = 0; i < REQUESTS; i++) {
        um_submission submission = make_submission(1 + i % 7);
        uint64_t id;

        while (um_engine_submit(test->engine, &submission, &id, NULL) == UM_E_QUEUE_FULL)
            sched_yield();
        if (i % 3 == 0)
            um_engine_cancel(test->engine, id);
    }
    return NULL;
}

/* Asks what anybody may ask, all the time, and cancels what does not exist. */
static void *disturb(void *context)
{
    engine_test *test = context;

    while (!atomic_load(&test->over)) {
        um_stats stats;

        um_engine_cancel(test->engine, UINT64_MAX);
        um_engine_stats(test->engine, &stats);
        UM_CHECK(stats.running <= 4 && stats.waiting <= 4 + 4 && stats.waiting >= 0);
        UM_CHECK(um_engine_wait_estimate(test->engine) >= 0);
        UM_CHECK(!um_engine_stalled(test->engine, 60));
        sched_yield();
    }
    return NULL;
}

/* Sleeps unless woken; returns when every request has ended. */
static void read_all(engine_test *test, int64_t requests, int64_t *cancelled)
{
    int64_t left = requests;
    int64_t bytes = 0, tokens = 0, changes = 0, rows = 0;
    um_event event;

    while (left > 0) {
        sem_wait(&test->woken);
        while (um_engine_next(test->engine, &event) == UM_OK) {
            bytes += (int64_t)event.text.length;
            changes += event.change_count;
            rows += event.logprob_rows;
            if (event.done) {
                left--;
                tokens += event.usage.completion_tokens;
                *cancelled += event.status == UM_E_CANCELLED;
                UM_CHECK(event.status == UM_OK || event.status == UM_E_CANCELLED);
            }
            um_event_deinit(&event);
        }
    }
    UM_CHECK_INT(bytes, tokens); /* 'a' is one byte: nothing lost, nothing doubled */
    UM_CHECK_INT(changes, tokens);
    UM_CHECK_INT(rows, tokens);
    UM_CHECK_STATUS(um_engine_next(test->engine, &event), UM_EMPTY);
}

static void every_request_of_many_threads_ends_for_a_sleeping_reader(void)
{
    engine_test test;
    pthread_t submitters[PRODUCERS], disturber;
    int64_t cancelled = 0;

    engine_test_open(&test);
    start_engine(&test, 4, 4);
    pthread_create(&disturber, NULL, disturb, &test);
    for (int32_t i = 0; i < PRODUCERS; i++)
        pthread_create(&submitters[i], NULL, submit_many, &test);
    read_all(&test, (int64_t)PRODUCERS * REQUESTS, &cancelled);
    atomic_store(&test.over, true);
    for (int32_t i = 0; i < PRODUCERS; i++)
        pthread_join(submitters[i], NULL);
    pthread_join(disturber, NULL);
    printf("    %d requests, %lld cancelled\n", PRODUCERS * REQUESTS, (long long)cancelled);
    UM_CHECK(cancelled > 0);
    engine_test_close(&test);
}

/* The idle engine sleeps; each single request must wake it, and its end must wake the reader. */
static void a_sleeping_engine_wakes_for_every_request(void)
{
    engine_test test;
    um_submission submission = make_submission(1);
    um_err err = {0};
    uint64_t id;
    int64_t cancelled = 0;

    engine_test_open(&test);
    start_engine(&test, 1, 0);
    for (int32_t i = 0; i < REQUESTS; i++) {
        UM_CHECK_OK(um_engine_submit(test.engine, &submission, &id, &err), err);
        read_all(&test, 1, &cancelled);
    }
    engine_test_close(&test);
}

/* Destroying ends the thread at any time, with requests in any state. */
static void an_engine_can_be_destroyed_while_it_works(void)
{
    engine_test test;
    um_err err = {0};

    engine_test_open(&test);
    for (int32_t i = 0; i < 300; i++) {
        uint64_t id;

        start_engine(&test, 4, 4);
        for (int32_t k = 0; k < i % 8; k++) {
            um_submission submission = make_submission(16);

            UM_CHECK_OK(um_engine_submit(test.engine, &submission, &id, &err), err);
        }
        um_engine_destroy(test.engine);
        test.engine = NULL;
    }
    engine_test_close(&test);
}

static const um_test tests[] = {
    UM_TEST(a_waiting_taker_gets_every_message),
    UM_TEST(a_woken_taker_gets_every_message),
    UM_TEST(waiting_ends_with_its_time_limit),
    UM_TEST(every_request_of_many_threads_ends_for_a_sleeping_reader),
    UM_TEST(a_sleeping_engine_wakes_for_every_request),
    UM_TEST(an_engine_can_be_destroyed_while_it_works),
};
UM_TEST_MAIN(tests)
