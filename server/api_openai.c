#include "server/api_openai.h"

#include <stdio.h>
#include <string.h>

#include "core/base/entropy.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "server/api_job.h"
#include "server/app.h"
#include "server/stream.h"

#define TICKETS_MAX (UM_PROMPTS_MAX * UM_CHOICES_MAX)

/* One choice of a stream, found by its engine id. */
struct umi_ticket {
    uint64_t id;
    um_stream *stream;
    size_t choice;
    umi_ticket *next;
};

/* ---- tickets -------------------------------------------------------------------------------- */

static umi_ticket **bucket_of(um_api *api, uint64_t id)
{
    return &api->tickets[(id ^ id >> 32) % UM_API_BUCKETS];
}

/* The link that points to the ticket, so that it can be taken out. */
static umi_ticket **find_ticket(um_api *api, uint64_t id)
{
    umi_ticket **link = bucket_of(api, id);

    while (*link && (*link)->id != id)
        link = &(*link)->next;
    return link;
}

/* ---- refusals ------------------------------------------------------------------------------- */

static um_api_reject reason_of(um_status status)
{
    switch (status) {
    case UM_E_QUEUE_FULL:
        return UM_API_REJECT_QUEUE_FULL;
    case UM_E_CONTEXT_LENGTH:
        return UM_API_REJECT_CONTEXT_LENGTH;
    case UM_E_DRAINING:
        return UM_API_REJECT_DRAINING;
    case UM_E_OVERLOADED:
    case UM_E_NOMEM:
    case UM_E_ENGINE:
        return UM_API_REJECT_ENGINE;
    default:
        return UM_API_REJECT_BAD_REQUEST;
    }
}

static void refuse(um_app *app, um_exchange *exchange, const um_err *err)
{
    char field[sizeof(err->field)];

    app->api.counts.rejected[reason_of(err->status)]++;
    snprintf(field, sizeof(field), "%s", err->field);
    for (char *at = field; (at = strchr(at, '"'));) /* a client's own word must not end the value */
        *at = '\'';
    um_log(UM_LOG_INFO, "refused", "id=\"%s\" status=%s field=\"%s\"",
           um_exchange_request_id(exchange), um_status_name(err->status), field);
    um_stream_refuse(exchange, app->engine, err);
}

/* ---- what is asked (thread pool) ------------------------------------------------------------ */

static um_status prepare(um_api_job *job, um_err *err)
{
    return um_api_work_make(&job->app->served, &job->request, um_entropy_seed(), &job->work, err);
}

/* ---- submitting ----------------------------------------------------------------------------- */

/* All tickets or none; they are of no use before um_engine_submit_many gave the ids. */
static um_status make_tickets(size_t count, umi_ticket **tickets, um_err *err)
{
    for (size_t i = 0; i < count; i++) {
        tickets[i] = um_mem_zalloc(sizeof(*tickets[i]));
        if (!tickets[i]) {
            while (i-- > 0)
                um_mem_free(tickets[i]);
            return um_fail(err, UM_E_OVERLOADED, "no memory for a request");
        }
    }
    return UM_OK;
}

static void file_tickets(um_api *api, umi_ticket **tickets, size_t count, um_stream *stream)
{
    for (size_t i = 0; i < count; i++) {
        umi_ticket **bucket = bucket_of(api, um_stream_id(stream, i));

        UM_ASSERT(tickets[i]);
        *tickets[i] = (umi_ticket){
            .id = um_stream_id(stream, i), .stream = stream, .choice = i, .next = *bucket};
        *bucket = tickets[i];
    }
}

static um_stream_options stream_options(um_api_job *job)
{
    um_app *app = job->app;
    const um_canvas_facts *canvas = &app->served.engine.canvas;

    return (um_stream_options){.endpoint = job->kind->endpoint,
                               .model = app->model_id,
                               .fingerprint = app->served.fingerprint,
                               .streamed = job->request.stream,
                               .early_headers = app->config->early_headers,
                               .include_usage = job->request.include_usage,
                               .continuous_usage = job->request.continuous_usage,
                               .echo_settings = job->request.echo_settings,
                               .mode = job->request.mode,
                               .draft = job->request.draft,
                               .responses = &job->request.responses,
                               .tokenizer = app->served.tokenizer,
                               .mask_token = canvas->mask_is_text ? -1 : canvas->mask_token,
                               .end_tokens = app->served.engine.end_tokens,
                               .end_token_count = app->served.engine.end_token_count,
                               .choices_per_prompt = job->work.count / job->work.prompt_count,
                               .engine = app->engine,
                               .counts = &app->api.counts.frames};
}

