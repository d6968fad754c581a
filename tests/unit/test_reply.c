/*
 * What answers look like: every dialect, whole and in streams, compared with the specification's
 * objects member by member. Nothing more and nothing less may be in them.
 */
#include "server/stream.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/stream_rig.h"
#include "tests/test.h"

#include <float.h>

static const um_policy policy = {.name = "low_confidence"};
static const um_policy by_threshold = {.name = "threshold"};
static const um_submission plain = {.prompt_tokens = 5,
                                    .params = {.policy = &policy,
                                               .block_length = 8,
                                               .steps_per_block = 4,
                                               .max_tokens = 8,
                                               .canvas_tokens = 8,
                                               .top_p = 1}};

#define USAGE(prompt, completion, total)                                                           \
    "{\"prompt_tokens\":" #prompt ",\"completion_tokens\":" #completion                            \
    ",\"total_tokens\":" #total                                                                    \
    ",\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"                         \
    "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"                    \
    "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0},"                          \
    "\"diffusion\":{\"steps\":0,\"blocks\":0,\"canvas_tokens\":0,\"revised_tokens\":0,"            \
    "\"cache\":\"exact\"}}"

static um_event end_event(um_finish finish, int32_t prompt, int32_t completion)
{
    return (um_event){.done = true,
                      .finish = finish,
                      .usage = {.prompt_tokens = prompt, .completion_tokens = completion}};
}

static void open_rig(um_rig *rig, um_stream_options options, const um_submission *submission,
                     const um_stream_frame *frame, size_t count)
{
    um_stream_frame frames[UM_RIG_CHOICES_MAX];
    um_err err = {0};

    for (size_t i = 0; i < count; i++)
        frames[i] = frame ? *frame : (um_stream_frame){0};
    UM_CHECK_OK(um_rig_open(rig, options, submission, frames, count, &err), err);
}

static void expect_whole(um_rig *rig, const char *expected)
{
    um_json *root = NULL;
    um_err err = {0};

    UM_CHECK_INT(rig->exchange.replied, 200);
    UM_CHECK_OK(
        um_json_parse(um_buf_view(&rig->exchange.out), rig->exchange.out.length, &root, &err), err);
    um_expect_json(root, expected);
    um_json_free(root);
}

static void expect_next(um_rig *rig, const char *expected)
{
    um_json *event = um_rig_take(rig, NULL);

    um_expect_json(event, expected);
    um_json_free(event);
}

static void expect_line(um_rig *rig, const char *expected)
{
    const char *line;

    UM_CHECK(um_rig_take(rig, &line) == NULL);
    UM_CHECK_STR(line, expected);
}

static void expect_nothing_more(um_rig *rig)
{
    expect_line(rig, "");
    UM_CHECK(rig->exchange.ended && !rig->exchange.aborted);
}

/* ---- chat ----------------------------------------------------------------------------------- */

#define CHAT_HEAD                                                                                  \
    "{\"id\":\"*\",\"created\":\"*\",\"model\":\"tiny\",\"system_fingerprint\":\"fp_0123456789\"," \
    "\"service_tier\":\"default\",\"object\":"
#define CHUNK(index, delta, logprobs, finish)                                                      \
    CHAT_HEAD "\"chat.completion.chunk\",\"choices\":[{\"index\":" #index ",\"delta\":" delta      \
              ",\"logprobs\":" logprobs ",\"finish_reason\":" finish "}]"
#define ROLE "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}"

static void ids_have_their_forms(void)
{
    static const struct {
        um_endpoint endpoint;
        const char *prefix;
    } rows[] = {{UM_ENDPOINT_CHAT, "{\"id\":\"chatcmpl-"},
                {UM_ENDPOINT_EDIT, "{\"id\":\"chatcmpl-"},
                {UM_ENDPOINT_COMPLETIONS, "{\"id\":\"cmpl-"},
                {UM_ENDPOINT_FIM, "{\"id\":\"cmpl-"},
                {UM_ENDPOINT_RESPONSES, "{\"id\":\"resp_"}};

    for (size_t i = 0; i < UM_COUNT_OF(rows); i++) {
        size_t length = strlen(rows[i].prefix);
        const char *text;
        um_rig rig;

        open_rig(&rig, (um_stream_options){.endpoint = rows[i].endpoint}, &plain, NULL, 1);
        um_rig_send(&rig, 0, end_event(UM_FINISH_STOP, 1, 1), "");
        text = um_buf_view(&rig.exchange.out);
        UM_CHECK(strncmp(text, rows[i].prefix, length) == 0);
        UM_CHECK_INT(strspn(text + length, "0123456789abcdef"), 32);
        UM_CHECK_INT(text[length + 32], '"');
        um_rig_close(&rig);
    }
}

