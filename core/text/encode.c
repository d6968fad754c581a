/*
 * Text -> ids. An encode call keeps its scratch to itself, so calls may run on any threads at once.
 *
 * Path of a text: added tokens split from the raw text -> normaliser -> added tokens split from the
 * normalised text -> pre-tokeniser (regexes, or Metaspace) -> BPE of each piece, which starts from
 * bytes (byte-level) or from characters (SentencePiece).
 */
#include "core/text/tokenizer_internal.h"

#include <string.h>

#include "core/base/mem.h"
#include "core/base/utf8.h"

/* ---- added tokens ---- */

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

/* ---- one call ---- */

typedef struct encoding {
    const um_tokenizer *tokenizer; /* borrowed */
    bool parse_special;
    bool begun;  /* something precedes the text at hand */
    bool inside; /* no mark comes in front of it */
    size_t ids_max;
    um_ids *ids;          /* borrowed */
    umi_matcher *matcher; /* owned */
    umi_bpe_scratch bpe;  /* owned */
    um_buf normal[2];     /* owned: a piece while it is normalised */
    um_buf marked, plain; /* owned: a piece with Metaspace's marks; one in the byte alphabet */
    um_err *err;
} encoding;

typedef um_status (*piece_function)(encoding *e, const char *text, size_t length);

static um_status no_memory(const encoding *e)
{
    return um_fail(e->err, UM_E_NOMEM, "tokenizer: no memory for a piece");
}

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
        e->begun = true;
        done = i;
    }
    return between(e, text + done, length - done);
}

/* ---- pieces ---- */

/* A piece as the vocabulary spells it: an ordinary entry by itself, or -1. */
static int32_t whole_piece(encoding *e, const char *piece, size_t length)
{
    const um_tokenizer *tokenizer = e->tokenizer;
    int32_t id;

    if (tokenizer->byte_level) {
        if (length > tokenizer->token_bytes_max)
            return -1;
        um_buf_clear(&e->plain);
        for (size_t i = 0; i < length; i++) {
            const umi_token *token = &tokenizer->tokens[tokenizer->byte_id[(uint8_t)piece[i]]];

            um_buf_append(&e->plain, um_buf_view(&tokenizer->pool) + token->text_at,
                          token->text_length);
        }
        piece = um_buf_view(&e->plain);
        length = e->plain.length;
    }
    id = umi_tokenizer_find(tokenizer, piece, length);
    return um_tokenizer_is_special(tokenizer, id) ? -1 : id;
}

static size_t characters_in(const char *text, size_t length)
{
    size_t count = 0;

    for (size_t i = 0; i < length; i++)
        count += ((uint8_t)text[i] & 0xC0) != 0x80;
    return count;
}

static size_t fill_bytes(const um_tokenizer *tokenizer, umi_symbol *symbols, const char *piece,
                         size_t length)
{
    for (size_t i = 0; i < length; i++) {
        symbols[i].id = tokenizer->byte_id[(uint8_t)piece[i]];
        UM_ASSERT(symbols[i].id >= 0);
    }
    return length;
}

/* Characters that are entries; the others as bytes, and so are those whose entry is special. */
static size_t fill_characters(const um_tokenizer *tokenizer, umi_symbol *symbols, const char *piece,
                              size_t length)
{
    size_t count = 0;

    for (size_t at = 0, size; at < length; at += size) {
        uint8_t lead = (uint8_t)piece[at];
        int32_t id;

        size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
        id = umi_tokenizer_find(tokenizer, piece + at, size);
        if (id >= 0 && !tokenizer->tokens[id].special)
            symbols[count++].id = id;
        else
            count += fill_bytes(tokenizer, symbols + count, piece + at, size);
    }
    return count;
}

