/*
 * The tables of a tokenizer while a loader fills them: entries, added tokens, the tokens of the 256
 * bytes, merges. Whatever file they come from, the same is checked here, and the same promise kept:
 * no text can become a special token.
 */
#include "core/text/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"

#define BYTE_ALPHABET 324 /* code points U+0000..U+0143 can stand for a byte */

um_status umi_vocab_no_memory(um_err *err)
{
    return um_fail(err, UM_E_NOMEM, "no memory for the tokenizer");
}

/* ---- what a text stands for ---- */

/* Byte that a code point stands for in GPT-2's alphabet; -1: none. Printable Latin-1 stands for
 * itself, the other 68 bytes ascending for U+0100 and up. */
static int byte_of_point(uint32_t point)
{
    if ((point >= 33 && point <= 126) || (point >= 161 && point <= 172) ||
        (point >= 174 && point <= 255))
        return (int)point;
    if (point < 256 || point >= BYTE_ALPHABET)
        return -1;
    point -= 256;
    return point < 33 ? (int)point : point < 67 ? (int)point - 33 + 127 : 173;
}

/* Next code point of valid UTF-8; moves *at. */
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

/* Appends the bytes that `text` spells in GPT-2's alphabet; false (and nothing appended) if a
 * character of it is outside. */
static bool append_alphabet(um_buf *out, const char *text, size_t length)
{
    size_t before = out->length;

    for (size_t at = 0; at < length;) {
        int byte = byte_of_point(next_point(text, &at));

        if (byte < 0) {
            out->length = before;
            return false;
        }
        um_buf_char(out, (char)byte);
    }
    return true;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* The byte of a text like "<0xE4>", -1: it is none. */
static int byte_of_piece(const char *text, size_t length)
{
    if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>' || hex_value(text[3]) < 0 ||
        hex_value(text[4]) < 0)
        return -1;
    return hex_value(text[3]) * 16 + hex_value(text[4]);
}

/* Puts what a text stands for into the pool as the bytes of `token`. In a byte-level vocabulary an
 * added token, and an entry outside the alphabet, stands for its text as it is. */
static void spell(um_tokenizer *tokenizer, umi_token *token, bool ordinary, const char *text,
                  size_t length)
{
    um_buf *pool = &tokenizer->pool;
    size_t at = pool->length;
    int byte = tokenizer->byte_level ? -1 : byte_of_piece(text, length);

    if (byte >= 0)
        um_buf_char(pool, (char)byte);
    else if (!tokenizer->byte_level)
        umi_replace_append(pool, &tokenizer->mark, &tokenizer->blank, text, length);
    else if (!ordinary || !append_alphabet(pool, text, length))
        um_buf_append(pool, text, length);
    token->bytes_at = (uint32_t)at;
    token->bytes_length = (uint32_t)(pool->length - at);
    if (token->bytes_length > tokenizer->token_bytes_max)
        tokenizer->token_bytes_max = token->bytes_length;
}

/* ---- entries ---- */

