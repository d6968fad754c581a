#include "server/eval_check.h"

#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

um_span um_span_strip(const char *text, size_t length)
{
    while (length > 0 && is_space(*text)) {
        text++;
        length--;
    }
    while (length > 0 && is_space(text[length - 1]))
        length--;
    return (um_span){text, length};
}

static bool same(um_span a, um_span b)
{
    return a.length == b.length && memcmp(a.text, b.text, a.length) == 0;
}

/* ---- number --------------------------------------------------------------------------------- */

/* A minus sign right before the digits belongs to the number, also in "5-3". Compared as magnitude
 * and sign, so that no length of number can overflow. */
static bool last_number_is(um_span answer, int64_t expected)
{
    uint64_t wanted = expected < 0 ? 0 - (uint64_t)expected : (uint64_t)expected;
    uint64_t found = 0;
    size_t end = answer.length, begin;

    while (end > 0 && !is_digit(answer.text[end - 1]))
        end--;
    if (end == 0)
        return false;
    begin = end;
    while (begin > 0 && is_digit(answer.text[begin - 1]))
        begin--;
    for (size_t i = begin; i < end; i++) {
        uint64_t digit = (uint64_t)(answer.text[i] - '0');

        if (found > (UINT64_MAX - digit) / 10)
            return false;
        found = found * 10 + digit;
    }
    if (found != wanted)
        return false;
    return found == 0 || (begin > 0 && answer.text[begin - 1] == '-') == (expected < 0);
}

/* ---- lines ---------------------------------------------------------------------------------- */

/* Takes the next line that is not blank off the front of `rest`. False: none is left. */
static bool next_line(um_span *rest, um_span *line)
{
    while (rest->length > 0) {
        const char *newline = memchr(rest->text, '\n', rest->length);
        size_t length = newline ? (size_t)(newline - rest->text) : rest->length;

        *line = um_span_strip(rest->text, length);
        length += newline != NULL;
        rest->text += length;
        rest->length -= length;
        if (line->length > 0)
            return true;
    }
    return false;
}

static size_t count_in_answer(um_span answer, um_span wanted)
{
    size_t count = 0;
    um_span line;

    while (next_line(&answer, &line))
        count += same(line, wanted);
    return count;
}

static um_span expected_line(const um_json *lines, size_t index)
{
    size_t length;
    const char *text = um_json_string_value(um_json_element(lines, index), &length);

    return um_span_strip(text, length);
}

static size_t count_in_lines(const um_json *lines, um_span wanted)
{
    size_t count = 0;

    for (size_t i = 0; i < um_json_count(lines); i++)
        count += same(expected_line(lines, i), wanted);
    return count;
}

