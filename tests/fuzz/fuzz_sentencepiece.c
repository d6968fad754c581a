/* tokenizer.model is hostile input. A real one needs the 256 pieces of the bytes, which no fuzzer
 * finds: they stand in front of the input, and specifications that are accepted behind it, where the
 * input can still override them. An input that begins with 0xFF is the whole file. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/text/tokenizer_internal.h"
#include "tests/fuzz/use_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_bytes(um_buf *out)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char piece[32];
        /* a piece of 10 bytes: text of 6, type BYTE */
        int length = snprintf(piece, sizeof(piece), "\x0A\x0A\x0A\x06<0x%02X>\x18\x06", byte);

        um_buf_append(out, piece, (size_t)length);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* trainer: BPE, byte fallback; normaliser: no extra white space removed */
    static const char specs[] = "\x12\x05\x18\x02\x98\x02\x01\x1A\x02\x20\x00";
    bool whole = size > 0 && data[0] == 0xFF;
    um_tokenizer *tokenizer = um_mem_zalloc(sizeof(*tokenizer));
    um_buf model = {0};
    um_err err = {0};

    UM_ASSERT(tokenizer);
    if (whole) {
        um_buf_append(&model, data + 1, size - 1);
    } else {
        um_buf_append(&model, specs, sizeof(specs) - 1);
        put_bytes(&model);
        um_buf_append(&model, data, size);
    }
    if (umi_sentencepiece_load(tokenizer, (const uint8_t *)um_buf_view(&model), model.length,
                               &(umi_beside){0}, &err) == UM_OK)
        um_fuzz_use_tokenizer(tokenizer);
    um_tokenizer_close(tokenizer);
    um_buf_deinit(&model);
    return 0;
}
