/*
 * Chat templates as rows of a table: the Jinja source that a checkpoint carries, and a function
 * that does what it says. No Jinja is run. Stateless; any thread.
 */
#include "core/text/chat_template.h"

#include <string.h>

#include "core/base/file.h"
#include "core/base/json.h"

#define CONFIG_FILE_MAX ((size_t)16 << 20)
#define TEMPLATE_FILE_MAX ((size_t)1 << 20)

/* Where a rendering goes. Text pieces that touch are joined in `text`; when ids are wanted, the
 * next special token (or the end) encodes what has gathered there. */
typedef struct sink {
    const um_tokenizer *tokenizer; /* NULL: only the text is wanted */
    const char *name;              /* of the template, for messages */
    size_t ids_max;
    um_ids *ids;
    um_buf *text;
    um_err *err;
} sink;

struct um_chat_template {
    const char *name;
    const char *jinja;
    um_status (*render)(sink *to, const um_message *messages, size_t count);
};

static void put_text(sink *to, const char *text)
{
    um_buf_text(to->text, text);
}

static um_status flush(sink *to)
{
    um_status status;

    if (um_buf_failed(to->text))
        return um_fail(to->err, UM_E_NOMEM, "no memory to render the messages");
    if (!to->tokenizer)
        return UM_OK;
    status = um_tokenizer_encode(to->tokenizer, um_buf_view(to->text), to->text->length, 0,
                                 to->ids_max, to->ids, to->err);
    um_buf_clear(to->text);
    return status;
}

static um_status put_special(sink *to, const char *token)
{
    um_status status;
    int32_t id;

    if (!to->tokenizer) {
        um_buf_text(to->text, token);
        return UM_OK;
    }
    status = flush(to);
    if (status != UM_OK)
        return status;
    id = um_tokenizer_find(to->tokenizer, token);
    if (id < 0)
        return um_fail(to->err, UM_E_VALUE,
                       "chat template %s needs the token %s, which the tokenizer does not have",
                       to->name, token);
    if (to->ids->count >= to->ids_max)
        return um_fail(to->err, UM_E_CONTEXT_LENGTH, "the messages have more than %zu tokens",
                       to->ids_max);
    if (!um_ids_push(to->ids, id))
        return um_fail(to->err, UM_E_NOMEM, "no memory for %zu ids", to->ids->count + 1);
    return UM_OK;
}

/* ---- Jinja's trim filter, which is Python's str.strip() ---- */

static bool is_python_space(uint32_t point)
{
    return (point >= 0x09 && point <= 0x0D) || (point >= 0x1C && point <= 0x20) || point == 0x85 ||
           point == 0xA0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200A) ||
           point == 0x2028 || point == 0x2029 || point == 0x202F || point == 0x205F ||
           point == 0x3000;
}

/* Bytes of the white space that starts at `at`; 0 when none does. White space has one to three
 * bytes, so other lengths need not be decoded. */
static size_t space_at(const char *at, size_t length)
{
    const uint8_t *p = (const uint8_t *)at;

    if (length >= 1 && p[0] < 0x80)
        return is_python_space(p[0]) ? 1 : 0;
    if (length >= 2 && p[0] >= 0xC0 && p[0] < 0xE0)
        return is_python_space((p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu)) ? 2 : 0;
    if (length >= 3 && p[0] >= 0xE0 && p[0] < 0xF0)
        return is_python_space((p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu)) ? 3 : 0;
    return 0;
}

static void put_trimmed(sink *to, const char *text, size_t length)
{
    size_t begin = 0, end = length, space;

    while (begin < end && (space = space_at(text + begin, end - begin)) > 0)
        begin += space;
    for (size_t back = 1; back <= 3 && back <= end - begin;) {
        if (space_at(text + end - back, back) == back) {
            end -= back;
            back = 1;
        } else {
            back++;
        }
    }
    um_buf_append(to->text, text + begin, end - begin);
}

/* ---- llada ---- */

static const char llada_jinja[] =
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ "
    "message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}";

static um_status llada_header(sink *to, const char *role)
{
    um_status status = put_special(to, "<|start_header_id|>");

    put_text(to, role);
    if (status == UM_OK)
        status = put_special(to, "<|end_header_id|>");
    put_text(to, "\n\n");
    return status;
}

/* The assistant's header is always there; any role passes; the beginning-of-text token belongs to
 * the first message, so an empty list has none. */
static um_status llada_render(sink *to, const um_message *messages, size_t count)
{
    um_status status = UM_OK;

    if (count > 0)
        status = put_special(to, "<|startoftext|>");
    for (size_t i = 0; i < count && status == UM_OK; i++) {
        status = llada_header(to, messages[i].role);
        put_trimmed(to, messages[i].content, messages[i].content_length);
        if (status == UM_OK)
            status = put_special(to, "<|eot_id|>");
    }
    return status == UM_OK ? llada_header(to, "assistant") : status;
}

/* ---- the table ---- */

static const um_chat_template templates[] = {
    {.name = "llada", .jinja = llada_jinja, .render = llada_render},
};

