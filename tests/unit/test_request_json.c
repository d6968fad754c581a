/*
 * Request bodies: which field gets which answer. Rejections are compared by status and by the name
 * of the field, as clients see them (`code` and `param`). Here: what chat and completions share;
 * test_request_endpoints.c has the others, test_request_generate.c sampling and drafts.
 */
#include "tests/support/request_check.h"

/* ---- what comes out ------------------------------------------------------------------------- */

static void a_full_chat_request_is_read(void)
{
    um_api_request r;
    um_err err;

    UM_CHECK_OK(
        um_test_parse(UM_ENDPOINT_CHAT,
                      "{\"model\":\"small\",\"messages\":["
                      "{\"role\":\"developer\",\"content\":\"be kind\"},"
                      "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
                      "{\"type\":\"text\",\"text\":\"b\\u0000c\"}]},"
                      "{\"role\":\"assistant\",\"content\":[{\"type\":\"refusal\","
                      "\"refusal\":\"no\"}],\"refusal\":null,\"name\":\"x\"},"
                      "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"ok\"}],"
                      "\"max_tokens\":9,\"max_completion_tokens\":5,\"temperature\":1,"
                      "\"seed\":-3,\"stop\":[\"X\",\"YZ\"],\"stream\":true,"
                      "\"stream_options\":{\"include_usage\":true,"
                      "\"continuous_usage_stats\":true},\"user\":\"u\","
                      "\"diffusion\":{\"steps_per_block\":4,\"block_length\":8,"
                      "\"algorithm\":\"random\",\"cfg_scale\":1.5,\"early_stop\":false,"
                      "\"reference_quirks\":true,\"eos_rule\":\"logits\",\"cache\":\"none\","
                      "\"echo\":true}}",
                      true, &r, &err),
        err);
    UM_CHECK_INT(r.message_count, 4);
    UM_CHECK_STR(r.messages[0].role, "system");
    UM_CHECK_INT(r.messages[1].content_length, 5);
    UM_CHECK(memcmp(r.messages[1].content, "a\nb\0c", 5) == 0);
    UM_CHECK_STR(r.messages[2].content, "no");
    UM_CHECK_STR(r.messages[3].role, "tool");
    UM_CHECK_INT(r.given.max_tokens, 5); /* max_completion_tokens wins */
    UM_CHECK(r.given.has_max_tokens && r.given.has_temperature && r.given.has_seed);
    UM_CHECK_NEAR(r.given.temperature, 1, 0);
    UM_CHECK_INT(r.given.seed, -3);
    UM_CHECK_INT(r.stop_count, 2);
    UM_CHECK_INT(r.stops[1].length, 2);
    UM_CHECK(memcmp(r.stops[1].bytes, "YZ", 2) == 0);
    UM_CHECK(r.stream && r.include_usage && r.continuous_usage && r.echo_settings);
    UM_CHECK_STR(r.user, "u");
    UM_CHECK(r.given.has_steps_per_block && !r.given.has_steps && !r.given.has_threshold);
    UM_CHECK_INT(r.given.steps_per_block, 4);
    UM_CHECK_STR(r.given.algorithm, "random");
    UM_CHECK_NEAR(r.given.cfg_scale, 1.5, 0);
    UM_CHECK(r.given.has_early_stop && !r.given.early_stop && r.given.reference_quirks);
    UM_CHECK_INT(r.given.eos_rule, UM_EOS_LOGITS);
    um_api_request_deinit(&r);
}

static void a_prompt_has_four_forms(void)
{
    um_api_request r;
    um_err err;

    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_COMPLETIONS, "{\"prompt\":\"abc\"}", true, &r, &err),
                err);
    UM_CHECK_INT(r.prompt_count, 1);
    UM_CHECK_STR(r.prompts[0].text, "abc");
    um_api_request_deinit(&r);
    UM_CHECK_OK(
        um_test_parse(UM_ENDPOINT_COMPLETIONS, "{\"prompt\":[\"a\",\"bc\"]}", true, &r, &err), err);
    UM_CHECK_INT(r.prompt_count, 2);
    UM_CHECK_STR(r.prompts[1].text, "bc");
    um_api_request_deinit(&r);
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_COMPLETIONS, "{\"prompt\":[0,39,7]}", true, &r, &err),
                err);
    UM_CHECK_INT(r.prompt_count, 1);
    UM_CHECK_INT(r.prompts[0].id_count, 3);
    UM_CHECK_INT(r.prompts[0].ids[1], 39);
    um_api_request_deinit(&r);
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_COMPLETIONS, "{\"prompt\":[[1],[2,3]]}", true, &r, &err),
                err);
    UM_CHECK_INT(r.prompt_count, 2);
    UM_CHECK_INT(r.prompts[1].ids[1], 3);
    um_api_request_deinit(&r);
}

