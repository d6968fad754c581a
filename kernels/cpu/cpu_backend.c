/*
 * The cpu backend: ref's table with the costly slots overridden by the kernels of one
 * instruction-set level, split between the threads of a pool.
 *
 * How work is split never shows in the results: see cpu_kernels.h. Owner: the engine thread, which
 * is worker 0 of the pool.
 */
#include <stdio.h>

#include "core/base/clock.h"
#include "core/base/cpu_count.h"
#include "core/base/mem.h"
#include "kernels/cpu/cpu_features.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/ref/ref_internal.h"

typedef struct umi_cpu {
    umi_ref ref; /* first: inherited slots see a umi_ref */
    um_ops_table table;
    const umi_cpu_kernels *kernels;
    umi_pool *pool; /* owned */
    void **scratch; /* [threads] of scratch_bytes each, owned */
    size_t scratch_bytes;
} umi_cpu;

#define LINEAR_SCRATCH_BYTES ((size_t)UMI_ROW_CHUNK * UMI_PANEL_COLS_MAX * sizeof(float))

/* ---- linear --------------------------------------------------------------------------------- */

typedef struct linear_run {
    const umi_cpu *cpu;
    umi_linear_job job;
} linear_run;

static void linear_item(void *context, int32_t worker, int64_t unit)
{
    const linear_run *run = context;

    run->cpu->kernels->linear(&run->job, unit, run->cpu->scratch[worker]);
}

/* Weights that fit into every core's L2 cache beside the activations. */
#define SMALL_WEIGHT_BYTES ((size_t)1 << 20)
#define CHUNK_ROWS_MIN 24

/* Few panels do not divide evenly between threads: more row chunks do, down to 48 rows each. */
static int64_t choose_row_chunks(int64_t rows, int64_t panels, int64_t threads)
{
    int64_t chunks = (rows + UMI_ROW_CHUNK - 1) / UMI_ROW_CHUNK;
    int64_t most = rows / (2 * CHUNK_ROWS_MIN);

    while (chunks < most) {
        int64_t units = panels * chunks, longest = (units + threads - 1) / threads;

        if (longest * threads * 16 <= units * 17) /* within 6 % of even */
            break;
        chunks++;
    }
    return chunks;
}

/* A large weight is read once: threads share out its panels. A small one is read by every thread,
 * which keeps its rows, and so its share of the activations, from one op to the next. */
static void share_out(umi_linear_job *job, int64_t panels, int64_t threads)
{
    int64_t chunks = (job->rows + UMI_ROW_CHUNK * threads - 1) / (UMI_ROW_CHUNK * threads);

    chunks *= threads;
    job->rows_first =
        job->weight->base.bytes <= SMALL_WEIGHT_BYTES && job->rows >= chunks * CHUNK_ROWS_MIN;
    job->row_chunks = job->rows_first ? chunks : choose_row_chunks(job->rows, panels, threads);
}

static void run_linear(const umi_cpu *cpu, umi_linear_job job)
{
    int64_t outputs = umi_panel_outputs(job.weight, cpu->kernels->panel_cols);
    linear_run run = {.cpu = cpu, .job = job};

    run.job.panels = (job.cols + outputs - 1) / outputs;
    share_out(&run.job, run.job.panels, umi_pool_threads(cpu->pool));
    umi_pool_run(cpu->pool, run.job.panels * run.job.row_chunks, linear_item, &run);
}

static um_status cpu_linear(um_backend *backend, const um_linear_args *args, um_err *err)
{
    (void)err;
    run_linear((const umi_cpu *)backend,
               (umi_linear_job){.x = args->x->data,
                                .x_stride = args->x->stride,
                                .rows = args->out->rows,
                                .cols = args->out->cols,
                                .weight = (const umi_cpu_weight *)args->weight,
                                .out = args->out->data,
                                .out_stride = args->out->stride,
                                .out_dtype = args->out->dtype,
                                .accumulate = args->accumulate});
    return UM_OK;
}

