/* Reading /metrics: sums over labels, and quantiles against values worked out by hand. */
#include <math.h>

#include "server/scrape.h"
#include "tests/test.h"

static const char before[] = "# TYPE unmask_steps_seconds histogram\n"
                             "unmask_steps_seconds_bucket{model_name=\"m\",le=\"0.1\"} 100\n"
                             "unmask_steps_seconds_bucket{model_name=\"m\",le=\"0.2\"} 100\n"
                             "unmask_steps_seconds_bucket{model_name=\"m\",le=\"0.4\"} 100\n"
                             "unmask_steps_seconds_bucket{model_name=\"m\",le=\"+Inf\"} 100\n";

/* Beyond `before`: 0 up to 0.1, 10 up to 0.2, 30 up to 0.4, 10 above. */
static const char page[] = "# HELP unmask_steps_total unmask_steps_total 7\n"
                           "unmask_steps_total{model_name=\"m\"} 12\n"
                           "unmask_rejected_total{model_name=\"m\",reason=\"auth\"} 2\n"
                           "unmask_rejected_total{model_name=\"m\",reason=\"queue_full\"} 40.5\n"
                           "unmask_rejected 9\n"
                           "unmask_steps_seconds_bucket{model_name=\"m\",le=\"0.1\"} 100\n"
                           "unmask_steps_seconds_bucket{model_name=\"m\",le=\"0.2\"} 110\n"
                           "unmask_steps_seconds_bucket{model_name=\"m\",le=\"0.4\"} 140\n"
                           "unmask_steps_seconds_bucket{model_name=\"m\",le=\"+Inf\"} 150\n"
                           "unmask_steps_seconds_count{model_name=\"m\"} 150\n"
                           "unmask_broken{model_name=\"m\n"
                           "unmask_last 3";

static void values_are_found_by_name_and_label(void)
{
    UM_CHECK_NEAR(um_scrape_sum(page, "steps_total", NULL), 12, 0);
    UM_CHECK_NEAR(um_scrape_sum(page, "rejected_total", NULL), 42.5, 0);
    UM_CHECK_NEAR(um_scrape_sum(page, "rejected_total", "reason=\"auth\""), 2, 0);
    UM_CHECK_NEAR(um_scrape_sum(page, "rejected", NULL), 9, 0);
    UM_CHECK_NEAR(um_scrape_sum(page, "last", NULL), 3, 0);
    UM_CHECK_NEAR(um_scrape_sum(page, "nothing", NULL), 0, 0);
    UM_CHECK_NEAR(um_scrape_sum(page, "broken", NULL), 0, 0);
    UM_CHECK_NEAR(um_scrape_sum("", "last", NULL), 0, 0);
}

static void labels_are_copied_and_cut(void)
{
    char text[8], small[4];

    um_scrape_label(page, "rejected_total", "reason", text, sizeof(text));
    UM_CHECK_STR(text, "auth");
    um_scrape_label(page, "rejected_total", "reason", small, sizeof(small));
    UM_CHECK_STR(small, "aut");
    um_scrape_label(page, "rejected_total", "nothing", text, sizeof(text));
    UM_CHECK_STR(text, "");
}

/* 50 observations: number 5 is in the middle of 10 in (0.1, 0.2], number 25 in the middle of 30 in
 * (0.2, 0.4], and what lies above the last bound is told as that bound. */
static void quantiles_are_of_what_came_in_between(void)
{
    UM_CHECK_NEAR(um_scrape_quantile(before, page, "steps_seconds", 0.1), 0.15, 1e-12);
    UM_CHECK_NEAR(um_scrape_quantile(before, page, "steps_seconds", 0.5), 0.3, 1e-12);
    UM_CHECK_NEAR(um_scrape_quantile(before, page, "steps_seconds", 0.95), 0.4, 1e-12);
    UM_CHECK_NEAR(um_scrape_quantile("", page, "steps_seconds", 0.5), 0.1 * 75 / 100, 1e-12);
    UM_CHECK(isnan(um_scrape_quantile(page, page, "steps_seconds", 0.5)));
    UM_CHECK(isnan(um_scrape_quantile("", page, "nothing", 0.5)));
}

static const um_test tests[] = {
    UM_TEST(values_are_found_by_name_and_label),
    UM_TEST(labels_are_copied_and_cut),
    UM_TEST(quantiles_are_of_what_came_in_between),
};
UM_TEST_MAIN(tests)
