/*
 * Tokenizer: end of life, look-ups and decoding. Read-only after load, so calls may run on any
 * threads at once.
 */
#include "core/text/tokenizer.h"
#include "core/text/tokenizer_internal.h"

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
    return tokenizer->token_bytes_max;
}

/* ---- decoding ---- */

um_status um_tokenizer_decode(const um_tokenizer *tokenizer, const int32_t *ids, size_t count,
                              bool skip_special, um_buf *out, um_err *err)
{
    um_buf bytes = {0};
    size_t skipped;

    for (size_t i = 0; i < count; i++) {
        size_t length;
        const uint8_t *token = um_tokenizer_bytes(tokenizer, ids[i], &length);

        if (!(skip_special && um_tokenizer_is_special(tokenizer, ids[i])))
            um_buf_append(&bytes, token, length);
    }
    skipped = tokenizer->strip_blank && um_buf_view(&bytes)[0] == ' ';
    if (!um_buf_failed(&bytes))
        um_utf8_append_lossy(out, um_buf_view(&bytes) + skipped, bytes.length - skipped);
    if (um_buf_failed(&bytes) || um_buf_failed(out)) {
        um_buf_deinit(&bytes);
        return um_fail(err, UM_E_NOMEM, "tokenizer: no memory to decode %zu ids", count);
    }
    um_buf_deinit(&bytes);
    return UM_OK;
}
