#include "tests/fuzz/use_tokenizer.h"

void um_fuzz_use_tokenizer(const um_tokenizer *tokenizer)
{
    static const char text[] =
        "Don't 12 x\r\n  e\xCC\x81\xCC\xA3 \xE4\xB8\xAD<|a|><|b|> \xF0\x9F\x99\x82"
        "aaaaaaaa\xE3\x80\x80<s>\xE2\x96\x81\xE2\x96\x81 a b<think>";
    um_ids ids = {0};
    um_buf out = {0};

    for (unsigned flags = 0; flags < 8; flags++) {
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
