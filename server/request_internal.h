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

/* Where a preset comes from, from weak to strong. */
typedef enum umi_preset_source {
    UM_PRESET_OF_NOTHING,
    UM_PRESET_OF_EFFORT,
    UM_PRESET_OF_MODEL, /* "id@fast" */
    UM_PRESET_OF_DIFFUSION,
} umi_preset_source;

/* One body being read: what comes out, and what is only known to be checked once all is read. */
typedef struct umi_reading {
    um_api_request *request;
    const um_api_rules *rules;
    umi_preset_source preset_source;
    const um_json *instructions; /* of Responses, until the input is read */
    bool has_mode;               /* diffusion.stream */
    bool has_diffusing, diffusing;
    bool has_best_of;
    int64_t best_of;
} umi_reading;

/* Reads a field that is more than a scalar. `value` is never null, and of the row's kind; `label` is
 * its name in errors. */
typedef um_status (*umi_read_fn)(umi_reading *reading, um_json *value, const char *label,
                                 um_err *err);

typedef struct umi_table umi_table;

#define UM_FIELD_NO_MAX 1e300

typedef struct umi_field {
    const char *name;
    const char *about; /* for the document */
    unsigned endpoints;
    umi_class class;
    umi_kind kind;
    bool required;
    const char *elsewhere; /* required, but where one of these is given, space-separated */
    double min, max;       /* INT and NUMBER: bounds, where max > min */
    bool above_min;        /* the minimum itself is excluded */
    size_t max_rule;       /* an int32_t of um_api_rules that may lower max; 0: none */
    const char *words;     /* STRING: what it may be, space-separated; NULL: anything */
    const char *neutral;   /* NEUTRAL: JSON array of the values that change nothing */
    const char *instead;   /* REFUSED: what to use */
    size_t value, has;     /* SUPPORTED scalars: where they go in um_api_request; has 0: nowhere */
    bool inverted;         /* BOOL: stored as its opposite */
    umi_read_fn read;      /* instead of value and has; also for checks of ACCEPTED fields */
    const char *shape;     /* what `read` takes: name of a schema of openapi.json */
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

/* The row's maximum, or the lower one of the rules; 0 there: not known. */
double umi_max_of(const umi_field *field, const um_api_rules *rules);

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

/* request_prompt_json.c: what the prompt is made of */
/* Room for `count` messages of `label`, which must not be empty or too long, and for `more`. */
um_status umi_make_messages(um_api_request *request, size_t count, size_t more, const char *label,
                            um_err *err);
um_status umi_read_messages(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_edit_message(umi_reading *reading, um_json *value, const char *label,
                                um_err *err);
um_status umi_read_prompt(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_text_prompt(umi_reading *reading, um_json *value, const char *label,
                               um_err *err);
um_status umi_read_tokens(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_suffix(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_prediction(umi_reading *reading, um_json *value, const char *label, um_err *err);
/* request_responses_json.c: what only Responses has */
um_status umi_read_instructions(umi_reading *reading, um_json *value, const char *label,
                                um_err *err);
um_status umi_read_input(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_include(umi_reading *reading, um_json *value, const char *label, um_err *err);
/* request_diffusion_json.c: settings of diffusion */
um_status umi_read_algorithm(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_eos_rule(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_preset(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_effort(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_mode(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_diffusing(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_frames(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_infill_length(umi_reading *reading, um_json *value, const char *label,
                                 um_err *err);
um_status umi_read_template(umi_reading *reading, um_json *value, const char *label, um_err *err);
/* request_readers_json.c: the rest */
um_status umi_read_stop(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_stop_token_ids(umi_reading *reading, um_json *value, const char *label,
                                  um_err *err);
um_status umi_read_logprobs(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_best_of(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_logit_bias(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_format(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_tools(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_tool_choice(umi_reading *reading, um_json *value, const char *label,
                               um_err *err);
um_status umi_read_metadata(umi_reading *reading, um_json *value, const char *label, um_err *err);
um_status umi_read_user(umi_reading *reading, um_json *value, const char *label, um_err *err);

/* A part of a message's content. */
typedef struct umi_part_rule {
    const char *types;   /* of which it may be, space-separated; all hold `text` ... */
    const char *refusal; /* ... but this one, which holds `refusal`; NULL: none */
} umi_part_rule;

/* `object`'s `content`: a string, or text parts, which are joined with one newline. The joined text
 * takes the parts' place in the body, which thereby owns it. */
um_status umi_read_content(um_json *object, const umi_part_rule *parts, const char *parent,
                           const char **out, size_t *length, um_err *err);
/* A member that must be there, not null, and a string. */
um_status umi_need_string(const um_json *object, const char *key, const char *parent,
                          const um_json **out, um_err *err);
/* What a template calls the role; NULL: it is none of the API's. */
const char *umi_rendered_role(const um_json *name);
/* An array of token ids of the model, appended to ids[]; MASK too only where `masks`. */
um_status umi_read_ids(const um_json *array, const um_api_rules *rules, bool masks,
                       const char *label, int32_t *ids, um_err *err);
/* A preset from a source that is at least as strong as what there is. */
void umi_take_preset(umi_reading *reading, um_preset preset, umi_preset_source source);
/* By name of `length` bytes. */
bool umi_find_preset(const char *name, size_t length, um_preset *out);
/* One of space-separated words. */
bool umi_has_word(const char *words, const char *word, size_t length);

#endif
