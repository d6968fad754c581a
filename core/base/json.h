/*
 * JSON documents with typed, range-checked access; every error names the path of the value.
 * A thin face over jansson, so that jansson.h stays out of the floors above (the _json.c files of server/ and
 * config/ may include it directly).
 *
 * Values are borrowed from their document; the document is freed once with um_json_free.
 * Read-only use is safe from any thread.
 *
 *     um_json *root;
 *     int64_t width;
 *     status = um_json_load(path, 1 << 20, &root, err);
 *     status = um_json_get_int(root, "d_model", 1, 65536, 768, &width, err);
 */
#ifndef UM_BASE_JSON_H
#define UM_BASE_JSON_H

#include "core/base/buf.h"
#include "core/base/status.h"

typedef struct json_t um_json; /* jansson's value */

#define UM_JSON_DEPTH_MAX 128

typedef enum um_json_kind {
    UM_JSON_NULL,
    UM_JSON_BOOL,
    UM_JSON_INT,
    UM_JSON_REAL,
    UM_JSON_STRING,
    UM_JSON_ARRAY,
    UM_JSON_OBJECT,
} um_json_kind;

/* Strict UTF-8 JSON: an object or array, no duplicate keys, no trailing bytes, U+0000 allowed in
 * strings, nesting at most UM_JSON_DEPTH_MAX. UM_E_JSON names line and column. */
um_status um_json_parse(const char *text, size_t length, um_json **out, um_err *err);
/* Reads a whole file of at most bytes_max. UM_E_NOT_FOUND, UM_E_IO, UM_E_FORMAT. */
um_status um_json_load(const char *path, size_t bytes_max, um_json **out, um_err *err);
void um_json_free(um_json *root);

um_json_kind um_json_kind_of(const um_json *value); /* NULL counts as UM_JSON_NULL */
const char *um_json_kind_name(um_json_kind kind);   /* "an object", "a string", ... */

/* Members and elements; NULL when absent (or the value is not of that kind). */
const um_json *um_json_member(const um_json *object, const char *key);
const um_json *um_json_element(const um_json *array, size_t index);
size_t um_json_count(const um_json *array_or_object); /* 0 for other kinds */

/* Visits members in file order: `for (it = um_json_first(o); it; it = um_json_next(o, it))`. */
void *um_json_first(const um_json *object);
void *um_json_next(const um_json *object, void *iterator);
const char *um_json_iter_key(void *iterator);
const um_json *um_json_iter_value(void *iterator);

/* Plain values; the kind must already be known (asserted). Strings may hold NUL. */
bool um_json_bool_value(const um_json *value);
int64_t um_json_int_value(const um_json *value);
double um_json_number_value(const um_json *value); /* int or real */
const char *um_json_string_value(const um_json *value, size_t *length);

/* Typed members of an object. Absent or null gives the default. Wrong kind: UM_E_TYPE; outside
 * [min, max]: UM_E_INT_*, UM_E_DEC_*. `field` of the error is the key. */
um_status um_json_get_int(const um_json *object, const char *key, int64_t min, int64_t max,
                          int64_t fallback, int64_t *out, um_err *err);
um_status um_json_get_number(const um_json *object, const char *key, double min, double max,
                             double fallback, double *out, um_err *err);
um_status um_json_get_bool(const um_json *object, const char *key, bool fallback, bool *out,
                           um_err *err);
/* *out is borrowed from the document, NULL when absent and the fallback is NULL. */
um_status um_json_get_string(const um_json *object, const char *key, const char *fallback,
                             const char **out, um_err *err);

/* Writing: appends `text` (valid UTF-8, may hold NUL) as a JSON string with its quotes; control
 * characters are escaped, so the result never holds a raw newline. */
void um_json_append_string(um_buf *out, const char *text, size_t length);

#endif
