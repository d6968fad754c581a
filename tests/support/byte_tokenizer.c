#include "tests/support/byte_tokenizer.h"

#include "tests/support/small_tokenizer.h"

um_tokenizer *um_byte_tokenizer_open(void)
{
    /* In the byte alphabet a blank is U+0120 and the bytes C3 A9, E4 B8 stand for themselves. */
    const um_document document = {
        .normalizer = "null",
        .pre_tokenizer = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}",
        .vocab = ",\"th\":256,\"\\u0120stop\":257,\"\\u00c3\\u00a9\":258,\"\\u00e4\\u00b8\":259",
        .added = ADDED("260", "<|end|>", "true") "," ADDED("261", "<|turn|>", "true") "," ADDED(
            "262", "<|mask|>", "true") "," ADDED("263", "<|other|>", "true"),
    };

    return um_document_load(&document);
}
