/*
 * Options: flag over environment variable over config file over default. One table, options.def,
 * generates the struct, the parser and --help.
 *
 *     um_config config;
 *     status = um_config_load(UM_COMMAND_SERVE, argc, argv, &config, err);
 *     ... config.port, config.model ...
 *     um_config_deinit(&config);
 */
#ifndef UM_CONFIG_CONFIG_H
#define UM_CONFIG_CONFIG_H

#include "core/base/buf.h"
#include "core/base/status.h"

typedef enum um_command {
    UM_COMMAND_SERVE = 1,
    UM_COMMAND_GENERATE = 2,
    UM_COMMAND_INSPECT = 4,
    UM_COMMAND_BENCH = 8,
    UM_COMMAND_EVAL = 16,
    UM_COMMAND_HEALTH = 32,
    UM_COMMAND_TOP = 64,
} um_command;

/* A repeatable option's values. */
typedef struct um_strings {
    char **items; /* [count], owned */
    size_t count;
} um_strings;

typedef struct um_config {
#define UM_OPTION_INT(name, ...) int64_t name;
#define UM_OPTION_NUMBER(name, ...) double name;
#define UM_OPTION_BOOL(name, ...) bool name;
#define UM_OPTION_STRING(name, ...) char *name; /* owned; NULL when not given and no default */
#define UM_OPTION_STRINGS(name, ...) um_strings name;
#include "config/options.def"
    um_strings arguments; /* what is no option: generate's prompt, inspect's DIR, top's URL */
    bool help;            /* --help was given */
} um_config;

/* argv[0] is the first word behind the command. UM_E_UNKNOWN_PARAM names the nearest known option;
 * other errors name option, value and bound. On failure `out` is empty. */
um_status um_config_load(um_command command, int argc, char **argv, um_config *out, um_err *err);
void um_config_deinit(um_config *config);
/* The options of a command, one a line, for --help. */
void um_config_help(um_command command, um_buf *out);

#endif
