/*
 * Responses in the making, with a scripted exchange and engine in place of the real ones: what is
 * written in which order, what is held back, and who is cancelled when things go wrong.
 */
#include "core/base/mem.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/stream_rig.h"
#include "tests/test.h"

/* ---- driving -------------------------------------------------------------------------------- */

static const um_policy policy = {.name = "low_confidence"};
static const um_submission plain = {
    .prompt_tokens = 5, .params = {.policy = &policy, .block_length = 8, .steps_per_block = 4}};

static um_status rig_open(um_rig *r, um_stream_options options, size_t count, um_err *err)
{
    return um_rig_open(r, options, &plain, NULL, count, err);
}

static void send_text(um_rig *r, size_t choice, const char *text)
{
    um_rig_send(r, choice, (um_event){0}, text);
}

static void send_end(um_rig *r, size_t choice, const char *text, int32_t tokens)
{
    um_event event = {.done = true,
                      .finish = UM_FINISH_LENGTH,
                      .usage = {.prompt_tokens = 3, .completion_tokens = tokens}};

    um_rig_send(r, choice, event, text);
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

static const char *described(const um_rig *r, um_buf *out)
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
    um_rig r;

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
    UM_CHECK_INT(r.cancel_count, 0);
    um_buf_deinit(&said);
    um_rig_close(&r);
}

static void late_headers_wait_for_the_first_step(void)
{
    um_stream_options options = {.endpoint = UM_ENDPOINT_COMPLETIONS, .streamed = true};
    um_buf said = {0};
    um_err err = {0};
    um_rig r;

    UM_CHECK_OK(rig_open(&r, options, 1, &err), err);
    UM_CHECK(!r.exchange.begun);
    send_text(&r, 0, "");
    UM_CHECK(r.exchange.begun);
    send_end(&r, 0, "x", 1);
    UM_CHECK_STR(described(&r, &said), "accepted text0:x finish0 done");
    um_buf_deinit(&said);
    um_rig_close(&r);
}

static void equal_texts_are_joined_before_a_loop_guard_trips(void)
{
    um_stream_options options = {
        .endpoint = UM_ENDPOINT_COMPLETIONS, .streamed = true, .early_headers = true};
    um_buf said = {0};
    um_err err = {0};
    int run = 0, longest = 0, letters = 0;
    um_rig r;

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
    um_rig_close(&r);
}

static void a_slow_reader_gets_all_text_but_fewer_events(void)
{
    um_stream_options options = {
        .endpoint = UM_ENDPOINT_COMPLETIONS, .streamed = true, .early_headers = true};
    um_buf said = {0};
    um_err err = {0};
    um_rig r;

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
    um_rig_close(&r);
}

static void a_whole_answer_has_its_choices_in_order(void)
{
    um_stream_options options = {.endpoint = UM_ENDPOINT_COMPLETIONS};
    um_json *body = NULL;
    const um_json *choices;
    um_err err = {0};
    um_rig r;

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
    um_rig_close(&r);
}

static void an_error_in_a_stream_is_its_last_event(void)
{
    um_buf said = {0};
    um_err err = {0};
    um_rig r;

    UM_CHECK_OK(rig_open(&r, chat_stream, 2, &err), err);
    send_text(&r, 0, "a");
    um_rig_fail(&r, 1, UM_E_TIMEOUT);
    UM_CHECK(r.exchange.ended);
    UM_CHECK_INT(r.cancel_count, 1);
    UM_CHECK_INT(r.cancelled[0], 100);
    UM_CHECK(!um_stream_finished(r.stream));
    um_rig_fail(&r, 0, UM_E_CANCELLED); /* what the cancelled one still has to say */
    UM_CHECK(um_stream_finished(r.stream));
    UM_CHECK_STR(described(&r, &said), "accepted role0 role1 text0:a error done");
    um_buf_deinit(&said);
    um_rig_close(&r);
}

static void an_error_before_any_byte_is_a_plain_answer(void)
{
    um_stream_options options = {.endpoint = UM_ENDPOINT_CHAT, .streamed = true};
    um_err err = {0};
    um_rig r;

    UM_CHECK_OK(rig_open(&r, options, 1, &err), err);
    um_rig_fail(&r, 0, UM_E_QUEUE_TIMEOUT);
    UM_CHECK_INT(r.exchange.refused, UM_E_QUEUE_TIMEOUT);
    UM_CHECK_INT(r.exchange.retry_after_ms, 2500);
    UM_CHECK(!r.exchange.begun && um_stream_finished(r.stream));
    um_rig_close(&r);
}

