/*
 * Reads tokenizer.json into a um_tokenizer. The file is hostile input: every field is checked
 * before use, and what we would have to treat differently from the reference is refused with the
 * key and the value. `truncation` and `padding` are settings of the reference's batch calls and
 * have no meaning here.
 */
#include "core/text/tokenizer_internal.h"

#include <string.h>

#include "core/base/mem.h"

#define GPT2_REGEX "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* ---- small helpers ---- */

static um_status no_memory(um_err *err)
{
    return um_fail(err, UM_E_NOMEM, "no memory for the tokenizer");
}

/* A typed getter's complaint, with the place it happened and the class that a file has. */
static um_status malformed(um_err *err, const char *where)
{
    return um_err_prefix(err, UM_E_FORMAT, "%s", where);
}

static um_status expect_kind(const um_json *value, um_json_kind kind, const char *key, um_err *err)
{
    if (um_json_kind_of(value) == kind)
        return UM_OK;
    return um_fail_field(err, UM_E_FORMAT, key, "%s is %s; expected %s", key,
                         um_json_kind_name(um_json_kind_of(value)), um_json_kind_name(kind));
}

/* `type` of the object `value`, borrowed. */
static um_status type_of(const um_json *value, const char *key, const char **type, um_err *err)
{
    um_status status = expect_kind(value, UM_JSON_OBJECT, key, err);

    if (status == UM_OK && um_json_get_string(value, "type", "", type, err) != UM_OK)
        status = malformed(err, key);
    return status;
}

static um_status refuse_type(const char *key, const char *type, const char *supported, um_err *err)
{
    return um_fail_field(err, UM_E_UNSUPPORTED, key, "%s.type is \"%.64s\"; supported: %s", key,
                         type, supported);
}

/* Fails unless the boolean `key` is `wanted`, which is also what its absence means. */
static um_status require_bool(const um_json *object, const char *where, const char *key,
                              bool wanted, um_err *err)
{
    bool value;

    if (um_json_get_bool(object, key, wanted, &value, err) != UM_OK)
        return malformed(err, where);
    if (value != wanted)
        return um_fail_field(err, UM_E_UNSUPPORTED, key, "%s.%s is %s, which is not supported",
                             where, key, value ? "true" : "false");
    return UM_OK;
}

/* ---- vocabulary ---- */

#define BYTE_ALPHABET 324 /* code points U+0000..U+0143 can stand for a byte */

/* Code point -> byte of GPT-2's byte alphabet; -1 where a code point stands for none. Printable
 * Latin-1 stands for itself, the other 68 bytes ascending for U+0100 and up. */
static void fill_alphabet(int16_t byte_of[BYTE_ALPHABET])
{
    int shifted = 256;

    for (int i = 0; i < BYTE_ALPHABET; i++)
        byte_of[i] = -1;
    for (int byte = 0; byte < 256; byte++) {
        bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;

        byte_of[printable ? byte : shifted++] = (int16_t)byte;
    }
}

static um_status check_id(const um_json *value, const char *where, const char *text, int32_t *id,
                          um_err *err)
{
    int64_t number;

    if (um_json_kind_of(value) != UM_JSON_INT)
        return um_fail_field(err, UM_E_FORMAT, where, "%s: the id of \"%.64s\" is %s", where, text,
                             um_json_kind_name(um_json_kind_of(value)));
    number = um_json_int_value(value);
    if (number < 0 || number >= UMI_TOKENS_MAX)
        return um_fail_field(err, UM_E_FORMAT, where,
                             "%s: the id of \"%.64s\" is %lld; ids are 0 to %d", where, text,
                             (long long)number, UMI_TOKENS_MAX - 1);
    *id = (int32_t)number;
    return UM_OK;
}

