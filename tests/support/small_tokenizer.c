#include "tests/support/small_tokenizer.h"

#include <stdio.h>
#include <string.h>

/* GPT-2's alphabet by its definition: the byte itself where it is printable Latin-1, else the next
 * code point from U+0100 on. */
static int alphabet(int byte)
{
    int shifted = 256;

    for (int b = 0; b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;

        if (b == byte)
            return printable ? b : shifted;
        shifted += !printable;
    }
    return -1;
}

/* Byte b has id b. */
void um_document_vocab(um_buf *out, const um_document *d)
{
    um_buf_text(out, "{");
    for (int byte = 0; byte < 256; byte++)
        um_buf_printf(out, "%s\"\\u%04x\":%d", byte ? "," : "", (unsigned)alphabet(byte), byte);
    for (int i = 0; i < MERGES_MAX && d->merges[i]; i++) {
        const char *space = strchr(d->merges[i], ' ');

        um_buf_printf(out, ",\"%.*s%s\":%d", (int)(space - d->merges[i]), d->merges[i], space + 1,
                      FIRST_MERGE + i);
    }
    um_buf_text(out, d->vocab ? d->vocab : "");
    um_buf_text(out, "}");
}

void um_document_json(um_buf *out, const um_document *d)
{
    um_buf_printf(out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,");
    um_buf_printf(out, "\"added_tokens\":[%s],", d->added ? d->added : "");
    um_buf_printf(out, "\"normalizer\":%s,", d->normalizer ? d->normalizer : "{\"type\":\"NFC\"}");
    um_buf_printf(out, "\"pre_tokenizer\":%s,",
                  d->pre_tokenizer ? d->pre_tokenizer : SPLIT(DREAM_REGEX));
    um_buf_printf(out, "\"post_processor\":%s,", d->post_processor ? d->post_processor : "null");
    um_buf_printf(out, "\"decoder\":%s,", d->decoder ? d->decoder : BYTE_LEVEL);
    um_buf_printf(out, "\"model\":{%s\"vocab\":", d->model ? d->model : "\"type\":\"BPE\",");
    um_document_vocab(out, d);
    um_buf_text(out, ",\"merges\":");
    if (d->merges_json) {
        um_buf_text(out, d->merges_json);
    } else {
        um_buf_text(out, "[");
        for (int i = 0; i < MERGES_MAX && d->merges[i]; i++)
            um_buf_printf(out, "%s\"%s\"", i ? "," : "", d->merges[i]);
        um_buf_text(out, "]");
    }
    um_buf_text(out, "}}");
}

um_status um_document_parse(const um_document *d, um_tokenizer **out, um_err *err)
{
    um_buf json = {0};
    um_status status;

    um_document_json(&json, d);
    UM_ASSERT(!um_buf_failed(&json));
    status = um_tokenizer_parse(um_buf_view(&json), json.length, out, err);
    um_buf_deinit(&json);
    return status;
}

um_tokenizer *um_document_load(const um_document *d)
{
    um_tokenizer *tokenizer = NULL;
    um_err err = {0};

    if (um_document_parse(d, &tokenizer, &err) != UM_OK)
        fprintf(stderr, "small tokenizer: %s\n", err.message);
    UM_ASSERT(tokenizer != NULL);
    return tokenizer;
}
