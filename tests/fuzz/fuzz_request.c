/*
 * HTTP body -> typed request. The first byte picks the endpoint, the rest is the body. Beside "does
 * not crash": what was accepted lies within the bounds that the engine relies on.
 */
#include "core/base/check.h"
#include "server/request_json.h"

#define CONTEXT 64
#define VOCAB 40
#define MASK 35

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(const um_api_request *request)
{
    const um_params_given *given = &request->given;

    UM_ASSERT(request->prompt_count <= UM_PROMPTS_MAX);
    UM_ASSERT(request->message_count > 0 || request->prompt_count > 0);
    UM_ASSERT(request->stop_count >= 0 && request->stop_count <= UM_STOP_STRINGS_MAX);
    for (int32_t i = 0; i < request->stop_count; i++)
        UM_ASSERT(request->stops[i].length > 0 &&
                  request->stops[i].length <= UM_STOP_STRING_BYTES_MAX);
    for (size_t i = 0; i < request->prompt_count; i++)
        for (size_t k = 0; k < request->prompts[i].id_count; k++)
            UM_ASSERT(request->prompts[i].ids[k] >= 0 && request->prompts[i].ids[k] < VOCAB &&
                      request->prompts[i].ids[k] != MASK);
    UM_ASSERT(!given->has_max_tokens || given->max_tokens >= 1);
    UM_ASSERT(!given->has_temperature || (given->temperature >= 0 && given->temperature <= 2));
    UM_ASSERT(!given->has_block_length ||
              (given->block_length >= 1 && given->block_length <= CONTEXT));
    UM_ASSERT(!given->has_steps || (given->steps >= 1 && given->steps <= UM_STEPS_MAX));
    for (size_t i = 0; i < request->ignored.length; i++)
        UM_ASSERT(request->ignored.data[i] >= 0x20 && request->ignored.data[i] < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const um_family family = {.name = "llada", .has_eos_rules = true};
    static const um_params_limits limits = {
        .family = &family,
        .defaults = {.algorithm = "low_confidence", .block_length = 8, .max_tokens = 16},
        .context_max = CONTEXT,
    };
    um_api_rules rules = {
        .model_id = "tiny", .vocab = VOCAB, .mask_token = MASK, .limits = &limits};
    um_api_request request;
    um_err err = {0};

    if (size == 0)
        return 0;
    rules.strict_params = (data[0] & 2) != 0;
    if (um_api_request_parse(data[0] & 1 ? UM_ENDPOINT_COMPLETIONS : UM_ENDPOINT_CHAT,
                             (const char *)data + 1, size - 1, &rules, &request, &err) == UM_OK)
        check_accepted(&request);
    else
        UM_ASSERT(err.status < 0 && err.message[0] != '\0');
    um_api_request_deinit(&request);
    return 0;
}
