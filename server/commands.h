/*
 * The subcommands. Each gets its options and runs to its end; an error is printed by main.
 */
#ifndef UM_SERVER_COMMANDS_H
#define UM_SERVER_COMMANDS_H

#include "config/config.h"

um_status um_cmd_serve(const um_config *config, um_err *err);
um_status um_cmd_generate(const um_config *config, um_err *err);
um_status um_cmd_inspect(const um_config *config, um_err *err);
um_status um_cmd_bench(const um_config *config, um_err *err);
um_status um_cmd_eval(const um_config *config, um_err *err);
um_status um_cmd_health(const um_config *config, um_err *err);
um_status um_cmd_top(const um_config *config, um_err *err);

#endif
