#include "tests/support/draft_decoder.h"

#include "core/base/json.h"
#include "tests/test.h"

void um_decoder_close(um_decoder *d)
{
    for (size_t i = 0; i < UM_DECODER_CELLS; i++)
        um_buf_deinit(&d->texts[i]);
}

static void read_cell(um_decoder *d, int64_t at, const um_json *text, char state)
{
    size_t length = 0;
    const char *bytes = "";

    UM_CHECK(strchr("mgfdpe", state) != NULL);
    UM_CHECK_INT(um_json_kind_of(text) == UM_JSON_NULL, state == 'm');
    if (state != 'm')
        bytes = um_json_string_value(text, &length);
    um_buf_clear(&d->texts[at]);
    um_buf_append(&d->texts[at], bytes, length);
    d->states[at] = state;
}

/* The cells of `t` and `s`, and what may stand beside them (NULL: nothing), from `start` on. */
static void read_cells(um_decoder *d, int64_t start, const um_json *t, const um_json *s,
                       const um_json *c, const um_json *ids)
{
    size_t count;
    const char *states = um_json_string_value(s, &count);

    UM_CHECK_INT(um_json_count(t), count);
    UM_CHECK(!c || um_json_count(c) == count);
    UM_CHECK(!ids || um_json_count(ids) == count);
    UM_CHECK(start + (int64_t)count <= UM_DECODER_CELLS);
    for (size_t i = 0; i < count; i++) {
        int64_t at = start + (int64_t)i;
        const um_json *id = um_json_element(ids, i);

        read_cell(d, at, um_json_element(t, i), states[i]);
        d->percents[at] = c ? um_json_int_value(um_json_element(c, i)) : 0;
        d->ids[at] = um_json_kind_of(id) == UM_JSON_INT ? um_json_int_value(id) : -1;
        UM_CHECK(d->percents[at] >= 0 && d->percents[at] <= 100);
    }
}

static void mask_cells(um_decoder *d, int64_t begin)
{
    for (int64_t i = begin; i < UM_DECODER_CELLS; i++) {
        um_buf_clear(&d->texts[i]);
        d->states[i] = 'm';
        d->percents[i] = 0;
        d->ids[i] = -1;
    }
}

static void read_ops(um_decoder *d, const um_json *ops)
{
    for (size_t i = 0; i < um_json_count(ops); i++) {
        const um_json *op = um_json_element(ops, i), *c = um_json_element(op, 4);
        int64_t start = um_json_int_value(um_json_element(op, 0));
        int64_t count = um_json_int_value(um_json_element(op, 1));

        UM_CHECK(start >= 0 && count > 0);
        UM_CHECK_INT(um_json_count(um_json_element(op, 2)), count);
        read_cells(d, start, um_json_element(op, 2), um_json_element(op, 3),
                   um_json_kind_of(c) == UM_JSON_NULL ? NULL : c, um_json_element(op, 5));
    }
}

static int64_t number_of(const um_json *frame, const char *name)
{
    return um_json_int_value(um_json_member(frame, name));
}

char um_decoder_apply(um_decoder *d, const char *text, size_t length)
{
    um_json *frame = NULL;
    um_err err = {0};
    char kind;

    UM_CHECK_OK(um_json_parse(text, length, &frame, &err), err);
    kind = um_json_string_value(um_json_member(frame, "frame"), NULL)[0];
    UM_CHECK_INT(number_of(frame, "seq"), d->begun ? d->seq + 1 : 0);
    UM_CHECK(d->begun || kind == 'f');
    UM_CHECK(number_of(frame, "step") >= d->step);
    d->begun = true;
    d->seq = number_of(frame, "seq");
    d->step = number_of(frame, "step");
    if (kind == 'f') {
        size_t count = um_json_count(um_json_member(frame, "t"));

        mask_cells(d, 0);
        read_cells(d, 0, um_json_member(frame, "t"), um_json_member(frame, "s"),
                   um_json_member(frame, "c"), um_json_member(frame, "ids"));
        UM_CHECK(count == 0 || d->states[count - 1] != 'm');
    } else if (kind == 'p') {
        read_ops(d, um_json_member(frame, "ops"));
    }
    if (um_json_member(frame, "len"))
        d->len = number_of(frame, "len");
    mask_cells(d, d->len);
    if (um_json_member(frame, "block")) {
        d->block_begin = um_json_int_value(um_json_element(um_json_member(frame, "block"), 0));
        d->block_end = um_json_int_value(um_json_element(um_json_member(frame, "block"), 1));
    }
    if (kind != 'e') {
        UM_CHECK(d->block_begin >= 0 && d->block_begin <= d->block_end && d->block_end <= d->len);
        UM_CHECK(number_of(frame, "settled") >= d->settled);
        d->settled = number_of(frame, "settled");
    }
    um_json_free(frame);
    return kind;
}

void um_decoder_join(const um_decoder *d, int64_t end, um_buf *out)
{
    um_buf_clear(out);
    for (int64_t i = 0; i < end; i++)
        um_buf_append(out, um_buf_view(&d->texts[i]), d->texts[i].length);
}
