#include "server/reply_logprobs.h"

#include <math.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/utf8.h"

/* JSON has no infinity; OpenAI's own floor. */
#define LOGPROB_MIN (-9999.0)

void um_logprobs_deinit(um_logprobs *logprobs)
{
    um_buf_deinit(&logprobs->rows);
    um_buf_deinit(&logprobs->partial);
    um_buf_deinit(&logprobs->text);
}

void um_logprobs_add(um_logprobs *logprobs, const um_alternative *rows, int32_t count)
{
    size_t bytes = (size_t)count * (size_t)logprobs->width * sizeof(*rows);

    um_buf_append(&logprobs->rows, rows, bytes);
    if (um_buf_failed(&logprobs->rows))
        logprobs->failed = true;
    else
        logprobs->count += (size_t)count;
}

void um_logprobs_mark_written(um_logprobs *logprobs, bool keep)
{
    if (!keep) {
        um_buf_clear(&logprobs->rows);
        logprobs->count = 0;
    }
    logprobs->written = logprobs->count;
}

/* A copy: what a byte buffer holds need not be aligned for anything. */
static um_alternative entry_at(const um_logprobs *logprobs, size_t row, int32_t column)
{
    size_t index = row * (size_t)logprobs->width + (size_t)column;
    um_alternative entry;

    memcpy(&entry, logprobs->rows.data + index * sizeof(entry), sizeof(entry));
    return entry;
}

static void put_logprob(float logprob, um_buf *out)
{
    double value = isnan(logprob) || (double)logprob < LOGPROB_MIN ? LOGPROB_MIN : (double)logprob;

    /* Rounding may leave a sure token a hair above 0. */
    um_buf_printf(out, "%.7g", value > 0 ? 0.0 : value);
}

/* ---- content entries ------------------------------------------------------------------------ */

static void put_token(um_logprobs *logprobs, um_alternative entry, um_buf *out)
{
    size_t length;
    const uint8_t *bytes = um_tokenizer_bytes(logprobs->tokenizer, entry.token, &length);

    um_buf_clear(&logprobs->text);
    um_utf8_append_lossy(&logprobs->text, (const char *)bytes, length);
    logprobs->failed = logprobs->failed || um_buf_failed(&logprobs->text);
    um_buf_text(out, "{\"token\":");
    um_json_append_string(out, um_buf_view(&logprobs->text), logprobs->text.length);
    um_buf_text(out, ",\"logprob\":");
    put_logprob(entry.logprob, out);
    um_buf_text(out, length > 0 ? ",\"bytes\":[" : ",\"bytes\":null");
    for (size_t i = 0; i < length; i++)
        um_buf_printf(out, "%s%d%s", i > 0 ? "," : "", bytes[i], i + 1 == length ? "]" : "");
}

void um_logprobs_entries(um_logprobs *logprobs, size_t first, um_buf *out)
{
    um_buf_char(out, '[');
    for (size_t row = first; row < logprobs->count; row++) {
        if (row > first)
            um_buf_char(out, ',');
        put_token(logprobs, entry_at(logprobs, row, 0), out);
        um_buf_text(out, ",\"top_logprobs\":[");
        for (int32_t i = 1; i < logprobs->width; i++) {
            if (i > 1)
                um_buf_char(out, ',');
            put_token(logprobs, entry_at(logprobs, row, i), out);
            um_buf_char(out, '}');
        }
        um_buf_text(out, "]}");
    }
    um_buf_char(out, ']');
}

/* ---- parallel arrays ------------------------------------------------------------------------ */

/* Here tokens are keys, so those that are no text by themselves are spelled byte by byte, as OpenAI
 * does: two of them must not have one name. */
static void put_name(const um_logprobs *logprobs, int32_t token, um_buf *out)
{
    size_t length;
    const uint8_t *bytes = um_tokenizer_bytes(logprobs->tokenizer, token, &length);

    if (um_utf8_valid_prefix((const char *)bytes, length) == length) {
        um_json_append_string(out, (const char *)bytes, length);
        return;
    }
    um_buf_text(out, "\"bytes:");
    for (size_t i = 0; i < length; i++)
        um_buf_printf(out, "\\\\x%02x", bytes[i]);
    um_buf_char(out, '"');
}

