#include "server/api_metrics.h"

#include <string.h>

#include "server/app.h"
#include "server/version.h"

#define PREFIX "unmask_"
#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

typedef struct page {
    um_buf out;
    um_buf model; /* model_name="..." */
} page;

/* ---- the text format ------------------------------------------------------------------------ */

static void append_label(um_buf *out, const char *name, const char *value)
{
    um_buf_printf(out, "%s=\"", name);
    for (; *value; value++) {
        if (*value == '\\' || *value == '"')
            um_buf_char(out, '\\');
        um_buf_char(out, *value == '\n' ? ' ' : *value);
    }
    um_buf_char(out, '"');
}

static void head(page *p, const char *name, const char *type, const char *help)
{
    um_buf_printf(&p->out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name,
                  type);
}

static void gauge(page *p, const char *name, double value, const char *help)
{
    head(p, name, "gauge", help);
    um_buf_printf(&p->out, PREFIX "%s{%s} %.12g\n", name, um_buf_view(&p->model), value);
}

static void counter(page *p, const char *name, uint64_t value, const char *help)
{
    head(p, name, "counter", help);
    um_buf_printf(&p->out, PREFIX "%s{%s} %llu\n", name, um_buf_view(&p->model),
                  (unsigned long long)value);
}

/* One series of a counter with a label of its own. */
static void labelled(page *p, const char *name, const char *label, const char *value,
                     uint64_t count)
{
    um_buf_printf(&p->out, PREFIX "%s{%s,%s=\"%s\"} %llu\n", name, um_buf_view(&p->model), label,
                  value, (unsigned long long)count);
}

static void histogram(page *p, const char *name, const um_histogram *h, const char *help)
{
    const char *model = um_buf_view(&p->model);
    uint64_t below = 0;

    head(p, name, "histogram", help);
    for (int32_t i = 0; i < h->bucket_count; i++) {
        below += h->counts[i];
        um_buf_printf(&p->out, PREFIX "%s_bucket{%s,le=\"%g\"} %llu\n", name, model, h->bounds[i],
                      (unsigned long long)below);
    }
    um_buf_printf(&p->out, PREFIX "%s_bucket{%s,le=\"+Inf\"} %llu\n", name, model,
                  (unsigned long long)h->count);
    um_buf_printf(&p->out, PREFIX "%s_sum{%s} %.9g\n" PREFIX "%s_count{%s} %llu\n", name, model,
                  h->sum, name, model, (unsigned long long)h->count);
}

/* ---- the series ----------------------------------------------------------------------------- */

static void write_now(page *p, um_app *app, const um_stats *s)
{
    gauge(p, "ready", um_app_gate(app, NULL) == UM_OK, "1 where /health says 200.");
    gauge(p, "num_requests_running", s->running, "Requests in the batch.");
    gauge(p, "num_requests_waiting", s->waiting, "Requests in the queue.");
    gauge(p, "kv_cache_usage_ratio", 0, "Share of the cache memory in use.");
    gauge(
        p, "batch_occupancy_ratio", s->batch_occupancy,
        "1 where the last step had no room for a running request, else its share of --max-batch.");
    gauge(p, "canvas_tokens", (double)s->canvas_tokens, "Positions of all running canvases.");
}

static void write_work(page *p, const um_stats *s)
{
    counter(p, "prompt_tokens_total", s->prompt_tokens, "Prompt tokens taken in.");
    counter(p, "generation_tokens_total", s->generation_tokens, "Visible tokens generated.");
    counter(p, "positions_evaluated_total", s->positions_evaluated,
            "Canvas positions over all forward passes.");
    counter(p, "tokens_filled_total", s->tokens_filled, "Masks that became tokens.");
    counter(p, "tokens_revised_total", 0, "Tokens that became other tokens.");
    counter(p, "forward_passes_total", s->forward_passes, "Batched denoising steps.");
}

static void write_rejected(page *p, const um_app *app, const um_stats *s)
{
    static const char name[] = "requests_rejected_total";
    const uint64_t *api = app->api.counts.rejected;
    uint64_t http[UM_HTTP_REJECT_COUNT];

    for (int i = 0; i < UM_HTTP_REJECT_COUNT; i++)
        http[i] = um_http_rejected(app->http, (um_http_reject)i);
    http[UM_HTTP_REJECT_DRAINING] += api[UM_API_REJECT_DRAINING];
    http[UM_HTTP_REJECT_ENGINE] += api[UM_API_REJECT_ENGINE];
    http[UM_HTTP_REJECT_BAD_REQUEST] += api[UM_API_REJECT_BAD_REQUEST];
    head(p, name, "counter", "Generation requests refused, by reason.");
    for (int i = 0; i < UM_HTTP_REJECT_COUNT; i++)
        labelled(p, name, "reason", um_http_reject_name((um_http_reject)i), http[i]);
    labelled(p, name, "reason", "queue_full", api[UM_API_REJECT_QUEUE_FULL]);
    labelled(p, name, "reason", "context_length", api[UM_API_REJECT_CONTEXT_LENGTH]);
    labelled(p, name, "reason", "queue_timeout", s->queue_timeouts);
}

