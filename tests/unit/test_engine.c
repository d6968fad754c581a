/* The engine's public functions one by one, with a step that commits 'a' everywhere, a clock that
 * the test moves, and turns that the test makes. What they promise together is tests/engine. */
#include "tests/test.h"

#include "core/base/mem.h"
#include "core/engine/engine.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_step.h"

typedef struct fixture {
    um_tokenizer *tokenizer;
    um_fake_clock clock;
    um_engine_options options;
    um_engine *engine;
    bool fails;
} fixture;

/* A second per step; every rule's first rows are committed. */
static um_status plain_step(void *context, const um_plan *plan, um_step_result *result, um_err *err)
{
    fixture *f = context;

    um_fake_clock_advance_ms(&f->clock, 1000);
    if (f->fails)
        return um_fail(err, UM_E_DEVICE, "no device");
    um_fake_step(plan, 'a', result);
    return UM_OK;
}

static void prepare(fixture *f)
{
    *f = (fixture){.tokenizer = um_byte_tokenizer_open()};
    um_fake_clock_init(&f->clock);
    f->options = (um_engine_options){
        .batch_max = 2,
        .queue_max = 1,
        .rows_per_step = 64,
        .clock = &f->clock.clock,
        .tokenizer = f->tokenizer,
        .context_max = 32,
        .canvas = {.mask_token = UM_BYTE_MASK},
        .end_tokens = {UM_BYTE_END},
        .end_token_count = 1,
        .eos_token = UM_BYTE_END,
        .turn_token = -1,
        .step = plain_step,
        .step_context = f,
    };
}

static void open_fixture(fixture *f)
{
    um_err err = {0};

    prepare(f);
    UM_CHECK_OK(um_engine_create(&f->options, &f->engine, &err), err);
}

static void close_fixture(fixture *f)
{
    um_engine_destroy(f->engine);
    um_tokenizer_close(f->tokenizer);
}

/* `steps` tokens in as many steps. */
static um_submission make_submission(int32_t steps)
{
    static const int32_t prompt[] = {'p'};

    return (um_submission){
        .prompt = prompt,
        .prompt_tokens = 1,
        .params = {.policy = um_policy_find("low_confidence"),
                   .count = UM_COUNT_QUOTA,
                   .top_p = 1.0f,
                   .max_tokens = steps,
                   .canvas_tokens = steps,
                   .block_length = steps,
                   .block_count = 1,
                   .steps_per_block = steps,
                   .early_stop = true},
    };
}

static um_status submit(fixture *f, int32_t steps, uint64_t *id)
{
    um_submission submission = make_submission(steps);

    return um_engine_submit(f->engine, &submission, id, NULL);
}

static um_event take(fixture *f)
{
    um_event event;

    UM_CHECK_STATUS(um_engine_next(f->engine, &event), UM_OK);
    return event;
}

static void text_comes_as_it_settles_and_the_end_with_usage(void)
{
    fixture f;
    um_event event;
    uint64_t id = 0;

    open_fixture(&f);
    UM_CHECK_STATUS(um_engine_turn(f.engine), UM_EMPTY);
    UM_CHECK_STATUS(submit(&f, 2, &id), UM_OK);
    UM_CHECK_STATUS(um_engine_next(f.engine, &event), UM_EMPTY);
    UM_CHECK_STATUS(um_engine_turn(f.engine), UM_OK);
    event = take(&f);
    UM_CHECK_INT(event.id, id);
    UM_CHECK_STR(um_buf_view(&event.text), "a");
    UM_CHECK(event.started && !event.done && !event.tokens);
    um_event_deinit(&event);
    UM_CHECK_STATUS(um_engine_turn(f.engine), UM_OK);
    event = take(&f);
    UM_CHECK_STR(um_buf_view(&event.text), "a");
    UM_CHECK(event.done && event.finish == UM_FINISH_LENGTH && event.status == UM_OK);
    UM_CHECK_INT(event.usage.prompt_tokens, 1);
    UM_CHECK_INT(event.usage.completion_tokens, 2);
    UM_CHECK_INT(event.usage.steps, 2);
    UM_CHECK_INT(event.usage.blocks, 1);
    UM_CHECK_INT(event.usage.canvas_tokens, 2);
    um_event_deinit(&event);
    UM_CHECK_STATUS(um_engine_turn(f.engine), UM_EMPTY);
    close_fixture(&f);
}

