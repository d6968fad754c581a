/*
 * Options from four places, weakest first: default, config file, environment, flags. Each place
 * runs over the whole um_config, so a later one simply overwrites. Runs on the main thread before
 * any other exists.
 */
#include "config/config.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"

#define CONFIG_FILE_BYTES_MAX ((size_t)1 << 20)
#define NAME_BYTES_MAX 64
#define VARIABLE_PREFIX "UNMASK_"

typedef enum option_kind {
    KIND_INT,
    KIND_NUMBER,
    KIND_BOOL,
    KIND_STRING,
    KIND_STRINGS,
} option_kind;

typedef struct option_row {
    const char *name;
    option_kind kind;
    unsigned commands; /* um_command bits */
    size_t offset;     /* of the field in um_config */
    const char *help;
    int64_t int_default, int_min, int_max;
    double number_default, number_min, number_max;
    const char *text_default;
} option_row;

static const option_row rows[] = {
#define UM_OPTION_INT(field, users, fallback, min, max, text)                                      \
    {.name = #field,                                                                               \
     .kind = KIND_INT,                                                                             \
     .commands = (users),                                                                          \
     .offset = offsetof(um_config, field),                                                         \
     .help = (text),                                                                               \
     .int_default = (fallback),                                                                    \
     .int_min = (min),                                                                             \
     .int_max = (max)},
#define UM_OPTION_NUMBER(field, users, fallback, min, max, text)                                   \
    {.name = #field,                                                                               \
     .kind = KIND_NUMBER,                                                                          \
     .commands = (users),                                                                          \
     .offset = offsetof(um_config, field),                                                         \
     .help = (text),                                                                               \
     .number_default = (fallback),                                                                 \
     .number_min = (min),                                                                          \
     .number_max = (max)},
#define UM_OPTION_BOOL(field, users, fallback, text)                                               \
    {.name = #field,                                                                               \
     .kind = KIND_BOOL,                                                                            \
     .commands = (users),                                                                          \
     .offset = offsetof(um_config, field),                                                         \
     .help = (text),                                                                               \
     .int_default = (fallback)},
#define UM_OPTION_STRING(field, users, fallback, text)                                             \
    {.name = #field,                                                                               \
     .kind = KIND_STRING,                                                                          \
     .commands = (users),                                                                          \
     .offset = offsetof(um_config, field),                                                         \
     .help = (text),                                                                               \
     .text_default = (fallback)},
#define UM_OPTION_STRINGS(field, users, text)                                                      \
    {.name = #field,                                                                               \
     .kind = KIND_STRINGS,                                                                         \
     .commands = (users),                                                                          \
     .offset = offsetof(um_config, field),                                                         \
     .help = (text)},
#include "config/options.def"
};

/* One pass over one place. */
typedef struct place {
    um_config *config;
    bool replaced[UM_COUNT_OF(rows)]; /* list options: the weaker places' values are gone */
    um_err *err;
} place;

/* ---- names ---------------------------------------------------------------------------------- */

static void flag_name(const option_row *row, char out[NAME_BYTES_MAX])
{
    size_t i;

    for (i = 0; row->name[i]; i++)
        out[i] = row->name[i] == '_' ? '-' : row->name[i];
    out[i] = '\0';
}

static void variable_name(const option_row *row, char out[NAME_BYTES_MAX])
{
    size_t used = sizeof(VARIABLE_PREFIX) - 1;

    memcpy(out, VARIABLE_PREFIX, used);
    for (size_t i = 0; row->name[i]; i++) {
        char c = row->name[i];

        out[used++] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    out[used] = '\0';
}

/* Compares a row's name with `length` bytes of any spelling: max-batch, max_batch, MAX_BATCH. */
static bool same_name(const option_row *row, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        char c = text[i] == '-' ? '_' : text[i];

        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (row->name[i] != c)
            return false;
    }
    return row->name[length] == '\0';
}

static const option_row *find_row(const char *text, size_t length)
{
    for (size_t i = 0; i < UM_COUNT_OF(rows); i++)
        if (same_name(&rows[i], text, length))
            return &rows[i];
    return NULL;
}

