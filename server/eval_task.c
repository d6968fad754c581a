#include "server/eval_task.h"

#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/mem.h"

/* ---- fields --------------------------------------------------------------------------------- */

/* A member that must be there; `label` is its name in errors. */
static um_status get(const um_json *object, const char *key, const char *label, um_json_kind kind,
                     const um_json **out, um_err *err)
{
    um_json_kind found;

    *out = um_json_member(object, key);
    if (!*out)
        return um_fail_field(err, UM_E_MISSING, label, "%s is missing", label);
    found = um_json_kind_of(*out);
    if (found != kind)
        return um_fail_field(err, UM_E_TYPE, label, "%s is %s; expected %s", label,
                             um_json_kind_name(found), um_json_kind_name(kind));
    return UM_OK;
}

static um_status get_text(const um_json *object, const char *key, const char *label,
                          const char **text, size_t *length, um_err *err)
{
    const um_json *value;
    um_status status = get(object, key, label, UM_JSON_STRING, &value, err);

    if (status == UM_OK)
        *text = um_json_string_value(value, length);
    return status;
}

/* `known` are the names that the object may have, `count` of them; `prefix` goes before a name. */
static um_status refuse_others(const um_json *object, const char *const *known, size_t count,
                               const char *prefix, um_err *err)
{
    for (void *it = um_json_first(object); it; it = um_json_next(object, it)) {
        const char *key = um_json_iter_key(it);
        char label[UM_ERR_FIELD_BYTES];
        size_t i = 0;

        while (i < count && strcmp(known[i], key) != 0)
            i++;
        if (i < count)
            continue;
        snprintf(label, sizeof(label), "%s%.64s", prefix, key);
        return um_fail_field(err, UM_E_UNKNOWN_PARAM, label, "unknown field %s", label);
    }
    return UM_OK;
}

/* ---- checkers ------------------------------------------------------------------------------- */

static um_status read_exact(const um_json *object, um_checker *out, um_err *err)
{
    return get_text(object, "text", "checker.text", &out->text, &out->text_length, err);
}

static um_status read_prefix(const um_json *object, um_checker *out, um_err *err)
{
    um_status status = read_exact(object, out, err);

    if (status == UM_OK && um_span_strip(out->text, out->text_length).length == 0)
        return um_fail_field(err, UM_E_VALUE, "checker.text",
                             "checker.text is blank; every answer begins with that");
    return status;
}

static um_status read_number(const um_json *object, um_checker *out, um_err *err)
{
    const um_json *value;
    um_status status = get(object, "value", "checker.value", UM_JSON_INT, &value, err);

    if (status == UM_OK)
        out->number = um_json_int_value(value);
    return status;
}

static um_status read_lines(const um_json *object, um_checker *out, um_err *err)
{
    um_status status = get(object, "lines", "checker.lines", UM_JSON_ARRAY, &out->value, err);

    if (status != UM_OK)
        return status;
    if (um_json_count(out->value) > UM_CHECKER_LINES_MAX)
        return um_fail_field(err, UM_E_ARRAY_ABOVE_MAX, "checker.lines",
                             "checker.lines has %zu lines; the maximum is %d",
                             um_json_count(out->value), UM_CHECKER_LINES_MAX);
    for (size_t i = 0; i < um_json_count(out->value); i++) {
        const um_json *line = um_json_element(out->value, i);
        const char *text;
        size_t length;

        if (um_json_kind_of(line) != UM_JSON_STRING)
            return um_fail_field(err, UM_E_TYPE, "checker.lines",
                                 "checker.lines[%zu] is %s; expected a string", i,
                                 um_json_kind_name(um_json_kind_of(line)));
        text = um_json_string_value(line, &length);
        if (um_span_strip(text, length).length == 0 || memchr(text, '\n', length))
            return um_fail_field(err, UM_E_VALUE, "checker.lines",
                                 "checker.lines[%zu] is blank or more than one line", i);
    }
    return UM_OK;
}

