/*
 * Streams that show drafts: when frames come, what goes along with them, what a slow reader misses,
 * and mode replace.
 */
#include "server/stream.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/stream_rig.h"
#include "tests/test.h"

#define MS 1000000u

static const um_policy policy = {.name = "low_confidence"};
static const um_submission drafted = {
    .prompt_tokens = 5,
    .want_draft = true,
    .params = {.policy = &policy, .block_length = 4, .max_tokens = 8, .canvas_tokens = 8}};

static void open_rig(um_rig *rig, um_stream_options options, size_t count)
{
    um_err err = {0};

    options.streamed = options.early_headers = true;
    UM_CHECK_OK(um_rig_open(rig, options, &drafted, NULL, count, &err), err);
}

/* A step that fills one position of its block of four. */
static um_draft_step step_of(int32_t number, int32_t position, bool block_ended)
{
    return (um_draft_step){.step = number,
                           .block_begin = position / 4 * 4,
                           .block_end = position / 4 * 4 + 4,
                           .length = 8,
                           .changes = 1,
                           .block_ended = block_ended};
}

static void send_step(um_rig *rig, int32_t number, int32_t position, bool block_ended,
                      const char *text)
{
    um_draft_step step = step_of(number, position, block_ended);
    um_draft_change change = {position, 'a' + position, 1, false};

    um_rig_send(rig, 0,
                (um_event){.steps = &step,
                           .step_count = 1,
                           .changes = &change,
                           .change_count = 1,
                           .usage = {.steps = number}},
                text);
}

static void send_end(um_rig *rig, const char *text)
{
    um_rig_send(rig, 0, (um_event){.done = true, .finish = UM_FINISH_LENGTH}, text);
}

/* The events since the last call, as words: role, "text", full@step, patch@step, end@step, finish. */
static const char *said(um_rig *rig, um_buf *out)
{
    const char *line;

    um_buf_clear(out);
    while (rig->taken < rig->exchange.out.length) {
        um_json *event = um_rig_take(rig, &line);
        const um_json *choice = um_json_element(um_json_member(event, "choices"), 0);
        const um_json *frame = um_json_member(choice, "diffusion");
        const um_json *delta = um_json_member(choice, "delta");
        const um_json *text =
            delta ? um_json_member(delta, "content") : um_json_member(choice, "text");

        um_buf_text(out, out->length > 0 ? " " : "");
        if (!event)
            um_buf_text(out, line[0] == ':' ? line + 2 : line + 6);
        else if (um_json_member(delta, "role"))
            um_buf_text(out, "role");
        else if (text && strlen(um_json_string_value(text, NULL)) > 0)
            um_buf_printf(out, "'%s'", um_json_string_value(text, NULL));
        if (frame)
            um_buf_printf(out, "+%s@%d", um_json_string_value(um_json_member(frame, "frame"), NULL),
                          (int)um_json_int_value(um_json_member(frame, "step")));
        if (um_json_kind_of(um_json_member(choice, "finish_reason")) == UM_JSON_STRING)
            um_buf_text(out, "finish");
        um_json_free(event);
    }
    return um_buf_view(out);
}

static const um_stream_options chat = {.endpoint = UM_ENDPOINT_CHAT, .mode = UM_STREAM_DRAFT};

/* ---- draft ---------------------------------------------------------------------------------- */

static void text_and_frame_of_a_step_share_a_chunk(void)
{
    static const um_endpoint endpoints[] = {UM_ENDPOINT_CHAT, UM_ENDPOINT_EDIT,
                                            UM_ENDPOINT_COMPLETIONS, UM_ENDPOINT_FIM};
    um_buf out = {0};

    for (size_t i = 0; i < UM_COUNT_OF(endpoints); i++) {
        um_stream_options options = {.endpoint = endpoints[i], .mode = UM_STREAM_DRAFT};
        um_rig rig;

        open_rig(&rig, options, 1);
        said(&rig, &out);
        send_step(&rig, 0, 3, false, ""); /* what the canvas began with */
        send_step(&rig, 1, 1, false, "");
        send_step(&rig, 2, 0, false, "ab");
        um_rig_send(&rig, 0, (um_event){0}, "c"); /* nothing new to show */
        send_end(&rig, "d");
        UM_CHECK_STR(said(&rig, &out), "+full@1 'ab'+patch@2 'c' 'd' +end@2finish [DONE]");
        UM_CHECK_INT(rig.counts.full, 1);
        UM_CHECK_INT(rig.counts.patch, 1);
        UM_CHECK_INT(rig.counts.settled, 3);
        UM_CHECK_INT(rig.counts.dropped, 0);
        um_rig_close(&rig);
    }
    um_buf_deinit(&out);
}