/* Levenshtein distance; both sides are cut to NAME_BYTES_MAX - 1. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t previous[NAME_BYTES_MAX], current[NAME_BYTES_MAX];
    size_t b_length = strnlen(b, NAME_BYTES_MAX - 1);

    for (size_t j = 0; j <= b_length; j++)
        previous[j] = j;
    for (size_t i = 0; a[i] && i < NAME_BYTES_MAX - 1; i++) {
        current[0] = i + 1;
        for (size_t j = 0; j < b_length; j++) {
            size_t best = previous[j] + (a[i] != b[j]);

            if (previous[j + 1] + 1 < best)
                best = previous[j + 1] + 1;
            if (current[j] + 1 < best)
                best = current[j] + 1;
            current[j + 1] = best;
        }
        memcpy(previous, current, sizeof(previous));
    }
    return previous[b_length];
}

static const option_row *nearest_row(const char *text, unsigned commands)
{
    const option_row *best = &rows[0];
    size_t best_distance = SIZE_MAX;
    char name[NAME_BYTES_MAX];
    size_t i;

    for (i = 0; text[i] && i < sizeof(name) - 1; i++)
        name[i] = text[i] == '-' ? '_' : text[i];
    name[i] = '\0';
    for (i = 0; i < UM_COUNT_OF(rows); i++) {
        size_t distance = edit_distance(name, rows[i].name);

        if ((rows[i].commands & commands) && distance < best_distance) {
            best_distance = distance;
            best = &rows[i];
        }
    }
    return best;
}

/* ---- values --------------------------------------------------------------------------------- */

static void *field_of(um_config *config, const option_row *row)
{
    return (char *)config + row->offset;
}

static um_status set_int(place *at, const option_row *row, const char *label, int64_t value)
{
    if (value < row->int_min)
        return um_fail_field(at->err, UM_E_INT_BELOW_MIN, label, "%s is %lld; the minimum is %lld",
                             label, (long long)value, (long long)row->int_min);
    if (value > row->int_max)
        return um_fail_field(at->err, UM_E_INT_ABOVE_MAX, label, "%s is %lld; the maximum is %lld",
                             label, (long long)value, (long long)row->int_max);
    *(int64_t *)field_of(at->config, row) = value;
    return UM_OK;
}

static um_status set_number(place *at, const option_row *row, const char *label, double value)
{
    if (!(value >= row->number_min))
        return um_fail_field(at->err, UM_E_DEC_BELOW_MIN, label, "%s is %g; the minimum is %g",
                             label, value, row->number_min);
    if (!(value <= row->number_max))
        return um_fail_field(at->err, UM_E_DEC_ABOVE_MAX, label, "%s is %g; the maximum is %g",
                             label, value, row->number_max);
    *(double *)field_of(at->config, row) = value;
    return UM_OK;
}

static um_status set_string(place *at, const option_row *row, const char *label, const char *text)
{
    char **field = field_of(at->config, row);
    char *copy = um_mem_strdup(text);

    if (!copy)
        return um_fail(at->err, UM_E_NOMEM, "%s: no memory for its value", label);
    um_mem_free(*field);
    *field = copy;
    return UM_OK;
}

static void clear_strings(um_strings *list)
{
    for (size_t i = 0; i < list->count; i++)
        um_mem_free(list->items[i]);
    um_mem_free(list->items);
    *list = (um_strings){0};
}

static um_status push_string(um_strings *list, const char *text, size_t length, um_err *err)
{
    char *copy = um_mem_strndup(text, length);
    char **items = copy ? um_mem_realloc(list->items, (list->count + 1) * sizeof(*items)) : NULL;

    if (!items) {
        um_mem_free(copy);
        return um_fail(err, UM_E_NOMEM, "options: no memory for a value");
    }
    list->items = items;
    list->items[list->count++] = copy;
    return UM_OK;
}

/* The first value of a list that a place gives replaces what weaker places gave. */
static um_status add_string(place *at, const option_row *row, const char *text, size_t length)
{
    um_strings *list = field_of(at->config, row);

    if (!at->replaced[row - rows])
        clear_strings(list);
    at->replaced[row - rows] = true;
    return push_string(list, text, length, at->err);
}