static void aliases_of_peers_reach_the_same_settings(void)
{
    static const struct {
        const char *name;
        const char *value;
    } cases[] = {
        {"steps", "4"},
        {"num_denoising_steps", "4"},
        {"diffusion_steps", "4"},
    };
    um_api_request r;
    um_err err;

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        char body[256];

        snprintf(body, sizeof(body), UM_TEST_CHAT("\"%s\":%s,\"diffusion\":{\"steps\":4}"),
                 cases[i].name, cases[i].value); /* an equal value is no conflict */
        UM_CHECK_OK(um_test_parse(UM_ENDPOINT_CHAT, body, true, &r, &err), err);
        UM_CHECK_INT(r.given.steps, 4);
        um_api_request_deinit(&r);
    }
    UM_CHECK_OK(
        um_test_parse(UM_ENDPOINT_CHAT,
                      UM_TEST_CHAT("\"gen_length\":7,\"block_size\":8,\"dllm_denoising_steps\":2,"
                                   "\"alg\":\"MaskGIT_plus\",\"remasking\":\"low_confidence\""),
                      true, &r, &err),
        err);
    UM_CHECK_INT(r.given.max_tokens, 7);
    UM_CHECK_INT(r.given.block_length, 8);
    UM_CHECK_INT(r.given.steps_per_block, 2);
    UM_CHECK_STR(r.given.algorithm, "low_confidence");
    um_api_request_deinit(&r);
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_CHAT, UM_TEST_CHAT("\"confidence_threshold\":0.5"), true,
                              &r, &err),
                err);
    UM_CHECK(r.given.has_threshold && r.given.threshold == 0.5);
    um_api_request_deinit(&r);
}

static void unknown_fields_are_named_or_refused(void)
{
    um_api_request r;
    um_err err;
    um_buf body = {0};

    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_CHAT,
                              UM_TEST_CHAT("\"foo\":1,\"b\\u00e4,r\\r\\nx: y\":null,"
                                           "\"stream\":true,\"stream_options\":{\"extra\":1}"),
                              false, &r, &err),
                err);
    UM_CHECK_STR(um_buf_view(&r.ignored), "stream_options.extra, foo, b???r??x:?y");
    um_api_request_deinit(&r);
    UM_CHECK_STATUS(um_test_parse(UM_ENDPOINT_CHAT, UM_TEST_CHAT("\"foo\":1"), true, &r, &err),
                    UM_E_UNKNOWN_PARAM);
    UM_CHECK_STR(err.field, "foo");
    /* 16 names at most */
    um_buf_text(&body, "{" UM_TEST_USER ",\"stream\":true,\"stream_options\":{\"x\":1,\"y\":1}");
    for (int i = 0; i < 40; i++)
        um_buf_printf(&body, ",\"f%02d\":1", i);
    um_buf_char(&body, '}');
    UM_CHECK_OK(um_test_parse(UM_ENDPOINT_CHAT, um_buf_view(&body), false, &r, &err), err);
    UM_CHECK_INT(r.ignored.length, 2 * 16 + 14 * 3 + 15 * 2);
    um_api_request_deinit(&r);
    um_buf_deinit(&body);
}

/* ---- what is accepted ----------------------------------------------------------------------- */

