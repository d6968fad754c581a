#include "server/draft_view.h"

#include <string.h>
#include <wchar.h>

#include "core/base/utf8.h"

#define MASK_TEXT "\xe2\x96\x91" /* U+2591 LIGHT SHADE */
#define DIM "\x1b[2m"
#define PLAIN "\x1b[0m"
#define TAB_COLUMNS 4

/* Where the next character goes. */
typedef struct cursor {
    const um_draft_view *view;
    um_buf *out;
    int column;
    int lines;
    bool dim;
} cursor;

/* Length of the UTF-8 sequence at `text`; the text is valid. */
static size_t sequence(const char *text, uint32_t *point)
{
    unsigned char first = (unsigned char)text[0];
    size_t length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

    *point = length == 1 ? first : first & (0x7fu >> length);
    for (size_t i = 1; i < length; i++)
        *point = *point << 6 | ((unsigned char)text[i] & 0x3fu);
    return length;
}

static bool is_control(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0);
}

void um_draft_safe_text(um_buf *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length;) {
        uint32_t point;
        size_t n = sequence(text + i, &point);

        if (is_control(point) && point != '\n')
            um_buf_char(out, point == '\t' ? ' ' : '?');
        else
            um_buf_append(out, text + i, n);
        i += n;
    }
}

/* Every line begins and ends without a style, so that lines can be left out. */
static void new_line(cursor *at)
{
    um_buf_text(at->out, at->dim ? PLAIN "\r\n" DIM : "\r\n");
    at->column = 0;
    at->lines++;
}

static void put(cursor *at, const char *text, size_t length, int width)
{
    if (at->column + width > at->view->columns)
        new_line(at);
    um_buf_append(at->out, text, length);
    at->column += width;
}

static void put_text(cursor *at, const char *text, size_t length)
{
    for (size_t i = 0; i < length;) {
        uint32_t point;
        size_t n = sequence(text + i, &point);
        int width = wcwidth((wchar_t)point);

        if (point == '\n')
            new_line(at);
        else if (point == '\t')
            put(at, "    ", TAB_COLUMNS, TAB_COLUMNS);
        else if (is_control(point))
            put(at, "?", 1, 1);
        else
            put(at, text + i, n, width < 0 ? 1 : width);
        i += n;
    }
}

/* Bytes of a run of committed tokens; a character may be spread over several of them. */
static void put_run(cursor *at, const int32_t *tokens, size_t count)
{
    um_buf bytes = {0}, text = {0};

    for (size_t i = 0; i < count; i++) {
        size_t length;
        const uint8_t *token = um_tokenizer_bytes(at->view->tokenizer, tokens[i], &length);

        if (!um_tokenizer_is_special(at->view->tokenizer, tokens[i]))
            um_buf_append(&bytes, token, length);
    }
    um_utf8_append_lossy(&text, um_buf_view(&bytes), bytes.length);
    put_text(at, um_buf_view(&text), text.length);
    um_buf_deinit(&bytes);
    um_buf_deinit(&text);
}

static void put_masks(cursor *at, size_t count)
{
    at->dim = true;
    um_buf_text(at->out, DIM);
    for (size_t i = 0; i < count; i++)
        put(at, MASK_TEXT, sizeof(MASK_TEXT) - 1, 1);
    um_buf_text(at->out, PLAIN);
    at->dim = false;
}

/* Leaves out the first lines of what begins at `begin`. */
static void drop_lines(um_buf *out, size_t begin, int count)
{
    size_t keep = begin;

    for (; count > 0 && keep < out->length; keep++)
        count -= out->data[keep] == '\n';
    memmove(out->data + begin, out->data + keep, out->length - keep + 1);
    out->length -= keep - begin;
}

int um_draft_render(const um_draft_view *view, const int32_t *tokens, size_t count, um_buf *out)
{
    cursor at = {.view = view, .out = out, .lines = 1};
    size_t begin = out->length;

    UM_ASSERT(view->columns > TAB_COLUMNS && view->rows_max > 0);
    for (size_t i = 0, end; i < count; i = end) {
        bool masked = tokens[i] == view->mask_token;

        for (end = i; end < count && (tokens[end] == view->mask_token) == masked;)
            end++;
        if (masked)
            put_masks(&at, end - i);
        else
            put_run(&at, tokens + i, end - i);
    }
    if (at.lines > view->rows_max && !um_buf_failed(out)) {
        drop_lines(out, begin, at.lines - view->rows_max);
        at.lines = view->rows_max;
    }
    return at.lines;
}
