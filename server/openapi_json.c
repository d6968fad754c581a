/* The tables of request_fields.c as JSON schemas. */
#include <jansson.h>
#include <string.h>

#include "server/openapi.h"
#include "server/request_internal.h"

#define SHAPES "#/components/schemas/"

static const struct {
    const char *schema;
    um_endpoint endpoint;
} bodies[] = {
    {"ChatRequest", UM_ENDPOINT_CHAT},
    {"CompletionRequest", UM_ENDPOINT_COMPLETIONS},
    {"FimRequest", UM_ENDPOINT_FIM},
    {"EditRequest", UM_ENDPOINT_EDIT},
    {"ResponseRequest", UM_ENDPOINT_RESPONSES},
    {"TokenizeRequest", UM_ENDPOINT_TOKENIZE},
    {"DetokenizeRequest", UM_ENDPOINT_DETOKENIZE},
};

/* Everything below makes JSON out of parts that may be NULL where memory is out: jansson's setters
 * fail for those, so that one `ok` holds all there is to know. */
typedef struct writer {
    const um_api_rules *rules;
    um_endpoint endpoint;
    bool ok;
} writer;

static json_t *object(writer *w)
{
    json_t *made = json_object();

    w->ok = w->ok && made != NULL;
    return made;
}

/* Takes over `value`. */
static void put(writer *w, json_t *where, const char *key, json_t *value)
{
    if (json_object_set_new(where, key, value) != 0)
        w->ok = false;
}

static void append(writer *w, json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) != 0)
        w->ok = false;
}

/* Words, and null unless the field is required. */
static json_t *words_of(writer *w, const umi_field *f)
{
    json_t *array = json_array();

    for (const char *at = f->words; *at;) {
        size_t n = strcspn(at, " ");

        append(w, array, json_stringn(at, n));
        at += n + (at[n] == ' ');
    }
    if (!f->required)
        append(w, array, json_null());
    return array;
}

static json_t *type_of(writer *w, const umi_field *f)
{
    static const char *const names[] = {"boolean", "integer", "number",
                                        "string",  "array",   "object"};
    json_t *array;

    if (f->required)
        return json_string(names[f->kind]);
    array = json_array();
    append(w, array, json_string(names[f->kind]));
    append(w, array, json_string("null"));
    return array;
}

static json_t *number_of(const umi_field *f, double number)
{
    return f->kind == UM_KIND_INT ? json_integer((json_int_t)number) : json_real(number);
}

static void put_range(writer *w, const umi_field *f, json_t *schema)
{
    double max = umi_max_of(f, w->rules);

    if (f->kind == UM_KIND_INT)
        put(w, schema, "format", json_string("int64"));
    if (!(f->max > f->min))
        return;
    put(w, schema, f->above_min ? "exclusiveMinimum" : "minimum", number_of(f, f->min));
    if (max < UM_FIELD_NO_MAX)
        put(w, schema, "maximum", number_of(f, max));
}

static json_t *neutral_schema(writer *w, const umi_field *f)
{
    json_t *schema = object(w), *values = json_loads(f->neutral, 0, NULL);

    append(w, values, json_null());
    put(w, schema, "enum", values);
    return schema;
}

static json_t *shape_schema(writer *w, const umi_field *f)
{
    json_t *schema = object(w), *shape = json_object(), *nothing = json_object(), *either;

    put(w, shape, "$ref", json_sprintf(SHAPES "%s", f->shape));
    put(w, nothing, "type", json_string("null"));
    either = json_array();
    append(w, either, shape);
    if (f->required)
        json_decref(nothing);
    else
        append(w, either, nothing);
    put(w, schema, "anyOf", either);
    return schema;
}

static json_t *plain_schema(writer *w, const umi_field *f)
{
    json_t *schema = object(w);

    if (f->kind != UM_KIND_ANY)
        put(w, schema, "type", type_of(w, f));
    if (f->words)
        put(w, schema, "enum", words_of(w, f));
    if (f->kind == UM_KIND_INT || f->kind == UM_KIND_NUMBER)
        put_range(w, f, schema);
    return schema;
}

static json_t *object_schema(writer *w, const umi_table *table, json_t *type);

static json_t *field_schema(writer *w, const umi_field *f)
{
    json_t *schema;

    if (f->class == UM_FIELD_REFUSED) {
        schema = object(w);
        put(w, schema, "type", json_string("null"));
        put(w, schema, "description", json_sprintf("Refused. %s", f->about));
        return schema;
    }
    if (f->class == UM_FIELD_NEUTRAL)
        schema = neutral_schema(w, f);
    else if (f->members)
        schema = object_schema(w, f->members, type_of(w, f));
    else if (f->shape)
        schema = shape_schema(w, f);
    else
        schema = plain_schema(w, f);
    put(w, schema, "description", json_string(f->about));
    return schema;
}

