#include "tests/support/byte_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

/* GPT-2's character for a byte, as JSON: printable Latin-1 stands for itself, the other 68 bytes
 * follow from U+0100 on. */
static void append_char(um_buf *json, unsigned byte)
{
    unsigned shifted = 256;

    for (unsigned b = 0; b <= byte; b++) {
        bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        unsigned point = printable ? b : shifted++;

        if (b == byte)
            um_buf_printf(json, "\\u%04x", point);
    }
}

static void append_entry(um_buf *json, const char *bytes, int id)
{
    um_buf_text(json, id ? ",\"" : "\"");
    for (const char *at = bytes; *at || at == bytes; at++)
        append_char(json, (unsigned char)*at);
    um_buf_printf(json, "\":%d", id);
}

static void append_vocab(um_buf *json)
{
    static const char *const longer[] = {"th", " stop", "\xC3\xA9", "\xE4\xB8"};

    for (int id = 0; id < 256; id++) {
        char byte[2] = {(char)id, '\0'};

        append_entry(json, byte, id);
    }
    for (int i = 0; i < (int)UM_COUNT_OF(longer); i++)
        append_entry(json, longer[i], UM_BYTE_TH + i);
}

um_tokenizer *um_byte_tokenizer_open(void)
{
    static const char *const specials[] = {"<|end|>", "<|turn|>", "<|mask|>", "<|other|>"};
    um_buf json = {0};
    um_tokenizer *tokenizer = NULL;
    um_err err = {0};

    um_buf_text(&json, "{\"added_tokens\":[");
    for (int i = 0; i < (int)UM_COUNT_OF(specials); i++)
        um_buf_printf(&json, "%s{\"id\":%d,\"content\":\"%s\",\"special\":true}", i ? "," : "",
                      UM_BYTE_END + i, specials[i]);
    um_buf_text(&json, "],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\","
                       "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
                       "\"decoder\":{\"type\":\"ByteLevel\"},"
                       "\"model\":{\"type\":\"BPE\",\"vocab\":{");
    append_vocab(&json);
    um_buf_text(&json, "},\"merges\":[]}}");
    if (um_buf_failed(&json) ||
        um_tokenizer_parse(um_buf_view(&json), json.length, &tokenizer, &err) != UM_OK) {
        fprintf(stderr, "byte tokenizer: %s\n", err.message);
        exit(1);
    }
    um_buf_deinit(&json);
    return tokenizer;
}
