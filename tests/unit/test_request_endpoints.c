/*
 * Bodies of the endpoints beside chat and completions: what each takes, and what it refuses.
 */
#include "tests/support/request_check.h"

#define PARSED(endpoint, body)                                                                     \
    um_api_request r;                                                                              \
    um_err err;                                                                                    \
    UM_CHECK_OK(um_test_parse(endpoint, body, true, &r, &err), err)

static void fim_takes_one_text_and_what_stands_behind_the_gap(void)
{
    static const um_test_refusal cases[] = {
        {"{}", UM_E_MISSING, "prompt"},
        {"{\"prompt\":[\"a\"]}", UM_E_TYPE, "prompt"},
        {"{\"prompt\":[1]}", UM_E_TYPE, "prompt"},
        {UM_TEST_TEXT("\"suffix\":1"), UM_E_TYPE, "suffix"},
        {UM_TEST_TEXT("\"diffusion\":{\"template\":[{\"gap\":1}]}"), UM_E_UNSUPPORTED_PARAM,
         "diffusion.template"},
    };
    PARSED(UM_ENDPOINT_FIM, UM_TEST_TEXT("\"suffix\":\"z\",\"n\":2,\"max_tokens\":4,\"top_k\":-1,"
                                         "\"stop\":[\"\\n\\n\"],\"presence_penalty\":1.5,"
                                         "\"diffusion\":{\"infill_length\":3}"));

    UM_CHECK_INT(r.prompt_count, 1);
    UM_CHECK_STR(r.prompts[0].text, "Hi");
    UM_CHECK_STR(r.suffix, "z");
    UM_CHECK(r.choices == 2 && r.given.max_tokens == 4 && r.stop_count == 1);
    UM_CHECK(r.given.has_infill_length && r.given.infill_length == 3);
    um_api_request_deinit(&r);
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_FIM, UM_TEST_TEXT("\"suffix\":\"\""), true, &r, &err),
                err);
    UM_CHECK(r.suffix == NULL);
    um_api_request_deinit(&r);
    um_test_refusals(UM_ENDPOINT_FIM, cases, UM_COUNT_OF(cases));
}

static void an_edit_takes_one_user_message(void)
{
    static const um_test_refusal cases[] = {
        {"{}", UM_E_MISSING, "messages"},
        {"{\"messages\":[]}", UM_E_EMPTY_ARRAY, "messages"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":"
         "\"b\"}]}",
         UM_E_ARRAY_ABOVE_MAX, "messages"},
        {"{\"messages\":[{\"role\":\"system\",\"content\":\"a\"}]}", UM_E_VALUE,
         "messages[0].role"},
        {UM_TEST_CHAT("\"tools\":[{\"type\":\"function\"}]"), UM_E_UNSUPPORTED_PARAM, "tools"},
        {UM_TEST_CHAT("\"max_tokens\":0"), UM_E_INT_BELOW_MIN, "max_tokens"},
    };
    static const char *const ignored[] = {UM_TEST_CHAT("\"stop\":\"x\"")};
    PARSED(UM_ENDPOINT_EDIT,
           "{\"model\":\"small\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
           "\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}],\"max_tokens\":9,\"tools\":[],"
           "\"temperature\":0,\"top_p\":1,\"presence_penalty\":1.5,\"stream\":true,"
           "\"diffusion\":{\"noise\":0.25}}");

    UM_CHECK_INT(r.message_count, 1);
    UM_CHECK_STR(r.messages[0].content, "a\nb");
    UM_CHECK(r.stream && r.given.max_tokens == 9 && r.given.noise == 0.25);
    um_api_request_deinit(&r);
    um_test_refusals(UM_ENDPOINT_EDIT, cases, UM_COUNT_OF(cases));
    um_test_accepted(UM_ENDPOINT_EDIT, ignored, UM_COUNT_OF(ignored), "stop");
}

/* ---- Responses ------------------------------------------------------------------------------ */

