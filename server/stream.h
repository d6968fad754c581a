/*
 * One response in the making: engine events in, bytes out, streamed or as a whole. Holds the
 * choices of one HTTP request (n for each prompt), each of which is a request of the engine.
 *
 * This is the control: which event becomes what, and when; buffers, limits, ends. How it looks on
 * the wire is reply.h's, what a draft frame says draft.h's.
 *
 * Owns nothing of the exchange: it answers once (reply, stream end or error), and where the client
 * left before that, it goes on silently until the engine has given up its requests.
 *
 * A slow reader costs no more memory than the answer's own text: above UM_STREAM_UNSENT_MAX
 * unsent bytes, text waits here unformatted. Text is never dropped. Frames are: above
 * UM_STREAM_FRAMES_MAX unsent bytes, until half of that is left; then a full one follows. The last
 * frame of a choice always comes.
 *
 * HTTP thread only.
 */
#ifndef UM_SERVER_STREAM_H
#define UM_SERVER_STREAM_H

#include "core/engine/engine.h"
#include "server/http.h"
#include "server/request_json.h"

#define UM_STREAM_UNSENT_MAX ((size_t)64 * 1024)
#define UM_STREAM_FRAMES_MAX ((size_t)256 * 1024)

typedef struct um_stream um_stream;

/* For stream_frames_total. */
typedef struct um_stream_counts {
    uint64_t settled; /* content chunks */
    uint64_t full;    /* draft frames; of mode replace, whole texts that are not the last */
    uint64_t patch;
    uint64_t dropped; /* draft frames that an unread buffer or the interval left out */
} um_stream_counts;

typedef struct um_stream_options {
    um_endpoint endpoint;
    const char *model; /* borrowed, as is the fingerprint */
    const char *fingerprint;
    bool streamed;
    bool early_headers; /* streamed: send the 200 now, not with the first event */
    bool include_usage;
    bool continuous_usage;
    bool echo_settings;
    um_stream_mode mode;
    um_draft_options draft;
    um_responses_echo *responses;  /* taken over where the endpoint is Responses; may be NULL */
    const um_tokenizer *tokenizer; /* borrowed: text of tokens in log-probabilities and drafts */
    int32_t mask_token;            /* -1: MASK is an ordinary token of this model */
    const int32_t *end_tokens;     /* [end_token_count] the model's; borrowed for the creation */
    int32_t end_token_count;
    size_t choices_per_prompt; /* n; 0 counts as 1 */
    const um_clock *clock;     /* of the frames' interval; NULL: the system's */
    um_engine *engine;         /* borrowed: to cancel, and for retry hints */
    um_stream_counts *counts;  /* borrowed */
} um_stream_options;

/* What the answer shows beside the canvas of a choice: echo, and the texts of a template. Borrowed
 * for the call of um_stream_create. */
typedef struct um_stream_frame {
    const char *lead; /* in front of the canvas' text; NULL: nothing */
    size_t lead_length;
    const char *tail; /* behind it */
    size_t tail_length;
    const int32_t (*gaps)[2]; /* [gap_count] canvas positions [begin, end), reported as `gaps` */
    size_t gap_count;
} um_stream_frame;

/* One choice for each submission; submissions and frames (NULL, or one for each) are borrowed for
 * the call. Modes other than settled, and gaps, need submissions with want_draft. UM_E_OVERLOADED. */
um_status um_stream_create(const um_stream_options *options, const um_submission *submissions,
                           const um_stream_frame *frames, size_t count, um_stream **out,
                           um_err *err);
void um_stream_destroy(um_stream *stream);

/* The engine took the requests: from here on the stream answers the exchange. */
void um_stream_attach(um_stream *stream, um_exchange *exchange, const uint64_t *ids);
uint64_t um_stream_id(const um_stream *stream, size_t choice);

/* An event of choice `choice`; its text may be taken. */
void um_stream_event(um_stream *stream, size_t choice, um_event *event);
/* Answers with an error and cancels all choices, whose last events are still to come. No effect once
 * the exchange was answered. */
void um_stream_fail(um_stream *stream, const um_err *err);
/* Every choice has had its last event: nothing refers to the stream any more. */
bool um_stream_finished(const um_stream *stream);

/* The error answer to an exchange, with a retry hint from the engine (may be NULL) where one
 * belongs. */
void um_stream_refuse(um_exchange *exchange, um_engine *engine, const um_err *err);

#endif
