/* config.json of any bytes: what is accepted has dimensions that fit each other, and its tensors can
 * be listed. */
#include "core/model/family.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(const um_family *family, const um_model_config *config)
{
    um_tensor_list list = {0};
    um_err err = {0};

    UM_ASSERT(config->heads * config->head_dim == config->width);
    UM_ASSERT(config->heads % config->kv_heads == 0);
    UM_ASSERT(config->mask_token < config->vocab_rows);
    UM_ASSERT(config->end_token < config->vocab_rows);
    UM_ASSERT(family->list_tensors(config, &list, &err) == UM_OK);
    UM_ASSERT(list.count >= 9 * (size_t)config->layers + 2); /* embedding, final norm */
    UM_ASSERT(um_tensor_list_parameters(&list) > 0);
    um_tensor_list_deinit(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const um_family *family = NULL;
    um_model_config config;
    um_json *root = NULL;
    um_err err = {0};
    um_status status = um_json_parse((const char *)data, size, &root, &err);

    if (status == UM_OK)
        status = um_family_find(root, &family, &err);
    if (status == UM_OK)
        status = family->read_config(root, &config, &err);
    if (status == UM_OK)
        status = um_model_config_check(&config, &err);
    if (status == UM_OK)
        check_accepted(family, &config);
    else
        UM_ASSERT(err.message[0] != '\0');
    um_json_free(root);
    return 0;
}
