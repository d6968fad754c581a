#include "core/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/utf8.h"

#define LINE_BYTES 2048
/* Escaping at most doubles a text, and a pair of three bytes ("k= ") makes seven. */
#define JSON_BYTES (3 * LINE_BYTES)

static _Atomic int log_level = UM_LOG_INFO;
static _Atomic int log_format = UM_LOG_TEXT;
static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};
static const char *const format_names[] = {[UM_LOG_TEXT] = "text", [UM_LOG_JSON] = "json"};

void um_log_set_level(um_log_level level)
{
    atomic_store(&log_level, (int)level);
}

bool um_log_level_parse(const char *text, um_log_level *out)
{
    for (size_t i = 0; i < UM_COUNT_OF(level_names); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out = (um_log_level)i;
            return true;
        }
    }
    return false;
}

void um_log_set_format(um_log_format format)
{
    atomic_store(&log_format, (int)format);
}

bool um_log_format_parse(const char *text, um_log_format *out)
{
    for (size_t i = 0; i < UM_COUNT_OF(format_names); i++) {
        if (strcmp(text, format_names[i]) == 0) {
            *out = (um_log_format)i;
            return true;
        }
    }
    return false;
}

/* Length of the key at `text` ("key=..."), 0 when there is none. */
static size_t key_length(const char *text)
{
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return text[length] == '=' ? length : 0;
}

/* A quoted value ends with the quote that the next pair or nothing follows: a message may hold
 * quotes. A plain one ends at the blank. Returns what is behind it. */
static const char *read_value(const char *text, const char **begin, size_t *length)
{
    const char *end = text + 1;

    if (*text == '"') {
        while (*end && !(*end == '"' && (!end[1] || (end[1] == ' ' && key_length(end + 2) > 0))))
            end++;
        *begin = text + 1;
        *length = (size_t)(end - *begin);
        return *end ? end + 1 : end;
    }
    *begin = text;
    *length = strcspn(text, " ");
    return text + *length;
}

static bool is_number(const char *text, size_t length)
{
    size_t sign = length > 0 && *text == '-';
    size_t whole = strspn(text + sign, "0123456789"), at = sign + whole;

    if (whole == 0 || (whole > 1 && text[sign] == '0') || length > 18)
        return false;
    if (at < length && text[at] == '.') {
        size_t digits = strspn(text + at + 1, "0123456789");

        at += digits > 0 ? digits + 1 : 0;
    }
    return at == length;
}

/* Appends to `out`, which always has room (JSON_BYTES); printable text needs these escapes alone. */
static char *add_escaped(char *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"' || text[i] == '\\')
            *out++ = '\\';
        *out++ = text[i];
    }
    return out;
}

static char *add_member(char *out, const char *key, size_t key_bytes, const char *value,
                        size_t length, bool bare)
{
    out = stpcpy(out, ",\"");
    out = add_escaped(out, key, key_bytes);
    out = stpcpy(out, bare ? "\":" : "\":\"");
    out = add_escaped(out, value, length);
    return bare ? out : stpcpy(out, "\"");
}

/* The members that a printable message makes. */
static char *add_members(char *out, const char *message)
{
    const char *at = message + strspn(message, " ");

    while (*at) {
        size_t key = key_length(at), length;
        const char *value, *rest;

        if (key == 0)
            return add_member(out, "message", strlen("message"), at, strlen(at), false);
        rest = read_value(at + key + 1, &value, &length);
        out =
            add_member(out, at, key, value, length, at[key + 1] != '"' && is_number(value, length));
        at = rest + strspn(rest, " ");
    }
    return out;
}

static size_t make_json(char *line, const char *stamp, const char *level, const char *event,
                        const char *message)
{
    int head = snprintf(line, JSON_BYTES, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"",
                        stamp, level, event);
    char *end = add_members(line + head, message);

    return (size_t)(stpcpy(end, "}\n") - line);
}

void um_log(um_log_level level, const char *event, const char *format, ...)
{
    char message[LINE_BYTES - 128], line[JSON_BYTES], stamp[64];
    struct timespec now;
    struct tm utc;
    va_list arguments;
    size_t used;

    if ((int)level < atomic_load(&log_level))
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    used = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(stamp + used, sizeof(stamp) - used, ".%03ldZ", now.tv_nsec / 1000000);
    va_start(arguments, format);
    if (vsnprintf(message, sizeof(message), format, arguments) < 0)
        message[0] = '\0';
    va_end(arguments);
    um_utf8_make_printable(message); /* one event is one line, whatever a message holds */
    if (atomic_load(&log_format) == UM_LOG_JSON)
        used = make_json(line, stamp, level_names[level], event, message);
    else
        used = (size_t)snprintf(line, sizeof(line), "%s %s %s %s\n", stamp, level_names[level],
                                event, message);
    if (write(STDERR_FILENO, line, used) < 0)
        return; /* nowhere left to complain */
}
