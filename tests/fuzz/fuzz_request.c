/*
 * HTTP body -> typed request. The first byte picks the endpoint ('0' chat, '1' completions, '2' fim,
 * '3' edit, '4' Responses, '5' tokenize, '6' detokenize; +8 for --strict-params), the rest is the
 * body. Beside "does not crash": what was accepted lies within the bounds that the engine relies on.
 */
#include "core/base/check.h"
#include "server/request_json.h"

#define CONTEXT 64
#define VOCAB 40
#define MASK 35
#define MAX_N 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ids(const int32_t *ids, size_t count, bool masks)
{
    for (size_t i = 0; i < count; i++)
        UM_ASSERT(ids[i] >= 0 && ids[i] < VOCAB && (masks || ids[i] != MASK));
}

static void check_prompt(const um_api_request *request)
{
    bool detokenize = request->endpoint == UM_ENDPOINT_DETOKENIZE;
    size_t gaps = 0;

    UM_ASSERT(request->prompt_count <= UM_PROMPTS_MAX);
    UM_ASSERT(request->part_count <= UM_TEMPLATE_PARTS_MAX);
    /* exactly one of the three */
    UM_ASSERT((request->message_count > 0) + (request->prompt_count > 0) +
                  (request->part_count > 0) ==
              1);
    for (size_t i = 0; i < request->message_count; i++)
        UM_ASSERT(request->messages[i].role && request->messages[i].content);
    for (size_t i = 0; i < request->prompt_count; i++) {
        UM_ASSERT(detokenize ? !request->prompts[i].text
                             : !request->prompts[i].text == (request->prompts[i].id_count > 0));
        check_ids(request->prompts[i].ids, request->prompts[i].id_count, detokenize);
    }
    for (size_t i = 0; i < request->part_count; i++) {
        gaps += !request->parts[i].text;
        UM_ASSERT(request->parts[i].text ||
                  (request->parts[i].gap >= 1 && request->parts[i].gap <= CONTEXT));
    }
    UM_ASSERT(request->part_count == 0 || gaps > 0);
    UM_ASSERT(!request->suffix || (request->suffix_length > 0 && request->prompt_count == 1 &&
                                   request->prompts[0].text && !request->echo_prompt));
    UM_ASSERT(!request->prediction || request->prediction_length > 0);
}

static void check_given(const um_params_given *given)
{
    UM_ASSERT((unsigned)given->preset < UM_PRESET_COUNT);
    UM_ASSERT(!given->has_max_tokens || given->max_tokens >= 1);
    UM_ASSERT(!given->has_temperature || (given->temperature >= 0 && given->temperature <= 2));
    UM_ASSERT(!given->has_block_length ||
              (given->block_length >= 1 && given->block_length <= CONTEXT));
    UM_ASSERT(!given->has_steps || (given->steps >= 1 && given->steps <= UM_STEPS_MAX));
    UM_ASSERT(given->top_logprobs >= 0 && given->top_logprobs <= UM_LOGPROBS_MAX);
    UM_ASSERT(given->top_logprobs == 0 || given->wants_logprobs);
    UM_ASSERT(!given->has_deadline_ms ||
              (given->deadline_ms >= 1 && given->deadline_ms <= UM_DEADLINE_MS_MAX));
    UM_ASSERT(!given->has_noise || (given->noise >= 0 && given->noise <= 1));
    UM_ASSERT(!given->has_infill_length ||
              (given->infill_length >= 0 && given->infill_length <= CONTEXT));
    UM_ASSERT(!given->has_min_tokens || given->min_tokens >= 0);
    UM_ASSERT(!given->has_repetition_penalty || (float)given->repetition_penalty > 0.0f);
}

static void check_accepted(const um_api_request *request)
{
    check_prompt(request);
    check_given(&request->given);
    UM_ASSERT(request->choices >= 1 && request->choices <= MAX_N);
    UM_ASSERT(request->stop_count >= 0 && request->stop_count <= UM_STOP_STRINGS_MAX);
    for (int32_t i = 0; i < request->stop_count; i++)
        UM_ASSERT(request->stops[i].length > 0 &&
                  request->stops[i].length <= UM_STOP_STRING_BYTES_MAX);
    UM_ASSERT(request->stop_token_count >= 0 && request->stop_token_count <= UM_STOP_TOKENS_MAX);
    check_ids(request->stop_tokens, (size_t)request->stop_token_count, true);
    UM_ASSERT(request->bias_count >= 0 && request->bias_count < VOCAB);
    for (int32_t i = 0; i < request->bias_count; i++) {
        check_ids(&request->biases[i].token, 1, false);
        UM_ASSERT(request->biases[i].bias >= -100.0f && request->biases[i].bias <= 100.0f);
        UM_ASSERT(request->biases[i].repetition == 1.0f);
        for (int32_t k = 0; k < i; k++)
            UM_ASSERT(request->biases[k].token != request->biases[i].token);
    }
    UM_ASSERT(request->stream || request->mode == UM_STREAM_SETTLED);
    UM_ASSERT(request->draft.interval_ms >= 0 &&
              request->draft.interval_ms <= UM_DRAFT_INTERVAL_MS_MAX);
    for (size_t i = 0; i < request->ignored.length; i++)
        UM_ASSERT(request->ignored.data[i] >= 0x20 && request->ignored.data[i] < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const um_endpoint endpoints[] = {
        UM_ENDPOINT_CHAT,      UM_ENDPOINT_COMPLETIONS, UM_ENDPOINT_FIM,        UM_ENDPOINT_EDIT,
        UM_ENDPOINT_RESPONSES, UM_ENDPOINT_TOKENIZE,    UM_ENDPOINT_DETOKENIZE, UM_ENDPOINT_CHAT,
    };
    static const um_family family = {.name = "llada", .has_eos_rules = true};
    static const um_params_limits limits = {
        .family = &family,
        .defaults = {.algorithm = "low_confidence", .block_length = 8, .max_tokens = 16},
        .context_max = CONTEXT,
    };
    um_api_rules rules = {.model_id = "tiny",
                          .vocab = VOCAB,
                          .mask_token = MASK,
                          .max_choices = MAX_N,
                          .limits = &limits};
    um_api_request request;
    um_err err = {0};

    if (size == 0)
        return 0;
    rules.strict_params = (data[0] & 8) != 0;
    if (um_api_request_parse(endpoints[data[0] & 7], (const char *)data + 1, size - 1, &rules,
                             &request, &err) == UM_OK) {
        check_accepted(&request);
        um_api_request_drop_body(&request);
    } else {
        UM_ASSERT(err.status < 0 && err.message[0] != '\0');
    }
    um_api_request_deinit(&request);
    return 0;
}
