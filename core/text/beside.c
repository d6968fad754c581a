/*
 * What lies beside a vocabulary that is no tokenizer.json: added tokens and special names from
 * tokenizer_config.json, added_tokens.json and special_tokens_map.json.
 *
 * Bos, eos, unk and the additional special tokens are special wherever their text comes from.
 * Padding, separator and mask are so only if they are added tokens: fine-tunes borrow ordinary
 * entries for them (DiffuLLaMA's mask is a piece of Russian words), and those stay words.
 */
#include "core/text/tokenizer_internal.h"

#include <string.h>

#include "core/base/mem.h"

#define NAMES_ALWAYS 3 /* the first of the names below */
static const char *const names[] = {"bos_token", "eos_token", "unk_token", "pad_token",
                                    "sep_token", "cls_token", "mask_token"};
static const char additional[] = "additional_special_tokens";
static const char decoder_key[] = "added_tokens_decoder";
static const char decoder_place[] = "tokenizer_config.json: added_tokens_decoder";

/* A token is written as its text or as an object that holds it; NULL: neither. */
static const char *text_of(const um_json *value, size_t *length)
{
    if (um_json_kind_of(value) == UM_JSON_OBJECT)
        value = um_json_member(value, "content");
    return um_json_kind_of(value) == UM_JSON_STRING ? um_json_string_value(value, length) : NULL;
}

static bool is_text(const um_json *value, const char *text, size_t length)
{
    size_t other_length;
    const char *other = text_of(value, &other_length);

    return other && other_length == length && memcmp(other, text, length) == 0;
}

/* True when one of the two files calls `text` special in any role. */
static bool is_named(const umi_beside *beside, const char *text)
{
    const um_json *files[] = {beside->config, beside->special};
    size_t length = strlen(text);

    for (size_t f = 0; f < UM_COUNT_OF(files); f++) {
        const um_json *list = um_json_member(files[f], additional);

        for (size_t i = 0; i < UM_COUNT_OF(names); i++)
            if (is_text(um_json_member(files[f], names[i]), text, length))
                return true;
        for (size_t i = 0; i < um_json_count(list); i++)
            if (is_text(um_json_element(list, i), text, length))
                return true;
    }
    return false;
}

/* ---- size ---- */

/* The decimal key of added_tokens_decoder; -1 when it is no id. */
static int32_t id_of_key(const char *key)
{
    int32_t id = 0;

    for (const char *at = key; *at; at++) {
        if (*at < '0' || *at > '9' || id >= UMI_TOKENS_MAX)
            return -1;
        id = id * 10 + (*at - '0');
    }
    return *key && id < UMI_TOKENS_MAX ? id : -1;
}

static um_status measure_decoder(const um_json *decoder, int32_t *largest, um_err *err)
{
    um_status status = umi_json_expect(decoder, UM_JSON_OBJECT, decoder_place, err);

    for (void *it = um_json_first(decoder); it && status == UM_OK; it = um_json_next(decoder, it)) {
        int32_t id = id_of_key(um_json_iter_key(it));

        if (id < 0)
            return um_fail_field(err, UM_E_FORMAT, decoder_key,
                                 "%s: \"%.64s\" is no id; ids are 0 to %d", decoder_place,
                                 um_json_iter_key(it), UMI_TOKENS_MAX - 1);
        *largest = id > *largest ? id : *largest;
    }
    return status;
}

static um_status measure_list(const um_json *added, int32_t *largest, um_err *err)
{
    static const char file[] = "added_tokens.json";
    um_status status = umi_json_expect(added, UM_JSON_OBJECT, file, err);

    for (void *it = um_json_first(added); it && status == UM_OK; it = um_json_next(added, it)) {
        int32_t id = -1;

        status = umi_vocab_check_id(um_json_iter_value(it), file, um_json_iter_key(it), &id, err);
        *largest = id > *largest ? id : *largest;
    }
    return status;
}

um_status umi_beside_measure(const umi_beside *beside, int32_t *largest, size_t *count, um_err *err)
{
    const um_json *decoder = um_json_member(beside->config, decoder_key);

    /* the names, and one that the vocabulary's kind has by default */
    *count = UM_COUNT_OF(names) * 2 + 1 +
             um_json_count(um_json_member(beside->config, additional)) +
             um_json_count(um_json_member(beside->special, additional));
    if (um_json_kind_of(decoder) != UM_JSON_NULL) {
        *count += um_json_count(decoder);
        return measure_decoder(decoder, largest, err);
    }
    if (!beside->added)
        return UM_OK;
    *count += um_json_count(beside->added);
    return measure_list(beside->added, largest, err);
}

