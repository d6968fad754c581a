/* `unmask COMMAND ...`: finds the command, reads its options, runs it, prints what went wrong. */
#include <stdio.h>
#include <string.h>

#include "core/base/log.h"
#include "server/commands.h"
#include "server/version.h"

typedef struct command_row {
    const char *name;
    um_command command;
    const char *usage;
    const char *summary;
    um_status (*run)(const um_config *config, um_err *err);
} command_row;

static const command_row commands[] = {
    {"serve", UM_COMMAND_SERVE, "[options]", "serve a checkpoint over HTTP with OpenAI's API",
     um_cmd_serve},
    {"generate", UM_COMMAND_GENERATE, "[options] PROMPT...",
     "answer one prompt (from standard input where none is given); in a terminal the draft is "
     "shown while it is refined",
     um_cmd_generate},
    {"inspect", UM_COMMAND_INSPECT, "DIR [options]",
     "say what a checkpoint is, whether it can be served and what it will need", um_cmd_inspect},
    {"bench", UM_COMMAND_BENCH, "[options]",
     "measure step time, tokens per second and share of the measured peak", um_cmd_bench},
    {"eval", UM_COMMAND_EVAL, "[options] [MODEL [FILE]]",
     "run a task file (MODEL/eval.jsonl) and count right answers, tokens and steps", um_cmd_eval},
    {"health", UM_COMMAND_HEALTH, "[options]",
     "ask a running server whether it is ready; exit status 0 when it is", um_cmd_health},
    {"top", UM_COMMAND_TOP, "[options] [URL]",
     "watch a running server: batch, queue, rates and percentiles from its /metrics", um_cmd_top},
};

static void print_commands(FILE *out)
{
    fputs("usage: unmask COMMAND [options]\n\nServes diffusion language models.\n\n", out);
    for (size_t i = 0; i < UM_COUNT_OF(commands); i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\n  unmask COMMAND --help    the command's options\n"
          "  unmask --version         version and commit\n",
          out);
}

static int print_help(const command_row *row)
{
    um_buf options = {0};
    bool failed;

    um_config_help(row->command, &options);
    failed = um_buf_failed(&options);
    printf("usage: unmask %s %s\n\n%c%s.\n\n%s", row->name, row->usage, row->summary[0] - 'a' + 'A',
           row->summary + 1, um_buf_view(&options));
    um_buf_deinit(&options);
    return failed;
}

static int report(const um_err *err)
{
    fprintf(stderr, "unmask: %s\n", err->message);
    return err->status <= UM_E_NOMEM ? 1 : 2; /* ours : the caller's */
}

static int run(const command_row *row, int argc, char **argv)
{
    um_config config;
    um_log_level level;
    um_log_format format = UM_LOG_TEXT;
    um_err err = {0};
    um_status status = um_config_load(row->command, argc, argv, &config, &err);

    if (status != UM_OK)
        return report(&err);
    if (config.help) {
        int failed = print_help(row);

        um_config_deinit(&config);
        return failed;
    }
    level = row->command == UM_COMMAND_SERVE ? UM_LOG_INFO : UM_LOG_WARN;
    if (config.log_level && !um_log_level_parse(config.log_level, &level))
        status = um_fail_field(&err, UM_E_VALUE, "--log-level",
                               "--log-level is \"%.32s\"; expected debug, info, warn, error or off",
                               config.log_level);
    else if (!um_log_format_parse(config.log_format, &format))
        status =
            um_fail_field(&err, UM_E_VALUE, "--log-format",
                          "--log-format is \"%.32s\"; expected text or json", config.log_format);
    um_log_set_level(level);
    um_log_set_format(format);
    if (status == UM_OK)
        status = row->run(&config, &err);
    um_config_deinit(&config);
    return status == UM_OK ? 0 : report(&err);
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "--help";

    for (size_t i = 0; i < UM_COUNT_OF(commands); i++)
        if (strcmp(word, commands[i].name) == 0)
            return run(&commands[i], argc - 2, argv + 2);
    if (strcmp(word, "--version") == 0) {
        printf("unmask %s (%s)\n", um_version(), um_version_commit());
        return 0;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_commands(stdout);
        return 0;
    }
    fprintf(stderr, "unmask: unknown command \"%.64s\"\n\n", word);
    print_commands(stderr);
    return 2;
}
