/*
 * /openapi.json against the tables that read bodies: it lists every row and no other, every shape
 * that it names is there, and the bounds written by hand are those of the code.
 */
#include <stdlib.h>

#include "core/base/mem.h"
#include "server/openapi.h"
#include "server/request_internal.h"
#include "tests/test.h"

#define REF "#/components/schemas/"

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

static um_json *document(void)
{
    um_api_rules rules = {.max_choices = 5};
    um_buf text = {0};
    um_json *root = NULL;
    um_err err = {0};

    UM_CHECK_OK(um_openapi_write(&rules, "1.2.3", &text, &err), err);
    UM_CHECK_OK(um_json_parse(um_buf_view(&text), text.length, &root, &err), err);
    um_buf_deinit(&text);
    return root;
}

/* The member at a path of names. */
static const um_json *at(const um_json *value, const char *path)
{
    char name[64];

    while (*path && value) {
        size_t n = strcspn(path, "/");

        UM_ASSERT(n < sizeof(name));
        memcpy(name, path, n);
        name[n] = '\0';
        value = um_json_member(value, name);
        path += n + (path[n] == '/');
    }
    return value;
}

static const um_json *schema_of(const um_json *root, const char *name)
{
    return um_json_member(at(root, "components/schemas"), name);
}

static size_t rows_of(const umi_table *table, um_endpoint endpoint)
{
    size_t count = 0;

    for (size_t i = 0; i < table->count; i++)
        count += (table->fields[i].endpoints & (unsigned)endpoint) != 0;
    return count;
}

/* Every row of a table is a property, down into objects, and described. */
static void check_rows(const umi_table *table, um_endpoint endpoint, const um_json *properties)
{
    for (size_t i = 0; i < table->count; i++) {
        const umi_field *f = &table->fields[i];
        const um_json *schema, *members;

        if (!(f->endpoints & (unsigned)endpoint))
            continue;
        schema = um_json_member(properties, f->name);
        UM_CHECK(schema && um_json_member(schema, "description"));
        if (!f->members)
            continue;
        members = um_json_member(schema, "properties");
        UM_CHECK_INT(um_json_count(members), rows_of(f->members, endpoint));
        UM_CHECK((um_json_member(schema, "additionalProperties") != NULL) == f->members->strict);
        check_rows(f->members, endpoint, members);
    }
}

static void every_row_is_a_property_and_nothing_else_is(void)
{
    um_json *root = document();

    for (size_t i = 0; i < UM_COUNT_OF(bodies); i++) {
        const um_json *schema = schema_of(root, bodies[i].schema);
        const um_json *properties = um_json_member(schema, "properties");
        size_t aliases = 0;

        for (size_t k = 0; k < umi_alias_count; k++) {
            if (!umi_find_field(umi_aliases[k].table, umi_aliases[k].target, bodies[i].endpoint))
                continue;
            aliases++;
            UM_CHECK(um_json_member(properties, umi_aliases[k].name) != NULL);
        }
        check_rows(&umi_top_table, bodies[i].endpoint, properties);
        UM_CHECK_INT(um_json_count(properties),
                     rows_of(&umi_top_table, bodies[i].endpoint) + aliases + 1); /* `model` */
    }
    um_json_free(root);
}

/* "$ref" anywhere points into the document. */
static void check_references(const um_json *root, const um_json *value)
{
    um_json_kind kind = um_json_kind_of(value);

    if (kind == UM_JSON_OBJECT) {
        for (void *it = um_json_first(value); it; it = um_json_next(value, it)) {
            const um_json *member = um_json_iter_value(it);

            if (strcmp(um_json_iter_key(it), "$ref") == 0) {
                const char *target = um_json_string_value(member, NULL);

                UM_CHECK(strncmp(target, "#/", 2) == 0 && at(root, target + 2) != NULL);
            } else {
                check_references(root, member);
            }
        }
    }
    for (size_t i = 0; kind == UM_JSON_ARRAY && i < um_json_count(value); i++)
        check_references(root, um_json_element(value, i));
}

static void every_reference_has_its_target(void)
{
    um_json *root = document();

    check_references(root, root);
    um_json_free(root);
}