static void null_is_absent_everywhere(void)
{
    static const char *const bodies[] = {
        UM_TEST_CHAT(
            "\"model\":null,\"max_completion_tokens\":null,\"max_tokens\":null,"
            "\"temperature\":null,\"top_p\":null,\"seed\":null,\"n\":null,\"stop\":null,"
            "\"stream\":null,\"stream_options\":null,\"logprobs\":null,\"top_logprobs\":null,"
            "\"logit_bias\":null,\"frequency_penalty\":null,\"presence_penalty\":null,"
            "\"response_format\":null,\"tools\":null,\"tool_choice\":null,"
            "\"parallel_tool_calls\":null,\"functions\":null,\"function_call\":null,"
            "\"prediction\":null,\"reasoning_effort\":null,\"verbosity\":null,"
            "\"modalities\":null,\"audio\":null,\"web_search_options\":null,"
            "\"moderation\":null,\"metadata\":null,\"store\":null,\"user\":null,"
            "\"service_tier\":null,\"top_k\":null,\"diffusion\":null,\"diffusing\":null,"
            "\"steps\":null,\"alg\":null"),
        UM_TEST_CHAT(
            "\"diffusion\":{\"preset\":null,\"steps\":null,\"algorithm\":null,\"stream\":null,"
            "\"draft\":null,\"template\":null,\"deadline_ms\":null}"),
    };

    um_test_accepted(UM_ENDPOINT_CHAT, bodies, UM_COUNT_OF(bodies), "");
}

static void neutral_values_change_nothing(void)
{
    static const char *const bodies[] = {
        UM_TEST_CHAT(
            "\"top_p\":1,\"n\":1,\"logprobs\":false,\"top_logprobs\":0,\"logit_bias\":{},"
            "\"frequency_penalty\":0.0,\"presence_penalty\":0,\"response_format\":"
            "{\"type\":\"text\"},\"tools\":[],\"tool_choice\":\"none\","
            "\"parallel_tool_calls\":true,\"reasoning_effort\":\"medium\","
            "\"modalities\":[\"text\"],\"top_k\":-1,\"min_p\":0,\"repetition_penalty\":1.0,"
            "\"min_tokens\":0,\"ignore_eos\":false,\"stop_token_ids\":[],"
            "\"skip_special_tokens\":true,\"add_generation_prompt\":true,"
            "\"continue_final_message\":false,\"chat_template_kwargs\":{},\"diffusing\":false,"
            "\"stop\":[]"),
        UM_TEST_CHAT("\"diffusion\":{\"preset\":\"recommended\",\"stream\":\"settled\","
                     "\"cache\":\"auto\",\"order_temperature\":0,\"max_post_steps\":0,"
                     "\"infill_length\":\"auto\"}"),
        UM_TEST_CHAT(
            "\"user\":\"u\",\"metadata\":{\"k\":\"v\"},\"store\":true,"
            "\"service_tier\":\"flex\",\"verbosity\":\"low\",\"prompt_cache_key\":\"k\","
            "\"safety_identifier\":\"s\",\"prediction\":{\"type\":\"content\",\"content\":\"\"},"
            "\"realtime\":true"),
    };
    static const char *const texts[] = {
        UM_TEST_TEXT("\"suffix\":\"\",\"echo\":false,\"best_of\":1,\"n\":1,\"logprobs\":null"),
    };

    um_test_accepted(UM_ENDPOINT_CHAT, bodies, UM_COUNT_OF(bodies), "");
    um_test_accepted(UM_ENDPOINT_COMPLETIONS, texts, UM_COUNT_OF(texts), "");
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void broken_json_is_refused(void)
{
    static const um_test_refusal cases[] = {
        {"", UM_E_JSON, ""},
        {"{", UM_E_JSON, ""},
        {"[]", UM_E_JSON, ""},
        {"1", UM_E_JSON, ""},
        {"{\"a\":1,\"a\":2}", UM_E_JSON, ""},
        {"{\"a\":\"\xff\"}", UM_E_JSON, ""},
        {"{\"a\":\"\\ud800\"}", UM_E_JSON, ""},
        {"{\"a\":1e999}", UM_E_JSON, ""},
        {"{\"a\":99999999999999999999}", UM_E_JSON, ""},
        {"{} x", UM_E_JSON, ""},
    };

    um_test_refusals(UM_ENDPOINT_CHAT, cases, UM_COUNT_OF(cases));
}

static void the_model_is_checked_before_other_fields(void)
{
    static const um_test_refusal cases[] = {
        {"{\"model\":\"nope\",\"temperature\":\"x\"}", UM_E_MODEL_NOT_FOUND, "model"},
        {"{\"model\":7}", UM_E_TYPE, "model"},
        {"{\"model\":\"\"}", UM_E_MISSING, "messages"}, /* empty: the only model */
        {"{\"model\":\"org/tiny\"}", UM_E_MISSING, "messages"},
        {"{\"model\":\"org/tiny@fast\"}", UM_E_MISSING, "messages"},
        {"{\"model\":\"small@max\"}", UM_E_MISSING, "messages"}, /* aliases have presets too */
        {"{\"model\":\"at@fast\"}", UM_E_MISSING, "messages"},   /* a whole id with an @ */
        {"{\"model\":\"at@fast@max\"}", UM_E_MISSING, "messages"},
        {"{\"model\":\"org/tiny@nope\"}", UM_E_MODEL_NOT_FOUND, "model"},
        {"{\"model\":\"org/tiny@\"}", UM_E_MODEL_NOT_FOUND, "model"},
        {"{\"model\":\"@fast\"}", UM_E_MODEL_NOT_FOUND, "model"},
        {"{\"model\":\"other@fast\"}", UM_E_MODEL_NOT_FOUND, "model"},
        {"{\"model\":\"at\"}", UM_E_MODEL_NOT_FOUND, "model"},
    };

    um_test_refusals(UM_ENDPOINT_CHAT, cases, UM_COUNT_OF(cases));
}

static void messages_name_what_is_wrong_with_them(void)
{
    static const um_test_refusal cases[] = {
        {"{}", UM_E_MISSING, "messages"},
        {"{\"messages\":null,\"temperature\":9}", UM_E_MISSING, "messages"},
        {"{\"messages\":\"x\"}", UM_E_TYPE, "messages"},
        {"{\"messages\":[]}", UM_E_EMPTY_ARRAY, "messages"},
        {"{\"messages\":[1]}", UM_E_TYPE, "messages[0]"},
        {"{\"messages\":[{}]}", UM_E_MISSING, "messages[0].role"},
        {"{\"messages\":[{\"role\":1}]}", UM_E_TYPE, "messages[0].role"},
        {"{\"messages\":[{\"role\":\"function\",\"content\":\"x\"}]}", UM_E_VALUE,
         "messages[0].role"},
        {"{\"messages\":[{\"role\":\"user\"}]}", UM_E_MISSING, "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":1}]}", UM_E_TYPE, "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[]}]}", UM_E_EMPTY_ARRAY,
         "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[\"x\"]}]}", UM_E_TYPE,
         "messages[0].content[0]"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}", UM_E_MISSING,
         "messages[0].content[0].text"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":"
         "{\"url\":\"data:\"}}]}]}",
         UM_E_UNSUPPORTED_VALUE, "messages[0].content[0].type"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"refusal\",\"refusal\":"
         "\"x\"}]}]}",
         UM_E_UNSUPPORTED_VALUE, "messages[0].content[0].type"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"assistant\","
         "\"content\":null,\"tool_calls\":[{}]}]}",
         UM_E_UNSUPPORTED_PARAM, "messages[1].tool_calls"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"function_call\":{}}]}",
         UM_E_UNSUPPORTED_PARAM, "messages[0].function_call"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":null}]}", UM_E_MISSING,
         "messages[0].content"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}", UM_E_MISSING,
         "messages[0].tool_call_id"},
    };

    um_test_refusals(UM_ENDPOINT_CHAT, cases, UM_COUNT_OF(cases));
}

