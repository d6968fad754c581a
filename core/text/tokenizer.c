/*
 * Tokenizer: life, look-ups, encoding and decoding. Read-only after load; an encode call keeps its
 * scratch to itself, so calls may run on any threads at once.
 *
 * Path of a text: added tokens split from the raw text -> NFC -> added tokens split from the
 * normalised text -> regexes -> byte-level BPE of each piece.
 */
#include "core/text/tokenizer.h"
#include "core/text/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/utf8.h"

/* ---- ids ---- */

void um_ids_deinit(um_ids *ids)
{
    um_mem_free(ids->data);
    *ids = (um_ids){0};
}

bool um_ids_push(um_ids *ids, int32_t id)
{
    if (ids->count == ids->capacity) {
        size_t capacity = ids->capacity ? ids->capacity * 2 : 64, bytes;
        int32_t *data;

        if (!um_mem_mul(capacity, sizeof(*data), &bytes) ||
            !(data = um_mem_realloc(ids->data, bytes)))
            return false;
        ids->data = data;
        ids->capacity = capacity;
    }
    ids->data[ids->count++] = id;
    return true;
}

um_status umi_ids_push(um_ids *ids, size_t ids_max, int32_t id, um_err *err)
{
    if (ids->count >= ids_max)
        return um_fail(err, UM_E_CONTEXT_LENGTH, "the text has more than %zu tokens", ids_max);
    if (!um_ids_push(ids, id))
        return um_fail(err, UM_E_NOMEM, "tokenizer: no memory for %zu ids", ids->count + 1);
    return UM_OK;
}

/* ---- life ---- */

static void free_added(umi_added *added)
{
    for (size_t i = 0; i < added->count; i++)
        um_mem_free(added->entries[i].text);
    um_mem_free(added->entries);
}

void um_tokenizer_close(um_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    um_mem_free(tokenizer->tokens);
    um_buf_deinit(&tokenizer->pool);
    um_mem_free(tokenizer->map);
    umi_bpe_deinit(&tokenizer->bpe);
    free_added(&tokenizer->added_raw);
    free_added(&tokenizer->added_normalized);
    for (size_t i = 0; i < tokenizer->split_count; i++)
        umi_regex_destroy(tokenizer->splits[i]);
    um_ids_deinit(&tokenizer->prefix);
    um_ids_deinit(&tokenizer->suffix);
    um_mem_free(tokenizer);
}

static um_status load(const um_json *root, um_tokenizer **out, um_err *err)
{
    um_tokenizer *tokenizer = um_mem_zalloc(sizeof(*tokenizer));
    um_status status;

    if (!tokenizer)
        return um_fail(err, UM_E_NOMEM, "tokenizer: no memory");
    status = umi_tokenizer_load(tokenizer, root, err);
    if (status == UM_OK)
        *out = tokenizer;
    else
        um_tokenizer_close(tokenizer);
    return status;
}

um_status um_tokenizer_parse(const char *json, size_t length, um_tokenizer **out, um_err *err)
{
    um_json *root = NULL;
    um_status status = um_json_parse(json, length, &root, err);

    *out = NULL;
    if (status == UM_OK)
        status = load(root, out, err);
    um_json_free(root);
    return status == UM_E_JSON ? um_err_prefix(err, UM_E_FORMAT, "tokenizer.json") : status;
}

um_status um_tokenizer_open(const char *dir, um_tokenizer **out, um_err *err)
{
    um_buf path = {0};
    um_json *root = NULL;
    um_status status;

    *out = NULL;
    um_buf_printf(&path, "%s/tokenizer.json", dir);
    if (um_buf_failed(&path)) {
        status = um_fail(err, UM_E_NOMEM, "tokenizer: no memory for a path");
        goto done;
    }
    status = um_json_load(um_buf_view(&path), UMI_FILE_MAX, &root, err);
    if (status != UM_OK)
        goto done;
    status = load(root, out, err);
    if (status != UM_OK)
        um_err_prefix(err, status, "%s", um_buf_view(&path));
done:
    um_json_free(root);
    um_buf_deinit(&path);
    return status;
}

/* ---- look-ups ---- */

/* FNV-1a */
static size_t slot_of(const um_tokenizer *tokenizer, const char *text, size_t length)
{
    uint64_t hash = 0xCBF29CE484222325u;

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (uint8_t)text[i]) * 0x100000001B3u;
    return (size_t)(hash ^ hash >> 32) & tokenizer->map_mask;
}

static const char *text_of(const um_tokenizer *tokenizer, int32_t id)
{
    return um_buf_view(&tokenizer->pool) + tokenizer->tokens[id].text_at;
}

uint32_t *umi_tokenizer_slot(const um_tokenizer *tokenizer, const char *text, size_t length)
{
    size_t i = slot_of(tokenizer, text, length);

    for (; tokenizer->map[i] != 0; i = (i + 1) & tokenizer->map_mask) {
        int32_t id = (int32_t)tokenizer->map[i] - 1;

        if (tokenizer->tokens[id].text_length == length &&
            memcmp(text_of(tokenizer, id), text, length) == 0)
            break;
    }
    return &tokenizer->map[i];
}

