/* Outboxes and the list of those with news. Engine thread posts, front-end thread takes. */
#include "core/engine/outbox.h"

#include <string.h>

#include "core/base/mem.h"

void um_event_deinit(um_event *event)
{
    um_buf_deinit(&event->text);
    um_mem_free(event->tokens);
    um_mem_free(event->confidences);
    *event = (um_event){0};
}

um_status um_outbox_create(size_t text_bytes_max, int32_t result_tokens, um_outbox **out,
                           um_err *err)
{
    um_outbox *outbox = um_mem_zalloc(sizeof(*outbox));
    bool complete = outbox != NULL;

    *out = NULL;
    if (outbox) {
        um_buf_reserve(&outbox->news.text, text_bytes_max);
        complete = !um_buf_failed(&outbox->news.text);
    }
    if (complete && result_tokens > 0) {
        size_t count = (size_t)result_tokens;

        outbox->news.tokens = um_mem_calloc(count, sizeof(*outbox->news.tokens));
        outbox->news.confidences = um_mem_calloc(count, sizeof(*outbox->news.confidences));
        outbox->news.token_count = result_tokens;
        complete = outbox->news.tokens && outbox->news.confidences;
    }
    if (!complete) {
        um_outbox_destroy(outbox);
        return um_fail(err, UM_E_NOMEM, "outbox: no memory for %zu bytes of text", text_bytes_max);
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

static void write_news(um_event *news, const um_post *post)
{
    size_t capacity = news->text.capacity;

    news->id = post->id;
    news->started = post->started;
    news->usage = post->usage;
    if (post->text)
        um_buf_append(&news->text, post->text->data, post->text->length);
    UM_ASSERT(news->text.capacity == capacity); /* what was reserved was enough */
    if (news->tokens) {
        memcpy(news->tokens, post->tokens, (size_t)news->token_count * sizeof(*news->tokens));
        memcpy(news->confidences, post->confidences,
               (size_t)news->token_count * sizeof(*news->confidences));
    }
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
    write_news(&outbox->news, post);
    if (done) {
        outbox->news.done = true;
        outbox->news.finish = post->finish;
        if (post->error)
            outbox->news.error = *post->error;
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

/* A copy for the event, so that the outbox keeps the memory that later posts rely on. */
static void copy_news(um_event *news, um_event *event)
{
    size_t count = (size_t)news->token_count;

    *event = *news;
    event->text = (um_buf){0};
    um_buf_append(&event->text, news->text.data, news->text.length);
    if (um_buf_failed(&event->text))
        um_buf_deinit(&event->text);
    else
        um_buf_clear(&news->text);
    if (!news->tokens)
        return;
    event->tokens = um_mem_calloc(count, sizeof(*event->tokens));
    event->confidences = um_mem_calloc(count, sizeof(*event->confidences));
    if (!event->tokens || !event->confidences) {
        um_mem_free(event->tokens);
        um_mem_free(event->confidences);
        event->tokens = NULL;
        event->confidences = NULL;
        event->token_count = 0;
        return;
    }
    memcpy(event->tokens, news->tokens, count * sizeof(*event->tokens));
    memcpy(event->confidences, news->confidences, count * sizeof(*event->confidences));
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
            copy_news(&outbox->news, event);
    }
    pthread_mutex_unlock(&ready->lock);
    if (done)
        um_mem_free(outbox);
    return outbox ? UM_OK : UM_EMPTY;
}