static void pieces_not_taken_are_taken_as_one(void)
{
    fixture f;
    um_event event;
    uint64_t id;

    open_fixture(&f);
    UM_CHECK_STATUS(submit(&f, 3, &id), UM_OK);
    for (int i = 0; i < 3; i++)
        um_engine_turn(f.engine);
    event = take(&f);
    UM_CHECK_STR(um_buf_view(&event.text), "aaa");
    UM_CHECK(event.done);
    um_event_deinit(&event);
    UM_CHECK_STATUS(um_engine_next(f.engine, &event), UM_EMPTY);
    close_fixture(&f);
}

/* Its events bring the tokens; the first step is made. */
static void begin_with_tokens(fixture *f, int32_t tokens)
{
    um_submission submission = make_submission(tokens);
    uint64_t id;

    open_fixture(f);
    submission.want_tokens = true;
    UM_CHECK_STATUS(um_engine_submit(f->engine, &submission, &id, NULL), UM_OK);
    um_engine_turn(f->engine);
}

static void wanted_tokens_come_with_every_event(void)
{
    fixture f;
    um_event event;

    begin_with_tokens(&f, 2);
    event = take(&f);
    UM_CHECK_INT(event.token_count, 2);
    UM_CHECK_INT(event.tokens[0], 'a');
    UM_CHECK_INT(event.tokens[1], UM_BYTE_MASK);
    UM_CHECK_NEAR(event.confidences[0], 0.5, 0);
    UM_CHECK_NEAR(event.confidences[1], 0, 0);
    um_event_deinit(&event);
    close_fixture(&f);
}

static void text_of_a_reader_without_memory_waits_for_it(void)
{
    fixture f;
    um_event event;

    begin_with_tokens(&f, 3);
    um_mem_fail_after(1);
    event = take(&f);
    UM_CHECK_STR(um_buf_view(&event.text), "");
    um_event_deinit(&event);
    um_engine_turn(f.engine);
    um_mem_fail_after(2);
    event = take(&f);
    um_mem_fail_after(0);
    UM_CHECK_STR(um_buf_view(&event.text), "aa");
    UM_CHECK(!event.tokens && event.token_count == 0);
    um_event_deinit(&event);
    close_fixture(&f);
}

static void places_are_bounded_and_freed(void)
{
    um_submission three[] = {make_submission(1), make_submission(1), make_submission(1)};
    fixture f;
    um_event event;
    uint64_t id, ids[3];
    um_err err = {0};

    open_fixture(&f);
    UM_CHECK_STATUS(submit(&f, 1, &id), UM_OK);
    UM_CHECK_STATUS(um_engine_submit_many(f.engine, three, 3, ids, &err), UM_E_QUEUE_FULL);
    UM_CHECK_STR(err.message, "1 requests are running or waiting; at most 2 may run and 1 wait");
    UM_CHECK_STATUS(um_engine_submit_many(f.engine, three, 2, ids, NULL), UM_OK);
    UM_CHECK(ids[0] == id + 1 && ids[1] == id + 2);
    um_mem_fail_after(1);
    UM_CHECK_STATUS(submit(&f, 1, &id), UM_E_QUEUE_FULL);
    UM_CHECK(um_mem_fail_pending()); /* a refusal takes no memory */
    um_mem_fail_after(0);
    um_engine_turn(f.engine); /* two of three end */
    UM_CHECK_STATUS(um_engine_submit_many(f.engine, three, 3, ids, NULL), UM_E_QUEUE_FULL);
    UM_CHECK_STATUS(um_engine_submit_many(f.engine, three, 2, ids, NULL), UM_OK);
    event = take(&f);
    um_event_deinit(&event);
    close_fixture(&f);
}

static void a_cancelled_request_ends_at_the_next_turn(void)
{
    fixture f;
    um_event event;
    uint64_t id;

    open_fixture(&f);
    UM_CHECK_STATUS(submit(&f, 9, &id), UM_OK);
    um_engine_turn(f.engine);
    um_engine_cancel(f.engine, id);
    UM_CHECK_STATUS(um_engine_turn(f.engine), UM_EMPTY);
    event = take(&f);
    UM_CHECK(event.done && event.status == UM_E_CANCELLED);
    UM_CHECK_STR(um_buf_view(&event.text), "a"); /* what was released before */
    um_event_deinit(&event);
    close_fixture(&f);
}