static um_status cpu_weight_create(um_backend *backend, const um_weight_spec *spec, um_weight **out,
                                   um_err *err)
{
    const umi_cpu *cpu = (const umi_cpu *)backend;

    return umi_cpu_weight_create(cpu->kernels, cpu->pool, spec, out, err);
}

static void cpu_weight_destroy(um_backend *backend, um_weight *weight)
{
    (void)backend;
    umi_cpu_weight_destroy(weight);
}

/* ---- row-wise ------------------------------------------------------------------------------- */

#define ROWS_PER_ITEM 8

typedef struct rowwise_run {
    const umi_cpu_kernels *kernels;
    const um_rmsnorm_args *rmsnorm; /* one of the three */
    const um_layernorm_args *layernorm;
    const um_rope_args *rope;
    int64_t rows;
} rowwise_run;

static void rowwise_item(void *context, int32_t worker, int64_t item)
{
    const rowwise_run *run = context;
    int64_t begin = item * ROWS_PER_ITEM;
    int64_t end = begin + ROWS_PER_ITEM < run->rows ? begin + ROWS_PER_ITEM : run->rows;

    (void)worker;
    if (run->rmsnorm)
        run->kernels->rmsnorm(run->rmsnorm, begin, end);
    else if (run->layernorm)
        run->kernels->layernorm(run->layernorm, begin, end);
    else
        run->kernels->rope(run->rope, begin, end);
}

static void run_rowwise(const umi_cpu *cpu, rowwise_run run)
{
    run.kernels = cpu->kernels;
    umi_pool_run(cpu->pool, (run.rows + ROWS_PER_ITEM - 1) / ROWS_PER_ITEM, rowwise_item, &run);
}

static um_status cpu_rmsnorm(um_backend *backend, const um_rmsnorm_args *args, um_err *err)
{
    (void)err;
    run_rowwise((const umi_cpu *)backend, (rowwise_run){.rmsnorm = args, .rows = args->out->rows});
    return UM_OK;
}

static um_status cpu_layernorm(um_backend *backend, const um_layernorm_args *args, um_err *err)
{
    (void)err;
    run_rowwise((const umi_cpu *)backend,
                (rowwise_run){.layernorm = args, .rows = args->out->rows});
    return UM_OK;
}

static um_status cpu_rope(um_backend *backend, const um_rope_args *args, um_err *err)
{
    (void)err;
    run_rowwise((const umi_cpu *)backend, (rowwise_run){.rope = args, .rows = args->qkv->rows});
    return UM_OK;
}

/* ---- attention ------------------------------------------------------------------------------ */

typedef struct attention_run {
    const umi_cpu *cpu;
    const um_attention_args *args;
} attention_run;

static int64_t strips_of(const umi_cpu *cpu, const um_attention_args *args, int32_t sequence)
{
    int64_t length = args->cu_seqlens[sequence + 1] - args->cu_seqlens[sequence];
    int64_t strip = cpu->kernels->attention_strip(length);

    return (length + strip - 1) / strip;
}

/* Items run through the strips of a (sequence, KV head), then KV heads, then sequences. */
static umi_attention_unit find_unit(const attention_run *run, int64_t item)
{
    const um_attention_args *args = run->args;
    umi_attention_unit unit = {0};
    int64_t strips, strip;
    int32_t s = 0;

    for (strips = strips_of(run->cpu, args, s); item >= strips * args->kv_heads;
         strips = strips_of(run->cpu, args, ++s))
        item -= strips * args->kv_heads;
    unit.first = args->cu_seqlens[s];
    unit.length = args->cu_seqlens[s + 1] - unit.first;
    unit.kv_head = (int32_t)(item / strips);
    strip = run->cpu->kernels->attention_strip(unit.length);
    unit.row = item % strips * strip;
    unit.rows = unit.length - unit.row < strip ? unit.length - unit.row : strip;
    return unit;
}