/* Checks every id of vocabulary and added tokens and makes room for them all. */
static um_status measure(um_tokenizer *tokenizer, const um_json *vocab, const um_json *added,
                         um_err *err)
{
    size_t slots = 16, count = um_json_count(vocab) + um_json_count(added);
    int32_t largest = -1, id = -1;
    um_status status = UM_OK;

    for (void *it = um_json_first(vocab); it && status == UM_OK; it = um_json_next(vocab, it)) {
        status = check_id(um_json_iter_value(it), "model.vocab", um_json_iter_key(it), &id, err);
        largest = id > largest ? id : largest;
    }
    for (size_t i = 0; i < um_json_count(added) && status == UM_OK; i++) {
        const um_json *entry = um_json_element(added, i);

        status = expect_kind(entry, UM_JSON_OBJECT, "added_tokens[]", err);
        if (status == UM_OK)
            status = check_id(um_json_member(entry, "id"), "added_tokens", "an entry", &id, err);
        largest = id > largest ? id : largest;
    }
    if (status != UM_OK)
        return status;
    if (count > (size_t)UMI_TOKENS_MAX)
        return um_fail_field(err, UM_E_FORMAT, "model.vocab", "%zu tokens; the limit is %d", count,
                             UMI_TOKENS_MAX);
    while (slots < count * 2)
        slots *= 2;
    tokenizer->size = largest + 1;
    tokenizer->tokens = um_mem_calloc((size_t)tokenizer->size, sizeof(*tokenizer->tokens));
    tokenizer->map = um_mem_calloc(slots, sizeof(*tokenizer->map));
    tokenizer->map_mask = slots - 1;
    return tokenizer->tokens && tokenizer->map ? UM_OK : no_memory(err);
}

/* Next code point of valid UTF-8 (JSON strings are); moves *at. */
static uint32_t next_point(const char *text, size_t *at)
{
    const uint8_t *p = (const uint8_t *)text + *at;
    size_t length = p[0] < 0x80 ? 1 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    uint32_t point = length == 1 ? p[0] : p[0] & (0x7Fu >> length);

    for (size_t i = 1; i < length; i++)
        point = point << 6 | (p[i] & 0x3Fu);
    *at += length;
    return point;
}

/* Appends the bytes that `text` stands for; false (and nothing appended) if a character of it is
 * outside the byte alphabet. */
static bool append_bytes(um_buf *out, const int16_t byte_of[BYTE_ALPHABET], const char *text,
                         size_t length)
{
    size_t before = out->length;

    for (size_t at = 0; at < length;) {
        uint32_t point = next_point(text, &at);

        if (point >= BYTE_ALPHABET || byte_of[point] < 0) {
            out->length = before;
            return false;
        }
        um_buf_char(out, (char)byte_of[point]);
    }
    return true;
}

/* Enters text and bytes of a new id. An added token stands for its text, an ordinary one for the
 * bytes that its text spells (or for its text where it spells none). */
static um_status enter(um_tokenizer *tokenizer, const int16_t *byte_of, const char *where,
                       const char *text, size_t length, int32_t id, um_err *err)
{
    umi_token *token = &tokenizer->tokens[id];
    um_buf *pool = &tokenizer->pool;

    if (length == 0 || length > UMI_TOKEN_TEXT_MAX)
        return um_fail_field(err, UM_E_FORMAT, where,
                             "%s: the text of id %d has %zu bytes; 1 to %d are allowed", where, id,
                             length, UMI_TOKEN_TEXT_MAX);
    if (token->present)
        return um_fail_field(err, UM_E_FORMAT, where, "%s: id %d is used twice (\"%.64s\")", where,
                             id, text);
    token->present = true;
    token->text_at = token->bytes_at = (uint32_t)pool->length;
    token->text_length = token->bytes_length = (uint32_t)length;
    um_buf_append(pool, text, length);
    if (byte_of) {
        size_t at = pool->length;

        if (append_bytes(pool, byte_of, text, length)) {
            token->bytes_at = (uint32_t)at;
            token->bytes_length = (uint32_t)(pool->length - at);
        }
    }
    if (um_buf_failed(pool))
        return no_memory(err);
    if (token->bytes_length > tokenizer->bpe.token_bytes_max)
        tokenizer->bpe.token_bytes_max = token->bytes_length;
    *umi_tokenizer_slot(tokenizer, text, length) = (uint32_t)id + 1;
    return UM_OK;
}

static um_status load_vocab(um_tokenizer *tokenizer, const int16_t *byte_of, const um_json *vocab,
                            um_err *err)
{
    um_status status = UM_OK;

    for (void *it = um_json_first(vocab); it && status == UM_OK; it = um_json_next(vocab, it)) {
        const char *text = um_json_iter_key(it);

        status = enter(tokenizer, byte_of, "model.vocab", text, strlen(text),
                       (int32_t)um_json_int_value(um_json_iter_value(it)), err);
    }
    return status;
}