static void draining_refuses_new_work_and_finishes_the_old(void)
{
    fixture f;
    um_event event;
    uint64_t id;

    open_fixture(&f);
    UM_CHECK_STATUS(submit(&f, 1, &id), UM_OK);
    um_engine_drain(f.engine);
    UM_CHECK_STATUS(submit(&f, 1, &id), UM_E_DRAINING);
    UM_CHECK_STATUS(um_engine_turn(f.engine), UM_OK);
    event = take(&f);
    UM_CHECK(event.done && event.status == UM_OK);
    um_event_deinit(&event);
    close_fixture(&f);
}

/* Each takes 51 of the 64 rows of a step: one runs, the other waits for its turn. */
static void a_step_without_room_for_all_is_full(void)
{
    fixture f;
    um_stats stats;
    uint64_t id;

    prepare(&f);
    f.options.context_max = 64;
    UM_CHECK_STATUS(um_engine_create(&f.options, &f.engine, NULL), UM_OK);
    UM_CHECK_STATUS(submit(&f, 50, &id), UM_OK);
    um_engine_turn(f.engine);
    um_engine_stats(f.engine, &stats);
    UM_CHECK_NEAR(stats.batch_occupancy, 0.5, 0);
    UM_CHECK_STATUS(submit(&f, 50, &id), UM_OK);
    um_engine_turn(f.engine);
    um_engine_stats(f.engine, &stats);
    UM_CHECK_INT(stats.running, 2);
    UM_CHECK_NEAR(stats.step_batch_size.sum, 2, 0);
    UM_CHECK_NEAR(stats.batch_occupancy, 1, 0);
    close_fixture(&f);
}

static void a_lost_device_ends_everything_and_refuses_more(void)
{
    fixture f;
    um_event event;
    uint64_t id;
    um_err err = {0};

    open_fixture(&f);
    UM_CHECK_STATUS(submit(&f, 5, &id), UM_OK);
    f.fails = true;
    UM_CHECK_STATUS(um_engine_failure(f.engine, &err), UM_OK);
    UM_CHECK_STATUS(um_engine_turn(f.engine), UM_E_ENGINE);
    UM_CHECK_STATUS(um_engine_failure(f.engine, NULL), UM_E_DEVICE);
    UM_CHECK_STATUS(um_engine_failure(f.engine, &err), UM_E_DEVICE);
    UM_CHECK_STR(err.message, "no device");
    event = take(&f);
    UM_CHECK(event.done && event.status == UM_E_ENGINE);
    UM_CHECK(strstr(event.error->message, "no device") != NULL);
    um_event_deinit(&event);
    UM_CHECK_STATUS(um_engine_submit(
                        f.engine, &(um_submission){.params = make_submission(1).params}, &id, &err),
                    UM_E_ENGINE);
    UM_CHECK_STATUS(um_engine_turn(f.engine), UM_EMPTY);
    close_fixture(&f);
}

static void only_an_engine_with_work_can_stall(void)
{
    fixture f;
    uint64_t id;

    open_fixture(&f);
    um_fake_clock_advance_ms(&f.clock, 100000);
    UM_CHECK(!um_engine_stalled(f.engine, 10));
    UM_CHECK_STATUS(submit(&f, 5, &id), UM_OK);
    UM_CHECK(!um_engine_stalled(f.engine, 10));
    um_fake_clock_advance_ms(&f.clock, 11000);
    UM_CHECK(um_engine_stalled(f.engine, 10));
    um_engine_turn(f.engine);
    UM_CHECK(!um_engine_stalled(f.engine, 10));
    close_fixture(&f);
}

typedef struct waiting {
    double begins, expected; /* seconds of the clock: submitted; how long it should wait */
    bool started;
} waiting;

static double seconds_of(const fixture *f)
{
    return (double)um_clock_now_ns(&f->clock.clock) / 1e9;
}

/* Steps take a second, so a start is known to be within one. */
static void compare_wait(const fixture *f, const um_event *event, waiting *all, int *compared)
{
    waiting *w = &all[event->id];
    double waited;

    if (w->started || !event->started)
        return;
    w->started = true;
    if (w->expected < 0)
        return;
    waited = seconds_of(f) - 1 - w->begins;
    ++*compared;
    if (!(waited <= 2 * w->expected + 1 && w->expected <= 2 * waited + 1))
        um_test_fail(__FILE__, __LINE__, "expected %g s, waited %g s", w->expected, waited);
    um_test_count();
}