static int64_t bound(const um_json *root, const char *path)
{
    const um_json *value = at(root, path);

    return um_json_kind_of(value) == UM_JSON_INT ? um_json_int_value(value) : -1;
}

static void bounds_written_by_hand_are_those_of_the_code(void)
{
    um_json *root = document();
    const um_json *shapes = at(root, "components/schemas");
    const um_json *prompt = at(shapes, "Prompt/oneOf"), *stop = at(shapes, "Stop/oneOf");

    UM_CHECK_INT(bound(shapes, "Messages/maxItems"), UM_MESSAGES_MAX);
    UM_CHECK_INT(bound(um_json_element(at(shapes, "ResponseInput/oneOf"), 1), "maxItems"),
                 UM_MESSAGES_MAX);
    UM_CHECK_INT(bound(um_json_element(prompt, 1), "maxItems"), UM_PROMPTS_MAX);
    UM_CHECK_INT(bound(um_json_element(prompt, 3), "maxItems"), UM_PROMPTS_MAX);
    UM_CHECK_INT(bound(um_json_element(stop, 0), "maxLength"), UM_STOP_STRING_BYTES_MAX);
    UM_CHECK_INT(bound(um_json_element(stop, 1), "maxItems"), UM_STOP_STRINGS_MAX);
    UM_CHECK_INT(bound(shapes, "StopTokenIds/maxItems"), UM_STOP_TOKENS_MAX);
    UM_CHECK_INT(bound(shapes, "LogitBias/maxProperties"), UM_BIASES_MAX);
    UM_CHECK_INT(bound(shapes, "Template/maxItems"), UM_TEMPLATE_PARTS_MAX);
    um_json_free(root);
}

static void rows_become_schemas(void)
{
    um_json *root = document();
    const um_json *chat = at(schema_of(root, "ChatRequest"), "properties");
    const um_json *n = um_json_member(chat, "n");
    const um_json *cache = at(chat, "diffusion/properties/cache/enum");

    UM_CHECK_STR(um_json_string_value(at(root, "info/version"), NULL), "1.2.3");
    UM_CHECK_INT(bound(n, "minimum"), 1);
    UM_CHECK_INT(bound(n, "maximum"), 5); /* --max-n, not the row's own */
    UM_CHECK_STR(um_json_string_value(um_json_element(at(n, "type"), 1), NULL), "null");
    UM_CHECK_STR(um_json_string_value(at(chat, "audio/type"), NULL), "null"); /* refused */
    UM_CHECK_INT(um_json_count(cache), 4); /* auto, exact, none and null */
    UM_CHECK_STR(um_json_string_value(at(chat, "alg/description"), NULL),
                 "Another name of diffusion.algorithm.");
    UM_CHECK(at(chat, "repetition_penalty/minimum") != NULL);
    UM_CHECK(at(chat, "diffusion/properties/factor/exclusiveMinimum") != NULL);
    UM_CHECK_INT(um_json_count(at(schema_of(root, "ChatRequest"), "required")), 1);
    UM_CHECK_INT(um_json_count(at(schema_of(root, "TokenizeRequest"), "anyOf")), 3);
    UM_CHECK_INT(um_json_count(at(schema_of(root, "CompletionRequest"), "anyOf")), 2);
    um_json_free(root);
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void)
{
    long n;

    for (n = 1; n < 20000; n = n + 1 + n / 8) { /* thinning out: there are thousands */
        um_api_rules rules = {.max_choices = 5};
        um_buf text = {0};
        um_err err = {0};
        um_status status;

        um_mem_fail_after(n);
        status = um_openapi_write(&rules, "1", &text, &err);
        um_buf_deinit(&text);
        if (um_mem_fail_pending()) {
            um_mem_fail_after(0);
            UM_CHECK_INT(status, UM_OK);
            break;
        }
        UM_CHECK_INT(status, UM_E_OVERLOADED);
    }
    UM_CHECK(n > 1 && n < 20000);
}

static const um_test tests[] = {
    UM_TEST(every_row_is_a_property_and_nothing_else_is),
    UM_TEST(every_reference_has_its_target),
    UM_TEST(bounds_written_by_hand_are_those_of_the_code),
    UM_TEST(rows_become_schemas),
    UM_TEST(every_failed_allocation_is_reported_and_leaks_nothing),
};
UM_TEST_MAIN(tests)
