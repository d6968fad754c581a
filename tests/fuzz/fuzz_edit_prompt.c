/*
 * Message of /v1/edit/completions -> prompt, region and what follows. Beside "does not crash":
 * refusals say why and leave nothing behind; nothing is made up, and what is accepted, put into the
 * plain form of a message again, gives the same parts.
 */
#include <string.h>

#include "server/edit_prompt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void append(um_buf *out, const um_buf *text)
{
    um_buf_append(out, um_buf_view(text), text->length);
}

static bool same(const um_buf *a, const um_buf *b)
{
    return a->length == b->length && memcmp(um_buf_view(a), um_buf_view(b), a->length) == 0;
}

static bool holds(const um_buf *text, const char *word)
{
    return memmem(um_buf_view(text), text->length, word, strlen(word)) != NULL;
}

/* The texts must not spell tags themselves, which joined lines may do, nor lack the newline in front
 * of a tag. */
static void check_again(const um_edit_prompt *parts)
{
    um_edit_prompt again;
    um_buf message = {0};
    um_err err = {0};

    if (holds(&parts->before, "<|") || holds(&parts->region, "<|") || holds(&parts->after, "<|") ||
        um_buf_view(&parts->after)[0] != '\n' || parts->region.length == 0 ||
        (parts->before.length > 0 && um_buf_view(&parts->before)[parts->before.length - 1] != '\n'))
        return;
    um_buf_text(&message, "<|current_file_content|>\n");
    append(&message, &parts->before);
    um_buf_text(&message, "<|code_to_edit|>\n");
    append(&message, &parts->region);
    um_buf_text(&message, "\n<|/code_to_edit|>\n");
    um_buf_append(&message, um_buf_view(&parts->after) + 1, parts->after.length - 1);
    um_buf_text(&message, "\n<|/current_file_content|>\n");
    UM_ASSERT(um_edit_prompt_parse(um_buf_view(&message), message.length, &again, &err) == UM_OK);
    UM_ASSERT(same(&again.before, &parts->before) && same(&again.region, &parts->region));
    UM_ASSERT(again.after.length == parts->after.length + 1 &&
              memcmp(um_buf_view(&again.after), um_buf_view(&parts->after), parts->after.length) ==
                  0);
    um_edit_prompt_deinit(&again);
    um_buf_deinit(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    um_edit_prompt parts;
    um_err err = {0};

    if (um_edit_prompt_parse((const char *)data, size, &parts, &err) != UM_OK) {
        UM_ASSERT(err.status == UM_E_VALUE && err.message[0] != '\0');
        UM_ASSERT(strcmp(err.field, "messages[0].content") == 0);
        UM_ASSERT(parts.before.length + parts.region.length + parts.after.length == 0);
        return 0;
    }
    /* tags go, and a blank line comes behind each of three blocks */
    UM_ASSERT(parts.before.length + parts.region.length + parts.after.length <= size + 6);
    check_again(&parts);
    um_edit_prompt_deinit(&parts);
    return 0;
}