static void a_whole_chat_answer(void)
{
    um_stream_options options = {.endpoint = UM_ENDPOINT_CHAT, .choices_per_prompt = 2};
    um_event end = end_event(UM_FINISH_LENGTH, 5, 3);
    um_rig rig;

    end.usage.steps = 4;
    end.usage.blocks = 1;
    end.usage.canvas_tokens = 8;
    end.usage.accepted_tokens = 6;
    end.usage.rejected_tokens = 2;
    end.usage.ended_by_deadline = true;
    open_rig(&rig, options, &plain, NULL, 2);
    um_rig_send(&rig, 1, end, "B\"\n");
    um_rig_send(&rig, 0, end_event(UM_FINISH_STOP, 5, 2), "A");
    expect_whole(
        &rig, CHAT_HEAD
        "\"chat.completion\",\"choices\":["
        "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"A\",\"refusal\":null,"
        "\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"},"
        "{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":\"B\\\"\\n\","
        "\"refusal\":null,\"annotations\":[]},\"logprobs\":null,"
        "\"finish_reason\":\"length\"}],"
        "\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":5,\"total_tokens\":10,"
        "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
        "\"accepted_prediction_tokens\":6,\"rejected_prediction_tokens\":2},"
        "\"diffusion\":{\"steps\":4,\"blocks\":1,\"canvas_tokens\":8,\"revised_tokens\":0,"
        "\"cache\":\"exact\",\"ended_by\":\"deadline\"}}}");
    um_rig_close(&rig);
}

static void a_chat_stream(void)
{
    um_stream_options options = {.endpoint = UM_ENDPOINT_CHAT,
                                 .streamed = true,
                                 .early_headers = true,
                                 .include_usage = true,
                                 .choices_per_prompt = 2};
    um_rig rig;

    open_rig(&rig, options, &plain, NULL, 2);
    um_rig_send(&rig, 1, (um_event){0}, "hi");
    um_rig_send(&rig, 0, end_event(UM_FINISH_STOP, 5, 1), "");
    um_rig_send(&rig, 1, end_event(UM_FINISH_LENGTH, 5, 2), "!");
    expect_line(&rig, ": accepted");
    expect_next(&rig, CHUNK(0, ROLE, "null", "null") ",\"usage\":null}");
    expect_next(&rig, CHUNK(1, ROLE, "null", "null") ",\"usage\":null}");
    expect_next(&rig, CHUNK(1, "{\"content\":\"hi\"}", "null", "null") ",\"usage\":null}");
    expect_next(&rig, CHUNK(0, "{}", "null", "\"stop\"") ",\"usage\":null}");
    expect_next(&rig, CHUNK(1, "{\"content\":\"!\"}", "null", "null") ",\"usage\":null}");
    expect_next(&rig, CHUNK(1, "{}", "null", "\"length\"") ",\"usage\":null}");
    expect_next(&rig,
                CHAT_HEAD "\"chat.completion.chunk\",\"choices\":[],\"usage\":" USAGE(5, 3, 8) "}");
    expect_line(&rig, "data: [DONE]");
    expect_nothing_more(&rig);
    um_rig_close(&rig);
}

static void continuous_usage_is_in_every_chunk(void)
{
    um_stream_options options = {.endpoint = UM_ENDPOINT_CHAT,
                                 .streamed = true,
                                 .early_headers = true,
                                 .include_usage = true,
                                 .continuous_usage = true};
    um_event event = {.usage = {.prompt_tokens = 5, .completion_tokens = 1}};
    um_rig rig;

    open_rig(&rig, options, &plain, NULL, 1);
    um_rig_send(&rig, 0, event, "h");
    um_rig_send(&rig, 0, end_event(UM_FINISH_LENGTH, 5, 2), "");
    expect_line(&rig, ": accepted");
    expect_next(&rig, CHUNK(0, ROLE, "null", "null") ",\"usage\":" USAGE(5, 0, 5) "}");
    expect_next(&rig,
                CHUNK(0, "{\"content\":\"h\"}", "null", "null") ",\"usage\":" USAGE(5, 1, 6) "}");
    expect_next(&rig, CHUNK(0, "{}", "null", "\"length\"") ",\"usage\":" USAGE(5, 2, 7) "}");
    expect_next(&rig,
                CHAT_HEAD "\"chat.completion.chunk\",\"choices\":[],\"usage\":" USAGE(5, 2, 7) "}");
    um_rig_close(&rig);
}

#define SETTINGS_MINIMAL                                                                           \
    "\"diffusion\":{\"algorithm\":\"low_confidence\",\"block_length\":8,\"steps_per_block\":4,"    \
    "\"order_temperature\":0,\"temperature\":0,\"top_p\":1,\"top_k\":0,\"min_p\":0,"               \
    "\"cfg_scale\":0,\"eos_rule\":\"none\",\"early_stop\":false,\"reference_quirks\":false,"       \
    "\"cache\":\"exact\",\"max_tokens\":8,\"canvas_tokens\":8}}"
#define SETTINGS_ALL(more)                                                                         \
    "\"diffusion\":{\"algorithm\":\"threshold\",\"block_length\":8,\"steps_per_block\":null,"      \
    "\"threshold\":0.75,\"order_temperature\":0,\"temperature\":0.5,\"top_p\":0.25,\"top_k\":7,"   \
    "\"min_p\":0.125,\"cfg_scale\":1.5,\"frequency_penalty\":-1,\"presence_penalty\":2,"           \
    "\"repetition_penalty\":1.25,\"eos_rule\":\"logits\",\"early_stop\":true,"                     \
    "\"reference_quirks\":true,\"min_tokens\":3,\"ignore_eos\":true,"                              \
    "\"skip_special_tokens\":false,\"deadline_ms\":900," more ","                                  \
    "\"cache\":\"exact\",\"max_tokens\":8,\"canvas_tokens\":16}}"

