/*
 * What the dialects have in common: settings, and the chunks of chat and text.
 */
#ifndef UM_SERVER_REPLY_PIECES_H
#define UM_SERVER_REPLY_PIECES_H

#include "server/reply.h"

extern const um_reply_dialect um_reply_chat, um_reply_text, um_reply_responses;

void umi_put_text(um_buf *out, const char *text); /* as a JSON string */
void umi_put_finish(um_buf *out, um_finish finish);
/* The object `diffusion` of diffusion.echo. */
void umi_put_settings(const um_reply *reply, const um_params *params, um_buf *out);

/* `{"id":..,"object":..,...,"choices":[` */
void umi_put_head(const um_reply *reply, const char *object, um_buf *out);
/* The rest of a whole answer, from its `]` on. */
void umi_put_whole_end(const um_reply *reply, const um_params *params, um_buf *out);

/* A chunk with one choice: open, then the members in front of finish_reason, then close. `last`: of
 * the choice, which has its settings. */
void umi_chunk_open(const um_reply *reply, size_t index, um_buf *out);
void umi_chunk_close(const um_reply *reply, const um_reply_part *part, bool last, um_buf *out);
/* This chunk takes the rows along that wait. */
bool umi_takes_logprobs(const um_reply *reply, const um_reply_part *part);
/* The chunk of usage, where it was asked for, and the end. */
void umi_chunks_end(um_reply *reply, um_buf *out);
void umi_chunks_error(um_reply *reply, const um_err *err, um_buf *out);

#endif