static void responses_become_messages(void)
{
    PARSED(UM_ENDPOINT_RESPONSES,
           "{\"model\":\"small\",\"instructions\":\"be \\\"kind\\\"\",\"input\":["
           "{\"role\":\"user\",\"content\":\"a\"},"
           "{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[]},"
           "{\"type\":\"message\",\"id\":\"msg_1\",\"status\":\"completed\",\"role\":"
           "\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"b\",\"annotations\":"
           "[]},{\"type\":\"refusal\",\"refusal\":\"c\"}]},"
           "{\"type\":\"function_call_output\",\"call_id\":\"call_1\",\"output\":\"d\"},"
           "{\"role\":\"developer\",\"content\":[{\"type\":\"input_text\",\"text\":\"e\"}]}]}");

    UM_CHECK_INT(r.message_count, 5);
    UM_CHECK_STR(r.messages[0].role, "system");
    UM_CHECK_STR(r.messages[0].content, "be \"kind\"");
    UM_CHECK_STR(r.messages[1].role, "user");
    UM_CHECK_STR(r.messages[2].role, "assistant");
    UM_CHECK_STR(r.messages[2].content, "b\nc");
    UM_CHECK_STR(r.messages[3].role, "tool");
    UM_CHECK_STR(r.messages[3].content, "d");
    UM_CHECK_STR(r.messages[4].role, "system");
    UM_CHECK_STR(um_buf_view(&r.responses.instructions), "\"be \\\"kind\\\"\"");
    um_api_request_deinit(&r);
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_RESPONSES, "{\"input\":\"x\\u0000\"}", true, &r, &err),
                err);
    UM_CHECK_INT(r.message_count, 1);
    UM_CHECK_STR(r.messages[0].role, "user");
    UM_CHECK_INT(r.messages[0].content_length, 2);
    UM_CHECK_INT(r.responses.instructions.length, 0);
    um_api_request_deinit(&r);
}

static void responses_say_what_the_answer_repeats(void)
{
    PARSED(UM_ENDPOINT_RESPONSES,
           "{\"input\":\"x\",\"max_output_tokens\":7,\"temperature\":0.5,\"top_p\":0.75,"
           "\"top_logprobs\":3,\"metadata\":{\"k\":\"v\\n\",\"l\":\"\"},\"user\":\"u\","
           "\"reasoning\":{\"effort\":\"low\",\"summary\":\"auto\"},\"store\":true,"
           "\"text\":{\"format\":{\"type\":\"text\"},\"verbosity\":\"low\"},\"tools\":[],"
           "\"tool_choice\":\"auto\",\"parallel_tool_calls\":true,\"stream\":false,"
           "\"stream_options\":{\"include_obfuscation\":false},\"service_tier\":\"auto\","
           "\"include\":[\"reasoning.encrypted_content\"],\"truncation\":\"disabled\","
           "\"background\":false,\"max_tool_calls\":3,\"previous_response_id\":null}");

    UM_CHECK(r.given.has_max_tokens && r.given.max_tokens == 7);
    UM_CHECK_INT(r.responses.max_output_tokens, 7);
    UM_CHECK(r.given.wants_logprobs && r.responses.wants_logprobs && r.given.top_logprobs == 3);
    UM_CHECK_STR(r.responses.effort, "low");
    UM_CHECK_INT(r.given.preset, UM_PRESET_FAST);
    um_api_request_drop_body(&r);
    UM_CHECK_STR(um_buf_view(&r.responses.metadata), "{\"k\":\"v\\n\",\"l\":\"\"}");
    UM_CHECK_STR(um_buf_view(&r.responses.user), "\"u\"");
    um_api_request_deinit(&r);
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_RESPONSES,
                              "{\"input\":\"x\",\"top_logprobs\":0,\"metadata\":{}}", true, &r,
                              &err),
                err);
    UM_CHECK(!r.given.wants_logprobs && !r.responses.wants_logprobs);
    UM_CHECK(r.responses.effort == NULL && r.responses.max_output_tokens == 0);
    UM_CHECK_INT(r.responses.metadata.length, 0);
    um_api_request_deinit(&r);
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_RESPONSES,
                              "{\"input\":\"x\",\"include\":[\"message.output_text.logprobs\"]}",
                              true, &r, &err),
                err);
    UM_CHECK(r.given.wants_logprobs && r.responses.wants_logprobs && r.given.top_logprobs == 0);
    um_api_request_deinit(&r);
}

static void responses_name_what_is_wrong_with_the_input(void)
{
    static const um_test_refusal cases[] = {
        {"{}", UM_E_MISSING, "input"},
        {"{\"input\":7}", UM_E_TYPE, "input"},
        {"{\"input\":[]}", UM_E_EMPTY_ARRAY, "input"},
        {"{\"input\":[{\"type\":\"reasoning\"}]}", UM_E_EMPTY_ARRAY, "input"},
        {"{\"input\":[\"x\"]}", UM_E_TYPE, "input[0]"},
        {"{\"input\":[{\"type\":7}]}", UM_E_TYPE, "input[0].type"},
        {"{\"input\":[{\"type\":\"item_reference\",\"id\":\"x\"}]}", UM_E_UNSUPPORTED_VALUE,
         "input[0].type"},
        {"{\"input\":[{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":"
         "\"{}\"}]}",
         UM_E_UNSUPPORTED_VALUE, "input[0].type"},
        {"{\"input\":[{\"type\":\"function_call_output\",\"output\":\"x\"}]}", UM_E_MISSING,
         "input[0].call_id"},
        {"{\"input\":[{\"content\":\"x\"}]}", UM_E_MISSING, "input[0].role"},
        {"{\"input\":[{\"role\":\"tool\",\"content\":\"x\"}]}", UM_E_VALUE, "input[0].role"},
        {"{\"input\":[{\"role\":\"user\"}]}", UM_E_MISSING, "input[0].content"},
        {"{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}]}",
         UM_E_UNSUPPORTED_VALUE, "input[0].content[0].type"},
        {"{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"image_url\":"
         "\"data:\"}]}]}",
         UM_E_UNSUPPORTED_VALUE, "input[0].content[0].type"},
        {"{\"input\":\"x\",\"instructions\":[]}", UM_E_TYPE, "instructions"},
        {"{\"input\":\"x\",\"include\":[7]}", UM_E_TYPE, "include[0]"},
    };

    um_test_refusals(UM_ENDPOINT_RESPONSES, cases, UM_COUNT_OF(cases));
}

