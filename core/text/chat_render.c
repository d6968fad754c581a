/*
 * The chat templates that are built in, each as the Jinja source that checkpoints carry and a
 * function that does what it says. No Jinja is run. Stateless; any thread.
 */
#include "core/text/chat_internal.h"

#include <string.h>

static void put_text(umi_sink *to, const char *text)
{
    um_buf_text(to->text, text);
}

static void put_content(umi_sink *to, const um_message *message)
{
    um_buf_append(to->text, message->content, message->content_length);
}

static bool has_role(const um_message *message, const char *role)
{
    return strcmp(message->role, role) == 0;
}

/* Message i is the last one, and the answer goes on from its text. */
static bool is_left_open(size_t i, size_t count, um_chat_end end)
{
    return end == UM_CHAT_CONTINUE && i + 1 == count;
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

static void put_trimmed(umi_sink *to, const char *text, size_t length)
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

/* ---- llada, mmada: headers and trimmed turns ---- */

/* LLaDA-8B-Instruct's tokenizer_config.json; MMaDA's generate.py sets the same with one newline.
 * There the newline stands in a string of the source, escaped or as it is: that renders the same. */
#define HEADERS_JINJA(newlines)                                                                    \
    "{% set loop_messages = messages %}{% for message in loop_messages %}"                         \
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>" newlines       \
    "'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"                      \
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"                  \
    "{{ '<|start_header_id|>assistant<|end_header_id|>" newlines "' }}"

static um_status put_header(umi_sink *to, const char *role, const char *newlines)
{
    um_status status = umi_sink_special(to, "<|start_header_id|>");

    put_text(to, role);
    if (status == UM_OK)
        status = umi_sink_special(to, "<|end_header_id|>");
    put_text(to, newlines);
    return status;
}

/* The assistant's header is there also where no answer is asked for: the source knows no
 * add_generation_prompt. Any role passes; the beginning-of-text token belongs to the first message,
 * so an empty list has none. */
static um_status render_headers(umi_sink *to, const um_message *messages, size_t count,
                                um_chat_end end, const char *newlines)
{
    um_status status = UM_OK;

    if (count > 0)
        status = umi_sink_special(to, "<|startoftext|>");
    for (size_t i = 0; i < count && status == UM_OK; i++) {
        status = put_header(to, messages[i].role, newlines);
        put_trimmed(to, messages[i].content, messages[i].content_length);
        if (status == UM_OK && is_left_open(i, count, end))
            return UM_OK;
        if (status == UM_OK)
            status = umi_sink_special(to, "<|eot_id|>");
    }
    return status == UM_OK ? put_header(to, "assistant", newlines) : status;
}

static um_status llada_render(umi_sink *to, const um_message *messages, size_t count,
                              um_chat_end end)
{
    return render_headers(to, messages, count, end, "\n\n");
}

static um_status mmada_render(umi_sink *to, const um_message *messages, size_t count,
                              um_chat_end end)
{
    return render_headers(to, messages, count, end, "\n");
}

/* ---- chatml: Qwen2.5's, which Dream and DiffuCoder carry ---- */

static const char chatml_jinja[] =
    "{%- if tools %}\n"
    "    {{- '<|im_start|>system\\n' }}\n"
    "    {%- if messages[0]['role'] == 'system' %}\n"
    "        {{- messages[0]['content'] }}\n"
    "    {%- else %}\n"
    "        {{- 'You are a helpful assistant.' }}\n"
    "    {%- endif %}\n"
    "    {{- \"\\n\\n# Tools\\n\\nYou may call one or more functions to assist with the user "
    "query.\\n\\nYou are provided with function signatures within <tools></tools> XML "
    "tags:\\n<tools>\" }}\n"
    "    {%- for tool in tools %}\n"
    "        {{- \"\\n\" }}\n"
    "        {{- tool | tojson }}\n"
    "    {%- endfor %}\n"
    "    {{- \"\\n</tools>\\n\\nFor each function call, return a json object with function "
    "name and arguments within <tool_call></tool_call> XML "
    "tags:\\n<tool_call>\\n{\\\"name\\\": <function-name>, \\\"arguments\\\": "
    "<args-json-object>}\\n</tool_call><|im_end|>\\n\" }}\n"
    "{%- else %}\n"
    "    {%- if messages[0]['role'] == 'system' %}\n"
    "        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n"
    "    {%- else %}\n"
    "        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}\n"
    "    {%- endif %}\n"
    "{%- endif %}\n"
    "{%- for message in messages %}\n"
    "    {%- if (message.role == \"user\") or (message.role == \"system\" and not "
    "loop.first) or (message.role == \"assistant\" and not message.tool_calls) %}\n"
    "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + "
    "'\\n' }}\n"
    "    {%- elif message.role == \"assistant\" %}\n"
    "        {{- '<|im_start|>' + message.role }}\n"
    "        {%- if message.content %}\n"
    "            {{- '\\n' + message.content }}\n"
    "        {%- endif %}\n"
    "        {%- for tool_call in message.tool_calls %}\n"
    "            {%- if tool_call.function is defined %}\n"
    "                {%- set tool_call = tool_call.function %}\n"
    "            {%- endif %}\n"
    "            {{- '\\n<tool_call>\\n{\"name\": \"' }}\n"
    "            {{- tool_call.name }}\n"
    "            {{- '\", \"arguments\": ' }}\n"
    "            {{- tool_call.arguments | tojson }}\n"
    "            {{- '}\\n</tool_call>' }}\n"
    "        {%- endfor %}\n"
    "        {{- '<|im_end|>\\n' }}\n"
    "    {%- elif message.role == \"tool\" %}\n"
    "        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != \"tool\") %}\n"
    "            {{- '<|im_start|>user' }}\n"
    "        {%- endif %}\n"
    "        {{- '\\n<tool_response>\\n' }}\n"
    "        {{- message.content }}\n"
    "        {{- '\\n</tool_response>' }}\n"
    "        {%- if loop.last or (messages[loop.index0 + 1].role != \"tool\") %}\n"
    "            {{- '<|im_end|>\\n' }}\n"
    "        {%- endif %}\n"
    "    {%- endif %}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n"
    "{%- endif %}";

/* Qwen2's, the same for the roles that both know. */
#define PLAIN_JINJA(newline)                                                                       \
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"         \
    "{{ '<|im_start|>system" newline "You are a helpful assistant.<|im_end|>" newline "' }}"       \
    "{% endif %}{{'<|im_start|>' + message['role'] + '" newline                                    \
    "' + message['content'] + '<|im_end|>' + '" newline "'}}{% endfor %}"                          \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant" newline "' }}{% endif %}"

static um_status chatml_open(umi_sink *to, const char *role)
{
    um_status status = umi_sink_special(to, "<|im_start|>");

    put_text(to, role);
    return status;
}

static um_status chatml_close(umi_sink *to)
{
    um_status status = umi_sink_special(to, "<|im_end|>");

    put_text(to, "\n");
    return status;
}

static um_status chatml_turn(umi_sink *to, const um_message *message, bool left_open)
{
    um_status status = chatml_open(to, message->role);

    put_text(to, "\n");
    put_content(to, message);
    return status == UM_OK && !left_open ? chatml_close(to) : status;
}

static um_status chatml_default(umi_sink *to, const um_message *messages, size_t count)
{
    static const char text[] = "You are a helpful assistant.";
    const um_message system = {
        .role = "system", .content = text, .content_length = sizeof(text) - 1};

    return count > 0 && has_role(&messages[0], "system") ? UM_OK : chatml_turn(to, &system, false);
}

static um_status chatml_answer(umi_sink *to, um_chat_end end)
{
    um_status status;

    if (end != UM_CHAT_ANSWER)
        return UM_OK;
    status = chatml_open(to, "assistant");
    put_text(to, "\n");
    return status;
}

/* Results of tools are a user's turn, neighbours in one. */
static um_status chatml_result(umi_sink *to, const um_message *messages, size_t count, size_t i)
{
    um_status status = UM_OK;

    if (i == 0 || !has_role(&messages[i - 1], "tool"))
        status = chatml_open(to, "user");
    put_text(to, "\n<tool_response>\n");
    put_content(to, &messages[i]);
    put_text(to, "\n</tool_response>");
    if (status == UM_OK && (i + 1 == count || !has_role(&messages[i + 1], "tool")))
        status = chatml_close(to);
    return status;
}

/* Messages of other roles are left out. */
static um_status chatml_render(umi_sink *to, const um_message *messages, size_t count,
                               um_chat_end end)
{
    um_status status = chatml_default(to, messages, count);

    for (size_t i = 0; i < count && status == UM_OK; i++) {
        const um_message *message = &messages[i];

        if (has_role(message, "tool"))
            status = chatml_result(to, messages, count, i);
        else if (has_role(message, "user") || has_role(message, "system") ||
                 has_role(message, "assistant"))
            status = chatml_turn(to, message, is_left_open(i, count, end));
    }
    return status == UM_OK ? chatml_answer(to, end) : status;
}

static um_status plain_render(umi_sink *to, const um_message *messages, size_t count,
                              um_chat_end end)
{
    um_status status = chatml_default(to, messages, count);

    for (size_t i = 0; i < count && status == UM_OK; i++)
        status = chatml_turn(to, &messages[i], is_left_open(i, count, end));
    return status == UM_OK ? chatml_answer(to, end) : status;
}

/* ---- llama2 ---- */

/* Llama-2-7b-chat-hf's tokenizer_config.json */
static const char llama2_jinja[] =
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}"
    "{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}"
    "{% endif %}{% endfor %}";

