/* Settled tokens -> text. One token at a time goes bytes -> (complete UTF-8) -> held -> out, so
 * that the result does not depend on how many tokens settle together. */
#include "core/engine/emit.h"

#include <string.h>

#include "core/base/mem.h"
#include "core/base/utf8.h"

/* An unfinished UTF-8 sequence is at most this long. */
#define PARTIAL_BYTES_MAX 3
/* One invalid byte becomes U+FFFD. */
#define LOSSY_GROWTH 3

size_t um_emit_bytes_max(const um_tokenizer *tokenizer, int32_t budget)
{
    return (size_t)budget * um_tokenizer_bytes_max(tokenizer) * LOSSY_GROWTH;
}

um_status um_emit_init(um_emit *emit, const um_emit_options *options, um_err *err)
{
    size_t bytes = um_tokenizer_bytes_max(options->tokenizer) + PARTIAL_BYTES_MAX;

    UM_ASSERT(options->budget > 0);
    *emit = (um_emit){.options = *options};
    um_buf_reserve(&emit->bytes, bytes);
    um_buf_reserve(&emit->held,
                   (options->stop_count > 0 ? UM_STOP_STRING_BYTES_MAX : 0) + bytes * LOSSY_GROWTH);
    if (options->want_places)
        emit->places = um_mem_calloc((size_t)options->budget, sizeof(*emit->places));
    if (um_buf_failed(&emit->bytes) || um_buf_failed(&emit->held) ||
        (options->want_places && !emit->places)) {
        um_emit_deinit(emit);
        return um_fail(err, UM_E_NOMEM, "emit: no memory for text");
    }
    return UM_OK;
}

void um_emit_deinit(um_emit *emit)
{
    um_buf_deinit(&emit->bytes);
    um_buf_deinit(&emit->held);
    um_mem_free(emit->places);
    emit->places = NULL;
}

static bool ends_answer(const um_emit_options *options, int32_t token)
{
    return um_is_among(options->end_tokens, options->end_token_count, token) ||
           um_is_among(options->stop_tokens, options->stop_token_count, token);
}

/* Where the first stop string in the held text begins; its length when there is none. */
static size_t find_stop(const um_emit *emit)
{
    size_t first = emit->held.length;

    for (int32_t i = 0; i < emit->options.stop_count; i++) {
        const um_stop_string *stop = &emit->options.stops[i];
        const char *at = emit->held.length ? memmem(emit->held.data, emit->held.length, stop->bytes,
                                                    (size_t)stop->length)
                                           : NULL;

        if (at && (size_t)(at - emit->held.data) < first)
            first = (size_t)(at - emit->held.data);
    }
    return first;
}

static bool could_begin_stop(const um_emit *emit, const char *tail, size_t length)
{
    for (int32_t i = 0; i < emit->options.stop_count; i++) {
        const um_stop_string *stop = &emit->options.stops[i];

        if (length < (size_t)stop->length && memcmp(stop->bytes, tail, length) == 0)
            return true;
    }
    return false;
}

/* Where the longest tail begins that could still become a stop string. */
static size_t find_open_tail(const um_emit *emit)
{
    size_t length = emit->held.length;
    size_t begin = length < UM_STOP_STRING_BYTES_MAX ? 0 : length - UM_STOP_STRING_BYTES_MAX + 1;

    while (begin < length && !could_begin_stop(emit, emit->held.data + begin, length - begin))
        begin++;
    return begin;
}

static void release(um_emit *emit, size_t count, um_buf *out)
{
    um_buf_append(out, emit->held.data, count);
    um_buf_consume(&emit->held, count);
}

/* Releases what is decided. A stop string ends the answer only once nothing that begins in front
 * of it can still become one, so that the cut is always at the earliest. */
static void scan(um_emit *emit, bool last, um_buf *out)
{
    size_t stop = find_stop(emit);
    size_t open = last ? emit->held.length : find_open_tail(emit);

    if (stop < emit->held.length && stop <= open) {
        release(emit, stop, out);
        um_buf_clear(&emit->held);
        emit->finish = UM_FINISH_STOP;
    } else {
        release(emit, open, out);
    }
}

static bool is_visible(const um_emit_options *options, int32_t token)
{
    return token != options->mask_token &&
           (options->keep_special || !um_tokenizer_is_special(options->tokenizer, token));
}

/* The token at the position that was looked at last. */
static void feed(um_emit *emit, int32_t token)
{
    size_t length, complete;
    const uint8_t *bytes;

    if (!is_visible(&emit->options, token))
        return;
    if (emit->places)
        emit->places[emit->tokens] = emit->consumed - 1;
    bytes = um_tokenizer_bytes(emit->options.tokenizer, token, &length);
    um_buf_append(&emit->bytes, bytes, length);
    complete = um_utf8_complete_prefix(um_buf_view(&emit->bytes), emit->bytes.length);
    um_utf8_append_lossy(&emit->held, um_buf_view(&emit->bytes), complete);
    um_buf_consume(&emit->bytes, complete);
    emit->tokens++;
}

static void finish(um_emit *emit, um_finish reason, um_buf *out)
{
    um_utf8_append_lossy(&emit->held, um_buf_view(&emit->bytes), emit->bytes.length);
    um_buf_clear(&emit->bytes);
    scan(emit, true, out);
    if (emit->finish == UM_FINISH_NONE)
        emit->finish = reason;
}

void um_emit_advance(um_emit *emit, const int32_t *generated, int32_t settled, um_buf *out)
{
    while (emit->finish == UM_FINISH_NONE && emit->consumed < settled) {
        int32_t token = generated[emit->consumed++];

        if (ends_answer(&emit->options, token)) {
            finish(emit, UM_FINISH_STOP, out);
            break;
        }
        feed(emit, token);
        scan(emit, false, out);
        if (emit->finish == UM_FINISH_NONE && emit->consumed == emit->options.budget)
            finish(emit, emit->options.full_is_stop ? UM_FINISH_STOP : UM_FINISH_LENGTH, out);
    }
}

void um_emit_end(um_emit *emit, um_finish reason, um_buf *out)
{
    if (emit->finish == UM_FINISH_NONE)
        finish(emit, reason, out);
}
