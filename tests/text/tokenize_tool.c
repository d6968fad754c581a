/*
 * Drives the tokenizer for the Python tests: `tokenize_tool DIR` opens the tokenizer, answers frames
 *  from stdin on stdout and ends at end of file. All numbers are in host byte order.
 *
 *     request:   u32 operation, u32 flags, u32 length, payload
 *     answer:    i32 um_status, u32 length, u64 nanoseconds, payload (the message on failure)
 *
 *     'e' encode   payload: text; flags: UM_ENCODE_*         answer: i32 ids
 *     'd' decode   payload: i32 ids; flags: 1 = skip special answer: text
 *     't' template payload: a chat template's name, messages  answer: text
 *                  flags: um_chat_end
 *     'c' chat     payload: the same                         answer: i32 ids
 *     'm' match    payload: a template's source              answer: the name of its row
 *
 * The name and of each message role and content: u32 length and text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/text/chat_template.h"
#include "core/text/tokenizer.h"

#define MESSAGES_MAX 64

typedef struct request {
    uint32_t operation, flags, length;
} request;

typedef struct answer {
    int32_t status;
    uint32_t length;
    uint64_t nanoseconds;
} answer;

static bool read_all(void *into, size_t length)
{
    return fread(into, 1, length, stdin) == length;
}

/* Next text of the payload, copied, which ends its borrowing. */
static char *next_text(const char *payload, size_t *at, uint32_t *length)
{
    char *text;

    memcpy(length, payload + *at, sizeof(*length));
    text = um_mem_strndup(payload + *at + sizeof(*length), *length);
    *at += sizeof(*length) + *length;
    return text;
}

static size_t parse_messages(const char *payload, size_t at, size_t length, um_message *messages,
                             char **texts)
{
    size_t count = 0;
    uint32_t size;

    for (; at < length && count < MESSAGES_MAX; count++) {
        messages[count].role = texts[2 * count] = next_text(payload, &at, &size);
        messages[count].content = texts[2 * count + 1] = next_text(payload, &at, &size);
        messages[count].content_length = size;
    }
    return count;
}

static um_status render(const um_tokenizer *tokenizer, const request *asked, const char *payload,
                        um_ids *ids, um_buf *text, um_err *err)
{
    um_message messages[MESSAGES_MAX];
    char *texts[2 * MESSAGES_MAX];
    size_t at = 0, count;
    uint32_t size;
    char *name = next_text(payload, &at, &size);
    const um_chat_template *chat = um_chat_template_find(name);
    um_status status;

    count = parse_messages(payload, at, asked->length, messages, texts);
    if (!chat)
        status = um_fail(err, UM_E_VALUE, "no chat template %s", name);
    else if (asked->operation == 't')
        status = um_chat_template_text(chat, messages, count, (um_chat_end)asked->flags, text, err);
    else
        status = um_chat_template_encode(chat, tokenizer, messages, count,
                                         (um_chat_end)asked->flags, SIZE_MAX, ids, err);
    for (size_t i = 0; i < 2 * count; i++)
        um_mem_free(texts[i]);
    um_mem_free(name);
    return status;
}

static um_status match(const char *source, um_buf *text, um_err *err)
{
    const um_chat_template *chat = um_chat_template_match(source);

    if (!chat)
        return um_fail(err, UM_E_UNSUPPORTED, "no template has this source");
    um_buf_text(text, um_chat_template_name(chat));
    return UM_OK;
}

static um_status serve(const um_tokenizer *tokenizer, const request *asked, const char *payload,
                       um_ids *ids, um_buf *text, um_err *err)
{
    switch (asked->operation) {
    case 'e':
        return um_tokenizer_encode(tokenizer, payload, asked->length, asked->flags, SIZE_MAX, ids,
                                   err);
    case 'd':
        return um_tokenizer_decode(tokenizer, (const int32_t *)(const void *)payload,
                                   asked->length / sizeof(int32_t), asked->flags & 1, text, err);
    case 'm':
        return match(payload, text, err);
    case 't':
    case 'c':
        return render(tokenizer, asked, payload, ids, text, err);
    default:
        return um_fail(err, UM_E_VALUE, "no such operation");
    }
}

static bool answer_one(const um_tokenizer *tokenizer, const request *asked)
{
    char *payload = malloc((size_t)asked->length + 1);
    um_ids ids = {0};
    um_buf text = {0};
    um_err err = {0};
    answer given = {0};
    uint64_t start;
    const void *data;
    bool ok = payload && read_all(payload, asked->length);

    if (ok) {
        payload[asked->length] = '\0';
        start = um_clock_now_ns(um_clock_system());
        given.status = serve(tokenizer, asked, payload, &ids, &text, &err);
        given.nanoseconds = um_clock_now_ns(um_clock_system()) - start;
        if (given.status != UM_OK) {
            um_buf_clear(&text);
            um_buf_text(&text, err.message);
        }
        data = text.length ? text.data : (const char *)ids.data;
        given.length = (uint32_t)(text.length ? text.length : ids.count * sizeof(*ids.data));
        fwrite(&given, sizeof(given), 1, stdout);
        if (given.length)
            fwrite(data, 1, given.length, stdout);
    }
    um_ids_deinit(&ids);
    um_buf_deinit(&text);
    free(payload);
    return ok;
}

int main(int argc, char **argv)
{
    um_tokenizer *tokenizer = NULL;
    um_err err = {0};
    request asked;

    if (argc != 2) {
        fprintf(stderr, "usage: tokenize_tool DIR\n");
        return 2;
    }
    if (um_tokenizer_open(argv[1], &tokenizer, &err) != UM_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    while (read_all(&asked, sizeof(asked)))
        if (!answer_one(tokenizer, &asked)) {
            fprintf(stderr, "a frame was cut short\n");
            break;
        }
    um_tokenizer_close(tokenizer);
    return feof(stdin) ? 0 : 1;
}
