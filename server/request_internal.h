/*
 * Shared by the request_*.c files, and by openapi.c, which makes the document from the same rows.
 * request_fields.c has the rows, request_table_json.c applies them, the others read what is more than a
 * scalar.
 */
#ifndef UM_SERVER_REQUEST_INTERNAL_H
#define UM_SERVER_REQUEST_INTERNAL_H

#include "server/request_json.h"

/* ---- rows ----------------------------------------------------------------------------------- */

typedef enum umi_class {
    UM_FIELD_SUPPORTED,
    UM_FIELD_ACCEPTED, /* without effect; checked only */
    UM_FIELD_NEUTRAL,  /* accepted when its value changes nothing */
    UM_FIELD_REFUSED,
} umi_class;

typedef enum umi_kind {
    UM_KIND_BOOL,
    UM_KIND_INT,
    UM_KIND_NUMBER,
    UM_KIND_STRING,
    UM_KIND_ARRAY,
    UM_KIND_OBJECT,
    UM_KIND_ANY,
} umi_kind;

/* One body being read. */
typedef struct umi_reading {
    um_api_request *request;
    const um_api_rules *rules;
} umi_reading;

/* Reads a field that is more than a scalar. `value` is never null, and of the row's kind; `label` is
 * its name in errors. */
typedef um_status (*umi_read_fn)(umi_reading *reading, um_json *value, const char *label,
                                 um_err *err);

typedef struct umi_table umi_table;

typedef struct umi_field {
    const char *name;
    unsigned endpoints;
    umi_class class;
    umi_kind kind;
    bool required;
    double min, max;     /* INT and NUMBER: bounds, where max > min */
    bool above_min;      /* the minimum itself is excluded */
    const char *words;   /* STRING: what it may be, space-separated; NULL: anything */
    const char *neutral; /* NEUTRAL: JSON array of the values that change nothing */
    const char *instead; /* REFUSED: what to use */
    size_t value, has;   /* SUPPORTED scalars: where they go in um_api_request; has 0: nowhere */
    umi_read_fn read;    /* instead of value and has; also for checks of ACCEPTED fields */
    const umi_table *members; /* OBJECT: what may be in it */
} umi_field;

struct umi_table {
    const umi_field *fields;
    size_t count;
    const char *prefix; /* of the names in errors: "diffusion." */
    bool strict;        /* unknown members are always errors */
};

/* Names of peers at the top level, for rows of the tables. */
typedef struct umi_alias {
    const char *name;
    const umi_table *table; /* of the row */
    const char *target;
} umi_alias;

/* In the order in which failures are reported. `model` and, before all, the JSON itself are checked
 * ahead of it. */
extern const umi_table umi_top_table;
extern const umi_alias umi_aliases[];
extern const size_t umi_alias_count;

/* ---- what applies them ---------------------------------------------------------------------- */

um_status umi_take_table(const umi_table *table, umi_reading *reading, const um_json *object,
                         um_err *err);
um_status umi_take_aliases(umi_reading *reading, const um_json *object, um_err *err);
/* Names in no table: refused by strict tables and --strict-params, else noted in `ignored`. */
um_status umi_find_unknown(const umi_table *table, umi_reading *reading, const um_json *object,
                           um_err *err);
/* NULL where the endpoint has no such row. */
const umi_field *umi_find_field(const umi_table *table, const char *name, um_endpoint endpoint);

/* A field's name made on the spot: umi_labelled("%s[%zu]", parent, index).text */
typedef struct umi_label {
    char text[UM_ERR_FIELD_BYTES];
} umi_label;
umi_label umi_labelled(const char *format, ...) UM_PRINTF(1, 2);

/* The value is this very string. Strings of a body may hold U+0000, names do not. */
bool umi_is_word(const um_json *value, const char *word);

/* "`label` is a string; expected an integer" */
um_status umi_wrong_type(const um_json *value, const char *label, const char *expected,
                         um_err *err);
/* "`label` contradicts another name of the same setting" */
um_status umi_contradicts(const char *label, um_err *err);

/* ---- readers -------------------------------------------------------------------------------- */

um_status umi_read_messages(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_prompt(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_stop(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_metadata(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_user(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_algorithm(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_eos_rule(umi_reading *reading, um_json *value, const char *label, um_err *err);

#endif
