/*
 * What stands around the model in tokenizer.json: normaliser, pre-tokeniser, decoder and
 * post-processor. Two shapes are known: byte-level (regexes and ByteLevel) and SentencePiece's
 * (marks put for blanks, Metaspace, byte fallback); the decoder tells which one a file has, and
 * what does not belong to it is refused by name.
 */
#include "core/text/tokenizer_internal.h"

#include <string.h>

/* ---- typed access ---- */

um_status umi_json_malformed(um_err *err, const char *where)
{
    return um_err_prefix(err, UM_E_FORMAT, "%s", where);
}

um_status umi_json_expect(const um_json *value, um_json_kind kind, const char *key, um_err *err)
{
    if (um_json_kind_of(value) == kind)
        return UM_OK;
    return um_fail_field(err, UM_E_FORMAT, key, "%s is %s; expected %s", key,
                         um_json_kind_name(um_json_kind_of(value)), um_json_kind_name(kind));
}

um_status umi_json_type(const um_json *value, const char *key, const char **type, um_err *err)
{
    um_status status = umi_json_expect(value, UM_JSON_OBJECT, key, err);

    if (status == UM_OK && um_json_get_string(value, "type", "", type, err) != UM_OK)
        status = umi_json_malformed(err, key);
    return status;
}

um_status umi_json_refuse_type(const char *key, const char *type, const char *supported,
                               um_err *err)
{
    return um_fail_field(err, UM_E_UNSUPPORTED, key, "%s.type is \"%.64s\"; supported: %s", key,
                         type, supported);
}

um_status umi_json_require(const um_json *object, const char *where, const char *key, bool wanted,
                           um_err *err)
{
    bool value;

    if (um_json_get_bool(object, key, wanted, &value, err) != UM_OK)
        return umi_json_malformed(err, where);
    if (value != wanted)
        return um_fail_field(err, UM_E_UNSUPPORTED, key, "%s.%s is %s, which is not supported",
                             where, key, value ? "true" : "false");
    return UM_OK;
}

/* A short string member, as a mark. */
static um_status read_mark(const um_json *value, const char *key, umi_mark *mark, um_err *err)
{
    size_t length = 0;
    const char *text =
        um_json_kind_of(value) == UM_JSON_STRING ? um_json_string_value(value, &length) : "";

    if (!umi_mark_set(mark, text, length))
        return um_fail_field(err, UM_E_UNSUPPORTED, key,
                             "%s is no text of 1 to %d bytes, which is all that is supported", key,
                             UMI_MARK_MAX);
    return UM_OK;
}

/* `pattern` and `content` of a Replace. */
static um_status read_replace(const um_json *value, const char *key, umi_mark *from, umi_mark *to,
                              um_err *err)
{
    um_status status =
        read_mark(um_json_member(um_json_member(value, "pattern"), "String"), key, from, err);

    return status == UM_OK ? read_mark(um_json_member(value, "content"), key, to, err) : status;
}

/* ---- normaliser ---- */

static um_status load_normalizer(um_tokenizer *tokenizer, const um_json *value, um_err *err)
{
    static const char key[] = "normalizer";
    umi_normalizer *normalizer = &tokenizer->normalizer;
    umi_normal_step *step = &normalizer->steps[normalizer->count];
    const um_json *parts = um_json_member(value, "normalizers");
    const char *type;
    um_status status;

    if (um_json_kind_of(value) == UM_JSON_NULL)
        return UM_OK;
    status = umi_json_type(value, key, &type, err);
    if (status != UM_OK)
        return status;
    if (strcmp(type, "Sequence") == 0) {
        status = umi_json_expect(parts, UM_JSON_ARRAY, "normalizer.normalizers", err);
        for (size_t i = 0; i < um_json_count(parts) && status == UM_OK; i++)
            status = load_normalizer(tokenizer, um_json_element(parts, i), err);
        return status;
    }
    if (normalizer->count == UMI_NORMAL_STEPS_MAX)
        return um_fail_field(err, UM_E_UNSUPPORTED, key, "%s has more than %d steps", key,
                             UMI_NORMAL_STEPS_MAX);
    if (strcmp(type, "NFC") == 0) {
        step->kind = UMI_NORMAL_NFC;
    } else if (strcmp(type, "Prepend") == 0) {
        step->kind = UMI_NORMAL_PREPEND;
        status = read_mark(um_json_member(value, "prepend"), "normalizer.prepend", &step->to, err);
    } else if (strcmp(type, "Replace") == 0) {
        step->kind = UMI_NORMAL_REPLACE;
        status = read_replace(value, "normalizer.Replace", &step->from, &step->to, err);
    } else {
        return umi_json_refuse_type(key, type, "NFC, Prepend, Replace, Sequence, null", err);
    }
    if (status == UM_OK)
        normalizer->count++;
    return status;
}

