/*
 * A byte-level tokenizer from the older pair of files: vocab.json + merges.txt, or under GPT-2's own
 * names encoder.json + vocab.bpe. They hold no pipeline: which regex and normaliser belong to them
 * is the caller's to say.
 */
#include "core/text/tokenizer_internal.h"

#include <string.h>

static um_status check_vocab(um_tokenizer *tokenizer, const umi_vocab_files *files,
                             const umi_beside *beside, um_err *err)
{
    int32_t largest = -1, id = -1;
    size_t added = 0;
    um_status status = umi_json_expect(files->vocab, UM_JSON_OBJECT, files->vocab_name, err);

    for (void *it = um_json_first(files->vocab); it && status == UM_OK;
         it = um_json_next(files->vocab, it)) {
        status = umi_vocab_check_id(um_json_iter_value(it), files->vocab_name, um_json_iter_key(it),
                                    &id, err);
        largest = id > largest ? id : largest;
    }
    if (status == UM_OK)
        status = umi_beside_measure(beside, &largest, &added, err);
    if (status != UM_OK)
        return status;
    return umi_vocab_begin(tokenizer, largest + 1, um_json_count(files->vocab) + added, added, err);
}

/* The line that begins at `*at`, without its end; moves *at behind it. */
static const char *next_line(const um_buf *text, size_t *at, size_t *length)
{
    const char *line = um_buf_view(text) + *at;
    const char *end = memchr(line, '\n', text->length - *at);

    *length = end ? (size_t)(end - line) : text->length - *at;
    *at += *length + (end ? 1 : 0);
    if (*length > 0 && line[*length - 1] == '\r')
        --*length;
    return line;
}

/* One merge a line, "a b", by rank; the first line may name a version. */
static um_status load_merges(um_tokenizer *tokenizer, const umi_vocab_files *files, um_err *err)
{
    static const char version[] = "#version";
    const um_buf *text = files->merges;
    size_t lines = 1;
    uint32_t rank = 0;
    um_status status;

    for (size_t i = 0; i < text->length; i++)
        lines += text->data[i] == '\n';
    status = umi_merges_begin(tokenizer, files->merges_name, lines, err);
    for (size_t at = 0, number = 1, length; at < text->length && status == UM_OK; number++) {
        const char *line = next_line(text, &at, &length);
        umi_pair pair;

        if (length == 0 || (number == 1 && length >= sizeof(version) - 1 &&
                            memcmp(line, version, sizeof(version) - 1) == 0))
            continue;
        if (!umi_pair_parse(line, length, &pair))
            return um_fail(err, UM_E_FORMAT, "%s: line %zu is not \"a b\"", files->merges_name,
                           number);
        status = umi_merges_add(tokenizer, files->merges_name, &pair, rank++, err);
    }
    return status;
}

um_status umi_vocab_merges_load(um_tokenizer *tokenizer, const umi_vocab_files *files,
                                const umi_beside *beside, um_err *err)
{
    um_status status;

    tokenizer->byte_level = true;
    if (files->nfc)
        tokenizer->normalizer.steps[tokenizer->normalizer.count++].kind = UMI_NORMAL_NFC;
    status = umi_tokenizer_add_split(tokenizer, "the tokenizer's class", files->regex,
                                     strlen(files->regex), err);
    if (status == UM_OK)
        status = check_vocab(tokenizer, files, beside, err);
    if (status == UM_OK)
        status = umi_vocab_enter_all(tokenizer, files->vocab_name, files->vocab, err);
    if (status == UM_OK)
        status = umi_beside_add(beside, tokenizer, "<|endoftext|>", err);
    if (status == UM_OK)
        status = umi_vocab_finish(tokenizer, files->vocab_name, err);
    if (status == UM_OK)
        status = load_merges(tokenizer, files, err);
    if (status == UM_OK)
        status = umi_beside_affixes(beside, tokenizer, false, err);
    return status;
}
