#include "server/edit_prompt.h"

#include <string.h>

#include "core/base/mem.h"

#define FIELD "messages[0].content"
#define CURSOR "<|cursor|>"

typedef enum section {
    OUTSIDE,
    SNIPPETS,
    SNIPPET, /* inside SNIPPETS */
    FILE_TEXT,
    DIFFS,
    REGION, /* inside FILE_TEXT or OUTSIDE */
    SECTION_COUNT,
} section;

static const char *const names[SECTION_COUNT] = {
    [SNIPPETS] = "recently_viewed_code_snippets",
    [SNIPPET] = "recently_viewed_code_snippet",
    [FILE_TEXT] = "current_file_content",
    [DIFFS] = "edit_diff_history",
    [REGION] = "code_to_edit",
};

typedef struct reader {
    section now;
    section around; /* of the region: where it stands */
    bool seen[SECTION_COUNT];
    um_buf outside, snippets, diffs, file, below;
    um_buf region;
    um_err *err;
} reader;

/* ---- lines ---------------------------------------------------------------------------------- */

/* A line that is a tag and nothing else: which, and whether it ends the section. OUTSIDE: text. */
static section tag_of(const char *line, size_t length, bool *ends)
{
    while (length > 0 && strchr(" \t\r\n", line[length - 1]) && line[length - 1])
        length--;
    while (length > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        length--;
    }
    if (length < 4 || memcmp(line, "<|", 2) != 0 || memcmp(line + length - 2, "|>", 2) != 0)
        return OUTSIDE;
    line += 2;
    length -= 4;
    *ends = length > 0 && *line == '/';
    line += *ends;
    length -= *ends;
    for (section s = SNIPPETS; s < SECTION_COUNT; s++)
        if (strlen(names[s]) == length && memcmp(names[s], line, length) == 0)
            return s;
    return OUTSIDE;
}

static um_buf *text_of(reader *r)
{
    switch (r->now) {
    case SNIPPETS:
    case SNIPPET:
        return &r->snippets;
    case FILE_TEXT: /* behind a region in it: below */
        return r->seen[REGION] && r->around == FILE_TEXT ? &r->below : &r->file;
    case DIFFS:
        return &r->diffs;
    case REGION:
        return &r->region;
    case OUTSIDE:
    case SECTION_COUNT:
        break;
    }
    return &r->outside;
}

static bool may_begin(const reader *r, section s)
{
    if (s == SNIPPET)
        return r->now == SNIPPETS;
    if (s == REGION)
        return r->now == FILE_TEXT || r->now == OUTSIDE;
    return r->now == OUTSIDE;
}

static um_status begin(reader *r, section s)
{
    if (!may_begin(r, s))
        return um_fail_field(r->err, UM_E_VALUE, FIELD, "`" FIELD "`: <|%s|> cannot stand %s%s%s",
                             names[s], r->now ? "inside <|" : "outside of the other sections",
                             r->now ? names[r->now] : "", r->now ? "|>" : "");
    if (r->seen[s] && s != SNIPPET)
        return um_fail_field(r->err, UM_E_VALUE, FIELD, "`" FIELD "` has more than one <|%s|>",
                             names[s]);
    if (s == REGION)
        r->around = r->now;
    r->seen[s] = true;
    r->now = s;
    return UM_OK;
}

static um_status end(reader *r, section s)
{
    if (r->now != s)
        return um_fail_field(r->err, UM_E_VALUE, FIELD,
                             "`" FIELD "`: <|/%s|> ends a section that has not begun", names[s]);
    r->now = s == REGION ? r->around : s == SNIPPET ? SNIPPETS : OUTSIDE;
    return UM_OK;
}

static um_status read_lines(reader *r, const char *text, size_t length)
{
    um_status status = UM_OK;

    for (size_t at = 0; at < length && status == UM_OK;) {
        const char *newline = memchr(text + at, '\n', length - at);
        size_t size = newline ? (size_t)(newline + 1 - text) - at : length - at;
        bool ends = false;
        section s = tag_of(text + at, size, &ends);

        if (s == OUTSIDE)
            um_buf_append(text_of(r), text + at, size);
        else
            status = ends ? end(r, s) : begin(r, s);
        at += size;
    }
    if (status != UM_OK)
        return status;
    if (r->now != OUTSIDE)
        return um_fail_field(r->err, UM_E_VALUE, FIELD, "`" FIELD "`: <|/%s|> is missing",
                             names[r->now]);
    if (!r->seen[REGION])
        return um_fail_field(r->err, UM_E_VALUE, FIELD, "`" FIELD "` has no <|code_to_edit|>");
    return UM_OK;
}

/* ---- the region ----------------------------------------------------------------------------- */

static void drop_cursor(const char *text, size_t length, um_buf *out)
{
    size_t mark = strlen(CURSOR);

    for (size_t at = 0; at < length;) {
        bool here = length - at >= mark && memcmp(text + at, CURSOR, mark) == 0;

        if (!here)
            um_buf_char(out, text[at]);
        at += here ? mark : 1;
    }
}

