/* Outboxes under a reader that takes rarely: nothing is lost or told twice, steps that changed
 * nothing give way, and a reader without memory gets it with the next event. */
#include "tests/test.h"

#include "core/base/mem.h"
#include "core/engine/outbox.h"
#include "tests/support/random.h"

#define CANVAS 12
#define BLOCKS 3
#define WIDTH 3

typedef struct fixture {
    um_ready ready;
    um_outbox *outbox;
} fixture;

static void open_fixture(fixture *f)
{
    const um_outbox_options options = {.text_bytes_max = 64,
                                       .logprobs = WIDTH,
                                       .logprob_rows = CANVAS,
                                       .draft_tokens = CANVAS,
                                       .draft_blocks = BLOCKS};
    um_err err = {0};

    um_ready_init(&f->ready, NULL, NULL);
    UM_CHECK_OK(um_outbox_create(&options, &f->outbox, &err), err);
}

static void end_fixture(fixture *f)
{
    um_event event;

    um_ready_finish(&f->ready, f->outbox, &(um_post){.id = 1});
    while (um_ready_take(&f->ready, &event) == UM_OK)
        um_event_deinit(&event);
    um_ready_deinit(&f->ready);
}

static void post_step(fixture *f, int32_t step, int32_t changes, int32_t first, bool block_ended)
{
    um_draft_change some[CANVAS];
    um_draft_step record = {
        .step = step, .changes = changes, .length = CANVAS, .block_ended = block_ended};

    for (int32_t i = 0; i < changes; i++)
        some[i] = (um_draft_change){.position = first + i, .token = 100 + first + i};
    um_ready_post(&f->ready, f->outbox,
                  &(um_post){.id = 1,
                             .step = &record,
                             .changes = some,
                             .guesses = some,
                             .guess_count = changes ? 1 : 0});
}

static um_event take(fixture *f)
{
    um_event event;

    UM_CHECK_STATUS(um_ready_take(&f->ready, &event), UM_OK);
    return event;
}

static void steps_that_changed_nothing_give_way_to_the_next(void)
{
    fixture f;
    um_event event;

    open_fixture(&f);
    post_step(&f, 1, 0, 0, false);
    post_step(&f, 2, 0, 0, false);
    post_step(&f, 3, 2, 0, false);
    post_step(&f, 4, 0, 0, true);
    post_step(&f, 5, 0, 0, false);
    event = take(&f);
    UM_CHECK_INT(event.step_count, 3);
    UM_CHECK_INT(event.steps[0].step, 3);
    UM_CHECK_INT(event.steps[0].changes, 2);
    UM_CHECK(event.steps[1].step == 4 && event.steps[1].block_ended);
    UM_CHECK_INT(event.steps[2].step, 5); /* the newest is told */
    UM_CHECK_INT(event.change_count, 2);
    UM_CHECK_INT(event.changes[1].token, 101);
    UM_CHECK_INT(event.guess_count, 0); /* of the last step */
    um_event_deinit(&event);
    post_step(&f, 6, 1, 2, false); /* what was taken does not give way */
    event = take(&f);
    UM_CHECK(event.step_count == 1 && event.steps[0].step == 6);
    UM_CHECK_INT(event.guess_count, 1);
    UM_CHECK_INT(event.guesses[0].position, 2);
    um_event_deinit(&event);
    end_fixture(&f);
}

static void the_first_draft_comes_in_front_and_is_no_news(void)
{
    const um_draft_change kept = {.position = 4, .token = 9, .confidence = 1, .pinned = true};
    fixture f;
    um_event event;

    open_fixture(&f);
    um_outbox_begin(f.outbox, &(um_draft_step){.changes = 1, .length = CANVAS}, &kept);
    UM_CHECK_STATUS(um_ready_take(&f.ready, &event), UM_EMPTY);
    post_step(&f, 1, 1, 0, false);
    event = take(&f);
    UM_CHECK_INT(event.step_count, 2);
    UM_CHECK(event.steps[0].step == 0 && event.steps[1].step == 1);
    UM_CHECK(event.changes[0].pinned && event.changes[0].position == 4);
    UM_CHECK(!event.changes[1].pinned);
    um_event_deinit(&event);
    end_fixture(&f);
}

