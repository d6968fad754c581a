/*
 * Reads SentencePiece's tokenizer.model, a protobuf message, into a um_tokenizer. Only what the
 * Llama family uses: model type BPE with byte fallback and an identity normaliser; everything else
 * is refused by name. The file is hostile input: every length and number is checked before use.
 *
 * SentencePiece joins the neighbours whose text together is the piece of the highest score. That
 * is a table of merges: every way to cut a piece in two pieces, ranked by the score of the whole.
 */
#include "core/text/tokenizer_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/utf8.h"

#define PIECE_TEXT_MAX 256 /* bytes; every way to cut a piece is looked up */
static const char file[] = "tokenizer.model";

/* ---- protobuf ---- */

typedef enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 } wire_type;

typedef struct message {
    const uint8_t *at, *end;
} message;

typedef struct field {
    uint32_t number;
    wire_type type;
    uint64_t value; /* of a varint */
    message bytes;  /* of the others */
} field;

static bool read_varint(message *m, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        uint8_t byte = *m->at++;

        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

/* Reads the next field. UM_EMPTY at the end, UM_E_FORMAT where the bytes are no message. */
static um_status next_field(message *m, field *out)
{
    uint64_t tag, size;

    if (m->at == m->end)
        return UM_EMPTY;
    if (!read_varint(m, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
        return UM_E_FORMAT;
    *out = (field){.number = (uint32_t)(tag >> 3), .type = (wire_type)(tag & 7)};
    switch (out->type) {
    case WIRE_VARINT:
        return read_varint(m, &out->value) ? UM_OK : UM_E_FORMAT;
    case WIRE_64:
        size = 8;
        break;
    case WIRE_32:
        size = 4;
        break;
    case WIRE_BYTES:
        if (!read_varint(m, &size))
            return UM_E_FORMAT;
        break;
    default:
        return UM_E_FORMAT;
    }
    if (size > (uint64_t)(m->end - m->at))
        return UM_E_FORMAT;
    out->bytes = (message){.at = m->at, .end = m->at + size};
    m->at += size;
    return UM_OK;
}

static um_status malformed(const char *what, um_err *err)
{
    return um_fail(err, UM_E_FORMAT, "%s: %s is no protobuf message", file, what);
}

/* ---- what the model is ---- */

typedef enum piece_type {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN = 2,
    PIECE_CONTROL = 3,
    PIECE_USER_DEFINED = 4,
    PIECE_UNUSED = 5,
    PIECE_BYTE = 6,
} piece_type;

/* Field numbers of sentencepiece_model.proto. */
enum {
    MODEL_PIECES = 1,
    MODEL_TRAINER = 2,
    MODEL_NORMALIZER = 3,
    MODEL_DENORMALIZER = 5,
    PIECE_TEXT = 1,
    PIECE_SCORE = 2,
    PIECE_TYPE = 3,
    TRAINER_MODEL_TYPE = 3,
    TRAINER_WHITESPACE_SUFFIX = 24,
    TRAINER_BYTE_FALLBACK = 35,
    NORMALIZER_NAME = 1,
    NORMALIZER_CHARSMAP = 2,
    NORMALIZER_DUMMY_PREFIX = 3,
    NORMALIZER_EXTRA_WHITESPACES = 4,
    NORMALIZER_ESCAPE = 5,
    MODEL_TYPE_BPE = 2,
};

typedef struct piece {
    const char *text; /* in the file */
    size_t length;
    float score;
    uint64_t type;
} piece;

typedef struct facts {
    size_t piece_count, added_count;
    uint64_t model_type;
    bool byte_fallback, whitespace_suffix;
    bool dummy_prefix, extra_whitespaces, escape;
    bool charsmap, denormalizer;
    char normalizer_name[32];
} facts;

static um_status read_piece(message m, piece *out, um_err *err)
{
    field f;
    um_status status;

    *out = (piece){.type = PIECE_NORMAL};
    while ((status = next_field(&m, &f)) == UM_OK) {
        if (f.number == PIECE_TEXT && f.type == WIRE_BYTES) {
            out->text = (const char *)f.bytes.at;
            out->length = (size_t)(f.bytes.end - f.bytes.at);
        } else if (f.number == PIECE_SCORE && f.type == WIRE_32) {
            memcpy(&out->score, f.bytes.at, sizeof(out->score));
        } else if (f.number == PIECE_TYPE && f.type == WIRE_VARINT) {
            out->type = f.value;
        }
    }
    return status == UM_EMPTY ? UM_OK : malformed("a piece", err);
}

static um_status read_trainer(message m, facts *out, um_err *err)
{
    field f;
    um_status status;

    while ((status = next_field(&m, &f)) == UM_OK) {
        if (f.type != WIRE_VARINT)
            continue;
        if (f.number == TRAINER_MODEL_TYPE)
            out->model_type = f.value;
        else if (f.number == TRAINER_BYTE_FALLBACK)
            out->byte_fallback = f.value != 0;
        else if (f.number == TRAINER_WHITESPACE_SUFFIX)
            out->whitespace_suffix = f.value != 0;
    }
    return status == UM_EMPTY ? UM_OK : malformed("trainer_spec", err);
}

static um_status read_normalizer(message m, facts *out, um_err *err)
{
    field f;
    um_status status;

    while ((status = next_field(&m, &f)) == UM_OK) {
        size_t length = (size_t)(f.bytes.end - f.bytes.at);

        if (f.number == NORMALIZER_NAME && f.type == WIRE_BYTES &&
            length < sizeof(out->normalizer_name))
            memcpy(out->normalizer_name, f.bytes.at, length);
        else if (f.number == NORMALIZER_CHARSMAP && f.type == WIRE_BYTES)
            out->charsmap = length > 0;
        else if (f.number == NORMALIZER_DUMMY_PREFIX && f.type == WIRE_VARINT)
            out->dummy_prefix = f.value != 0;
        else if (f.number == NORMALIZER_EXTRA_WHITESPACES && f.type == WIRE_VARINT)
            out->extra_whitespaces = f.value != 0;
        else if (f.number == NORMALIZER_ESCAPE && f.type == WIRE_VARINT)
            out->escape = f.value != 0;
    }
    return status == UM_EMPTY ? UM_OK : malformed("normalizer_spec", err);
}

static bool has_charsmap(message m)
{
    field f;

    while (next_field(&m, &f) == UM_OK)
        if (f.number == NORMALIZER_CHARSMAP && f.type == WIRE_BYTES && f.bytes.at < f.bytes.end)
            return true;
    return false;
}

static um_status read_facts(message m, facts *out, um_err *err)
{
    field f;
    um_status status;

    /* defaults of sentencepiece_model.proto: unigram, and these three on */
    *out =
        (facts){.model_type = 1, .dummy_prefix = true, .extra_whitespaces = true, .escape = true};
    while ((status = next_field(&m, &f)) == UM_OK) {
        piece p;

        if (f.type != WIRE_BYTES)
            continue;
        if (f.number == MODEL_PIECES) {
            status = read_piece(f.bytes, &p, err);
            out->piece_count++;
            out->added_count += p.type != PIECE_NORMAL && p.type != PIECE_BYTE;
        } else if (f.number == MODEL_TRAINER) {
            status = read_trainer(f.bytes, out, err);
        } else if (f.number == MODEL_NORMALIZER) {
            status = read_normalizer(f.bytes, out, err);
        } else if (f.number == MODEL_DENORMALIZER) {
            out->denormalizer = has_charsmap(f.bytes);
        }
        if (status != UM_OK)
            return status;
    }
    return status == UM_EMPTY ? UM_OK : malformed("the file", err);
}

static um_status refuse(const char *what, um_err *err)
{
    return um_fail(err, UM_E_UNSUPPORTED, "%s: %s, which is not supported", file, what);
}

static um_status check_facts(const facts *found, um_err *err)
{
    static const char *const types[] = {"no model type", "unigram", "BPE", "word", "char"};

    if (found->model_type != MODEL_TYPE_BPE)
        return um_fail(
            err, UM_E_UNSUPPORTED, "%s: its model type is %s; only BPE is supported", file,
            found->model_type < UM_COUNT_OF(types) ? types[found->model_type] : "unknown");
    if (found->charsmap || found->denormalizer)
        return um_fail(err, UM_E_UNSUPPORTED,
                       "%s: it normalises by the rules \"%s\"; only identity is supported", file,
                       found->normalizer_name);
    if (found->extra_whitespaces)
        return refuse("it removes extra white space", err);
    if (!found->escape)
        return refuse("it does not escape white space", err);
    if (found->whitespace_suffix)
        return refuse("it puts white space behind words", err);
    if (!found->byte_fallback)
        return refuse("it has no byte fallback", err);
    if (found->piece_count == 0 || found->piece_count > (size_t)UMI_TOKENS_MAX)
        return um_fail(err, UM_E_FORMAT, "%s: %zu pieces; 1 to %d are allowed", file,
                       found->piece_count, UMI_TOKENS_MAX);
    return UM_OK;
}

/* ---- pieces ---- */

static um_status check_piece(const piece *p, int32_t id, um_err *err)
{
    if (p->length == 0 || p->length > PIECE_TEXT_MAX)
        return um_fail(err, UM_E_FORMAT, "%s: piece %d has %zu bytes; 1 to %d are allowed", file,
                       id, p->length, PIECE_TEXT_MAX);
    if (um_utf8_valid_prefix(p->text, p->length) < p->length)
        return um_fail(err, UM_E_FORMAT, "%s: piece %d is not valid UTF-8", file, id);
    if (p->type < PIECE_NORMAL || p->type > PIECE_BYTE || p->type == PIECE_UNUSED)
        return um_fail(err, UM_E_UNSUPPORTED, "%s: piece %d is of type %llu", file, id,
                       (unsigned long long)p->type);
    if (!isfinite(p->score))
        return um_fail(err, UM_E_FORMAT, "%s: the score of piece %d is not finite", file, id);
    return UM_OK;
}

/* Control and unknown pieces are special. User-defined ones are cut out of the normalised text, in
 * which blanks are marks already, as SentencePiece does. */
static um_status enter_piece(um_tokenizer *tokenizer, const piece *p, int32_t id, um_err *err)
{
    um_status status = check_piece(p, id, err);

    if (status == UM_OK && umi_tokenizer_find(tokenizer, p->text, p->length) >= 0)
        status = um_fail(err, UM_E_FORMAT, "%s: piece %d (\"%.*s\") is there twice", file, id,
                         (int)p->length, p->text);
    if (status != UM_OK)
        return status;
    if (p->type == PIECE_NORMAL || p->type == PIECE_BYTE)
        return umi_vocab_enter(tokenizer, file, p->text, p->length, id, err);
    return umi_vocab_add(tokenizer, file, p->text, p->length, id, p->type != PIECE_USER_DEFINED,
                         p->type == PIECE_USER_DEFINED, err);
}

typedef struct ranked {
    float score;
    int32_t id;
} ranked;

static um_status enter_pieces(um_tokenizer *tokenizer, message m, ranked *normal, size_t *count,
                              um_err *err)
{
    um_status status = UM_OK;
    int32_t id = 0;
    field f;

    while (status == UM_OK && next_field(&m, &f) == UM_OK) {
        piece p;

        if (f.number != MODEL_PIECES || f.type != WIRE_BYTES)
            continue;
        status = read_piece(f.bytes, &p, err);
        if (status == UM_OK)
            status = enter_piece(tokenizer, &p, id, err);
        if (status == UM_OK && p.type == PIECE_NORMAL)
            normal[(*count)++] = (ranked){.score = p.score, .id = id};
        id++;
    }
    return status;
}

/* ---- merges ---- */

static int by_score(const void *a, const void *b)
{
    const ranked *left = a, *right = b;

    if (left->score != right->score)
        return left->score > right->score ? -1 : 1;
    return (left->id > right->id) - (left->id < right->id);
}

/* Visits every cut of a piece into two normal ones; adds them as merges, or counts them when there
 * is no room yet. */
static um_status cut_piece(um_tokenizer *tokenizer, const bool *is_normal, int32_t id,
                           uint32_t rank, size_t *count, um_err *err)
{
    const umi_token *token = &tokenizer->tokens[id];
    const char *text = um_buf_view(&tokenizer->pool) + token->text_at;
    um_status status = UM_OK;

    for (size_t at = 1; at < token->text_length && status == UM_OK; at++) {
        umi_pair pair = {.left = text,
                         .left_length = at,
                         .right = text + at,
                         .right_length = token->text_length - at};
        int32_t left, right;

        if (((uint8_t)text[at] & 0xC0) == 0x80)
            continue;
        left = umi_tokenizer_find(tokenizer, pair.left, pair.left_length);
        right = umi_tokenizer_find(tokenizer, pair.right, pair.right_length);
        if (left < 0 || right < 0 || !is_normal[left] || !is_normal[right])
            continue;
        ++*count;
        if (tokenizer->bpe.table)
            status = umi_merges_add(tokenizer, file, &pair, rank, err);
    }
    return status;
}

/* SentencePiece joins characters that are no pieces too, if their text together is one. Such a
 * vocabulary cannot be trained; here it would need symbols without an id. */
static um_status check_characters(const um_tokenizer *tokenizer, const bool *is_normal, int32_t id,
                                  um_err *err)
{
    const umi_token *token = &tokenizer->tokens[id];
    const char *text = um_buf_view(&tokenizer->pool) + token->text_at;

    for (size_t at = 0, size; at < token->text_length; at += size) {
        int32_t character;

        for (size = 1; at + size < token->text_length && ((uint8_t)text[at + size] & 0xC0) == 0x80;
             size++)
            continue;
        character = umi_tokenizer_find(tokenizer, text + at, size);
        if (character < 0 || !is_normal[character])
            return um_fail(err, UM_E_UNSUPPORTED,
                           "%s: piece %d (\"%.*s\") holds a character that is no piece by itself",
                           file, id, (int)token->text_length, text);
    }
    return UM_OK;
}

/* Pieces of one score share a rank: among them the leftmost place comes first. */
static um_status add_merges(um_tokenizer *tokenizer, const ranked *normal, size_t count,
                            const bool *is_normal, size_t *merges, um_err *err)
{
    um_status status = UM_OK;
    uint32_t rank = 0;

    for (size_t i = 0; i < count && status == UM_OK; i++) {
        if (i > 0 && normal[i].score != normal[i - 1].score)
            rank++;
        status = check_characters(tokenizer, is_normal, normal[i].id, err);
        if (status == UM_OK)
            status = cut_piece(tokenizer, is_normal, normal[i].id, rank, merges, err);
    }
    return status;
}

static um_status make_merges(um_tokenizer *tokenizer, ranked *normal, size_t count, um_err *err)
{
    bool *is_normal = um_mem_calloc((size_t)tokenizer->size, sizeof(*is_normal));
    size_t merges = 0;
    um_status status;

    if (!is_normal)
        return umi_vocab_no_memory(err);
    if (count > 0)
        qsort(normal, count, sizeof(*normal), by_score);
    for (size_t i = 0; i < count; i++)
        is_normal[normal[i].id] = !tokenizer->tokens[normal[i].id].special;
    status = add_merges(tokenizer, normal, count, is_normal, &merges, err);
    if (status == UM_OK)
        status = umi_merges_begin(tokenizer, file, merges, err);
    if (status == UM_OK)
        status = add_merges(tokenizer, normal, count, is_normal, &merges, err);
    um_mem_free(is_normal);
    return status;
}

/* ---- all of it ---- */

static const umi_mark mark = {.text = UMI_METASPACE, .length = sizeof(UMI_METASPACE) - 1};
static const umi_mark blank = {.text = " ", .length = 1};

static void set_normalizer(umi_normalizer *normalizer, bool dummy_prefix)
{
    if (dummy_prefix)
        normalizer->steps[normalizer->count++] =
            (umi_normal_step){.kind = UMI_NORMAL_PREPEND, .to = mark};
    normalizer->steps[normalizer->count++] =
        (umi_normal_step){.kind = UMI_NORMAL_REPLACE, .from = blank, .to = mark};
}

static um_status load_pieces(um_tokenizer *tokenizer, message m, const facts *found,
                             const umi_beside *beside, um_err *err)
{
    int32_t largest = (int32_t)found->piece_count - 1;
    ranked *normal = um_mem_calloc(found->piece_count, sizeof(*normal));
    size_t added = 0, count = 0;
    um_status status;

    if (!normal)
        return umi_vocab_no_memory(err);
    status = umi_beside_measure(beside, &largest, &added, err);
    if (status == UM_OK)
        status = umi_vocab_begin(tokenizer, largest + 1, found->piece_count + added,
                                 found->added_count + added, err);
    if (status == UM_OK)
        status = enter_pieces(tokenizer, m, normal, &count, err);
    /* Only now: the texts of the pieces are in normal form already. */
    set_normalizer(&tokenizer->normalizer, found->dummy_prefix);
    if (status == UM_OK)
        status = umi_beside_add(beside, tokenizer, "</s>", err);
    if (status == UM_OK)
        status = umi_vocab_finish(tokenizer, file, err);
    if (status == UM_OK)
        status = make_merges(tokenizer, normal, count, err);
    um_mem_free(normal);
    return status;
}

um_status umi_sentencepiece_load(um_tokenizer *tokenizer, const uint8_t *model, size_t length,
                                 const umi_beside *beside, um_err *err)
{
    message m = {.at = model, .end = model + length};
    facts found;
    um_status status = read_facts(m, &found, err);

    if (status == UM_OK)
        status = check_facts(&found, err);
    if (status != UM_OK)
        return status;
    tokenizer->mark = mark;
    tokenizer->blank = blank;
    tokenizer->strip_blank = found.dummy_prefix;
    status = load_pieces(tokenizer, m, &found, beside, err);
    if (status == UM_OK)
        status = umi_beside_affixes(beside, tokenizer, true, err);
    return status;
}