int32_t umi_tokenizer_find(const um_tokenizer *tokenizer, const char *text, size_t length)
{
    return (int32_t)*umi_tokenizer_slot(tokenizer, text, length) - 1;
}

int32_t um_tokenizer_find(const um_tokenizer *tokenizer, const char *text)
{
    return umi_tokenizer_find(tokenizer, text, strlen(text));
}

int32_t um_tokenizer_size(const um_tokenizer *tokenizer)
{
    return tokenizer->size;
}

static const umi_token *token_at(const um_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && id < tokenizer->size && tokenizer->tokens[id].present ? &tokenizer->tokens[id]
                                                                            : NULL;
}

bool um_tokenizer_is_special(const um_tokenizer *tokenizer, int32_t id)
{
    const umi_token *token = token_at(tokenizer, id);

    return token && token->special;
}

const uint8_t *um_tokenizer_bytes(const um_tokenizer *tokenizer, int32_t id, size_t *length)
{
    const umi_token *token = token_at(tokenizer, id);

    *length = token ? token->bytes_length : 0;
    return (const uint8_t *)um_buf_view(&tokenizer->pool) + (token ? token->bytes_at : 0);
}

size_t um_tokenizer_bytes_max(const um_tokenizer *tokenizer)
{
    return tokenizer->bpe.token_bytes_max;
}

/* ---- added tokens ---- */

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

void umi_added_finish(umi_added *added)
{
    if (added->count > 0)
        qsort(added->entries, added->count, sizeof(*added->entries), compare_entries);
    for (size_t i = 0; i < added->count; i++)
        added->starts[(uint8_t)added->entries[i].text[0]] = true;
}

/* First entry of [low, high), which agree on `depth` bytes, whose next byte is at least `byte`
 * (256: high). Entries of exactly `depth` bytes come first and count as smaller. */
