#include "server/draft.h"

#include <string.h>

#include "core/base/mem.h"
#include "server/draft_cells.h"

#define BLANK "\xe2\x96\x91" /* U+2591 LIGHT SHADE */

struct um_draft {
    um_cells cells;
    um_look *shown;     /* [cells.capacity], owned: as of the last frame; valid below `shown_end` */
    int32_t shown_end;  /* everything is masked from here on, in the last frame */
    int32_t frozen;     /* of `shown`, as in um_scan */
    int32_t settled;    /* of the last frame */
    um_draft_step step; /* the last one applied */
    bool news;
    int64_t seq; /* of the next frame */
    int patches; /* since the last full one */
    bool full_next;
    int32_t frame_block; /* of the last frame; -1: there was none */
    int32_t frame_length;
    int32_t frame_end;        /* of the block, as it was told */
    um_buf ops, frame, spare; /* owned; used again */
};

um_status um_draft_create(const um_draft_facts *facts, um_draft **out, um_err *err)
{
    size_t capacity = (size_t)facts->params->canvas_tokens;
    um_draft *draft = um_mem_zalloc(sizeof(*draft));

    *out = NULL;
    if (draft)
        draft->shown = um_mem_calloc(capacity, sizeof(*draft->shown));
    if (!draft || !draft->shown) {
        um_mem_free(draft);
        return um_fail(err, UM_E_OVERLOADED, "no memory for a draft of %zu positions", capacity);
    }
    if (um_cells_init(&draft->cells, facts, err) != UM_OK) {
        um_mem_free(draft->shown);
        um_mem_free(draft);
        return UM_E_OVERLOADED;
    }
    draft->frame_block = -1;
    *out = draft;
    return UM_OK;
}

void um_draft_destroy(um_draft *draft)
{
    if (!draft)
        return;
    um_cells_deinit(&draft->cells);
    um_mem_free(draft->shown);
    um_buf_deinit(&draft->ops);
    um_buf_deinit(&draft->frame);
    um_buf_deinit(&draft->spare);
    um_mem_free(draft);
}

void um_draft_apply(um_draft *draft, const um_draft_step *step, const um_draft_change *changes)
{
    um_cells_apply(&draft->cells, step, changes);
    draft->step = *step;
    draft->news = step->step > 0;
}

void um_draft_guess(um_draft *draft, const um_draft_change *guesses, int32_t count)
{
    um_cells_guess(&draft->cells, guesses, count);
}

void um_draft_finish(um_draft *draft)
{
    if (um_cells_finish(&draft->cells) || draft->frame_block < 0)
        draft->news = true;
}

/* ---- frames --------------------------------------------------------------------------------- */

static void put_number(um_buf *out, int64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    UM_ASSERT(value >= 0);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    um_buf_append(out, digits + at, sizeof(digits) - at);
}

static void put_texts(um_draft *draft, int32_t begin, int32_t end, um_buf *out)
{
    um_buf_char(out, '[');
    for (int32_t i = begin; i < end; i++) {
        size_t length;
        const char *text;

        if (i > begin)
            um_buf_char(out, ',');
        if (draft->shown[i].state == 'm') {
            um_buf_text(out, "null");
            continue;
        }
        text = um_cells_text(&draft->cells, &draft->shown[i], &length);
        um_json_append_string(out, text, length);
    }
    um_buf_char(out, ']');
}

static void put_states(const um_draft *draft, int32_t begin, int32_t end, um_buf *out)
{
    um_buf_char(out, '"');
    for (int32_t i = begin; i < end; i++)
        um_buf_char(out, draft->shown[i].state);
    um_buf_char(out, '"');
}

static void put_percents(const um_draft *draft, int32_t begin, int32_t end, um_buf *out)
{
    um_buf_char(out, '[');
    for (int32_t i = begin; i < end; i++) {
        if (i > begin)
            um_buf_char(out, ',');
        put_number(out, draft->shown[i].percent);
    }
    um_buf_char(out, ']');
}

static void put_ids(const um_draft *draft, int32_t begin, int32_t end, um_buf *out)
{
    um_buf_char(out, '[');
    for (int32_t i = begin; i < end; i++) {
        if (i > begin)
            um_buf_char(out, ',');
        if (draft->shown[i].token < 0)
            um_buf_text(out, "null");
        else
            put_number(out, draft->shown[i].token);
    }
    um_buf_char(out, ']');
}