static void write_requests(page *p, const um_app *app, const um_stats *s)
{
    static const char success[] = "request_success_total", frames[] = "stream_frames_total";
    uint64_t aborted = app->api.counts.aborted;

    write_rejected(p, app, s);
    head(p, success, "counter", "Generation requests that ended, by reason.");
    labelled(p, success, "finished_reason", "stop", s->endings[UM_ENDING_STOP]);
    labelled(p, success, "finished_reason", "length", s->endings[UM_ENDING_LENGTH]);
    labelled(p, success, "finished_reason", "tool_calls", 0);
    labelled(p, success, "finished_reason", "abort", s->endings[UM_ENDING_ABORT] + aborted);
    labelled(p, success, "finished_reason", "error", s->endings[UM_ENDING_ERROR]);
    counter(p, "requests_started_total", um_http_generations(app->http) + app->api.counts.more,
            "Generation requests, one per prompt and choice.");
    head(p, frames, "counter", "Frames of streams written, by kind.");
    labelled(p, frames, "kind", "settled", app->api.counts.frames.settled);
    labelled(p, frames, "kind", "full", app->api.counts.frames.full);
    labelled(p, frames, "kind", "patch", app->api.counts.frames.patch);
    labelled(p, frames, "kind", "dropped", app->api.counts.frames.dropped);
}

static void write_times(page *p, const um_stats *s)
{
    histogram(p, "e2e_request_latency_seconds", &s->e2e_seconds, "Arrival to end.");
    histogram(p, "request_queue_time_seconds", &s->queue_seconds, "Arrival to first step.");
    histogram(p, "time_to_first_draft_seconds", &s->first_draft_seconds,
              "Arrival to end of the first step.");
    histogram(p, "time_to_first_token_seconds", &s->first_text_seconds,
              "Arrival to first settled text.");
    histogram(p, "request_inference_time_seconds", &s->inference_seconds, "First step to end.");
    histogram(p, "inter_chunk_latency_seconds", &s->inter_chunk_seconds, "Between settled chunks.");
    histogram(p, "denoise_step_duration_seconds", &s->step_seconds,
              "One batched forward with sampling.");
    histogram(p, "step_batch_size", &s->step_batch_size, "Requests per step.");
    histogram(p, "request_prompt_tokens", &s->prompt_token_counts, "Prompt tokens.");
    histogram(p, "request_generation_tokens", &s->generation_token_counts,
              "Visible tokens generated.");
    histogram(p, "request_params_max_tokens", &s->max_token_params, "Budget of the answer.");
    histogram(p, "request_denoise_steps", &s->denoise_steps, "Steps of a finished request.");
    histogram(p, "request_tokens_per_step", &s->tokens_per_step,
              "Visible tokens per step of a finished request.");
}

static void write_info(page *p, const um_app *app)
{
    const um_model_info *info = app->served.info;

    gauge(p, "start_time_seconds", (double)app->started, "When the program started, Unix time.");
    gauge(p, "model_load_seconds", app->load_seconds, "Start to ready.");
    head(p, "build_info", "gauge", "What this program is.");
    um_buf_printf(&p->out, PREFIX "build_info{version=\"%s\",commit=\"%s\",backend=\"%s\"} 1\n",
                  um_version(), um_version_commit(), um_app_backend_name(app));
    head(p, "model_info", "gauge", "What the model is.");
    um_buf_printf(&p->out, PREFIX "model_info{%s,quantization=\"%s\",family=\"%s\"} 1\n",
                  um_buf_view(&p->model),
                  !app->engine                ? ""
                  : info->precision == UM_F32 ? "f32"
                                              : "bf16",
                  app->engine ? info->family->name : "");
}

static void write_http(void *context, const char *handler, const char *method,
                       const char *status_class, uint64_t count)
{
    page *p = context;

    um_buf_printf(&p->out,
                  PREFIX "http_requests_total{handler=\"%s\",method=\"%s\",status=\"%s\"} %llu\n",
                  handler, method, status_class, (unsigned long long)count);
}

void um_api_metrics(void *context, um_exchange *exchange)
{
    um_app *app = context;
    um_stats stats = {0};
    page p = {0};
    um_err err = {0};

    if (app->engine)
        um_engine_stats(app->engine, &stats);
    else
        um_stats_init(&stats, 1, (int32_t)app->config->max_batch);
    append_label(&p.model, "model_name", app->model_id);
    write_now(&p, app, &stats);
    write_work(&p, &stats);
    write_requests(&p, app, &stats);
    write_times(&p, &stats);
    write_info(&p, app);
    head(&p, "http_requests_total", "counter", "HTTP requests answered.");
    um_http_counts(app->http, write_http, &p);
    if (um_buf_failed(&p.out) || um_buf_failed(&p.model)) {
        um_fail(&err, UM_E_OVERLOADED, "no memory for the metrics");
        um_exchange_reply_error(exchange, &err);
    } else {
        um_exchange_reply(exchange, 200, CONTENT_TYPE, um_buf_view(&p.out), p.out.length);
    }
    um_buf_deinit(&p.out);
    um_buf_deinit(&p.model);
}