static um_status read_json(const um_json *object, um_checker *out, um_err *err)
{
    um_json_kind kind;

    out->value = um_json_member(object, "value");
    if (!out->value)
        return um_fail_field(err, UM_E_MISSING, "checker.value", "checker.value is missing");
    kind = um_json_kind_of(out->value);
    if (kind != UM_JSON_OBJECT && kind != UM_JSON_ARRAY)
        return um_fail_field(err, UM_E_TYPE, "checker.value",
                             "checker.value is %s; expected an object or an array",
                             um_json_kind_name(kind));
    return UM_OK;
}

static um_status read_sudoku(const um_json *object, um_checker *out, um_err *err)
{
    const char *digits;
    size_t length;
    um_status status = get_text(object, "puzzle", "checker.puzzle", &digits, &length, err);

    if (status != UM_OK)
        return status;
    if (length != UM_SUDOKU_CELLS || strspn(digits, "01234") != UM_SUDOKU_CELLS)
        return um_fail_field(err, UM_E_VALUE, "checker.puzzle",
                             "checker.puzzle is \"%.32s\"; expected %d digits, 1 to 4 or 0 for a "
                             "hole",
                             digits, UM_SUDOKU_CELLS);
    for (size_t i = 0; i < UM_SUDOKU_CELLS; i++)
        out->puzzle[i] = (uint8_t)(digits[i] - '0');
    return UM_OK;
}

static const struct {
    const char *type;
    um_checker_kind kind;
    const char *field; /* the one that it has beside `type` */
    um_status (*read)(const um_json *object, um_checker *out, um_err *err);
} checkers[] = {
    {"exact", UM_CHECKER_EXACT, "text", read_exact},
    {"prefix", UM_CHECKER_PREFIX, "text", read_prefix},
    {"number", UM_CHECKER_NUMBER, "value", read_number},
    {"lines", UM_CHECKER_LINES, "lines", read_lines},
    {"json", UM_CHECKER_JSON, "value", read_json},
    {"sudoku", UM_CHECKER_SUDOKU, "puzzle", read_sudoku},
};

static um_status read_checker(const um_json *object, um_checker *out, um_err *err)
{
    const char *type;
    size_t length, i = 0;
    um_status status = get_text(object, "type", "checker.type", &type, &length, err);

    if (status != UM_OK)
        return status;
    while (i < UM_COUNT_OF(checkers) && strcmp(checkers[i].type, type) != 0)
        i++;
    if (i == UM_COUNT_OF(checkers) || strlen(type) != length)
        return um_fail_field(err, UM_E_VALUE, "checker.type",
                             "checker.type is \"%.32s\"; expected exact, prefix, number, lines, "
                             "json or sudoku",
                             type);
    status = refuse_others(object, (const char *[]){"type", checkers[i].field}, 2, "checker.", err);
    if (status != UM_OK)
        return status;
    out->kind = checkers[i].kind;
    return checkers[i].read(object, out, err);
}

/* ---- tasks ---------------------------------------------------------------------------------- */

/* Kinds are names in tables, CSV headers and JSON keys: plain ones need no quoting anywhere. */
static um_status find_kind(um_eval_tasks *tasks, const char *name, size_t length, size_t *out,
                           um_err *err)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";

    if (length == 0 || length > UM_EVAL_KIND_BYTES_MAX || strspn(name, plain) != length)
        return um_fail_field(err, UM_E_VALUE, "kind",
                             "kind is \"%.64s\"; expected 1 to %d letters, digits, _, - or .", name,
                             UM_EVAL_KIND_BYTES_MAX);
    for (*out = 0; *out < tasks->kind_count; ++*out)
        if (strcmp(tasks->kinds[*out], name) == 0)
            return UM_OK;
    if (tasks->kind_count == UM_EVAL_KINDS_MAX)
        return um_fail_field(err, UM_E_ARRAY_ABOVE_MAX, "kind",
                             "kind \"%s\" is one too many; the maximum is %d kinds", name,
                             UM_EVAL_KINDS_MAX);
    tasks->kinds[tasks->kind_count++] = name;
    return UM_OK;
}