static size_t lower_bound(const umi_added *added, size_t low, size_t high, size_t depth, int byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const umi_added_entry *entry = &added->entries[middle];

        if (entry->length == depth || (uint8_t)entry->text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest added token that `text` starts with; NULL: none. */
static const umi_added_entry *longest_at(const umi_added *added, const char *text, size_t length)
{
    const umi_added_entry *found = NULL;
    size_t low = 0, high = added->count;

    for (size_t depth = 0; depth < length; depth++) {
        int byte = (uint8_t)text[depth];

        low = lower_bound(added, low, high, depth, byte);
        high = lower_bound(added, low, high, depth, byte + 1);
        if (low == high)
            break;
        if (added->entries[low].length == depth + 1)
            found = &added->entries[low];
    }
    return found;
}

/* ---- encoding ---- */

typedef struct encoding {
    const um_tokenizer *tokenizer; /* borrowed */
    bool parse_special;
    size_t ids_max;
    um_ids *ids;              /* borrowed */
    umi_matcher *matcher;     /* owned */
    umi_bpe_scratch bpe;      /* owned */
    um_buf normalized, plain; /* owned: a piece in NFC; a piece spelled in the byte alphabet */
    um_err *err;
} encoding;

typedef um_status (*piece_function)(encoding *e, const char *text, size_t length);

/* Calls `between` for the text between added tokens and pushes the tokens themselves. A special
 * token that may not be parsed stays text, and the search goes on behind it, as in the
 * reference. */
static um_status split_added(encoding *e, const umi_added *added, const char *text, size_t length,
                             piece_function between)
{
    size_t done = 0, i = 0;
    um_status status;

    while (i < length) {
        const umi_added_entry *entry =
            added->starts[(uint8_t)text[i]] ? longest_at(added, text + i, length - i) : NULL;

        if (!entry) {
            i++;
            continue;
        }
        i += entry->length;
        if (e->tokenizer->tokens[entry->id].special && !e->parse_special)
            continue;
        status = between(e, text + done, i - entry->length - done);
        if (status == UM_OK)
            status = umi_ids_push(e->ids, e->ids_max, entry->id, e->err);
        if (status != UM_OK)
            return status;
        done = i;
    }
    return between(e, text + done, length - done);
}

/* Some files want a piece that is an entry by itself to become it whatever the merges say. */
static int32_t whole_piece(encoding *e, const char *piece, size_t length)
{
    const um_tokenizer *tokenizer = e->tokenizer;
    int32_t id;

    if (length > tokenizer->bpe.token_bytes_max)
        return -1;
    um_buf_clear(&e->plain);
    for (size_t i = 0; i < length; i++) {
        const umi_token *token = token_at(tokenizer, tokenizer->bpe.byte_id[(uint8_t)piece[i]]);

        um_buf_append(&e->plain, um_buf_view(&tokenizer->pool) + token->text_at,
                      token->text_length);
    }
    id = umi_tokenizer_find(tokenizer, um_buf_view(&e->plain), e->plain.length);
    return um_tokenizer_is_special(tokenizer, id) ? -1 : id;
}

static um_status encode_piece(encoding *e, const char *piece, size_t length)
{
    if (e->tokenizer->ignore_merges) {
        int32_t id = whole_piece(e, piece, length);

        if (um_buf_failed(&e->plain))
            return um_fail(e->err, UM_E_NOMEM, "tokenizer: no memory for a piece");
        if (id >= 0)
            return umi_ids_push(e->ids, e->ids_max, id, e->err);
    }
    return umi_bpe_encode(&e->tokenizer->bpe, &e->bpe, (const uint8_t *)piece, length, e->ids_max,
                          e->ids, e->err);
}

/* Splits by the regexes from `level` on; both the matches and what lies between them are pieces. */
static um_status split_regex(encoding *e, size_t level, const char *text, size_t length)
{
    size_t at = 0;

    if (length == 0)
        return UM_OK;
    if (level == e->tokenizer->split_count)
        return encode_piece(e, text, length);
    while (at < length) {
        size_t begin = length, end = length;
        um_status status = umi_regex_find(e->tokenizer->splits[level], e->matcher, text, length, at,
                                          &begin, &end, e->err);

        if (status < 0)
            return status;
        status = split_regex(e, level + 1, text + at, begin - at);
        if (status == UM_OK)
            status = split_regex(e, level + 1, text + begin, end - begin);
        if (status != UM_OK)
            return status;
        at = end;
    }
    return UM_OK;
}

static um_status encode_normalized(encoding *e, const char *text, size_t length)
{
    return split_regex(e, 0, text, length);
}

static um_status encode_raw(encoding *e, const char *text, size_t length)
{
    if (e->tokenizer->nfc && !umi_nfc_is_plain(text, length)) {
        um_status status;

        um_buf_clear(&e->normalized);
        status = umi_nfc_append(&e->normalized, text, length, e->err);
        if (status != UM_OK)
            return status;
        text = um_buf_view(&e->normalized);
        length = e->normalized.length;
    }
    return split_added(e, &e->tokenizer->added_normalized, text, length, encode_normalized);
}

static um_status push_all(encoding *e, const um_ids *ids)
{
    um_status status = UM_OK;

    for (size_t i = 0; i < ids->count && status == UM_OK; i++)
        status = umi_ids_push(e->ids, e->ids_max, ids->data[i], e->err);
    return status;
}

static um_status check_text(const char *text, size_t length, um_err *err)
{
    size_t valid;

    if (length > UMI_TEXT_MAX)
        return um_fail(err, UM_E_STRING_ABOVE_MAX, "the text has %zu bytes; the limit is %zu",
                       length, UMI_TEXT_MAX);
    valid = um_utf8_valid_prefix(text, length);
    if (valid < length)
        return um_fail(err, UM_E_VALUE, "the text is not valid UTF-8 at byte %zu", valid);
    return UM_OK;
}

um_status um_tokenizer_encode(const um_tokenizer *tokenizer, const char *text, size_t length,
                              unsigned flags, size_t ids_max, um_ids *ids, um_err *err)
{
    encoding e = {.tokenizer = tokenizer, .ids_max = ids_max, .ids = ids, .err = err};
    size_t count_before = ids->count;
    um_status status = check_text(text, length, err);

    if (status != UM_OK)
        return status;
    e.parse_special = flags & UM_ENCODE_PARSE_SPECIAL;
    e.matcher = umi_matcher_create();
    if (!e.matcher) {
        status = um_fail(err, UM_E_NOMEM, "tokenizer: no memory to split the text");
        goto done;
    }
    if (flags & UM_ENCODE_POST_PROCESS)
        status = push_all(&e, &tokenizer->prefix);
    if (status == UM_OK)
        status = split_added(&e, &tokenizer->added_raw, text, length, encode_raw);
    if (status == UM_OK && (flags & UM_ENCODE_POST_PROCESS))
        status = push_all(&e, &tokenizer->suffix);
done:
    if (status != UM_OK)
        ids->count = count_before;
    umi_matcher_destroy(e.matcher);
    umi_bpe_scratch_deinit(&e.bpe);
    um_buf_deinit(&e.normalized);
    um_buf_deinit(&e.plain);
    return status;
}

/* ---- decoding ---- */

um_status um_tokenizer_decode(const um_tokenizer *tokenizer, const int32_t *ids, size_t count,
                              bool skip_special, um_buf *out, um_err *err)
{
    um_buf bytes = {0};

    for (size_t i = 0; i < count; i++) {
        size_t length;
        const uint8_t *token = um_tokenizer_bytes(tokenizer, ids[i], &length);

        if (!(skip_special && um_tokenizer_is_special(tokenizer, ids[i])))
            um_buf_append(&bytes, token, length);
    }
    if (!um_buf_failed(&bytes))
        um_utf8_append_lossy(out, um_buf_view(&bytes), bytes.length);
    if (um_buf_failed(&bytes) || um_buf_failed(out)) {
        um_buf_deinit(&bytes);
        return um_fail(err, UM_E_NOMEM, "tokenizer: no memory to decode %zu ids", count);
    }
    um_buf_deinit(&bytes);
    return UM_OK;
}
