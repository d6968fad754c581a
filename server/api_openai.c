#include "server/api_openai.h"

#include <string.h>
#include <sys/random.h>

#include "core/base/log.h"
#include "core/base/mem.h"
#include "server/app.h"
#include "server/stream.h"

#define LARGE_BODY_BYTES ((size_t)1 << 20)

/* One choice of a stream, found by its engine id. */
struct umi_ticket {
    uint64_t id;
    um_stream *stream;
    size_t choice;
    umi_ticket *next;
};

/* A request on its way to the engine. The thread pool has few threads, so that few bodies exist as
 * trees at a time, however many connections bring one. */
typedef struct job {
    uv_work_t work;
    um_app *app;
    um_exchange *exchange; /* NULL: the client left */
    um_endpoint endpoint;
    um_buf body;            /* taken from the exchange, which may be gone while the pool reads */
    size_t body_bytes;      /* of it, to be given back to the transport */
    um_api_request request; /* without its body once prepared */
    uint64_t owner;         /* whose turn it is: the key's, or the user's where one is named */
    um_ids prompts[UM_PROMPTS_MAX]; /* [prompt_count], owned */
    size_t prompt_count;
    um_err err; /* of the encoding; status UM_OK: it went well */
} job;

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
    app->api.counts.rejected[reason_of(err->status)]++;
    um_log(UM_LOG_INFO, "refused", "request_id=%s status=%s field=%s",
           um_exchange_request_id(exchange), um_status_name(err->status), err->field);
    um_stream_refuse(exchange, app->engine, err);
}

/* ---- reading and encoding (thread pool) ------------------------------------------------------ */

static um_status parse(job *j, um_err *err)
{
    const um_app *app = j->app; /* of which only what never changes after READY is read here */
    um_api_rules rules = {.model_id = app->model_id,
                          .model_aliases = app->config->model_alias.items,
                          .model_alias_count = app->config->model_alias.count,
                          .strict_params = app->config->strict_params,
                          .vocab = app->served.info->config.vocab,
                          .mask_token = app->served.engine.canvas.mask_is_text
                                            ? -1
                                            : app->served.info->config.mask_token,
                          .limits = &app->served.limits};

    return um_api_request_parse(j->endpoint, um_buf_view(&j->body), j->body.length, &rules,
                                &j->request, err);
}

/* 0: nobody in particular. */
static uint64_t owner_of(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;

    if (!*name)
        return 0;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash;
}

static um_status encode_prompt(const um_served *served, job *j, size_t index, um_err *err)
{
    const um_api_prompt *prompt = &j->request.prompts[index];
    um_ids *ids = &j->prompts[index];

    if (!prompt->ids)
        return um_served_encode_text(served, prompt->text, prompt->length, "prompt", ids, err);
    for (size_t i = 0; i < prompt->id_count; i++)
        if (!um_ids_push(ids, prompt->ids[i]))
            return um_fail(err, UM_E_OVERLOADED, "no memory for %zu ids", prompt->id_count);
    return UM_OK;
}

static um_chat_end chat_end(const um_api_request *request)
{
    if (request->continue_final_message)
        return UM_CHAT_CONTINUE;
    return request->no_generation_prompt ? UM_CHAT_CLOSED : UM_CHAT_ANSWER;
}

/* A tree takes up to fifty times the bytes of its text, and long to free: so not on the HTTP thread,
 * and not left to this thread's heap. */
static void drop_body(job *j)
{
    bool large = j->body.length >= LARGE_BODY_BYTES;

    um_api_request_drop_body(&j->request);
    um_buf_deinit(&j->body);
    if (large)
        um_mem_trim();
}

static void prepare(uv_work_t *work)
{
    job *j = work->data;
    const um_served *served = &j->app->served;
    um_status status = parse(j, &j->err);

    if (status == UM_OK && j->endpoint == UM_ENDPOINT_CHAT)
        status = um_served_encode_chat(served, j->request.messages, j->request.message_count,
                                       chat_end(&j->request), "messages", &j->prompts[0], &j->err);
    for (size_t i = 0; i < j->request.prompt_count && status == UM_OK; i++)
        status = encode_prompt(served, j, i, &j->err);
    j->prompt_count = j->endpoint == UM_ENDPOINT_CHAT ? 1 : j->request.prompt_count;
    if (j->request.user)
        j->owner = owner_of(j->request.user);
    drop_body(j);
    j->err.status = status; /* also UM_OK */
}

/* ---- submitting ----------------------------------------------------------------------------- */

static uint64_t random_seed(void)
{
    uint64_t seed;

    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        UM_FATAL("getrandom");
    return seed;
}