static void expect_settings(const um_submission *submission, const char *settings)
{
    um_stream_options options = {.endpoint = UM_ENDPOINT_COMPLETIONS, .echo_settings = true};
    um_buf expected = {0};
    um_rig rig;

    open_rig(&rig, options, submission, NULL, 1);
    um_rig_send(&rig, 0, end_event(UM_FINISH_STOP, 5, 0), "");
    um_buf_printf(&expected,
                  "{\"id\":\"*\",\"created\":\"*\",\"model\":\"*\",\"system_fingerprint\":\"*\","
                  "\"object\":\"*\",\"choices\":\"*\",\"usage\":\"*\",%s",
                  settings);
    expect_whole(&rig, um_buf_view(&expected));
    um_buf_deinit(&expected);
    um_rig_close(&rig);
}

static void settings_are_echoed_as_they_are_in_force(void)
{
    um_submission all = {.draft_tokens = 1};

    all.params = (um_params){.policy = &by_threshold,
                             .count = UM_COUNT_THRESHOLD,
                             .threshold = 0.75f,
                             .block_length = 8,
                             .max_tokens = 8,
                             .canvas_tokens = 16,
                             .temperature = 0.5f,
                             .top_p = 0.25f,
                             .top_k = 7,
                             .min_p = 0.125f,
                             .cfg_scale = 1.5f,
                             .frequency_penalty = -1,
                             .presence_penalty = 2,
                             .repetition_penalty = 1.25f,
                             .eos_rule = UM_EOS_LOGITS,
                             .early_stop = true,
                             .reference_quirks = true,
                             .min_tokens = 3,
                             .ignore_eos = true,
                             .keep_special_text = true,
                             .deadline_ms = 900,
                             .noise = 0.5f,
                             .exact_length = true,
                             .grows = true};
    expect_settings(&plain, SETTINGS_MINIMAL);
    expect_settings(&all, SETTINGS_ALL("\"noise\":0.5"));
    all.draft_tokens = 0;
    expect_settings(&all, SETTINGS_ALL("\"infill_length\":\"auto\""));
    all.params.grows = false;
    expect_settings(&all, SETTINGS_ALL("\"infill_length\":16"));
}

/* ---- edit and FIM --------------------------------------------------------------------------- */

static void edit_answers_are_chat_under_another_name(void)
{
    um_stream_options options = {.endpoint = UM_ENDPOINT_EDIT};
    um_rig rig;

    open_rig(&rig, options, &plain, NULL, 1);
    um_rig_send(&rig, 0, end_event(UM_FINISH_STOP, 5, 1), "x");
    expect_whole(
        &rig, CHAT_HEAD
        "\"edit.completion\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
        "\"content\":\"x\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,"
        "\"finish_reason\":\"stop\"}],\"usage\":"
        "{\"prompt_tokens\":5,\"completion_tokens\":1,\"total_tokens\":6,"
        "\"reasoning_tokens\":0,\"cached_input_tokens\":0,"
        "\"prompt_tokens_details\":\"*\",\"completion_tokens_details\":\"*\","
        "\"diffusion\":\"*\"}}");
    um_rig_close(&rig);
    options.streamed = options.early_headers = true;
    open_rig(&rig, options, &plain, NULL, 1);
    um_rig_send(&rig, 0, end_event(UM_FINISH_STOP, 5, 1), "x");
    expect_line(&rig, ": accepted");
    expect_next(&rig, CHUNK(0, ROLE, "null", "null") "}");
    expect_next(&rig, CHUNK(0, "{\"content\":\"x\"}", "null", "null") "}");
    expect_next(&rig, CHUNK(0, "{}", "null", "\"stop\"") "}");
    expect_line(&rig, "data: [DONE]");
    expect_nothing_more(&rig);
    um_rig_close(&rig);
}

#define TEXT_HEAD                                                                                  \
    "{\"id\":\"*\",\"created\":\"*\",\"model\":\"tiny\",\"system_fingerprint\":\"fp_0123456789\"," \
    "\"object\":\"text_completion\",\"choices\":["
#define TEXT(index, text, logprobs, finish)                                                        \
    "{\"index\":" #index ",\"text\":" text ",\"logprobs\":" logprobs ",\"finish_reason\":" finish  \
    "}"

static void fim_answers_have_the_flat_keys_too(void)
{
    um_stream_options options = {.endpoint = UM_ENDPOINT_FIM};
    um_rig rig;

    open_rig(&rig, options, &plain, NULL, 1);
    um_rig_send(&rig, 0, end_event(UM_FINISH_STOP, 5, 1), "x");
    expect_whole(
        &rig, TEXT_HEAD TEXT(
                  0, "\"x\"", "null",
                  "\"stop\"") "],\"usage\":"
                              "{\"prompt_tokens\":5,\"completion_tokens\":1,\"total_tokens\":6,"
                              "\"reasoning_tokens\":0,\"cached_input_tokens\":0,"
                              "\"prompt_tokens_details\":\"*\",\"completion_tokens_details\":\"*\","
                              "\"diffusion\":\"*\"}}");
    um_rig_close(&rig);
}

