/*
 * Reading a page of /metrics (Prometheus text, our own names): values, sums over labels, and quantiles
 * of what a histogram counted between two pages. For `unmask top`.
 *
 * No state; a page is the text as it came, NUL-terminated.
 */
#ifndef UM_SERVER_SCRAPE_H
#define UM_SERVER_SCRAPE_H

#include <stddef.h>

/* The sum of the series of `name` (without the unmask_ prefix) whose labels hold `label`
 * ("reason=\"queue_full\""; NULL: all of them). 0 where there are none. */
double um_scrape_sum(const char *page, const char *name, const char *label);
/* The first series of `name` in `page`: copies the value of its label `label`, printable and cut to
 * `size`, "" where it has none, and its value. Returns where to look for the next one, or NULL where
 * there was none; then `out` is "" and `value` untouched. */
const char *um_scrape_next(const char *page, const char *name, const char *label, char *out,
                           size_t size, double *value);
/* Quantile 0..1 of the observations that histogram `name` has in `page` and not yet in `before`, as
 * PromQL's histogram_quantile computes it: linear inside a bucket, the last bound for what is beyond
 * it. NaN where nothing was observed. */
double um_scrape_quantile(const char *before, const char *page, const char *name, double quantile);

#endif
