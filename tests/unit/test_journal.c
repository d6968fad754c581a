/* What a step's commits and rows say of a draft, written out by hand for small canvases. */
#include "tests/test.h"

#include "core/base/mem.h"
#include "core/engine/journal.h"

#define MASK 99

typedef struct fixture {
    um_params params;
    um_canvas canvas;
    um_journal journal;
} fixture;

static um_params make_params(const char *policy, int32_t tokens, int32_t block_length)
{
    const um_policy *found = um_policy_find(policy);

    return (um_params){
        .policy = found,
        .count = um_policy_count(found, false),
        .max_tokens = tokens,
        .canvas_tokens = tokens,
        .block_length = block_length,
        .block_count = (tokens + block_length - 1) / block_length,
        .steps_per_block = block_length,
    };
}

static void open_fixture(fixture *f, um_params params, const um_submission *submission)
{
    const um_canvas_facts facts = {.mask_token = MASK};
    um_err err = {0};

    f->params = params;
    UM_CHECK_OK(um_canvas_init(&f->canvas, &f->params, &facts, submission, &err), err);
    UM_CHECK_OK(um_journal_init(&f->journal, params.canvas_tokens, &err), err);
}

static void close_fixture(fixture *f)
{
    um_journal_deinit(&f->journal);
    um_canvas_deinit(&f->canvas);
}

/* One step on the canvas and into the journal. */
static void take_step(fixture *f, const um_outcome *outcome, bool guess)
{
    int32_t block = f->canvas.block;

    um_canvas_apply(&f->canvas, outcome->commits, outcome->commit_count);
    um_journal_note(&f->journal, &f->canvas, block, outcome, guess);
}

static void changes_are_the_canvas_positions_that_were_filled(void)
{
    const um_commit commits[] = {{.position = 0, .token = 5, .confidence = 0.25f},
                                 {.position = 2, .token = 6, .confidence = 0.5f},
                                 {.position = 3, .token = MASK, .confidence = 0.75f}};
    const um_submission submission = {.prompt = (int32_t[]){MASK, 1}, .prompt_tokens = 2};
    const um_outcome outcome = {.commits = commits, .commit_count = 3};
    fixture f;

    open_fixture(&f, make_params("low_confidence", 6, 3), &submission);
    take_step(&f, &outcome, false);
    UM_CHECK_INT(f.journal.step.step, 1);
    UM_CHECK_INT(f.journal.step.block_begin, 0);
    UM_CHECK_INT(f.journal.step.block_end, 3);
    UM_CHECK_INT(f.journal.step.length, 6);
    UM_CHECK(!f.journal.step.block_ended);
    /* neither the prompt's mask nor what stayed masked */
    UM_CHECK_INT(f.journal.step.changes, 1);
    UM_CHECK_INT(f.journal.changes[0].position, 0);
    UM_CHECK_INT(f.journal.changes[0].token, 6);
    UM_CHECK_NEAR(f.journal.changes[0].confidence, 0.5, 0);
    UM_CHECK(!f.journal.changes[0].pinned);
    UM_CHECK_INT(f.journal.guess_count, 0);
    close_fixture(&f);
}

static void a_step_says_which_block_it_was_in_and_that_it_ended(void)
{
    const um_submission submission = {0};
    fixture f;

    open_fixture(&f, make_params("low_confidence", 4, 2), &submission);
    for (int32_t step = 0; step < 4; step++) {
        const um_commit commit = {.position = step, .token = 7};
        const um_outcome outcome = {.commits = &commit, .commit_count = 1};

        take_step(&f, &outcome, false);
        UM_CHECK_INT(f.journal.step.block_begin, step / 2 * 2);
        UM_CHECK_INT(f.journal.step.block_end, step / 2 * 2 + 2);
        UM_CHECK(f.journal.step.block_ended == (step % 2 == 1));
    }
    close_fixture(&f);
}

static double told_confidence(const char *policy, float confidence)
{
    const um_commit commit = {.position = 0, .token = 7, .confidence = confidence};
    const um_outcome outcome = {.commits = &commit, .commit_count = 1};
    const um_submission submission = {0};
    double told;
    fixture f;

    open_fixture(&f, make_params(policy, 4, 4), &submission);
    take_step(&f, &outcome, false);
    told = (double)f.journal.changes[0].confidence;
    close_fixture(&f);
    return told;
}

static void confidences_are_shares_of_one(void)
{
    UM_CHECK_NEAR(told_confidence("low_confidence", 0.3f), 0.3, 1e-7);
    UM_CHECK_NEAR(told_confidence("margin", 0.3f), 0.3, 1e-7);
    UM_CHECK_NEAR(told_confidence("random", 0.3f), 0.3, 1e-7);
    UM_CHECK_NEAR(told_confidence("origin", 0.3f), 0.3, 1e-7);
    UM_CHECK_NEAR(told_confidence("entropy", -2.0f), exp(-2.0), 1e-7);
    UM_CHECK_NEAR(told_confidence("entropy", 0.0f), 1, 0);
    UM_CHECK_NEAR(told_confidence("competing", -1.5f), exp(-1.5), 1e-7);
    UM_CHECK_NEAR(told_confidence("competing", -3.402823e38f), 0, 0);
}

