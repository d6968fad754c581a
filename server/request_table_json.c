/* Rows applied to a body: checks of type, range and words, where a scalar goes, names of peers, and
 * names that nobody knows. */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "server/request_internal.h"

#define IGNORED_NAMES_MAX 16
#define IGNORED_NAME_BYTES_MAX 64

umi_label umi_labelled(const char *format, ...)
{
    umi_label label;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(label.text, sizeof(label.text), format, arguments);
    va_end(arguments);
    return label;
}

um_status umi_wrong_type(const um_json *value, const char *label, const char *expected, um_err *err)
{
    return um_fail_field(err, UM_E_TYPE, label, "`%s` is %s; expected %s", label,
                         um_json_kind_name(um_json_kind_of(value)), expected);
}

bool umi_is_word(const um_json *value, const char *word)
{
    size_t length = strlen(word);

    return json_is_string(value) && json_string_length(value) == length &&
           memcmp(json_string_value(value), word, length) == 0;
}

/* ---- checks --------------------------------------------------------------------------------- */

static um_status check_type(const umi_field *f, const json_t *value, const char *label, um_err *err)
{
    static const char *const expected[] = {"a boolean", "an integer", "a number",
                                           "a string",  "an array",   "an object"};
    bool fits = true;

    switch (f->kind) {
    case UM_KIND_BOOL:
        fits = json_is_boolean(value);
        break;
    case UM_KIND_INT:
        fits = json_is_integer(value);
        break;
    case UM_KIND_NUMBER:
        fits = json_is_number(value);
        break;
    case UM_KIND_STRING:
        fits = json_is_string(value);
        break;
    case UM_KIND_ARRAY:
        fits = json_is_array(value);
        break;
    case UM_KIND_OBJECT:
        fits = json_is_object(value);
        break;
    case UM_KIND_ANY:
        break;
    }
    return fits ? UM_OK : umi_wrong_type(value, label, expected[f->kind], err);
}

double umi_max_of(const umi_field *f, const um_api_rules *rules)
{
    int32_t lower = f->max_rule ? *(const int32_t *)((const char *)rules + f->max_rule) : 0;

    return lower > 0 && lower < f->max ? lower : f->max;
}

static um_status check_range(const umi_field *f, const um_api_rules *rules, const json_t *value,
                             const char *label, um_err *err)
{
    bool integer = f->kind == UM_KIND_INT;
    int digits = integer ? 17 : 6;
    double number = json_number_value(value), max = umi_max_of(f, rules);

    if (!(f->max > f->min) || !json_is_number(value))
        return UM_OK;
    if (f->above_min && !(number > f->min))
        return um_fail_field(err, UM_E_DEC_BELOW_MIN, label, "`%s` is %g; it must be above %g",
                             label, number, f->min);
    if (!(number >= f->min))
        return um_fail_field(err, integer ? UM_E_INT_BELOW_MIN : UM_E_DEC_BELOW_MIN, label,
                             "`%s` is %.*g; the minimum is %.*g", label, digits, number, digits,
                             f->min);
    if (!(number <= max))
        return um_fail_field(err, integer ? UM_E_INT_ABOVE_MAX : UM_E_DEC_ABOVE_MAX, label,
                             "`%s` is %.*g; the maximum is %.*g", label, digits, number, digits,
                             max);
    return UM_OK;
}

bool umi_has_word(const char *words, const char *word, size_t length)
{
    for (const char *at = words; *at;) {
        size_t n = strcspn(at, " ");

        if (n == length && memcmp(at, word, n) == 0)
            return true;
        at += n + (at[n] == ' ');
    }
    return false;
}

static um_status check_words(const umi_field *f, const json_t *value, const char *label,
                             um_err *err)
{
    if (!f->words || umi_has_word(f->words, json_string_value(value), json_string_length(value)))
        return UM_OK;
    return um_fail_field(err, UM_E_VALUE, label, "`%s` is \"%.64s\"; expected one of: %s", label,
                         json_string_value(value), f->words);
}