#define INPUT(fields) "{\"input\":\"x\"," fields "}"

static void responses_refuse_what_needs_a_store_or_a_tool(void)
{
    static const um_test_refusal cases[] = {
        {INPUT("\"previous_response_id\":\"resp_1\""), UM_E_UNSUPPORTED_PARAM,
         "previous_response_id"},
        {INPUT("\"conversation\":{}"), UM_E_UNSUPPORTED_PARAM, "conversation"},
        {INPUT("\"background\":true"), UM_E_UNSUPPORTED_PARAM, "background"},
        {INPUT("\"prompt\":{\"id\":\"p\"}"), UM_E_UNSUPPORTED_PARAM, "prompt"},
        {INPUT("\"moderation\":{}"), UM_E_UNSUPPORTED_PARAM, "moderation"},
        {INPUT("\"truncation\":\"auto\""), UM_E_UNSUPPORTED_VALUE, "truncation"},
        {INPUT("\"tools\":[{\"type\":\"web_search\"}]"), UM_E_UNSUPPORTED_VALUE, "tools[0].type"},
        {INPUT("\"tools\":[{\"type\":\"function\",\"name\":\"f\"}]"), UM_E_UNSUPPORTED_PARAM,
         "tools"},
        {INPUT("\"tool_choice\":\"required\""), UM_E_UNSUPPORTED_PARAM, "tool_choice"},
        {INPUT("\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"n\",\"schema\":{}}}"),
         UM_E_UNSUPPORTED_PARAM, "text.format"},
        {INPUT("\"text\":{\"format\":{\"type\":\"x\"}}"), UM_E_VALUE, "text.format.type"},
        {INPUT("\"reasoning\":{\"effort\":\"extreme\"}"), UM_E_VALUE, "reasoning.effort"},
        {INPUT("\"stream\":true,\"diffusion\":{\"stream\":\"replace\"}"), UM_E_VALUE,
         "diffusion.stream"},
        {INPUT("\"stream\":true,\"diffusing\":true"), UM_E_UNSUPPORTED_PARAM, "diffusing"},
        {INPUT("\"diffusion\":{\"stream\":\"draft\"}"), UM_E_VALUE, "diffusion.stream"},
        {INPUT("\"max_output_tokens\":0"), UM_E_INT_BELOW_MIN, "max_output_tokens"},
        {INPUT("\"top_logprobs\":21"), UM_E_INT_ABOVE_MAX, "top_logprobs"},
        {INPUT("\"max_output_tokens\":4,\"max_new_tokens\":5"), UM_E_CONFLICT, "max_new_tokens"},
    };
    static const char *const ignored[] = {
        INPUT("\"n\":2,\"text\":{\"x\":1},\"reasoning\":{\"y\":1}")};

    um_test_refusals(UM_ENDPOINT_RESPONSES, cases, UM_COUNT_OF(cases));
    um_test_accepted(UM_ENDPOINT_RESPONSES, ignored, UM_COUNT_OF(ignored),
                     "text.x, reasoning.y, n");
}

/* ---- tokens --------------------------------------------------------------------------------- */