static um_status encode_piece(encoding *e, const char *piece, size_t length)
{
    const um_tokenizer *tokenizer = e->tokenizer;
    size_t least = tokenizer->byte_level ? length : characters_in(piece, length), count;
    umi_symbol *symbols;

    if (tokenizer->ignore_merges) {
        int32_t id = whole_piece(e, piece, length);

        if (um_buf_failed(&e->plain))
            return no_memory(e);
        if (id >= 0)
            return umi_ids_push(e->ids, e->ids_max, id, e->err);
    }
    /* A token takes up at most token_bytes_max symbols, so a hopelessly long piece is refused
     * before any memory is taken for it. */
    if (e->ids->count > e->ids_max ||
        least / tokenizer->token_bytes_max > e->ids_max - e->ids->count)
        return um_fail(e->err, UM_E_CONTEXT_LENGTH, "the text has more than %zu tokens",
                       e->ids_max);
    symbols = umi_bpe_begin(&e->bpe, length);
    if (!symbols)
        return no_memory(e);
    count = tokenizer->byte_level ? fill_bytes(tokenizer, symbols, piece, length)
                                  : fill_characters(tokenizer, symbols, piece, length);
    return umi_bpe_finish(&tokenizer->bpe, &e->bpe, count, e->ids_max, e->ids, e->err);
}

/* ---- pre-tokenisers ---- */

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

static bool has_mark(const umi_mark *mark, const char *text, size_t length)
{
    return length >= mark->length && memcmp(text, mark->text, mark->length) == 0;
}

/* Where the piece that begins at `text` ends: at the next mark, for a vocabulary without tokens
 * that go over one only behind another character. No merge reaches over such a place, so that the
 * pieces give the ids of the whole. */
static size_t piece_end(const umi_mark *mark, bool every, const char *text, size_t length)
{
    size_t end = has_mark(mark, text, length) ? mark->length : 1;

    while (!every && has_mark(mark, text + end, length - end))
        end += mark->length;
    while (end < length && !has_mark(mark, text + end, length - end))
        end++;
    return end;
}

static um_status split_marks(encoding *e, const umi_mark *mark, bool every, const char *text,
                             size_t length)
{
    um_status status = UM_OK;

    for (size_t at = 0, size; at < length && status == UM_OK; at += size) {
        size = piece_end(mark, every, text + at, length - at);
        status = encode_piece(e, text + at, size);
    }
    return status;
}

static um_status put_marks(encoding *e, const char **text, size_t *length)
{
    static const umi_mark blank = {.text = " ", .length = 1};
    const umi_metaspace *metaspace = &e->tokenizer->metaspace;
    bool prepend = metaspace->prepend && !e->inside && !(metaspace->only_first && e->begun) &&
                   !has_mark(&blank, *text, *length) && !has_mark(&metaspace->mark, *text, *length);

    um_buf_clear(&e->marked);
    if (prepend)
        um_buf_append(&e->marked, metaspace->mark.text, metaspace->mark.length);
    umi_replace_append(&e->marked, &blank, &metaspace->mark, *text, *length);
    if (um_buf_failed(&e->marked))
        return no_memory(e);
    *text = um_buf_view(&e->marked);
    *length = e->marked.length;
    return UM_OK;
}

static um_status split_words(encoding *e, const char *text, size_t length)
{
    static const umi_mark word = {.text = UMI_METASPACE, .length = sizeof(UMI_METASPACE) - 1};
    const um_tokenizer *tokenizer = e->tokenizer;
    const umi_metaspace *metaspace = &tokenizer->metaspace;

    if (metaspace->mark.length > 0) {
        um_status status = put_marks(e, &text, &length);

        if (status != UM_OK)
            return status;
        if (metaspace->split)
            return split_marks(e, &metaspace->mark, true, text, length);
    }
    if (tokenizer->joins_words || tokenizer->ignore_merges)
        return encode_piece(e, text, length);
    return split_marks(e, &word, false, text, length);
}

static um_status encode_normalized(encoding *e, const char *text, size_t length)
{
    um_status status;

    if (length == 0)
        return UM_OK;
    status =
        e->tokenizer->byte_level ? split_regex(e, 0, text, length) : split_words(e, text, length);
    e->begun = true;
    return status;
}

static um_status encode_raw(encoding *e, const char *text, size_t length)
{
    um_status status =
        umi_normalize(&e->tokenizer->normalizer, e->inside, e->normal, &text, &length, e->err);

    return status == UM_OK
               ? split_added(e, &e->tokenizer->added_normalized, text, length, encode_normalized)
               : status;
}

/* ---- the call ---- */

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
    e.begun = flags & UM_ENCODE_CONTINUE;
    e.inside = flags & UM_ENCODE_INSIDE;
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
    um_buf_deinit(&e.normal[0]);
    um_buf_deinit(&e.normal[1]);
    um_buf_deinit(&e.marked);
    um_buf_deinit(&e.plain);
    return status;
}
