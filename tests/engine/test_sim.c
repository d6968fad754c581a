/*
 * Thousands of simulated lives of the engine (sim.h). What must hold for every seed: the text that
 * a reader gets is the decoded final canvas cut by the rules, nothing lost or doubled; every
 * request ends exactly once and as the rules say; queue, wait and admission follow the model;
 * cancels and deadlines take effect at the next boundary; no turn allocates; counters balance; the
 * replay of a draft's changes is the canvas whenever somebody looks, and each visible token has its
 * row of log-probabilities. The
 * canaries show that the checks can fail.
 */
#include "tests/test.h"

#include "core/base/log.h"
#include "tests/engine/sim.h"
#include "tests/support/byte_tokenizer.h"

#define SEEDS (UM_TEST_SANITIZED ? 600 : 6000)
#define CANARY_SEEDS 50

static um_sim_report run(um_sim_mode mode, uint64_t first_seed, int count)
{
    um_tokenizer *tokenizer = um_byte_tokenizer_open();
    um_sim_report report = {0};

    um_log_set_level(UM_LOG_OFF); /* lost devices are part of the script */
    for (int i = 0; i < count; i++)
        um_sim_run(first_seed + (uint64_t)i, mode, tokenizer, &report);
    um_tokenizer_close(tokenizer);
    return report;
}

static void every_seed_keeps_every_promise(void)
{
    um_sim_report r = run(UM_SIM_HONEST, 1, SEEDS);

    printf(
        "    %d seeds: %ld requests (%ld stop, %ld length, %ld cancelled, %ld late, %ld late in "
        "the queue, %ld by device loss, %ld shut down), refused %ld full %ld draining %ld "
        "failed; %ld steps, %ld shared; %ld waits; %ld bytes; %ld with masks left; %ld grown, %ld "
        "hurried, %ld tokens of drafts stayed, %ld did not; %ld changes and %ld guesses of drafts, "
        "%ld rows of "
        "log-probabilities\n",
        SEEDS, r.submitted, r.stopped, r.ran_out, r.cancelled, r.timed_out, r.queue_timed_out,
        r.failed, r.shut_down, r.refused_full, r.refused_draining, r.refused_failed, r.steps,
        r.shared_steps, r.waits, r.bytes, r.masks_left, r.grown, r.hurried, r.accepted, r.rejected,
        r.changes, r.guesses, r.rows);
    UM_CHECK_STR(r.first_fault, "");
    UM_CHECK_INT(r.faults, 0);
    /* the script reached every branch, and often */
    UM_CHECK(r.stopped > SEEDS && r.ran_out > SEEDS && r.cancelled > SEEDS);
    UM_CHECK(r.timed_out > SEEDS / 10 && r.queue_timed_out > SEEDS / 10);
    UM_CHECK(r.failed > SEEDS / 10 && r.shut_down > SEEDS / 10);
    UM_CHECK(r.refused_full > SEEDS && r.refused_draining > SEEDS / 10);
    UM_CHECK(r.refused_failed > SEEDS / 50);
    UM_CHECK(r.shared_steps > r.steps / 4 && r.waits > SEEDS && r.bytes > 100L * SEEDS);
    UM_CHECK(r.masks_left > SEEDS / 100);
    UM_CHECK(r.grown > SEEDS && r.hurried > SEEDS);
    UM_CHECK(r.accepted > SEEDS && r.rejected > SEEDS);
    UM_CHECK(r.changes > 10L * SEEDS && r.guesses > 10L * SEEDS && r.rows > 10L * SEEDS);
}

static void expect_noticed(um_sim_mode mode)
{
    um_sim_report report = run(mode, 1, CANARY_SEEDS);

    UM_CHECK(report.faults > 0);
    printf("    noticed: %s\n", report.first_fault);
}

static void canary_a_wrong_token_is_noticed(void)
{
    expect_noticed(UM_SIM_WRONG_TOKEN);
}

static void canary_lost_text_is_noticed(void)
{
    expect_noticed(UM_SIM_LOSE_TEXT);
}

static void canary_doubled_text_is_noticed(void)
{
    expect_noticed(UM_SIM_DOUBLE_TEXT);
}

static void canary_a_lost_change_is_noticed(void)
{
    expect_noticed(UM_SIM_LOSE_CHANGE);
}

static void canary_a_lost_row_is_noticed(void)
{
    expect_noticed(UM_SIM_LOSE_ROW);
}

static void canary_a_dropped_cancel_is_noticed(void)
{
    expect_noticed(UM_SIM_DROP_CANCEL);
}

static void canary_a_broken_wait_bound_is_noticed(void)
{
    expect_noticed(UM_SIM_NO_PATIENCE);
}

static void canary_unfair_admission_is_noticed(void)
{
    expect_noticed(UM_SIM_UNFAIR);
}

static void canary_a_gap_that_grows_is_noticed(void)
{
    expect_noticed(UM_SIM_NO_GROWTH);
}

static void canary_a_last_step_is_noticed(void)
{
    expect_noticed(UM_SIM_NO_DEADLINE);
}

static void canary_noise_on_a_draft_is_noticed(void)
{
    expect_noticed(UM_SIM_NO_NOISE);
}

static const um_test tests[] = {
    {"every_seed_keeps_every_promise", every_seed_keeps_every_promise, 120},
    UM_TEST(canary_a_wrong_token_is_noticed),
    UM_TEST(canary_lost_text_is_noticed),
    UM_TEST(canary_doubled_text_is_noticed),
    UM_TEST(canary_a_lost_change_is_noticed),
    UM_TEST(canary_a_lost_row_is_noticed),
    UM_TEST(canary_a_dropped_cancel_is_noticed),
    UM_TEST(canary_a_broken_wait_bound_is_noticed),
    UM_TEST(canary_unfair_admission_is_noticed),
    UM_TEST(canary_a_gap_that_grows_is_noticed),
    UM_TEST(canary_a_last_step_is_noticed),
    UM_TEST(canary_noise_on_a_draft_is_noticed),
};
UM_TEST_MAIN(tests)
