#include "server/api_job.h"

#include "core/base/mem.h"
#include "server/app.h"

#define LARGE_BODY_BYTES ((size_t)1 << 20)

/* ---- thread pool ----------------------------------------------------------------------------- */

static um_status parse(um_api_job *job, um_err *err)
{
    const um_app *app = job->app;
    um_api_rules rules = {.model_id = app->model_id,
                          .model_aliases = app->config->model_alias.items,
                          .model_alias_count = app->config->model_alias.count,
                          .strict_params = app->config->strict_params,
                          .max_choices = (int32_t)app->config->max_n,
                          .vocab = app->served.info->config.vocab,
                          .mask_token = app->served.info->config.mask_token,
                          .mask_is_text = app->served.engine.canvas.mask_is_text,
                          .limits = &app->served.limits};

    return um_api_request_parse(job->kind->endpoint, um_buf_view(&job->body), job->body.length,
                                &rules, &job->request, err);
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

/* A tree takes up to fifty times the bytes of its text, and long to free: so not on the HTTP thread,
 * and not left to this thread's heap. */
static void drop_body(um_api_job *job)
{
    bool large = job->body.length >= LARGE_BODY_BYTES;

    um_api_request_drop_body(&job->request);
    um_buf_deinit(&job->body);
    if (large)
        um_mem_trim();
}

static void work(uv_work_t *pool)
{
    um_api_job *job = pool->data;
    um_status status = parse(job, &job->err);

    if (status == UM_OK)
        status = job->kind->prepare(job, &job->err);
    if (job->request.user)
        job->owner = owner_of(job->request.user);
    drop_body(job);
    job->err.status = status; /* also UM_OK */
}

/* ---- HTTP thread ----------------------------------------------------------------------------- */

static void client_gone(void *context)
{
    um_api_job *job = context;

    job->exchange = NULL;
    uv_cancel((uv_req_t *)&job->pool);
}

static void destroy(um_api_job *job)
{
    um_api_work_deinit(&job->work);
    um_api_request_deinit(&job->request);
    um_buf_deinit(&job->body);
    um_buf_deinit(&job->answer);
    if (job->app->http)
        um_http_body_freed(job->app->http, job->body_bytes);
    um_mem_free(job);
}

static void after_work(uv_work_t *pool, int uv_status)
{
    um_api_job *job = pool->data;
    um_app *app = job->app;

    (void)uv_status; /* cancelled only where nobody waits for the answer */
    if (job->exchange) {
        um_exchange_set_context(job->exchange, NULL, NULL);
        if (job->request.ignored.length > 0)
            um_exchange_header(job->exchange, "x-unmask-ignored",
                               um_buf_view(&job->request.ignored));
        job->kind->finish(job);
    } else if (job->kind->gone) {
        job->kind->gone(job);
    }
    destroy(job);
    app->api.open--;
    um_app_settle(app);
}

void um_api_job_begin(um_app *app, const um_api_job_kind *kind, um_exchange *exchange)
{
    um_api_job *job = um_mem_zalloc(sizeof(*job));
    um_err err = {0};

    if (!job) {
        um_fail(&err, UM_E_OVERLOADED, "no memory for a request");
        kind->refuse(app, exchange, &err);
        return;
    }
    job->body = um_exchange_take_body(exchange);
    job->body_bytes = job->body.length;
    job->owner = owner_of(um_exchange_key_name(exchange));
    job->app = app;
    job->kind = kind;
    job->exchange = exchange;
    job->pool.data = job;
    um_exchange_set_context(exchange, job, client_gone);
    app->api.open++;
    /* Fails only for a NULL callback. */
    if (uv_queue_work(&app->loop, &job->pool, work, after_work) != 0)
        UM_FATAL("uv_queue_work");
}
