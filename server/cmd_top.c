/*
 * `unmask top URL`: a live view of a running server, from its /metrics alone: batch, queue, rates and
 * percentiles over the last interval. In a terminal the view is drawn over; else it is one line an
 * interval.
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "server/commands.h"
#include "server/http_get.h"
#include "server/scrape.h"

#define PAGE_BYTES_MAX ((size_t)1 << 20)
#define SECONDS_MAX 10

typedef struct view {
    um_http_address address;
    um_http_get_options get;
    um_buf page, before, next; /* owned: the last two, and the storage of one that comes in */
    double seconds;            /* between the two */
    uint64_t scraped_ns;
    bool terminal;
} view;

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static double gauge(const view *v, const char *name)
{
    return um_scrape_sum(um_buf_view(&v->page), name, NULL);
}

static double rate(const view *v, const char *name, const char *label)
{
    return (um_scrape_sum(um_buf_view(&v->page), name, label) -
            um_scrape_sum(um_buf_view(&v->before), name, label)) /
           v->seconds;
}

/* "12.3 ms", "1.20 s", or "-" where nothing was observed. */
static const char *duration(double seconds, char *out, size_t size)
{
    if (isnan(seconds))
        snprintf(out, size, "-");
    else if (seconds < 1)
        snprintf(out, size, "%.1f ms", seconds * 1e3);
    else
        snprintf(out, size, "%.2f s", seconds);
    return out;
}

static void print_latency(const view *v, const char *label, const char *name)
{
    static const double quantiles[] = {0.5, 0.95, 0.99};
    char text[32];

    printf("  %-16s", label);
    for (size_t i = 0; i < UM_COUNT_OF(quantiles); i++) {
        double seconds =
            um_scrape_quantile(um_buf_view(&v->before), um_buf_view(&v->page), name, quantiles[i]);

        printf("%12s", duration(seconds, text, sizeof(text)));
    }
    fputs("\033[K\n", stdout);
}

static void print_rejections(const view *v)
{
    const char *at = um_buf_view(&v->page);
    char reason[32];
    double count;
    int shown = 0;

    fputs("  rejected       ", stdout);
    while ((at = um_scrape_next(at, "requests_rejected_total", "reason", reason, sizeof(reason),
                                &count)))
        if (count > 0)
            shown += printf(" %s %.0f", reason, count);
    printf("%s\033[K\n", shown ? "" : " none");
}

static void draw(const view *v)
{
    const char *page = um_buf_view(&v->page);
    char model[64], backend[64];
    double value;

    um_scrape_next(page, "num_requests_running", "model_name", model, sizeof(model), &value);
    um_scrape_next(page, "build_info", "backend", backend, sizeof(backend), &value);
    printf("\033[H%s  %s on %s\033[K\n\033[K\n", v->address.text, model, backend);
    printf(
        "  running %5.0f    waiting %5.0f    occupancy %3.0f %%    canvas positions %.0f\033[K\n",
        gauge(v, "num_requests_running"), gauge(v, "num_requests_waiting"),
        100 * gauge(v, "batch_occupancy_ratio"), gauge(v, "canvas_tokens"));
    printf("  requests/s %6.1f  finished/s %6.1f  aborted/s %6.1f  failed/s %6.1f\033[K\n",
           rate(v, "requests_started_total", NULL),
           rate(v, "request_success_total", "finished_reason=\"stop\"") +
               rate(v, "request_success_total", "finished_reason=\"length\""),
           rate(v, "request_success_total", "finished_reason=\"abort\""),
           rate(v, "request_success_total", "finished_reason=\"error\""));
    printf("  steps/s %9.1f  requests a step %4.1f  positions/s %9.0f\033[K\n",
           rate(v, "forward_passes_total", NULL),
           rate(v, "step_batch_size_sum", NULL) / fmax(rate(v, "forward_passes_total", NULL), 1e-9),
           rate(v, "positions_evaluated_total", NULL));
    printf("  tokens/s %8.1f  filled/s %8.1f  prompt tokens/s %8.1f\033[K\n",
           rate(v, "generation_tokens_total", NULL), rate(v, "tokens_filled_total", NULL),
           rate(v, "prompt_tokens_total", NULL));
    print_rejections(v);
    printf("\033[K\n  %-16s%12s%12s%12s\033[K\n", "", "p50", "p95", "p99");
    print_latency(v, "step", "denoise_step_duration_seconds");
    print_latency(v, "in the queue", "request_queue_time_seconds");
    print_latency(v, "first draft", "time_to_first_draft_seconds");
    print_latency(v, "first text", "time_to_first_token_seconds");
    print_latency(v, "whole answer", "e2e_request_latency_seconds");
    fputs("\033[J", stdout);
}