/* Bytes of the newline at the end of `text`. */
static size_t newline_at_end(const um_buf *text)
{
    const char *bytes = um_buf_view(text);

    if (text->length == 0 || bytes[text->length - 1] != '\n')
        return 0;
    return text->length >= 2 && bytes[text->length - 2] == '\r' ? 2 : 1;
}

/* The bytes [begin, begin + length) of the file are whole lines. */
static bool are_lines(const um_buf *file, size_t begin, size_t length)
{
    const char *text = um_buf_view(file);
    size_t end = begin + length;

    return (begin == 0 || text[begin - 1] == '\n') &&
           (end == file->length || text[end] == '\n' || text[end] == '\r');
}

/* borders[i]: length of the longest text that both begins `text` and ends at its byte i, but is not
 * all of it. */
static void find_borders(const char *text, size_t length, size_t *borders)
{
    size_t border = 0;

    borders[0] = 0;
    for (size_t i = 1; i < length; i++) {
        while (border > 0 && text[i] != text[border])
            border = borders[border - 1];
        border += text[i] == text[border];
        borders[i] = border;
    }
}

/* Where `region` stands in the file as whole lines, first; SIZE_MAX: nowhere. Knuth, Morris and
 * Pratt's search: both texts are a stranger's. */
static um_status find_region(const um_buf *file, const um_buf *region, size_t *out, um_err *err)
{
    const char *text = um_buf_view(file), *wanted = um_buf_view(region);
    size_t length = region->length, matched = 0, *borders;

    *out = SIZE_MAX;
    if (length == 0 || length > file->length)
        return UM_OK;
    borders = um_mem_calloc(length, sizeof(*borders));
    if (!borders)
        return um_fail(err, UM_E_OVERLOADED, "no memory for the message");
    find_borders(wanted, length, borders);
    for (size_t i = 0; i < file->length && *out == SIZE_MAX; i++) {
        while (matched > 0 && text[i] != wanted[matched])
            matched = borders[matched - 1];
        matched += text[i] == wanted[matched];
        if (matched < length)
            continue;
        if (are_lines(file, i + 1 - length, length))
            *out = i + 1 - length;
        matched = borders[matched - 1];
    }
    um_mem_free(borders);
    return UM_OK;
}

/* Blocks of text with a blank line behind each. */
static void add_context(um_buf *out, const um_buf *text)
{
    const char *bytes = um_buf_view(text);

    if (strspn(bytes, " \t\r\n") >= text->length)
        return;
    um_buf_append(out, bytes, text->length);
    um_buf_text(out, newline_at_end(text) > 0 ? "\n" : "\n\n");
}

static void append_all(um_buf *out, const um_buf *text)
{
    um_buf_append(out, um_buf_view(text), text->length);
}

static um_status put_together(const reader *r, um_edit_prompt *out)
{
    const char *region = um_buf_view(&r->region);
    size_t newline = newline_at_end(&r->region), length = r->region.length - newline, at;
    um_status status;

    add_context(&out->before, &r->outside);
    add_context(&out->before, &r->snippets);
    add_context(&out->before, &r->diffs);
    drop_cursor(region, length, &out->region);
    if (r->around == FILE_TEXT) {
        append_all(&out->before, &r->file);
        um_buf_append(&out->after, region + length, newline);
        append_all(&out->after, &r->below);
        return UM_OK;
    }
    status = find_region(&r->file, &out->region, &at, r->err);
    if (at == SIZE_MAX) {
        append_all(&out->before, &r->file);
    } else {
        um_buf_append(&out->before, um_buf_view(&r->file), at);
        at += out->region.length;
        um_buf_append(&out->after, um_buf_view(&r->file) + at, r->file.length - at);
    }
    return status;
}

um_status um_edit_prompt_parse(const char *text, size_t length, um_edit_prompt *out, um_err *err)
{
    reader r = {.err = err};
    um_buf *const parts[] = {&r.outside, &r.snippets, &r.diffs, &r.file, &r.below, &r.region};
    um_status status = read_lines(&r, text, length);
    bool failed = false;

    *out = (um_edit_prompt){0};
    for (size_t i = 0; i < UM_COUNT_OF(parts); i++)
        failed = failed || um_buf_failed(parts[i]);
    if (status == UM_OK && !failed)
        status = put_together(&r, out);
    failed = failed || um_buf_failed(&out->before) || um_buf_failed(&out->region) ||
             um_buf_failed(&out->after);
    if (status == UM_OK && failed)
        status = um_fail(err, UM_E_OVERLOADED, "no memory for the message");
    for (size_t i = 0; i < UM_COUNT_OF(parts); i++)
        um_buf_deinit(parts[i]);
    if (status != UM_OK)
        um_edit_prompt_deinit(out);
    return status;
}

void um_edit_prompt_deinit(um_edit_prompt *prompt)
{
    um_buf_deinit(&prompt->before);
    um_buf_deinit(&prompt->region);
    um_buf_deinit(&prompt->after);
}
