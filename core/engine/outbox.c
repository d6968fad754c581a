/* Outboxes and the list of those with news. Engine thread posts, front-end thread takes. */
#include "core/engine/outbox.h"

#include <string.h>

#include "core/base/mem.h"

void um_event_deinit(um_event *event)
{
    um_buf_deinit(&event->text);
    um_mem_free(event->tokens);
    um_mem_free(event->confidences);
    um_mem_free(event->logprobs);
    um_mem_free(event->steps);
    um_mem_free(event->changes);
    um_mem_free(event->guesses);
    um_mem_free(event->error);
    *event = (um_event){0};
}

um_err um_event_error(const um_event *event)
{
    um_err err = {0};

    if (event->error)
        return *event->error;
    um_fail(&err, event->status, "%s", um_status_text(event->status));
    return err;
}

/* Room for `count` items; NULL for none. Clears *complete where memory is out. */
static void *reserve(int64_t count, size_t size, bool *complete)
{
    void *memory = count > 0 ? um_mem_calloc((size_t)count, size) : NULL;

    *complete = *complete && (memory || count == 0);
    return memory;
}

static bool reserve_news(um_event *news, const um_outbox_options *room, int32_t steps_max)
{
    bool complete = true;

    um_buf_reserve(&news->text, room->text_bytes_max);
    news->token_count = room->result_tokens;
    news->tokens = reserve(room->result_tokens, sizeof(*news->tokens), &complete);
    news->confidences = reserve(room->result_tokens, sizeof(*news->confidences), &complete);
    news->logprobs =
        reserve((int64_t)room->logprobs * room->logprob_rows, sizeof(*news->logprobs), &complete);
    news->steps = reserve(steps_max, sizeof(*news->steps), &complete);
    news->changes = reserve(room->draft_tokens, sizeof(*news->changes), &complete);
    news->guesses = reserve(room->draft_tokens, sizeof(*news->guesses), &complete);
    return complete && !um_buf_failed(&news->text);
}

um_status um_outbox_create(const um_outbox_options *options, um_outbox **out, um_err *err)
{
    um_outbox *outbox = um_mem_zalloc(sizeof(*outbox));

    *out = NULL;
    if (outbox) {
        outbox->room = *options;
        /* each but the newest fills a position or ends a block; step 0 */
        outbox->steps_max =
            options->draft_tokens > 0 ? options->draft_tokens + options->draft_blocks + 2 : 0;
    }
    if (!outbox || !reserve_news(&outbox->news, options, outbox->steps_max)) {
        um_outbox_destroy(outbox);
        return um_fail(err, UM_E_NOMEM, "outbox: no memory for %zu bytes of text",
                       options->text_bytes_max);
    }
    *out = outbox;
    return UM_OK;
}

void um_outbox_destroy(um_outbox *outbox)
{
    if (!outbox)
        return;
    um_event_deinit(&outbox->news);
    um_mem_free(outbox);
}

void um_ready_init(um_ready *ready, um_wake_fn wake, void *context)
{
    *ready = (um_ready){.wake = wake, .context = context};
    pthread_mutex_init(&ready->lock, NULL);
}

void um_ready_deinit(um_ready *ready)
{
    while (ready->head) {
        um_outbox *outbox = ready->head;

        ready->head = outbox->next;
        UM_ASSERT(outbox->news.done); /* else it still belongs to a request */
        um_outbox_destroy(outbox);
    }
    pthread_mutex_destroy(&ready->lock);
}

static void write_logprobs(um_outbox *outbox, const um_post *post)
{
    um_event *news = &outbox->news;
    size_t width = (size_t)outbox->room.logprobs;

    UM_ASSERT(post->logprob_rows <= outbox->room.logprob_rows - news->logprob_rows);
    for (int32_t i = 0; i < post->logprob_rows; i++)
        memcpy(news->logprobs + (size_t)news->logprob_rows++ * width,
               post->logprobs + (size_t)post->logprob_places[i] * width,
               width * sizeof(*news->logprobs));
}

static void write_step(um_outbox *outbox, const um_draft_step *step, const um_draft_change *changes)
{
    um_event *news = &outbox->news;
    const um_draft_step *last = news->step_count > 0 ? &news->steps[news->step_count - 1] : NULL;

    UM_ASSERT(step->changes <= outbox->room.draft_tokens - news->change_count);
    if (last && last->changes == 0 && !last->block_ended)
        news->step_count--;
    UM_ASSERT(news->step_count < outbox->steps_max);
    news->steps[news->step_count++] = *step;
    if (step->changes > 0)
        memcpy(news->changes + news->change_count, changes,
               (size_t)step->changes * sizeof(*changes));
    news->change_count += step->changes;
}

static void write_guesses(um_outbox *outbox, const um_post *post)
{
    um_event *news = &outbox->news;

    UM_ASSERT(post->guess_count <= outbox->room.draft_tokens);
    if (post->guess_count > 0)
        memcpy(news->guesses, post->guesses, (size_t)post->guess_count * sizeof(*news->guesses));
    news->guess_count = post->guess_count;
}

