/*
 * The engine thread's loop and the public functions around it.
 *
 * Requests come in through the mailbox of arrivals and stand in the table of live requests from
 * submission to their last post; that table bounds everything (running <= batch_max, waiting <=
 * queue_max) and is where a cancel finds its request. `lock` guards the table, the flags and the
 * statistics. Queue, running list, plan and result belong to the engine thread alone. Nothing is
 * allocated in a turn.
 */
#include "core/engine/engine.h"

#include <string.h>

#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/engine/batcher.h"
#include "core/engine/queue.h"
#include "core/engine/waits.h"

#define NS_PER_S 1e9
#define NS_PER_MS ((uint64_t)1000000)

/* The newest step's share of the running mean is 1 in so many. */
#define STEP_MEAN_SPAN 8
/* A deadline is near when so many turns would pass it: the coming one, and one in reserve. */
#define DEADLINE_TURNS 2

/* What travels through the mailbox. */
typedef struct um_arrival {
    um_request *request; /* owned by the message; NULL: the thread shall end */
} um_arrival;

struct um_engine {
    um_engine_options options;
    um_request_facts request_facts; /* borrows from options */
    um_batch_facts batch_facts;
    int32_t live_max;
    um_mailbox *arrivals;
    um_ready ready;
    /* under lock */
    pthread_mutex_t lock;
    um_request **live; /* [live_max], owned; the requests are owned elsewhere */
    int32_t live_count;
    uint64_t last_id;
    bool draining;
    um_status abort_status; /* UM_OK: no abort */
    um_err failure;         /* status != UM_OK: the engine has failed */
    uint64_t progress_ns;   /* last step ended, or work came to an idle engine */
    um_waits waits;
    um_stats stats;
    /* engine thread */
    um_queue queue;
    um_request **running; /* [batch_max], least recently served first */
    int32_t running_count;
    um_plan *plan;
    um_step_result *result;
    um_buf text;        /* released in this step by one request */
    um_journal journal; /* what this step changed of one request */
    int64_t step_ns;    /* running mean of a step's time; 0: none was seen */
    bool stopping;
    bool thread_started;
    pthread_t thread;
};

static uint64_t now_ns(const um_engine *engine)
{
    return um_clock_now_ns(engine->options.clock);
}

static double seconds_between(uint64_t from_ns, uint64_t to_ns)
{
    return (double)(to_ns - from_ns) / NS_PER_S;
}

/* ---- life ----------------------------------------------------------------------------------- */

um_plan_limits um_engine_plan_limits(const um_engine_options *options)
{
    /* one request takes part whatever its size: a whole context, twice with guidance */
    int32_t alone = 2 * options->context_max;
    int32_t rows = options->rows_per_step > alone ? options->rows_per_step : alone;
    int64_t edits;

    UM_ASSERT(options->context_max > 0 && options->context_max <= INT32_MAX / 2);
    UM_ASSERT(options->batch_max > 0 && options->batch_max <= INT32_MAX / 2);
    edits = um_edits_max(rows, options->batch_max);
    UM_ASSERT(edits <= INT32_MAX);
    return (um_plan_limits){
        .rows_max = rows, .sequences_max = 2 * options->batch_max, .edits_max = (int32_t)edits};
}

static um_status reserve(um_engine *engine, um_err *err)
{
    const um_engine_options *options = &engine->options;
    um_plan_limits limits = um_engine_plan_limits(options);
    um_status status;

    status = um_mailbox_create((size_t)engine->live_max + 1, sizeof(um_arrival), NULL, NULL,
                               &engine->arrivals, err);
    if (status == UM_OK)
        status = um_plan_create(&limits, &engine->plan, err);
    if (status == UM_OK)
        status = um_step_result_create(&limits, &engine->result, err);
    if (status == UM_OK)
        status = um_waits_init(&engine->waits, options->batch_max, err);
    if (status == UM_OK)
        status = um_journal_init(&engine->journal, options->context_max, err);
    if (status != UM_OK)
        return status;
    engine->live = um_mem_calloc((size_t)engine->live_max, sizeof(*engine->live));
    engine->running = um_mem_calloc((size_t)options->batch_max, sizeof(*engine->running));
    um_buf_reserve(&engine->text, um_emit_bytes_max(options->tokenizer, options->context_max));
    if (!engine->live || !engine->running || um_buf_failed(&engine->text))
        return um_fail(err, UM_E_NOMEM, "engine: no memory for %d requests", engine->live_max);
    return UM_OK;
}