const um_chat_template *um_chat_template_find(const char *name)
{
    for (size_t i = 0; i < UM_COUNT_OF(templates); i++)
        if (strcmp(templates[i].name, name) == 0)
            return &templates[i];
    return NULL;
}

const um_chat_template *um_chat_template_match(const char *jinja)
{
    size_t length = strlen(jinja);

    /* Jinja drops one newline at the end of a source; files tend to have one. */
    if (length > 0 && jinja[length - 1] == '\n')
        length--;
    for (size_t i = 0; i < UM_COUNT_OF(templates); i++)
        if (strlen(templates[i].jinja) == length && memcmp(templates[i].jinja, jinja, length) == 0)
            return &templates[i];
    return NULL;
}

const char *um_chat_template_name(const um_chat_template *chat)
{
    return chat->name;
}

/* ---- the checkpoint's own ---- */

static um_status match_file(const char *jinja, const char *path, const um_chat_template **out,
                            um_err *err)
{
    *out = um_chat_template_match(jinja);
    if (*out)
        return UM_OK;
    return um_fail(err, UM_E_UNSUPPORTED,
                   "%s: its chat template is not one that is built in: %.80s", path, jinja);
}

/* UM_EMPTY when there is no such file. */
static um_status open_jinja(const char *path, const um_chat_template **out, um_err *err)
{
    um_buf text = {0};
    um_status status = um_file_read(path, TEMPLATE_FILE_MAX, &text, err);

    if (status == UM_OK)
        status = match_file(um_buf_view(&text), path, out, err);
    else if (status == UM_E_NOT_FOUND)
        status = UM_EMPTY;
    else
        um_err_prefix(err, status, "%s", path);
    um_buf_deinit(&text);
    return status;
}

/* The text of `chat_template`: a string, or of a list of {name, template} the one called
 * "default"; NULL when there is none. */
static const char *template_of(const um_json *value)
{
    if (um_json_kind_of(value) == UM_JSON_STRING)
        return um_json_string_value(value, NULL);
    for (size_t i = 0; um_json_kind_of(value) == UM_JSON_ARRAY && i < um_json_count(value); i++) {
        const um_json *entry = um_json_element(value, i);
        const char *name, *text;

        if (um_json_get_string(entry, "name", "", &name, NULL) == UM_OK &&
            um_json_get_string(entry, "template", NULL, &text, NULL) == UM_OK &&
            strcmp(name, "default") == 0)
            return text;
    }
    return NULL;
}

static um_status open_config(const char *path, const um_chat_template **out, um_err *err)
{
    um_json *root = NULL;
    um_status status = um_json_load(path, CONFIG_FILE_MAX, &root, err);
    const um_json *value;
    const char *text;

    if (status != UM_OK)
        return status == UM_E_NOT_FOUND ? UM_OK : status;
    value = um_json_member(root, "chat_template");
    text = template_of(value);
    if (text)
        status = match_file(text, path, out, err);
    else if (um_json_kind_of(value) != UM_JSON_NULL)
        status = um_fail(err, UM_E_UNSUPPORTED, "%s: chat_template is %s without a text to use",
                         path, um_json_kind_name(um_json_kind_of(value)));
    um_json_free(root);
    return status;
}

static um_status join_path(um_buf *path, const char *dir, const char *name, um_err *err)
{
    um_buf_clear(path);
    um_buf_printf(path, "%s/%s", dir, name);
    return um_buf_failed(path) ? um_fail(err, UM_E_NOMEM, "no memory for a path") : UM_OK;
}

um_status um_chat_template_open(const char *dir, const um_chat_template **out, um_err *err)
{
    um_buf path = {0};
    um_status status = join_path(&path, dir, "chat_template.jinja", err);

    *out = NULL;
    /* The file of its own wins, as in transformers. */
    if (status == UM_OK)
        status = open_jinja(um_buf_view(&path), out, err);
    if (status == UM_EMPTY)
        status = join_path(&path, dir, "tokenizer_config.json", err);
    if (status == UM_OK && !*out)
        status = open_config(um_buf_view(&path), out, err);
    um_buf_deinit(&path);
    return status;
}

/* ---- rendering ---- */

um_status um_chat_template_encode(const um_chat_template *chat, const um_tokenizer *tokenizer,
                                  const um_message *messages, size_t count, size_t ids_max,
                                  um_ids *ids, um_err *err)
{
    um_buf text = {0};
    sink to = {.tokenizer = tokenizer,
               .name = chat->name,
               .ids_max = ids_max,
               .ids = ids,
               .text = &text,
               .err = err};
    size_t count_before = ids->count;
    um_status status = chat->render(&to, messages, count);

    if (status == UM_OK)
        status = flush(&to);
    if (status != UM_OK)
        ids->count = count_before;
    um_buf_deinit(&text);
    return status;
}

um_status um_chat_template_text(const um_chat_template *chat, const um_message *messages,
                                size_t count, um_buf *out, um_err *err)
{
    sink to = {.name = chat->name, .text = out, .err = err};
    um_status status = chat->render(&to, messages, count);

    return status == UM_OK ? flush(&to) : status;
}