static void print_line(const view *v)
{
    double step = um_scrape_quantile(um_buf_view(&v->before), um_buf_view(&v->page),
                                     "denoise_step_duration_seconds", 0.5);
    char text[32];

    printf("running=%.0f waiting=%.0f occupancy=%.2f requests_per_s=%.1f tokens_per_s=%.1f "
           "steps_per_s=%.1f step_p50=\"%s\"\n",
           gauge(v, "num_requests_running"), gauge(v, "num_requests_waiting"),
           gauge(v, "batch_occupancy_ratio"), rate(v, "requests_started_total", NULL),
           rate(v, "generation_tokens_total", NULL), rate(v, "forward_passes_total", NULL),
           duration(step, text, sizeof(text)));
}

/* The pages stay as they are where there is no new one. A server that has started again counts from
 * nothing. */
static um_status scrape(view *v, um_err *err)
{
    um_buf older = v->before;
    unsigned http_status = 0;
    uint64_t now;
    um_status status = um_http_get(&v->address, &v->get, &http_status, &v->next, err);

    if (status == UM_OK && http_status != 200)
        status = um_fail(err, UM_E_IO, "%s/metrics: status %u%s", v->address.text, http_status,
                         http_status == 401 ? "; see --api-key" : "");
    if (status != UM_OK)
        return status;
    v->before = v->page;
    v->page = v->next;
    v->next = older;
    if (um_scrape_sum(um_buf_view(&v->before), "start_time_seconds", NULL) !=
        gauge(v, "start_time_seconds"))
        um_buf_clear(&v->before);
    now = um_clock_now_ns(um_clock_system());
    v->seconds = (double)(now - v->scraped_ns) / 1e9;
    v->scraped_ns = now;
    return UM_OK;
}

static void show(const view *v, um_status status, const um_err *err)
{
    if (!v->terminal)
        print_line(v);
    else if (status == UM_OK)
        draw(v);
    else
        printf("\033[H%s\033[K\n\033[J", err->message);
    fflush(stdout);
}

static void pause_for(double seconds)
{
    struct timespec left = {.tv_sec = (time_t)seconds,
                            .tv_nsec = (long)((seconds - floor(seconds)) * 1e9)};

    nanosleep(&left, NULL); /* a signal ends it early: then the loop ends too */
}

static um_status watch(view *v, double interval, int64_t rounds, um_err *err)
{
    um_status status = scrape(v, err);

    if (status != UM_OK)
        return status;
    if (v->terminal)
        fputs("\033[2J\033[?25l", stdout);
    for (int64_t i = 0; !interrupted && (rounds == 0 || i < rounds); i++) {
        pause_for(interval);
        status = scrape(v, err);
        /* Who looks on sees it come back; a script must know. */
        if (status != UM_OK && !v->terminal)
            return status;
        show(v, status, err);
    }
    if (v->terminal)
        fputs("\033[?25h", stdout);
    return UM_OK;
}

um_status um_cmd_top(const um_config *config, um_err *err)
{
    view v = {.get = {.path = "/metrics",
                      .key = config->api_key.count > 0 ? config->api_key.items[0] : NULL,
                      .seconds_max = SECONDS_MAX,
                      .bytes_max = PAGE_BYTES_MAX},
              .terminal = isatty(STDOUT_FILENO)};
    const struct sigaction action = {.sa_handler = on_signal};
    um_status status;

    if (config->arguments.count > 1)
        return um_fail(err, UM_E_VALUE, "top takes one URL, not \"%.64s\" too",
                       config->arguments.items[1]);
    if (config->arguments.count == 1)
        status = um_http_address_parse(config->arguments.items[0], &v.address, err);
    else
        status = um_http_address_make(config->host, config->port, &v.address, err);
    if (status != UM_OK)
        return status;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    status = watch(&v, config->interval, config->rounds, err);
    um_buf_deinit(&v.page);
    um_buf_deinit(&v.before);
    um_buf_deinit(&v.next);
    return status;
}