/* The replay of a reader who takes now and then is the canvas; his memory fails now and then. */
static void run_random_reader(uint64_t *random)
{
    int32_t filled = 0, replayed = 0, step = 0, told = 0, last = 0, ends = 0, ends_told = 0;
    bool done = false;
    fixture f;

    open_fixture(&f);
    while (!done) {
        int32_t changes =
            um_test_pick(random, 0, 3) == 0 ? um_test_pick(random, 0, CANVAS - filled) : 0;
        bool ends_block = ends < BLOCKS && um_test_pick(random, 0, 9) == 0;
        um_event event;

        done = filled + changes == CANVAS || step == 200;
        post_step(&f, ++step, changes, filled, ends_block);
        filled += changes;
        ends += ends_block;
        if (!done && um_test_pick(random, 0, 5) > 0)
            continue;
        um_mem_fail_after(!done && um_test_pick(random, 0, 1) ? um_test_pick(random, 1, 3) : 0);
        event = take(&f);
        um_mem_fail_after(0);
        for (int32_t i = 0; i < event.change_count; i++)
            UM_CHECK_INT(event.changes[i].position, replayed++);
        for (int32_t i = 0; i < event.step_count; i++) {
            UM_CHECK(event.steps[i].step > last);
            last = event.steps[i].step;
            told += event.steps[i].changes;
            ends_told += event.steps[i].block_ended;
        }
        UM_CHECK_INT(told, replayed);
        if (event.step_count > 0) /* all or nothing */
            UM_CHECK(last == step && replayed == filled && ends_told == ends);
        um_event_deinit(&event);
    }
    UM_CHECK_INT(last, step);
    UM_CHECK_INT(replayed, filled);
    end_fixture(&f);
}

static void nothing_of_a_draft_is_lost_or_told_twice(void)
{
    uint64_t random = 5;

    for (int i = 0; i < 2000; i++)
        run_random_reader(&random);
}

static void rows_of_logprobs_are_told_once_and_in_order(void)
{
    um_alternative table[CANVAS][WIDTH];
    const int32_t places[] = {1, 2, 5, 7};
    um_event event;
    fixture f;

    for (int32_t i = 0; i < CANVAS; i++)
        for (int32_t k = 0; k < WIDTH; k++)
            table[i][k] = (um_alternative){.token = 10 * i + k, .logprob = (float)-k};
    open_fixture(&f);
    um_ready_post(
        &f.ready, f.outbox,
        &(um_post){.id = 1, .logprobs = table[0], .logprob_places = places, .logprob_rows = 2});
    um_mem_fail_after(1);
    event = take(&f);
    um_mem_fail_after(0);
    UM_CHECK(!event.logprobs && event.logprob_rows == 0);
    um_event_deinit(&event);
    um_ready_post(
        &f.ready, f.outbox,
        &(um_post){.id = 1, .logprobs = table[0], .logprob_places = places + 2, .logprob_rows = 1});
    event = take(&f);
    UM_CHECK_INT(event.logprob_rows, 3);
    for (int32_t i = 0; i < 3; i++)
        UM_CHECK(memcmp(event.logprobs + WIDTH * i, table[places[i]], sizeof(table[0])) == 0);
    um_event_deinit(&event);
    um_ready_finish(
        &f.ready, f.outbox,
        &(um_post){.id = 1, .logprobs = table[0], .logprob_places = places + 3, .logprob_rows = 1});
    event = take(&f);
    UM_CHECK(event.done && event.logprob_rows == 1);
    UM_CHECK(memcmp(event.logprobs, table[7], sizeof(table[0])) == 0);
    um_event_deinit(&event);
    um_ready_deinit(&f.ready);
}

static void failures_are_told_by_status(void)
{
    um_event event;
    um_err told;
    fixture f;

    open_fixture(&f);
    um_ready_finish(&f.ready, f.outbox,
                    &(um_post){.id = 1, .status = UM_E_TIMEOUT, .deadline_ms = 7});
    UM_CHECK_STATUS(um_ready_take(&f.ready, &event), UM_OK);
    UM_CHECK(event.done && event.status == UM_E_TIMEOUT && event.deadline_ms == 7);
    told = um_event_error(&event); /* as where there was no memory for more */
    UM_CHECK_STATUS(told.status, UM_E_TIMEOUT);
    UM_CHECK_STR(told.message, um_status_text(UM_E_TIMEOUT));
    um_event_deinit(&event);
    um_ready_deinit(&f.ready);
}

static void running_out_of_memory_is_an_error_without_leaks(void)
{
    const um_outbox_options options = {.text_bytes_max = 64,
                                       .result_tokens = CANVAS,
                                       .logprobs = WIDTH,
                                       .logprob_rows = CANVAS,
                                       .draft_tokens = CANVAS,
                                       .draft_blocks = BLOCKS};
    um_status status = UM_E_NOMEM;
    um_outbox *outbox = NULL;
    int failures = 0;

    for (long n = 1; status != UM_OK; n++) {
        um_mem_fail_after(n);
        status = um_outbox_create(&options, &outbox, NULL);
        failures += status != UM_OK;
    }
    um_mem_fail_after(0);
    UM_CHECK_INT(failures, 8);
    um_outbox_destroy(outbox);
}

static const um_test tests[] = {
    UM_TEST(steps_that_changed_nothing_give_way_to_the_next),
    UM_TEST(the_first_draft_comes_in_front_and_is_no_news),
    UM_TEST(nothing_of_a_draft_is_lost_or_told_twice),
    UM_TEST(rows_of_logprobs_are_told_once_and_in_order),
    UM_TEST(failures_are_told_by_status),
    UM_TEST(running_out_of_memory_is_an_error_without_leaks),
};
UM_TEST_MAIN(tests)
