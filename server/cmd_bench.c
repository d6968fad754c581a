/*
 * `unmask bench`: how fast a checkpoint, or a synthetic model of a given shape, runs here, as
 * shares of what this machine was measured to be able to do. Text or, with --json, one object.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "server/bench_measure.h"
#include "server/commands.h"
#include "server/served.h"

typedef struct bench_report {
    um_backend *backend; /* owned, as is the model */
    um_model *model;
    const um_model_info *info; /* the model's */
    um_peak peak;
    int32_t canvases[UM_BENCH_CANVASES_MAX];
    int32_t canvas_count;
    bool with_step;
    bool with_linear;
    bool with_packing;
    size_t resident_bytes; /* after the steps, before anything else was allocated */
    um_bench_step steps[UM_BENCH_CANVASES_MAX];
    um_bench_linear linears[UM_BENCH_MATRICES * UM_BENCH_LINEAR_ROWS];
    um_bench_packing packings[UM_BENCH_PACKINGS];
} bench_report;

/* ---- options -------------------------------------------------------------------------------- */

/* Comma-separated numbers in [min, max], at most `most` of them; returns how many, 0 on error. */
static int32_t parse_list(const char *text, int32_t min, int32_t max, int32_t *out, int32_t most)
{
    int32_t count = 0;

    while (count < most) {
        char *end;
        long value = strtol(text, &end, 10);

        if (end == text || value < min || value > max || (*end && *end != ','))
            return 0;
        out[count++] = (int32_t)value;
        if (!*end)
            return count;
        text = end + 1;
    }
    return 0;
}

static um_status parse_canvases(const um_config *config, bench_report *report, um_err *err)
{
    report->canvas_count =
        parse_list(config->canvas, 2, 1 << 20, report->canvases, UM_BENCH_CANVASES_MAX);
    if (report->canvas_count > 0)
        return UM_OK;
    return um_fail_field(err, UM_E_VALUE, "canvas",
                         "--canvas is \"%.64s\"; expected up to %d lengths from 2 to %d, "
                         "comma-separated",
                         config->canvas, UM_BENCH_CANVASES_MAX, 1 << 20);
}

static um_status parse_measure(const um_config *config, bench_report *report, um_err *err)
{
    const struct {
        const char *name;
        bool *flag;
    } kinds[] = {{"step", &report->with_step},
                 {"linear", &report->with_linear},
                 {"packing", &report->with_packing}};

    for (const char *word = config->measure; *word;) {
        size_t length = strcspn(word, ","), i = 0;

        while (i < UM_COUNT_OF(kinds) &&
               (strlen(kinds[i].name) != length || memcmp(kinds[i].name, word, length) != 0))
            i++;
        if (i == UM_COUNT_OF(kinds))
            return um_fail_field(err, UM_E_VALUE, "measure",
                                 "--measure has \"%.*s\"; expected step, linear, packing",
                                 length < 64 ? (int)length : 64, word);
        *kinds[i].flag = true;
        word += length + (word[length] == ',');
    }
    return UM_OK;
}

/* Facts that a shape does not name are LLaDA's. */
static um_status parse_shape(const um_config *config, const bench_report *report,
                             um_model_config *out, um_err *err)
{
    int32_t n[6];
    int32_t context = um_bench_rows_max(report->canvases, report->canvas_count, 1);

    if (parse_list(config->shape, 1, INT32_MAX, n, UM_COUNT_OF(n)) != UM_COUNT_OF(n))
        return um_fail_field(err, UM_E_VALUE, "shape",
                             "--shape is \"%.64s\"; expected d,layers,heads,kv_heads,mlp,vocab",
                             config->shape);
    *out = (um_model_config){.width = n[0],
                             .layers = n[1],
                             .heads = n[2],
                             .kv_heads = n[3],
                             .head_dim = n[0] / n[2],
                             .mlp_width = n[4],
                             .vocab = n[5],
                             .vocab_rows = n[5],
                             .block_group = 1,
                             .gated_mlp = true,
                             .norm_eps = 1e-5f,
                             .rope_theta = 500000.0,
                             .activation = UM_ACT_SILU,
                             .embed_scale = 1.0f,
                             .logit_scale = 1.0f,
                             .context_max = context,
                             .context_limit = context,
                             .mask_token = n[5] - 1,
                             .end_token = 0,
                             .turn_token = -1,
                             .prompt_bos = -1};
    return UM_OK;
}

static um_status open_model(const um_config *config, bench_report *report, um_err *err)
{
    um_model_options options = {
        .dir = {.family = config->family, .context = (int32_t)config->context}};
    um_model_config shape;
    um_status status;

    if (!um_precision_parse(config->precision, &options.precision))
        return um_fail_field(err, UM_E_VALUE, "precision",
                             "--precision is \"%.32s\"; expected auto, f32 or bf16",
                             config->precision);
    options.rows_max = um_bench_rows_max(report->canvases, report->canvas_count,
                                         um_served_step_rows(config, report->backend));
    if (!config->shape)
        return um_model_open(config->model, report->backend, &options, &report->model, err);
    status = parse_shape(config, report, &shape, err);
    if (status != UM_OK)
        return status;
    return um_model_open_synthetic(&shape, report->backend, &options, &report->model, err);
}