static void tokenize_takes_text_or_messages(void)
{
    static const um_test_refusal cases[] = {
        {"{}", UM_E_MISSING, "prompt"},
        {"{\"prompt\":null}", UM_E_MISSING, "prompt"},
        {"{\"prompt\":[\"a\"]}", UM_E_TYPE, "prompt"},
        {"{\"prompt\":\"a\",\"content\":\"b\"}", UM_E_CONFLICT, "content"},
        {"{\"prompt\":\"a\"," UM_TEST_USER "}", UM_E_CONFLICT, "messages"},
        {"{" UM_TEST_USER ",\"tools\":[{\"type\":\"function\"}]}", UM_E_UNSUPPORTED_PARAM, "tools"},
        {"{" UM_TEST_USER ",\"continue_final_message\":true}", UM_E_VALUE, "messages"},
        {"{\"content\":7}", UM_E_TYPE, "content"},
        {"{\"prompt\":\"a\",\"add_special_tokens\":1}", UM_E_TYPE, "add_special_tokens"},
        {"{\"model\":\"nope\",\"prompt\":\"a\"}", UM_E_MODEL_NOT_FOUND, "model"},
    };
    static const char *const ignored[] = {"{\"prompt\":\"a\",\"temperature\":1}"};
    PARSED(UM_ENDPOINT_TOKENIZE,
           "{\"model\":\"small\",\"content\":\"ab\",\"add_special_tokens\":false,"
           "\"return_token_strs\":true}");

    UM_CHECK_INT(r.prompt_count, 1);
    UM_CHECK_STR(r.prompts[0].text, "ab");
    UM_CHECK(r.has_add_special_tokens && !r.add_special_tokens && r.return_token_strs);
    um_api_request_deinit(&r);
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_TOKENIZE,
                              UM_TEST_CHAT("\"tools\":[],\"add_generation_prompt\":false"), true,
                              &r, &err),
                err);
    UM_CHECK(r.prompt_count == 0 && r.message_count == 1 && r.no_generation_prompt);
    UM_CHECK(!r.has_add_special_tokens && !r.return_token_strs);
    um_api_request_deinit(&r);
    um_test_refusals(UM_ENDPOINT_TOKENIZE, cases, UM_COUNT_OF(cases));
    um_test_accepted(UM_ENDPOINT_TOKENIZE, ignored, UM_COUNT_OF(ignored), "temperature");
}

static void detokenize_takes_ids_and_mask_is_one(void)
{
    static const um_test_refusal cases[] = {
        {"{}", UM_E_MISSING, "tokens"},
        {"{\"tokens\":\"1\"}", UM_E_TYPE, "tokens"},
        {"{\"tokens\":[40]}", UM_E_VALUE, "tokens[0]"},
        {"{\"tokens\":[0,-1]}", UM_E_VALUE, "tokens[1]"},
        {"{\"tokens\":[1.0]}", UM_E_TYPE, "tokens[0]"},
    };
    PARSED(UM_ENDPOINT_DETOKENIZE, "{\"tokens\":[0,35,39]}");

    UM_CHECK_INT(r.prompt_count, 1);
    UM_CHECK(r.prompts[0].text == NULL && r.prompts[0].id_count == 3 && r.prompts[0].ids[1] == 35);
    um_api_request_deinit(&r);
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_DETOKENIZE, "{\"tokens\":[]}", true, &r, &err), err);
    UM_CHECK(r.prompt_count == 1 && r.prompts[0].id_count == 0);
    um_api_request_deinit(&r);
    um_test_refusals(UM_ENDPOINT_DETOKENIZE, cases, UM_COUNT_OF(cases));
}

/* ---- memory --------------------------------------------------------------------------------- */

static void every_failed_allocation_is_reported_and_leaks_nothing(void)
{
    static const struct {
        um_endpoint endpoint;
        const char *body;
    } cases[] = {
        {UM_ENDPOINT_RESPONSES, "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":"
                                "\"input_text\",\"text\":\"a\"}]}],\"instructions\":\"i\","
                                "\"metadata\":{\"k\":\"v\"},\"user\":\"u\",\"foo\":1}"},
        {UM_ENDPOINT_COMPLETIONS, "{\"logit_bias\":{\"1\":2},\"diffusion\":{\"template\":["
                                  "{\"text\":\"a\"},{\"gap\":1}]}}"},
        {UM_ENDPOINT_DETOKENIZE, "{\"tokens\":[1,2]}"},
        {UM_ENDPOINT_CHAT, UM_TEST_CHAT("\"prediction\":{\"type\":\"content\",\"content\":[{"
                                        "\"type\":\"text\",\"text\":\"a\"}]}")},
    };

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++)
        um_test_failing_allocations(cases[i].endpoint, cases[i].body, 1, 200);
}

static const um_test tests[] = {
    UM_TEST(fim_takes_one_text_and_what_stands_behind_the_gap),
    UM_TEST(an_edit_takes_one_user_message),
    UM_TEST(responses_become_messages),
    UM_TEST(responses_say_what_the_answer_repeats),
    UM_TEST(responses_name_what_is_wrong_with_the_input),
    UM_TEST(responses_refuse_what_needs_a_store_or_a_tool),
    UM_TEST(tokenize_takes_text_or_messages),
    UM_TEST(detokenize_takes_ids_and_mask_is_one),
    UM_TEST(every_failed_allocation_is_reported_and_leaks_nothing),
};
UM_TEST_MAIN(tests)