/* Requests of one size keep batch and queue full; each one's estimate is compared with what came of
 * it once some have ended. `stagger`: turns between the first ones. */
static void expect_true_waits(int32_t batch, int32_t queue, int32_t size, int stagger)
{
    static waiting all[4096];
    int compared = 0, submitted = 0;
    fixture f;

    prepare(&f);
    memset(all, 0, sizeof(all));
    f.options.batch_max = batch;
    f.options.queue_max = queue;
    f.options.rows_per_step = batch * (size + 1);
    UM_CHECK_OK(um_engine_create(&f.options, &f.engine, &(um_err){0}), (um_err){0});
    for (int turn = 0; turn < 20 * size && submitted < 4000; turn++) {
        um_event event;
        int room = turn < batch * stagger ? (turn % stagger == 0) : batch + queue;

        for (uint64_t id; room > 0; room--) {
            double expected = um_engine_wait_estimate(f.engine);

            if (submit(&f, size, &id) != UM_OK)
                break;
            all[id] =
                (waiting){.begins = seconds_of(&f), .expected = turn > 4 * size ? expected : -1};
            submitted++;
        }
        um_engine_turn(f.engine);
        while (um_engine_next(f.engine, &event) == UM_OK) {
            compare_wait(&f, &event, all, &compared);
            um_event_deinit(&event);
        }
    }
    UM_CHECK(compared > 2 * batch);
    close_fixture(&f);
}

static void the_wait_estimate_comes_true(void)
{
    static const struct {
        int32_t batch, queue, size;
        int stagger;
    } cases[] = {
        {1, 1, 20, 1}, {1, 8, 20, 1},  {2, 1, 20, 1},  {2, 1, 20, 10}, {4, 4, 30, 1},
        {4, 4, 30, 7}, {8, 20, 24, 3}, {16, 3, 30, 1}, {16, 3, 30, 2}, {64, 64, 12, 1},
    };
    fixture f;

    open_fixture(&f);
    UM_CHECK_NEAR(um_engine_wait_estimate(f.engine), 0, 0); /* a place is free */
    close_fixture(&f);
    for (size_t i = 0; i < UM_COUNT_OF(cases); i++)
        expect_true_waits(cases[i].batch, cases[i].queue, cases[i].size, cases[i].stagger);
}

/* Nothing has ended yet: what runs will run for as long again as it has. */
static void the_first_wait_is_guessed_from_what_runs(void)
{
    fixture f;
    uint64_t id;

    open_fixture(&f);
    for (int i = 0; i < 2; i++)
        UM_CHECK_STATUS(submit(&f, 30, &id), UM_OK);
    for (int i = 0; i < 10; i++)
        um_engine_turn(f.engine);
    UM_CHECK_NEAR(um_engine_wait_estimate(f.engine), 10, 0.01);
    close_fixture(&f);
}

static void statistics_count_what_happened(void)
{
    fixture f;
    um_stats stats;
    uint64_t id;

    open_fixture(&f);
    UM_CHECK_STATUS(submit(&f, 2, &id), UM_OK);
    um_fake_clock_advance_ms(&f.clock, 3000);
    um_engine_turn(f.engine);
    um_engine_stats(f.engine, &stats);
    UM_CHECK_INT(stats.running, 1);
    UM_CHECK_INT(stats.waiting, 0);
    UM_CHECK_INT(stats.canvas_tokens, 2);
    UM_CHECK_NEAR(stats.batch_occupancy, 0.5, 0);
    um_engine_turn(f.engine);
    um_engine_turn(f.engine);
    um_engine_stats(f.engine, &stats);
    UM_CHECK_INT(stats.running, 0);
    UM_CHECK_INT(stats.requests_submitted, 1);
    UM_CHECK_INT(stats.endings[UM_ENDING_LENGTH], 1);
    UM_CHECK_INT(stats.prompt_tokens, 1);
    UM_CHECK_INT(stats.generation_tokens, 2);
    UM_CHECK_INT(stats.tokens_filled, 2);
    UM_CHECK_INT(stats.positions_evaluated, 6); /* two steps of three rows */
    UM_CHECK_INT(stats.forward_passes, 2);
    UM_CHECK_NEAR(stats.queue_seconds.sum, 3, 1e-9);
    UM_CHECK_NEAR(stats.first_draft_seconds.sum, 4, 1e-9);
    UM_CHECK_NEAR(stats.first_text_seconds.sum, 4, 1e-9);
    UM_CHECK_NEAR(stats.inter_chunk_seconds.sum, 1, 1e-9);
    UM_CHECK_NEAR(stats.e2e_seconds.sum, 5, 1e-9);
    UM_CHECK_NEAR(stats.inference_seconds.sum, 2, 1e-9);
    UM_CHECK_NEAR(stats.step_seconds.sum, 2, 1e-9);
    UM_CHECK_NEAR(stats.tokens_per_step.sum, 1, 1e-9);
    UM_CHECK_NEAR(stats.batch_occupancy, 0, 0);
    close_fixture(&f);
}

