/*
 * Responses in the making, with a scripted exchange and engine in place of the real ones: what is
 * written in which order, what is held back, and who is cancelled when things go wrong.
 */
#include "core/base/mem.h"
#include "server/stream.h"
#include "tests/test.h"

#define CHOICES_MAX 4
#define CANCELS_MAX 16

/* ---- the exchange and the engine that stand in ---------------------------------------------- */

struct um_exchange {
    um_buf out;
    bool begun, ended, aborted;
    unsigned replied; /* HTTP status; 0: no whole answer */
    um_status refused;
    uint32_t retry_after_ms;
    size_t unsent;
    void *context;
    void (*on_gone)(void *context);
};

static uint64_t cancelled[CANCELS_MAX];
static size_t cancel_count;

void um_exchange_set_context(um_exchange *exchange, void *context, void (*on_gone)(void *context))
{
    exchange->context = context;
    exchange->on_gone = on_gone;
}

void um_exchange_stream_begin(um_exchange *exchange)
{
    UM_ASSERT(!exchange->begun && !exchange->replied);
    exchange->begun = true;
}

void um_exchange_stream_write(um_exchange *exchange, const char *bytes, size_t length)
{
    UM_ASSERT(exchange->begun && !exchange->ended);
    um_buf_append(&exchange->out, bytes, length);
}

size_t um_exchange_unsent(const um_exchange *exchange)
{
    return exchange->unsent;
}

void um_exchange_stream_end(um_exchange *exchange)
{
    UM_ASSERT(exchange->begun && !exchange->ended && !exchange->on_gone);
    exchange->ended = true;
}

void um_exchange_stream_abort(um_exchange *exchange)
{
    UM_ASSERT(exchange->begun && !exchange->ended && !exchange->on_gone);
    exchange->ended = exchange->aborted = true;
}

void um_exchange_reply(um_exchange *exchange, unsigned http_status, const char *content_type,
                       const char *body, size_t length)
{
    UM_ASSERT(!exchange->begun && !exchange->replied && !exchange->on_gone);
    UM_ASSERT(strcmp(content_type, "application/json") == 0);
    exchange->replied = http_status;
    um_buf_append(&exchange->out, body, length);
}

void um_exchange_reply_error(um_exchange *exchange, const um_err *err)
{
    UM_ASSERT(!exchange->begun && !exchange->replied && !exchange->on_gone);
    exchange->replied = 400;
    exchange->refused = err->status;
}

void um_exchange_retry_after(um_exchange *exchange, uint32_t milliseconds)
{
    exchange->retry_after_ms = milliseconds;
}

void um_engine_cancel(um_engine *engine, uint64_t id)
{
    (void)engine;
    UM_ASSERT(cancel_count < CANCELS_MAX);
    cancelled[cancel_count++] = id;
}

double um_engine_wait_estimate(um_engine *engine)
{
    (void)engine;
    return 2.5;
}

/* ---- driving -------------------------------------------------------------------------------- */

typedef struct rig {
    um_exchange exchange;
    um_stream *stream;
    um_stream_counts counts;
} rig;

static const um_policy policy = {.name = "low_confidence"};

static um_status rig_open(rig *r, um_stream_options options, size_t count, um_err *err)
{
    static char engine; /* only its address is used */
    uint64_t ids[CHOICES_MAX];
    um_submission submissions[CHOICES_MAX];
    um_status status;

    *r = (rig){0};
    options.model = "tiny";
    options.fingerprint = "fp_0123456789";
    options.engine = (um_engine *)&engine;
    options.counts = &r->counts;
    for (size_t i = 0; i < count; i++) {
        ids[i] = 100 + i;
        submissions[i] =
            (um_submission){.prompt_tokens = 5,
                            .params = {.policy = &policy, .block_length = 8, .steps_per_block = 4}};
    }
    status = um_stream_create(&options, submissions, NULL, count, &r->stream, err);
    if (status == UM_OK)
        um_stream_attach(r->stream, &r->exchange, ids);
    return status;
}

static void rig_close(rig *r)
{
    um_stream_destroy(r->stream);
    um_buf_deinit(&r->exchange.out);
}