/* A user's words, the first time with what the system says in front. Both are trimmed together. */
static um_status put_instruction(umi_sink *to, const um_message *system, const um_message *message)
{
    um_buf content = {0};
    bool failed;

    if (system) {
        um_buf_text(&content, "<<SYS>>\n");
        um_buf_append(&content, system->content, system->content_length);
        um_buf_text(&content, "\n<</SYS>>\n\n");
    }
    um_buf_append(&content, message->content, message->content_length);
    put_text(to, "[INST] ");
    put_trimmed(to, um_buf_view(&content), content.length);
    put_text(to, " [/INST]");
    failed = um_buf_failed(&content);
    um_buf_deinit(&content);
    return failed ? um_fail(to->err, UM_E_NOMEM, "no memory to render the messages") : UM_OK;
}

static um_status llama2_turn(umi_sink *to, const um_message *system, const um_message *message,
                             bool left_open)
{
    if (has_role(message, "user")) {
        um_status status = umi_sink_special(to, "<s>");

        return status == UM_OK ? put_instruction(to, system, message) : status;
    }
    if (!has_role(message, "assistant"))
        return UM_OK;
    put_text(to, " ");
    put_trimmed(to, message->content, message->content_length);
    if (left_open)
        return UM_OK;
    put_text(to, " ");
    return umi_sink_special(to, "</s>");
}

