/* Histograms and their buckets. */
#include "tests/test.h"

#include "core/engine/stats.h"

static void a_value_counts_in_the_first_bucket_that_holds_it(void)
{
    um_histogram histogram = {.bounds = {1, 2, 4}, .bucket_count = 3};

    um_histogram_add(&histogram, 0.5);
    um_histogram_add(&histogram, 1.0); /* bounds are inclusive */
    um_histogram_add(&histogram, 1.5);
    um_histogram_add(&histogram, 4.5);
    UM_CHECK_INT(histogram.counts[0], 2);
    UM_CHECK_INT(histogram.counts[1], 1);
    UM_CHECK_INT(histogram.counts[2], 0);
    UM_CHECK_INT(histogram.counts[3], 1);
    UM_CHECK_INT(histogram.count, 4);
    UM_CHECK_NEAR(histogram.sum, 7.5, 0);
}

static void check_bounds(const um_histogram *histogram, const double *expected, int32_t count)
{
    UM_CHECK_INT(histogram->bucket_count, count);
    for (int32_t i = 0; i < count && i < histogram->bucket_count; i++)
        UM_CHECK_NEAR(histogram->bounds[i], expected[i], 0);
}

static void buckets_follow_the_limits_of_the_server(void)
{
    um_stats stats;

    um_stats_init(&stats, 1000, 48);
    check_bounds(&stats.denoise_steps, (double[]){1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}, 10);
    check_bounds(&stats.step_batch_size, (double[]){1, 2, 4, 8, 16, 32, 64}, 7);
    check_bounds(&stats.tokens_per_step, (double[]){0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 32}, 11);
    UM_CHECK_INT(stats.e2e_seconds.bucket_count, 16);
    UM_CHECK_NEAR(stats.e2e_seconds.bounds[15], 600, 0);
    UM_CHECK_INT(stats.step_seconds.bucket_count, 13);
    UM_CHECK_NEAR(stats.step_seconds.bounds[0], 0.001, 0);
}

static void the_largest_limits_still_fit(void)
{
    um_stats stats;

    um_stats_init(&stats, INT32_MAX, 4096);
    UM_CHECK(stats.denoise_steps.bucket_count <= UM_HISTOGRAM_BUCKETS_MAX);
    um_histogram_add(&stats.denoise_steps, 1e12);
    UM_CHECK_INT(stats.denoise_steps.counts[stats.denoise_steps.bucket_count], 1);
}

static const um_test tests[] = {
    UM_TEST(a_value_counts_in_the_first_bucket_that_holds_it),
    UM_TEST(buckets_follow_the_limits_of_the_server),
    UM_TEST(the_largest_limits_still_fit),
};
UM_TEST_MAIN(tests)