static um_status wrong_text(place *at, const char *label, const char *text, const char *expected)
{
    return um_fail_field(at->err, UM_E_TYPE, label, "%s is \"%.64s\"; expected %s", label, text,
                         expected);
}

static um_status set_bool_text(place *at, const option_row *row, const char *label,
                               const char *text)
{
    bool yes = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;

    if (!yes && strcmp(text, "false") != 0 && strcmp(text, "0") != 0)
        return wrong_text(at, label, text, "true or false");
    *(bool *)field_of(at->config, row) = yes;
    return UM_OK;
}

/* A value written as text: flag or variable. */
static um_status set_text(place *at, const option_row *row, const char *label, const char *text)
{
    char *end = NULL;
    long long integer;
    double number;

    errno = 0;
    switch (row->kind) {
    case KIND_INT:
        integer = strtoll(text, &end, 10);
        if (end == text || *end || errno == ERANGE)
            return wrong_text(at, label, text, "an integer");
        return set_int(at, row, label, integer);
    case KIND_NUMBER:
        number = strtod(text, &end);
        if (end == text || *end || !isfinite(number))
            return wrong_text(at, label, text, "a number");
        return set_number(at, row, label, number);
    case KIND_BOOL:
        return set_bool_text(at, row, label, text);
    case KIND_STRING:
        return set_string(at, row, label, text);
    case KIND_STRINGS:
        return add_string(at, row, text, strlen(text));
    }
    UM_FATAL("option_kind");
}

/* ---- places, weakest first ------------------------------------------------------------------ */

static um_status apply_defaults(place *at)
{
    um_status status = UM_OK;

    for (size_t i = 0; i < UM_COUNT_OF(rows) && status == UM_OK; i++) {
        const option_row *row = &rows[i];
        void *field = field_of(at->config, row);

        if (row->kind == KIND_INT)
            *(int64_t *)field = row->int_default;
        else if (row->kind == KIND_NUMBER)
            *(double *)field = row->number_default;
        else if (row->kind == KIND_BOOL)
            *(bool *)field = row->int_default != 0;
        else if (row->kind == KIND_STRING && row->text_default)
            status = set_string(at, row, row->name, row->text_default);
    }
    return status;
}

static um_status set_json_list(place *at, const option_row *row, const char *label,
                               const um_json *value)
{
    um_status status = UM_OK;

    if (um_json_kind_of(value) != UM_JSON_ARRAY)
        return um_fail_field(at->err, UM_E_TYPE, label, "%s must be an array of strings", label);
    for (size_t i = 0; i < um_json_count(value) && status == UM_OK; i++) {
        const um_json *element = um_json_element(value, i);
        const char *text;
        size_t length;

        if (um_json_kind_of(element) != UM_JSON_STRING)
            return um_fail_field(at->err, UM_E_TYPE, label, "%s[%zu] must be a string", label, i);
        text = um_json_string_value(element, &length);
        status = add_string(at, row, text, length);
    }
    return status;
}

static um_status set_json(place *at, const option_row *row, const char *label, const um_json *value)
{
    static const char *const expected[] = {"an integer", "a number", "true or false", "a string",
                                           "an array of strings"};
    um_json_kind kind = um_json_kind_of(value);

    if (kind == UM_JSON_NULL)
        return UM_OK;
    if (row->kind == KIND_STRINGS)
        return set_json_list(at, row, label, value);
    if (row->kind == KIND_INT && kind == UM_JSON_INT)
        return set_int(at, row, label, um_json_int_value(value));
    if (row->kind == KIND_NUMBER && (kind == UM_JSON_INT || kind == UM_JSON_REAL))
        return set_number(at, row, label, um_json_number_value(value));
    if (row->kind == KIND_STRING && kind == UM_JSON_STRING)
        return set_string(at, row, label, um_json_string_value(value, NULL));
    if (row->kind == KIND_BOOL && kind == UM_JSON_BOOL) {
        *(bool *)field_of(at->config, row) = um_json_bool_value(value);
        return UM_OK;
    }
    return um_fail_field(at->err, UM_E_TYPE, label, "%s must be %s", label, expected[row->kind]);
}