static void prompts_name_what_is_wrong_with_them(void)
{
    static const um_test_refusal cases[] = {
        {"{}", UM_E_MISSING, "prompt"},
        {"{\"prompt\":1}", UM_E_TYPE, "prompt"},
        {"{\"prompt\":[]}", UM_E_EMPTY_ARRAY, "prompt"},
        {"{\"prompt\":[1.5]}", UM_E_TYPE, "prompt"},
        {"{\"prompt\":[\"a\",1]}", UM_E_TYPE, "prompt[1]"},
        {"{\"prompt\":[1,\"a\"]}", UM_E_TYPE, "prompt[1]"},
        {"{\"prompt\":[[1],2]}", UM_E_TYPE, "prompt[1]"},
        {"{\"prompt\":[[1],[]]}", UM_E_EMPTY_ARRAY, "prompt[1]"},
        {"{\"prompt\":[[1],[2,\"a\"]]}", UM_E_TYPE, "prompt[1][1]"},
        {"{\"prompt\":[1,40]}", UM_E_VALUE, "prompt[1]"},
        {"{\"prompt\":[-1]}", UM_E_VALUE, "prompt[0]"},
        {"{\"prompt\":[35]}", UM_E_VALUE, "prompt[0]"}, /* the mask */
        {"{\"prompt\":[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\","
         "\"\",\"\"]}",
         UM_E_ARRAY_ABOVE_MAX, "prompt"},
        {UM_TEST_TEXT("\"best_of\":2"), UM_E_UNSUPPORTED_PARAM, "best_of"},
    };

    um_test_refusals(UM_ENDPOINT_COMPLETIONS, cases, UM_COUNT_OF(cases));
}