static void send_event(rig *r, size_t choice, um_event event, const char *text)
{
    event.id = 100 + choice;
    event.started = true;
    um_buf_text(&event.text, text);
    um_stream_event(r->stream, choice, &event);
    um_event_deinit(&event);
}

static void send_text(rig *r, size_t choice, const char *text)
{
    send_event(r, choice, (um_event){0}, text);
}

static void send_end(rig *r, size_t choice, const char *text, int32_t tokens)
{
    um_event event = {.done = true,
                      .finish = UM_FINISH_LENGTH,
                      .usage = {.prompt_tokens = 3, .completion_tokens = tokens}};

    send_event(r, choice, event, text);
}

static void send_failure(rig *r, size_t choice, um_status status)
{
    um_event event = {.done = true};

    um_fail(&event.error, status, "it did not work");
    send_event(r, choice, event, "");
}

/* What came out, event by event, as "kind" words: accepted, role0, text0:..., finish0, usage, error,
 * done. */
static void describe_choice(const um_json *choice, um_buf *out)
{
    const um_json *delta = um_json_member(choice, "delta");
    const um_json *text = um_json_member(delta ? delta : choice, delta ? "content" : "text");
    int index = (int)um_json_int_value(um_json_member(choice, "index"));

    if (um_json_kind_of(um_json_member(choice, "finish_reason")) == UM_JSON_STRING)
        um_buf_printf(out, "finish%d", index);
    else if (um_json_member(delta, "role"))
        um_buf_printf(out, "role%d", index);
    else
        um_buf_printf(out, "text%d:%s", index, um_json_string_value(text, NULL));
}

static void describe_line(const char *line, size_t length, um_buf *out)
{
    um_json *event;
    um_err err = {0};

    if (length >= 2 && memcmp(line, ": ", 2) == 0) {
        um_buf_append(out, line + 2, length - 2);
        return;
    }
    UM_CHECK(length > 6 && memcmp(line, "data: ", 6) == 0);
    if (length == 12 && memcmp(line + 6, "[DONE]", 6) == 0) {
        um_buf_text(out, "done");
        return;
    }
    UM_CHECK_OK(um_json_parse(line + 6, length - 6, &event, &err), err);
    if (um_json_member(event, "error"))
        um_buf_text(out, "error");
    else if (um_json_count(um_json_member(event, "choices")) == 0)
        um_buf_text(out, "usage");
    else
        describe_choice(um_json_element(um_json_member(event, "choices"), 0), out);
    um_json_free(event);
}