um_status umi_vocab_check_id(const um_json *value, const char *where, const char *text, int32_t *id,
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

um_status umi_vocab_begin(um_tokenizer *tokenizer, int32_t size, size_t count, size_t added,
                          um_err *err)
{
    size_t slots = 16;

    if (count > (size_t)UMI_TOKENS_MAX)
        return um_fail(err, UM_E_FORMAT, "%zu tokens; the limit is %d", count, UMI_TOKENS_MAX);
    while (slots < count * 2)
        slots *= 2;
    tokenizer->size = size;
    tokenizer->tokens = um_mem_calloc((size_t)size, sizeof(*tokenizer->tokens));
    tokenizer->map = um_mem_calloc(slots, sizeof(*tokenizer->map));
    tokenizer->map_mask = slots - 1;
    tokenizer->added_raw.entries = um_mem_calloc(added, sizeof(umi_added_entry));
    tokenizer->added_normalized.entries = um_mem_calloc(added, sizeof(umi_added_entry));
    tokenizer->added_raw.capacity = tokenizer->added_normalized.capacity = added;
    return tokenizer->tokens && tokenizer->map && tokenizer->added_raw.entries &&
                   tokenizer->added_normalized.entries
               ? UM_OK
               : umi_vocab_no_memory(err);
}

static um_status enter(um_tokenizer *tokenizer, bool ordinary, const char *where, const char *text,
                       size_t length, int32_t id, um_err *err)
{
    umi_token *token = &tokenizer->tokens[id];
    um_buf *pool = &tokenizer->pool;

    UM_ASSERT(id >= 0 && id < tokenizer->size);
    if (length == 0 || length > UMI_TOKEN_TEXT_MAX)
        return um_fail_field(err, UM_E_FORMAT, where,
                             "%s: the text of id %d has %zu bytes; 1 to %d are allowed", where, id,
                             length, UMI_TOKEN_TEXT_MAX);
    if (token->present)
        return um_fail_field(err, UM_E_FORMAT, where, "%s: id %d is used twice (\"%.*s\")", where,
                             id, length < 64 ? (int)length : 64, text);
    token->present = true;
    token->text_at = (uint32_t)pool->length;
    token->text_length = (uint32_t)length;
    um_buf_append(pool, text, length);
    spell(tokenizer, token, ordinary, text, length);
    if (um_buf_failed(pool))
        return umi_vocab_no_memory(err);
    *umi_tokenizer_slot(tokenizer, text, length) = (uint32_t)id + 1;
    return UM_OK;
}

um_status umi_vocab_enter(um_tokenizer *tokenizer, const char *where, const char *text,
                          size_t length, int32_t id, um_err *err)
{
    return enter(tokenizer, true, where, text, length, id, err);
}

um_status umi_vocab_enter_all(um_tokenizer *tokenizer, const char *where, const um_json *vocab,
                              um_err *err)
{
    um_status status = UM_OK;

    for (void *it = um_json_first(vocab); it && status == UM_OK; it = um_json_next(vocab, it)) {
        const char *text = um_json_iter_key(it);

        status = enter(tokenizer, true, where, text, strlen(text),
                       (int32_t)um_json_int_value(um_json_iter_value(it)), err);
    }
    return status;
}

/* ---- added tokens ---- */

static um_status keep_added(um_tokenizer *tokenizer, const char *text, size_t length, int32_t id,
                            bool normalized, um_err *err)
{
    umi_added *added = normalized ? &tokenizer->added_normalized : &tokenizer->added_raw;
    umi_added_entry *entry = &added->entries[added->count];
    um_buf buffers[2] = {{0}, {0}};
    const char *plain = text;
    um_status status = UM_OK;

    UM_ASSERT(added->count < added->capacity);
    /* The reference looks for these in the normalised text, so it normalises them too, and takes
     * what it found for their text. */
    if (normalized)
        status = umi_normalize(&tokenizer->normalizer, false, buffers, &text, &length, err);
    if (status == UM_OK && text != plain)
        spell(tokenizer, &tokenizer->tokens[id], false, text, length);
    if (status == UM_OK && um_buf_failed(&tokenizer->pool))
        status = umi_vocab_no_memory(err);
    if (status == UM_OK) {
        *entry =
            (umi_added_entry){.text = um_mem_strndup(text, length), .length = length, .id = id};
        if (entry->text)
            added->count++;
        else
            status = umi_vocab_no_memory(err);
    }
    um_buf_deinit(&buffers[0]);
    um_buf_deinit(&buffers[1]);
    return status;
}

/* Some fine-tunes call the token of a byte special (DiffuGPT-medium's padding is the token of byte
 * 0xA8). The byte has no other, so it stays an ordinary entry. */
static bool is_byte_token(const um_tokenizer *tokenizer, int32_t id)
{
    const umi_token *token = &tokenizer->tokens[id];

    if (tokenizer->byte_level)
        return token->bytes_length == 1;
    return byte_of_piece(um_buf_view(&tokenizer->pool) + token->text_at, token->text_length) >= 0;
}

um_status umi_vocab_add(um_tokenizer *tokenizer, const char *where, const char *text, size_t length,
                        int32_t id, bool special, bool normalized, um_err *err)
{
    int32_t known = umi_tokenizer_find(tokenizer, text, length);
    um_status status = UM_OK;

    if (length > UMI_ADDED_TEXT_MAX)
        return um_fail_field(err, UM_E_FORMAT, where, "%s: id %d has %zu bytes; the limit is %d",
                             where, id, length, UMI_ADDED_TEXT_MAX);
    if (known >= 0 && known != id)
        return um_fail_field(err, UM_E_FORMAT, where, "%s: \"%.*s\" has id %d, but also id %d",
                             where, (int)length, text, id, known);
    if (known >= 0 && special && is_byte_token(tokenizer, id))
        return UM_OK;
    if (known < 0)
        status = enter(tokenizer, false, where, text, length, id, err);
    if (status == UM_OK)
        status = keep_added(tokenizer, text, length, id, normalized, err);
    tokenizer->tokens[id].special = tokenizer->tokens[id].special || special;
    return status;
}

um_status umi_vocab_add_json(um_tokenizer *tokenizer, const char *where, const um_json *entry,
                             int32_t id, um_err *err)
{
    static const char *const unsupported[] = {"single_word", "lstrip", "rstrip"};
    const um_json *content = um_json_member(entry, "content");
    um_status status = umi_json_expect(entry, UM_JSON_OBJECT, where, err);
    bool special, normalized;
    const char *text;
    size_t length;

    if (status == UM_OK && um_json_kind_of(content) != UM_JSON_STRING)
        return um_fail_field(err, UM_E_FORMAT, where, "%s: content of id %d is %s", where, id,
                             um_json_kind_name(um_json_kind_of(content)));
    for (size_t i = 0; i < UM_COUNT_OF(unsupported) && status == UM_OK; i++)
        status = umi_json_require(entry, where, unsupported[i], false, err);
    if (status != UM_OK)
        return um_err_prefix(err, status, "id %d", id);
    if (um_json_get_bool(entry, "special", false, &special, err) != UM_OK ||
        um_json_get_bool(entry, "normalized", !special, &normalized, err) != UM_OK)
        return umi_json_malformed(err, where);
    text = um_json_string_value(content, &length);
    return umi_vocab_add(tokenizer, where, text, length, id, special, normalized, err);
}

static int compare_entries(const void *a, const void *b)
{
    const umi_added_entry *left = a, *right = b;
    size_t common = left->length < right->length ? left->length : right->length;
    int order = memcmp(left->text, right->text, common);

    if (order)
        return order;
    if (left->length != right->length)
        return left->length < right->length ? -1 : 1;
    return (left->id > right->id) - (left->id < right->id);
}

static void finish_added(umi_added *added)
{
    if (added->count > 0)
        qsort(added->entries, added->count, sizeof(*added->entries), compare_entries);
    for (size_t i = 0; i < added->count; i++)
        added->starts[(uint8_t)added->entries[i].text[0]] = true;
}

/* ---- bytes ---- */

/* How the vocabulary writes a byte: one character of GPT-2's alphabet, or "<0xE4>". */
static size_t write_byte(const um_tokenizer *tokenizer, int byte, char text[8])
{
    static const char digits[] = "0123456789ABCDEF";
    uint32_t point = 0;

    if (!tokenizer->byte_level) {
        text[0] = '<';
        text[1] = '0';
        text[2] = 'x';
        text[3] = digits[byte >> 4];
        text[4] = digits[byte & 15];
        text[5] = '>';
        return 6;
    }
    while (byte_of_point(point) != byte)
        point++;
    if (point < 0x80) {
        text[0] = (char)point;
        return 1;
    }
    text[0] = (char)(0xC0 | point >> 6);
    text[1] = (char)(0x80 | (point & 0x3F));
    return 2;
}

um_status umi_vocab_finish(um_tokenizer *tokenizer, const char *where, um_err *err)
{
    finish_added(&tokenizer->added_raw);
    finish_added(&tokenizer->added_normalized);
    for (int byte = 0; byte < 256; byte++) {
        bool in_utf8 = byte < 0xF5 && byte != 0xC0 && byte != 0xC1;
        char text[8];
        int32_t id = umi_tokenizer_find(tokenizer, text, write_byte(tokenizer, byte, text));

        if (id < 0 && in_utf8)
            return um_fail_field(err, UM_E_UNSUPPORTED, where,
                                 "%s has no entry for byte 0x%02X: %s", where, (unsigned)byte,
                                 tokenizer->byte_level ? "not byte-level" : "no byte fallback");
        tokenizer->byte_id[byte] = id;
    }
    return UM_OK;
}

/* ---- merges ---- */

um_status umi_merges_begin(um_tokenizer *tokenizer, const char *where, size_t count, um_err *err)
{
    if (count > UMI_MERGES_MAX)
        return um_fail_field(err, UM_E_FORMAT, where, "%s: %zu merges; the limit is %zu", where,
                             count, UMI_MERGES_MAX);
    return umi_bpe_init(&tokenizer->bpe, count) ? UM_OK : umi_vocab_no_memory(err);
}

bool umi_pair_parse(const char *line, size_t length, umi_pair *out)
{
    const char *space = memchr(line, ' ', length);

    if (!space || memchr(space + 1, ' ', length - (size_t)(space + 1 - line)))
        return false;
    out->left = line;
    out->left_length = (size_t)(space - line);
    out->right = space + 1;
    out->right_length = length - out->left_length - 1;
    return true;
}

static bool starts_with_mark(const char *text, size_t length)
{
    return length >= 3 && memcmp(text, UMI_METASPACE, 3) == 0;
}

um_status umi_merges_add(um_tokenizer *tokenizer, const char *where, const umi_pair *pair,
                         uint32_t rank, um_err *err)
{
    size_t length = pair->left_length + pair->right_length;
    int32_t left = umi_tokenizer_find(tokenizer, pair->left, pair->left_length);
    int32_t right = umi_tokenizer_find(tokenizer, pair->right, pair->right_length), result;
    char joined[2 * UMI_TOKEN_TEXT_MAX];

    if (left < 0 || right < 0)
        return um_fail_field(err, UM_E_FORMAT, where, "%s[%u]: \"%.*s\" is not in the vocabulary",
                             where, rank, (int)(left < 0 ? pair->left_length : pair->right_length),
                             left < 0 ? pair->left : pair->right);
    memcpy(joined, pair->left, pair->left_length); /* entries, so within UMI_TOKEN_TEXT_MAX */
    memcpy(joined + pair->left_length, pair->right, pair->right_length);
    result = umi_tokenizer_find(tokenizer, joined, length);
    if (result < 0)
        return um_fail_field(err, UM_E_FORMAT, where,
                             "%s[%u]: its result \"%.*s\" is not in the vocabulary", where, rank,
                             (int)length, joined);
    /* Text must never become a special token by merging, whatever the file says. */
    if (tokenizer->tokens[result].special)
        return UM_OK;
    tokenizer->joins_words =
        tokenizer->joins_words ||
        (starts_with_mark(pair->right, pair->right_length) &&
         !(pair->left_length >= 3 && starts_with_mark(pair->left + pair->left_length - 3, 3)));
    umi_bpe_add(&tokenizer->bpe, left, right, rank, result);
    return UM_OK;
}

/* ---- regexes ---- */

um_status umi_tokenizer_add_split(um_tokenizer *tokenizer, const char *where, const char *pattern,
                                  size_t length, um_err *err)
{
    um_status status;

    if (tokenizer->split_count == UMI_SPLITS_MAX)
        return um_fail_field(err, UM_E_UNSUPPORTED, where, "%s has more than %d regexes", where,
                             UMI_SPLITS_MAX);
    status = umi_regex_create(pattern, length, &tokenizer->splits[tokenizer->split_count], err);
    if (status == UM_OK)
        tokenizer->split_count++;
    return status == UM_OK ? UM_OK : um_err_prefix(err, status, "%s", where);
}