/* [start,del,t,s] and what the client asked for beside it. */
static void put_op(um_draft *draft, int32_t begin, int32_t end)
{
    const um_draft_options *options = &draft->cells.facts.options;
    um_buf *out = &draft->ops;

    um_buf_text(out, out->length > 0 ? ",[" : "[");
    put_number(out, begin);
    um_buf_char(out, ',');
    put_number(out, end - begin);
    um_buf_char(out, ',');
    put_texts(draft, begin, end, out);
    um_buf_char(out, ',');
    put_states(draft, begin, end, out);
    if (options->confidence) {
        um_buf_char(out, ',');
        put_percents(draft, begin, end, out);
    } else if (options->token_ids) {
        um_buf_text(out, ",null");
    }
    if (options->token_ids) {
        um_buf_char(out, ',');
        put_ids(draft, begin, end, out);
    }
    um_buf_char(out, ']');
}

/* Brings `shown` up to date; with_ops: writes what that changes. */
static void refresh(um_draft *draft, bool with_ops)
{
    int32_t masked = um_cells_masked_from(&draft->cells);
    int32_t length = um_cells_length(&draft->cells);
    int32_t shown_end = draft->shown_end < length ? draft->shown_end : length;
    int32_t end = masked > shown_end ? masked : shown_end;
    int32_t from = draft->cells.changed_low < draft->frozen ? 0 : draft->frozen;
    int32_t begin = -1, last = from; /* of the run of changed cells; of the shown ones */
    um_scan s = um_scan_from(from);

    um_buf_clear(&draft->ops);
    while (s.position < end) {
        int32_t position = s.position;
        um_look now = um_scan_next(&draft->cells, &s), *shown = &draft->shown[position];
        bool known = position < shown_end;
        bool equal = known ? memcmp(&now, shown, sizeof(now)) == 0 : now.state == 'm';

        *shown = now;
        if (now.state != 'm')
            last = position + 1;
        if (!equal && begin < 0)
            begin = position;
        if (equal && begin >= 0 && with_ops)
            put_op(draft, begin, position);
        if (equal)
            begin = -1;
    }
    draft->frozen = s.frozen;
    draft->cells.changed_low = draft->cells.capacity;
    draft->settled = s.settled;
    draft->shown_end = last;
    if (begin >= 0 && with_ops)
        put_op(draft, begin, end);
}

static void put_member(um_buf *out, const char *name, int64_t value)
{
    um_buf_text(out, ",\"");
    um_buf_text(out, name);
    um_buf_text(out, "\":");
    put_number(out, value);
}

static void put_start(const um_draft *draft, const char *kind, um_buf *out)
{
    um_buf_text(out, "{\"frame\":\"");
    um_buf_text(out, kind);
    um_buf_char(out, '"');
    put_member(out, "seq", draft->seq);
    put_member(out, "step", draft->step.step);
}

/* The end of the active block in the draft, which may have been cut in front of it. */
static int32_t block_end(const um_draft *draft)
{
    int32_t length = um_cells_length(&draft->cells);

    return draft->step.block_end < length ? draft->step.block_end : length;
}

static void put_block(const um_draft *draft, um_buf *out)
{
    int32_t end = block_end(draft);

    um_buf_text(out, ",\"block\":[");
    put_number(out, draft->step.block_begin < end ? draft->step.block_begin : end);
    um_buf_char(out, ',');
    put_number(out, end);
    um_buf_char(out, ']');
}

static void put_full(um_draft *draft, um_buf *out)
{
    put_start(draft, "full", out);
    put_block(draft, out);
    put_member(out, "len", um_cells_length(&draft->cells));
    put_member(out, "settled", draft->settled);
    um_buf_text(out, ",\"t\":");
    put_texts(draft, 0, draft->shown_end, out);
    um_buf_text(out, ",\"s\":");
    put_states(draft, 0, draft->shown_end, out);
    if (draft->cells.facts.options.confidence) {
        um_buf_text(out, ",\"c\":");
        put_percents(draft, 0, draft->shown_end, out);
    }
    if (draft->cells.facts.options.token_ids) {
        um_buf_text(out, ",\"ids\":");
        put_ids(draft, 0, draft->shown_end, out);
    }
    um_buf_char(out, '}');
}

static void put_patch(um_draft *draft, um_buf *out)
{
    put_start(draft, "patch", out);
    put_member(out, "settled", draft->settled);
    um_buf_text(out, ",\"ops\":[");
    um_buf_append(out, um_buf_view(&draft->ops), draft->ops.length);
    um_buf_char(out, ']');
    if (um_cells_length(&draft->cells) != draft->frame_length)
        put_member(out, "len", um_cells_length(&draft->cells));
    if (block_end(draft) != draft->frame_end)
        put_block(draft, out);
    um_buf_char(out, '}');
}