static void attention_item(void *context, int32_t worker, int64_t item)
{
    const attention_run *run = context;
    umi_attention_unit unit = find_unit(run, item);

    run->cpu->kernels->attention(run->args, &unit, run->cpu->scratch[worker]);
}

static um_status cpu_attention(um_backend *backend, const um_attention_args *args, um_err *err)
{
    const umi_cpu *cpu = (const umi_cpu *)backend;
    attention_run run = {.cpu = cpu, .args = args};
    int64_t items = 0;

    if (args->head_dim > UMI_HEAD_DIM_MAX)
        return um_fail(err, UM_E_UNSUPPORTED, "attention heads have %d dimensions; at most %d",
                       args->head_dim, UMI_HEAD_DIM_MAX);
    for (int32_t t = 0; t < umi_pool_threads(cpu->pool); t++)
        cpu->kernels->attention_begin(cpu->scratch[t]);
    for (int32_t s = 0; s < args->sequence_count; s++)
        items += strips_of(cpu, args, s) * args->kv_heads;
    umi_pool_run(cpu->pool, items, attention_item, &run);
    return UM_OK;
}

/* ---- score ---------------------------------------------------------------------------------- */

typedef struct score_run {
    const umi_cpu *cpu;
    const um_score_args *args;
    int64_t first; /* row of the tile's first */
    int64_t rows;
} score_run;

static void score_item(void *context, int32_t worker, int64_t row)
{
    const score_run *run = context;

    run->cpu->kernels->scan(run->args, run->first + row,
                            run->cpu->ref.tile + row * run->args->vocab, run->cpu->scratch[worker]);
}

static um_status cpu_score(um_backend *backend, const um_score_args *args, um_err *err)
{
    const umi_cpu *cpu = (const umi_cpu *)backend;
    const um_tensor *hidden = args->hidden;
    int64_t rows_max = cpu->ref.tile_floats / args->vocab;
    int64_t chunks = (hidden->rows + rows_max - 1) / rows_max;

    (void)err;
    for (int64_t c = 0; c < chunks; c++) {
        score_run run = {.cpu = cpu, .args = args, .first = hidden->rows * c / chunks};

        run.rows = hidden->rows * (c + 1) / chunks - run.first;
        run_linear(cpu, (umi_linear_job){.x = (const char *)hidden->data +
                                              (size_t)(run.first * hidden->stride) *
                                                  um_dtype_bytes(hidden->dtype),
                                         .x_stride = hidden->stride,
                                         .rows = run.rows,
                                         .cols = args->vocab,
                                         .weight = (const umi_cpu_weight *)args->head,
                                         .out = cpu->ref.tile,
                                         .out_stride = args->vocab,
                                         .out_dtype = UM_F32});
        umi_pool_run(cpu->pool, run.rows, score_item, &run);
    }
    return UM_OK;
}

/* ---- peak ----------------------------------------------------------------------------------- */

#define PEAK_ITERATIONS 100000              /* about half a millisecond */
#define PEAK_READ_BYTES ((size_t)256 << 20) /* beyond the last-level caches of today */
#define PEAK_READ_ITEMS 64                  /* of 4 MiB */

typedef struct peak_run {
    const umi_cpu_kernels *kernels;
    double (*loop)(int64_t iterations); /* NULL: read instead */
    const float *data;
    int64_t items;
} peak_run;

static void peak_item(void *context, int32_t worker, int64_t item)
{
    const peak_run *run = context;
    int64_t count = (int64_t)(PEAK_READ_BYTES / sizeof(float)) / run->items;
    volatile double sink; /* keeps the work */

    (void)worker;
    if (run->loop)
        sink = run->loop(PEAK_ITERATIONS);
    else
        sink = run->kernels->read(run->data + item * count, count);
    (void)sink;
}

