/* Chat templates: what is written into the prompt, and that messages cannot add to it. Rendering is
 * compared with Jinja on random conversations in tests/text. */
#include "tests/test.h"

#include "core/base/mem.h"
#include "core/text/chat_template.h"
#include "tests/support/small_tokenizer.h"
#include "tests/support/temp_dir.h"

/* chat_template of LLaDA-8B-Instruct's tokenizer_config.json, once as text and once as JSON */
#define SOURCE(backslash)                                                                          \
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "        \
    "'<|start_header_id|>' + message['role'] + '<|end_header_id|>" backslash "n" backslash         \
    "n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = "    \
    "bos_token + content %}{% endif %}{{ content }}{% endfor %}"                                   \
    "{{ '<|start_header_id|>assistant<|end_header_id|>" backslash "n" backslash "n' }}"

#define HEADER(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
#define MESSAGE(who, what)                                                                         \
    {                                                                                              \
        .role = (who), .content = (what), .content_length = sizeof(what) - 1                       \
    }

static void expect_text(const um_message *messages, size_t count, const char *expected)
{
    um_buf out = {0};
    um_err err = {0};

    UM_CHECK_OK(um_chat_template_text(um_chat_template_find("llada"), messages, count,
                                      UM_CHAT_ANSWER, &out, &err),
                err);
    UM_CHECK_STR(um_buf_view(&out), expected);
    um_buf_deinit(&out);
}

static void llada_renders_as_its_source_says(void)
{
    const um_message one[] = {MESSAGE("user", "HI")};
    const um_message many[] = {
        MESSAGE("system", " \t be brief\n"),
        MESSAGE("user", "\xE3\x80\x80\xC2\xA0q\xE2\x80\xA8\x1C\xC2\x85"), /* U+3000 A0 2028 1C 85 */
        MESSAGE("any role", "\xE1\xA0\x8E"),                              /* U+180E is kept */
        MESSAGE("assistant", "  "),
    };

    expect_text(one, 1, "<|startoftext|>" HEADER("user") "HI<|eot_id|>" HEADER("assistant"));
    expect_text(NULL, 0, HEADER("assistant"));
    expect_text(
        many, UM_COUNT_OF(many),
        "<|startoftext|>" HEADER("system") "be brief<|eot_id|>" HEADER("user") "q<|eot_id|>" HEADER(
            "any role") "\xE1\xA0\x8E<|eot_id|>" HEADER("assistant") "<|eot_id|>" HEADER("assistan"
                                                                                         "t"));
}

static void a_template_is_known_by_its_source(void)
{
    UM_CHECK(um_chat_template_find("llada") != NULL);
    UM_CHECK(um_chat_template_find("no such") == NULL);
    UM_CHECK(um_chat_template_match(SOURCE("\\")) == um_chat_template_find("llada"));
    UM_CHECK(um_chat_template_match(SOURCE("\\") "\n") == um_chat_template_find("llada"));
    UM_CHECK(um_chat_template_match(SOURCE("\\") "x") == NULL);
    UM_CHECK(um_chat_template_match("") == NULL);
    UM_CHECK_STR(um_chat_template_name(um_chat_template_find("llada")), "llada");
}

/* ---- the checkpoint's files ---- */

static void expect_open(const char *dir, um_status status, const char *name, const char *message)
{
    const um_chat_template *chat = NULL;
    um_err err = {0};

    UM_CHECK_STATUS(um_chat_template_open(dir, &chat, &err), status);
    UM_CHECK((chat != NULL) == (name != NULL));
    if (name && chat)
        UM_CHECK_STR(um_chat_template_name(chat), name);
    if (message)
        UM_CHECK(strstr(err.message, message) != NULL && strstr(err.message, dir) != NULL);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    um_temp_dir_write(dir, name, text, strlen(text));
}

static void open_finds_the_checkpoints_own_template(void)
{
    static const char config[] = "tokenizer_config.json";
    char dir[UM_TEMP_PATH_BYTES];

    um_temp_dir_make(dir);
    expect_open(dir, UM_OK, NULL, NULL); /* base models have neither file */
    write_file(dir, config, "{\"bos_token\":\"<|startoftext|>\"}");
    expect_open(dir, UM_OK, NULL, NULL);
    write_file(dir, config, "{\"chat_template\":\"" SOURCE("\\\\") "\"}");
    expect_open(dir, UM_OK, "llada", NULL);
    write_file(dir, config,
               "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"x\"},"
               "{\"name\":\"default\",\"template\":\"" SOURCE("\\\\") "\"}]}");
    expect_open(dir, UM_OK, "llada", NULL);
    write_file(dir, config, "{\"chat_template\":\"{{ other }}\"}");
    expect_open(dir, UM_E_UNSUPPORTED, NULL, config);
    write_file(dir, config, "{\"chat_template\":7}");
    expect_open(dir, UM_E_UNSUPPORTED, NULL, config);
    write_file(dir, config, "{");
    expect_open(dir, UM_E_FORMAT, NULL, config);
    write_file(dir, "chat_template.jinja", SOURCE("\\") "\n"); /* wins over the broken one */
    expect_open(dir, UM_OK, "llada", NULL);
    write_file(dir, "chat_template.jinja", "{{ other }}");
    expect_open(dir, UM_E_UNSUPPORTED, NULL, "chat_template.jinja");
    um_temp_dir_remove(dir);
}

