/* tokenizer.json is hostile input: any bytes either load or are refused, and what has loaded encodes
 * a text and decodes it again without a fault. */
#include <stdint.h>

#include "core/base/check.h"
#include "core/text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const um_tokenizer *tokenizer)
{
    static const char text[] =
        "Don't 12 x\r\n  e\xCC\x81\xCC\xA3 \xE4\xB8\xAD<|a|><|b|> \xF0\x9F\x99\x82"
        "aaaaaaaa\xE3\x80\x80";
    um_ids ids = {0};
    um_buf out = {0};

    for (unsigned flags = 0; flags < 4; flags++) {
        um_status status =
            um_tokenizer_encode(tokenizer, text, sizeof(text) - 1, flags, 4096, &ids, NULL);

        UM_ASSERT(status == UM_OK || status == UM_E_VALUE || status == UM_E_CONTEXT_LENGTH);
    }
    for (size_t i = 0; i < ids.count; i++)
        UM_ASSERT(ids.data[i] >= 0 && ids.data[i] < um_tokenizer_size(tokenizer));
    UM_ASSERT(um_tokenizer_decode(tokenizer, ids.data, ids.count, true, &out, NULL) == UM_OK);
    um_buf_deinit(&out);
    um_ids_deinit(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    um_tokenizer *tokenizer = NULL;
    um_err err = {0};

    if (um_tokenizer_parse((const char *)data, size, &tokenizer, &err) == UM_OK)
        use(tokenizer);
    um_tokenizer_close(tokenizer);
    return 0;
}
