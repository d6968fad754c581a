/* The older files are hostile input. Five of them, separated by 0xFF bytes, which none of them can
 * hold: vocab.json, merges.txt, tokenizer_config.json, added_tokens.json, special_tokens_map.json.
 * What is missing is not there; without a vocabulary there is that of the 256 bytes. */
#include <stdint.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/text/tokenizer_internal.h"
#include "tests/fuzz/use_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VOCAB, MERGES, CONFIG, ADDED, SPECIAL, FILES };

static void put_bytes(um_buf *out)
{
    um_buf_text(out, "{");
    for (unsigned byte = 0, shifted = 256; byte < 256; byte++) {
        bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;

        um_buf_printf(out, "%s\"\\u%04x\":%u", byte ? "," : "", printable ? byte : shifted, byte);
        shifted += !printable;
    }
    um_buf_text(out, ",\"ab\":256,\"aa\":257,\"<s>\":258}");
}

static void load(um_buf texts[FILES], um_json *files[FILES])
{
    umi_beside beside = {.config = files[CONFIG], .added = files[ADDED], .special = files[SPECIAL]};
    umi_vocab_files pair = {.vocab_name = "vocab.json",
                            .merges_name = "merges.txt",
                            .vocab = files[VOCAB],
                            .merges = &texts[MERGES],
                            .regex = UMI_QWEN2_REGEX,
                            .nfc = true};
    um_tokenizer *tokenizer = um_mem_zalloc(sizeof(*tokenizer));
    um_err err = {0};

    UM_ASSERT(tokenizer);
    if (umi_vocab_merges_load(tokenizer, &pair, &beside, &err) == UM_OK)
        um_fuzz_use_tokenizer(tokenizer);
    um_tokenizer_close(tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    um_buf texts[FILES] = {{0}};
    um_json *files[FILES] = {NULL};
    bool good = true;

    for (size_t i = 0, at = 0; i < FILES && at < size; i++) {
        const uint8_t *end = memchr(data + at, 0xFF, size - at);
        size_t length = end ? (size_t)(end - data) - at : size - at;

        um_buf_append(&texts[i], data + at, length);
        at += length + 1;
    }
    if (texts[VOCAB].length == 0)
        put_bytes(&texts[VOCAB]);
    for (size_t i = 0; i < FILES && good; i++)
        if (i != MERGES && texts[i].length > 0)
            good = um_json_parse(texts[i].data, texts[i].length, &files[i], NULL) == UM_OK;
    if (good)
        load(texts, files);
    for (size_t i = 0; i < FILES; i++) {
        um_json_free(files[i]);
        um_buf_deinit(&texts[i]);
    }
    return 0;
}
