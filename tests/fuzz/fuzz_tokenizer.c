/* tokenizer.json is hostile input: any bytes either load or are refused, and what has loaded encodes
 * a text and decodes it again without a fault. */
#include <stdint.h>

#include "tests/fuzz/use_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    um_tokenizer *tokenizer = NULL;
    um_err err = {0};

    if (um_tokenizer_parse((const char *)data, size, &tokenizer, &err) == UM_OK)
        um_fuzz_use_tokenizer(tokenizer);
    um_tokenizer_close(tokenizer);
    return 0;
}
