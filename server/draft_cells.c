#include "server/draft_cells.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/utf8.h"

_Static_assert(sizeof(um_look) == 12, "a look has no padding");

/* ---- life ----------------------------------------------------------------------------------- */

static um_status copy_ends(um_cells *cells)
{
    const um_draft_facts *facts = &cells->facts;
    size_t model = (size_t)facts->end_token_count, own = (size_t)facts->stop_token_count;

    cells->end_count = facts->end_token_count + facts->stop_token_count;
    cells->ends = um_mem_calloc(model + own + 1, sizeof(*cells->ends));
    if (!cells->ends)
        return UM_E_OVERLOADED;
    if (model > 0)
        memcpy(cells->ends, facts->end_tokens, model * sizeof(*cells->ends));
    if (own > 0)
        memcpy(cells->ends + model, facts->stop_tokens, own * sizeof(*cells->ends));
    return UM_OK;
}

um_status um_cells_init(um_cells *cells, const um_draft_facts *facts, um_err *err)
{
    size_t capacity = (size_t)facts->params->canvas_tokens;

    *cells = (um_cells){.facts = *facts,
                        .capacity = facts->params->canvas_tokens,
                        .first_end = facts->params->canvas_tokens};
    cells->cells = um_mem_calloc(capacity, sizeof(*cells->cells));
    if (!cells->cells || copy_ends(cells) != UM_OK) {
        um_cells_deinit(cells);
        return um_fail(err, UM_E_OVERLOADED, "no memory for a draft of %zu positions", capacity);
    }
    for (size_t i = 0; i < capacity; i++)
        cells->cells[i].token = cells->cells[i].guess = UM_DRAFT_MASKED;
    return UM_OK;
}

void um_cells_deinit(um_cells *cells)
{
    um_mem_free(cells->ends);
    um_mem_free(cells->cells);
    um_buf_deinit(&cells->bytes);
    um_buf_deinit(&cells->text);
}

/* ---- steps ---------------------------------------------------------------------------------- */