static void frames_keep_the_interval_but_for_ends_of_blocks(void)
{
    um_stream_options options = chat;
    um_buf out = {0};
    um_rig rig;

    options.draft.interval_ms = 10;
    open_rig(&rig, options, 1);
    said(&rig, &out);
    send_step(&rig, 1, 0, false, "a");
    rig.now_ns += 9 * MS;
    send_step(&rig, 2, 1, false, "b"); /* too early, but text goes out */
    UM_CHECK_STR(said(&rig, &out), "'a'+full@1 'b'");
    rig.now_ns += 1 * MS;
    send_step(&rig, 3, 2, false, "c");
    send_step(&rig, 4, 3, true, "d");
    send_step(&rig, 5, 4, false, "e");
    UM_CHECK_STR(said(&rig, &out), "'c'+patch@3 'd'+patch@4 'e'");
    rig.now_ns += 10 * MS;
    um_rig_send(&rig, 0, (um_event){0}, ""); /* what was too early then is due now */
    send_step(&rig, 6, 5, false, "f");
    send_end(&rig, ""); /* the last state always comes */
    UM_CHECK_STR(said(&rig, &out), "+full@5 'f' +patch@6 +end@6finish [DONE]");
    UM_CHECK_INT(rig.counts.dropped, 3);
    um_rig_close(&rig);
    um_buf_deinit(&out);
}

/* The engine was faster than the loop: one event has the end of a block in its middle. Its frame may
 * not go with text of later blocks. */
static void the_end_of_a_block_in_the_middle_of_an_event_has_its_frame(void)
{
    um_draft_step steps[] = {step_of(1, 0, false), step_of(2, 3, true), step_of(3, 4, false)};
    um_draft_change changes[] = {{0, 'a', 1, 0}, {3, 'd', 1, 0}, {4, 'e', 1, 0}};
    um_event event = {.steps = steps, .step_count = 3, .changes = changes, .change_count = 3};
    um_stream_options options = chat;
    um_buf out = {0};
    um_rig rig;

    open_rig(&rig, options, 1);
    said(&rig, &out);
    um_rig_send(&rig, 0, event, "a");
    send_end(&rig, "");
    UM_CHECK_STR(said(&rig, &out), "+full@2 'a'+full@3 +end@3finish [DONE]");
    um_rig_close(&rig);
    um_buf_deinit(&out);
}

static void a_slow_reader_misses_frames_until_it_has_caught_up(void)
{
    um_buf out = {0};
    um_rig rig;

    open_rig(&rig, chat, 1);
    said(&rig, &out);
    send_step(&rig, 1, 0, false, "");
    rig.exchange.unsent = UM_STREAM_FRAMES_MAX;
    send_step(&rig, 2, 1, false, "");
    rig.exchange.unsent = UM_STREAM_FRAMES_MAX + 1;
    send_step(&rig, 3, 2, false, "");
    rig.exchange.unsent = UM_STREAM_FRAMES_MAX / 2;
    send_step(&rig, 4, 3, true, ""); /* not even at the end of a block */
    UM_CHECK_STR(said(&rig, &out), "+full@1 +patch@2");
    rig.exchange.unsent = UM_STREAM_FRAMES_MAX / 2 - 1;
    send_step(&rig, 5, 4, false, "");
    send_step(&rig, 6, 5, false, "");
    UM_CHECK_STR(said(&rig, &out), "+full@5 +patch@6");
    rig.exchange.unsent = UM_STREAM_FRAMES_MAX + 1;
    send_step(&rig, 7, 6, false, "");
    send_step(&rig, 8, 7, true, "abcdefgh");
    UM_CHECK_STR(said(&rig, &out), "");
    send_end(&rig, ""); /* text and the last state do not wait for the reader */
    UM_CHECK_STR(said(&rig, &out), "'abcdefgh'+full@8 +end@8finish [DONE]");
    UM_CHECK_INT(rig.counts.dropped, 4);
    um_rig_close(&rig);
    um_buf_deinit(&out);
}

