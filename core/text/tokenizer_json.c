/*
 * Reads tokenizer.json into a um_tokenizer. The file is hostile input: every field is checked
 * before use, and what we would have to treat differently from the reference is refused with the
 * key and the value. `truncation` and `padding` are settings of the reference's batch calls and
 * have no meaning here; `unk_token` has none either, since every byte has a token.
 */
#include "core/text/tokenizer_internal.h"

#include <string.h>

#include "core/base/mem.h"

/* ---- model ---- */

static um_status check_model(um_tokenizer *tokenizer, const um_json *model, um_err *err)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const char *type = "BPE", *affix; /* the oldest files do not say it */
    um_status status = umi_json_expect(model, UM_JSON_OBJECT, "model", err);
    double dropout;
    bool fallback;

    if (status == UM_OK && um_json_kind_of(um_json_member(model, "type")) != UM_JSON_NULL)
        status = umi_json_type(model, "model", &type, err);
    if (status == UM_OK && strcmp(type, "BPE") != 0)
        status = umi_json_refuse_type("model", type, "BPE", err);
    if (status == UM_OK)
        status =
            umi_json_expect(um_json_member(model, "vocab"), UM_JSON_OBJECT, "model.vocab", err);
    if (status == UM_OK)
        status =
            umi_json_expect(um_json_member(model, "merges"), UM_JSON_ARRAY, "model.merges", err);
    if (status != UM_OK)
        return status;
    for (size_t i = 0; i < UM_COUNT_OF(affixes); i++) {
        if (um_json_get_string(model, affixes[i], "", &affix, err) != UM_OK)
            return umi_json_malformed(err, "model");
        if (affix[0] != '\0')
            return um_fail_field(err, UM_E_UNSUPPORTED, affixes[i],
                                 "model.%s is \"%.64s\"; only none is supported", affixes[i],
                                 affix);
    }
    if (um_json_get_number(model, "dropout", 0, 0, 0, &dropout, err) != UM_OK ||
        um_json_get_bool(model, "byte_fallback", false, &fallback, err) != UM_OK ||
        um_json_get_bool(model, "ignore_merges", false, &tokenizer->ignore_merges, err) != UM_OK)
        return umi_json_malformed(err, "model");
    /* Byte-level text has no unknown characters, SentencePiece's must become bytes. */
    if (fallback == tokenizer->byte_level)
        return um_fail_field(err, UM_E_UNSUPPORTED, "byte_fallback",
                             "model.byte_fallback is %s, which is not supported with this decoder",
                             fallback ? "true" : "false");
    return UM_OK;
}

/* Checks every id of vocabulary and added tokens and makes room for them all. */
static um_status measure(um_tokenizer *tokenizer, const um_json *vocab, const um_json *added,
                         um_err *err)
{
    int32_t largest = -1, id = -1;
    um_status status = UM_OK;

    for (void *it = um_json_first(vocab); it && status == UM_OK; it = um_json_next(vocab, it)) {
        status = umi_vocab_check_id(um_json_iter_value(it), "model.vocab", um_json_iter_key(it),
                                    &id, err);
        largest = id > largest ? id : largest;
    }
    for (size_t i = 0; i < um_json_count(added) && status == UM_OK; i++) {
        const um_json *entry = um_json_element(added, i);

        status = umi_json_expect(entry, UM_JSON_OBJECT, "added_tokens[]", err);
        if (status == UM_OK)
            status = umi_vocab_check_id(um_json_member(entry, "id"), "added_tokens", "an entry",
                                        &id, err);
        largest = id > largest ? id : largest;
    }
    if (status != UM_OK)
        return status;
    return umi_vocab_begin(tokenizer, largest + 1, um_json_count(vocab) + um_json_count(added),
                           um_json_count(added), err);
}

static um_status load_added(um_tokenizer *tokenizer, const um_json *list, um_err *err)
{
    um_status status = UM_OK;

    for (size_t i = 0; i < um_json_count(list) && status == UM_OK; i++) {
        const um_json *entry = um_json_element(list, i);

        status = umi_vocab_add_json(tokenizer, "added_tokens", entry,
                                    (int32_t)um_json_int_value(um_json_member(entry, "id")), err);
    }
    return status;
}

/* Merge written "a b" or ["a", "b"]; its parts are borrowed. */
static bool merge_parts(const um_json *merge, umi_pair *pair)
{
    const um_json *first = um_json_element(merge, 0), *second = um_json_element(merge, 1);

    if (um_json_kind_of(merge) == UM_JSON_STRING) {
        size_t length;
        const char *text = um_json_string_value(merge, &length);

        return umi_pair_parse(text, length, pair);
    }
    if (um_json_kind_of(merge) != UM_JSON_ARRAY || um_json_count(merge) != 2 ||
        um_json_kind_of(first) != UM_JSON_STRING || um_json_kind_of(second) != UM_JSON_STRING)
        return false;
    pair->left = um_json_string_value(first, &pair->left_length);
    pair->right = um_json_string_value(second, &pair->right_length);
    return true;
}

static um_status load_merges(um_tokenizer *tokenizer, const um_json *merges, um_err *err)
{
    static const char where[] = "model.merges";
    size_t count = um_json_count(merges);
    um_status status = umi_merges_begin(tokenizer, where, count, err);

    for (size_t i = 0; i < count && status == UM_OK; i++) {
        umi_pair pair;

        if (!merge_parts(um_json_element(merges, i), &pair))
            return um_fail_field(err, UM_E_FORMAT, where,
                                 "%s[%zu] is neither \"a b\" nor [\"a\", \"b\"]", where, i);
        status = umi_merges_add(tokenizer, where, &pair, (uint32_t)i, err);
    }
    return status;
}

static um_status load_model(um_tokenizer *tokenizer, const um_json *root, um_err *err)
{
    const um_json *model = um_json_member(root, "model");
    const um_json *vocab = um_json_member(model, "vocab");
    const um_json *added = um_json_member(root, "added_tokens");
    um_status status = check_model(tokenizer, model, err);

    if (status == UM_OK && um_json_kind_of(added) != UM_JSON_NULL)
        status = umi_json_expect(added, UM_JSON_ARRAY, "added_tokens", err);
    if (status == UM_OK)
        status = measure(tokenizer, vocab, added, err);
    if (status == UM_OK)
        status = umi_vocab_enter_all(tokenizer, "model.vocab", vocab, err);
    if (status == UM_OK)
        status = load_added(tokenizer, added, err);
    if (status == UM_OK)
        status = umi_vocab_finish(tokenizer, "model.vocab", err);
    if (status == UM_OK)
        status = load_merges(tokenizer, um_json_member(model, "merges"), err);
    return status;
}

um_status umi_tokenizer_load(um_tokenizer *tokenizer, const um_json *root, um_err *err)
{
    um_status status = umi_json_expect(root, UM_JSON_OBJECT, "the document", err);

    if (status == UM_OK)
        status = umi_pipeline_load(tokenizer, root, err);
    if (status == UM_OK)
        status = load_model(tokenizer, root, err);
    if (status == UM_OK)
        status = umi_post_processor_load(tokenizer, um_json_member(root, "post_processor"), err);
    return status;
}