/* There is no header of the assistant's that could be left out. */
static um_status llama2_render(umi_sink *to, const um_message *messages, size_t count,
                               um_chat_end end)
{
    const um_message *system = count > 0 && has_role(&messages[0], "system") ? messages : NULL;
    um_status status = UM_OK;

    for (size_t i = system ? 1 : 0, turn = 0; i < count && status == UM_OK; i++, turn++) {
        if (has_role(&messages[i], "user") != (turn % 2 == 0))
            return um_fail(to->err, UM_E_VALUE,
                           "chat template llama2: the roles must alternate user, assistant, user, "
                           "... behind at most one system message; message %zu is \"%.32s\"",
                           i, messages[i].role);
        status =
            llama2_turn(to, turn == 0 ? system : NULL, &messages[i], is_left_open(i, count, end));
    }
    return status;
}

/* ---- the table ---- */

const um_chat_template umi_chat_templates[] = {
    {.name = "llada",
     .sources = {HEADERS_JINJA("\\n\\n"), HEADERS_JINJA("\n\n")},
     .render = llada_render},
    {.name = "mmada",
     .sources = {HEADERS_JINJA("\\n"), HEADERS_JINJA("\n")},
     .render = mmada_render},
    {.name = "chatml", .sources = {chatml_jinja}, .render = chatml_render},
    {.name = "chatml-plain",
     .sources = {PLAIN_JINJA("\\n"), PLAIN_JINJA("\n")},
     .render = plain_render},
    {.name = "llama2", .sources = {llama2_jinja}, .render = llama2_render},
};
const size_t umi_chat_template_count = UM_COUNT_OF(umi_chat_templates);