/* ---- entering ---- */

/* An ordinary entry that a file calls special; a text without an entry is left out, because its
 * id would be one that the model has never seen. */
static um_status make_special(um_tokenizer *tokenizer, const char *text, size_t length, um_err *err)
{
    int32_t id = text ? umi_tokenizer_find(tokenizer, text, length) : -1;

    if (id < 0 || tokenizer->tokens[id].special)
        return UM_OK;
    return umi_vocab_add(tokenizer, "special tokens", text, length, id, true, false, err);
}

static um_status make_named_special(um_tokenizer *tokenizer, const um_json *file, um_err *err)
{
    const um_json *list = um_json_member(file, additional);
    um_status status = UM_OK;
    size_t length = 0;

    for (size_t i = 0; i < NAMES_ALWAYS && status == UM_OK; i++) {
        const char *text = text_of(um_json_member(file, names[i]), &length);

        status = make_special(tokenizer, text, length, err);
    }
    for (size_t i = 0; i < um_json_count(list) && status == UM_OK; i++) {
        const char *text = text_of(um_json_element(list, i), &length);

        status = make_special(tokenizer, text, length, err);
    }
    return status;
}

/* added_tokens_decoder says everything about a token; where it is missing, added_tokens.json has the
 * ids and the names tell which are special. */
static um_status add_listed(const umi_beside *beside, um_tokenizer *tokenizer, um_err *err)
{
    const um_json *decoder = um_json_member(beside->config, decoder_key);
    bool has_decoder = um_json_kind_of(decoder) != UM_JSON_NULL;
    const um_json *list = has_decoder ? decoder : beside->added;
    um_status status = UM_OK;

    for (void *it = um_json_first(list); it && status == UM_OK; it = um_json_next(list, it)) {
        const char *key = um_json_iter_key(it);
        const um_json *value = um_json_iter_value(it);
        bool special = is_named(beside, key);

        status = has_decoder
                     ? umi_vocab_add_json(tokenizer, decoder_place, value, id_of_key(key), err)
                     : umi_vocab_add(tokenizer, "added_tokens.json", key, strlen(key),
                                     (int32_t)um_json_int_value(value), special, !special, err);
    }
    return status;
}

um_status umi_beside_add(const umi_beside *beside, um_tokenizer *tokenizer, const char *end_text,
                         um_err *err)
{
    um_status status = add_listed(beside, tokenizer, err);

    if (status == UM_OK)
        status = make_named_special(tokenizer, beside->config, err);
    if (status == UM_OK)
        status = make_named_special(tokenizer, beside->special, err);
    if (status == UM_OK)
        status = make_special(tokenizer, end_text, strlen(end_text), err);
    return status;
}

/* ---- around a text ---- */

/* Pushes the token of `name` if `key` asks for it (or is missing and `wanted` says so). */
static um_status push_affix(const umi_beside *beside, const um_tokenizer *tokenizer,
                            const char *key, bool wanted, const char *name, const char *fallback,
                            um_ids *out, um_err *err)
{
    size_t length = strlen(fallback), found_length;
    const char *text = text_of(um_json_member(beside->config, name), &found_length);
    bool given = um_json_kind_of(um_json_member(beside->config, key)) != UM_JSON_NULL, asked;
    int32_t id;

    if (!text)
        text = text_of(um_json_member(beside->special, name), &found_length);
    length = text ? found_length : length;
    text = text ? text : fallback;
    if (um_json_get_bool(beside->config, key, wanted, &asked, err) != UM_OK)
        return umi_json_malformed(err, "tokenizer_config.json");
    if (!asked)
        return UM_OK;
    id = umi_tokenizer_find(tokenizer, text, length);
    if (id < 0 && given)
        return um_fail_field(err, UM_E_FORMAT, key, "%s is set, but there is no token \"%.64s\"",
                             key, text);
    if (id >= 0 && !um_ids_push(out, id))
        return umi_vocab_no_memory(err);
    return UM_OK;
}

um_status umi_beside_affixes(const umi_beside *beside, um_tokenizer *tokenizer, bool bos_default,
                             um_err *err)
{
    um_status status = push_affix(beside, tokenizer, "add_bos_token", bos_default, "bos_token",
                                  "<s>", &tokenizer->prefix, err);

    if (status == UM_OK)
        status = push_affix(beside, tokenizer, "add_eos_token", false, "eos_token", "</s>",
                            &tokenizer->suffix, err);
    return status;
}
