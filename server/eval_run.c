#include "server/eval_run.h"

#include <errno.h>
#include <semaphore.h>

#include "core/base/mem.h"

/* A request inside the engine and what it has said so far. */
typedef struct flight {
    uint64_t id; /* 0: free */
    size_t job;
    um_buf text;
} flight;

struct um_eval {
    um_engine *engine; /* owned */
    flight *flights;   /* [flight_count], owned: as many as the engine takes */
    size_t flight_count;
    sem_t news;
};

/* One run. */
typedef struct run {
    um_eval *eval;
    const um_eval_job *jobs;
    size_t job_count;
    size_t submitted;
    size_t answered;
    um_eval_answer_fn on_answer;
    void *context;
    um_eval_totals *totals;
} run;

static void wake(void *context)
{
    sem_post(context);
}

um_status um_eval_create(const um_engine_options *options, um_eval **out, um_err *err)
{
    um_engine_options adapted = *options;
    um_eval *eval = um_mem_zalloc(sizeof(*eval));
    um_status status;

    *out = NULL;
    if (!eval)
        return um_fail(err, UM_E_NOMEM, "eval: no memory for %zu bytes", sizeof(*eval));
    sem_init(&eval->news, 0, 0);
    eval->flight_count = 2 * (size_t)options->batch_max;
    eval->flights = um_mem_calloc(eval->flight_count, sizeof(*eval->flights));
    if (!eval->flights) {
        status = um_fail(err, UM_E_NOMEM, "eval: no memory for %zu requests", eval->flight_count);
        goto done;
    }
    adapted.queue_max = options->batch_max; /* a successor waits for every place */
    adapted.queue_timeout_ms = 0;
    adapted.request_timeout_ms = 0;
    adapted.wake = wake;
    adapted.wake_context = &eval->news;
    status = um_engine_create(&adapted, &eval->engine, err);
    if (status == UM_OK)
        status = um_engine_start(eval->engine, err);
    if (status != UM_OK)
        goto done;
    *out = eval;
    eval = NULL; /* ownership moved to *out */
done:
    um_eval_destroy(eval);
    return status;
}

void um_eval_destroy(um_eval *eval)
{
    if (!eval)
        return;
    um_engine_destroy(eval->engine);
    for (size_t i = 0; eval->flights && i < eval->flight_count; i++)
        um_buf_deinit(&eval->flights[i].text);
    um_mem_free(eval->flights);
    sem_destroy(&eval->news);
    um_mem_free(eval);
}

/* The flight with this id; 0 finds a free one. */
static flight *find_flight(um_eval *eval, uint64_t id)
{
    for (size_t i = 0; i < eval->flight_count; i++)
        if (eval->flights[i].id == id)
            return &eval->flights[i];
    return NULL;
}

static um_status fill_engine(run *r, um_err *err)
{
    um_status status = UM_OK;
    flight *place;

    while (status == UM_OK && r->submitted < r->job_count && (place = find_flight(r->eval, 0))) {
        const um_eval_job *job = &r->jobs[r->submitted];
        um_submission submission = {
            .prompt = job->prompt.data,
            .prompt_tokens = (int32_t)job->prompt.count,
            .params = job->params,
        };

        um_buf_clear(&place->text);
        place->job = r->submitted;
        status = um_engine_submit(r->eval->engine, &submission, &place->id, err);
        r->submitted += status == UM_OK;
    }
    return status;
}

static um_status take_event(run *r, const um_event *event, um_err *err)
{
    flight *from = find_flight(r->eval, event->id);

    UM_ASSERT(from);
    if (event->status != UM_OK) {
        if (err)
            *err = um_event_error(event);
        return event->status;
    }
    um_buf_append(&from->text, um_buf_view(&event->text), event->text.length);
    if (um_buf_failed(&from->text))
        return um_fail(err, UM_E_NOMEM, "eval: no memory for an answer");
    if (!event->done)
        return UM_OK;
    r->totals->tokens += event->usage.completion_tokens;
    r->totals->steps += event->usage.steps;
    r->answered++;
    r->on_answer(r->context, from->job, &from->text, &event->usage);
    from->id = 0;
    return UM_OK;
}

static um_status take_events(run *r, um_err *err)
{
    um_status status = UM_OK;
    um_event event;

    while (sem_wait(&r->eval->news) != 0)
        UM_ASSERT(errno == EINTR);
    while (status == UM_OK && um_engine_next(r->eval->engine, &event) == UM_OK) {
        status = take_event(r, &event, err);
        um_event_deinit(&event);
    }
    return status;
}

um_status um_eval_run(um_eval *eval, const um_eval_job *jobs, size_t count,
                      um_eval_answer_fn on_answer, void *context, um_eval_totals *out, um_err *err)
{
    run r = {.eval = eval,
             .jobs = jobs,
             .job_count = count,
             .on_answer = on_answer,
             .context = context,
             .totals = out};
    uint64_t begun = um_clock_now_ns(um_clock_system());
    um_status status = UM_OK;

    *out = (um_eval_totals){0};
    while (status == UM_OK && r.answered < count) {
        status = fill_engine(&r, err);
        if (status == UM_OK)
            status = take_events(&r, err);
    }
    out->seconds = (double)(um_clock_now_ns(um_clock_system()) - begun) / 1e9;
    return status;
}
