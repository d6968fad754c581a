/*
 * What `unmask bench` measures: linear layers, whole denoising steps, and what packing several
 * requests into a step gains. Plain numbers out; cmd_bench.c prints them.
 *
 * Other programs and other machines on the same silicon disturb every figure here. So each one is
 * taken in rounds, each round measures the machine's own peak beside it, and a share of the peak is
 * the median over the rounds of rate / peak of the same round.
 */
#ifndef UM_SERVER_BENCH_MEASURE_H
#define UM_SERVER_BENCH_MEASURE_H

#include "core/engine/step.h"

#define UM_BENCH_CANVASES_MAX 8
#define UM_BENCH_LINEAR_ROWS 7 /* 1, 4, 8, 32, 64, 128, 512 rows */
#define UM_BENCH_MATRICES 4    /* qkv, attention_out, gate_up, down */
#define UM_BENCH_PACKINGS 4    /* mixed canvases; windows of 8, 4 and 1 rows */
#define UM_BENCH_REQUESTS 32   /* of a packing */

typedef struct um_bench_linear {
    const char *matrix;
    int64_t out;
    int64_t in;
    int32_t rows;
    double seconds;     /* median */
    double flops_share; /* of the peak of its precision */
    double read_share;  /* weight bytes over time, of the read bandwidth */
} um_bench_linear;

typedef struct um_bench_step {
    int32_t canvas; /* rows of one sequence, the second half masked and scored */
    double seconds; /* median */
    double best_seconds;
    double flops_share;
} um_bench_step;

typedef struct um_bench_packing {
    const char *kind; /* "mixed" or "window" */
    int32_t rows_min; /* of a request */
    int32_t rows_max;
    int64_t positions;     /* of all requests together */
    double alone_seconds;  /* every request in steps of its own; median */
    double packed_seconds; /* together, up to rows_per_step rows a step */
    double gain;           /* median over rounds of alone / packed */
} um_bench_packing;

/* The largest step to come, for um_model_options.rows_max. */
int32_t um_bench_rows_max(const int32_t *canvases, int32_t count, int32_t rows_per_step);

/* Each fills as many entries as its constant says (step: `count`). `rounds` >= 1. */
um_status um_bench_linears(um_backend *backend, const um_model_info *info, int32_t rounds,
                           um_bench_linear *out, um_err *err);
um_status um_bench_steps(um_model *model, const int32_t *canvases, int32_t count, int32_t rounds,
                         um_bench_step *out, um_err *err);
um_status um_bench_packings(um_model *model, int32_t canvas, int32_t rows_per_step, int32_t rounds,
                            um_bench_packing *out, um_err *err);

#endif