/* Rows 0..3; 0 is filled in, 2 was not masked (it only competed), 3 would become MASK. */
static void guesses_are_of_rows_that_were_scored_and_not_filled(void)
{
    const um_commit commit = {.position = 0, .token = 5, .confidence = -0.1f};
    const um_score_row rows[] = {{.position = 0, .masked = 1},
                                 {.position = 1, .masked = 1},
                                 {.position = 2, .masked = 0},
                                 {.position = 3, .masked = 1}};
    /* two entries a row; the last is the chosen token's */
    const um_alternative alternatives[] = {{1, -1}, {5, -1}, {2, -1}, {6, -0.5f},
                                           {3, -1}, {7, -1}, {4, -1}, {MASK, -1}};
    const um_outcome outcome = {.commits = &commit,
                                .commit_count = 1,
                                .rows = rows,
                                .row_count = 4,
                                .alternatives = alternatives,
                                .alternative_count = 2};
    const um_submission submission = {0};
    fixture f;

    open_fixture(&f, make_params("competing", 4, 4), &submission);
    f.canvas.masked[2] = 0;
    f.canvas.tokens[2] = 9;
    take_step(&f, &outcome, true);
    UM_CHECK_INT(f.journal.guess_count, 1);
    UM_CHECK_INT(f.journal.guesses[0].position, 1);
    UM_CHECK_INT(f.journal.guesses[0].token, 6);
    UM_CHECK_NEAR(f.journal.guesses[0].confidence, exp(-0.5), 1e-7);
    close_fixture(&f);
}

static um_event begin_with(const um_submission *submission)
{
    const um_outbox_options options = {.draft_tokens = 4, .draft_blocks = 1};
    um_outbox *outbox = NULL;
    um_event event;
    um_ready ready;
    um_err err = {0};
    fixture f;

    um_ready_init(&ready, NULL, NULL);
    open_fixture(&f, make_params("low_confidence", 4, 4), submission);
    UM_CHECK_OK(um_outbox_create(&options, &outbox, &err), err);
    UM_CHECK_OK(um_journal_begin(submission, &f.canvas, outbox, &err), err);
    um_ready_finish(&ready, outbox, &(um_post){.id = 1});
    UM_CHECK_STATUS(um_ready_take(&ready, &event), UM_OK);
    um_ready_deinit(&ready);
    close_fixture(&f);
    return event;
}

static void step_zero_is_what_stays_of_the_draft(void)
{
    const um_submission submission = {.prompt = (int32_t[]){1},
                                      .prompt_tokens = 1,
                                      .draft = (int32_t[]){10, UM_DRAFT_MASKED, 12},
                                      .pinned = (uint8_t[]){0, 0, 1},
                                      .draft_tokens = 3};
    um_event event = begin_with(&submission);

    UM_CHECK_INT(event.step_count, 1);
    UM_CHECK_INT(event.steps[0].step, 0);
    UM_CHECK_INT(event.steps[0].length, 4);
    UM_CHECK_INT(event.steps[0].block_end, 4);
    UM_CHECK_INT(event.change_count, 2);
    UM_CHECK(event.changes[0].position == 0 && event.changes[0].token == 10);
    UM_CHECK(event.changes[1].position == 2 && event.changes[1].token == 12);
    UM_CHECK(!event.changes[0].pinned && event.changes[1].pinned);
    um_event_deinit(&event);
}

static void there_is_no_step_zero_where_all_is_masked(void)
{
    um_submission submission = {0};
    um_event event = begin_with(&submission);

    UM_CHECK_INT(event.step_count, 0);
    um_event_deinit(&event);
    submission.draft = (int32_t[]){UM_DRAFT_MASKED, UM_DRAFT_MASKED};
    submission.draft_tokens = 2;
    event = begin_with(&submission);
    UM_CHECK_INT(event.step_count, 0);
    um_event_deinit(&event);
}

static void running_out_of_memory_is_an_error_without_leaks(void)
{
    um_status status = UM_E_NOMEM;
    um_journal journal;
    int failures = 0;

    for (long n = 1; status != UM_OK; n++) {
        um_mem_fail_after(n);
        status = um_journal_init(&journal, 4, NULL);
        failures += status != UM_OK;
    }
    um_mem_fail_after(0);
    UM_CHECK_INT(failures, 2);
    um_journal_deinit(&journal);
}

static const um_test tests[] = {
    UM_TEST(changes_are_the_canvas_positions_that_were_filled),
    UM_TEST(a_step_says_which_block_it_was_in_and_that_it_ended),
    UM_TEST(confidences_are_shares_of_one),
    UM_TEST(guesses_are_of_rows_that_were_scored_and_not_filled),
    UM_TEST(step_zero_is_what_stays_of_the_draft),
    UM_TEST(there_is_no_step_zero_where_all_is_masked),
    UM_TEST(running_out_of_memory_is_an_error_without_leaks),
};
UM_TEST_MAIN(tests)