static void the_largest_plan_holds_one_guided_context(void)
{
    um_engine_options options = {.batch_max = 3, .rows_per_step = 10, .context_max = 100};

    UM_CHECK_INT(um_engine_plan_limits(&options).rows_max, 200);
    UM_CHECK_INT(um_engine_plan_limits(&options).sequences_max, 6);
    /* what three full lists of biases and bans and every row's own token come to */
    UM_CHECK_INT(um_engine_plan_limits(&options).edits_max,
                 200 + 3 * (UM_BIASES_MAX + 2 * (UM_MODEL_STOP_MAX + UM_STOP_TOKENS_MAX)));
    options.rows_per_step = 512;
    UM_CHECK_INT(um_engine_plan_limits(&options).rows_max, 512);
}

static void running_out_of_memory_at_start_is_an_error_without_leaks(void)
{
    um_status status = UM_E_NOMEM;
    fixture f;
    int failures = 0;

    prepare(&f);
    for (long n = 1; status != UM_OK; n++) {
        um_mem_fail_after(n);
        status = um_engine_create(&f.options, &f.engine, NULL);
        if (status != UM_OK) {
            UM_CHECK_STATUS(status, UM_E_NOMEM);
            UM_CHECK(f.engine == NULL);
            failures++;
        }
    }
    um_mem_fail_after(0);
    UM_CHECK(failures >= 10);
    close_fixture(&f);
}

static void running_out_of_memory_in_a_submission_leaves_the_engine_as_it_was(void)
{
    um_submission two[] = {make_submission(2), make_submission(2)};
    um_status status = UM_E_OVERLOADED;
    uint64_t ids[2];
    um_stats stats;
    fixture f;
    int failures = 0;

    open_fixture(&f);
    two[1].want_tokens = true;
    two[1].want_draft = true;
    two[1].suffix = (int32_t[]){'s'};
    two[1].suffix_tokens = 1;
    two[1].draft = (int32_t[]){'a'};
    two[1].draft_tokens = 1;
    for (long n = 1; status != UM_OK; n++) {
        um_mem_fail_after(n);
        status = um_engine_submit_many(f.engine, two, 2, ids, NULL);
        um_engine_stats(f.engine, &stats);
        UM_CHECK_INT(stats.waiting, status == UM_OK ? 2 : 0);
        if (status != UM_OK) {
            UM_CHECK_STATUS(status, UM_E_OVERLOADED);
            failures++;
        }
    }
    um_mem_fail_after(0);
    UM_CHECK(failures >= 2 * 8);
    UM_CHECK_STATUS(um_engine_turn(f.engine), UM_OK);
    close_fixture(&f);
}

static void ending_the_engine_ends_what_is_left(void)
{
    fixture f;
    uint64_t id;

    open_fixture(&f);
    UM_CHECK_STATUS(submit(&f, 5, &id), UM_OK);
    um_engine_turn(f.engine);
    UM_CHECK_STATUS(submit(&f, 5, &id), UM_OK); /* not even taken yet */
    close_fixture(&f);                          /* the leak check sees to the rest */
}