/* ---- completions ---------------------------------------------------------------------------- */

static void choices_of_several_prompts_are_numbered_through(void)
{
    um_stream_options options = {.endpoint = UM_ENDPOINT_COMPLETIONS, .choices_per_prompt = 2};
    um_rig rig;

    open_rig(&rig, options, &plain, NULL, 4);
    um_rig_send(&rig, 3, end_event(UM_FINISH_STOP, 7, 1), "d");
    um_rig_send(&rig, 1, end_event(UM_FINISH_STOP, 5, 1), "b");
    um_rig_send(&rig, 2, end_event(UM_FINISH_LENGTH, 7, 1), "c");
    um_rig_send(&rig, 0, end_event(UM_FINISH_STOP, 5, 1), "a");
    expect_whole(
        &rig,
        TEXT_HEAD TEXT(0, "\"a\"", "null", "\"stop\"") "," TEXT(
            1, "\"b\"", "null",
            "\"stop\"") "," TEXT(2, "\"c\"", "null",
                                 "\"length\"") "," TEXT(3, "\"d\"", "null",
                                                        "\"stop\"") "],\"usage\":" USAGE(12, 4,
                                                                                         16) "}");
    um_rig_close(&rig);
}

static void a_text_stream_with_the_prompt_in_front(void)
{
    um_stream_options options = {
        .endpoint = UM_ENDPOINT_COMPLETIONS, .streamed = true, .early_headers = true};
    um_stream_frame frame = {.lead = "pro", .lead_length = 3};
    um_rig rig;

    open_rig(&rig, options, &plain, &frame, 1);
    um_rig_send(&rig, 0, (um_event){0}, "");
    um_rig_send(&rig, 0, (um_event){0}, "mpt");
    um_rig_send(&rig, 0, end_event(UM_FINISH_LENGTH, 5, 1), "");
    expect_line(&rig, ": accepted");
    expect_next(&rig, TEXT_HEAD TEXT(0, "\"pro\"", "null", "null") "]}");
    expect_next(&rig, TEXT_HEAD TEXT(0, "\"mpt\"", "null", "null") "]}");
    expect_next(&rig, TEXT_HEAD TEXT(0, "\"\"", "null", "\"length\"") "]}");
    expect_line(&rig, "data: [DONE]");
    expect_nothing_more(&rig);
    um_rig_close(&rig);
}

/* One gap between two texts: "[", positions 0 ("a", pinned) and 1, "]". */
static void a_template_tells_its_gaps(void)
{
    static const int32_t gaps[][2] = {{1, 2}, {2, 3}};
    static const char in_finish[] = "{\"gaps\":[\"b\",\"\\\"\"]}";
    static const char in_end[] =
        "{\"frame\":\"end\",\"seq\":1,\"step\":1,\"len\":3,\"gaps\":[\"b\",\"\\\"\"]}";
    um_stream_frame frame = {
        .lead = "[", .lead_length = 1, .tail = "]", .tail_length = 1, .gaps = gaps, .gap_count = 2};
    um_submission submission = {
        .want_draft = true,
        .params = {.policy = &policy, .block_length = 3, .max_tokens = 3, .canvas_tokens = 3}};
    um_draft_step steps[] = {{.length = 3, .block_end = 3, .changes = 1},
                             {.step = 1, .length = 3, .block_end = 3, .changes = 2}};
    um_draft_change changes[] = {{0, 'a', 0, true}, {1, 'b', 1, false}, {2, '"', 1, false}};
    um_event end = end_event(UM_FINISH_STOP, 5, 3);

    end.steps = steps;
    end.step_count = 2;
    end.changes = changes;
    end.change_count = 3;
    for (int i = 0; i < 3; i++) {
        um_stream_options options = {.endpoint = UM_ENDPOINT_COMPLETIONS,
                                     .streamed = i > 0,
                                     .early_headers = true,
                                     .mode = i == 2 ? UM_STREAM_DRAFT : UM_STREAM_SETTLED};
        um_buf expected = {0};
        um_rig rig;

        open_rig(&rig, options, &submission, &frame, 1);
        um_rig_send(&rig, 0, end, "ab\"");
        if (i == 0) {
            um_buf_printf(&expected,
                          TEXT_HEAD
                          "{\"index\":0,\"text\":\"[ab\\\"]\",\"logprobs\":null,"
                          "\"finish_reason\":\"stop\",\"diffusion\":%s}],\"usage\":\"*\"}",
                          in_finish);
            expect_whole(&rig, um_buf_view(&expected));
        } else {
            expect_line(&rig, ": accepted");
            um_buf_printf(&expected,
                          TEXT_HEAD "{\"index\":0,\"text\":\"[ab\\\"]\",\"logprobs\":null,"
                                    "\"finish_reason\":null%s}]}",
                          i == 1 ? "" : ",\"diffusion\":\"*\"");
            expect_next(&rig, um_buf_view(&expected));
            um_buf_clear(&expected);
            um_buf_printf(&expected,
                          TEXT_HEAD "{\"index\":0,\"text\":\"\",\"logprobs\":null,"
                                    "\"finish_reason\":\"stop\",\"diffusion\":%s}]}",
                          i == 1 ? in_finish : in_end);
            expect_next(&rig, um_buf_view(&expected));
        }
        um_buf_deinit(&expected);
        um_rig_close(&rig);
    }
}