static um_status read_task(um_eval_tasks *tasks, um_eval_task *task, um_err *err)
{
    static const char *const known[] = {"kind", "prompt", "checker"};
    const um_json *root = task->document, *checker;
    const char *kind;
    size_t length;
    um_status status;

    if (um_json_kind_of(root) != UM_JSON_OBJECT)
        return um_fail(err, UM_E_TYPE, "a task is an object, not %s",
                       um_json_kind_name(um_json_kind_of(root)));
    status = refuse_others(root, known, UM_COUNT_OF(known), "", err);
    if (status == UM_OK)
        status = get_text(root, "kind", "kind", &kind, &length, err);
    if (status == UM_OK)
        status = find_kind(tasks, kind, length, &task->kind, err);
    if (status == UM_OK)
        status = get_text(root, "prompt", "prompt", &task->prompt, &task->prompt_length, err);
    if (status == UM_OK)
        status = get(root, "checker", "checker", UM_JSON_OBJECT, &checker, err);
    return status == UM_OK ? read_checker(checker, &task->checker, err) : status;
}

/* Takes the next line off the front of `rest`; false at the end. */
static bool next_line(um_span *rest, um_span *line)
{
    const char *newline;

    if (rest->length == 0)
        return false;
    newline = memchr(rest->text, '\n', rest->length);
    line->text = rest->text;
    line->length = newline ? (size_t)(newline - rest->text) : rest->length;
    rest->text += line->length + (newline != NULL);
    rest->length -= line->length + (newline != NULL);
    return true;
}

static bool is_blank(um_span line)
{
    return um_span_strip(line.text, line.length).length == 0;
}

static um_status reserve(um_span text, um_eval_tasks *out, um_err *err)
{
    size_t count = 0;
    um_span line;

    while (next_line(&text, &line))
        count += !is_blank(line);
    if (count == 0)
        return um_fail(err, UM_E_VALUE, "it has no tasks");
    if (count > UM_EVAL_TASKS_MAX)
        return um_fail(err, UM_E_ARRAY_ABOVE_MAX, "it has %zu tasks; the maximum is %d", count,
                       UM_EVAL_TASKS_MAX);
    out->items = um_mem_calloc(count, sizeof(*out->items));
    return out->items ? UM_OK : um_fail(err, UM_E_NOMEM, "no memory for %zu tasks", count);
}

um_status um_eval_tasks_parse(const char *text, size_t length, um_eval_tasks *out, um_err *err)
{
    um_span rest = {text, length}, line;
    um_status status;

    *out = (um_eval_tasks){0};
    status = reserve(rest, out, err);
    for (size_t number = 1; status == UM_OK && next_line(&rest, &line); number++) {
        um_eval_task *task = &out->items[out->count];

        if (is_blank(line))
            continue;
        task->line = number;
        out->count++;
        status = um_json_parse(line.text, line.length, &task->document, err);
        if (status == UM_OK)
            status = read_task(out, task, err);
        if (status != UM_OK)
            um_err_prefix(err, status, "line %zu", number);
    }
    if (status != UM_OK)
        um_eval_tasks_deinit(out);
    return status;
}

um_status um_eval_tasks_load(const char *path, um_eval_tasks *out, um_err *err)
{
    um_buf text = {0};
    um_status status = um_file_read(path, UM_EVAL_FILE_BYTES_MAX, &text, err);

    *out = (um_eval_tasks){0};
    if (status == UM_OK)
        status = um_eval_tasks_parse(um_buf_view(&text), text.length, out, err);
    um_buf_deinit(&text);
    return status == UM_OK ? UM_OK : um_err_prefix(err, status, "%s", path);
}

void um_eval_tasks_limit(um_eval_tasks *tasks, size_t count_max)
{
    size_t seen[UM_EVAL_KINDS_MAX] = {0}, kept = 0;

    UM_ASSERT(count_max > 0);
    for (size_t i = 0; i < tasks->count; i++) {
        if (seen[tasks->items[i].kind]++ < count_max)
            tasks->items[kept++] = tasks->items[i];
        else
            um_json_free(tasks->items[i].document);
    }
    tasks->count = kept;
}

void um_eval_tasks_deinit(um_eval_tasks *tasks)
{
    for (size_t i = 0; i < tasks->count; i++)
        um_json_free(tasks->items[i].document);
    um_mem_free(tasks->items);
    *tasks = (um_eval_tasks){0};
}
