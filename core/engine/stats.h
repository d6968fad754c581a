/*
 * Counters and histograms of the engine. Written by the engine thread under a lock, read as one
 * consistent copy by anybody. Names follow the metrics of the API (`/metrics`).
 */
#ifndef UM_ENGINE_STATS_H
#define UM_ENGINE_STATS_H

#include "core/base/check.h"

#define UM_HISTOGRAM_BUCKETS_MAX 24

typedef struct um_histogram {
    const double *bounds; /* [bucket_count] upper bounds, ascending, static */
    int32_t bucket_count;
    uint64_t counts[UM_HISTOGRAM_BUCKETS_MAX + 1]; /* not cumulative; last: above every bound */
    double sum;
    uint64_t count;
} um_histogram;

void um_histogram_add(um_histogram *histogram, double value);

typedef enum um_ending {
    UM_ENDING_STOP,
    UM_ENDING_LENGTH,
    UM_ENDING_ABORT,
    UM_ENDING_ERROR,
    UM_ENDING_COUNT,
} um_ending;

typedef struct um_stats {
    /* now */
    int32_t running;
    int32_t waiting;
    int64_t canvas_tokens;  /* positions of all running canvases */
    double batch_occupancy; /* requests in the last step / batch_max */
    /* since start */
    uint64_t requests_submitted;
    uint64_t endings[UM_ENDING_COUNT];
    uint64_t queue_timeouts;
    uint64_t prompt_tokens;
    uint64_t generation_tokens;
    uint64_t positions_evaluated;
    uint64_t tokens_filled;
    uint64_t forward_passes;
    um_histogram e2e_seconds; /* arrival -> end */
    um_histogram queue_seconds;
    um_histogram first_draft_seconds;
    um_histogram first_text_seconds;
    um_histogram inference_seconds;
    um_histogram inter_chunk_seconds;
    um_histogram step_seconds;
    um_histogram step_batch_size;
    um_histogram prompt_token_counts;
    um_histogram generation_token_counts;
    um_histogram max_token_params;
    um_histogram denoise_steps;
    um_histogram tokens_per_step;
} um_stats;

/* Sets every histogram's buckets; context_max bounds the token buckets. */
void um_stats_init(um_stats *stats, int32_t context_max);

#endif
