/* Reading /metrics: sums over labels, and quantiles against values worked out by hand. */
#include <math.h>

#include "core/base/buf.h"
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

static void series_come_one_by_one_with_a_label(void)
{
    char text[16], small[4];
    double value = -1;
    const char *at = um_scrape_next(page, "rejected_total", "reason", text, sizeof(text), &value);

    UM_CHECK_STR(text, "auth");
    UM_CHECK_NEAR(value, 2, 0);
    UM_CHECK(um_scrape_next(page, "rejected_total", "reason", small, sizeof(small), &value));
    UM_CHECK_STR(small, "aut");
    at = um_scrape_next(at, "rejected_total", "reason", text, sizeof(text), &value);
    UM_CHECK_STR(text, "queue_full");
    UM_CHECK_NEAR(value, 40.5, 0);
    UM_CHECK(um_scrape_next(at, "rejected_total", "reason", text, sizeof(text), &value) == NULL);
    UM_CHECK_STR(text, "");
    at = um_scrape_next(page, "last", "nothing", text, sizeof(text), &value);
    UM_CHECK_STR(text, "");
    UM_CHECK_NEAR(value, 3, 0);
    UM_CHECK(um_scrape_next(at, "last", "nothing", text, sizeof(text), &value) == NULL);
}

static void labels_cannot_command_a_terminal(void)
{
    char text[64];
    double value;

    um_scrape_next("unmask_x{m=\"\x1b]0;me\a\x1b[2J \xff\"} 1\n", "x", "m", text, sizeof(text),
                   &value);
    UM_CHECK_STR(text, "?]0;me??[2J ?");
}

/* Without that bound a page of megabytes would keep the reader for minutes. */
static void only_so_many_buckets_are_read(void)
{
    um_buf text = {0};

    for (int i = 1; i <= 100; i++)
        um_buf_printf(&text, "unmask_x_bucket{le=\"%d\"} %d\n", i, i);
    um_buf_text(&text, "unmask_x_bucket{le=\"+Inf\"} 100\n");
    UM_CHECK_NEAR(um_scrape_quantile("", um_buf_view(&text), "x", 0.5), 50, 1e-9);
    UM_CHECK_NEAR(um_scrape_quantile("", um_buf_view(&text), "x", 0.9), 64, 1e-9);
    um_buf_deinit(&text);
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
    UM_TEST(values_are_found_by_name_and_label),    UM_TEST(series_come_one_by_one_with_a_label),
    UM_TEST(labels_cannot_command_a_terminal),      UM_TEST(only_so_many_buckets_are_read),
    UM_TEST(quantiles_are_of_what_came_in_between),
};
UM_TEST_MAIN(tests)