/* ---- pre-tokeniser ---- */

static um_status load_split(um_tokenizer *tokenizer, const um_json *value, um_err *err)
{
    static const char key[] = "pre_tokenizer";
    const um_json *pattern = um_json_member(value, "pattern");
    const um_json *regex = um_json_member(pattern, "Regex");
    um_status status = umi_json_require(value, key, "invert", false, err);
    const char *behavior, *text;
    size_t length;

    if (status == UM_OK && um_json_get_string(value, "behavior", "", &behavior, err) != UM_OK)
        status = umi_json_malformed(err, key);
    if (status != UM_OK)
        return status;
    if (strcmp(behavior, "Isolated") != 0)
        return um_fail_field(err, UM_E_UNSUPPORTED, "behavior",
                             "%s.behavior is \"%.64s\"; only Isolated is supported", key, behavior);
    if (um_json_kind_of(regex) != UM_JSON_STRING)
        return um_fail_field(err, UM_E_UNSUPPORTED, "pattern",
                             "%s.pattern is not {\"Regex\": \"...\"}", key);
    text = um_json_string_value(regex, &length);
    return umi_tokenizer_add_split(tokenizer, key, text, length, err);
}

/* Splits, then one ByteLevel. `closed` tells that the ByteLevel was seen: what the reference runs
 * behind it works on the byte alphabet, which we never spell out. */
static um_status load_regexes(um_tokenizer *tokenizer, const um_json *value, bool *closed,
                              um_err *err)
{
    static const char key[] = "pre_tokenizer";
    const um_json *parts = um_json_member(value, "pretokenizers");
    const char *type;
    um_status status = umi_json_type(value, key, &type, err);
    bool use_regex;

    if (status != UM_OK)
        return status;
    if (strcmp(type, "Sequence") == 0) {
        status = umi_json_expect(parts, UM_JSON_ARRAY, "pre_tokenizer.pretokenizers", err);
        for (size_t i = 0; i < um_json_count(parts) && status == UM_OK; i++)
            status = load_regexes(tokenizer, um_json_element(parts, i), closed, err);
        return status;
    }
    if (*closed)
        return um_fail_field(err, UM_E_UNSUPPORTED, key, "%s has \"%.64s\" behind ByteLevel", key,
                             type);
    if (strcmp(type, "Split") == 0)
        return load_split(tokenizer, value, err);
    if (strcmp(type, "ByteLevel") != 0)
        return umi_json_refuse_type(key, type, "Split, ByteLevel, Sequence", err);
    *closed = true;
    status = umi_json_require(value, key, "add_prefix_space", false, err);
    if (status == UM_OK && um_json_get_bool(value, "use_regex", true, &use_regex, err) != UM_OK)
        status = umi_json_malformed(err, key);
    if (status == UM_OK && use_regex)
        status =
            umi_tokenizer_add_split(tokenizer, key, UMI_GPT2_REGEX, strlen(UMI_GPT2_REGEX), err);
    return status;
}

/* Newer files say prepend_scheme, older ones add_prefix_space; both default to "always". */
static um_status load_metaspace(um_tokenizer *tokenizer, const um_json *value, um_err *err)
{
    static const char key[] = "pre_tokenizer";
    umi_metaspace *metaspace = &tokenizer->metaspace;
    const char *type, *scheme;
    bool add_prefix_space;
    um_status status;

    if (um_json_kind_of(value) == UM_JSON_NULL)
        return UM_OK;
    status = umi_json_type(value, key, &type, err);
    if (status == UM_OK && strcmp(type, "Metaspace") != 0)
        status = umi_json_refuse_type(key, type, "Metaspace, null", err);
    if (status == UM_OK)
        status = read_mark(um_json_member(value, "replacement"), "pre_tokenizer.replacement",
                           &metaspace->mark, err);
    if (status != UM_OK)
        return status;
    if (um_json_get_bool(value, "add_prefix_space", true, &add_prefix_space, err) != UM_OK ||
        um_json_get_string(value, "prepend_scheme", add_prefix_space ? "always" : "never", &scheme,
                           err) != UM_OK ||
        um_json_get_bool(value, "split", true, &metaspace->split, err) != UM_OK)
        return umi_json_malformed(err, key);
    metaspace->only_first = strcmp(scheme, "first") == 0;
    metaspace->prepend = metaspace->only_first || strcmp(scheme, "always") == 0;
    if (!metaspace->prepend && strcmp(scheme, "never") != 0)
        return um_fail_field(err, UM_E_UNSUPPORTED, "prepend_scheme",
                             "%s.prepend_scheme is \"%.64s\"; supported: always, first, never", key,
                             scheme);
    return UM_OK;
}