/* No frame is right any more where a part of one could not be built. */
static bool failed(const um_draft *draft)
{
    return um_buf_failed(&draft->ops) || um_buf_failed(&draft->frame) ||
           um_buf_failed(&draft->spare) || draft->cells.failed;
}

bool um_draft_has_news(const um_draft *draft)
{
    return draft->news;
}

void um_draft_skip(um_draft *draft)
{
    draft->full_next = true;
}

/* The patch, or where that is smaller a full frame, into draft->frame. A full frame has at least
 * `"",` and a state for every cell, so most patches need no comparison. */
static um_draft_kind put_smaller(um_draft *draft)
{
    um_buf patch = draft->frame;

    um_buf_clear(&patch);
    put_patch(draft, &patch);
    draft->frame = draft->spare;
    draft->spare = patch;
    um_buf_clear(&draft->frame);
    if (patch.length > 4 * (size_t)draft->shown_end) {
        put_full(draft, &draft->frame);
        if (draft->frame.length < patch.length)
            return UM_DRAFT_FULL;
    }
    draft->spare = draft->frame;
    draft->frame = patch;
    return UM_DRAFT_PATCH;
}

um_draft_kind um_draft_frame(um_draft *draft, um_buf *out)
{
    um_draft_kind kind = UM_DRAFT_FULL;
    bool full = draft->cells.facts.options.full_only || draft->full_next ||
                draft->frame_block != draft->step.block_begin ||
                draft->patches >= UM_DRAFT_PATCHES_MAX;

    refresh(draft, !full);
    um_buf_clear(&draft->frame);
    if (full)
        put_full(draft, &draft->frame);
    else
        kind = put_smaller(draft);
    um_buf_append(out, um_buf_view(&draft->frame), draft->frame.length);
    draft->seq++;
    draft->patches = kind == UM_DRAFT_FULL ? 0 : draft->patches + 1;
    draft->full_next = false;
    draft->frame_block = draft->step.block_begin;
    draft->frame_length = um_cells_length(&draft->cells);
    draft->frame_end = block_end(draft);
    draft->news = false;
    out->failed = out->failed || failed(draft);
    return kind;
}

void um_draft_end(um_draft *draft, const int32_t (*gaps)[2], size_t gap_count, um_buf *out)
{
    put_start(draft, "end", out);
    put_member(out, "len", draft->settled);
    if (gap_count > 0) {
        um_buf_char(out, ',');
        um_draft_gaps(draft, gaps, gap_count, out);
    }
    um_buf_char(out, '}');
    draft->seq++;
    out->failed = out->failed || failed(draft);
}

/* ---- text ----------------------------------------------------------------------------------- */

um_draft_share um_draft_show(um_draft *draft, um_buf *out)
{
    um_draft_share share = {.visible = um_cells_answer_end(&draft->cells)};
    um_scan s = um_scan_from(0);

    draft->news = false;
    while (s.position < share.visible) {
        um_look at = um_scan_next(&draft->cells, &s);
        size_t length;
        const char *text = at.state == 'm' ? BLANK : um_cells_text(&draft->cells, &at, &length);

        if (at.state == 'm')
            length = sizeof(BLANK) - 1;
        um_buf_append(out, text, length);
        share.blank += at.state == 'm';
        share.filled += at.state != 'm' && at.state != 'g';
    }
    out->failed = out->failed || failed(draft);
    return share;
}

void um_draft_gaps(um_draft *draft, const int32_t (*gaps)[2], size_t gap_count, um_buf *out)
{
    int32_t end = um_cells_answer_end(&draft->cells);
    um_scan s = um_scan_from(0);

    um_buf_text(out, "\"gaps\":[");
    for (size_t g = 0; g < gap_count; g++) {
        um_buf *text = &draft->frame;

        um_buf_clear(text);
        while (s.position < end && s.position < gaps[g][1]) {
            bool inside = s.position >= gaps[g][0];
            um_look at = um_scan_next(&draft->cells, &s);
            size_t length;
            const char *bytes = um_cells_text(&draft->cells, &at, &length);

            if (inside && at.state != 'm' && at.state != 'g')
                um_buf_append(text, bytes, length);
        }
        um_buf_text(out, g > 0 ? "," : "");
        um_json_append_string(out, um_buf_view(text), text->length);
        out->failed = out->failed || um_buf_failed(text);
    }
    um_buf_char(out, ']');
    out->failed = out->failed || failed(draft);
}