/* One file may serve all commands: keys of other commands are checked and otherwise idle. */
static um_status apply_file(place *at, const char *path)
{
    um_json *root = NULL;
    um_status status = um_json_load(path, CONFIG_FILE_BYTES_MAX, &root, at->err);

    if (status == UM_OK && um_json_kind_of(root) != UM_JSON_OBJECT)
        status = um_fail(at->err, UM_E_FORMAT, "%s: must hold a JSON object", path);
    for (void *it = um_json_first(root); it && status == UM_OK; it = um_json_next(root, it)) {
        const char *key = um_json_iter_key(it);
        const option_row *row = find_row(key, strlen(key));

        if (!row)
            status = um_fail_field(at->err, UM_E_UNKNOWN_PARAM, key,
                                   "%s: unknown key \"%.64s\"; the nearest known one is \"%s\"",
                                   path, key, nearest_row(key, ~0u)->name);
        else
            status = set_json(at, row, row->name, um_json_iter_value(it));
    }
    um_json_free(root);
    return status;
}

static um_status apply_variable_list(place *at, const option_row *row, const char *text)
{
    um_status status = UM_OK;

    while (*text && status == UM_OK) {
        size_t length = strcspn(text, ",");

        if (length > 0)
            status = add_string(at, row, text, length);
        text += length + (text[length] == ',');
    }
    return status;
}

static um_status apply_environment(place *at)
{
    um_status status = UM_OK;

    for (size_t i = 0; i < UM_COUNT_OF(rows) && status == UM_OK; i++) {
        char name[NAME_BYTES_MAX];
        const char *text;

        variable_name(&rows[i], name);
        text = getenv(name);
        if (text && rows[i].kind == KIND_STRINGS)
            status = apply_variable_list(at, &rows[i], text);
        else if (text)
            status = set_text(at, &rows[i], name, text);
    }
    return status;
}

/* Unlike a flag or a key, an unknown variable is only warned about: orchestrators inject their own
 * (a Kubernetes service named `unmask` brings UNMASK_SERVICE_HOST). */
static void warn_unknown_variables(void)
{
    for (char **variable = environ; *variable; variable++) {
        const char *name = *variable + sizeof(VARIABLE_PREFIX) - 1;
        size_t length;

        if (strncmp(*variable, VARIABLE_PREFIX, sizeof(VARIABLE_PREFIX) - 1) != 0)
            continue;
        length = strcspn(name, "=");
        if (!find_row(name, length))
            um_log(UM_LOG_WARN, "unknown_variable", "name=%.*s",
                   (int)(name - *variable + (int)length), *variable);
    }
}

typedef struct flags {
    unsigned command;
    int argc;
    char **argv;
    int index; /* of the word in hand */
} flags;

static um_status unknown_flag(const flags *f, const char *word, um_err *err)
{
    char name[NAME_BYTES_MAX];

    flag_name(nearest_row(word + strspn(word, "-"), f->command), name);
    return um_fail_field(err, UM_E_UNKNOWN_PARAM, word,
                         "unknown option %.64s; the nearest known one is --%s", word, name);
}

/* A word that begins with "--": --name VALUE, --name=VALUE, --name, --no-name. */
static um_status apply_flag(place *at, flags *f)
{
    const char *word = f->argv[f->index], *name = word + 2;
    size_t length = strcspn(name, "=");
    const char *value = name[length] == '=' ? name + length + 1 : NULL;
    const option_row *row = find_row(name, length);
    char label[NAME_BYTES_MAX + 2] = "--";

    if (!row && strncmp(name, "no-", 3) == 0 && !value) {
        row = find_row(name + 3, length - 3);
        if (!row || row->kind != KIND_BOOL)
            return unknown_flag(f, word, at->err);
        value = "false";
    }
    if (!row || !(row->commands & f->command))
        return unknown_flag(f, word, at->err);
    flag_name(row, label + 2);
    if (!value && row->kind == KIND_BOOL)
        value = "true";
    if (!value && f->index + 1 < f->argc && strncmp(f->argv[f->index + 1], "--", 2) != 0)
        value = f->argv[++f->index];
    if (!value)
        return um_fail_field(at->err, UM_E_MISSING, label, "%s needs a value", label);
    return set_text(at, row, label, value);
}

