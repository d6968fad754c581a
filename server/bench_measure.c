/* See bench_measure.h. One thread; owns nothing between calls. */
#include "server/bench_measure.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/mem.h"

#define ROUNDS_MAX 1000
#define PEAK_SECONDS 0.06
#define SAMPLE_SECONDS 0.01
#define DEVICE_CALLS 32 /* queued before a wait, so that waiting does not count */
/* Weights in turn until they are as many bytes as no last-level cache holds, as in a large model. */
#define ROTATION_BYTES ((size_t)256 << 20)
#define ROTATION_MAX 512

static double now(void)
{
    return (double)um_clock_now_ns(um_clock_system()) * 1e-9;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts. */
static double median(double *values, int32_t count)
{
    qsort(values, (size_t)count, sizeof(*values), compare_doubles);
    return values[count / 2];
}

/* The machine's peak for products in `precision`, and for reading. */
static um_status measure_peak(um_backend *backend, um_dtype precision, double *flops, double *read,
                              um_err *err)
{
    um_peak peak;
    um_status status = um_backend_measure_peak(backend, PEAK_SECONDS, &peak, err);

    *flops = precision == UM_BF16 ? peak.bf16_flops : peak.f32_flops;
    *read = peak.read_bytes;
    return status;
}

/* ---- linear layers -------------------------------------------------------------------------- */

static const int32_t linear_rows[UM_BENCH_LINEAR_ROWS] = {1, 4, 8, 32, 64, 128, 512};

/* One matrix of a layer, in as many copies as it takes to leave the caches. */
typedef struct linear_bench {
    um_backend *backend; /* borrowed */
    const char *name;
    um_weight_spec spec;
    bool accumulate;
    um_dtype out_dtype;
    um_weight *weights[ROTATION_MAX]; /* owned, as are the tensors */
    int32_t weight_count;
    int32_t next;
    um_tensor x;
    um_tensor out;
} linear_bench;

static void close_linear(linear_bench *bench)
{
    for (int32_t i = 0; i < bench->weight_count; i++)
        um_weight_destroy(bench->backend, bench->weights[i]);
    um_tensor_destroy(bench->backend, &bench->x);
    um_tensor_destroy(bench->backend, &bench->out);
}

/* Small numbers of both signs: no denormals and no overflow in any product. */
static void fill_bf16(uint16_t *to, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = um_f32_to_bf16((float)((i * 2654435761u >> 7) % 255) * (1.0f / 256.0f) - 0.5f);
}

static um_status create_copies(linear_bench *bench, um_err *err)
{
    um_status status = UM_OK;
    size_t bytes = 0;

    while (status == UM_OK && bytes < ROTATION_BYTES && bench->weight_count < ROTATION_MAX) {
        status = um_weight_create(bench->backend, &bench->spec,
                                  &bench->weights[bench->weight_count], err);
        if (status != UM_OK)
            break;
        bytes += um_weight_bytes(bench->weights[bench->weight_count++]);
    }
    return status;
}

/* `spec` has kind, dtype and part_count; every part gets `out` rows of `in`. */
static um_status open_linear(linear_bench *bench, int64_t out, int64_t in, um_err *err)
{
    size_t count = (size_t)(out * in);
    int64_t rows_max = linear_rows[UM_BENCH_LINEAR_ROWS - 1];
    um_status status;
    uint16_t *source = um_mem_alloc_aligned(count * sizeof(*source));
    uint16_t *x;

    if (!source)
        return um_fail(err, UM_E_NOMEM, "bench: no memory for a matrix of %lld x %lld",
                       (long long)out, (long long)in);
    fill_bf16(source, count);
    for (int32_t i = 0; i < bench->spec.part_count; i++)
        bench->spec.parts[i] = um_tensor_host(UM_BF16, out, in, source);
    status = create_copies(bench, err);
    um_mem_free_aligned(source, count * sizeof(*source));
    if (status != UM_OK)
        return status;
    status = um_tensor_create(bench->backend, bench->spec.dtype, rows_max, in, &bench->x, err);
    if (status == UM_OK)
        status =
            um_tensor_create(bench->backend, bench->out_dtype, rows_max, out, &bench->out, err);
    if (status != UM_OK)
        return status;
    /* Any bits of small numbers do as activations; f32 reads them as pairs. */
    x = um_mem_zalloc(bench->x.bytes);
    if (!x)
        return um_fail(err, UM_E_NOMEM, "bench: no memory for activations");
    fill_bf16(x, bench->x.bytes / sizeof(*x));
    status = um_tensor_upload(bench->backend, &bench->x, x, rows_max * in, err);
    um_mem_free(x);
    return status;
}

/* Calls with other weights each, then waits until a device is through with them. */
static um_status run_calls(linear_bench *bench, const um_tensor *x, const um_tensor *out,
                           int32_t calls, um_err *err)
{
    um_tensor last = um_tensor_view(out, 0, 1, 0, 1);
    um_status status = UM_OK;
    char ignored[sizeof(float)];

    for (int32_t i = 0; i < calls && status == UM_OK; i++) {
        um_linear_args args = {.x = x,
                               .weight = bench->weights[bench->next],
                               .accumulate = bench->accumulate,
                               .out = out};

        status = um_op_linear(bench->backend, &args, err);
        bench->next = (bench->next + 1) % bench->weight_count;
    }
    return status == UM_OK ? um_tensor_download(bench->backend, &last, ignored, 1, err) : status;
}

/* Seconds of one call with `rows` rows, over a sample of several. */
static um_status time_linear(linear_bench *bench, int32_t rows, double *seconds, um_err *err)
{
    um_tensor x = um_tensor_view(&bench->x, 0, rows, 0, bench->x.cols);
    um_tensor out = um_tensor_view(&bench->out, 0, rows, 0, bench->out.cols);
    int32_t calls = 0, calls_each = um_backend_is_host(bench->backend) ? 1 : DEVICE_CALLS;
    double start = now(), elapsed;

    UM_ASSERT(bench->weight_count > 0);
    do {
        um_status status = run_calls(bench, &x, &out, calls_each, err);

        if (status != UM_OK)
            return status;
        calls += calls_each;
        elapsed = now() - start;
    } while (elapsed < SAMPLE_SECONDS || calls < bench->weight_count / 4);
    *seconds = elapsed / calls;
    return UM_OK;
}

typedef struct linear_samples {
    double seconds[ROUNDS_MAX];
    double flops[ROUNDS_MAX]; /* shares */
    double read[ROUNDS_MAX];
} linear_samples;

static um_status run_linear(linear_bench *bench, int32_t rounds, linear_samples *samples,
                            um_bench_linear *out, um_err *err)
{
    int64_t parts = bench->spec.kind == UM_WEIGHT_GATED ? 2 : 1;
    double flop = 2.0 * (double)(bench->out.cols * parts) * (double)bench->x.cols;
    double bytes = (double)um_weight_bytes(bench->weights[0]);

    for (int32_t round = 0; round < rounds; round++) {
        double peak, read;
        um_status status = measure_peak(bench->backend, bench->spec.dtype, &peak, &read, err);

        for (int32_t i = 0; i < UM_BENCH_LINEAR_ROWS && status == UM_OK; i++) {
            double seconds = 0;

            status = time_linear(bench, linear_rows[i], &seconds, err);
            samples[i].seconds[round] = seconds;
            samples[i].flops[round] = flop * linear_rows[i] / seconds / peak;
            samples[i].read[round] = bytes / seconds / read;
        }
        if (status != UM_OK)
            return status;
    }
    for (int32_t i = 0; i < UM_BENCH_LINEAR_ROWS; i++)
        out[i] = (um_bench_linear){.matrix = bench->name,
                                   .out = bench->out.cols * parts,
                                   .in = bench->x.cols,
                                   .rows = linear_rows[i],
                                   .seconds = median(samples[i].seconds, rounds),
                                   .flops_share = median(samples[i].flops, rounds),
                                   .read_share = median(samples[i].read, rounds)};
    return UM_OK;
}

um_status um_bench_linears(um_backend *backend, const um_model_info *info, int32_t rounds,
                           um_bench_linear *out, um_err *err)
{
    const um_model_config *c = &info->config;
    int64_t q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim;
    um_dtype compute = info->precision;
    const struct {
        const char *name;
        um_weight_kind kind;
        int64_t out;
        int64_t in;
        bool accumulate;
        um_dtype out_dtype;
    } matrices[UM_BENCH_MATRICES] = {
        {"qkv", UM_WEIGHT_PLAIN, q + 2 * kv, c->width, false, UM_F32},
        {"attention_out", UM_WEIGHT_PLAIN, c->width, q, true, UM_F32},
        {"gate_up", UM_WEIGHT_GATED, c->mlp_width, c->width, false, compute},
        {"down", UM_WEIGHT_PLAIN, c->width, c->mlp_width, true, UM_F32},
    };
    um_backend_limits limits = {.rows_max = linear_rows[UM_BENCH_LINEAR_ROWS - 1]};
    linear_samples *samples = um_mem_calloc(UM_BENCH_LINEAR_ROWS, sizeof(*samples));
    um_status status = UM_OK;

    UM_ASSERT(rounds >= 1 && rounds <= ROUNDS_MAX);
    if (!samples)
        return um_fail(err, UM_E_NOMEM, "bench: no memory for samples");
    status = um_backend_reserve(backend, &limits, err);
    for (int m = 0; m < UM_BENCH_MATRICES && status == UM_OK; m++) {
        linear_bench bench = {.backend = backend,
                              .name = matrices[m].name,
                              .accumulate = matrices[m].accumulate,
                              .out_dtype = matrices[m].out_dtype,
                              .spec = {.kind = matrices[m].kind,
                                       .activation = c->activation,
                                       .dtype = compute,
                                       .part_count = matrices[m].kind == UM_WEIGHT_GATED ? 2 : 1}};

        status = open_linear(&bench, matrices[m].out, matrices[m].in, err);
        if (status == UM_OK)
            status = run_linear(&bench, rounds, samples, out + m * UM_BENCH_LINEAR_ROWS, err);
        close_linear(&bench);
    }
    um_mem_free(samples);
    return status;
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* A model with a plan and what it takes to run it. */
typedef struct step_bench {
    um_model *model; /* borrowed */
    um_step *step;   /* owned, as are plan and result */
    um_plan *plan;
    um_step_result *result;
} step_bench;

static um_status open_step(step_bench *bench, um_model *model, int32_t rows_max, um_err *err)
{
    um_plan_limits limits = {.rows_max = rows_max, .sequences_max = UM_BENCH_REQUESTS};
    um_status status = um_step_create(model, &limits, &bench->step, err);

    bench->model = model;
    if (status == UM_OK)
        status = um_plan_create(&limits, &bench->plan, err);
    if (status == UM_OK)
        status = um_step_result_create(&limits, &bench->result, err);
    return status;
}

static void close_step(step_bench *bench)
{
    um_step_result_destroy(bench->result);
    um_plan_destroy(bench->plan);
    um_step_destroy(bench->step);
}

/* Adds a canvas of `rows` rows whose second half (at least one row) is masked and scored. */
static void add_canvas(um_plan *plan, const um_model_config *config, int32_t rows)
{
    int32_t request = plan->request_count++, masked = (rows + 1) / 2;

    plan->score_rules[request] =
        (um_score_rule){.top_p = 1.0f, .banned = {config->mask_token, -1}, .uncounted = {-1, -1}};
    plan->rule_count++;
    plan->select_rules[request] = (um_select_rule){.first = plan->score_count,
                                                   .rows = masked,
                                                   .kind = UM_SELECT_COUNT,
                                                   .count = 1,
                                                   .sequence = request};
    for (int32_t i = 0; i < rows; i++) {
        int32_t row = plan->row_count++;

        plan->ids[row] = (int32_t)((uint32_t)row * 2654435761u % (uint32_t)config->vocab);
        plan->positions[row] = i;
        if (i < rows - masked)
            continue;
        plan->ids[row] = config->mask_token;
        plan->gather[plan->hidden_count] = row;
        plan->conditional[plan->score_count] = plan->hidden_count++;
        plan->unconditional[plan->score_count] = -1;
        plan->score_rows[plan->score_count++] =
            (um_score_row){.position = i, .rule = request, .masked = 1};
    }
    plan->cu_seqlens[++plan->sequence_count] = plan->row_count;
}

static um_status time_step(const step_bench *bench, double *seconds, um_err *err)
{
    double start = now();
    um_status status = um_step_run(bench->step, bench->plan, bench->result, err);

    *seconds = now() - start;
    return status;
}

/* Multiply-adds of the plan's products, times two: layers, attention, head of the scored rows. */
static double step_flop(const um_model_config *c, const um_plan *plan)
{
    double q = (double)c->heads * c->head_dim, kv = (double)c->kv_heads * c->head_dim;
    double layer = c->width * (2 * q + 2 * kv + 3.0 * c->mlp_width);
    double pairs = 0;

    for (int32_t s = 0; s < plan->sequence_count; s++) {
        double length = plan->cu_seqlens[s + 1] - plan->cu_seqlens[s];

        pairs += length * length;
    }
    return 2.0 * c->layers * (layer * plan->row_count + 2.0 * q * pairs) +
           2.0 * c->width * (double)c->vocab_rows * plan->score_count;
}

int32_t um_bench_rows_max(const int32_t *canvases, int32_t count, int32_t rows_per_step)
{
    int32_t rows = rows_per_step;

    for (int32_t i = 0; i < count; i++)
        rows = canvases[i] > rows ? canvases[i] : rows;
    return rows;
}

static um_status run_canvas(const step_bench *bench, int32_t canvas, int32_t rounds,
                            um_bench_step *out, um_err *err)
{
    const um_model_info *info = um_model_get_info(bench->model);
    um_backend *backend = um_model_backend(bench->model);
    double times[ROUNDS_MAX], shares[ROUNDS_MAX], seconds;
    um_status status;

    um_plan_clear(bench->plan);
    add_canvas(bench->plan, &info->config, canvas);
    status = time_step(bench, &seconds, err); /* touches all memory once */
    for (int32_t round = 0; round < rounds && status == UM_OK; round++) {
        double peak, read;

        status = measure_peak(backend, info->precision, &peak, &read, err);
        if (status == UM_OK)
            status = time_step(bench, &times[round], err);
        if (status == UM_OK)
            shares[round] = step_flop(&info->config, bench->plan) / times[round] / peak;
    }
    if (status == UM_OK)
        *out = (um_bench_step){.canvas = canvas,
                               .seconds = median(times, rounds),
                               .best_seconds = times[0],
                               .flops_share = median(shares, rounds)};
    return status;
}

um_status um_bench_steps(um_model *model, const int32_t *canvases, int32_t count, int32_t rounds,
                         um_bench_step *out, um_err *err)
{
    step_bench bench = {0};
    um_status status = open_step(&bench, model, um_bench_rows_max(canvases, count, 1), err);

    UM_ASSERT(rounds >= 1 && rounds <= ROUNDS_MAX);
    for (int32_t i = 0; i < count && status == UM_OK; i++)
        status = run_canvas(&bench, canvases[i], rounds, &out[i], err);
    close_step(&bench);
    return status;
}

/* ---- packing -------------------------------------------------------------------------------- */

/* Every request once, at most `rows_per_step` rows a step but always at least one request. */
static um_status time_requests(const step_bench *bench, const int32_t *lengths,
                               int32_t rows_per_step, double *seconds, um_err *err)
{
    const um_model_config *config = &um_model_get_info(bench->model)->config;
    um_status status = UM_OK;

    *seconds = 0;
    for (int32_t i = 0; i < UM_BENCH_REQUESTS && status == UM_OK;) {
        double step;

        um_plan_clear(bench->plan);
        do
            add_canvas(bench->plan, config, lengths[i++]);
        while (i < UM_BENCH_REQUESTS && bench->plan->row_count + lengths[i] <= rows_per_step);
        status = time_step(bench, &step, err);
        *seconds += step;
    }
    return status;
}

static um_status run_packing(const step_bench *bench, int32_t rows_per_step, int32_t rounds,
                             um_bench_packing *out, um_err *err)
{
    double alone[ROUNDS_MAX], packed[ROUNDS_MAX], gains[ROUNDS_MAX];
    int32_t lengths[UM_BENCH_REQUESTS];
    um_status status = UM_OK;

    for (int32_t i = 0; i < UM_BENCH_REQUESTS; i++) {
        /* 13 is prime to 32: every length of the range once, short and long mixed */
        lengths[i] = out->rows_min + (out->rows_max - out->rows_min) *
                                         (i * 13 % UM_BENCH_REQUESTS) / (UM_BENCH_REQUESTS - 1);
        out->positions += lengths[i];
    }
    for (int32_t round = 0; round < rounds && status == UM_OK; round++) {
        status = time_requests(bench, lengths, 1, &alone[round], err);
        if (status == UM_OK)
            status = time_requests(bench, lengths, rows_per_step, &packed[round], err);
        gains[round] = alone[round] / packed[round];
    }
    if (status != UM_OK)
        return status;
    out->alone_seconds = median(alone, rounds);
    out->packed_seconds = median(packed, rounds);
    out->gain = median(gains, rounds);
    return UM_OK;
}

um_status um_bench_packings(um_model *model, int32_t canvas, int32_t rows_per_step, int32_t rounds,
                            um_bench_packing *out, um_err *err)
{
    const um_bench_packing kinds[UM_BENCH_PACKINGS] = {
        {.kind = "mixed", .rows_min = (canvas + 3) / 4, .rows_max = canvas},
        {.kind = "window", .rows_min = 8, .rows_max = 8},
        {.kind = "window", .rows_min = 4, .rows_max = 4},
        {.kind = "window", .rows_min = 1, .rows_max = 1},
    };
    step_bench bench = {0};
    um_status status = open_step(&bench, model, um_bench_rows_max(&canvas, 1, rows_per_step), err);

    UM_ASSERT(rounds >= 1 && rounds <= ROUNDS_MAX);
    for (int i = 0; i < UM_BENCH_PACKINGS && status == UM_OK; i++) {
        out[i] = kinds[i];
        status = run_packing(&bench, rows_per_step, rounds, &out[i], err);
    }
    close_step(&bench);
    return status;
}