static void release(um_engine *engine)
{
    um_journal_deinit(&engine->journal);
    um_buf_deinit(&engine->text);
    um_mem_free(engine->running);
    um_waits_deinit(&engine->waits);
    um_mem_free(engine->live);
    um_step_result_destroy(engine->result);
    um_plan_destroy(engine->plan);
    um_mailbox_destroy(engine->arrivals);
    um_ready_deinit(&engine->ready);
    pthread_mutex_destroy(&engine->lock);
    um_mem_free(engine);
}

um_status um_engine_create(const um_engine_options *options, um_engine **out, um_err *err)
{
    um_engine *engine = um_mem_zalloc(sizeof(*engine));
    um_status status;

    UM_ASSERT(options->queue_max >= 0 && options->queue_max <= INT32_MAX / 4);
    UM_ASSERT(options->rows_per_step > 0);
    UM_ASSERT(options->tokenizer && options->step);
    *out = NULL;
    if (!engine)
        return um_fail(err, UM_E_NOMEM, "engine: no memory for %zu bytes", sizeof(*engine));
    engine->options = *options;
    if (!engine->options.clock)
        engine->options.clock = um_clock_system();
    engine->request_facts = (um_request_facts){
        .tokenizer = options->tokenizer,
        .canvas = options->canvas,
    };
    engine->request_facts.canvas.end_tokens = engine->options.end_tokens;
    engine->request_facts.canvas.end_token_count = options->end_token_count;
    engine->batch_facts = (um_batch_facts){.eos_token = options->eos_token,
                                           .turn_token = options->turn_token,
                                           .logit_shift = options->logit_shift};
    engine->live_max = options->batch_max + options->queue_max;
    pthread_mutex_init(&engine->lock, NULL);
    um_ready_init(&engine->ready, options->wake, options->wake_context);
    um_stats_init(&engine->stats, options->context_max, options->batch_max);
    status = reserve(engine, err);
    if (status != UM_OK) {
        release(engine);
        return status;
    }
    *out = engine;
    return UM_OK;
}

static void *run_thread(void *context)
{
    um_engine *engine = context;

    while (!engine->stopping)
        if (um_engine_turn(engine) == UM_EMPTY && !engine->stopping)
            um_mailbox_wait(engine->arrivals, -1);
    return NULL;
}

um_status um_engine_start(um_engine *engine, um_err *err)
{
    UM_ASSERT(!engine->thread_started);
    if (pthread_create(&engine->thread, NULL, run_thread, engine) != 0)
        return um_fail(err, UM_E_NOMEM, "engine: the thread could not be started");
    engine->thread_started = true;
    return UM_OK;
}

void um_engine_destroy(um_engine *engine)
{
    um_arrival stop = {.request = NULL};

    if (!engine)
        return;
    um_engine_abort(engine, UM_E_SHUTDOWN);
    if (engine->thread_started) {
        UM_ASSERT(um_mailbox_put(engine->arrivals, &stop) == UM_OK); /* room for it is reserved */
        pthread_join(engine->thread, NULL);
    } else {
        UM_ASSERT(um_engine_turn(engine) == UM_EMPTY);
    }
    UM_ASSERT(engine->live_count == 0);
    release(engine);
}

/* ---- any thread ------------------------------------------------------------------------------ */

/* Under the lock: may `count` requests come in? */
static um_status check_admission(const um_engine *engine, size_t count, um_err *err)
{
    if (engine->failure.status != UM_OK)
        return um_fail(err, UM_E_ENGINE, "the engine has failed: %s", engine->failure.message);
    if (engine->draining)
        return um_fail(err, UM_E_DRAINING, "the server takes no new requests: it is stopping");
    if (count > (size_t)(engine->live_max - engine->live_count))
        return um_fail(err, UM_E_QUEUE_FULL,
                       "%d requests are running or waiting; at most %d may run and %d wait",
                       engine->live_count, engine->options.batch_max, engine->options.queue_max);
    return UM_OK;
}

