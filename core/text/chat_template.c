/*
 * Chat templates: which one a checkpoint has, and the way of a rendering to ids. The templates
 * themselves are in chat_render.c. Stateless; any thread.
 */
#include "core/text/chat_internal.h"

#include <string.h>

#include "core/base/file.h"
#include "core/base/json.h"

#define CONFIG_FILE_MAX ((size_t)16 << 20)
#define TEMPLATE_FILE_MAX ((size_t)1 << 20)
#define WAY_OUT "--chat-template NAME chooses one"

/* ---- where a rendering goes ---- */

um_status umi_sink_flush(umi_sink *to)
{
    um_status status;

    if (um_buf_failed(to->text))
        return um_fail(to->err, UM_E_NOMEM, "no memory to render the messages");
    if (!to->tokenizer)
        return UM_OK;
    status = um_tokenizer_encode(to->tokenizer, um_buf_view(to->text), to->text->length,
                                 to->ids->count > to->ids_before ? UM_ENCODE_CONTINUE : 0,
                                 to->ids_max, to->ids, to->err);
    um_buf_clear(to->text);
    return status;
}

um_status umi_sink_special(umi_sink *to, const char *token)
{
    um_status status;
    int32_t id;

    if (!to->tokenizer) {
        um_buf_text(to->text, token);
        return UM_OK;
    }
    status = umi_sink_flush(to);
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

/* ---- the table ---- */

const um_chat_template *um_chat_template_find(const char *name)
{
    for (size_t i = 0; i < umi_chat_template_count; i++)
        if (strcmp(umi_chat_templates[i].name, name) == 0)
            return &umi_chat_templates[i];
    return NULL;
}

static bool has_source(const um_chat_template *chat, const char *jinja, size_t length)
{
    for (size_t i = 0; i < UMI_SOURCES_MAX && chat->sources[i]; i++)
        if (strlen(chat->sources[i]) == length && memcmp(chat->sources[i], jinja, length) == 0)
            return true;
    return false;
}

const um_chat_template *um_chat_template_match(const char *jinja)
{
    size_t length = strlen(jinja);

    /* Jinja drops one newline at the end of a source; files tend to have one. */
    if (length > 0 && jinja[length - 1] == '\n')
        length--;
    for (size_t i = 0; i < umi_chat_template_count; i++)
        if (has_source(&umi_chat_templates[i], jinja, length))
            return &umi_chat_templates[i];
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
                   "%s: its chat template is not one that is built in (" WAY_OUT "): %.80s", path,
                   jinja);
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
        status = um_fail(err, UM_E_UNSUPPORTED,
                         "%s: chat_template is %s without a text to use (" WAY_OUT ")", path,
                         um_json_kind_name(um_json_kind_of(value)));
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
    um_err problem = {0}; /* a file that may be missing is none of the caller's errors */
    um_status status = join_path(&path, dir, "chat_template.jinja", &problem);

    *out = NULL;
    /* The file of its own wins, as in transformers. */
    if (status == UM_OK)
        status = open_jinja(um_buf_view(&path), out, &problem);
    if (status == UM_EMPTY)
        status = join_path(&path, dir, "tokenizer_config.json", &problem);
    if (status == UM_OK && !*out)
        status = open_config(um_buf_view(&path), out, &problem);
    if (status != UM_OK && err)
        *err = problem;
    um_buf_deinit(&path);
    return status;
}

static um_status refuse_name(const char *name, um_err *err)
{
    um_buf known = {0};

    for (size_t i = 0; i < umi_chat_template_count; i++)
        um_buf_printf(&known, "%s, ", umi_chat_templates[i].name);
    um_fail_field(err, UM_E_VALUE, "--chat-template",
                  "--chat-template is \"%.32s\"; expected one of %snone", name,
                  um_buf_view(&known));
    um_buf_deinit(&known);
    return UM_E_VALUE;
}

um_status um_chat_template_choose(const char *dir, const char *name, const um_chat_template **out,
                                  um_err *err)
{
    *out = NULL;
    if (!name)
        return um_chat_template_open(dir, out, err);
    if (strcmp(name, "none") == 0)
        return UM_OK;
    *out = um_chat_template_find(name);
    return *out ? UM_OK : refuse_name(name, err);
}

/* ---- rendering ---- */

static um_status render(const um_chat_template *chat, umi_sink *to, const um_message *messages,
                        size_t count, um_chat_end end)
{
    if (end == UM_CHAT_CONTINUE &&
        (count == 0 || strcmp(messages[count - 1].role, "assistant") != 0))
        return um_fail(to->err, UM_E_VALUE,
                       "only a last message of the assistant can be continued");
    return chat->render(to, messages, count, end);
}

um_status um_chat_template_encode(const um_chat_template *chat, const um_tokenizer *tokenizer,
                                  const um_message *messages, size_t count, um_chat_end end,
                                  size_t ids_max, um_ids *ids, um_err *err)
{
    um_buf text = {0};
    umi_sink to = {.tokenizer = tokenizer,
                   .name = chat->name,
                   .ids_max = ids_max,
                   .ids_before = ids->count,
                   .ids = ids,
                   .text = &text,
                   .err = err};
    size_t count_before = ids->count;
    um_status status = render(chat, &to, messages, count, end);

    if (status == UM_OK)
        status = umi_sink_flush(&to);
    if (status != UM_OK)
        ids->count = count_before;
    um_buf_deinit(&text);
    return status;
}

um_status um_chat_template_text(const um_chat_template *chat, const um_message *messages,
                                size_t count, um_chat_end end, um_buf *out, um_err *err)
{
    umi_sink to = {.name = chat->name, .text = out, .err = err};
    um_status status = render(chat, &to, messages, count, end);

    return status == UM_OK ? umi_sink_flush(&to) : status;
}
