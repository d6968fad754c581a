/*
 * Counters and histograms of the engine. Written under the engine's lock, read as one consistent
 * copy by anybody. Names follow the metrics of the API (`/metrics`).
 *
 * With nothing running or waiting, requests_submitted = sum of endings + queue_timeouts.
 */
#ifndef UM_ENGINE_STATS_H
#define UM_ENGINE_STATS_H

#include "core/engine/messages.h"

#define UM_HISTOGRAM_BUCKETS_MAX 24

typedef struct um_histogram {
    double bounds[UM_HISTOGRAM_BUCKETS_MAX]; /* [bucket_count] upper bounds, ascending */
    int32_t bucket_count;
    uint64_t counts[UM_HISTOGRAM_BUCKETS_MAX + 1]; /* not cumulative; last: above every bound */
    double sum;
    uint64_t count;
} um_histogram;

void um_histogram_add(um_histogram *histogram, double value);

typedef enum um_ending {
    UM_ENDING_STOP,
    UM_ENDING_LENGTH,
    UM_ENDING_ABORT, /* cancelled */
    UM_ENDING_ERROR,
    UM_ENDING_COUNT,
} um_ending;

typedef struct um_stats {
    /* now */
    int32_t running;
    int32_t waiting;
    int64_t canvas_tokens; /* generated positions of all running canvases, when fully grown */
    /* How full the last step was: 1 where it had no room for a running request, else its requests /
     * batch_max; 0 when idle. */
    double batch_occupancy;
    /* since start */
    uint64_t requests_submitted;
    uint64_t endings[UM_ENDING_COUNT];
    uint64_t queue_timeouts; /* not among the endings: such a request was never served */
    uint64_t prompt_tokens;  /* counted at the first step */
    uint64_t generation_tokens;
    uint64_t positions_evaluated; /* packed rows of all steps */
    uint64_t tokens_filled;       /* commits, also behind the answer's end */
    uint64_t forward_passes;
    /* per request that ended with STOP or LENGTH */
    um_histogram e2e_seconds;       /* arrival -> end */
    um_histogram inference_seconds; /* first step -> end */
    um_histogram prompt_token_counts;
    um_histogram generation_token_counts;
    um_histogram max_token_params;
    um_histogram denoise_steps;
    um_histogram tokens_per_step; /* visible tokens / steps */
    /* as it happens */
    um_histogram queue_seconds;       /* arrival -> first step */
    um_histogram first_draft_seconds; /* arrival -> end of the first step */
    um_histogram first_text_seconds;  /* arrival -> first text */
    um_histogram inter_chunk_seconds; /* between texts */
    um_histogram step_seconds;
    um_histogram step_batch_size; /* requests per step */
} um_stats;

/* Sets every histogram's buckets; context_max bounds those of tokens and steps, batch_max those of
 * the batch size. */
void um_stats_init(um_stats *stats, int32_t context_max, int32_t batch_max);

#endif