/* Under the lock. */
static void enter(um_engine *engine, um_request *request)
{
    um_arrival arrival = {.request = request};
    uint64_t now = now_ns(engine);

    if (engine->live_count == 0)
        engine->progress_ns = now;
    request->id = ++engine->last_id;
    request->arrived_ns = now;
    request->live_index = engine->live_count;
    engine->live[engine->live_count++] = request;
    engine->stats.requests_submitted++;
    /* never full: every message in it is a live request */
    UM_ASSERT(um_mailbox_put(engine->arrivals, &arrival) == UM_OK);
}

static void check_submission(const um_engine *engine, const um_submission *submission)
{
    const um_params *params = &submission->params;

    UM_ASSERT(submission->prompt_tokens >= 0 && submission->suffix_tokens >= 0);
    UM_ASSERT(submission->draft_tokens >= 0 && submission->draft_tokens <= params->canvas_tokens);
    UM_ASSERT(params->max_tokens > 0 && params->max_tokens <= params->canvas_tokens);
    UM_ASSERT((int64_t)submission->prompt_tokens + submission->suffix_tokens <=
              engine->options.context_max - params->canvas_tokens);
}

um_status um_engine_submit_many(um_engine *engine, const um_submission *submissions, size_t count,
                                uint64_t *ids, um_err *err)
{
    um_request **requests;
    um_status status;

    /* looked at first, so that a refusal costs no request's memory and time */
    pthread_mutex_lock(&engine->lock);
    status = check_admission(engine, count, err);
    pthread_mutex_unlock(&engine->lock);
    if (status != UM_OK)
        return status;
    requests = um_mem_calloc(count, sizeof(*requests));
    status = requests ? UM_OK : UM_E_NOMEM;
    for (size_t i = 0; i < count && status == UM_OK; i++) {
        check_submission(engine, &submissions[i]);
        status = um_request_create(&submissions[i], &engine->request_facts, &requests[i], NULL);
    }
    if (status != UM_OK) {
        status = um_fail(err, UM_E_OVERLOADED, "no memory for %zu requests", count);
        goto done;
    }
    pthread_mutex_lock(&engine->lock);
    status = check_admission(engine, count, err);
    for (size_t i = 0; i < count && status == UM_OK; i++) {
        enter(engine, requests[i]);
        ids[i] = requests[i]->id;
        requests[i] = NULL; /* the engine thread's now */
    }
    pthread_mutex_unlock(&engine->lock);
done:
    for (size_t i = 0; requests && i < count; i++)
        um_request_destroy(requests[i]);
    um_mem_free(requests);
    return status;
}

um_status um_engine_submit(um_engine *engine, const um_submission *submission, uint64_t *id,
                           um_err *err)
{
    return um_engine_submit_many(engine, submission, 1, id, err);
}

/* The engine thread looks at the mark at the next boundary. No wake-up: it does not sleep while a
 * request lives. */
void um_engine_cancel(um_engine *engine, uint64_t id)
{
    pthread_mutex_lock(&engine->lock);
    for (int32_t i = 0; i < engine->live_count; i++)
        if (engine->live[i]->id == id)
            engine->live[i]->cancel_asked = true;
    pthread_mutex_unlock(&engine->lock);
}

/* Says why a request failed. Here and not where it did: a turn of the engine allocates nothing, and
 * an error in each outbox would be most of what a waiting request takes. */
static void explain(um_engine *engine, const um_event *event, um_err *err)
{
    switch (event->status) {
    case UM_E_ENGINE:
        pthread_mutex_lock(&engine->lock);
        um_fail(err, UM_E_ENGINE, "the engine has failed: %s", engine->failure.message);
        pthread_mutex_unlock(&engine->lock);
        break;
    case UM_E_CANCELLED:
        um_fail(err, UM_E_CANCELLED, "the request was cancelled");
        break;
    case UM_E_TIMEOUT:
        if (event->deadline_ms > 0)
            um_fail_field(err, UM_E_TIMEOUT, "diffusion.deadline_ms",
                          "the request was still waiting when its deadline, %d ms, passed",
                          event->deadline_ms);
        else
            um_fail(err, UM_E_TIMEOUT, "the request was not complete after %d ms, the limit",
                    engine->options.request_timeout_ms);
        break;
    case UM_E_QUEUE_TIMEOUT:
        um_fail(err, UM_E_QUEUE_TIMEOUT, "the request waited %d ms in the queue, the limit",
                engine->options.queue_timeout_ms);
        break;
    default:
        um_fail(err, event->status, "the request was ended: %s", um_status_text(event->status));
        break;
    }
}