/* Takes over `type`. */
static json_t *object_schema(writer *w, const umi_table *table, json_t *type)
{
    json_t *schema = object(w), *properties = object(w);

    for (size_t i = 0; i < table->count; i++)
        if (table->fields[i].endpoints & (unsigned)w->endpoint)
            put(w, properties, table->fields[i].name, field_schema(w, &table->fields[i]));
    put(w, schema, "type", type);
    put(w, schema, "properties", properties);
    if (table->strict)
        put(w, schema, "additionalProperties", json_false());
    return schema;
}

/* ---- bodies --------------------------------------------------------------------------------- */

static void put_aliases(writer *w, json_t *properties)
{
    for (size_t i = 0; i < umi_alias_count; i++) {
        const umi_alias *alias = &umi_aliases[i];
        const umi_field *f = umi_find_field(alias->table, alias->target, w->endpoint);
        json_t *schema;

        if (!f)
            continue;
        schema = field_schema(w, f);
        put(w, schema, "description",
            json_sprintf("Another name of %s%s.", alias->table->prefix, f->name));
        put(w, properties, alias->name, schema);
    }
}

/* {"required": [the name up to a dot]} */
static json_t *needs(writer *w, const char *name)
{
    json_t *schema = object(w), *names = json_array();

    append(w, names, json_stringn(name, strcspn(name, ". ")));
    put(w, schema, "required", names);
    return schema;
}

static void put_required(writer *w, json_t *schema)
{
    json_t *required = json_array();

    for (size_t i = 0; i < umi_top_table.count; i++) {
        const umi_field *f = &umi_top_table.fields[i];
        json_t *any;

        if (!f->required || !(f->endpoints & (unsigned)w->endpoint))
            continue;
        if (!f->elsewhere) {
            append(w, required, json_string(f->name));
            continue;
        }
        any = json_array();
        append(w, any, needs(w, f->name));
        for (const char *at = f->elsewhere; *at;) {
            append(w, any, needs(w, at));
            at += strcspn(at, " ");
            at += *at == ' ';
        }
        put(w, schema, "anyOf", any);
    }
    if (json_array_size(required) > 0)
        put(w, schema, "required", required);
    else
        json_decref(required);
}

static json_t *body_schema(writer *w)
{
    static const umi_field model = {
        .name = "model",
        .kind = UM_KIND_STRING,
        .about = "The model's id or an alias, with @fast, @balanced, @recommended or @max for a "
                 "preset; default: the model that there is."};
    json_t *schema = object_schema(w, &umi_top_table, json_string("object"));
    json_t *properties = json_object_get(schema, "properties");

    put(w, properties, "model", field_schema(w, &model));
    put_aliases(w, properties);
    put_required(w, schema);
    return schema;
}

/* ---- answers -------------------------------------------------------------------------------- */

/* What every operation with a body may be answered with beside its 200. */
static const struct {
    const char *status;
    const char *response; /* of openapi.json */
    bool generating;      /* only where the engine has a part in it */
} refusals[] = {
    {"400", "BadRequest", false}, {"401", "NoKey", false},  {"403", "Host", false},
    {"404", "NotFound", false},   {"408", "Slow", false},   {"413", "Large", false},
    {"415", "MediaType", false},  {"429", "Busy", true},    {"500", "Fault", false},
    {"503", "NotNow", false},     {"504", "Timeout", true},
};

static void put_refusals(writer *w, const json_t *operation)
{
    json_t *responses = json_object_get(operation, "responses");
    const json_t *tag = json_array_get(json_object_get(operation, "tags"), 0);

    for (size_t i = 0; i < UM_COUNT_OF(refusals); i++) {
        json_t *response;

        if (refusals[i].generating && !umi_is_word(tag, "generate"))
            continue;
        response = object(w);
        put(w, response, "$ref", json_sprintf("#/components/responses/%s", refusals[i].response));
        put(w, responses, refusals[i].status, response);
    }
}

static void put_all_refusals(writer *w, json_t *paths)
{
    const char *path;
    json_t *operations;

    json_object_foreach(paths, path, operations)
    {
        const json_t *post = json_object_get(operations, "post");

        if (post)
            put_refusals(w, post);
    }
}

static int append_text(const char *text, size_t length, void *out)
{
    um_buf_append(out, text, length);
    return 0;
}

um_status um_openapi_write(const um_api_rules *rules, const char *version, um_buf *out, um_err *err)
{
    json_t *root = json_loadb((const char *)umi_openapi_text, umi_openapi_length, 0, NULL);
    json_t *schemas = json_object_get(json_object_get(root, "components"), "schemas");
    writer w = {.rules = rules, .ok = root != NULL};

    put(&w, json_object_get(root, "info"), "version", json_string(version));
    put_all_refusals(&w, json_object_get(root, "paths"));
    for (size_t i = 0; i < UM_COUNT_OF(bodies) && w.ok; i++) {
        w.endpoint = bodies[i].endpoint;
        put(&w, schemas, bodies[i].schema, body_schema(&w));
    }
    if (w.ok && json_dump_callback(root, append_text, out, JSON_COMPACT) != 0)
        w.ok = false;
    json_decref(root);
    if (!w.ok || um_buf_failed(out))
        return um_fail(err, UM_E_OVERLOADED, "no memory for the document");
    return UM_OK;
}