static um_status check_context(const bench_report *report, um_err *err)
{
    int32_t longest = um_bench_rows_max(report->canvases, report->canvas_count, 1);

    if (longest <= report->info->config.context_max)
        return UM_OK;
    return um_fail_field(err, UM_E_CONTEXT_LENGTH, "canvas",
                         "--canvas has %d; the model's context is %d positions", longest,
                         report->info->config.context_max);
}

/* ---- measuring ------------------------------------------------------------------------------ */

static size_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long total, resident = 0;

    if (file) {
        if (fscanf(file, "%lu %lu", &total, &resident) != 2)
            resident = 0;
        fclose(file);
    }
    return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

static um_status measure(const um_config *config, bench_report *report, um_err *err)
{
    int32_t rounds = (int32_t)config->repeat;
    um_status status = UM_OK;

    if (report->with_step)
        status = um_bench_steps(report->model, report->canvases, report->canvas_count, rounds,
                                report->steps, err);
    report->resident_bytes = resident_bytes();
    if (status == UM_OK && report->with_packing)
        status = um_bench_packings(report->model, report->canvases[0],
                                   um_served_step_rows(config, report->backend), rounds,
                                   report->packings, err);
    if (status == UM_OK && report->with_linear)
        status = um_bench_linears(report->backend, report->info, rounds, report->linears, err);
    return status;
}

/* ---- text ----------------------------------------------------------------------------------- */

static double mib(size_t bytes)
{
    return (double)bytes / (1024.0 * 1024.0);
}

static void write_machine_text(const bench_report *report, um_buf *out)
{
    const um_model_config *c = &report->info->config;

    um_buf_printf(out, "backend    %s\n", um_backend_describe(report->backend));
    um_buf_printf(out, "peak       %.0f GFLOP/s f32, %.0f GFLOP/s bf16, read %.1f GB/s\n",
                  report->peak.f32_flops * 1e-9, report->peak.bf16_flops * 1e-9,
                  report->peak.read_bytes * 1e-9);
    um_buf_printf(out,
                  "model      width %d, %d layers, %d heads (%d key/value), MLP %d, vocabulary %d; "
                  "%.1f M parameters, %s\n",
                  c->width, c->layers, c->heads, c->kv_heads, c->mlp_width, c->vocab_rows,
                  (double)report->info->parameters * 1e-6, um_dtype_name(report->info->precision));
    um_buf_printf(out, "memory     weights %.1f MiB, activations %.1f MiB, resident %.1f MiB\n",
                  mib(report->info->weight_bytes), mib(report->info->scratch_bytes),
                  mib(report->resident_bytes));
}

static void write_steps_text(const bench_report *report, um_buf *out)
{
    um_buf_text(out, "\ndenoising step, half of the canvas masked\n"
                     "  canvas   median ms     best ms   positions/s   tokens/s   of peak\n");
    for (int32_t i = 0; i < report->canvas_count; i++) {
        const um_bench_step *s = &report->steps[i];

        um_buf_printf(out, "  %6d  %10.2f  %10.2f  %12.0f  %9.2f  %7.1f%%\n", s->canvas,
                      s->seconds * 1e3, s->best_seconds * 1e3, s->canvas / s->seconds,
                      1 / s->seconds, s->flops_share * 100);
    }
    um_buf_text(out, "  (tokens/s: one position committed per step)\n");
}

static void write_packings_text(const bench_report *report, um_buf *out)
{
    um_buf_printf(out,
                  "\n%d requests, one at a time and packed into shared steps\n"
                  "  kind      rows       alone/s     packed/s    gain   (positions/s)\n",
                  UM_BENCH_REQUESTS);
    for (int i = 0; i < UM_BENCH_PACKINGS; i++) {
        const um_bench_packing *p = &report->packings[i];

        um_buf_printf(out, "  %-7s %4d-%-4d %11.0f  %11.0f   %5.2f\n", p->kind, p->rows_min,
                      p->rows_max, (double)p->positions / p->alone_seconds,
                      (double)p->positions / p->packed_seconds, p->gain);
    }
}

static void write_linears_text(const bench_report *report, um_buf *out)
{
    um_buf_text(out, "\nlinear layers\n  matrix           out     in  rows          us  "
                     "of peak  of read bandwidth\n");
    for (size_t i = 0; i < UM_COUNT_OF(report->linears); i++) {
        const um_bench_linear *l = &report->linears[i];

        um_buf_printf(out, "  %-13s %6" PRId64 " %6" PRId64 " %5d  %10.1f  %6.1f%%  %6.1f%%\n",
                      l->matrix, l->out, l->in, l->rows, l->seconds * 1e6, l->flops_share * 100,
                      l->read_share * 100);
    }
}

