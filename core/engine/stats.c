/* Buckets of the engine's histograms, and adding to them. No locking of its own. */
#include "core/engine/stats.h"

#include <string.h>

static const double latency_bounds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                        2.5,   5,    10,    30,   60,  120,  300, 600};
static const double step_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                     0.25,  0.5,    1,     2.5,  5,     10};
static const double tokens_per_step_bounds[] = {0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 32};

static void set_bounds(um_histogram *histogram, const double *bounds, size_t count)
{
    UM_ASSERT(count <= UM_HISTOGRAM_BUCKETS_MAX);
    memcpy(histogram->bounds, bounds, count * sizeof(*bounds));
    histogram->bucket_count = (int32_t)count;
}

/* 1 2 5 10 20 50 ... up to and including the first at or above `max`. */
static void set_decades(um_histogram *histogram, int32_t max)
{
    static const double digits[] = {1, 2, 5};
    double bounds[UM_HISTOGRAM_BUCKETS_MAX];
    double decade = 1;
    size_t count = 0;

    do {
        bounds[count] = digits[count % 3] * decade;
        if (++count % 3 == 0)
            decade *= 10;
    } while (bounds[count - 1] < max && count < UM_HISTOGRAM_BUCKETS_MAX);
    set_bounds(histogram, bounds, count);
}

/* 1 2 4 8 ... up to and including the first at or above `max`. */
static void set_powers(um_histogram *histogram, int32_t max)
{
    double bounds[UM_HISTOGRAM_BUCKETS_MAX];
    size_t count = 0;

    do {
        bounds[count] = count ? 2 * bounds[count - 1] : 1;
        count++;
    } while (bounds[count - 1] < max && count < UM_HISTOGRAM_BUCKETS_MAX);
    set_bounds(histogram, bounds, count);
}

void um_stats_init(um_stats *stats, int32_t context_max, int32_t batch_max)
{
    um_histogram *latencies[] = {&stats->e2e_seconds,        &stats->inference_seconds,
                                 &stats->queue_seconds,      &stats->first_draft_seconds,
                                 &stats->first_text_seconds, &stats->inter_chunk_seconds};
    um_histogram *counts[] = {&stats->prompt_token_counts, &stats->generation_token_counts,
                              &stats->max_token_params, &stats->denoise_steps};

    memset(stats, 0, sizeof(*stats));
    for (size_t i = 0; i < UM_COUNT_OF(latencies); i++)
        set_bounds(latencies[i], latency_bounds, UM_COUNT_OF(latency_bounds));
    for (size_t i = 0; i < UM_COUNT_OF(counts); i++)
        set_decades(counts[i], context_max);
    set_bounds(&stats->step_seconds, step_bounds, UM_COUNT_OF(step_bounds));
    set_bounds(&stats->tokens_per_step, tokens_per_step_bounds,
               UM_COUNT_OF(tokens_per_step_bounds));
    set_powers(&stats->step_batch_size, batch_max);
}

void um_histogram_add(um_histogram *histogram, double value)
{
    int32_t bucket = 0;

    while (bucket < histogram->bucket_count && value > histogram->bounds[bucket])
        bucket++;
    histogram->counts[bucket]++;
    histogram->sum += value;
    histogram->count++;
}