static um_status submit(um_api_job *job, um_err *err)
{
    um_app *app = job->app;
    const um_api_work *work = &job->work;
    um_stream_options options = stream_options(job);
    umi_ticket *tickets[TICKETS_MAX] = {NULL};
    uint64_t ids[TICKETS_MAX];
    um_stream *stream = NULL;
    um_status status;

    UM_ASSERT(work->count <= TICKETS_MAX);
    for (size_t i = 0; i < work->count; i++)
        work->submissions[i].owner = job->owner;
    status = um_stream_create(&options, work->submissions, work->frames, work->count, &stream, err);
    if (status == UM_OK)
        status = make_tickets(work->count, tickets, err);
    if (status != UM_OK)
        goto done;
    status = um_engine_submit_many(app->engine, work->submissions, work->count, ids, err);
    if (status != UM_OK) {
        for (size_t i = 0; i < work->count; i++)
            um_mem_free(tickets[i]);
        goto done;
    }
    um_stream_attach(stream, job->exchange, ids);
    file_tickets(&app->api, tickets, work->count, stream);
    app->api.open++;
    app->api.counts.more += work->count - 1;
    stream = NULL; /* its tickets hold it now */
done:
    um_stream_destroy(stream);
    return status;
}

/* ---- routes --------------------------------------------------------------------------------- */

static void finish(um_api_job *job)
{
    if (job->err.status != UM_OK || submit(job, &job->err) != UM_OK)
        refuse(job->app, job->exchange, &job->err);
}

static void gone(um_api_job *job)
{
    job->app->api.counts.aborted++;
}

#define ENDPOINT(which)                                                                            \
    {                                                                                              \
        .endpoint = (which), .prepare = prepare, .finish = finish, .gone = gone, .refuse = refuse  \
    }

void um_api_chat(void *app, um_exchange *exchange)
{
    static const um_api_job_kind kind = ENDPOINT(UM_ENDPOINT_CHAT);

    um_api_job_begin(app, &kind, exchange);
}

void um_api_completions(void *app, um_exchange *exchange)
{
    static const um_api_job_kind kind = ENDPOINT(UM_ENDPOINT_COMPLETIONS);

    um_api_job_begin(app, &kind, exchange);
}

void um_api_fim(void *app, um_exchange *exchange)
{
    static const um_api_job_kind kind = ENDPOINT(UM_ENDPOINT_FIM);

    um_api_job_begin(app, &kind, exchange);
}

void um_api_edit(void *app, um_exchange *exchange)
{
    static const um_api_job_kind kind = ENDPOINT(UM_ENDPOINT_EDIT);

    um_api_job_begin(app, &kind, exchange);
}

void um_api_responses(void *app, um_exchange *exchange)
{
    static const um_api_job_kind kind = ENDPOINT(UM_ENDPOINT_RESPONSES);

    um_api_job_begin(app, &kind, exchange);
}

/* ---- events --------------------------------------------------------------------------------- */

static void deliver(um_app *app, um_event *event)
{
    umi_ticket **link = find_ticket(&app->api, event->id), *ticket = *link;
    um_stream *stream;

    UM_ASSERT(ticket != NULL);
    stream = ticket->stream;
    um_stream_event(stream, ticket->choice, event);
    if (!event->done)
        return;
    *link = ticket->next;
    um_mem_free(ticket);
    if (um_stream_finished(stream)) {
        um_stream_destroy(stream);
        app->api.open--;
    }
}

void um_api_pump(um_app *app)
{
    um_event event;

    while (um_engine_next(app->engine, &event) == UM_OK) {
        deliver(app, &event);
        um_event_deinit(&event);
    }
    um_app_settle(app);
}

void um_api_fail_all(um_app *app, const um_err *err)
{
    for (size_t i = 0; i < UM_API_BUCKETS; i++)
        for (umi_ticket *ticket = app->api.tickets[i]; ticket; ticket = ticket->next)
            um_stream_fail(ticket->stream, err);
}