/* ---- added tokens ---- */

static um_status keep_added(um_tokenizer *tokenizer, const char *text, size_t length, int32_t id,
                            bool normalized, um_err *err)
{
    umi_added *added = normalized ? &tokenizer->added_normalized : &tokenizer->added_raw;
    um_buf form = {0};
    um_status status = UM_OK;
    umi_added_entry *entry = &added->entries[added->count];

    /* The reference looks for these in the normalised text, so it normalises them too. */
    if (normalized && tokenizer->nfc)
        status = umi_nfc_append(&form, text, length, err);
    else
        um_buf_append(&form, text, length);
    if (status == UM_OK && !um_buf_failed(&form))
        entry->text = um_mem_strndup(um_buf_view(&form), form.length);
    entry->length = form.length;
    entry->id = id;
    if (entry->text)
        added->count++;
    else if (status == UM_OK)
        status = no_memory(err);
    um_buf_deinit(&form);
    return status;
}

static um_status load_added_token(um_tokenizer *tokenizer, const um_json *entry, um_err *err)
{
    static const char *const unsupported[] = {"single_word", "lstrip", "rstrip"};
    static const char where[] = "added_tokens";
    const um_json *content = um_json_member(entry, "content");
    int32_t id = (int32_t)um_json_int_value(um_json_member(entry, "id")), known;
    um_status status = expect_kind(content, UM_JSON_STRING, "added_tokens[].content", err);
    bool special, normalized;
    const char *text;
    size_t length;

    for (size_t i = 0; i < UM_COUNT_OF(unsupported) && status == UM_OK; i++)
        status = require_bool(entry, where, unsupported[i], false, err);
    if (status != UM_OK)
        return um_err_prefix(err, status, "id %d", id);
    if (um_json_get_bool(entry, "special", false, &special, err) != UM_OK ||
        um_json_get_bool(entry, "normalized", !special, &normalized, err) != UM_OK)
        return malformed(err, where);
    text = um_json_string_value(content, &length);
    if (length > UMI_ADDED_TEXT_MAX)
        return um_fail_field(err, UM_E_FORMAT, where, "%s: id %d has %zu bytes; the limit is %d",
                             where, id, length, UMI_ADDED_TEXT_MAX);
    known = umi_tokenizer_find(tokenizer, text, length);
    if (known >= 0 && known != id)
        return um_fail_field(err, UM_E_FORMAT, where, "%s: \"%.64s\" has id %d, but also id %d",
                             where, text, id, known);
    if (known < 0)
        status = enter(tokenizer, NULL, where, text, length, id, err);
    if (status == UM_OK)
        status = keep_added(tokenizer, text, length, id, normalized, err);
    tokenizer->tokens[id].special = tokenizer->tokens[id].special || special;
    return status;
}

static um_status load_added(um_tokenizer *tokenizer, const um_json *list, um_err *err)
{
    size_t count = um_json_count(list);
    um_status status = UM_OK;

    tokenizer->added_raw.entries = um_mem_calloc(count, sizeof(umi_added_entry));
    tokenizer->added_normalized.entries = um_mem_calloc(count, sizeof(umi_added_entry));
    if (!tokenizer->added_raw.entries || !tokenizer->added_normalized.entries)
        return no_memory(err);
    for (size_t i = 0; i < count && status == UM_OK; i++)
        status = load_added_token(tokenizer, um_json_element(list, i), err);
    umi_added_finish(&tokenizer->added_raw);
    umi_added_finish(&tokenizer->added_normalized);
    return status;
}

/* ---- model ---- */