static void values_out_of_range_are_refused(void)
{
    static const um_test_refusal cases[] = {
        {UM_TEST_CHAT("\"max_tokens\":0"), UM_E_INT_BELOW_MIN, "max_tokens"},
        {UM_TEST_CHAT("\"max_tokens\":16.0"), UM_E_TYPE, "max_tokens"},
        {UM_TEST_CHAT("\"max_completion_tokens\":\"16\""), UM_E_TYPE, "max_completion_tokens"},
        {UM_TEST_CHAT("\"temperature\":2.1"), UM_E_DEC_ABOVE_MAX, "temperature"},
        {UM_TEST_CHAT("\"temperature\":-0.1"), UM_E_DEC_BELOW_MIN, "temperature"},
        {UM_TEST_CHAT("\"temperature\":\"1\""), UM_E_TYPE, "temperature"},
        {UM_TEST_CHAT("\"temperature\":true"), UM_E_TYPE, "temperature"},
        {UM_TEST_CHAT("\"top_p\":1.5"), UM_E_DEC_ABOVE_MAX, "top_p"},
        {UM_TEST_CHAT("\"top_k\":-2"), UM_E_INT_BELOW_MIN, "top_k"},
        {UM_TEST_CHAT("\"top_k\":2147483648"), UM_E_INT_ABOVE_MAX, "top_k"},
        {UM_TEST_CHAT("\"top_k\":1.5"), UM_E_TYPE, "top_k"},
        {UM_TEST_CHAT("\"min_p\":-0.1"), UM_E_DEC_BELOW_MIN, "min_p"},
        {UM_TEST_CHAT("\"diffusion\":{\"eps\":0}"), UM_E_DEC_BELOW_MIN, "diffusion.eps"},
        {UM_TEST_CHAT("\"diffusion\":{\"order_temperature\":11}"), UM_E_DEC_ABOVE_MAX,
         "diffusion.order_temperature"},
        {UM_TEST_CHAT("\"n\":0"), UM_E_INT_BELOW_MIN, "n"},
        {UM_TEST_CHAT("\"n\":1000"), UM_E_INT_ABOVE_MAX, "n"},
        {UM_TEST_CHAT("\"seed\":1.5"), UM_E_TYPE, "seed"},
        {UM_TEST_CHAT("\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]"), UM_E_ARRAY_ABOVE_MAX, "stop"},
        {UM_TEST_CHAT("\"stop\":[\"\"]"), UM_E_VALUE, "stop[0]"},
        {UM_TEST_CHAT("\"stop\":\"\""), UM_E_VALUE, "stop"},
        {UM_TEST_CHAT("\"stop\":5"), UM_E_TYPE, "stop"},
        {UM_TEST_CHAT("\"stop\":[5]"), UM_E_TYPE, "stop[0]"},
        {UM_TEST_CHAT("\"stream\":1"), UM_E_TYPE, "stream"},
        {UM_TEST_CHAT("\"stream_options\":{}"), UM_E_VALUE, "stream_options"},
        {UM_TEST_CHAT("\"stream\":true,\"stream_options\":{\"include_usage\":1}"), UM_E_TYPE,
         "stream_options.include_usage"},
        {UM_TEST_CHAT("\"top_logprobs\":21"), UM_E_INT_ABOVE_MAX, "top_logprobs"},
        {UM_TEST_CHAT("\"reasoning_effort\":\"extreme\""), UM_E_VALUE, "reasoning_effort"},
        {UM_TEST_CHAT("\"metadata\":{\"a\":1}"), UM_E_TYPE, "metadata.a"},
        {UM_TEST_CHAT("\"store\":\"yes\""), UM_E_TYPE, "store"},
        {UM_TEST_CHAT("\"temperature\":9,\"diffusion\":{\"foo\":1}"), UM_E_DEC_ABOVE_MAX,
         "temperature"},
    };

    um_test_refusals(UM_ENDPOINT_CHAT, cases, UM_COUNT_OF(cases));
}