static void each_choice_has_its_own_draft(void)
{
    um_draft_step step = step_of(1, 0, false);
    um_draft_change change = {0, 'x', 1, false};
    um_event event = {.steps = &step, .step_count = 1, .changes = &change, .change_count = 1};
    um_json *chunk;
    um_rig rig;

    open_rig(&rig, chat, 2);
    um_json_free(um_rig_take(&rig, NULL));
    um_json_free(um_rig_take(&rig, NULL));
    um_json_free(um_rig_take(&rig, NULL));
    um_rig_send(&rig, 1, event, "x");
    um_rig_send(&rig, 0, event, "");
    for (int i = 1; i >= 0; i--) {
        chunk = um_rig_take(&rig, NULL);
        um_expect_json(um_json_member(chunk, "choices"),
                       i == 1
                           ? "[{\"index\":1,\"delta\":{\"content\":\"x\"},\"logprobs\":null,"
                             "\"finish_reason\":null,\"diffusion\":{\"frame\":\"full\",\"seq\":0,"
                             "\"step\":1,\"block\":[0,4],\"len\":8,\"settled\":1,\"t\":[\"x\"],"
                             "\"s\":\"d\"}}]"
                           : "[{\"index\":0,\"delta\":{},\"logprobs\":null,"
                             "\"finish_reason\":null,\"diffusion\":{\"frame\":\"full\",\"seq\":0,"
                             "\"step\":1,\"block\":[0,4],\"len\":8,\"settled\":1,\"t\":[\"x\"],"
                             "\"s\":\"d\"}}]");
        um_json_free(chunk);
    }
    um_rig_close(&rig);
}

/* ---- replace -------------------------------------------------------------------------------- */

static void send_canvas(um_rig *rig, int32_t number, const char *filled, const char *guessed)
{
    um_draft_change changes[8], guesses[8];
    um_draft_step step = {.step = number, .block_end = 8, .length = 8};
    int32_t guess_count = 0;

    for (int32_t i = 0; i < (int32_t)strlen(filled); i++)
        if (filled[i] != '.')
            changes[step.changes++] = (um_draft_change){i, filled[i], 1, false};
    for (int32_t i = 0; i < (int32_t)strlen(guessed); i++)
        if (guessed[i] != '.')
            guesses[guess_count++] = (um_draft_change){i, guessed[i], 0.5f, false};
    um_rig_send(rig, 0,
                (um_event){.steps = &step,
                           .step_count = 1,
                           .changes = changes,
                           .guesses = guesses,
                           .guess_count = guess_count},
                "");
}

/* "text progress", the contents since the last call; "-" for a chunk without content. */
static const char *shown(um_rig *rig, um_buf *out)
{
    um_buf_clear(out);
    while (rig->taken < rig->exchange.out.length) {
        um_json *event = um_rig_take(rig, NULL);
        const um_json *meta = um_json_member(event, "diffusion_meta");
        const um_json *choice = um_json_element(um_json_member(event, "choices"), 0);
        const um_json *delta = um_json_member(choice, "delta");
        const um_json *text =
            delta ? um_json_member(delta, "content") : um_json_member(choice, "text");

        if (!event)
            continue;
        UM_CHECK(um_json_bool_value(um_json_member(meta, "diffusion_content")));
        um_buf_printf(out, "[%s %g%s]", text ? um_json_string_value(text, NULL) : "-",
                      um_json_number_value(um_json_member(meta, "diffusion_progress")),
                      um_json_kind_of(um_json_member(choice, "finish_reason")) == UM_JSON_NULL
                          ? ""
                          : " finish");
        um_json_free(event);
    }
    return um_buf_view(out);
}

#define BLANK "\xe2\x96\x91"
static const um_stream_options replace = {.endpoint = UM_ENDPOINT_CHAT, .mode = UM_STREAM_REPLACE};

static void every_content_is_the_whole_text(void)
{
    um_buf out = {0};
    um_json *role, *first;
    um_rig rig;

    open_rig(&rig, replace, 1);
    um_json_free(um_rig_take(&rig, NULL));
    role = um_rig_take(&rig, NULL);
    um_expect_json(um_json_member(role, "choices"),
                   "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\","
                   "\"refusal\":null},\"logprobs\":null,\"finish_reason\":null}]");
    um_json_free(role);
    send_canvas(&rig, 1, "ab", "..cd");
    first = um_rig_take(&rig, NULL);
    um_expect_json(um_json_member(first, "choices"),
                   "[{\"index\":0,\"delta\":{\"content\":\"abcd" BLANK BLANK BLANK BLANK "\","
                   "\"tool_calls\":[]},\"logprobs\":null,\"finish_reason\":null}]");
    um_expect_json(um_json_member(first, "diffusion_meta"),
                   "{\"diffusion_content\":true,\"diffusion_progress\":0.25}");
    UM_CHECK(um_json_member(first, "reasoning_summary") != NULL);
    um_json_free(first);
    send_canvas(&rig, 2, "..cd", ""); /* looks the same */
    UM_CHECK_STR(shown(&rig, &out), "");
    send_canvas(&rig, 3, "....ef", "......gh");
    send_canvas(&rig, 4, "......gh", "");
    um_rig_send(&rig, 0, (um_event){.done = true, .finish = UM_FINISH_STOP}, "abcdefgh");
    UM_CHECK_STR(shown(&rig, &out), "[abcdefgh 1 finish][- 1 finish]");
    UM_CHECK_INT(rig.counts.full, 1);
    UM_CHECK_INT(rig.counts.settled, 1);
    um_rig_close(&rig);
    um_buf_deinit(&out);
}

