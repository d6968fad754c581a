/*
 * Every field of every body, once, in the order in which failures are reported; and the names that
 * other programs have for some of them. The last text of a row describes it in /openapi.json.
 */
#include "server/request_internal.h"

#define CHAT UM_ENDPOINT_CHAT
#define TEXT UM_ENDPOINT_COMPLETIONS
#define FIM UM_ENDPOINT_FIM
#define EDIT UM_ENDPOINT_EDIT
#define RESPONSES UM_ENDPOINT_RESPONSES
#define TOKENIZE UM_ENDPOINT_TOKENIZE
#define DETOKENIZE UM_ENDPOINT_DETOKENIZE
#define LINES (TEXT | FIM)
#define CHOOSING (CHAT | LINES)
#define WRITING (CHOOSING | RESPONSES)
#define ALL (WRITING | EDIT)

#define FIELD(text, users, what, shape, say)                                                       \
    .name = (text), .endpoints = (users), .class = UM_FIELD_##what, .kind = UM_KIND_##shape,       \
    .about = (say)
#define INTO(member) .value = offsetof(um_api_request, member)
#define GIVEN(member)                                                                              \
    .value = offsetof(um_api_request, given.member),                                               \
    .has = offsetof(um_api_request, given.has_##member)
#define RANGE(low, high) .min = (low), .max = (high)
#define AT_LEAST(low) .min = (low), .max = UM_FIELD_NO_MAX
/* A count of different ids: a model may have fewer than the field allows. */
#define EACH_AN_ID .max_rule = offsetof(um_api_rules, vocab)
#define ABOVE_ZERO .max = UM_FIELD_NO_MAX, .above_min = true

/* ---- objects -------------------------------------------------------------------------------- */

#define TABLE(rows, text, ...)                                                                     \
    {                                                                                              \
        .fields = (rows), .count = UM_COUNT_OF(rows), .prefix = (text), __VA_ARGS__                \
    }

static const umi_field draft_fields[] = {
    {FIELD("interval_ms", ALL, SUPPORTED, INT, "Frames come no more often; 33 where not given."),
     RANGE(0, UM_DRAFT_INTERVAL_MS_MAX), INTO(draft.interval_ms)},
    {FIELD("frames", ALL, SUPPORTED, STRING, "full: never patches."), .words = "auto full",
     .read = umi_read_frames},
    {FIELD("guess", ALL, SUPPORTED, BOOL, "Show the best guess at masked positions."),
     INTO(draft.guess)},
    {FIELD("confidence", ALL, SUPPORTED, BOOL, "Add how sure each token is, 0 to 100."),
     INTO(draft.confidence)},
    {FIELD("token_ids", ALL, SUPPORTED, BOOL, "Add the ids of the tokens."), INTO(draft.token_ids)},
};
static const umi_table draft_table = TABLE(draft_fields, "diffusion.draft.", .strict = true);

static const umi_field diffusion_fields[] = {
    {FIELD("preset", ALL, SUPPORTED, STRING, "How much is traded for speed; single keys override."),
     .words = "fast balanced recommended max", .read = umi_read_preset},
    {FIELD("steps", ALL, SUPPORTED, INT, "Denoising steps over the whole answer."),
     RANGE(1, UM_STEPS_MAX), GIVEN(steps)},
    {FIELD("steps_per_block", ALL, SUPPORTED, INT, "Upper bound of each block; not with steps."),
     RANGE(1, UM_STEPS_PER_BLOCK_MAX), GIVEN(steps_per_block)},
    {FIELD("block_length", ALL, SUPPORTED, INT, "Positions of a block, at most the context."),
     AT_LEAST(1), GIVEN(block_length)},
    {FIELD("algorithm", ALL, SUPPORTED, STRING, "Which positions a step fills."),
     .read = umi_read_algorithm},
    {FIELD("threshold", ALL, SUPPORTED, NUMBER, "Steps fill every position at least this sure."),
     RANGE(0, 1), GIVEN(threshold)},
    {FIELD("edit_threshold", ALL, REFUSED, NUMBER, "No model here edits its own tokens.")},
    {FIELD("max_post_steps", ALL, NEUTRAL, INT, "No model here edits its own tokens."),
     RANGE(0, 256), .neutral = "[0]"},
    {FIELD("entropy_bound", ALL, REFUSED, NUMBER, "The algorithm entropy_bound is not offered.")},
    {FIELD("order_temperature", ALL, SUPPORTED, NUMBER, "Chance in the order of positions."),
     RANGE(0, UM_ORDER_TEMPERATURE_MAX), GIVEN(order_temperature)},
    {FIELD("eps", ALL, SUPPORTED, NUMBER, "End time of schedules that go by time."),
     RANGE(UM_EPS_MIN, UM_EPS_MAX), GIVEN(eps)},
    {FIELD("cfg_scale", ALL, SUPPORTED, NUMBER, "Guidance; above 0 it doubles the work."),
     RANGE(0, UM_CFG_SCALE_MAX), GIVEN(cfg_scale)},
    {FIELD("cache", ALL, NEUTRAL, STRING, "Every step is exact: nothing is approximated."),
     .words = "auto exact none prefix dual bounded", .neutral = "[\"auto\",\"exact\",\"none\"]"},
    {FIELD("factor", ALL, SUPPORTED, NUMBER, "Of the algorithm factor; not with threshold."),
     ABOVE_ZERO, GIVEN(factor)},
    {FIELD("deadline_ms", ALL, SUPPORTED, INT, "When the answer must be complete, from arrival."),
     RANGE(1, UM_DEADLINE_MS_MAX), GIVEN(deadline_ms)},
    {FIELD("eos_rule", ALL, SUPPORTED, STRING, "LLaDA's way to hold back end tokens."),
     .words = "none confidence logits", .read = umi_read_eos_rule},
    {FIELD("reference_quirks", ALL, SUPPORTED, BOOL, "Do exactly what the authors' code does."),
     GIVEN(reference_quirks)},
    {FIELD("early_stop", ALL, SUPPORTED, BOOL, "Stop when an end token is settled; true."),
     GIVEN(early_stop)},
    {FIELD("infill_length", LINES | EDIT, SUPPORTED, ANY,
           "Size of the gap in front of suffix, or of the edited code, which else keeps its own; "
           "auto grows it until the model ends it."),
     .shape = "InfillLength", .read = umi_read_infill_length},
    {FIELD("infill_length", ALL & ~(LINES | EDIT), NEUTRAL, ANY, "Only with suffix."),
     .neutral = "[\"auto\"]"},
    {FIELD("noise", ALL, SUPPORTED, NUMBER, "Share of a first draft that is masked again; 0.5."),
     RANGE(0, 1), GIVEN(noise)},
    {FIELD("template", TEXT, SUPPORTED, ARRAY, "Texts and gaps that are filled together."),
     .shape = "Template", .read = umi_read_template},
    {FIELD("template", ALL & ~TEXT, REFUSED, ARRAY, "Only in /v1/completions.")},
    {FIELD("stream", ALL & ~RESPONSES, SUPPORTED, STRING,
           "What a stream shows; draft and replace need stream."),
     .words = "settled draft replace", .read = umi_read_mode},
    {FIELD("stream", RESPONSES, SUPPORTED, STRING,
           "What a stream shows: its events can only append text; draft needs stream."),
     .words = "settled draft", .read = umi_read_mode},
    {FIELD("draft", ALL, SUPPORTED, OBJECT, "Of the frames in mode draft."),
     .members = &draft_table},
    {FIELD("echo", ALL, SUPPORTED, BOOL, "Report the settings in force with the answer."),
     INTO(echo_settings)},
};
/* Whoever writes this object means it: unknown members are always errors. */
static const umi_table diffusion_table = TABLE(diffusion_fields, "diffusion.", .strict = true);

static const umi_field stream_option_fields[] = {
    {FIELD("include_usage", ALL, SUPPORTED, BOOL, "A last chunk with the usage."),
     INTO(include_usage)},
    {FIELD("include_obfuscation", ALL, ACCEPTED, BOOL, "Accepted without effect.")},
    {FIELD("continuous_usage_stats", ALL, SUPPORTED, BOOL, "With include_usage: in every chunk."),
     INTO(continuous_usage)},
};
static const umi_table stream_table = TABLE(stream_option_fields, "stream_options.");

static const umi_field text_fields[] = {
    {FIELD("format", RESPONSES, SUPPORTED, OBJECT, "Only text: there is no constrained decoding."),
     .shape = "TextFormat", .read = umi_read_format},
    {FIELD("verbosity", RESPONSES, ACCEPTED, STRING, "Accepted without effect."),
     .words = "low medium high"},
};
static const umi_table text_table = TABLE(text_fields, "text.");

#define EFFORTS "none instant minimal low medium high xhigh max"

static const umi_field reasoning_fields[] = {
    {FIELD("effort", RESPONSES, SUPPORTED, STRING, "Picks the preset."), .words = EFFORTS,
     .read = umi_read_effort},
    {FIELD("summary", RESPONSES, ACCEPTED, ANY, "Accepted without effect.")},
    {FIELD("generate_summary", RESPONSES, ACCEPTED, ANY, "Accepted without effect.")},
};
static const umi_table reasoning_table = TABLE(reasoning_fields, "reasoning.");

/* ---- the top level -------------------------------------------------------------------------- */

static const umi_field top_fields[] = {
    {FIELD("messages", CHAT, SUPPORTED, ARRAY, "The conversation, 1 to 2048 messages."),
     .required = true, .shape = "Messages", .read = umi_read_messages},
    {FIELD("messages", EDIT, SUPPORTED, ARRAY, "One user message with the tagged sections."),
     .required = true, .shape = "EditMessages", .read = umi_read_edit_message},
    {FIELD("prompt", TEXT, SUPPORTED, ANY, "Text, texts, token ids, or lists of token ids."),
     .required = true, .elsewhere = "diffusion.template", .shape = "Prompt",
     .read = umi_read_prompt},
    {FIELD("prompt", FIM, SUPPORTED, STRING, "The text in front of the gap."), .required = true,
     .read = umi_read_text_prompt},
    {FIELD("prompt", TOKENIZE, SUPPORTED, STRING, "Text to be encoded."), .required = true,
     .elsewhere = "content messages", .read = umi_read_text_prompt},
    {FIELD("content", TOKENIZE, SUPPORTED, STRING, "Another name of prompt."),
     .read = umi_read_text_prompt},
    {FIELD("messages", TOKENIZE, SUPPORTED, ARRAY, "A conversation to be rendered and encoded."),
     .shape = "Messages", .read = umi_read_messages},
    {FIELD("tokens", DETOKENIZE, SUPPORTED, ARRAY, "Token ids to be turned into text."),
     .required = true, .shape = "TokenIds", .read = umi_read_tokens},
    {FIELD("instructions", RESPONSES, SUPPORTED, STRING, "A system message in front of the input."),
     .read = umi_read_instructions},
    {FIELD("input", RESPONSES, SUPPORTED, ANY, "Text of the user, or a list of items."),
     .required = true, .shape = "ResponseInput", .read = umi_read_input},
    {FIELD("suffix", LINES, SUPPORTED, STRING, "Text behind the gap; only with one text prompt."),
     .read = umi_read_suffix},
    {FIELD("max_completion_tokens", CHAT, SUPPORTED, INT, "Budget of the answer; wins."),
     AT_LEAST(1), INTO(max_completion_tokens),
     .has = offsetof(um_api_request, has_max_completion_tokens)},
    {FIELD("max_tokens", CHOOSING | EDIT, SUPPORTED, INT, "Budget of the answer."), AT_LEAST(1),
     GIVEN(max_tokens)},
    {FIELD("max_output_tokens", RESPONSES, SUPPORTED, INT, "Budget of the answer."), AT_LEAST(1),
     GIVEN(max_tokens)},
    {FIELD("temperature", ALL, SUPPORTED, NUMBER, "0: the surest token; default: the model's."),
     RANGE(0, UM_TEMPERATURE_MAX), GIVEN(temperature)},
    {FIELD("top_p", ALL, SUPPORTED, NUMBER, "Likeliest tokens with this mass."), RANGE(0, 1),
     GIVEN(top_p)},
    {FIELD("seed", ALL, SUPPORTED, INT, "Same seed, body and fingerprint: same text."),
     GIVEN(seed)},
    {FIELD("n", CHOOSING, SUPPORTED, INT, "Answers to each prompt."), RANGE(1, UM_CHOICES_MAX),
     .max_rule = offsetof(um_api_rules, max_choices), INTO(choices)},
    {FIELD("stop", CHOOSING, SUPPORTED, ANY, "The answer is cut before any of these."),
     .shape = "Stop", .read = umi_read_stop},
    {FIELD("stream", ALL, SUPPORTED, BOOL, "Server-sent events."), INTO(stream)},
    {FIELD("stream_options", ALL & ~RESPONSES, SUPPORTED, OBJECT, "Only with stream."),
     .has = offsetof(um_api_request, has_stream_options), .members = &stream_table},
    {FIELD("stream_options", RESPONSES, ACCEPTED, OBJECT, "Accepted without effect.")},
    {FIELD("logprobs", CHAT, SUPPORTED, BOOL, "Log-probability of each token of the answer."),
     INTO(given.wants_logprobs)},
    {FIELD("logprobs", LINES, SUPPORTED, INT, "The same, with so many alternatives."),
     RANGE(0, UM_TEXT_LOGPROBS_MAX), EACH_AN_ID, .read = umi_read_logprobs},
    {FIELD("top_logprobs", CHAT, SUPPORTED, INT, "Alternatives of each token; needs logprobs."),
     RANGE(0, UM_LOGPROBS_MAX), EACH_AN_ID, INTO(given.top_logprobs)},
    {FIELD("top_logprobs", RESPONSES, SUPPORTED, INT, "Alternatives of each token."),
     RANGE(0, UM_LOGPROBS_MAX), EACH_AN_ID, .read = umi_read_logprobs},
    {FIELD("echo", LINES, SUPPORTED, BOOL, "Prompt first; not with suffix or logprobs."),
     INTO(echo_prompt)},
    {FIELD("best_of", LINES, SUPPORTED, INT, "Must equal n."), AT_LEAST(1),
     .read = umi_read_best_of},
    {FIELD("logit_bias", ALL, SUPPORTED, OBJECT, "Token id to what is added to its logit."),
     .shape = "LogitBias", .read = umi_read_logit_bias},
    {FIELD("frequency_penalty", ALL, SUPPORTED, NUMBER, "By count on the canvas so far."),
     RANGE(-UM_PENALTY_MAX, UM_PENALTY_MAX), GIVEN(frequency_penalty)},
    {FIELD("presence_penalty", ALL, SUPPORTED, NUMBER, "For presence on the canvas so far."),
     RANGE(-UM_PENALTY_MAX, UM_PENALTY_MAX), GIVEN(presence_penalty)},
    {FIELD("response_format", CHAT, SUPPORTED, OBJECT, "Only text: no constrained decoding."),
     .shape = "TextFormat", .read = umi_read_format},
    {FIELD("text", RESPONSES, SUPPORTED, OBJECT, "Format and verbosity."), .members = &text_table},
    {FIELD("tools", (ALL & ~LINES) | TOKENIZE, SUPPORTED, ARRAY,
           "Only empty: no template here knows calls."),
     .shape = "NoTools", .read = umi_read_tools},
    {FIELD("tool_choice", CHAT | RESPONSES, SUPPORTED, ANY, "Only none and auto, without tools."),
     .shape = "NoToolChoice", .read = umi_read_tool_choice},
    {FIELD("parallel_tool_calls", CHAT | RESPONSES, NEUTRAL, BOOL, "There are no calls."),
     .neutral = "[true]"},
    {FIELD("max_tool_calls", RESPONSES, ACCEPTED, INT, "Accepted without effect.")},
    {FIELD("functions", CHAT, REFUSED, ANY, "Use tools."), .instead = "tools"},
    {FIELD("function_call", CHAT, REFUSED, ANY, "Use tool_choice."), .instead = "tool_choice"},
    {FIELD("prediction", CHAT, SUPPORTED, OBJECT, "First draft of the answer; see noise."),
     .shape = "Prediction", .read = umi_read_prediction},
    {FIELD("reasoning_effort", CHAT, SUPPORTED, STRING, "Picks the preset."), .words = EFFORTS,
     .read = umi_read_effort},
    {FIELD("reasoning", RESPONSES, SUPPORTED, OBJECT, "Its effort picks the preset."),
     .members = &reasoning_table},
    {FIELD("verbosity", CHAT, ACCEPTED, STRING, "Accepted without effect."),
     .words = "low medium high"},
    {FIELD("modalities", CHAT, NEUTRAL, ARRAY, "Answers are text."), .neutral = "[[\"text\"]]"},
    {FIELD("audio", CHAT, REFUSED, ANY, "Answers are text.")},
    {FIELD("web_search_options", CHAT, REFUSED, ANY, "Nothing is searched.")},
    {FIELD("moderation", CHAT | RESPONSES, REFUSED, ANY, "Nothing is moderated.")},
    {FIELD("previous_response_id", RESPONSES, REFUSED, ANY, "Nothing is stored.")},
    {FIELD("conversation", RESPONSES, REFUSED, ANY, "Nothing is stored.")},
    {FIELD("prompt", RESPONSES, REFUSED, ANY, "Nothing is stored."), .instead = "input"},
    {FIELD("background", RESPONSES, NEUTRAL, BOOL, "Nothing is stored."), .neutral = "[false]"},
    {FIELD("truncation", RESPONSES, NEUTRAL, STRING, "Input is never cut."),
     .words = "auto disabled", .neutral = "[\"disabled\"]"},
    {FIELD("include", RESPONSES, SUPPORTED, ARRAY, "message.output_text.logprobs has an effect."),
     .shape = "Include", .read = umi_read_include},
    {FIELD("context_management", RESPONSES, ACCEPTED, ANY, "Accepted without effect.")},
    {FIELD("metadata", CHAT | RESPONSES, ACCEPTED, OBJECT, "At most 16 pairs of texts."),
     .shape = "Metadata", .read = umi_read_metadata},
    {FIELD("store", CHAT | RESPONSES, ACCEPTED, BOOL, "Nothing is stored.")},
    {FIELD("user", ALL, ACCEPTED, STRING, "Users take turns in the queue."), .read = umi_read_user},
    {FIELD("safety_identifier", CHAT | RESPONSES, ACCEPTED, STRING, "Accepted without effect.")},
    {FIELD("prompt_cache_key", CHAT | RESPONSES, ACCEPTED, STRING, "Accepted without effect.")},
    {FIELD("prompt_cache_retention", CHAT | RESPONSES, ACCEPTED, ANY, "Accepted without effect.")},
    {FIELD("prompt_cache_options", CHAT | RESPONSES, ACCEPTED, ANY, "Accepted without effect.")},
    {FIELD("service_tier", CHAT | RESPONSES, ACCEPTED, ANY, "Accepted without effect.")},
    {FIELD("top_k", ALL, SUPPORTED, INT, "So many likeliest tokens; 0 and -1: off."),
     RANGE(-1, INT32_MAX), GIVEN(top_k)},
    {FIELD("min_p", ALL, SUPPORTED, NUMBER, "Share of the likeliest token's probability."),
     RANGE(0, 1), GIVEN(min_p)},
    {FIELD("repetition_penalty", ALL, SUPPORTED, NUMBER, "Of tokens of prompt and canvas."),
     RANGE(UM_REPETITION_PENALTY_MIN, UM_REPETITION_PENALTY_MAX), GIVEN(repetition_penalty)},
    {FIELD("min_tokens", WRITING, SUPPORTED, INT, "No end token in the first so many positions."),
     AT_LEAST(0), GIVEN(min_tokens)},
    {FIELD("ignore_eos", WRITING, SUPPORTED, BOOL, "End tokens are never predicted."),
     INTO(given.ignore_eos)},
    {FIELD("stop_token_ids", WRITING, SUPPORTED, ARRAY, "End the answer beside the model's own."),
     .shape = "StopTokenIds", .read = umi_read_stop_token_ids},
    {FIELD("skip_special_tokens", WRITING, SUPPORTED, BOOL, "false: their text is shown."),
     .inverted = true, INTO(given.keep_special_text)},
    {FIELD("add_generation_prompt", CHAT | TOKENIZE, SUPPORTED, BOOL, "Assistant's header; true."),
     .inverted = true, INTO(no_generation_prompt)},
    {FIELD("continue_final_message", CHAT | TOKENIZE, SUPPORTED, BOOL,
           "Go on inside the last message, which is the assistant's."),
     INTO(continue_final_message)},
    {FIELD("chat_template_kwargs", CHAT | TOKENIZE, ACCEPTED, OBJECT,
           "Accepted without effect: templates here know no variables.")},
    {FIELD("add_special_tokens", TOKENIZE, SUPPORTED, BOOL, "Default: with prompt only."),
     INTO(add_special_tokens), .has = offsetof(um_api_request, has_add_special_tokens)},
    {FIELD("return_token_strs", TOKENIZE, SUPPORTED, BOOL, "Also the text of each token."),
     INTO(return_token_strs)},
    {FIELD("diffusion", ALL, SUPPORTED, OBJECT, "What only diffusion models have."),
     .members = &diffusion_table},
    {FIELD("diffusing", ALL & ~RESPONSES, SUPPORTED, BOOL,
           "Another name of diffusion.stream: \"replace\"."),
     .read = umi_read_diffusing},
    {FIELD("diffusing", RESPONSES, NEUTRAL, BOOL, "Events of Responses can only append text."),
     .neutral = "[false]"},
    {FIELD("realtime", CHAT, ACCEPTED, BOOL, "Accepted without effect.")},
    {FIELD("reasoning_summary", CHAT, ACCEPTED, ANY, "Accepted without effect.")},
    {FIELD("reasoning_summary_wait", CHAT, ACCEPTED, ANY, "Accepted without effect.")},
};

const umi_table umi_top_table = TABLE(top_fields, "");

/* ---- names of peers ------------------------------------------------------------------------- */

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
    {"gen_length", &umi_top_table, "max_output_tokens"},
    {"max_new_tokens", &umi_top_table, "max_output_tokens"},
    {"target_length", &umi_top_table, "max_output_tokens"},
};
const size_t umi_alias_count = UM_COUNT_OF(umi_aliases);