/* ---- decoder ---- */

/* The parts that SentencePiece's decoders may have, in this order. */
typedef enum decoder_part {
    PART_NONE,
    PART_REPLACE,
    PART_BYTES,
    PART_FUSE,
    PART_STRIP
} decoder_part;

static um_status load_strip(um_tokenizer *tokenizer, const um_json *value, um_err *err)
{
    const char *content;
    int64_t begin, end;

    if (um_json_get_string(value, "content", "", &content, err) != UM_OK ||
        um_json_get_int(value, "start", 0, 1, 0, &begin, err) != UM_OK ||
        um_json_get_int(value, "stop", 0, 0, 0, &end, err) != UM_OK)
        return umi_json_malformed(err, "decoder.Strip");
    if (strcmp(content, " ") != 0)
        return um_fail_field(err, UM_E_UNSUPPORTED, "content",
                             "decoder.Strip removes \"%.64s\"; only one blank is supported",
                             content);
    tokenizer->strip_blank = begin == 1;
    return UM_OK;
}

/* One character, so that no token stands for fewer bytes than it has characters. */
static um_status load_mark(um_tokenizer *tokenizer, const um_json *value, um_err *err)
{
    static const char key[] = "decoder.Replace";
    umi_mark *mark = &tokenizer->mark;
    um_status status = read_replace(value, key, mark, &tokenizer->blank, err);

    for (size_t i = 1; i < mark->length && status == UM_OK; i++)
        if (((uint8_t)mark->text[i] & 0xC0) != 0x80)
            status = um_fail_field(err, UM_E_UNSUPPORTED, key,
                                   "%s looks for \"%.*s\"; one character "
                                   "is supported",
                                   key, (int)mark->length, mark->text);
    return status;
}

static um_status load_piece_decoder(um_tokenizer *tokenizer, const um_json *value,
                                    decoder_part *last, um_err *err)
{
    static const char *const names[] = {
        [PART_REPLACE] = "Replace",
        [PART_BYTES] = "ByteFallback",
        [PART_FUSE] = "Fuse",
        [PART_STRIP] = "Strip",
    };
    decoder_part part = PART_REPLACE;
    const char *type;
    um_status status = umi_json_type(value, "decoder", &type, err);

    if (status != UM_OK)
        return status;
    while (part <= PART_STRIP && strcmp(type, names[part]) != 0)
        part++;
    if (part != *last + 1)
        return umi_json_refuse_type("decoder", type, "Replace, ByteFallback, Fuse, Strip in a row",
                                    err);
    *last = part;
    if (part == PART_REPLACE)
        return load_mark(tokenizer, value, err);
    return part == PART_STRIP ? load_strip(tokenizer, value, err) : UM_OK;
}

/* A ByteLevel, alone or in a Sequence, or a Sequence of the parts above. */
static um_status load_decoder(um_tokenizer *tokenizer, const um_json *value, um_err *err)
{
    static const char key[] = "decoder";
    const um_json *parts = um_json_member(value, "decoders");
    decoder_part last = PART_NONE;
    const char *type;
    um_status status = umi_json_type(value, key, &type, err);

    if (status != UM_OK)
        return status;
    if (strcmp(type, "Sequence") == 0) {
        status = umi_json_expect(parts, UM_JSON_ARRAY, "decoder.decoders", err);
        if (status != UM_OK)
            return status;
        if (um_json_count(parts) == 1)
            return load_decoder(tokenizer, um_json_element(parts, 0), err);
        for (size_t i = 0; i < um_json_count(parts) && status == UM_OK; i++)
            status = load_piece_decoder(tokenizer, um_json_element(parts, i), &last, err);
        if (status == UM_OK && last < PART_FUSE)
            status =
                um_fail_field(err, UM_E_UNSUPPORTED, key,
                              "%s has neither ByteLevel nor Replace, ByteFallback and Fuse", key);
        return status;
    }
    tokenizer->byte_level = strcmp(type, "ByteLevel") == 0;
    return tokenizer->byte_level ? UM_OK
                                 : umi_json_refuse_type(key, type,
                                                        "ByteLevel, or a Sequence of Replace, "
                                                        "ByteFallback, Fuse and Strip",
                                                        err);
}