/* ---- log-probabilities ---------------------------------------------------------------------- */

#define WITH_LOGPROBS(count)                                                                       \
    {                                                                                              \
        .params = {                                                                                \
            .policy = &policy,                                                                     \
            .block_length = 8,                                                                     \
            .max_tokens = 8,                                                                       \
            .canvas_tokens = 8,                                                                    \
            .logprobs = (count)                                                                    \
        }                                                                                          \
    }

#define ENTRY_A                                                                                    \
    "{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97],\"top_logprobs\":["                          \
    "{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97]},"                                           \
    "{\"token\":\"\xC3\xA9\",\"logprob\":-9999.0,\"bytes\":[195,169]}]}"
#define ENTRY_PARTIAL                                                                              \
    "{\"token\":\"\xEF\xBF\xBD\",\"logprob\":0,\"bytes\":[228,184],\"top_logprobs\":["             \
    "{\"token\":\"th\",\"logprob\":-9999.0,\"bytes\":[116,104]},"                                  \
    "{\"token\":\"\xEF\xBF\xBD\",\"logprob\":-1,\"bytes\":[255]}]}"

/* Two rows of three; among them what JSON cannot say. */
static const um_alternative rows[] = {
    {'a', -0.5f},      {'a', -0.5f},  {UM_BYTE_E_ACUTE, -FLT_MAX}, {UM_BYTE_PARTIAL, 1e-9f},
    {UM_BYTE_TH, NAN}, {0xFF, -1.0f},
};

static void chat_log_probabilities_ride_with_the_text(void)
{
    static const um_submission submission = WITH_LOGPROBS(3);
    um_stream_options options = {
        .endpoint = UM_ENDPOINT_CHAT, .streamed = true, .early_headers = true};
    um_event event = {.logprobs = (um_alternative *)rows, .logprob_rows = 1};
    um_event end = end_event(UM_FINISH_STOP, 5, 2);
    um_rig rig;

    open_rig(&rig, options, &submission, NULL, 1);
    um_rig_send(&rig, 0, event, ""); /* its text is held back */
    um_rig_send(&rig, 0, (um_event){0}, "a");
    um_rig_send(&rig, 0, (um_event){0}, "?");
    end.logprobs = (um_alternative *)rows + 3;
    end.logprob_rows = 1;
    um_rig_send(&rig, 0, end, "");
    expect_line(&rig, ": accepted");
    expect_next(&rig, CHUNK(0, ROLE, "null", "null") "}");
    expect_next(&rig, CHUNK(0, "{\"content\":\"a\"}",
                            "{\"content\":[" ENTRY_A "],\"refusal\":null}", "null") "}");
    expect_next(&rig, CHUNK(0, "{\"content\":\"?\"}", "null", "null") "}");
    expect_next(
        &rig, CHUNK(0, "{}", "{\"content\":[" ENTRY_PARTIAL "],\"refusal\":null}", "\"stop\"") "}");
    um_rig_close(&rig);

    options.streamed = false;
    open_rig(&rig, options, &submission, NULL, 2);
    end.logprobs = (um_alternative *)rows;
    end.logprob_rows = 2;
    um_rig_send(&rig, 0, end, "a");
    um_rig_send(&rig, 1, end_event(UM_FINISH_STOP, 5, 0), "");
    expect_whole(&rig, CHAT_HEAD
                 "\"chat.completion\",\"choices\":[{\"index\":0,\"message\":\"*\","
                 "\"logprobs\":{\"content\":[" ENTRY_A "," ENTRY_PARTIAL "],\"refusal\":null},"
                 "\"finish_reason\":\"stop\"},{\"index\":1,\"message\":\"*\","
                 "\"logprobs\":{\"content\":[],\"refusal\":null},\"finish_reason\":\"stop\"}],"
                 "\"usage\":\"*\"}");
    um_rig_close(&rig);
}

