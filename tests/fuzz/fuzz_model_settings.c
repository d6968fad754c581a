/*
 * A model's settings file -> its recommendation and presets. The first byte picks the family. Beside
 * "does not crash": what um_params_limits_check lets pass makes every preset, gap and template a
 * canvas within the context, with blocks that cover it.
 */
#include "core/base/mem.h"
#include "core/engine/params.h"
#include "core/model/model_settings.h"

#define CONTEXT 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_canvas(const um_params *params)
{
    int32_t at = 0;

    UM_ASSERT(params->max_tokens > 0 && params->max_tokens <= params->canvas_tokens);
    UM_ASSERT(params->canvas_tokens <= CONTEXT && params->block_length > 0);
    UM_ASSERT(params->steps_per_block >= 0 && params->steps_per_block <= UM_STEPS_MAX);
    UM_ASSERT(params->steps_per_block > 0 || params->count == UM_COUNT_THRESHOLD ||
              params->count == UM_COUNT_FACTOR);
    UM_ASSERT(params->threshold >= 0 && params->threshold <= 1);
    for (int32_t block = 0; block < params->block_count; block++) {
        int32_t begin, end;

        um_params_block(params, block, &begin, &end);
        UM_ASSERT(begin == at && end > begin);
        at = end;
    }
    UM_ASSERT(at == params->canvas_tokens);
}

static void check_places(const um_params_limits *limits, um_preset preset)
{
    const um_params_given given = {.preset = preset};
    const um_params_place places[] = {
        {.prompt_tokens = CONTEXT - 1},
        {.prompt_tokens = 9, .infill = true},
        {.infill = true, .one_block = true, .draft_tokens = 77},
        {.draft_tokens = 1, .default_tokens = 33},
    };
    um_params params;

    um_params_preset(limits, preset, &params);
    check_canvas(&params);
    for (size_t i = 0; i < UM_COUNT_OF(places); i++) {
        um_params_place place = places[i];

        place.field = "prompt";
        place.draft_field = "prediction";
        UM_ASSERT(um_params_resolve(&given, limits, &place, 1, &params, NULL) == UM_OK);
        check_canvas(&params);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    um_model_dir dir = {0};
    um_json *root;
    um_err err = {0};
    um_status status;

    if (size == 0)
        return 0;
    for (size_t i = 0; i <= data[0] % 8u && um_family_at(i); i++)
        dir.family = um_family_at(i);
    dir.defaults = dir.family->defaults;
    if (um_json_parse((const char *)data + 1, size - 1, &root, &err) != UM_OK)
        return 0;
    status = um_json_kind_of(root) == UM_JSON_OBJECT ? umi_model_settings_read(root, &dir, &err)
                                                     : UM_E_FORMAT;
    UM_ASSERT(status == UM_OK || err.message[0] != '\0' || um_json_kind_of(root) != UM_JSON_OBJECT);
    um_json_free(root);
    if (status == UM_OK) {
        const um_params_limits limits = {
            .family = dir.family, .defaults = dir.defaults, .context_max = CONTEXT};

        if (um_params_limits_check(&limits, &err) == UM_OK)
            for (int preset = 0; preset < UM_PRESET_COUNT; preset++)
                check_places(&limits, (um_preset)preset);
    }
    um_mem_free(dir.algorithm);
    return 0;
}
