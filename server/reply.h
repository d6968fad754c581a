/*
 * What answers look like on the wire. An answer is written by the dialect of its endpoint: one file
 * (reply_<name>.c) and one row in the table of reply.c.
 *
 *     chat        chat.completion and its chunks; edit.completion
 *     text        text_completion, for completions and FIM
 *     responses   OpenAI's response object and its events
 *
 * Writers turn what they are told into text; stream.c decides what is told and when, and knows of
 * connections. What official clients' parsers demand is kept here: `role` in the first chunk of a
 * choice only, `delta` {} in the finish chunk, own data never inside `delta`, one line per event,
 * no event names outside Responses.
 *
 * Running out of memory shows in um_buf_failed of the output.
 *
 * HTTP thread only.
 */
#ifndef UM_SERVER_REPLY_H
#define UM_SERVER_REPLY_H

#include "core/engine/messages.h"
#include "server/reply_logprobs.h"
#include "server/request_json.h"

typedef struct um_reply um_reply;

/* What is said of one choice at a time. */
typedef struct um_reply_part {
    size_t index;
    const char *text; /* a whole answer's, or what is new; in mode replace all of it */
    size_t length;
    um_finish finish;        /* UM_FINISH_NONE: it goes on */
    um_logprobs *logprobs;   /* NULL: not asked for */
    const um_params *params; /* in force */
    const um_buf *frame;     /* JSON object for `diffusion` of the choice; NULL: none */
    double progress;         /* mode replace: share of 1 that is filled */
} um_reply_part;

/* One way to write answers. Streams: begin, then deltas, a finish for each choice, end; or an error
 * at any time after begin. */
typedef struct um_reply_dialect {
    unsigned endpoints;       /* um_endpoint bits */
    const char *id_prefix;    /* "cmpl-" */
    const char *chunk_object; /* `object` of chunks; NULL: other events */
    bool frames_apart;        /* a delta has a text or a frame, never both */
    bool finish_has_text;     /* a finish repeats the whole text, with all log-probabilities */
    bool replaces;            /* has mode replace */
    void (*whole)(um_reply *reply, const um_reply_part *parts, um_buf *out);
    void (*begin)(um_reply *reply, um_buf *out);
    void (*delta)(um_reply *reply, const um_reply_part *part, um_buf *out);
    void (*finish)(um_reply *reply, const um_reply_part *part, um_buf *out);
    void (*end)(um_reply *reply, um_buf *out);
    void (*error)(um_reply *reply, const um_err *err, um_buf *out);
} um_reply_dialect;

/* What every object of one answer repeats. The caller fills in what stands above the line. */
struct um_reply {
    um_endpoint endpoint;
    um_stream_mode mode;
    const char *model; /* borrowed, as is the fingerprint */
    const char *fingerprint;
    size_t count; /* choices */
    bool include_usage;
    bool continuous_usage;
    bool echo_settings;
    bool seeded;                 /* the canvases began with a draft */
    const um_params *params;     /* of the first choice; borrowed */
    um_responses_echo responses; /* owned */
    um_usage usage;              /* of all choices so far; the caller keeps it up to date */
    /* ---- */
    const um_reply_dialect *dialect; /* static */
    char id[48];
    char item_id[48]; /* Responses: of its message */
    int64_t created;  /* Unix seconds */
    int64_t sequence; /* Responses: number of the next event */
    um_buf head;      /* chunks begin with it; owned */
};

/* Finds the dialect, makes the ids. UM_E_OVERLOADED. */
um_status um_reply_open(um_reply *reply, um_err *err);
void um_reply_close(um_reply *reply);

#endif