static um_status apply_flags(place *at, flags *f)
{
    um_status status = UM_OK;
    bool only_words = false;

    for (f->index = 0; f->index < f->argc && status == UM_OK; f->index++) {
        const char *word = f->argv[f->index];

        if (only_words || word[0] != '-' || word[1] == '\0')
            status = push_string(&at->config->arguments, word, strlen(word), at->err);
        else if (strcmp(word, "--") == 0)
            only_words = true;
        else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
            at->config->help = true;
        else if (strncmp(word, "--", 2) == 0)
            status = apply_flag(at, f);
        else
            status = unknown_flag(f, word, at->err);
    }
    return status;
}

um_status um_config_load(um_command command, int argc, char **argv, um_config *out, um_err *err)
{
    flags f = {.command = command, .argc = argc, .argv = argv};
    place defaults = {.config = out, .err = err}, file = defaults, environment = defaults,
          given = defaults;
    um_config preview = {0}; /* where --config itself is looked up, before the file is read */
    place looking = {.config = &preview, .err = err};
    um_status status;

    *out = (um_config){0};
    status = apply_environment(&looking);
    if (status == UM_OK)
        status = apply_flags(&looking, &f);
    if (status == UM_OK)
        status = apply_defaults(&defaults);
    if (status == UM_OK && preview.config)
        status = apply_file(&file, preview.config);
    if (status == UM_OK)
        status = apply_environment(&environment);
    if (status == UM_OK)
        status = apply_flags(&given, &f);
    if (status == UM_OK)
        warn_unknown_variables();
    else
        um_config_deinit(out);
    um_config_deinit(&preview);
    return status;
}

void um_config_deinit(um_config *config)
{
    for (size_t i = 0; i < UM_COUNT_OF(rows); i++) {
        if (rows[i].kind == KIND_STRING)
            um_mem_free(*(char **)field_of(config, &rows[i]));
        else if (rows[i].kind == KIND_STRINGS)
            clear_strings(field_of(config, &rows[i]));
    }
    clear_strings(&config->arguments);
    *config = (um_config){0};
}

/* ---- help ----------------------------------------------------------------------------------- */

static void describe_value(const option_row *row, um_buf *out)
{
    if (row->kind == KIND_INT && row->int_max == INT64_MAX)
        um_buf_printf(out, " (default %lld)", (long long)row->int_default);
    else if (row->kind == KIND_INT)
        um_buf_printf(out, " (%lld to %lld, default %lld)", (long long)row->int_min,
                      (long long)row->int_max, (long long)row->int_default);
    else if (row->kind == KIND_NUMBER)
        um_buf_printf(out, " (%g to %g, default %g)", row->number_min, row->number_max,
                      row->number_default);
    else if (row->kind == KIND_BOOL)
        um_buf_printf(out, " (default %s)", row->int_default ? "on" : "off");
    else if (row->kind == KIND_STRING && row->text_default)
        um_buf_printf(out, " (default %s)", row->text_default);
}

void um_config_help(um_command command, um_buf *out)
{
    static const char *const values[] = {" N", " X", "", " TEXT", " TEXT"};

    for (size_t i = 0; i < UM_COUNT_OF(rows); i++) {
        const option_row *row = &rows[i];
        char name[NAME_BYTES_MAX], flag[2 * NAME_BYTES_MAX];

        if (!(row->commands & (unsigned)command))
            continue;
        flag_name(row, name);
        snprintf(flag, sizeof(flag), "--%s%s%s", row->kind == KIND_BOOL ? "[no-]" : "", name,
                 values[row->kind]);
        um_buf_printf(out, "  %-34s %s", flag, row->help);
        describe_value(row, out);
        um_buf_char(out, '\n');
    }
    um_buf_printf(out, "  %-34s %s\n", "--help", "this text");
    um_buf_text(out, "\nEach option can also be set by a variable (--max-batch: UNMASK_MAX_BATCH) "
                     "or by a key of the\n--config file (max_batch). A flag wins over the "
                     "variable, the variable over the file.\n");
}