static um_status find_bytes(um_tokenizer *tokenizer, const int16_t *byte_of, um_err *err)
{
    for (int i = 0; i < 256; i++)
        tokenizer->bpe.byte_id[i] = -1;
    for (uint32_t point = 0; point < BYTE_ALPHABET; point++) {
        char text[2] = {(char)(0xC0 | point >> 6), (char)(0x80 | (point & 0x3F))};
        const char ascii = (char)point;
        int32_t id;
        int byte = byte_of[point];
        bool in_utf8 = byte < 0xF5 && byte != 0xC0 && byte != 0xC1;

        if (byte < 0)
            continue;
        id = point < 0x80 ? umi_tokenizer_find(tokenizer, &ascii, 1)
                          : umi_tokenizer_find(tokenizer, text, 2);
        if (id < 0 && in_utf8)
            return um_fail_field(err, UM_E_UNSUPPORTED, "model.vocab",
                                 "model.vocab has no entry for byte 0x%02X: not byte-level", byte);
        if (um_tokenizer_is_special(tokenizer, id))
            return um_fail_field(err, UM_E_UNSUPPORTED, "added_tokens",
                                 "added_tokens: id %d is special but stands for byte 0x%02X", id,
                                 byte);
        tokenizer->bpe.byte_id[byte] = id;
    }
    return UM_OK;
}

/* Parts of merge `rank`, written "a b" or ["a", "b"]; borrowed. */
static bool merge_parts(const um_json *merge, const char **left, size_t *left_length,
                        const char **right, size_t *right_length)
{
    const um_json *first = um_json_element(merge, 0), *second = um_json_element(merge, 1);
    const char *text, *space;
    size_t length;

    if (um_json_kind_of(merge) == UM_JSON_STRING) {
        text = um_json_string_value(merge, &length);
        space = memchr(text, ' ', length);
        if (!space || memchr(space + 1, ' ', length - (size_t)(space + 1 - text)))
            return false;
        *left = text;
        *left_length = (size_t)(space - text);
        *right = space + 1;
        *right_length = length - *left_length - 1;
        return true;
    }
    if (um_json_kind_of(merge) != UM_JSON_ARRAY || um_json_count(merge) != 2 ||
        um_json_kind_of(first) != UM_JSON_STRING || um_json_kind_of(second) != UM_JSON_STRING)
        return false;
    *left = um_json_string_value(first, left_length);
    *right = um_json_string_value(second, right_length);
    return true;
}

static um_status load_merge(um_tokenizer *tokenizer, const um_json *merge, size_t rank, um_err *err)
{
    const char *left = NULL, *right = NULL;
    size_t left_length = 0, right_length = 0;
    char joined[2 * UMI_TOKEN_TEXT_MAX];
    int32_t left_id, right_id, result;

    if (!merge_parts(merge, &left, &left_length, &right, &right_length))
        return um_fail_field(err, UM_E_FORMAT, "model.merges",
                             "model.merges[%zu] is neither \"a b\" nor [\"a\", \"b\"]", rank);
    left_id = umi_tokenizer_find(tokenizer, left, left_length);
    right_id = umi_tokenizer_find(tokenizer, right, right_length);
    if (left_id < 0 || right_id < 0)
        return um_fail_field(
            err, UM_E_FORMAT, "model.merges", "model.merges[%zu]: \"%.*s\" is not in model.vocab",
            rank, left_id < 0 ? (int)left_length : (int)right_length, left_id < 0 ? left : right);
    memcpy(joined, left, left_length); /* known entries, so within UMI_TOKEN_TEXT_MAX */
    memcpy(joined + left_length, right, right_length);
    result = umi_tokenizer_find(tokenizer, joined, left_length + right_length);
    if (result < 0)
        return um_fail_field(err, UM_E_FORMAT, "model.merges",
                             "model.merges[%zu]: its result \"%.*s\" is not in model.vocab", rank,
                             (int)(left_length + right_length), joined);
    /* Text must never become a special token by merging, whatever the file says. */
    if (!tokenizer->tokens[result].special)
        umi_bpe_add(&tokenizer->bpe, left_id, right_id, (uint32_t)rank, result);
    return UM_OK;
}

static um_status load_merges(um_tokenizer *tokenizer, const um_json *merges, um_err *err)
{
    size_t count = um_json_count(merges);
    um_status status = UM_OK;

    if (count > (size_t)UMI_TOKENS_MAX)
        return um_fail_field(err, UM_E_FORMAT, "model.merges", "%zu merges; the limit is %d", count,
                             UMI_TOKENS_MAX);
    if (!umi_bpe_init(&tokenizer->bpe, count))
        return no_memory(err);
    for (size_t i = 0; i < count && status == UM_OK; i++)
        status = load_merge(tokenizer, um_json_element(merges, i), i, err);
    return status;
}

