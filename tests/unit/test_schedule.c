/* The published schedules against the authors' own numbers: Dream's counts as its float32 code gives
 * them, DiffuLLaMA's product that float32 rounds down. */
#include "tests/test.h"

#include "core/engine/schedule.h"

#define STEPS_MAX 16

static void dreams_counts_are_those_of_its_code(void)
{
    static const struct {
        int32_t masks, steps;
        int32_t counts[STEPS_MAX];
    } cases[] = {
        {8, 8, {0, 1, 1, 1, 1, 1, 1, 2}},
        {8, 4, {1, 2, 2, 3}},
        {8, 2, {3, 5}},
        {7, 5, {1, 1, 1, 1, 3}},
        {9, 4, {2, 2, 2, 3}},
        {10, 3, {3, 3, 4}},
        {12, 5, {2, 2, 2, 2, 4}},
        {32, 8, {3, 4, 4, 4, 4, 4, 4, 5}},
        {32, 16, {1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3}},
        {5, 8, {0, 0, 0, 0, 1, 1, 1, 2}},
        {4, 16, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2}},
        {5, 1, {5}},
    };

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        int32_t left = cases[i].masks;

        for (int32_t step = 0; step < cases[i].steps; step++) {
            int32_t count = um_schedule_time(left, step, cases[i].steps, 1e-3f);

            UM_CHECK_INT(count, cases[i].counts[step]);
            left -= count;
        }
        UM_CHECK_INT(left, 0);
    }
}

/* In double precision the second step would commit 9 and the third 10. */
static void dreams_times_are_float32(void)
{
    static const int32_t counts[] = {9, 10, 9, 10, 10, 10};
    int32_t left = 1000;

    for (int32_t step = 0; step < (int32_t)UM_COUNT_OF(counts); step++) {
        int32_t count = um_schedule_time(left, step, 100, 1e-3f);

        UM_CHECK_INT(count, counts[step]);
        left -= count;
    }
}

/* linspace(1, 1e-3, 5) = 1, 0.75025, 0.5005, 0.25075, 0.001 */
static void shares_follow_the_times(void)
{
    UM_CHECK_NEAR(um_schedule_time_share(0, 4, 1e-3f), 1 - 0.75025, 1e-6);
    UM_CHECK_NEAR(um_schedule_time_share(1, 4, 1e-3f), 1 - 0.5005 / 0.75025, 1e-6);
    UM_CHECK_NEAR(um_schedule_time_share(2, 4, 1e-3f), 1 - 0.25075 / 0.5005, 1e-6);
    UM_CHECK_NEAR(um_schedule_time_share(3, 4, 1e-3f), 1, 0);
}

/* Without an end above 0: 1/(t + 1) for t from 63 down, as DiffuLLaMA reveals. */
static void without_eps_each_step_has_its_share_of_what_is_left(void)
{
    for (int32_t step = 0; step < 64; step++)
        UM_CHECK_NEAR(um_schedule_time_share(step, 64, 0.0f), 1.0 / (64 - step), 1e-6);
}

/* trunc(float32(75) * float32(42/50)) is 62; exactly it would be 63. */
static void competing_rounds_as_float32(void)
{
    UM_CHECK_INT(um_schedule_competing(75, 7, 50), 62);
    UM_CHECK_INT(um_schedule_competing(8, 0, 3), 5);
    UM_CHECK_INT(um_schedule_competing(8, 1, 3), 2);
    UM_CHECK_INT(um_schedule_competing(8, 2, 3), 0);
    UM_CHECK_INT(um_schedule_competing(8, 0, 1), 0);
}

static const um_test tests[] = {
    UM_TEST(dreams_counts_are_those_of_its_code),
    UM_TEST(dreams_times_are_float32),
    UM_TEST(shares_follow_the_times),
    UM_TEST(without_eps_each_step_has_its_share_of_what_is_left),
    UM_TEST(competing_rounds_as_float32),
};
UM_TEST_MAIN(tests)
