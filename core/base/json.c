#include "core/base/json.h"

#include <jansson.h>

#include "core/base/file.h"

#define PARSE_FLAGS (JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL)

/* jansson has a nesting limit of its own (2048); ours is checked on the tree. */
static bool depth_within(const json_t *value, int limit)
{
    size_t index;
    const char *key;
    json_t *child;

    if (limit == 0)
        return !json_is_array(value) && !json_is_object(value);
    if (json_is_array(value)) {
        json_array_foreach(value, index, child) if (!depth_within(child, limit - 1)) return false;
    } else if (json_is_object(value)) {
        json_object_foreach((json_t *)value, key,
                            child) if (!depth_within(child, limit - 1)) return false;
    }
    return true;
}

um_status um_json_parse(const char *text, size_t length, um_json **out, um_err *err)
{
    json_error_t error;
    json_t *root = json_loadb(text, length, PARSE_FLAGS, &error);

    *out = NULL;
    if (!root)
        return um_fail(err, UM_E_JSON, "invalid JSON at line %d, column %d: %s", error.line,
                       error.column, error.text);
    if (!depth_within(root, UM_JSON_DEPTH_MAX)) {
        json_decref(root);
        return um_fail(err, UM_E_JSON, "JSON is nested deeper than %d levels", UM_JSON_DEPTH_MAX);
    }
    *out = root;
    return UM_OK;
}

um_status um_json_load(const char *path, size_t bytes_max, um_json **out, um_err *err)
{
    um_buf text = {0};
    um_status status = um_file_read(path, bytes_max, &text, err);

    *out = NULL;
    if (status == UM_OK) {
        status = um_json_parse(um_buf_view(&text), text.length, out, err);
        if (status == UM_E_JSON)
            status = UM_E_FORMAT;
    }
    um_buf_deinit(&text);
    return status == UM_OK ? UM_OK : um_err_prefix(err, status, "%s", path);
}

void um_json_free(um_json *root)
{
    json_decref(root);
}

um_json_kind um_json_kind_of(const um_json *value)
{
    if (!value)
        return UM_JSON_NULL;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return UM_JSON_OBJECT;
    case JSON_ARRAY:
        return UM_JSON_ARRAY;
    case JSON_STRING:
        return UM_JSON_STRING;
    case JSON_INTEGER:
        return UM_JSON_INT;
    case JSON_REAL:
        return UM_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return UM_JSON_BOOL;
    case JSON_NULL:
        break;
    }
    return UM_JSON_NULL;
}

const char *um_json_kind_name(um_json_kind kind)
{
    static const char *const names[] = {
        "null", "a boolean", "an integer", "a number", "a string", "an array", "an object",
    };

    return names[kind];
}

const um_json *um_json_member(const um_json *object, const char *key)
{
    return json_object_get(object, key);
}

const um_json *um_json_element(const um_json *array, size_t index)
{
    return json_array_get(array, index);
}

size_t um_json_count(const um_json *value)
{
    return json_is_object(value) ? json_object_size(value) : json_array_size(value);
}

void *um_json_first(const um_json *object)
{
    return json_object_iter((json_t *)object);
}

void *um_json_next(const um_json *object, void *iterator)
{
    return json_object_iter_next((json_t *)object, iterator);
}

const char *um_json_iter_key(void *iterator)
{
    return json_object_iter_key(iterator);
}

const um_json *um_json_iter_value(void *iterator)
{
    return json_object_iter_value(iterator);
}

bool um_json_bool_value(const um_json *value)
{
    UM_ASSERT(json_is_boolean(value));
    return json_is_true(value);
}

int64_t um_json_int_value(const um_json *value)
{
    UM_ASSERT(json_is_integer(value));
    return json_integer_value(value);
}

double um_json_number_value(const um_json *value)
{
    UM_ASSERT(json_is_number(value));
    return json_number_value(value);
}

const char *um_json_string_value(const um_json *value, size_t *length)
{
    UM_ASSERT(json_is_string(value));
    if (length)
        *length = json_string_length(value);
    return json_string_value(value);
}

static um_status wrong_kind(const um_json *value, const char *key, const char *expected,
                            um_err *err)
{
    return um_fail_field(err, UM_E_TYPE, key, "%s is %s; expected %s", key,
                         um_json_kind_name(um_json_kind_of(value)), expected);
}

um_status um_json_get_int(const um_json *object, const char *key, int64_t min, int64_t max,
                          int64_t fallback, int64_t *out, um_err *err)
{
    const um_json *value = um_json_member(object, key);
    int64_t number;

    *out = fallback;
    if (um_json_kind_of(value) == UM_JSON_NULL)
        return UM_OK;
    if (um_json_kind_of(value) != UM_JSON_INT)
        return wrong_kind(value, key, "an integer", err);
    number = um_json_int_value(value);
    if (number < min)
        return um_fail_field(err, UM_E_INT_BELOW_MIN, key, "%s is %lld; the minimum is %lld", key,
                             (long long)number, (long long)min);
    if (number > max)
        return um_fail_field(err, UM_E_INT_ABOVE_MAX, key, "%s is %lld; the maximum is %lld", key,
                             (long long)number, (long long)max);
    *out = number;
    return UM_OK;
}

um_status um_json_get_number(const um_json *object, const char *key, double min, double max,
                             double fallback, double *out, um_err *err)
{
    const um_json *value = um_json_member(object, key);
    double number;

    *out = fallback;
    if (um_json_kind_of(value) == UM_JSON_NULL)
        return UM_OK;
    if (!json_is_number(value))
        return wrong_kind(value, key, "a number", err);
    number = um_json_number_value(value);
    if (!(number >= min))
        return um_fail_field(err, UM_E_DEC_BELOW_MIN, key, "%s is %g; the minimum is %g", key,
                             number, min);
    if (!(number <= max))
        return um_fail_field(err, UM_E_DEC_ABOVE_MAX, key, "%s is %g; the maximum is %g", key,
                             number, max);
    *out = number;
    return UM_OK;
}

um_status um_json_get_bool(const um_json *object, const char *key, bool fallback, bool *out,
                           um_err *err)
{
    const um_json *value = um_json_member(object, key);

    *out = fallback;
    if (um_json_kind_of(value) == UM_JSON_NULL)
        return UM_OK;
    if (um_json_kind_of(value) != UM_JSON_BOOL)
        return wrong_kind(value, key, "a boolean", err);
    *out = um_json_bool_value(value);
    return UM_OK;
}

um_status um_json_get_string(const um_json *object, const char *key, const char *fallback,
                             const char **out, um_err *err)
{
    const um_json *value = um_json_member(object, key);

    *out = fallback;
    if (um_json_kind_of(value) == UM_JSON_NULL)
        return UM_OK;
    if (um_json_kind_of(value) != UM_JSON_STRING)
        return wrong_kind(value, key, "a string", err);
    *out = um_json_string_value(value, NULL);
    return UM_OK;
}

void um_json_append_string(um_buf *out, const char *text, size_t length)
{
    size_t plain = 0; /* start of the run of characters that need no escape */

    um_buf_char(out, '"');
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        um_buf_append(out, text + plain, i - plain);
        plain = i + 1;
        if (c == '\n')
            um_buf_text(out, "\\n");
        else if (c == '"' || c == '\\')
            um_buf_printf(out, "\\%c", c);
        else
            um_buf_printf(out, "\\u%04x", c);
    }
    um_buf_append(out, text + plain, length - plain);
    um_buf_char(out, '"');
}
