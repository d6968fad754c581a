/*
 * Chat templates: messages -> prompt ids. A template is a row of a small table, found by the source
 * that the checkpoint carries; special tokens are inserted as ids and the text between them is
 * encoded without parsing special tokens, so nothing that a user writes can become one. Pieces of
 * text that touch are joined before encoding, which gives the same ids as encoding the whole
 * rendered string.
 */
#ifndef UM_TEXT_CHAT_TEMPLATE_H
#define UM_TEXT_CHAT_TEMPLATE_H

#include "core/base/buf.h"
#include "core/text/tokenizer.h"

typedef struct um_message {
    const char *role; /* borrowed, "user", "system", ... */
    const char *content;
    size_t content_length;
} um_message;

/* How the prompt ends. */
typedef enum um_chat_end {
    UM_CHAT_ANSWER, /* the assistant's header: add_generation_prompt */
    UM_CHAT_CLOSED, /* the last message, closed; a template may put the header there all the same */
    UM_CHAT_CONTINUE, /* inside the last message, which the answer goes on: it is the assistant's */
} um_chat_end;

typedef struct um_chat_template um_chat_template;

/* "llada", "mmada", "chatml", "chatml-plain", "llama2"; NULL when unknown. Static. */
const um_chat_template *um_chat_template_find(const char *name);
/* The template whose source is `jinja` (the checkpoint's own chat_template), NULL if none is. */
const um_chat_template *um_chat_template_match(const char *jinja);
/* The checkpoint's own: chat_template of DIR/tokenizer_config.json or DIR/chat_template.jinja,
 * matched against the table. *out = NULL where the checkpoint has none (base models);
 * UM_E_UNSUPPORTED names the file and the option when its text is not in the table. */
um_status um_chat_template_open(const char *dir, const um_chat_template **out, um_err *err);
/* The one of that name (UM_E_VALUE lists the names), none for "none", and for NULL the checkpoint's
 * own. */
um_status um_chat_template_choose(const char *dir, const char *name, const um_chat_template **out,
                                  um_err *err);
const char *um_chat_template_name(const um_chat_template *chat);

/* Appends the messages and what `end` says as ids to `ids`; on failure `ids` is as before.
 * UM_E_VALUE when the tokenizer lacks a special token of the template, a message is not valid UTF-8,
 * the template refuses the order of the roles, or the message to continue is not the assistant's;
 * UM_E_CONTEXT_LENGTH as in um_tokenizer_encode. */
um_status um_chat_template_encode(const um_chat_template *chat, const um_tokenizer *tokenizer,
                                  const um_message *messages, size_t count, um_chat_end end,
                                  size_t ids_max, um_ids *ids, um_err *err);
/* The rendered text with special tokens spelled out; for tests and logs at debug level. */
um_status um_chat_template_text(const um_chat_template *chat, const um_message *messages,
                                size_t count, um_chat_end end, um_buf *out, um_err *err);

#endif