static void write_news(um_outbox *outbox, const um_post *post)
{
    um_event *news = &outbox->news;
    size_t capacity = news->text.capacity;

    news->id = post->id;
    news->started = post->started;
    news->usage = post->usage;
    if (post->text)
        um_buf_append(&news->text, post->text->data, post->text->length);
    UM_ASSERT(news->text.capacity == capacity); /* what was reserved was enough */
    if (news->tokens) {
        UM_ASSERT(post->token_count <= news->token_count);
        memcpy(news->tokens, post->tokens, (size_t)post->token_count * sizeof(*news->tokens));
        memcpy(news->confidences, post->confidences,
               (size_t)post->token_count * sizeof(*news->confidences));
    }
    if (news->logprobs)
        write_logprobs(outbox, post);
    if (news->steps && post->step) {
        write_step(outbox, post->step, post->changes);
        write_guesses(outbox, post);
    }
}

void um_outbox_begin(um_outbox *outbox, const um_draft_step *step, const um_draft_change *changes)
{
    UM_ASSERT(outbox->news.steps && outbox->news.step_count == 0);
    write_step(outbox, step, changes);
}

/* Under the lock. True when the list was empty: somebody must be told. */
static bool announce(um_ready *ready, um_outbox *outbox)
{
    bool was_empty = ready->head == NULL;

    if (outbox->announced)
        return false;
    outbox->announced = true;
    outbox->next = NULL;
    if (was_empty)
        ready->head = outbox;
    else
        ready->tail->next = outbox;
    ready->tail = outbox;
    return was_empty;
}

static void post_news(um_ready *ready, um_outbox *outbox, const um_post *post, bool done)
{
    bool wake;

    pthread_mutex_lock(&ready->lock);
    UM_ASSERT(!outbox->news.done);
    write_news(outbox, post);
    if (done) {
        outbox->news.done = true;
        outbox->news.finish = post->finish;
        outbox->news.status = post->status;
        outbox->news.deadline_ms = post->deadline_ms;
    }
    wake = announce(ready, outbox);
    pthread_mutex_unlock(&ready->lock);
    if (wake && ready->wake)
        ready->wake(ready->context);
}

void um_ready_post(um_ready *ready, um_outbox *outbox, const um_post *post)
{
    post_news(ready, outbox, post, false);
}

void um_ready_finish(um_ready *ready, um_outbox *outbox, const um_post *post)
{
    post_news(ready, outbox, post, true);
}

/* An exact copy; NULL of nothing. Clears *complete where memory is out. */
static void *copy_items(const void *items, int64_t count, size_t size, bool *complete)
{
    void *copy = reserve(count, size, complete);

    if (copy)
        memcpy(copy, items, (size_t)count * size);
    return copy;
}

static void copy_text(um_event *news, um_event *event)
{
    um_buf_append(&event->text, news->text.data, news->text.length);
    if (um_buf_failed(&event->text))
        um_buf_deinit(&event->text);
    else
        um_buf_clear(&news->text);
}

static void copy_tokens(const um_event *news, um_event *event)
{
    int32_t count = news->token_count;
    bool complete = true;

    event->tokens = copy_items(news->tokens, count, sizeof(*news->tokens), &complete);
    event->confidences =
        copy_items(news->confidences, count, sizeof(*news->confidences), &complete);
    event->token_count = count;
    if (complete)
        return;
    um_mem_free(event->tokens);
    um_mem_free(event->confidences);
    event->tokens = NULL;
    event->confidences = NULL;
    event->token_count = 0;
}

static void copy_logprobs(um_event *news, um_event *event, int32_t width)
{
    int64_t count = (int64_t)news->logprob_rows * width;
    bool complete = true;

    event->logprobs = copy_items(news->logprobs, count, sizeof(*news->logprobs), &complete);
    if (!complete)
        return;
    event->logprob_rows = news->logprob_rows;
    news->logprob_rows = 0;
}

static void copy_steps(um_event *news, um_event *event)
{
    int32_t steps = news->step_count, changes = news->change_count, guesses = news->guess_count;
    bool complete = true;

    event->steps = copy_items(news->steps, steps, sizeof(*news->steps), &complete);
    event->changes = copy_items(news->changes, changes, sizeof(*news->changes), &complete);
    event->guesses = copy_items(news->guesses, guesses, sizeof(*news->guesses), &complete);
    if (complete) {
        event->step_count = steps;
        event->change_count = changes;
        event->guess_count = guesses;
        news->step_count = news->change_count = news->guess_count = 0;
        return;
    }
    um_mem_free(event->steps);
    um_mem_free(event->changes);
    um_mem_free(event->guesses);
    event->steps = NULL;
    event->changes = NULL;
    event->guesses = NULL;
}

/* A copy for the event, so that the outbox keeps the memory that later posts rely on. */
static void copy_news(um_outbox *outbox, um_event *event)
{
    um_event *news = &outbox->news;

    *event = (um_event){.id = news->id, .started = news->started, .usage = news->usage};
    copy_text(news, event);
    copy_tokens(news, event);
    copy_logprobs(news, event, outbox->room.logprobs);
    copy_steps(news, event);
}

um_status um_ready_take(um_ready *ready, um_event *event)
{
    um_outbox *outbox;
    bool done = false;

    *event = (um_event){0};
    pthread_mutex_lock(&ready->lock);
    outbox = ready->head;
    if (outbox) {
        ready->head = outbox->next;
        outbox->announced = false;
        done = outbox->news.done;
        if (done)
            *event = outbox->news; /* the last one takes the memory along */
        else
            copy_news(outbox, event);
    }
    pthread_mutex_unlock(&ready->lock);
    if (done)
        um_mem_free(outbox);
    return outbox ? UM_OK : UM_EMPTY;
}