um_status um_engine_next(um_engine *engine, um_event *event)
{
    um_status status = um_ready_take(&engine->ready, event);

    if (status != UM_OK || event->status == UM_OK)
        return status;
    event->error = um_mem_zalloc(sizeof(*event->error));
    if (event->error)
        explain(engine, event, event->error);
    return UM_OK;
}

void um_engine_drain(um_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    engine->draining = true;
    pthread_mutex_unlock(&engine->lock);
}

void um_engine_abort(um_engine *engine, um_status status)
{
    UM_ASSERT(status < 0);
    pthread_mutex_lock(&engine->lock);
    engine->draining = true;
    engine->abort_status = status;
    pthread_mutex_unlock(&engine->lock);
}

void um_engine_stats(um_engine *engine, um_stats *out)
{
    pthread_mutex_lock(&engine->lock);
    *out = engine->stats;
    out->waiting = engine->live_count - engine->stats.running;
    pthread_mutex_unlock(&engine->lock);
}

double um_engine_wait_estimate(um_engine *engine)
{
    double estimate;
    uint64_t now;

    pthread_mutex_lock(&engine->lock);
    now = now_ns(engine);
    um_waits_clear(&engine->waits);
    for (int32_t i = 0; i < engine->live_count; i++)
        if (engine->live[i]->admitted)
            um_waits_add(&engine->waits, seconds_between(engine->live[i]->admitted_ns, now));
    estimate = um_waits_estimate(&engine->waits, engine->live_count - engine->stats.running);
    pthread_mutex_unlock(&engine->lock);
    return estimate;
}

um_status um_engine_failure(um_engine *engine, um_err *err)
{
    um_status status;

    pthread_mutex_lock(&engine->lock);
    status = engine->failure.status;
    if (status != UM_OK && err)
        *err = engine->failure;
    pthread_mutex_unlock(&engine->lock);
    return status;
}

bool um_engine_stalled(um_engine *engine, double seconds)
{
    bool stalled;

    pthread_mutex_lock(&engine->lock);
    stalled =
        engine->live_count > 0 && seconds_between(engine->progress_ns, now_ns(engine)) > seconds;
    pthread_mutex_unlock(&engine->lock);
    return stalled;
}

/* ---- endings --------------------------------------------------------------------------------- */

/* Under the lock. */
static void count_ending(um_engine *engine, const um_request *request, um_status status,
                         uint64_t now)
{
    um_stats *stats = &engine->stats;
    um_usage usage = um_request_usage(request);

    if (status == UM_E_QUEUE_TIMEOUT) {
        stats->queue_timeouts++;
        return;
    }
    if (status != UM_OK) {
        stats->endings[status == UM_E_CANCELLED ? UM_ENDING_ABORT : UM_ENDING_ERROR]++;
        return;
    }
    stats->endings[request->emit.finish == UM_FINISH_STOP ? UM_ENDING_STOP : UM_ENDING_LENGTH]++;
    um_histogram_add(&stats->e2e_seconds, seconds_between(request->arrived_ns, now));
    um_histogram_add(&stats->inference_seconds, seconds_between(request->started_ns, now));
    um_histogram_add(&stats->prompt_token_counts, usage.prompt_tokens);
    um_histogram_add(&stats->generation_token_counts, usage.completion_tokens);
    um_histogram_add(&stats->max_token_params, request->params.max_tokens);
    um_histogram_add(&stats->denoise_steps, usage.steps);
    um_histogram_add(&stats->tokens_per_step, (double)usage.completion_tokens / usage.steps);
}