/* Equal as multisets: as many lines, and each of the expected ones as often. */
static bool has_lines(um_span answer, const um_json *lines)
{
    size_t expected = um_json_count(lines), count = 0;
    um_span rest = answer, line;

    while (count <= expected && next_line(&rest, &line))
        count++;
    if (count != expected)
        return false;
    for (size_t i = 0; i < expected; i++) {
        line = expected_line(lines, i);
        if (count_in_answer(answer, line) != count_in_lines(lines, line))
            return false;
    }
    return true;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static bool is_number(um_json_kind kind)
{
    return kind == UM_JSON_INT || kind == UM_JSON_REAL;
}

static bool same_scalar(const um_json *a, const um_json *b)
{
    um_json_kind kind = um_json_kind_of(a), other = um_json_kind_of(b);
    size_t a_length, b_length;
    const char *text;

    if (kind == UM_JSON_INT && other == UM_JSON_INT)
        return um_json_int_value(a) == um_json_int_value(b);
    if (is_number(kind) && is_number(other)) /* 1 and 1.0 are the same number */
        return um_json_number_value(a) == um_json_number_value(b);
    if (kind != other)
        return false;
    if (kind == UM_JSON_BOOL)
        return um_json_bool_value(a) == um_json_bool_value(b);
    if (kind == UM_JSON_NULL)
        return true;
    text = um_json_string_value(a, &a_length);
    return same((um_span){text, a_length}, (um_span){um_json_string_value(b, &b_length), b_length});
}

/* As deep as um_json_parse allows. */
static bool same_json(const um_json *a, const um_json *b)
{
    um_json_kind kind = um_json_kind_of(a);

    if (kind != UM_JSON_ARRAY && kind != UM_JSON_OBJECT)
        return same_scalar(a, b);
    if (kind != um_json_kind_of(b) || um_json_count(a) != um_json_count(b))
        return false;
    for (size_t i = 0; kind == UM_JSON_ARRAY && i < um_json_count(a); i++)
        if (!same_json(um_json_element(a, i), um_json_element(b, i)))
            return false;
    for (void *it = um_json_first(a); it; it = um_json_next(a, it)) {
        const um_json *other = um_json_member(b, um_json_iter_key(it));

        if (!other || !same_json(um_json_iter_value(it), other))
            return false;
    }
    return true;
}

static bool equals_json(um_span answer, const um_json *value)
{
    um_json *found;
    bool equal;

    if (um_json_parse(answer.text, answer.length, &found, NULL) != UM_OK)
        return false;
    equal = same_json(value, found);
    um_json_free(found);
    return equal;
}

/* ---- Sudoku --------------------------------------------------------------------------------- */

/* Every row, column and 2x2 box holds 1 to 4 once. */
static bool is_valid_grid(const uint8_t cells[UM_SUDOKU_CELLS])
{
    for (int unit = 0; unit < 4; unit++) {
        unsigned row = 0, column = 0, box = 0;

        for (int i = 0; i < 4; i++) {
            int box_row = unit / 2 * 2 + i / 2, box_column = unit % 2 * 2 + i % 2;

            row |= 1u << cells[4 * unit + i];
            column |= 1u << cells[4 * i + unit];
            box |= 1u << cells[4 * box_row + box_column];
        }
        if (row != 0x1e || column != 0x1e || box != 0x1e) /* bits 1 to 4 */
            return false;
    }
    return true;
}

/* The cells are the digits 0 to 4 of the answer, whatever stands between them. */
static bool solves_sudoku(um_span answer, const uint8_t puzzle[UM_SUDOKU_CELLS])
{
    uint8_t cells[UM_SUDOKU_CELLS];
    size_t count = 0;

    for (size_t i = 0; i < answer.length; i++) {
        char c = answer.text[i];

        if (c < '0' || c > '4')
            continue;
        if (count == UM_SUDOKU_CELLS)
            return false;
        cells[count++] = (uint8_t)(c - '0');
    }
    if (count != UM_SUDOKU_CELLS)
        return false;
    for (size_t i = 0; i < UM_SUDOKU_CELLS; i++)
        if (puzzle[i] != 0 && puzzle[i] != cells[i])
            return false;
    return is_valid_grid(cells);
}

/* ---- all ------------------------------------------------------------------------------------ */

bool um_checker_accepts(const um_checker *checker, const char *answer, size_t length)
{
    um_span text = um_span_strip(checker->text, checker->text_length);
    um_span given = um_span_strip(answer, length);

    switch (checker->kind) {
    case UM_CHECKER_EXACT:
        return same(given, text);
    case UM_CHECKER_PREFIX:
        return given.length >= text.length && memcmp(given.text, text.text, text.length) == 0;
    case UM_CHECKER_NUMBER:
        return last_number_is(given, checker->number);
    case UM_CHECKER_LINES:
        return has_lines(given, checker->value);
    case UM_CHECKER_JSON:
        return equals_json(given, checker->value);
    case UM_CHECKER_SUDOKU:
        return solves_sudoku(given, checker->puzzle);
    }
    UM_FATAL("um_checker_kind");
}