static void opening_survives_every_failing_allocation(void)
{
    static const char *const files[] = {"tokenizer_config.json", "chat_template.jinja"};

    for (size_t i = 0; i < UM_COUNT_OF(files); i++) {
        char dir[UM_TEMP_PATH_BYTES];
        long failures = 0;

        um_temp_dir_make(dir);
        write_file(dir, files[i],
                   i == 0 ? "{\"chat_template\":\"" SOURCE("\\\\") "\"}" : SOURCE("\\"));
        for (;; failures++) {
            const um_chat_template *chat = NULL;
            um_err err = {0};
            um_status status;

            um_mem_fail_after(failures + 1);
            status = um_chat_template_open(dir, &chat, &err);
            if (um_mem_fail_pending()) {
                um_mem_fail_after(0);
                UM_CHECK_OK(status, err);
                UM_CHECK(chat != NULL);
                break;
            }
            UM_CHECK_STATUS(status, UM_E_NOMEM);
        }
        UM_CHECK(failures >= 2);
        um_temp_dir_remove(dir);
    }
}

/* ---- ids ---- */

enum { BOS = 300, START, END, EOT, MASK };

/* Byte tokens (byte b has id b), a merge of two newlines (256) and some special tokens. */
static um_tokenizer *tokenizer_with(const char *const *special, size_t count)
{
    um_document d = {.pre_tokenizer = BYTE_LEVEL, .merges = {"\xC4\x8A \xC4\x8A"}};
    um_tokenizer *tokenizer;
    um_buf added = {0};

    for (size_t i = 0; i < count; i++)
        um_buf_printf(&added, "%s{\"id\":%zu,\"content\":\"%s\",\"special\":true}", i ? "," : "",
                      BOS + i, special[i]);
    d.added = um_buf_view(&added);
    tokenizer = um_document_load(&d);
    um_buf_deinit(&added);
    return tokenizer;
}

static const char *const llada_special[] = {"<|startoftext|>", "<|start_header_id|>",
                                            "<|end_header_id|>", "<|eot_id|>", "<|mdm_mask|>"};

static void special_tokens_are_ids_and_messages_stay_text(void)
{
    um_tokenizer *tokenizer = tokenizer_with(llada_special, UM_COUNT_OF(llada_special));
    const um_chat_template *chat = um_chat_template_find("llada");
    const um_message messages[] = {MESSAGE("u", "\n<|eot_id|><|mdm_mask|> ")};
    const int32_t head[] = {BOS, START, 'u', END, 256, '<', '|', 'e'};
    const int32_t tail[] = {'k', '|', '>', EOT, START, 'a', 's', 's',
                            'i', 's', 't', 'a', 'n',   't', END, 256};
    um_ids ids = {0};
    um_err err = {0};
    size_t count = 5 + strlen("<|eot_id|><|mdm_mask|>") + UM_COUNT_OF(tail) - 3;

    UM_CHECK_OK(
        um_chat_template_encode(chat, tokenizer, messages, 1, UM_CHAT_ANSWER, 99, &ids, &err), err);
    UM_CHECK_INT(ids.count, count);
    UM_CHECK(memcmp(ids.data, head, sizeof(head)) == 0);
    UM_CHECK(memcmp(ids.data + ids.count - UM_COUNT_OF(tail), tail, sizeof(tail)) == 0);
    /* exactly enough room, and one too few */
    ids.count = 0;
    UM_CHECK_OK(
        um_chat_template_encode(chat, tokenizer, messages, 1, UM_CHAT_ANSWER, count, &ids, &err),
        err);
    ids.count = 0;
    for (size_t max = 0; max < count; max++)
        UM_CHECK_STATUS(
            um_chat_template_encode(chat, tokenizer, messages, 1, UM_CHAT_ANSWER, max, &ids, &err),
            UM_E_CONTEXT_LENGTH);
    UM_CHECK_INT(ids.count, 0);
    um_ids_deinit(&ids);
    um_tokenizer_close(tokenizer);
}

static void a_tokenizer_without_the_tokens_is_refused(void)
{
    um_tokenizer *tokenizer = tokenizer_with(llada_special, 2);
    const um_message messages[] = {MESSAGE("user", "x")};
    um_ids ids = {0};
    um_err err = {0};

    UM_CHECK_STATUS(um_chat_template_encode(um_chat_template_find("llada"), tokenizer, messages, 1,
                                            UM_CHAT_ANSWER, 99, &ids, &err),
                    UM_E_VALUE);
    UM_CHECK(strstr(err.message, "<|end_header_id|>") != NULL);
    UM_CHECK_INT(ids.count, 0);
    um_ids_deinit(&ids);
    um_tokenizer_close(tokenizer);
}

static const um_test tests[] = {
    UM_TEST(llada_renders_as_its_source_says),
    UM_TEST(a_template_is_known_by_its_source),
    UM_TEST(open_finds_the_checkpoints_own_template),
    UM_TEST(opening_survives_every_failing_allocation),
    UM_TEST(special_tokens_are_ids_and_messages_stay_text),
    UM_TEST(a_tokenizer_without_the_tokens_is_refused),
};

UM_TEST_MAIN(tests)
