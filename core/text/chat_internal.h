/*
 * What chat_template.c and the renderers share: a row of the table, and where a rendering goes.
 */
#ifndef UM_TEXT_CHAT_INTERNAL_H
#define UM_TEXT_CHAT_INTERNAL_H

#include "core/text/chat_template.h"

/* Text pieces that touch are joined in `text`; when ids are wanted, the next special token (or the
 * end) encodes what has gathered there. */
typedef struct umi_sink {
    const um_tokenizer *tokenizer; /* NULL: only the text is wanted */
    const char *name;              /* of the template, for messages */
    size_t ids_max, ids_before;
    um_ids *ids;
    um_buf *text;
    um_err *err;
} umi_sink;

#define UMI_SOURCES_MAX 2

struct um_chat_template {
    const char *name;
    const char *sources[UMI_SOURCES_MAX]; /* without a newline at the end; NULL: no more */
    um_status (*render)(umi_sink *to, const um_message *messages, size_t count, um_chat_end end);
};

/* chat_render.c */
extern const um_chat_template umi_chat_templates[];
extern const size_t umi_chat_template_count;

/* chat_template.c */
um_status umi_sink_special(umi_sink *to, const char *token);
um_status umi_sink_flush(umi_sink *to);

#endif