static const char *described(const rig *r, um_buf *out)
{
    const char *at = um_buf_view(&r->exchange.out), *end;

    um_buf_clear(out);
    for (; (end = strstr(at, "\n\n")); at = end + 2) {
        um_buf_text(out, out->length > 0 ? " " : "");
        describe_line(at, (size_t)(end - at), out);
    }
    UM_CHECK_STR(at, "");
    return um_buf_view(out);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static const um_stream_options chat_stream = {
    .endpoint = UM_ENDPOINT_CHAT, .streamed = true, .early_headers = true, .include_usage = true};

static void a_stream_says_everything_in_order(void)
{
    um_buf said = {0};
    um_err err = {0};
    rig r;

    UM_CHECK_OK(rig_open(&r, chat_stream, 2, &err), err);
    UM_CHECK_STR(described(&r, &said), "accepted role0 role1");
    send_text(&r, 1, "b");
    send_text(&r, 0, ""); /* a step without news */
    send_text(&r, 0, "a");
    send_end(&r, 1, "c", 2);
    UM_CHECK(!um_stream_finished(r.stream) && !r.exchange.ended);
    send_end(&r, 0, "", 1);
    UM_CHECK_STR(described(&r, &said),
                 "accepted role0 role1 text1:b text0:a text1:c finish1 finish0 usage done");
    UM_CHECK(um_stream_finished(r.stream) && r.exchange.ended && !r.exchange.aborted);
    UM_CHECK(strstr(um_buf_view(&r.exchange.out), "\"total_tokens\":9") != NULL);
    UM_CHECK_INT(r.counts.settled, 3);
    UM_CHECK_INT(cancel_count, 0);
    um_buf_deinit(&said);
    rig_close(&r);
}

static void late_headers_wait_for_the_first_step(void)
{
    um_stream_options options = {.endpoint = UM_ENDPOINT_COMPLETIONS, .streamed = true};
    um_buf said = {0};
    um_err err = {0};
    rig r;

    UM_CHECK_OK(rig_open(&r, options, 1, &err), err);
    UM_CHECK(!r.exchange.begun);
    send_text(&r, 0, "");
    UM_CHECK(r.exchange.begun);
    send_end(&r, 0, "x", 1);
    UM_CHECK_STR(described(&r, &said), "accepted text0:x finish0 done");
    um_buf_deinit(&said);
    rig_close(&r);
}

static void equal_texts_are_joined_before_a_loop_guard_trips(void)
{
    um_stream_options options = {
        .endpoint = UM_ENDPOINT_COMPLETIONS, .streamed = true, .early_headers = true};
    um_buf said = {0};
    um_err err = {0};
    int run = 0, longest = 0, letters = 0;
    rig r;

    UM_CHECK_OK(rig_open(&r, options, 1, &err), err);
    for (int i = 0; i < 1000; i++)
        send_text(&r, 0, "a");
    send_end(&r, 0, "", 1000);
    for (const char *at = described(&r, &said); (at = strstr(at, "text0:")); at += 6) {
        size_t length = strspn(at + 6, "a");

        letters += (int)length;
        run = length == 1 ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    UM_CHECK_INT(letters, 1000);
    UM_CHECK(longest >= 2 && longest < 100);
    um_buf_deinit(&said);
    rig_close(&r);
}

static void a_slow_reader_gets_all_text_but_fewer_events(void)
{
    um_stream_options options = {
        .endpoint = UM_ENDPOINT_COMPLETIONS, .streamed = true, .early_headers = true};
    um_buf said = {0};
    um_err err = {0};
    rig r;

    UM_CHECK_OK(rig_open(&r, options, 1, &err), err);
    send_text(&r, 0, "a");
    r.exchange.unsent = UM_STREAM_UNSENT_MAX + 1;
    send_text(&r, 0, "b");
    send_text(&r, 0, "c");
    r.exchange.unsent = UM_STREAM_UNSENT_MAX;
    send_text(&r, 0, "d");
    r.exchange.unsent = UM_STREAM_UNSENT_MAX + 1;
    send_text(&r, 0, "e");
    send_end(&r, 0, "f", 6); /* the end does not wait */
    UM_CHECK_STR(described(&r, &said), "accepted text0:a text0:bcd text0:ef finish0 done");
    um_buf_deinit(&said);
    rig_close(&r);
}

static void a_whole_answer_has_its_choices_in_order(void)
{
    um_stream_options options = {.endpoint = UM_ENDPOINT_COMPLETIONS};
    um_json *body = NULL;
    const um_json *choices;
    um_err err = {0};
    rig r;

    UM_CHECK_OK(rig_open(&r, options, 2, &err), err);
    send_text(&r, 1, "b");
    send_end(&r, 1, "c", 2);
    UM_CHECK_INT(r.exchange.replied, 0);
    send_end(&r, 0, "a", 1);
    UM_CHECK_INT(r.exchange.replied, 200);
    UM_CHECK_OK(um_json_parse(r.exchange.out.data, r.exchange.out.length, &body, &err), err);
    choices = um_json_member(body, "choices");
    UM_CHECK_INT(um_json_count(choices), 2);
    UM_CHECK_STR(um_json_string_value(um_json_member(um_json_element(choices, 0), "text"), NULL),
                 "a");
    UM_CHECK_STR(um_json_string_value(um_json_member(um_json_element(choices, 1), "text"), NULL),
                 "bc");
    um_json_free(body);
    rig_close(&r);
}

static void an_error_in_a_stream_is_its_last_event(void)
{
    um_buf said = {0};
    um_err err = {0};
    rig r;

    UM_CHECK_OK(rig_open(&r, chat_stream, 2, &err), err);
    send_text(&r, 0, "a");
    send_failure(&r, 1, UM_E_TIMEOUT);
    UM_CHECK(r.exchange.ended);
    UM_CHECK_INT(cancel_count, 1);
    UM_CHECK_INT(cancelled[0], 100);
    UM_CHECK(!um_stream_finished(r.stream));
    send_failure(&r, 0, UM_E_CANCELLED); /* what the cancelled one still has to say */
    UM_CHECK(um_stream_finished(r.stream));
    UM_CHECK_STR(described(&r, &said), "accepted role0 role1 text0:a error done");
    um_buf_deinit(&said);
    rig_close(&r);
}

static void an_error_before_any_byte_is_a_plain_answer(void)
{
    um_stream_options options = {.endpoint = UM_ENDPOINT_CHAT, .streamed = true};
    um_err err = {0};
    rig r;

    UM_CHECK_OK(rig_open(&r, options, 1, &err), err);
    send_failure(&r, 0, UM_E_QUEUE_TIMEOUT);
    UM_CHECK_INT(r.exchange.refused, UM_E_QUEUE_TIMEOUT);
    UM_CHECK_INT(r.exchange.retry_after_ms, 2500);
    UM_CHECK(!r.exchange.begun && um_stream_finished(r.stream));
    rig_close(&r);
}

static void a_client_that_left_is_never_written_to(void)
{
    um_stream_options options = {
        .endpoint = UM_ENDPOINT_CHAT, .streamed = true, .early_headers = true};
    size_t written;
    um_err err = {0};
    rig r;

    UM_CHECK_OK(rig_open(&r, options, 2, &err), err);
    send_end(&r, 0, "a", 1);
    r.exchange.on_gone(r.exchange.context);
    written = r.exchange.out.length;
    UM_CHECK_INT(cancel_count, 1); /* the other choice has ended by itself */
    UM_CHECK_INT(cancelled[0], 101);
    send_text(&r, 1, "late");
    send_failure(&r, 1, UM_E_CANCELLED);
    UM_CHECK_INT(r.exchange.out.length, written);
    UM_CHECK(um_stream_finished(r.stream) && !r.exchange.ended);
    rig_close(&r);
}

/* Runs a short answer with allocation n failing. True when the failure never came. */
static bool run_with_failure(bool streamed, long n)
{
    um_stream_options options = chat_stream;
    um_event first = {.id = 100, .started = true}, last = {.id = 100, .done = true};
    um_err err = {0};
    bool pending;
    um_status status;
    rig r;

    options.streamed = streamed;
    um_buf_text(&first.text, "abc");
    um_mem_fail_after(n);
    status = rig_open(&r, options, 1, &err);
    if (status == UM_OK) {
        um_stream_event(r.stream, 0, &first);
        um_stream_event(r.stream, 0, &last);
        UM_CHECK(r.exchange.ended || r.exchange.replied);
    } else {
        UM_CHECK_INT(status, UM_E_OVERLOADED);
    }
    pending = um_mem_fail_pending();
    um_mem_fail_after(0);
    if (pending)
        UM_CHECK(streamed ? !r.exchange.aborted : r.exchange.replied == 200);
    um_event_deinit(&first);
    rig_close(&r);
    return pending;
}

static void every_failed_allocation_ends_the_answer(void)
{
    for (int streamed = 0; streamed < 2; streamed++) {
        long n = 1;

        while (n < 100 && !run_with_failure(streamed == 1, n))
            n++;
        UM_CHECK(n > 3 && n < 100);
    }
}

static const um_test tests[] = {
    UM_TEST(a_stream_says_everything_in_order),
    UM_TEST(late_headers_wait_for_the_first_step),
    UM_TEST(equal_texts_are_joined_before_a_loop_guard_trips),
    UM_TEST(a_slow_reader_gets_all_text_but_fewer_events),
    UM_TEST(a_whole_answer_has_its_choices_in_order),
    UM_TEST(an_error_in_a_stream_is_its_last_event),
    UM_TEST(an_error_before_any_byte_is_a_plain_answer),
    UM_TEST(a_client_that_left_is_never_written_to),
    UM_TEST(every_failed_allocation_ends_the_answer),
};
UM_TEST_MAIN(tests)