static um_status check_model(um_tokenizer *tokenizer, const um_json *model, um_err *err)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const um_json *vocab = um_json_member(model, "vocab"),
                  *merges = um_json_member(model, "merges");
    const char *type, *affix;
    um_status status = type_of(model, "model", &type, err);
    double dropout;

    if (status == UM_OK && strcmp(type, "BPE") != 0)
        status = refuse_type("model", type, "BPE", err);
    if (status == UM_OK)
        status = require_bool(model, "model", "byte_fallback", false, err);
    if (status == UM_OK)
        status = expect_kind(vocab, UM_JSON_OBJECT, "model.vocab", err);
    if (status == UM_OK)
        status = expect_kind(merges, UM_JSON_ARRAY, "model.merges", err);
    if (status != UM_OK)
        return status;
    for (size_t i = 0; i < UM_COUNT_OF(affixes); i++) {
        if (um_json_get_string(model, affixes[i], "", &affix, err) != UM_OK)
            return malformed(err, "model");
        if (affix[0] != '\0')
            return um_fail_field(err, UM_E_UNSUPPORTED, affixes[i],
                                 "model.%s is \"%.64s\"; only none is supported", affixes[i],
                                 affix);
    }
    if (um_json_get_number(model, "dropout", 0, 0, 0, &dropout, err) != UM_OK ||
        um_json_get_bool(model, "ignore_merges", false, &tokenizer->ignore_merges, err) != UM_OK)
        return malformed(err, "model");
    return UM_OK;
}

/* ---- pipeline ---- */

static um_status load_normalizer(um_tokenizer *tokenizer, const um_json *value, um_err *err)
{
    static const char key[] = "normalizer";
    const um_json *parts = um_json_member(value, "normalizers");
    const char *type;
    um_status status;

    if (um_json_kind_of(value) == UM_JSON_NULL)
        return UM_OK;
    status = type_of(value, key, &type, err);
    if (status != UM_OK)
        return status;
    if (strcmp(type, "NFC") == 0) {
        tokenizer->nfc = true; /* twice is the same as once */
        return UM_OK;
    }
    if (strcmp(type, "Sequence") != 0)
        return refuse_type(key, type, "NFC, Sequence, null", err);
    status = expect_kind(parts, UM_JSON_ARRAY, "normalizer.normalizers", err);
    for (size_t i = 0; i < um_json_count(parts) && status == UM_OK; i++)
        status = load_normalizer(tokenizer, um_json_element(parts, i), err);
    return status;
}

static um_status add_split(um_tokenizer *tokenizer, const char *pattern, size_t length, um_err *err)
{
    static const char key[] = "pre_tokenizer";
    um_status status;

    if (tokenizer->split_count == UMI_SPLITS_MAX)
        return um_fail_field(err, UM_E_UNSUPPORTED, key, "%s has more than %d regexes", key,
                             UMI_SPLITS_MAX);
    status = umi_regex_create(pattern, length, &tokenizer->splits[tokenizer->split_count], err);
    if (status == UM_OK)
        tokenizer->split_count++;
    return status == UM_OK ? UM_OK : um_err_prefix(err, status, "%s", key);
}

static um_status load_split(um_tokenizer *tokenizer, const um_json *value, um_err *err)
{
    static const char key[] = "pre_tokenizer";
    const um_json *pattern = um_json_member(value, "pattern");
    const um_json *regex = um_json_member(pattern, "Regex");
    um_status status = require_bool(value, key, "invert", false, err);
    const char *behavior, *text;
    size_t length;

    if (status == UM_OK && um_json_get_string(value, "behavior", "", &behavior, err) != UM_OK)
        status = malformed(err, key);
    if (status != UM_OK)
        return status;
    if (strcmp(behavior, "Isolated") != 0)
        return um_fail_field(err, UM_E_UNSUPPORTED, "behavior",
                             "%s.behavior is \"%.64s\"; only Isolated is supported", key, behavior);
    if (um_json_kind_of(regex) != UM_JSON_STRING)
        return um_fail_field(err, UM_E_UNSUPPORTED, "pattern",
                             "%s.pattern is not {\"Regex\": \"...\"}", key);
    text = um_json_string_value(regex, &length);
    return add_split(tokenizer, text, length, err);
}