static void completions_have_parallel_arrays(void)
{
    static const um_submission submission = WITH_LOGPROBS(3);
    /* U+4E2D is E4 B8 AD; then a byte that is no text, whose likeliest has the same name twice. */
    static const um_alternative more[] = {
        {UM_BYTE_E_ACUTE, -1},
        {UM_BYTE_E_ACUTE, -1},
        {'b', -2},
        {UM_BYTE_PARTIAL, -1},
        {'c', -1},
        {'d', -2},
        {0xAD, -3},
        {'e', -1},
        {'e', -1},
        {'z', -1},
        {'z', -1},
        {'y', -2},
    };
    um_stream_options options = {.endpoint = UM_ENDPOINT_COMPLETIONS};
    um_event event = {.logprobs = (um_alternative *)more, .logprob_rows = 3};
    um_event end = end_event(UM_FINISH_STOP, 5, 4);
    um_rig rig;

    end.logprobs = (um_alternative *)more + 9;
    end.logprob_rows = 1;
    open_rig(&rig, options, &submission, NULL, 1);
    um_rig_send(&rig, 0, event, "\xC3\xA9\xE4\xB8\xAD");
    um_rig_send(&rig, 0, end, "z");
    expect_whole(&rig,
                 TEXT_HEAD TEXT(
                     0, "\"\xC3\xA9\xE4\xB8\xADz\"",
                     "{\"tokens\":[\"\xC3\xA9\",\"bytes:\\\\xe4\\\\xb8\",\"bytes:\\\\xad\",\"z\"],"
                     "\"token_logprobs\":[-1,-1,-3,-1],"
                     "\"top_logprobs\":[{\"\xC3\xA9\":-1,\"b\":-2},"
                     "{\"c\":-1,\"d\":-2,\"bytes:\\\\xe4\\\\xb8\":-1},"
                     "{\"e\":-1,\"bytes:\\\\xad\":-3},{\"z\":-1,\"y\":-2}],"
                     "\"text_offset\":[0,1,1,2]}",
                     "\"stop\"") "],\"usage\":\"*\"}");
    um_rig_close(&rig);

    options.streamed = options.early_headers = true;
    open_rig(&rig, options, &submission, NULL, 1);
    um_rig_send(&rig, 0, event, "\xC3\xA9\xE4\xB8\xAD");
    um_rig_send(&rig, 0, end, "z");
    expect_line(&rig, ": accepted");
    expect_next(&rig, TEXT_HEAD TEXT(0, "\"\xC3\xA9\xE4\xB8\xAD\"",
                                     "{\"tokens\":\"*\",\"token_logprobs\":[-1,-1,-3],"
                                     "\"top_logprobs\":\"*\",\"text_offset\":[0,1,1]}",
                                     "null") "]}");
    expect_next(&rig, TEXT_HEAD TEXT(0, "\"z\"",
                                     "{\"tokens\":[\"z\"],\"token_logprobs\":[-1],"
                                     "\"top_logprobs\":[{\"z\":-1,\"y\":-2}],\"text_offset\":[2]}",
                                     "null") "]}");
    expect_next(&rig, TEXT_HEAD TEXT(0, "\"\"", "null", "\"stop\"") "]}");
    um_rig_close(&rig);
}

static void without_alternatives_a_token_still_has_its_own(void)
{
    static const um_submission submission = WITH_LOGPROBS(1);
    static const um_alternative own[] = {{'a', -0.25f}};
    static const char *const expected[] = {
        CHAT_HEAD "\"chat.completion\",\"choices\":[{\"index\":0,\"message\":\"*\",\"logprobs\":"
                  "{\"content\":[{\"token\":\"a\",\"logprob\":-0.25,\"bytes\":[97],"
                  "\"top_logprobs\":[]}],\"refusal\":null},\"finish_reason\":\"stop\"}],"
                  "\"usage\":\"*\"}",
        TEXT_HEAD TEXT(0, "\"a\"",
                       "{\"tokens\":[\"a\"],\"token_logprobs\":[-0.25],"
                       "\"top_logprobs\":[{\"a\":-0.25}],\"text_offset\":[0]}",
                       "\"stop\"") "],\"usage\":\"*\"}"};
    static const um_endpoint endpoints[] = {UM_ENDPOINT_CHAT, UM_ENDPOINT_COMPLETIONS};

    for (size_t i = 0; i < 2; i++) {
        um_event end = end_event(UM_FINISH_STOP, 5, 1);
        um_rig rig;

        end.logprobs = (um_alternative *)own;
        end.logprob_rows = 1;
        open_rig(&rig, (um_stream_options){.endpoint = endpoints[i]}, &submission, NULL, 1);
        um_rig_send(&rig, 0, end, "a");
        expect_whole(&rig, expected[i]);
        um_rig_close(&rig);
    }
}

/* ---- Responses ------------------------------------------------------------------------------ */

#define RESPONSE(status, error, incomplete, output, usage)                                         \
    "{\"id\":\"*\",\"object\":\"response\",\"created_at\":\"*\",\"status\":\"" status "\","        \
    "\"background\":false,\"error\":" error ",\"incomplete_details\":" incomplete ","              \
    "\"instructions\":\"be brief\",\"max_output_tokens\":8,\"model\":\"tiny\",\"output\":" output  \
    ",\"parallel_tool_calls\":true,\"previous_response_id\":null,"                                 \
    "\"reasoning\":{\"effort\":\"low\",\"summary\":null},\"store\":false,\"temperature\":0,"       \
    "\"text\":{\"format\":{\"type\":\"text\"}},\"tool_choice\":\"auto\",\"tools\":[],"             \
    "\"top_logprobs\":2,\"top_p\":1,\"truncation\":\"disabled\",\"usage\":" usage                  \
    ",\"user\":\"me\",\"metadata\":{\"k\":\"v\"}}"
#define CONTENT(text, logprobs)                                                                    \
    "{\"type\":\"output_text\",\"text\":" text ",\"annotations\":[],\"logprobs\":" logprobs "}"
#define ITEM(status, content)                                                                      \
    "{\"id\":\"*\",\"type\":\"message\",\"status\":\"" status "\",\"role\":\"assistant\","         \
    "\"content\":[" content "]}"