/* Takes the request out of the table: its place is free from here on. */
static void leave(um_engine *engine, um_request *request, um_status status)
{
    uint64_t now = now_ns(engine);

    pthread_mutex_lock(&engine->lock);
    engine->live_count--;
    engine->live[request->live_index] = engine->live[engine->live_count];
    engine->live[request->live_index]->live_index = request->live_index;
    if (request->admitted) {
        engine->stats.running--;
        engine->stats.canvas_tokens -= request->params.canvas_tokens;
        um_waits_count(&engine->waits, seconds_between(request->admitted_ns, now));
    }
    count_ending(engine, request, status, now);
    pthread_mutex_unlock(&engine->lock);
}

/* `text` and `journal`: of the step that the post tells of; NULL: there was none. */
static um_post make_post(um_request *request, const um_buf *text, const um_journal *journal)
{
    um_post post = {
        .id = request->id,
        .started = request->canvas.step > 0,
        .usage = um_request_usage(request),
        .text = text,
        .tokens = um_canvas_generated(&request->canvas),
        .confidences = request->canvas.confidences + request->canvas.prompt_tokens,
        .token_count = request->canvas.extent,
        .finish = request->emit.finish,
    };

    if (request->logprobs) {
        post.logprobs = request->logprobs;
        post.logprob_places = request->emit.places + request->rows_told;
        post.logprob_rows = request->emit.tokens - request->rows_told;
        request->rows_told = request->emit.tokens;
    }
    if (journal) {
        post.step = &journal->step;
        post.changes = journal->changes;
        post.guesses = journal->guesses;
        post.guess_count = journal->guess_count;
    }
    return post;
}

/* The request's end: `status` UM_OK is success. Frees it. It leaves the table first, so that whoever
 * sees its done event finds its place free. */
static void end_request(um_engine *engine, um_request *request, const um_buf *text,
                        const um_journal *journal, um_status status, int32_t deadline_ms)
{
    um_post post = make_post(request, text, journal);
    um_outbox *outbox = request->outbox;

    UM_ASSERT(status != UM_OK || request->emit.finish != UM_FINISH_NONE);
    post.status = status;
    post.deadline_ms = deadline_ms;
    request->outbox = NULL;
    leave(engine, request, status);
    um_ready_finish(&engine->ready, outbox, &post);
    um_request_destroy(request);
}

/* Its own deadline passed in the queue, not the engine's limit. */
static bool waited_in_vain(const um_engine *engine, const um_request *request)
{
    int32_t limit = engine->options.request_timeout_ms, own = request->params.deadline_ms;

    return request->verdict == UM_E_TIMEOUT && !request->admitted && own > 0 &&
           (limit == 0 || own < limit);
}

static void end_early(um_engine *engine, um_request *request)
{
    int32_t deadline_ms = waited_in_vain(engine, request) ? request->params.deadline_ms : 0;

    end_request(engine, request, NULL, NULL, request->verdict, deadline_ms);
}

/* ---- a turn ---------------------------------------------------------------------------------- */

static void take_arrivals(um_engine *engine)
{
    um_arrival arrival;

    while (um_mailbox_take(engine->arrivals, &arrival) == UM_OK) {
        if (arrival.request)
            um_queue_push(&engine->queue, arrival.request);
        else
            engine->stopping = true;
    }
}

static bool is_over(uint64_t since_ns, uint64_t now, int32_t limit_ms)
{
    return limit_ms > 0 && now - since_ns >= (uint64_t)limit_ms * NS_PER_MS;
}

/* Under the lock: why must this request end now? UM_OK: it need not. */
static um_status judge(const um_engine *engine, const um_request *request, uint64_t now)
{
    if (engine->failure.status != UM_OK)
        return UM_E_ENGINE;
    if (engine->abort_status != UM_OK)
        return engine->abort_status;
    if (request->cancel_asked)
        return UM_E_CANCELLED;
    if (is_over(request->arrived_ns, now, engine->options.request_timeout_ms))
        return UM_E_TIMEOUT;
    /* one that runs is hurried instead */
    if (!request->admitted && is_over(request->arrived_ns, now, request->params.deadline_ms))
        return UM_E_TIMEOUT;
    if (!request->admitted && is_over(request->arrived_ns, now, engine->options.queue_timeout_ms))
        return UM_E_QUEUE_TIMEOUT;
    return UM_OK;
}