/* 1 and 1.0 are the same number. */
static bool same_value(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b) != 0;
}

/* A field of enumerated words has a wrong value, any other is wrong to be there. */
static um_status check_neutral(const umi_field *f, const json_t *value, const char *label,
                               um_err *err)
{
    json_t *neutral = json_loads(f->neutral, 0, NULL);
    bool found = false;

    if (!neutral)
        return um_fail_field(err, UM_E_OVERLOADED, label, "no memory to check `%s`", label);
    for (size_t i = 0; i < json_array_size(neutral) && !found; i++)
        found = same_value(value, json_array_get(neutral, i));
    json_decref(neutral);
    if (found)
        return UM_OK;
    return um_fail_field(err, f->words ? UM_E_UNSUPPORTED_VALUE : UM_E_UNSUPPORTED_PARAM, label,
                         "`%s` is not supported here; accepted without effect: %s", label,
                         f->neutral);
}

static um_status refuse(const umi_field *f, const char *label, um_err *err)
{
    if (f->instead)
        return um_fail_field(err, UM_E_UNSUPPORTED_PARAM, label, "`%s` is not supported; use `%s`",
                             label, f->instead);
    return um_fail_field(err, UM_E_UNSUPPORTED_PARAM, label, "`%s` is not supported. %s", label,
                         f->about);
}

/* ---- storing -------------------------------------------------------------------------------- */

um_status umi_contradicts(const char *label, um_err *err)
{
    return um_fail_field(err, UM_E_CONFLICT, label,
                         "`%s` contradicts another name of the same setting in this request",
                         label);
}

/* Writes a scalar where its row says. A second name for the same place must agree with the first. */
static um_status store(const umi_field *f, um_api_request *request, const json_t *value,
                       const char *label, um_err *err)
{
    void *place = (char *)request + f->value;
    bool *has = f->has ? (bool *)((char *)request + f->has) : NULL;
    bool again = has && *has, differs = false;

    if (f->kind == UM_KIND_BOOL) {
        bool truth = json_is_true(value) != f->inverted;

        differs = *(bool *)place != truth;
        *(bool *)place = truth;
    } else if (f->kind == UM_KIND_INT) {
        differs = *(int64_t *)place != json_integer_value(value);
        *(int64_t *)place = json_integer_value(value);
    } else {
        UM_ASSERT(f->kind == UM_KIND_NUMBER);
        differs = *(double *)place != json_number_value(value);
        *(double *)place = json_number_value(value);
    }
    if (has)
        *has = true;
    return again && differs ? umi_contradicts(label, err) : UM_OK;
}

/* The value at a path of names; NULL where there is none, or null. */
static const json_t *value_at(const json_t *root, const char *path, size_t length)
{
    while (length > 0 && root) {
        const char *dot = memchr(path, '.', length);
        size_t n = dot ? (size_t)(dot - path) : length;

        root = json_object_getn(root, path, n);
        path += n + (dot != NULL);
        length -= n + (dot != NULL);
    }
    return json_is_null(root) ? NULL : root;
}

static bool is_elsewhere(const umi_field *f, const json_t *body)
{
    for (const char *at = f->elsewhere; at && *at;) {
        size_t n = strcspn(at, " ");

        if (value_at(body, at, n))
            return true;
        at += n + (at[n] == ' ');
    }
    return false;
}

static um_status take_members(const umi_field *f, umi_reading *reading, const json_t *value,
                              um_err *err)
{
    um_status status = umi_take_table(f->members, reading, value, err);

    if (f->has)
        *(bool *)((char *)reading->request + f->has) = true;
    if (status == UM_OK)
        status = umi_find_unknown(f->members, reading, value, err);
    return status;
}