static void a_bound_of_many_digits_is_told_in_full(void)
{
    um_api_request request;
    um_err err;

    UM_CHECK_STATUS(um_test_parse(UM_ENDPOINT_CHAT, UM_TEST_CHAT("\"top_k\":2147483648"), false,
                                  &request, &err),
                    UM_E_INT_ABOVE_MAX);
    UM_CHECK_STR(err.message, "`top_k` is 2147483648; the maximum is 2147483647");
    um_api_request_deinit(&request);
}

static void what_this_build_lacks_is_refused_not_dropped(void)
{
    static const um_test_refusal cases[] = {
        {UM_TEST_CHAT("\"response_format\":{\"type\":\"json_object\"}"), UM_E_UNSUPPORTED_PARAM,
         "response_format"},
        {UM_TEST_CHAT("\"tools\":[{\"type\":\"function\"}]"), UM_E_UNSUPPORTED_PARAM, "tools"},
        {UM_TEST_CHAT("\"tool_choice\":\"required\""), UM_E_UNSUPPORTED_PARAM, "tool_choice"},
        {UM_TEST_CHAT("\"functions\":[]"), UM_E_UNSUPPORTED_PARAM, "functions"},
        {UM_TEST_CHAT("\"function_call\":\"auto\""), UM_E_UNSUPPORTED_PARAM, "function_call"},
        {UM_TEST_CHAT("\"audio\":{}"), UM_E_UNSUPPORTED_PARAM, "audio"},
        {UM_TEST_CHAT("\"web_search_options\":{}"), UM_E_UNSUPPORTED_PARAM, "web_search_options"},
        {UM_TEST_CHAT("\"moderation\":true"), UM_E_UNSUPPORTED_PARAM, "moderation"},
        {UM_TEST_CHAT("\"modalities\":[\"audio\"]"), UM_E_UNSUPPORTED_PARAM, "modalities"},
        {UM_TEST_CHAT("\"diffusion\":{\"cache\":\"prefix\"}"), UM_E_UNSUPPORTED_VALUE,
         "diffusion.cache"},
        {UM_TEST_CHAT("\"diffusion\":{\"cache\":\"dual\"}"), UM_E_UNSUPPORTED_VALUE,
         "diffusion.cache"},
        {UM_TEST_CHAT("\"diffusion\":{\"edit_threshold\":0.5}"), UM_E_UNSUPPORTED_PARAM,
         "diffusion.edit_threshold"},
        {UM_TEST_CHAT("\"diffusion\":{\"max_post_steps\":1}"), UM_E_UNSUPPORTED_PARAM,
         "diffusion.max_post_steps"},
        {UM_TEST_CHAT("\"diffusion\":{\"entropy_bound\":1}"), UM_E_UNSUPPORTED_PARAM,
         "diffusion.entropy_bound"},
        {UM_TEST_CHAT("\"diffusion\":{\"template\":[]}"), UM_E_UNSUPPORTED_PARAM,
         "diffusion.template"},
        {UM_TEST_CHAT("\"diffusion\":{\"infill_length\":4}"), UM_E_UNSUPPORTED_PARAM,
         "diffusion.infill_length"},
    };

    um_test_refusals(UM_ENDPOINT_CHAT, cases, UM_COUNT_OF(cases));
}