/* Closes the gaps that ended requests left in the running list. */
static void compact(um_engine *engine)
{
    int32_t kept = 0;

    for (int32_t i = 0; i < engine->running_count; i++)
        if (engine->running[i])
            engine->running[kept++] = engine->running[i];
    engine->running_count = kept;
}

/* Ends requests that are cancelled, late, or have no engine any more. */
static void sweep(um_engine *engine)
{
    uint64_t now = now_ns(engine);
    um_request *next;

    pthread_mutex_lock(&engine->lock);
    for (um_request *request = engine->queue.head; request; request = request->next)
        request->verdict = judge(engine, request, now);
    for (int32_t i = 0; i < engine->running_count; i++)
        engine->running[i]->verdict = judge(engine, engine->running[i], now);
    pthread_mutex_unlock(&engine->lock);
    for (um_request *request = engine->queue.head; request; request = next) {
        next = request->next;
        if (request->verdict != UM_OK) {
            um_queue_remove(&engine->queue, request);
            end_early(engine, request);
        }
    }
    for (int32_t i = 0; i < engine->running_count; i++) {
        if (engine->running[i]->verdict != UM_OK) {
            end_early(engine, engine->running[i]);
            engine->running[i] = NULL;
        }
    }
    compact(engine);
}

static void admit(um_engine *engine)
{
    while (engine->queue.count > 0 && engine->running_count < engine->options.batch_max) {
        um_request *request = um_queue_pick(&engine->queue, engine->running, engine->running_count);

        engine->running[engine->running_count++] = request;
        pthread_mutex_lock(&engine->lock);
        request->admitted = true;
        request->admitted_ns = now_ns(engine);
        engine->stats.running++;
        engine->stats.canvas_tokens += request->params.canvas_tokens;
        pthread_mutex_unlock(&engine->lock);
    }
}

/* Makes the next turn of each request the last one whose deadline another turn might miss. A turn
 * comes around once in as many steps as all rows together need. */
static void hurry(um_engine *engine)
{
    uint64_t now = now_ns(engine), turn_ns;
    int64_t rows = 0, per_step = engine->options.rows_per_step;

    for (int32_t i = 0; i < engine->running_count; i++)
        rows += um_request_rows(engine->running[i]);
    turn_ns = (uint64_t)((rows + per_step - 1) / per_step) * (uint64_t)engine->step_ns;
    for (int32_t i = 0; i < engine->running_count; i++) {
        um_request *request = engine->running[i];
        uint64_t limit_ns = (uint64_t)request->params.deadline_ms * NS_PER_MS;

        if (limit_ns > 0 && now + DEADLINE_TURNS * turn_ns > request->arrived_ns + limit_ns)
            um_request_hurry(request);
    }
}

/* Under the lock: what one participant's step and its text add to the statistics. */
static void count_progress(um_stats *stats, um_request *request, int32_t tokens_before,
                           int32_t commits, bool has_text, uint64_t now)
{
    stats->tokens_filled += (uint64_t)commits;
    stats->generation_tokens += (uint64_t)(request->emit.tokens - tokens_before);
    if (request->canvas.step == 1) {
        stats->prompt_tokens +=
            (uint64_t)(request->canvas.prompt_tokens + request->canvas.suffix_tokens);
        um_histogram_add(&stats->queue_seconds,
                         seconds_between(request->arrived_ns, request->started_ns));
        um_histogram_add(&stats->first_draft_seconds, seconds_between(request->arrived_ns, now));
    }
    if (!has_text)
        return;
    if (request->last_text_ns == 0)
        um_histogram_add(&stats->first_text_seconds, seconds_between(request->arrived_ns, now));
    else
        um_histogram_add(&stats->inter_chunk_seconds, seconds_between(request->last_text_ns, now));
    request->last_text_ns = now;
}

/* What the step has for participant `index`. */
static um_outcome outcome_of(const um_engine *engine, int32_t index)
{
    const um_plan *plan = engine->plan;
    const um_select_rule *rule = &plan->select_rules[index];
    um_outcome outcome = {
        .commits = engine->result->commits + rule->first,
        .commit_count = engine->result->counts[index],
        .rows = plan->score_rows + rule->first,
        .row_count = rule->rows,
        .alternative_count = plan->alternative_count,
    };

    if (plan->alternative_count > 0)
        outcome.alternatives = um_step_result_alternatives(engine->result, plan, rule->first);
    return outcome;
}

