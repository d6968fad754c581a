/*
 * The message of /v1/edit/completions -> a gap to fill. The message has sections between tags, each
 * tag on a line of its own:
 *
 *     <|recently_viewed_code_snippets|>       optional; inside it, each snippet between
 *     <|/recently_viewed_code_snippets|>      <|recently_viewed_code_snippet|> and its end
 *     <|current_file_content|>                the file, and in it or behind it
 *         <|code_to_edit|>                    the region, with <|cursor|> somewhere
 *         <|/code_to_edit|>
 *     <|/current_file_content|>
 *     <|edit_diff_history|>                   optional
 *     <|/edit_diff_history|>
 *
 * in any order. What is between the tags is text as it is; so is a line that only holds a tag among
 * other things. A region behind the file is looked for in the file: where its lines are found first,
 * they are the region; where they are not, the region follows the file.
 *
 * Any thread; no state.
 */
#ifndef UM_SERVER_EDIT_PROMPT_H
#define UM_SERVER_EDIT_PROMPT_H

#include "core/base/buf.h"
#include "core/base/status.h"

typedef struct um_edit_prompt {
    um_buf
        before; /* what stands outside of the sections, snippets, diffs, the file above the region */
    um_buf region; /* without cursor, and without the newline in front of its end tag */
    um_buf after;  /* that newline and the file below the region */
} um_edit_prompt;

/* UM_E_VALUE with field "messages[0].content": no region or two, a section that does not end, an end
 * without a beginning, a section where none may be. UM_E_OVERLOADED. On failure `out` is empty. */
um_status um_edit_prompt_parse(const char *text, size_t length, um_edit_prompt *out, um_err *err);
void um_edit_prompt_deinit(um_edit_prompt *prompt);

#endif
