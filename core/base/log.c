#include "core/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/utf8.h"

#define LINE_BYTES 2048

static _Atomic int log_level = UM_LOG_INFO;
static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

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

void um_log(um_log_level level, const char *event, const char *format, ...)
{
    char line[LINE_BYTES];
    struct timespec now;
    struct tm utc;
    va_list arguments;
    size_t used;
    int n;

    if ((int)level < atomic_load(&log_level))
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    used = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &utc);
    n = snprintf(line + used, sizeof(line) - used, ".%03ldZ %s %s ", now.tv_nsec / 1000000,
                 level_names[level], event);
    used += n > 0 ? (size_t)n : 0;
    va_start(arguments, format);
    n = vsnprintf(line + used, sizeof(line) - used - 1, format, arguments);
    va_end(arguments);
    if (n < 0)
        line[used] = '\0';
    um_utf8_make_printable(line); /* one event is one line, whatever a message holds */
    used = strlen(line);
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, used) < 0)
        return; /* nowhere left to complain */
}
