/*
 * A stream between a scripted engine and a scripted client, in place of the real ones: events go in
 * by hand, what would be sent is kept. Misuse of the exchange (two answers, writing after the end)
 * ends the test.
 */
#ifndef UM_TESTS_SUPPORT_STREAM_RIG_H
#define UM_TESTS_SUPPORT_STREAM_RIG_H

#include "core/base/json.h"
#include "server/stream.h"

#define UM_RIG_CHOICES_MAX 8
#define UM_RIG_CANCELS_MAX 16

struct um_exchange {
    um_buf out;
    bool begun, ended, aborted;
    unsigned replied; /* HTTP status; 0: no whole answer */
    um_status refused;
    uint32_t retry_after_ms;
    size_t unsent;
    void *context;
    void (*on_gone)(void *context);
};

typedef struct um_rig {
    um_exchange exchange;
    um_stream *stream;
    um_stream_counts counts;
    um_tokenizer *tokenizer; /* the byte tokenizer, owned; NULL: the options had one */
    uint64_t now_ns;         /* of the stream's clock */
    um_clock clock;
    size_t taken; /* of exchange.out: read by um_rig_take */
    uint64_t cancelled[UM_RIG_CANCELS_MAX];
    size_t cancel_count;
} um_rig;

/* Opens and attaches a stream; choice i has the id 100 + i. Model, fingerprint, engine, counts,
 * tokens and clock are the rig's own, and so is the tokenizer where options have none; `submission` is that of every choice. */
um_status um_rig_open(um_rig *rig, um_stream_options options, const um_submission *submission,
                      const um_stream_frame *frames, size_t count, um_err *err);
void um_rig_close(um_rig *rig);

/* An event of a choice whose request runs. The event's arrays stay the caller's. */
void um_rig_send(um_rig *rig, size_t choice, um_event event, const char *text);
void um_rig_fail(um_rig *rig, size_t choice, um_status status);

/* The next event of the stream: its data parsed, or NULL for a comment, [DONE] (then *line tells)
 * and behind the last. `line` (may be NULL) is the whole event without its blank line; borrowed
 * until more is sent. Free with um_json_free. */
um_json *um_rig_take(um_rig *rig, const char **line);

/* The values are the same; where `expected` has the string "*", anything but null is. */
void um_expect_json(const um_json *actual, const char *expected);

#endif