static um_status take_field(const umi_field *f, umi_reading *reading, json_t *value,
                            const char *label, um_err *err)
{
    um_status status;

    if (!value || json_is_null(value)) {
        if (f->required && !is_elsewhere(f, reading->request->body))
            return um_fail_field(err, UM_E_MISSING, label, "`%s` is missing", label);
        return UM_OK;
    }
    if (f->class == UM_FIELD_REFUSED)
        return refuse(f, label, err);
    status = check_type(f, value, label, err);
    if (status == UM_OK)
        status = check_range(f, reading->rules, value, label, err);
    if (status == UM_OK)
        status = check_words(f, value, label, err);
    if (status == UM_OK && f->class == UM_FIELD_NEUTRAL)
        status = check_neutral(f, value, label, err);
    if (status != UM_OK)
        return status;
    if (f->members)
        return take_members(f, reading, value, err);
    if (f->read)
        return f->read(reading, value, label, err);
    return f->class == UM_FIELD_SUPPORTED ? store(f, reading->request, value, label, err) : UM_OK;
}

um_status umi_take_table(const umi_table *t, umi_reading *reading, const um_json *object,
                         um_err *err)
{
    um_status status = UM_OK;

    for (size_t i = 0; i < t->count && status == UM_OK; i++) {
        const umi_field *f = &t->fields[i];
        umi_label label;

        if (!(f->endpoints & (unsigned)reading->request->endpoint))
            continue;
        label = umi_labelled("%s%s", t->prefix, f->name);
        status = take_field(f, reading, json_object_get(object, f->name), label.text, err);
    }
    return status;
}

const umi_field *umi_find_field(const umi_table *t, const char *name, um_endpoint endpoint)
{
    for (size_t i = 0; i < t->count; i++)
        if ((t->fields[i].endpoints & (unsigned)endpoint) && strcmp(t->fields[i].name, name) == 0)
            return &t->fields[i];
    return NULL;
}

um_status umi_take_aliases(umi_reading *reading, const um_json *object, um_err *err)
{
    um_status status = UM_OK;

    for (size_t i = 0; i < umi_alias_count && status == UM_OK; i++) {
        const umi_alias *alias = &umi_aliases[i];
        const umi_field *f =
            umi_find_field(alias->table, alias->target, reading->request->endpoint);

        if (f)
            status = take_field(f, reading, json_object_get(object, alias->name), alias->name, err);
    }
    return status;
}

/* ---- names in no table ---------------------------------------------------------------------- */

static bool is_alias(const char *name, um_endpoint endpoint)
{
    for (size_t i = 0; i < umi_alias_count; i++)
        if (strcmp(umi_aliases[i].name, name) == 0 &&
            umi_find_field(umi_aliases[i].table, umi_aliases[i].target, endpoint))
            return true;
    return false;
}

/* Header text: visible ASCII only, and no comma, which separates the names. */
static void note_ignored(um_api_request *request, const char *name)
{
    request->ignored_count++;
    if (request->ignored.length > 0)
        um_buf_text(&request->ignored, ", ");
    for (size_t i = 0; name[i] && i < IGNORED_NAME_BYTES_MAX; i++) {
        bool plain = name[i] > 0x20 && name[i] < 0x7f && name[i] != ',';

        um_buf_char(&request->ignored, plain ? name[i] : '?');
    }
}

um_status umi_find_unknown(const umi_table *t, umi_reading *reading, const um_json *object,
                           um_err *err)
{
    um_endpoint endpoint = reading->request->endpoint;
    bool strict = t->strict || reading->rules->strict_params;
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value)
    {
        umi_label label;

        /* the header is full, and a body may bring half a million names */
        if (!strict && reading->request->ignored_count >= IGNORED_NAMES_MAX)
            break;
        label = umi_labelled("%s%s", t->prefix, key);
        if (umi_find_field(t, key, endpoint))
            continue;
        if (t == &umi_top_table && (strcmp(key, "model") == 0 || is_alias(key, endpoint)))
            continue;
        if (strict)
            return um_fail_field(err, UM_E_UNKNOWN_PARAM, label.text, "unknown parameter `%.64s`",
                                 label.text);
        note_ignored(reading->request, label.text);
    }
    return UM_OK;
}