static um_status fill_submissions(const job *j, um_submission *submissions, um_err *err)
{
    const char *field = um_api_prompt_field(j->endpoint);
    uint64_t seed = random_seed();
    um_status status = UM_OK;

    for (size_t i = 0; i < j->prompt_count && status == UM_OK; i++) {
        const um_ids *ids = &j->prompts[i];

        if (ids->count > INT32_MAX)
            return um_fail_field(err, UM_E_CONTEXT_LENGTH, field, "`%s` has %zu tokens", field,
                                 ids->count);
        submissions[i] = (um_submission){.prompt = ids->data,
                                         .prompt_tokens = (int32_t)ids->count,
                                         .stops = j->request.stops,
                                         .stop_count = j->request.stop_count,
                                         .owner = j->owner};
        status = um_params_resolve(
            &j->request.given, &j->app->served.limits,
            &(um_params_place){.prompt_tokens = (int32_t)ids->count, .field = field}, seed,
            &submissions[i].params, err);
    }
    return status;
}

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

static um_status submit(job *j, um_err *err)
{
    um_app *app = j->app;
    um_stream_options options = {.endpoint = j->endpoint,
                                 .model = app->model_id,
                                 .fingerprint = app->served.fingerprint,
                                 .streamed = j->request.stream,
                                 .early_headers = app->config->early_headers,
                                 .include_usage = j->request.include_usage,
                                 .continuous_usage = j->request.continuous_usage,
                                 .echo_settings = j->request.echo_settings,
                                 .engine = app->engine,
                                 .mode = j->request.mode,
                                 .draft = j->request.draft,
                                 .tokenizer = app->served.tokenizer,
                                 .mask_token = app->served.engine.canvas.mask_is_text
                                                   ? -1
                                                   : app->served.engine.canvas.mask_token,
                                 .choices_per_prompt = 1,
                                 .counts = &app->api.counts.frames};
    um_submission submissions[UM_PROMPTS_MAX];
    umi_ticket *tickets[UM_PROMPTS_MAX] = {NULL};
    uint64_t ids[UM_PROMPTS_MAX];
    um_stream *stream = NULL;
    um_status status = fill_submissions(j, submissions, err);

    if (status == UM_OK)
        status = um_stream_create(&options, submissions, NULL, j->prompt_count, &stream, err);
    if (status == UM_OK)
        status = make_tickets(j->prompt_count, tickets, err);
    if (status != UM_OK)
        goto done;
    status = um_engine_submit_many(app->engine, submissions, j->prompt_count, ids, err);
    if (status != UM_OK) {
        for (size_t i = 0; i < j->prompt_count; i++)
            um_mem_free(tickets[i]);
        goto done;
    }
    um_stream_attach(stream, j->exchange, ids);
    file_tickets(&app->api, tickets, j->prompt_count, stream);
    app->api.open++;
    stream = NULL; /* its tickets hold it now */
done:
    um_stream_destroy(stream);
    return status;
}

/* ---- jobs ----------------------------------------------------------------------------------- */

/* A job that no thread has begun is not begun any more. */
static void client_gone(void *context)
{
    job *j = context;

    j->exchange = NULL;
    uv_cancel((uv_req_t *)&j->work);
}

static void job_destroy(job *j)
{
    for (size_t i = 0; i < UM_PROMPTS_MAX; i++)
        um_ids_deinit(&j->prompts[i]);
    um_api_request_deinit(&j->request);
    um_buf_deinit(&j->body);
    if (j->app->http)
        um_http_body_freed(j->app->http, j->body_bytes);
    um_mem_free(j);
}

static void prepared(uv_work_t *work, int uv_status)
{
    job *j = work->data;
    um_app *app = j->app;

    (void)uv_status; /* cancelled only where nobody waits for the answer */
    if (!j->exchange) {
        app->api.counts.aborted++;
    } else {
        um_exchange_set_context(j->exchange, NULL, NULL);
        if (j->request.ignored.length > 0)
            um_exchange_header(j->exchange, "x-unmask-ignored", um_buf_view(&j->request.ignored));
        if (j->err.status != UM_OK || submit(j, &j->err) != UM_OK)
            refuse(app, j->exchange, &j->err);
    }
    job_destroy(j);
    app->api.open--;
    um_app_settle(app);
}

static void begin(um_app *app, um_endpoint endpoint, um_exchange *exchange)
{
    job *j = um_mem_zalloc(sizeof(*j));
    um_err err = {0};

    if (!j) {
        um_fail(&err, UM_E_OVERLOADED, "no memory for a request");
        refuse(app, exchange, &err);
        return;
    }
    j->body = um_exchange_take_body(exchange);
    j->body_bytes = j->body.length;
    j->owner = owner_of(um_exchange_key_name(exchange));
    j->app = app;
    j->exchange = exchange;
    j->endpoint = endpoint;
    j->work.data = j;
    um_exchange_set_context(exchange, j, client_gone);
    app->api.open++;
    /* Fails only for a NULL callback. */
    if (uv_queue_work(&app->loop, &j->work, prepare, prepared) != 0)
        UM_FATAL("uv_queue_work");
}

void um_api_chat(void *app, um_exchange *exchange)
{
    begin(app, UM_ENDPOINT_CHAT, exchange);
}

void um_api_completions(void *app, um_exchange *exchange)
{
    begin(app, UM_ENDPOINT_COMPLETIONS, exchange);
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
