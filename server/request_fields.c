/*
 * Every field of every body, once, in the order in which failures are reported; and the names that
 * other programs have for some of them.
 */
#include "server/request_internal.h"

#define CHAT UM_ENDPOINT_CHAT
#define TEXT UM_ENDPOINT_COMPLETIONS
#define BOTH (CHAT | TEXT)

#define FIELD(text, users, what, shape)                                                            \
    .name = (text), .endpoints = (users), .class = UM_FIELD_##what, .kind = UM_KIND_##shape
#define INTO(member) .value = offsetof(um_api_request, member)
#define GIVEN(member)                                                                              \
    .value = offsetof(um_api_request, given.member),                                               \
    .has = offsetof(um_api_request, given.has_##member)
#define RANGE(low, high) .min = (low), .max = (high)
#define ABOVE_ZERO .max = INFINITE, .above_min = true
#define INFINITE 1e300

/* Whoever writes this object means it: unknown members are always errors. */
static const umi_field diffusion_fields[] = {
    {FIELD("preset", BOTH, NEUTRAL, STRING), .words = "fast balanced recommended max",
     .neutral = "[\"recommended\"]"},
    {FIELD("steps", BOTH, SUPPORTED, INT), RANGE(1, UM_STEPS_MAX), GIVEN(steps)},
    {FIELD("steps_per_block", BOTH, SUPPORTED, INT), RANGE(1, UM_STEPS_PER_BLOCK_MAX),
     GIVEN(steps_per_block)},
    {FIELD("block_length", BOTH, SUPPORTED, INT), RANGE(1, INFINITE), GIVEN(block_length)},
    {FIELD("algorithm", BOTH, SUPPORTED, STRING), .read = umi_read_algorithm},
    {FIELD("threshold", BOTH, SUPPORTED, NUMBER), RANGE(0, 1), GIVEN(threshold)},
    {FIELD("edit_threshold", BOTH, REFUSED, NUMBER)},
    {FIELD("max_post_steps", BOTH, NEUTRAL, INT), RANGE(0, 256), .neutral = "[0]"},
    {FIELD("entropy_bound", BOTH, REFUSED, NUMBER)},
    {FIELD("order_temperature", BOTH, SUPPORTED, NUMBER), RANGE(0, UM_ORDER_TEMPERATURE_MAX),
     GIVEN(order_temperature)},
    {FIELD("eps", BOTH, SUPPORTED, NUMBER), RANGE(UM_EPS_MIN, UM_EPS_MAX), GIVEN(eps)},
    {FIELD("cfg_scale", BOTH, SUPPORTED, NUMBER), RANGE(0, 20), GIVEN(cfg_scale)},
    {FIELD("cache", BOTH, NEUTRAL, STRING), .words = "auto exact none prefix dual bounded",
     .neutral = "[\"auto\",\"exact\",\"none\"]"},
    {FIELD("factor", BOTH, SUPPORTED, NUMBER), ABOVE_ZERO, GIVEN(factor)},
    {FIELD("deadline_ms", BOTH, REFUSED, INT)},
    {FIELD("eos_rule", BOTH, SUPPORTED, STRING), .read = umi_read_eos_rule},
    {FIELD("reference_quirks", BOTH, SUPPORTED, BOOL), GIVEN(reference_quirks)},
    {FIELD("early_stop", BOTH, SUPPORTED, BOOL), GIVEN(early_stop)},
    {FIELD("infill_length", BOTH, NEUTRAL, ANY), .neutral = "[\"auto\"]"},
    {FIELD("noise", BOTH, NEUTRAL, NUMBER), RANGE(0, 1), .neutral = "[0.5]"},
    {FIELD("template", BOTH, REFUSED, ARRAY)},
    {FIELD("stream", BOTH, NEUTRAL, STRING), .words = "settled draft replace",
     .neutral = "[\"settled\"]"},
    {FIELD("draft", BOTH, REFUSED, OBJECT)},
    {FIELD("echo", BOTH, SUPPORTED, BOOL), INTO(echo_settings)},
};

static const umi_field stream_option_fields[] = {
    {FIELD("include_usage", BOTH, SUPPORTED, BOOL), INTO(include_usage)},
    {FIELD("include_obfuscation", BOTH, ACCEPTED, BOOL)},
    {FIELD("continuous_usage_stats", BOTH, SUPPORTED, BOOL), INTO(continuous_usage)},
};

static const umi_table diffusion_table = {diffusion_fields, UM_COUNT_OF(diffusion_fields),
                                          "diffusion.", .strict = true};
static const umi_table stream_table = {stream_option_fields, UM_COUNT_OF(stream_option_fields),
                                       "stream_options.", .strict = false};

static const umi_field top_fields[] = {
    {FIELD("messages", CHAT, SUPPORTED, ARRAY), .required = true, .read = umi_read_messages},
    {FIELD("prompt", TEXT, SUPPORTED, ANY), .required = true, .read = umi_read_prompt},
    {FIELD("suffix", TEXT, NEUTRAL, STRING), .neutral = "[\"\"]"},
    {FIELD("max_completion_tokens", CHAT, SUPPORTED, INT), RANGE(1, INFINITE),
     INTO(max_completion_tokens), .has = offsetof(um_api_request, has_max_completion_tokens)},
    {FIELD("max_tokens", BOTH, SUPPORTED, INT), RANGE(1, INFINITE), GIVEN(max_tokens)},
    {FIELD("temperature", BOTH, SUPPORTED, NUMBER), RANGE(0, 2), GIVEN(temperature)},
    {FIELD("top_p", BOTH, SUPPORTED, NUMBER), RANGE(0, 1), GIVEN(top_p)},
    {FIELD("seed", BOTH, SUPPORTED, INT), GIVEN(seed)},
    {FIELD("n", BOTH, NEUTRAL, INT), RANGE(1, 8), .neutral = "[1]"},
    {FIELD("stop", BOTH, SUPPORTED, ANY), .read = umi_read_stop},
    {FIELD("stream", BOTH, SUPPORTED, BOOL), INTO(stream)},
    {FIELD("stream_options", BOTH, SUPPORTED, OBJECT),
     .has = offsetof(um_api_request, has_stream_options), .members = &stream_table},
    {FIELD("logprobs", CHAT, NEUTRAL, BOOL), .neutral = "[false]"},
    {FIELD("logprobs", TEXT, REFUSED, INT)},
    {FIELD("top_logprobs", CHAT, NEUTRAL, INT), RANGE(0, 20), .neutral = "[0]"},
    {FIELD("echo", TEXT, NEUTRAL, BOOL), .neutral = "[false]"},
    {FIELD("best_of", TEXT, NEUTRAL, INT), .neutral = "[1]"},
    {FIELD("logit_bias", BOTH, NEUTRAL, OBJECT), .neutral = "[{}]"},
    {FIELD("frequency_penalty", BOTH, NEUTRAL, NUMBER), RANGE(-2, 2), .neutral = "[0]"},
    {FIELD("presence_penalty", BOTH, NEUTRAL, NUMBER), RANGE(-2, 2), .neutral = "[0]"},
    {FIELD("response_format", CHAT, NEUTRAL, OBJECT), .neutral = "[{\"type\":\"text\"}]"},
    {FIELD("tools", CHAT, NEUTRAL, ARRAY), .neutral = "[[]]"},
    {FIELD("tool_choice", CHAT, NEUTRAL, ANY), .neutral = "[\"none\",\"auto\"]"},
    {FIELD("parallel_tool_calls", CHAT, NEUTRAL, BOOL), .neutral = "[true]"},
    {FIELD("functions", CHAT, REFUSED, ANY), .instead = "tools"},
    {FIELD("function_call", CHAT, REFUSED, ANY), .instead = "tool_choice"},
    {FIELD("prediction", CHAT, ACCEPTED, OBJECT)},
    {FIELD("reasoning_effort", CHAT, NEUTRAL, STRING),
     .words = "none instant minimal low medium high xhigh max", .neutral = "[\"medium\"]"},
    {FIELD("verbosity", CHAT, ACCEPTED, STRING), .words = "low medium high"},
    {FIELD("modalities", CHAT, NEUTRAL, ARRAY), .neutral = "[[\"text\"]]"},
    {FIELD("audio", CHAT, REFUSED, ANY)},
    {FIELD("web_search_options", CHAT, REFUSED, ANY)},
    {FIELD("moderation", CHAT, REFUSED, ANY)},
    {FIELD("metadata", CHAT, ACCEPTED, OBJECT), .read = umi_read_metadata},
    {FIELD("store", CHAT, ACCEPTED, BOOL)},
    {FIELD("user", BOTH, ACCEPTED, STRING), .read = umi_read_user},
    {FIELD("safety_identifier", CHAT, ACCEPTED, STRING)},
    {FIELD("prompt_cache_key", CHAT, ACCEPTED, STRING)},
    {FIELD("prompt_cache_retention", CHAT, ACCEPTED, ANY)},
    {FIELD("prompt_cache_options", CHAT, ACCEPTED, ANY)},
    {FIELD("service_tier", CHAT, ACCEPTED, ANY)},
    {FIELD("top_k", BOTH, SUPPORTED, INT), RANGE(-1, INT32_MAX), GIVEN(top_k)},
    {FIELD("min_p", BOTH, SUPPORTED, NUMBER), RANGE(0, 1), GIVEN(min_p)},
    {FIELD("repetition_penalty", BOTH, NEUTRAL, NUMBER), ABOVE_ZERO, .neutral = "[1]"},
    {FIELD("min_tokens", BOTH, NEUTRAL, INT), RANGE(0, INFINITE), .neutral = "[0]"},
    {FIELD("ignore_eos", BOTH, NEUTRAL, BOOL), .neutral = "[false]"},
    {FIELD("stop_token_ids", BOTH, NEUTRAL, ARRAY), .neutral = "[[]]"},
    {FIELD("skip_special_tokens", BOTH, NEUTRAL, BOOL), .neutral = "[true]"},
    {FIELD("add_generation_prompt", CHAT, NEUTRAL, BOOL), .neutral = "[true]"},
    {FIELD("continue_final_message", CHAT, NEUTRAL, BOOL), .neutral = "[false]"},
    {FIELD("chat_template_kwargs", CHAT, NEUTRAL, OBJECT), .neutral = "[{}]"},
    {FIELD("diffusion", BOTH, SUPPORTED, OBJECT), .members = &diffusion_table},
    {FIELD("diffusing", BOTH, NEUTRAL, BOOL), .neutral = "[false]"},
    {FIELD("realtime", CHAT, ACCEPTED, BOOL)},
    {FIELD("reasoning_summary", CHAT, ACCEPTED, ANY)},
    {FIELD("reasoning_summary_wait", CHAT, ACCEPTED, ANY)},
};

const umi_table umi_top_table = {top_fields, UM_COUNT_OF(top_fields), "", .strict = false};

const umi_alias umi_aliases[] = {
    {"steps", &diffusion_table, "steps"},
    {"num_denoising_steps", &diffusion_table, "steps"},
    {"diffusion_steps", &diffusion_table, "steps"},
    {"denoising_steps", &diffusion_table, "steps_per_block"},
    {"max_denoising_steps", &diffusion_table, "steps_per_block"},
    {"num_inference_steps", &diffusion_table, "steps_per_block"},
    {"dllm_denoising_steps", &diffusion_table, "steps_per_block"},
    {"block_length", &diffusion_table, "block_length"},
    {"block_size", &diffusion_table, "block_length"},
    {"dllm_block_length", &diffusion_table, "block_length"},
    {"remasking", &diffusion_table, "algorithm"},
    {"alg", &diffusion_table, "algorithm"},
    {"remasking_strategy", &diffusion_table, "algorithm"},
    {"dllm_algorithm", &diffusion_table, "algorithm"},
    {"dllm_unmasking_strategy", &diffusion_table, "algorithm"},
    {"threshold", &diffusion_table, "threshold"},
    {"dynamic_threshold", &diffusion_table, "threshold"},
    {"confidence_threshold", &diffusion_table, "threshold"},
    {"dllm_confidence_threshold", &diffusion_table, "threshold"},
    {"edit_threshold", &diffusion_table, "edit_threshold"},
    {"editing_threshold", &diffusion_table, "edit_threshold"},
    {"alg_temp", &diffusion_table, "order_temperature"},
    {"eps", &diffusion_table, "eps"},
    {"cfg_scale", &diffusion_table, "cfg_scale"},
    {"max_post_steps", &diffusion_table, "max_post_steps"},
    {"gen_length", &umi_top_table, "max_tokens"},
    {"max_new_tokens", &umi_top_table, "max_tokens"},
    {"target_length", &umi_top_table, "max_tokens"},
};

const size_t umi_alias_count = UM_COUNT_OF(umi_aliases);