/* A text without a visible mask may turn out to be the last one, so it waits for the next. */
static void no_two_contents_in_a_row_are_equal(void)
{
    um_buf out = {0};
    um_rig rig;

    open_rig(&rig, replace, 1);
    shown(&rig, &out);
    send_canvas(&rig, 1, "", "xxxxxxxx");
    UM_CHECK_STR(shown(&rig, &out), "");
    send_canvas(&rig, 2, "a", ".yyyyyyy");
    UM_CHECK_STR(shown(&rig, &out), "[xxxxxxxx 0]");
    send_canvas(&rig, 3, ".", ".xxxxxxx");
    UM_CHECK_STR(shown(&rig, &out), "[ayyyyyyy 0.125]");
    um_rig_send(&rig, 0, (um_event){.done = true, .finish = UM_FINISH_LENGTH}, "ayyyyyyy");
    /* The final text was there two before. */
    UM_CHECK_STR(shown(&rig, &out), "[axxxxxxx 0.125][ayyyyyyy 1 finish][- 1 finish]");
    um_rig_close(&rig);
    um_buf_deinit(&out);
}

static void whole_texts_keep_interval_and_reader_in_mind(void)
{
    um_stream_options options = replace;
    um_buf out = {0};
    um_rig rig;

    options.endpoint = UM_ENDPOINT_COMPLETIONS;
    options.draft.interval_ms = 10;
    open_rig(&rig, options, 1);
    shown(&rig, &out);
    send_canvas(&rig, 1, "a", "");
    send_canvas(&rig, 2, ".b", "");
    rig.now_ns += 10 * MS;
    rig.exchange.unsent = UM_STREAM_FRAMES_MAX + 1;
    send_canvas(&rig, 3, "..c", "");
    rig.exchange.unsent = 0;
    send_canvas(&rig, 4, "...d", "");
    UM_CHECK_STR(shown(&rig, &out), "[a" BLANK BLANK BLANK BLANK BLANK BLANK BLANK " 0.125]"
                                    "[abcd" BLANK BLANK BLANK BLANK " 0.5]");
    UM_CHECK_INT(rig.counts.dropped, 2);
    um_rig_send(&rig, 0, (um_event){.done = true, .finish = UM_FINISH_LENGTH}, "abcd");
    UM_CHECK_STR(shown(&rig, &out), "[abcd 1 finish][ 1 finish]");
    um_rig_close(&rig);
    um_buf_deinit(&out);
}

static void an_empty_answer_has_no_content(void)
{
    um_buf out = {0};
    um_rig rig;

    open_rig(&rig, replace, 1);
    um_rig_send(&rig, 0, (um_event){.done = true, .finish = UM_FINISH_STOP}, "");
    UM_CHECK_STR(shown(&rig, &out), "[ 0][- 1 finish]");
    um_rig_close(&rig);
    um_buf_deinit(&out);
}

static const um_test tests[] = {
    UM_TEST(text_and_frame_of_a_step_share_a_chunk),
    UM_TEST(frames_keep_the_interval_but_for_ends_of_blocks),
    UM_TEST(the_end_of_a_block_in_the_middle_of_an_event_has_its_frame),
    UM_TEST(a_slow_reader_misses_frames_until_it_has_caught_up),
    UM_TEST(each_choice_has_its_own_draft),
    UM_TEST(every_content_is_the_whole_text),
    UM_TEST(no_two_contents_in_a_row_are_equal),
    UM_TEST(whole_texts_keep_interval_and_reader_in_mind),
    UM_TEST(an_empty_answer_has_no_content),
};
UM_TEST_MAIN(tests)