/* A second per step: after four of them 5.5 s leave room for one, and not for another. */
static void a_deadline_makes_the_next_step_the_last(void)
{
    um_submission submission = make_submission(20);
    uint64_t id;
    um_event event;
    fixture f;

    open_fixture(&f);
    submission.params.deadline_ms = 5500;
    submission.params.exact_length = true; /* a gap: full, yet not by itself */
    UM_CHECK_STATUS(um_engine_submit(f.engine, &submission, &id, NULL), UM_OK);
    for (int i = 0; i < 5; i++)
        UM_CHECK_STATUS(um_engine_turn(f.engine), UM_OK);
    UM_CHECK_STATUS(um_engine_turn(f.engine), UM_EMPTY);
    event = take(&f);
    UM_CHECK(event.done && event.status == UM_OK && event.finish == UM_FINISH_LENGTH);
    UM_CHECK(event.usage.ended_by_deadline);
    UM_CHECK_INT(event.usage.steps, 5);
    UM_CHECK_STR(um_buf_view(&event.text), "aaaaaaaaaaaaaaaaaaaa");
    um_event_deinit(&event);
    close_fixture(&f);
}

/* Three steps are all that is needed. */
static void a_deadline_that_is_far_changes_nothing(void)
{
    um_submission submission = make_submission(3);
    uint64_t id;
    um_event event;
    fixture f;

    open_fixture(&f);
    submission.params.deadline_ms = 5500;
    submission.params.exact_length = true;
    UM_CHECK_STATUS(um_engine_submit(f.engine, &submission, &id, NULL), UM_OK);
    for (int i = 0; i < 3; i++)
        UM_CHECK_STATUS(um_engine_turn(f.engine), UM_OK);
    event = take(&f);
    UM_CHECK(event.done && event.finish == UM_FINISH_STOP && !event.usage.ended_by_deadline);
    um_event_deinit(&event);
    close_fixture(&f);
}

static void a_deadline_that_passes_in_the_queue_is_a_timeout(void)
{
    um_submission submission = make_submission(3);
    uint64_t ids[3];
    um_event event;
    fixture f;

    open_fixture(&f);
    for (int i = 0; i < 2; i++)
        UM_CHECK_STATUS(submit(&f, 9, &ids[i]), UM_OK);
    submission.params.deadline_ms = 1500;
    UM_CHECK_STATUS(um_engine_submit(f.engine, &submission, &ids[2], NULL), UM_OK);
    for (int i = 0; i < 2; i++)
        UM_CHECK_STATUS(um_engine_turn(f.engine), UM_OK);
    while (um_engine_next(f.engine, &event) == UM_OK) {
        UM_CHECK(event.id != ids[2]);
        um_event_deinit(&event);
    }
    UM_CHECK_STATUS(um_engine_turn(f.engine), UM_OK);
    do {
        event = take(&f);
        if (event.id != ids[2])
            um_event_deinit(&event);
    } while (event.id != ids[2]);
    UM_CHECK_STATUS(event.status, UM_E_TIMEOUT);
    UM_CHECK_STR(event.error->field, "diffusion.deadline_ms");
    UM_CHECK(strstr(event.error->message, "1500 ms") != NULL);
    um_event_deinit(&event);
    close_fixture(&f);
}

static const um_test tests[] = {
    UM_TEST(text_comes_as_it_settles_and_the_end_with_usage),
    UM_TEST(pieces_not_taken_are_taken_as_one),
    UM_TEST(wanted_tokens_come_with_every_event),
    UM_TEST(text_of_a_reader_without_memory_waits_for_it),
    UM_TEST(places_are_bounded_and_freed),
    UM_TEST(a_cancelled_request_ends_at_the_next_turn),
    UM_TEST(draining_refuses_new_work_and_finishes_the_old),
    UM_TEST(a_step_without_room_for_all_is_full),
    UM_TEST(a_lost_device_ends_everything_and_refuses_more),
    UM_TEST(only_an_engine_with_work_can_stall),
    UM_TEST(the_wait_estimate_comes_true),
    UM_TEST(the_first_wait_is_guessed_from_what_runs),
    UM_TEST(statistics_count_what_happened),
    UM_TEST(the_largest_plan_holds_one_guided_context),
    UM_TEST(running_out_of_memory_at_start_is_an_error_without_leaks),
    UM_TEST(running_out_of_memory_in_a_submission_leaves_the_engine_as_it_was),
    UM_TEST(ending_the_engine_ends_what_is_left),
    UM_TEST(a_deadline_makes_the_next_step_the_last),
    UM_TEST(a_deadline_that_is_far_changes_nothing),
    UM_TEST(a_deadline_that_passes_in_the_queue_is_a_timeout),
};
UM_TEST_MAIN(tests)