/* The best rate of all threads together that a sample of `work` reached within `seconds`. */
static double best_rate(const umi_cpu *cpu, peak_run *run, double work, double seconds)
{
    const um_clock *clock = um_clock_system();
    uint64_t start = um_clock_now_ns(clock), now = start;
    double best = 0;

    do {
        uint64_t begin = now;
        double rate;

        umi_pool_run(cpu->pool, run->items, peak_item, run);
        now = um_clock_now_ns(clock);
        rate = work / ((double)(now - begin) * 1e-9);
        best = rate > best ? rate : best;
    } while ((double)(now - start) * 1e-9 < seconds);
    return best;
}

static double best_flops(const umi_cpu *cpu, double (*loop)(int64_t iterations), double seconds)
{
    /* Two items a thread: one that is late costs half of a sample. */
    peak_run run = {.kernels = cpu->kernels, .loop = loop};

    run.items = 2 * umi_pool_threads(cpu->pool);
    return best_rate(cpu, &run, loop(PEAK_ITERATIONS) * (double)run.items, seconds);
}

static um_status cpu_measure_peak(um_backend *backend, double seconds, um_peak *out, um_err *err)
{
    const umi_cpu *cpu = (const umi_cpu *)backend;
    peak_run run = {.kernels = cpu->kernels, .items = PEAK_READ_ITEMS};
    float *data = um_mem_alloc_aligned(PEAK_READ_BYTES);

    if (!data)
        return um_fail(err, UM_E_NOMEM, "no memory for %zu bytes to read", PEAK_READ_BYTES);
    for (size_t i = 0; i < PEAK_READ_BYTES / sizeof(float); i += 1024)
        data[i] = 1.0f; /* pages must exist: untouched ones are all the same zero page */
    run.data = data;
    out->read_bytes = best_rate(cpu, &run, (double)PEAK_READ_BYTES, seconds / 3);
    um_mem_free_aligned(data, PEAK_READ_BYTES);
    out->f32_flops = best_flops(cpu, cpu->kernels->peak_f32, seconds / 3);
    out->bf16_flops = cpu->kernels->peak_bf16
                          ? best_flops(cpu, cpu->kernels->peak_bf16, seconds / 3)
                          : out->f32_flops;
    return UM_OK;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void free_scratch(umi_cpu *cpu)
{
    for (int32_t i = 0; cpu->scratch && i < umi_pool_threads(cpu->pool); i++)
        um_mem_free_aligned(cpu->scratch[i], cpu->scratch_bytes);
    um_mem_free(cpu->scratch);
    cpu->scratch = NULL;
}

/* Replaces every thread's scratch by one of `bytes`; keeps the old on failure. */
static um_status resize_scratch(umi_cpu *cpu, size_t bytes, um_err *err)
{
    int32_t threads = umi_pool_threads(cpu->pool);
    umi_cpu fresh = {.pool = cpu->pool, .scratch_bytes = bytes};

    fresh.scratch = um_mem_calloc((size_t)threads, sizeof(*fresh.scratch));
    for (int32_t i = 0; fresh.scratch && i < threads; i++) {
        fresh.scratch[i] = um_mem_alloc_aligned(bytes);
        if (!fresh.scratch[i])
            free_scratch(&fresh);
    }
    if (!fresh.scratch)
        return um_fail(err, UM_E_NOMEM, "no memory for %zu bytes of scratch for each of %d threads",
                       bytes, threads);
    free_scratch(cpu);
    cpu->scratch = fresh.scratch;
    cpu->scratch_bytes = bytes;
    return UM_OK;
}

static um_status cpu_reserve(um_backend *backend, const um_backend_limits *limits, um_err *err)
{
    umi_cpu *cpu = (umi_cpu *)backend;
    int64_t dim = limits->width_max < UMI_HEAD_DIM_MAX ? limits->width_max : UMI_HEAD_DIM_MAX;
    size_t bytes = cpu->kernels->attention_bytes(limits->sequence_max, (int32_t)dim);
    size_t score_bytes = sizeof(umi_score_scratch) +
                         (size_t)limits->vocab_max * sizeof(float); /* fits: the tile does */
    um_status status = umi_ref_reserve(backend, limits, err);

    if (score_bytes > bytes)
        bytes = score_bytes;
    if (status == UM_OK && bytes > cpu->scratch_bytes)
        status = resize_scratch(cpu, bytes, err);
    return status;
}

static void cpu_close(um_backend *backend)
{
    umi_cpu *cpu = (umi_cpu *)backend;

    free_scratch(cpu);
    umi_pool_destroy(cpu->pool);
    umi_ref_deinit(&cpu->ref);
    um_mem_free(cpu);
}

static const umi_cpu_kernels *level_kernels(umi_cpu_level level)
{
#if defined(__x86_64__)
    static const umi_cpu_kernels *const table[UMI_LEVEL_COUNT] = {
        [UMI_LEVEL_PORTABLE] = &umi_cpu_portable,
        [UMI_LEVEL_AVX2] = &umi_cpu_avx2,
        [UMI_LEVEL_AVX512] = &umi_cpu_avx512,
        [UMI_LEVEL_AVX512BF16] = &umi_cpu_avx512bf16,
    };

    return table[level];
#else
    UM_ASSERT(level == UMI_LEVEL_PORTABLE);
    return &umi_cpu_portable;
#endif
}

static um_status choose_level(const char *isa, umi_cpu_level *out, um_err *err)
{
    umi_cpuid cpuid = umi_cpuid_read();
    umi_cpu_level best = umi_cpu_level_decide(&cpuid);
    um_status status;

    *out = best;
    if (!isa)
        return UM_OK;
    status = umi_cpu_level_parse(isa, out, err);
    if (status == UM_OK && *out > best)
        return um_fail_field(err, UM_E_UNSUPPORTED_VALUE, "isa",
                             "isa is '%s', but this CPU has at most '%s'", isa,
                             umi_cpu_level_name(best));
    return status;
}

static um_ops_table override_ref(void)
{
    um_ops_table table = umi_ref_ops; /* embed, mix, select and memory stay ref's */

    table.close = cpu_close;
    table.reserve = cpu_reserve;
    table.weight_create = cpu_weight_create;
    table.weight_destroy = cpu_weight_destroy;
    table.rmsnorm = cpu_rmsnorm;
    table.layernorm = cpu_layernorm;
    table.linear = cpu_linear;
    table.rope = cpu_rope;
    table.attention = cpu_attention;
    table.score = cpu_score;
    table.measure_peak = cpu_measure_peak;
    return table;
}

um_status umi_cpu_open(const um_backend_options *options, um_backend **out, um_err *err)
{
    umi_cpu_level level;
    um_status status = choose_level(options->isa, &level, err);
    umi_cpu *cpu;

    *out = NULL;
    if (status != UM_OK)
        return status;
    cpu = um_mem_zalloc(sizeof(*cpu));
    if (!cpu)
        return um_fail(err, UM_E_NOMEM, "no memory for backend cpu");
    umi_ref_init(&cpu->ref, options);
    cpu->table = override_ref();
    cpu->ref.base.ops = &cpu->table;
    cpu->kernels = level_kernels(level);
    status = umi_pool_create(options->threads > 0 ? options->threads : um_cpu_count(""), &cpu->pool,
                             err);
    if (status == UM_OK)
        status = resize_scratch(cpu, LINEAR_SCRATCH_BYTES, err);
    if (status != UM_OK) {
        cpu_close(&cpu->ref.base);
        return status;
    }
    snprintf(cpu->ref.base.name, sizeof(cpu->ref.base.name), "cpu-%s", cpu->kernels->name);
    snprintf(cpu->ref.base.description, sizeof(cpu->ref.base.description),
             "cpu-%s, %d threads, tile %zu KiB", cpu->kernels->name, umi_pool_threads(cpu->pool),
             options->tile_bytes >> 10);
    *out = &cpu->ref.base;
    return UM_OK;
}