static void write_text(const bench_report *report, um_buf *out)
{
    write_machine_text(report, out);
    if (report->with_step)
        write_steps_text(report, out);
    if (report->with_packing)
        write_packings_text(report, out);
    if (report->with_linear)
        write_linears_text(report, out);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void write_steps_json(const bench_report *report, um_buf *out)
{
    um_buf_text(out, ",\"steps\":[");
    for (int32_t i = 0; i < report->canvas_count; i++) {
        const um_bench_step *s = &report->steps[i];

        um_buf_printf(out,
                      "%s{\"canvas\":%d,\"seconds\":%.9g,\"best_seconds\":%.9g,"
                      "\"flops_share\":%.4f}",
                      i ? "," : "", s->canvas, s->seconds, s->best_seconds, s->flops_share);
    }
    um_buf_char(out, ']');
}

static void write_packings_json(const bench_report *report, um_buf *out)
{
    um_buf_text(out, ",\"packings\":[");
    for (int i = 0; i < UM_BENCH_PACKINGS; i++) {
        const um_bench_packing *p = &report->packings[i];

        um_buf_printf(out,
                      "%s{\"kind\":\"%s\",\"requests\":%d,\"rows_min\":%d,\"rows_max\":%d,"
                      "\"positions\":%" PRId64 ",\"alone_seconds\":%.9g,\"packed_seconds\":%.9g,"
                      "\"gain\":%.4f}",
                      i ? "," : "", p->kind, UM_BENCH_REQUESTS, p->rows_min, p->rows_max,
                      p->positions, p->alone_seconds, p->packed_seconds, p->gain);
    }
    um_buf_char(out, ']');
}

static void write_linears_json(const bench_report *report, um_buf *out)
{
    um_buf_text(out, ",\"linears\":[");
    for (size_t i = 0; i < UM_COUNT_OF(report->linears); i++) {
        const um_bench_linear *l = &report->linears[i];

        um_buf_printf(out,
                      "%s{\"matrix\":\"%s\",\"out\":%" PRId64 ",\"in\":%" PRId64
                      ",\"rows\":%d,\"seconds\":%.9g,\"flops_share\":%.4f,\"read_share\":%.4f}",
                      i ? "," : "", l->matrix, l->out, l->in, l->rows, l->seconds, l->flops_share,
                      l->read_share);
    }
    um_buf_char(out, ']');
}

static void write_json(const bench_report *report, um_buf *out)
{
    um_buf_printf(out,
                  "{\"backend\":\"%s\",\"precision\":\"%s\",\"peak_f32_flops\":%.6g,"
                  "\"peak_bf16_flops\":%.6g,\"peak_read_bytes\":%.6g,\"parameters\":%" PRIu64
                  ",\"weight_bytes\":%zu,\"scratch_bytes\":%zu,\"resident_bytes\":%zu",
                  um_backend_name(report->backend), um_dtype_name(report->info->precision),
                  report->peak.f32_flops, report->peak.bf16_flops, report->peak.read_bytes,
                  report->info->parameters, report->info->weight_bytes, report->info->scratch_bytes,
                  report->resident_bytes);
    if (report->with_step)
        write_steps_json(report, out);
    if (report->with_packing)
        write_packings_json(report, out);
    if (report->with_linear)
        write_linears_json(report, out);
    um_buf_text(out, "}\n");
}

/* ---- the command ---------------------------------------------------------------------------- */

static um_status run(const um_config *config, bench_report *report, um_err *err)
{
    um_status status = parse_canvases(config, report, err);

    if (status == UM_OK)
        status = parse_measure(config, report, err);
    if (status == UM_OK)
        status = um_served_open_backend(config, &report->backend, err);
    if (status == UM_OK)
        status = um_backend_measure_peak(report->backend, 0.5, &report->peak, err);
    if (status == UM_OK)
        status = open_model(config, report, err);
    if (status != UM_OK)
        return status;
    report->info = um_model_get_info(report->model);
    status = check_context(report, err);
    return status == UM_OK ? measure(config, report, err) : status;
}

um_status um_cmd_bench(const um_config *config, um_err *err)
{
    bench_report report = {0};
    um_buf out = {0};
    um_status status = run(config, &report, err);

    if (status == UM_OK) {
        if (config->json)
            write_json(&report, &out);
        else
            write_text(&report, &out);
        if (um_buf_failed(&out))
            status = um_fail(err, UM_E_NOMEM, "no memory for the report");
        else
            fputs(um_buf_view(&out), stdout);
    }
    um_buf_deinit(&out);
    um_model_close(report.model);
    um_backend_close(report.backend);
    return status;
}