static void diffusion_settings_are_checked_against_each_other(void)
{
    static const um_test_refusal cases[] = {
        {UM_TEST_CHAT("\"diffusion\":1"), UM_E_TYPE, "diffusion"},
        {UM_TEST_CHAT("\"diffusion\":{\"foo\":1}"), UM_E_UNKNOWN_PARAM, "diffusion.foo"},
        {UM_TEST_CHAT("\"diffusion\":{\"steps\":0}"), UM_E_INT_BELOW_MIN, "diffusion.steps"},
        {UM_TEST_CHAT("\"diffusion\":{\"steps\":8193}"), UM_E_INT_ABOVE_MAX, "diffusion.steps"},
        {UM_TEST_CHAT("\"diffusion\":{\"block_length\":0}"), UM_E_INT_BELOW_MIN,
         "diffusion.block_length"},
        {UM_TEST_CHAT("\"diffusion\":{\"block_length\":65}"), UM_E_INT_ABOVE_MAX,
         "diffusion.block_length"},
        {UM_TEST_CHAT("\"diffusion\":{\"threshold\":1.1}"), UM_E_DEC_ABOVE_MAX,
         "diffusion.threshold"},
        {UM_TEST_CHAT("\"diffusion\":{\"factor\":0}"), UM_E_DEC_BELOW_MIN, "diffusion.factor"},
        {UM_TEST_CHAT("\"diffusion\":{\"algorithm\":\"nope\"}"), UM_E_UNSUPPORTED_VALUE,
         "diffusion.algorithm"},
        {UM_TEST_CHAT("\"diffusion\":{\"algorithm\":\"entropy_bound\"}"), UM_E_UNSUPPORTED_VALUE,
         "diffusion.algorithm"},
        {UM_TEST_CHAT("\"diffusion\":{\"cache\":\"nope\"}"), UM_E_VALUE, "diffusion.cache"},
        {UM_TEST_CHAT("\"diffusion\":{\"eos_rule\":\"nope\"}"), UM_E_VALUE, "diffusion.eos_rule"},
        {UM_TEST_CHAT("\"diffusion\":{\"steps\":4,\"steps_per_block\":2}"), UM_E_CONFLICT,
         "diffusion.steps_per_block"},
        {UM_TEST_CHAT("\"diffusion\":{\"threshold\":0.5,\"factor\":1}"), UM_E_CONFLICT,
         "diffusion.factor"},
        {UM_TEST_CHAT("\"diffusion\":{\"threshold\":0.5,\"algorithm\":\"random\"}"), UM_E_CONFLICT,
         "diffusion.threshold"},
        {UM_TEST_CHAT("\"steps\":4,\"diffusion\":{\"steps\":8}"), UM_E_CONFLICT, "steps"},
        {UM_TEST_CHAT("\"num_denoising_steps\":4,\"steps\":8"), UM_E_CONFLICT,
         "num_denoising_steps"},
        {UM_TEST_CHAT("\"alg\":\"random\",\"diffusion\":{\"algorithm\":\"low_confidence\"}"),
         UM_E_CONFLICT, "alg"},
        {UM_TEST_CHAT("\"max_tokens\":4,\"gen_length\":5"), UM_E_CONFLICT, "gen_length"},
        {UM_TEST_CHAT("\"steps\":\"4\""), UM_E_TYPE, "steps"},
    };

    um_test_refusals(UM_ENDPOINT_CHAT, cases, UM_COUNT_OF(cases));
}

static void an_unknown_algorithm_is_told_the_known_ones(void)
{
    um_api_request r;
    um_err err;

    UM_CHECK_STATUS(
        um_test_parse(UM_ENDPOINT_CHAT, UM_TEST_CHAT("\"alg\":\"nope\""), false, &r, &err),
        UM_E_UNSUPPORTED_VALUE);
    UM_CHECK_STR(err.field, "alg");
    UM_CHECK(strstr(err.message, um_policy_names()) != NULL);
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void)
{
    static const struct {
        um_endpoint endpoint;
        const char *body;
    } cases[] = {
        {UM_ENDPOINT_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
                           "\"text\":\"a\"}]}],\"foo\":1}"},
        {UM_ENDPOINT_COMPLETIONS, "{\"prompt\":[[1],[2,3]],\"foo\":1}"},
    };

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++)
        um_test_failing_allocations(cases[i].endpoint, cases[i].body, 2, 50);
}

static const um_test tests[] = {
    UM_TEST(a_full_chat_request_is_read),
    UM_TEST(a_prompt_has_four_forms),
    UM_TEST(aliases_of_peers_reach_the_same_settings),
    UM_TEST(unknown_fields_are_named_or_refused),
    UM_TEST(null_is_absent_everywhere),
    UM_TEST(neutral_values_change_nothing),
    UM_TEST(broken_json_is_refused),
    UM_TEST(the_model_is_checked_before_other_fields),
    UM_TEST(messages_name_what_is_wrong_with_them),
    UM_TEST(prompts_name_what_is_wrong_with_them),
    UM_TEST(values_out_of_range_are_refused),
    UM_TEST(a_bound_of_many_digits_is_told_in_full),
    UM_TEST(what_this_build_lacks_is_refused_not_dropped),
    UM_TEST(diffusion_settings_are_checked_against_each_other),
    UM_TEST(an_unknown_algorithm_is_told_the_known_ones),
    UM_TEST(every_failed_allocation_is_reported_and_leaks_nothing),
};
UM_TEST_MAIN(tests)