/* Splits, then one ByteLevel. `closed` tells that the ByteLevel was seen: what the reference runs
 * behind it works on the byte alphabet, which we never spell out. */
static um_status load_pre_tokenizer(um_tokenizer *tokenizer, const um_json *value, bool *closed,
                                    um_err *err)
{
    static const char key[] = "pre_tokenizer";
    const um_json *parts = um_json_member(value, "pretokenizers");
    const char *type;
    um_status status = type_of(value, key, &type, err);
    bool use_regex;

    if (status != UM_OK)
        return status;
    if (strcmp(type, "Sequence") == 0) {
        status = expect_kind(parts, UM_JSON_ARRAY, "pre_tokenizer.pretokenizers", err);
        for (size_t i = 0; i < um_json_count(parts) && status == UM_OK; i++)
            status = load_pre_tokenizer(tokenizer, um_json_element(parts, i), closed, err);
        return status;
    }
    if (*closed)
        return um_fail_field(err, UM_E_UNSUPPORTED, key, "%s has \"%.64s\" behind ByteLevel", key,
                             type);
    if (strcmp(type, "Split") == 0)
        return load_split(tokenizer, value, err);
    if (strcmp(type, "ByteLevel") != 0)
        return refuse_type(key, type, "Split, ByteLevel, Sequence", err);
    *closed = true;
    status = require_bool(value, key, "add_prefix_space", false, err);
    if (status == UM_OK && um_json_get_bool(value, "use_regex", true, &use_regex, err) != UM_OK)
        status = malformed(err, key);
    if (status == UM_OK && use_regex)
        status = add_split(tokenizer, GPT2_REGEX, strlen(GPT2_REGEX), err);
    return status;
}

static um_status load_decoder(const um_json *value, bool *found, um_err *err)
{
    static const char key[] = "decoder";
    const um_json *parts = um_json_member(value, "decoders");
    const char *type;
    um_status status = type_of(value, key, &type, err);

    if (status != UM_OK)
        return status;
    if (strcmp(type, "Sequence") == 0) {
        status = expect_kind(parts, UM_JSON_ARRAY, "decoder.decoders", err);
        for (size_t i = 0; i < um_json_count(parts) && status == UM_OK; i++)
            status = load_decoder(um_json_element(parts, i), found, err);
        return status;
    }
    if (strcmp(type, "ByteLevel") != 0 || *found)
        return refuse_type(key, type, "one ByteLevel, alone or in a Sequence", err);
    *found = true;
    return UM_OK;
}

/* ---- post-processor ---- */

static um_status push_special(um_tokenizer *tokenizer, const um_json *processor,
                              const um_json *item, um_ids *out, um_err *err)
{
    static const char key[] = "post_processor";
    const um_json *ids;
    const char *name;
    um_status status = expect_kind(item, UM_JSON_OBJECT, "post_processor.single[]", err);

    if (status != UM_OK)
        return status;
    if (um_json_get_string(item, "id", "", &name, err) != UM_OK)
        return malformed(err, key);
    ids = um_json_member(um_json_member(um_json_member(processor, "special_tokens"), name), "ids");
    if (um_json_kind_of(ids) != UM_JSON_ARRAY)
        return um_fail_field(err, UM_E_FORMAT, key, "%s.special_tokens has no ids for \"%.64s\"",
                             key, name);
    for (size_t i = 0; i < um_json_count(ids); i++) {
        int32_t id = -1;

        status = check_id(um_json_element(ids, i), key, name, &id, err);
        if (status != UM_OK)
            return status;
        if (id >= tokenizer->size || !tokenizer->tokens[id].present)
            return um_fail_field(err, UM_E_FORMAT, key,
                                 "%s: \"%.64s\" has id %d, which no token has", key, name, id);
        if (!um_ids_push(out, id))
            return no_memory(err);
    }
    return UM_OK;
}