um_status umi_pipeline_load(um_tokenizer *tokenizer, const um_json *root, um_err *err)
{
    const um_json *pre_tokenizer = um_json_member(root, "pre_tokenizer");
    bool closed = false;
    um_status status = load_normalizer(tokenizer, um_json_member(root, "normalizer"), err);

    if (status == UM_OK)
        status = load_decoder(tokenizer, um_json_member(root, "decoder"), err);
    if (status != UM_OK)
        return status;
    if (!tokenizer->byte_level)
        return load_metaspace(tokenizer, pre_tokenizer, err);
    status = load_regexes(tokenizer, pre_tokenizer, &closed, err);
    if (status == UM_OK && !closed)
        status =
            um_fail_field(err, UM_E_UNSUPPORTED, "pre_tokenizer", "pre_tokenizer has no ByteLevel");
    return status;
}

/* ---- post-processor ---- */

static um_status push_special(um_tokenizer *tokenizer, const um_json *processor,
                              const um_json *item, um_ids *out, um_err *err)
{
    static const char key[] = "post_processor";
    const um_json *ids;
    const char *name;
    um_status status = umi_json_expect(item, UM_JSON_OBJECT, "post_processor.single[]", err);

    if (status != UM_OK)
        return status;
    if (um_json_get_string(item, "id", "", &name, err) != UM_OK)
        return umi_json_malformed(err, key);
    ids = um_json_member(um_json_member(um_json_member(processor, "special_tokens"), name), "ids");
    if (um_json_kind_of(ids) != UM_JSON_ARRAY)
        return um_fail_field(err, UM_E_FORMAT, key, "%s.special_tokens has no ids for \"%.64s\"",
                             key, name);
    for (size_t i = 0; i < um_json_count(ids); i++) {
        int32_t id = -1;

        status = umi_vocab_check_id(um_json_element(ids, i), key, name, &id, err);
        if (status != UM_OK)
            return status;
        if (id >= tokenizer->size || !tokenizer->tokens[id].present)
            return um_fail_field(err, UM_E_FORMAT, key,
                                 "%s: \"%.64s\" has id %d, which no token has", key, name, id);
        if (!um_ids_push(out, id))
            return umi_vocab_no_memory(err);
    }
    return UM_OK;
}

static um_status load_template(um_tokenizer *tokenizer, const um_json *value, um_err *err)
{
    static const char key[] = "post_processor.single";
    const um_json *single = um_json_member(value, "single");
    um_status status = umi_json_expect(single, UM_JSON_ARRAY, key, err);
    bool seen = false;

    for (size_t i = 0; i < um_json_count(single) && status == UM_OK; i++) {
        const um_json *item = um_json_element(single, i);
        const um_json *sequence = um_json_member(item, "Sequence");
        const um_json *special = um_json_member(item, "SpecialToken");
        const char *id = "";

        if (sequence) {
            if (um_json_get_string(sequence, "id", "", &id, err) != UM_OK)
                return umi_json_malformed(err, key);
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
    status = umi_json_type(value, key, &type, err);
    if (status != UM_OK || strcmp(type, "ByteLevel") == 0)
        return status;
    if (strcmp(type, "Sequence") == 0) {
        status = umi_json_expect(parts, UM_JSON_ARRAY, "post_processor.processors", err);
        for (size_t i = 0; i < um_json_count(parts) && status == UM_OK; i++)
            status = load_post_processor(tokenizer, um_json_element(parts, i), has_template, err);
        return status;
    }
    if (strcmp(type, "TemplateProcessing") != 0 || *has_template)
        return umi_json_refuse_type(key, type, "one TemplateProcessing, ByteLevel, Sequence, null",
                                    err);
    *has_template = true;
    return load_template(tokenizer, value, err);
}

um_status umi_post_processor_load(um_tokenizer *tokenizer, const um_json *value, um_err *err)
{
    bool has_template = false;

    return load_post_processor(tokenizer, value, &has_template, err);
}