static void a_client_that_left_is_never_written_to(void)
{
    um_stream_options options = {
        .endpoint = UM_ENDPOINT_CHAT, .streamed = true, .early_headers = true};
    size_t written;
    um_err err = {0};
    um_rig r;

    UM_CHECK_OK(rig_open(&r, options, 2, &err), err);
    send_end(&r, 0, "a", 1);
    r.exchange.on_gone(r.exchange.context);
    written = r.exchange.out.length;
    UM_CHECK_INT(r.cancel_count, 1); /* the other choice has ended by itself */
    UM_CHECK_INT(r.cancelled[0], 101);
    send_text(&r, 1, "late");
    um_rig_fail(&r, 1, UM_E_CANCELLED);
    UM_CHECK_INT(r.exchange.out.length, written);
    UM_CHECK(um_stream_finished(r.stream) && !r.exchange.ended);
    um_rig_close(&r);
}

/* ---- memory that runs out ------------------------------------------------------------------- */

typedef struct walk {
    um_stream_options options;
    const um_submission *submission;
    const um_stream_frame *frame;
    size_t complete; /* bytes of the answer where nothing fails */
} walk;

/* An answer is told in full or said to have failed, never a part of it as if it were all. */
static bool is_honest(const walk *w, const um_exchange *exchange)
{
    return exchange->aborted || exchange->refused || exchange->out.length == w->complete ||
           um_buf_failed(&exchange->out) || /* the stand-in's own memory */
           strstr(um_buf_view(&exchange->out), "\"error\":{") != NULL;
}

/* Runs a short answer with allocation n failing. True when the failure never came. */
static bool run_with_failure(walk *w, long n)
{
    um_draft_step steps[] = {{.step = 1, .block_end = 8, .length = 8, .changes = 2},
                             {.step = 2, .block_end = 8, .length = 8, .changes = 1}};
    um_draft_change changes[] = {{0, 'a', 1, 0}, {2, 0xE2, 1, 0}, {1, 'b', 1, 0}};
    um_draft_change guesses[] = {{3, 'c', 0.5f, 0}};
    um_alternative rows[] = {{'a', -1}, {'b', -2}, {0xE2, -1}, {'d', -3}};
    um_event first = {.id = 100, .started = true, .steps = steps, .step_count = 1};
    um_event last = {.id = 100, .done = true, .finish = UM_FINISH_STOP, .steps = steps + 1};
    um_err err = {0};
    um_status status;
    bool pending;
    um_rig r;

    first.changes = changes;
    first.guesses = guesses;
    first.guess_count = 1;
    last.changes = changes + 2;
    last.step_count = 1;
    last.logprobs = rows;
    last.logprob_rows = 2;
    um_buf_text(&first.text, "abc");
    um_mem_fail_after(n);
    status = um_rig_open(&r, w->options, w->submission, w->frame, 1, &err);
    if (status == UM_OK) {
        um_stream_event(r.stream, 0, &first);
        um_stream_event(r.stream, 0, &last);
        UM_CHECK(r.exchange.ended || r.exchange.replied);
    } else {
        UM_CHECK_INT(status, UM_E_OVERLOADED);
    }
    pending = um_mem_fail_pending();
    um_mem_fail_after(0);
    if (n == 0)
        w->complete = r.exchange.out.length;
    if (status == UM_OK)
        UM_CHECK(is_honest(w, &r.exchange));
    if (pending)
        UM_CHECK(w->options.streamed ? !r.exchange.aborted : r.exchange.replied == 200);
    um_buf_deinit(&first.text);
    um_rig_close(&r);
    return pending;
}

static void every_failed_allocation_ends_the_answer(void)
{
    static const int32_t gaps[][2] = {{1, 2}};
    static const um_stream_frame frame = {
        .lead = "x", .lead_length = 1, .tail = "y", .tail_length = 1, .gaps = gaps, .gap_count = 1};
    static const um_submission drafted = {
        .params = {.policy = &policy, .canvas_tokens = 8, .max_tokens = 8, .logprobs = 2},
        .want_draft = true};
    static const um_endpoint endpoints[] = {UM_ENDPOINT_CHAT, UM_ENDPOINT_COMPLETIONS,
                                            UM_ENDPOINT_RESPONSES};
    um_tokenizer *tokenizer = um_byte_tokenizer_open();

    for (int i = 0; i < 3 * 4; i++) {
        walk w = {.submission = &drafted, .frame = &frame};
        int mode = i / 3;
        long n = 1;

        w.options = (um_stream_options){.endpoint = endpoints[i % 3],
                                        .streamed = mode > 0,
                                        .early_headers = true,
                                        .include_usage = true,
                                        .echo_settings = true,
                                        .tokenizer = tokenizer};
        w.options.mode = mode == 3   ? UM_STREAM_REPLACE
                         : mode == 2 ? UM_STREAM_DRAFT
                                     : UM_STREAM_SETTLED;
        if (mode == 3 && w.options.endpoint == UM_ENDPOINT_RESPONSES)
            continue;
        run_with_failure(&w, 0);
        while (n < 200 && !run_with_failure(&w, n))
            n++;
        UM_CHECK(n > 10 && n < 200);
    }
    um_tokenizer_close(tokenizer);
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