static int32_t min_of(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t max_of(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static uint8_t percent_of(float confidence)
{
    return confidence >= 1 ? 100 : confidence > 0 ? (uint8_t)lrintf(confidence * 100) : 0;
}

static bool is_end(const um_cells *cells, int32_t token)
{
    return um_is_among(cells->ends, cells->end_count, token);
}

static void find_first_end(um_cells *cells)
{
    cells->first_end = 0;
    while (cells->first_end < cells->capacity &&
           !is_end(cells, cells->cells[cells->first_end].token))
        cells->first_end++;
}

static void apply_change(um_cells *cells, const um_draft_change *change)
{
    bool masked = change->token < 0 || change->token == cells->facts.mask_token;
    um_cell *at;

    UM_ASSERT(change->position >= 0 && change->position < cells->length);
    at = &cells->cells[change->position];
    at->token = masked ? UM_DRAFT_MASKED : change->token;
    at->percent = masked ? 0 : percent_of(change->confidence);
    at->pinned = change->pinned;
    cells->used_end = max_of(cells->used_end, change->position + 1);
    cells->changed_low = min_of(cells->changed_low, change->position);
    if (change->position == cells->first_end)
        find_first_end(cells);
    else if (change->position < cells->first_end && is_end(cells, at->token))
        cells->first_end = change->position;
}

static void forget_guesses(um_cells *cells)
{
    for (int32_t i = 0; i < cells->guess_end; i++)
        cells->cells[i].guess = UM_DRAFT_MASKED;
    cells->guess_end = 0;
}

void um_cells_apply(um_cells *cells, const um_draft_step *step, const um_draft_change *changes)
{
    UM_ASSERT(step->length >= cells->length && step->length <= cells->capacity);
    forget_guesses(cells);
    cells->length = step->length;
    for (int32_t i = 0; i < step->changes; i++)
        apply_change(cells, &changes[i]);
}

void um_cells_guess(um_cells *cells, const um_draft_change *guesses, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        um_cell *at;

        UM_ASSERT(guesses[i].position >= 0 && guesses[i].position < cells->length);
        at = &cells->cells[guesses[i].position];
        at->guess = guesses[i].token;
        at->guess_percent = percent_of(guesses[i].confidence);
        cells->guess_end = max_of(cells->guess_end, guesses[i].position + 1);
    }
}

/* MASK that was predicted, which the authors' code allows, is no text and parts nothing. */
static bool masks_pass(const um_cells *cells)
{
    return cells->finished && cells->facts.params->reference_quirks;
}

bool um_cells_finish(um_cells *cells)
{
    bool had_guesses = cells->guess_end > 0;

    forget_guesses(cells);
    cells->finished = true;
    cells->changed_low = 0;
    return masks_pass(cells) || had_guesses || cells->length < cells->capacity;
}

/* ---- how cells look ------------------------------------------------------------------------- */

int32_t um_cells_length(const um_cells *cells)
{
    int32_t end = cells->first_end;

    while (end < cells->length &&
           (cells->cells[end].token < 0 || is_end(cells, cells->cells[end].token)))
        end++;
    return min_of(end, cells->length);
}

int32_t um_cells_masked_from(const um_cells *cells)
{
    return cells->first_end < cells->length ? um_cells_length(cells)
                                            : max_of(cells->used_end, cells->guess_end);
}

um_scan um_scan_from(int32_t position)
{
    return (um_scan){
        .position = position, .leading = true, .settled = position, .frozen = position};
}

int32_t um_cells_answer_end(const um_cells *cells)
{
    return min_of(cells->first_end, min_of(cells->facts.params->max_tokens, cells->length));
}

/* The bytes that a token adds to the text; none for special ones. */
static const uint8_t *text_of(const um_cells *cells, int32_t token, size_t *length)
{
    *length = 0;
    if (token < 0 || token == cells->facts.mask_token ||
        (!cells->facts.params->keep_special_text &&
         um_tokenizer_is_special(cells->facts.tokenizer, token)))
        return NULL;
    return um_tokenizer_bytes(cells->facts.tokenizer, token, length);
}

static um_tail find_tail(const um_cells *cells, int32_t next, const uint8_t *bytes, size_t count)
{
    int32_t end = um_cells_answer_end(cells);
    char joined[UM_PARTIAL_MAX + 1];

    memcpy(joined, bytes, count);
    for (; next < end; next++) {
        size_t length;
        const uint8_t *text = text_of(cells, cells->cells[next].token, &length);

        if (cells->cells[next].token < 0 && !masks_pass(cells))
            return UM_TAIL_OPEN;
        if (length == 0)
            continue;
        joined[count] = (char)text[0];
        return um_utf8_complete_prefix(joined, count + 1) == 0 ||
                       um_utf8_valid_prefix(joined, count + 1) == count + 1
                   ? UM_TAIL_GOES_ON
                   : UM_TAIL_BROKEN;
    }
    /* A canvas that grows may go on here. */
    return end == cells->length && !cells->finished &&
                   end < min_of(cells->first_end, cells->facts.params->max_tokens)
               ? UM_TAIL_OPEN
               : UM_TAIL_BROKEN;
}

/* How many of the first bytes a character from the left could own. */
static uint8_t claimed(um_scan *s, const uint8_t *bytes, size_t length)
{
    uint8_t count = 0;

    while (count < length && count < s->open && (bytes[count] & 0xC0) == 0x80)
        count++;
    s->open = count == length ? (uint8_t)(s->open - count) : 0;
    return count;
}

/* The unfinished character at the end of what was carried and `bytes`; its length. */
static uint8_t unfinished(const uint8_t *carry, size_t carried, const uint8_t *bytes, size_t length,
                          uint8_t *out)
{
    uint8_t last[2 * UM_PARTIAL_MAX];
    size_t from_bytes = length < UM_PARTIAL_MAX ? length : UM_PARTIAL_MAX, count, whole;

    memcpy(last, carry, carried);
    memcpy(last + carried, bytes + length - from_bytes, from_bytes);
    count = carried + from_bytes;
    whole = um_utf8_complete_prefix((const char *)last, count);
    memcpy(out, last + whole, count - whole);
    return (uint8_t)(count - whole);
}

/* A filled cell whose token is text. */
static void look_at_text(const um_cells *cells, um_scan *s, const uint8_t *bytes, size_t length,
                         um_look *out)
{
    int32_t position = s->position;
    bool loose = claimed(s, bytes, length) > 0, has_whole;

    memcpy(out->carry, s->carry, s->carried);
    out->carried = s->carried;
    s->carried = unfinished(out->carry, out->carried, bytes, length, s->carry);
    has_whole = out->carried + length > s->carried;
    if (s->carried > 0) {
        out->tail = (uint8_t)find_tail(cells, position + 1, s->carry, s->carried);
        if (out->tail != UM_TAIL_GOES_ON)
            s->carried = 0;
    }
    loose = loose || out->tail == UM_TAIL_OPEN;
    if (loose && out->state == 'd')
        out->state = 'f';
    if (!s->leading)
        return;
    s->leading = out->tail != UM_TAIL_OPEN;
    s->settled = position + (s->leading || has_whole);
    if (s->leading && s->carried == 0)
        s->frozen = position + 1;
}

um_look um_scan_next(const um_cells *cells, um_scan *s)
{
    const um_cell *at = &cells->cells[s->position];
    const um_draft_options *options = &cells->facts.options;
    bool filled = at->token >= 0;
    bool over = s->position >= cells->first_end ||
                (filled && s->position >= cells->facts.params->max_tokens);
    um_look out = {.token = over && !options->token_ids ? UM_DRAFT_MASKED : at->token,
                   .percent = options->confidence ? at->percent : 0,
                   .state = over         ? 'e'
                            : at->pinned ? 'p'
                                         : 'd'};
    size_t length;
    const uint8_t *bytes = text_of(cells, at->token, &length);

    if (over || !filled) {
        s->leading = s->leading && !over && masks_pass(cells);
        s->open = UM_PARTIAL_MAX;
        if (!masks_pass(cells))
            s->carried = 0;
    }
    if (!over && !filled) {
        bool guessed = at->guess >= 0 && s->position < cells->facts.params->max_tokens;

        out.state = guessed ? 'g' : 'm';
        out.token = guessed ? at->guess : UM_DRAFT_MASKED;
        out.percent = options->confidence && guessed ? at->guess_percent : 0;
    } else if (!over && length > 0) {
        look_at_text(cells, s, bytes, length, &out);
    } else if (s->leading) {
        s->settled = s->position + 1;
        s->frozen = s->carried == 0 ? s->settled : s->frozen;
    }
    s->position++;
    return out;
}

const char *um_cells_text(um_cells *cells, const um_look *at, size_t *length)
{
    um_buf *out = &cells->text;
    uint8_t rest[UM_PARTIAL_MAX];
    size_t rest_length, whole;
    const uint8_t *bytes = text_of(cells, at->token, length);

    if (at->state == 'e' || *length == 0) {
        *length = 0;
        return "";
    }
    if (at->carried == 0 && at->tail == UM_TAIL_NONE &&
        um_utf8_valid_prefix((const char *)bytes, *length) == *length)
        return (const char *)bytes;
    um_buf_clear(&cells->bytes);
    um_buf_append(&cells->bytes, at->carry, at->carried);
    um_buf_append(&cells->bytes, bytes, *length);
    if (um_buf_failed(&cells->bytes)) {
        cells->failed = true;
        *length = 0;
        return "";
    }
    rest_length =
        at->tail == UM_TAIL_NONE ? 0 : unfinished(at->carry, at->carried, bytes, *length, rest);
    whole = cells->bytes.length - rest_length;
    um_buf_clear(out);
    um_utf8_append_lossy(out, um_buf_view(&cells->bytes), whole);
    if (at->tail == UM_TAIL_BROKEN || (at->tail == UM_TAIL_OPEN && whole == 0))
        um_utf8_append_lossy(out, (const char *)rest, rest_length);
    cells->failed = cells->failed || um_buf_failed(out);
    *length = out->length;
    return um_buf_view(out);
}
