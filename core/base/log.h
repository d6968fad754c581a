/*
 * Log lines: a level, an event word, then key=value text made by the caller's format. One line is
 * one write to standard error, so lines of several threads do not mix. Never log prompts or keys.
 *
 *     um_log(UM_LOG_INFO, "model_loaded", "dir=%s seconds=%.1f", name, seconds);
 *
 * As text a line is "TIME LEVEL EVENT key=value ...". As JSON it is one object: time, level, event, a
 * member for each key=value, and `message` for text that is no pair. Quote (key="value") what may hold
 * blanks, and what must be text whatever it looks like; a plain value that is a number is one.
 *
 * Any thread. Level and format are set once at start.
 */
#ifndef UM_BASE_LOG_H
#define UM_BASE_LOG_H

#include "core/base/check.h"

typedef enum um_log_level {
    UM_LOG_DEBUG,
    UM_LOG_INFO,
    UM_LOG_WARN,
    UM_LOG_ERROR,
    UM_LOG_OFF,
} um_log_level;

typedef enum um_log_format {
    UM_LOG_TEXT,
    UM_LOG_JSON,
} um_log_format;

void um_log_set_level(um_log_level level);
void um_log_set_format(um_log_format format);
bool um_log_format_parse(const char *text, um_log_format *out);
bool um_log_level_parse(const char *text, um_log_level *out);
void um_log(um_log_level level, const char *event, const char *format, ...) UM_PRINTF(3, 4);

#endif