static bool same_name(const um_logprobs *logprobs, int32_t a, int32_t b)
{
    size_t a_length, b_length;
    const uint8_t *a_bytes = um_tokenizer_bytes(logprobs->tokenizer, a, &a_length);
    const uint8_t *b_bytes = um_tokenizer_bytes(logprobs->tokenizer, b, &b_length);

    return a_length == b_length && (a_length == 0 || memcmp(a_bytes, b_bytes, a_length) == 0);
}

/* Not among the entries [1, column) of its row: a key comes once. */
static bool is_new(const um_logprobs *logprobs, size_t row, int32_t column, int32_t token)
{
    for (int32_t i = 1; i < column; i++)
        if (same_name(logprobs, entry_at(logprobs, row, i).token, token))
            return false;
    return true;
}

/* The likeliest, and the token itself where it is none of them. */
static void put_likeliest(const um_logprobs *logprobs, size_t row, um_buf *out)
{
    const char *comma = "";

    um_buf_char(out, '{');
    for (int32_t i = 1; i <= logprobs->width; i++) {
        int32_t column = i % logprobs->width; /* its own comes last */
        um_alternative entry = entry_at(logprobs, row, column);

        if (!is_new(logprobs, row, i, entry.token))
            continue;
        um_buf_text(out, comma);
        put_name(logprobs, entry.token, out);
        um_buf_char(out, ':');
        put_logprob(entry.logprob, out);
        comma = ",";
    }
    um_buf_char(out, '}');
}

/* The token's place in the text, in characters; then its characters count. */
static int64_t pass_token(um_logprobs *logprobs, int32_t token)
{
    int64_t offset = logprobs->characters;
    size_t length, whole;
    const uint8_t *bytes = um_tokenizer_bytes(logprobs->tokenizer, token, &length);

    um_buf_append(&logprobs->partial, bytes, length);
    whole = um_utf8_complete_prefix(um_buf_view(&logprobs->partial), logprobs->partial.length);
    um_buf_clear(&logprobs->text);
    um_utf8_append_lossy(&logprobs->text, um_buf_view(&logprobs->partial), whole);
    um_buf_consume(&logprobs->partial, whole);
    logprobs->failed =
        logprobs->failed || um_buf_failed(&logprobs->partial) || um_buf_failed(&logprobs->text);
    for (size_t i = 0; i < logprobs->text.length; i++)
        logprobs->characters += ((unsigned char)logprobs->text.data[i] & 0xC0) != 0x80;
    return offset;
}

void um_logprobs_arrays(um_logprobs *logprobs, um_buf *out)
{
    size_t first = logprobs->written;

    um_buf_text(out, "{\"tokens\":[");
    for (size_t row = first; row < logprobs->count; row++) {
        um_buf_text(out, row > first ? "," : "");
        put_name(logprobs, entry_at(logprobs, row, 0).token, out);
    }
    um_buf_text(out, "],\"token_logprobs\":[");
    for (size_t row = first; row < logprobs->count; row++) {
        um_buf_text(out, row > first ? "," : "");
        put_logprob(entry_at(logprobs, row, 0).logprob, out);
    }
    um_buf_text(out, "],\"top_logprobs\":[");
    for (size_t row = first; row < logprobs->count; row++) {
        um_buf_text(out, row > first ? "," : "");
        put_likeliest(logprobs, row, out);
    }
    um_buf_text(out, "],\"text_offset\":[");
    for (size_t row = first; row < logprobs->count; row++)
        um_buf_printf(out, "%s%lld", row > first ? "," : "",
                      (long long)pass_token(logprobs, entry_at(logprobs, row, 0).token));
    um_buf_text(out, "]}");
}