#define RESPONSE_USAGE                                                                             \
    "{\"input_tokens\":5,\"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens\":2,"      \
    "\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":7}"
#define PLACE "\"item_id\":\"*\",\"output_index\":0,\"content_index\":0"

static void open_responses(um_rig *rig, bool streamed, um_stream_mode mode, bool drafts)
{
    um_submission submission = WITH_LOGPROBS(3);
    um_responses_echo echo = {.effort = "low", .max_output_tokens = 8};

    submission.params.top_p = 1;
    submission.want_draft = drafts;
    um_buf_text(&echo.instructions, "\"be brief\"");
    um_buf_text(&echo.metadata, "{\"k\":\"v\"}");
    um_buf_text(&echo.user, "\"me\"");
    open_rig(rig,
             (um_stream_options){.endpoint = UM_ENDPOINT_RESPONSES,
                                 .streamed = streamed,
                                 .early_headers = true,
                                 .mode = mode,
                                 .responses = &echo},
             &submission, NULL, 1);
    UM_CHECK(!echo.instructions.data && !echo.metadata.data && !echo.user.data); /* taken over */
}

static void a_response_as_a_whole(void)
{
    um_rig rig;

    open_responses(&rig, false, UM_STREAM_SETTLED, false);
    um_rig_send(&rig, 0, end_event(UM_FINISH_STOP, 5, 2), "Hello");
    expect_whole(&rig,
                 RESPONSE("completed", "null", "null",
                          "[" ITEM("completed", CONTENT("\"Hello\"", "[]")) "]", RESPONSE_USAGE));
    um_rig_close(&rig);

    open_responses(&rig, false, UM_STREAM_SETTLED, false);
    um_rig_send(&rig, 0, end_event(UM_FINISH_LENGTH, 5, 2), "Hel");
    expect_whole(&rig,
                 RESPONSE("incomplete", "null", "{\"reason\":\"max_output_tokens\"}",
                          "[" ITEM("incomplete", CONTENT("\"Hel\"", "[]")) "]", RESPONSE_USAGE));
    um_rig_close(&rig);
}

static void expect_event(um_rig *rig, const char *type, const char *expected)
{
    char name[80];
    const char *line;
    um_json *event = um_rig_take(rig, &line);

    snprintf(name, sizeof(name), "event: %s\n", type);
    UM_CHECK(strncmp(line, name, strlen(name)) == 0);
    um_expect_json(event, expected);
    um_json_free(event);
}

#define EVENT(type, number) "{\"type\":\"" type "\",\"sequence_number\":" #number ","
#define EXPECT_EVENT(rig, type, number, rest) expect_event(rig, type, EVENT(type, number) rest "}")

static void expect_beginning(um_rig *rig)
{
    expect_line(rig, ": accepted");
    EXPECT_EVENT(rig, "response.created", 0,
                 "\"response\":" RESPONSE("in_progress", "null", "null", "[]", "null"));
    EXPECT_EVENT(rig, "response.in_progress", 1,
                 "\"response\":" RESPONSE("in_progress", "null", "null", "[]", "null"));
    EXPECT_EVENT(rig, "response.output_item.added", 2,
                 "\"output_index\":0,\"item\":" ITEM("in_progress", ""));
    EXPECT_EVENT(rig, "response.content_part.added", 3, PLACE ",\"part\":" CONTENT("\"\"", "[]"));
}

static void a_response_as_events(void)
{
    um_event event = {.logprobs = (um_alternative *)rows, .logprob_rows = 1};
    um_event end = end_event(UM_FINISH_LENGTH, 5, 2);
    um_rig rig;

    end.logprobs = (um_alternative *)rows + 3;
    end.logprob_rows = 1;
    open_responses(&rig, true, UM_STREAM_SETTLED, false);
    um_rig_send(&rig, 0, event, "a");
    um_rig_send(&rig, 0, end, "\xEF\xBF\xBD");
    expect_beginning(&rig);
    EXPECT_EVENT(&rig, "response.output_text.delta", 4,
                 PLACE ",\"delta\":\"a\",\"logprobs\":[" ENTRY_A "]");
    EXPECT_EVENT(&rig, "response.output_text.delta", 5,
                 PLACE ",\"delta\":\"\xEF\xBF\xBD\",\"logprobs\":[" ENTRY_PARTIAL "]");
    EXPECT_EVENT(&rig, "response.output_text.done", 6,
                 PLACE ",\"text\":\"a\xEF\xBF\xBD\",\"logprobs\":[" ENTRY_A "," ENTRY_PARTIAL "]");
    EXPECT_EVENT(&rig, "response.content_part.done", 7,
                 PLACE
                 ",\"part\":" CONTENT("\"a\xEF\xBF\xBD\"", "[" ENTRY_A "," ENTRY_PARTIAL "]"));
    EXPECT_EVENT(
        &rig, "response.output_item.done", 8,
        "\"output_index\":0,\"item\":" ITEM(
            "incomplete", CONTENT("\"a\xEF\xBF\xBD\"", "[" ENTRY_A "," ENTRY_PARTIAL "]")));
    EXPECT_EVENT(&rig, "response.incomplete", 9,
                 "\"response\":" RESPONSE(
                     "incomplete", "null", "{\"reason\":\"max_output_tokens\"}",
                     "[" ITEM("incomplete",
                              CONTENT("\"a\xEF\xBF\xBD\"", "[" ENTRY_A "," ENTRY_PARTIAL "]")) "]",
                     RESPONSE_USAGE));
    expect_nothing_more(&rig);
    um_rig_close(&rig);
}