/* Gives participant `index` its commits. True when that was its last step. */
static bool advance(um_engine *engine, int32_t index, uint64_t began, uint64_t now)
{
    um_request *request = engine->running[index];
    const um_event *news = &request->outbox->news;
    const um_journal *journal = news->steps ? &engine->journal : NULL;
    const um_outcome outcome = outcome_of(engine, index);
    int32_t tokens_before = request->emit.tokens;
    um_post post;

    if (request->canvas.step == 0)
        request->started_ns = began;
    um_buf_clear(&engine->text);
    um_request_advance(request, &outcome, &engine->text, &engine->journal);
    pthread_mutex_lock(&engine->lock);
    count_progress(&engine->stats, request, tokens_before, outcome.commit_count,
                   engine->text.length > 0, now);
    pthread_mutex_unlock(&engine->lock);
    if (um_request_finished(request)) {
        end_request(engine, request, &engine->text, journal, UM_OK, 0);
        return true;
    }
    /* the first step is news too, and so is every one where the canvas is wanted */
    if (engine->text.length > 0 || request->canvas.step == 1 || news->tokens || journal) {
        post = make_post(request, &engine->text, journal);
        um_ready_post(&engine->ready, request->outbox, &post);
    }
    return false;
}

static void count_step(um_engine *engine, int32_t served, uint64_t began, uint64_t now)
{
    um_stats *stats = &engine->stats;
    int64_t took = (int64_t)(now - began);

    engine->step_ns += engine->step_ns ? (took - engine->step_ns) / STEP_MEAN_SPAN : took;
    pthread_mutex_lock(&engine->lock);
    stats->forward_passes++;
    stats->positions_evaluated += (uint64_t)engine->plan->row_count;
    stats->batch_occupancy =
        served < engine->running_count ? 1.0 : (double)served / engine->options.batch_max;
    um_histogram_add(&stats->step_seconds, seconds_between(began, now));
    um_histogram_add(&stats->step_batch_size, served);
    engine->progress_ns = now;
    pthread_mutex_unlock(&engine->lock);
    if (engine->options.slow_step_ms > 0 &&
        took > engine->options.slow_step_ms * (int64_t)NS_PER_MS)
        um_log(UM_LOG_WARN, "slow_step", "ms=%.0f requests=%d rows=%d scored=%d",
               (double)took / 1e6, served, engine->plan->row_count, engine->plan->score_count);
}

/* A failed step means that the device is lost: nothing that lives can go on. */
static um_status fail(um_engine *engine, um_status status, const um_err *error)
{
    um_log(UM_LOG_ERROR, "engine_failed", "status=%s message=\"%s\"", um_status_name(status),
           error->message);
    pthread_mutex_lock(&engine->lock);
    engine->failure = *error;
    engine->failure.status = status;
    pthread_mutex_unlock(&engine->lock);
    sweep(engine);
    return UM_E_ENGINE;
}

static um_status step(um_engine *engine)
{
    um_err error = {0};
    uint64_t began = now_ns(engine), now;
    int32_t served =
        um_batcher_plan(engine->running, engine->running_count, engine->options.rows_per_step,
                        &engine->batch_facts, engine->plan);
    um_status status =
        engine->options.step(engine->options.step_context, engine->plan, engine->result, &error);

    if (status != UM_OK)
        return fail(engine, status, &error);
    now = now_ns(engine);
    count_step(engine, served, began, now);
    for (int32_t i = 0; i < served; i++)
        if (advance(engine, i, began, now))
            engine->running[i] = NULL;
    um_batcher_rotate(engine->running, engine->running_count, served);
    compact(engine);
    return UM_OK;
}

um_status um_engine_turn(um_engine *engine)
{
    take_arrivals(engine);
    sweep(engine);
    admit(engine);
    hurry(engine);
    if (engine->running_count > 0)
        return step(engine);
    pthread_mutex_lock(&engine->lock);
    engine->stats.batch_occupancy = 0.0;
    pthread_mutex_unlock(&engine->lock);
    return UM_EMPTY;
}