static um_status load_template(um_tokenizer *tokenizer, const um_json *value, um_err *err)
{
    static const char key[] = "post_processor.single";
    const um_json *single = um_json_member(value, "single");
    um_status status = expect_kind(single, UM_JSON_ARRAY, key, err);
    bool seen = false;

    for (size_t i = 0; i < um_json_count(single) && status == UM_OK; i++) {
        const um_json *item = um_json_element(single, i);
        const um_json *sequence = um_json_member(item, "Sequence");
        const um_json *special = um_json_member(item, "SpecialToken");
        const char *id = "";

        if (sequence) {
            if (um_json_get_string(sequence, "id", "", &id, err) != UM_OK)
                return malformed(err, key);
            if (seen || strcmp(id, "A") != 0)
                return um_fail_field(err, UM_E_UNSUPPORTED, key,
                                     "%s[%zu]: exactly one sequence, A, is supported", key, i);
            seen = true;
        } else {
            status = push_special(tokenizer, value, special,
                                  seen ? &tokenizer->suffix : &tokenizer->prefix, err);
        }
    }
    if (status == UM_OK && !seen)
        status = um_fail_field(err, UM_E_FORMAT, key, "%s does not hold the text", key);
    return status;
}

/* ByteLevel only trims offsets, which we do not give. */
static um_status load_post_processor(um_tokenizer *tokenizer, const um_json *value,
                                     bool *has_template, um_err *err)
{
    static const char key[] = "post_processor";
    const um_json *parts = um_json_member(value, "processors");
    const char *type;
    um_status status;

    if (um_json_kind_of(value) == UM_JSON_NULL)
        return UM_OK;
    status = type_of(value, key, &type, err);
    if (status != UM_OK || strcmp(type, "ByteLevel") == 0)
        return status;
    if (strcmp(type, "Sequence") == 0) {
        status = expect_kind(parts, UM_JSON_ARRAY, "post_processor.processors", err);
        for (size_t i = 0; i < um_json_count(parts) && status == UM_OK; i++)
            status = load_post_processor(tokenizer, um_json_element(parts, i), has_template, err);
        return status;
    }
    if (strcmp(type, "TemplateProcessing") != 0 || *has_template)
        return refuse_type(key, type, "one TemplateProcessing, ByteLevel, Sequence, null", err);
    *has_template = true;
    return load_template(tokenizer, value, err);
}

/* ---- all of it ---- */

static um_status load_model(um_tokenizer *tokenizer, const um_json *root, um_err *err)
{
    const um_json *model = um_json_member(root, "model");
    const um_json *vocab = um_json_member(model, "vocab");
    const um_json *added = um_json_member(root, "added_tokens");
    int16_t byte_of[BYTE_ALPHABET];
    um_status status = check_model(tokenizer, model, err);

    fill_alphabet(byte_of);
    if (status == UM_OK && um_json_kind_of(added) != UM_JSON_NULL)
        status = expect_kind(added, UM_JSON_ARRAY, "added_tokens", err);
    if (status == UM_OK)
        status = measure(tokenizer, vocab, added, err);
    if (status == UM_OK)
        status = load_vocab(tokenizer, byte_of, vocab, err);
    if (status == UM_OK)
        status = load_added(tokenizer, added, err);
    if (status == UM_OK)
        status = find_bytes(tokenizer, byte_of, err);
    if (status == UM_OK)
        status = load_merges(tokenizer, um_json_member(model, "merges"), err);
    return status;
}

um_status umi_tokenizer_load(um_tokenizer *tokenizer, const um_json *root, um_err *err)
{
    bool closed = false, decodes = false, has_template = false;
    um_status status = expect_kind(root, UM_JSON_OBJECT, "the document", err);

    if (status == UM_OK)
        status = load_normalizer(tokenizer, um_json_member(root, "normalizer"), err);
    if (status == UM_OK)
        status = load_pre_tokenizer(tokenizer, um_json_member(root, "pre_tokenizer"), &closed, err);
    if (status == UM_OK && !closed)
        status =
            um_fail_field(err, UM_E_UNSUPPORTED, "pre_tokenizer", "pre_tokenizer has no ByteLevel");
    if (status == UM_OK)
        status = load_decoder(um_json_member(root, "decoder"), &decodes, err);
    if (status == UM_OK && !decodes)
        status = um_fail_field(err, UM_E_UNSUPPORTED, "decoder", "decoder has no ByteLevel");
    if (status == UM_OK)
        status = load_model(tokenizer, root, err);
    if (status == UM_OK)
        status = load_post_processor(tokenizer, um_json_member(root, "post_processor"),
                                     &has_template, err);
    return status;
}