static void drafts_ride_on_empty_deltas(void)
{
    um_draft_step step = {.step = 1, .block_end = 8, .length = 8, .changes = 1};
    um_draft_change change = {0, 'a', 1, false};
    um_event event = {.steps = &step, .step_count = 1, .changes = &change};
    um_rig rig;

    open_responses(&rig, true, UM_STREAM_DRAFT, true);
    um_rig_send(&rig, 0, event, "a");
    um_rig_send(&rig, 0, end_event(UM_FINISH_STOP, 5, 2), "");
    expect_beginning(&rig);
    EXPECT_EVENT(&rig, "response.output_text.delta", 4, PLACE ",\"delta\":\"a\",\"logprobs\":[]");
    EXPECT_EVENT(&rig, "response.output_text.delta", 5,
                 PLACE
                 ",\"delta\":\"\",\"logprobs\":[],\"diffusion\":{\"frame\":\"full\",\"seq\":0,"
                 "\"step\":1,\"block\":[0,8],\"len\":8,\"settled\":1,\"t\":[\"a\"],"
                 "\"s\":\"d\"}");
    EXPECT_EVENT(&rig, "response.output_text.delta", 6,
                 PLACE ",\"delta\":\"\",\"logprobs\":[],\"diffusion\":{\"frame\":\"end\",\"seq\":1,"
                       "\"step\":1,\"len\":1}");
    EXPECT_EVENT(&rig, "response.output_text.done", 7, PLACE ",\"text\":\"a\",\"logprobs\":[]");
    um_rig_close(&rig);
}

/* ---- failures ------------------------------------------------------------------------------- */

static void a_failure_in_the_middle_of_a_stream(void)
{
    static const um_endpoint endpoints[] = {UM_ENDPOINT_CHAT, UM_ENDPOINT_EDIT, UM_ENDPOINT_FIM,
                                            UM_ENDPOINT_COMPLETIONS};
    um_rig rig;

    for (size_t i = 0; i < UM_COUNT_OF(endpoints); i++) {
        um_json *chunk;

        open_rig(&rig, (um_stream_options){.endpoint = endpoints[i], .streamed = true}, &plain,
                 NULL, 1);
        um_rig_send(&rig, 0, (um_event){0}, "a");
        um_rig_fail(&rig, 0, UM_E_ENGINE);
        expect_line(&rig, ": accepted");
        while ((chunk = um_rig_take(&rig, NULL)) && um_json_member(chunk, "choices")) {
            UM_CHECK(
                um_json_kind_of(um_json_member(um_json_element(um_json_member(chunk, "choices"), 0),
                                               "finish_reason")) == UM_JSON_NULL);
            um_json_free(chunk);
        }
        um_expect_json(chunk,
                       "{\"error\":{\"message\":\"it did not work\",\"type\":\"server_error\","
                       "\"param\":null,\"code\":\"engine_error\"}}");
        um_json_free(chunk);
        expect_line(&rig, "data: [DONE]");
        expect_nothing_more(&rig);
        um_rig_close(&rig);
    }

    open_responses(&rig, true, UM_STREAM_SETTLED, false);
    um_rig_fail(&rig, 0, UM_E_TIMEOUT);
    expect_beginning(&rig);
    EXPECT_EVENT(&rig, "error", 4,
                 "\"code\":\"generation_timeout\",\"message\":\"it did not work\",\"param\":null");
    EXPECT_EVENT(&rig, "response.failed", 5,
                 "\"response\":" RESPONSE(
                     "failed", "{\"code\":\"generation_timeout\",\"message\":\"it did not work\"}",
                     "null", "[]", "null"));
    expect_nothing_more(&rig);
    um_rig_close(&rig);
}

static const um_test tests[] = {
    UM_TEST(ids_have_their_forms),
    UM_TEST(a_whole_chat_answer),
    UM_TEST(a_chat_stream),
    UM_TEST(continuous_usage_is_in_every_chunk),
    UM_TEST(settings_are_echoed_as_they_are_in_force),
    UM_TEST(edit_answers_are_chat_under_another_name),
    UM_TEST(fim_answers_have_the_flat_keys_too),
    UM_TEST(choices_of_several_prompts_are_numbered_through),
    UM_TEST(a_text_stream_with_the_prompt_in_front),
    UM_TEST(a_template_tells_its_gaps),
    UM_TEST(chat_log_probabilities_ride_with_the_text),
    UM_TEST(completions_have_parallel_arrays),
    UM_TEST(without_alternatives_a_token_still_has_its_own),
    UM_TEST(a_response_as_a_whole),
    UM_TEST(a_response_as_events),
    UM_TEST(drafts_ride_on_empty_deltas),
    UM_TEST(a_failure_in_the_middle_of_a_stream),
};
UM_TEST_MAIN(tests)
