/*
 * A draft as terminal text: committed tokens as their text, masked positions as shade blocks. Lines
 * are broken here, so that the terminal never wraps by itself and the view can be drawn over.
 * Pure; knows no terminal but its size.
 */
#ifndef UM_SERVER_DRAFT_VIEW_H
#define UM_SERVER_DRAFT_VIEW_H

#include "core/text/tokenizer.h"

typedef struct um_draft_view {
    const um_tokenizer *tokenizer; /* borrowed */
    int32_t mask_token;
    int columns;  /* of the terminal */
    int rows_max; /* more lines: the last ones are shown */
} um_draft_view;

/* Appends the text of `tokens` and returns how many lines it takes (at least 1). The cursor is
 * left at the end of the last line. */
int um_draft_render(const um_draft_view *view, const int32_t *tokens, size_t count, um_buf *out);

/* Appends `text` (UTF-8) with control characters replaced, so that a model's output cannot drive
 * the terminal; newlines stay. */
void um_draft_safe_text(um_buf *out, const char *text, size_t length);

#endif
