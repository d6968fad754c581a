/*
 * Drives the tokenizer for the Python tests: `tokenize_tool DIR` loads DIR/tokenizer.json, answers
 * frames from stdin on stdout and ends at end of file. All numbers are in host byte order.
 *
 *     request:   u32 operation, u32 flags, u32 length, payload
 *     answer:    i32 um_status, u32 length, u64 nanoseconds, payload (the message on failure)
 *
 *     'e' encode   payload: text; flags: UM_ENCODE_*         answer: i32 ids
 *     'd' decode   payload: i32 ids; flags: 1 = skip special answer: text
 *     't' template payload: messages; text of chat template "llada"
 *     'c' chat     payload: messages; ids of the same
 *
 * Messages: for each, u32 length and role, u32 length and content.
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

/* Cuts the payload into messages; roles are copied into `roles`, which ends their borrowing. */
static size_t parse_messages(const char *payload, size_t length, um_message *messages, char **roles)
{
    size_t at = 0, count = 0;

    while (at < length && count < MESSAGES_MAX) {
        uint32_t size;

        memcpy(&size, payload + at, sizeof(size));
        roles[count] = um_mem_strndup(payload + at + sizeof(size), size);
        at += sizeof(size) + size;
        memcpy(&size, payload + at, sizeof(size));
        messages[count].role = roles[count];
        messages[count].content = payload + at + sizeof(size);
        messages[count].content_length = size;
        at += sizeof(size) + size;
        count++;
    }
    return count;
}

static um_status render(const um_tokenizer *tokenizer, const request *asked, const char *payload,
                        um_ids *ids, um_buf *text, um_err *err)
{
    const um_chat_template *chat = um_chat_template_find("llada");
    um_message messages[MESSAGES_MAX];
    char *roles[MESSAGES_MAX];
    size_t count = parse_messages(payload, asked->length, messages, roles);
    um_status status =
        asked->operation == 't'
            ? um_chat_template_text(chat, messages, count, text, err)
            : um_chat_template_encode(chat, tokenizer, messages, count, SIZE_MAX, ids, err);

    for (size_t i = 0; i < count; i++)
        um_mem_free(roles[i]);
    return status;
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
