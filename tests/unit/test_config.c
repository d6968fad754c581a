/* Options: which place wins, what is refused, and that nothing leaks when memory runs out. */
#include <stdlib.h>
#include <unistd.h>

#include "config/config.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "tests/test.h"

/* Argument list of a command, cut at the first NULL. */
#define LOAD(command, config, err, ...)                                                            \
    load((command), (char *[]){__VA_ARGS__, NULL}, (config), (err))

static um_status load(um_command command, char **argv, um_config *config, um_err *err)
{
    int argc = 0;

    while (argv[argc])
        argc++;
    um_log_set_level(UM_LOG_OFF);
    return um_config_load(command, argc, argv, config, err);
}

/* Writes a config file of the test's own; the process of the test is alone with it. */
static const char *config_file(const char *text)
{
    static char path[64];
    FILE *file;
    int fd;

    snprintf(path, sizeof(path), "/tmp/um_test_config_XXXXXX");
    fd = mkstemp(path);
    file = fd >= 0 ? fdopen(fd, "w") : NULL;
    UM_CHECK(file != NULL);
    fputs(text, file);
    fclose(file);
    return path;
}

static void defaults_come_from_the_table(void)
{
    um_config config;
    um_err err = {0};

    UM_CHECK_OK(load(UM_COMMAND_SERVE, (char *[]){NULL}, &config, &err), err);
    UM_CHECK_INT(config.port, 8080);
    UM_CHECK_INT(config.max_batch, 64);
    UM_CHECK_STR(config.host, "127.0.0.1");
    UM_CHECK(config.early_headers);
    UM_CHECK(strstr(config.model, "/models/pocket") != NULL);
    UM_CHECK_NEAR(config.threshold, -1, 0);
    UM_CHECK_INT(config.api_key.count, 0);
    um_config_deinit(&config);
}

static void flag_wins_over_variable_over_file_over_default(void)
{
    um_config config;
    um_err err = {0};
    const char *path = config_file("{\"port\":1,\"max_batch\":2,\"max-queue\":3,\"steps\":9}");

    setenv("UNMASK_PORT", "11", 1);
    setenv("UNMASK_MAX_BATCH", "12", 1);
    setenv("UNMASK_CONFIG", path, 1);
    UM_CHECK_OK(LOAD(UM_COMMAND_SERVE, &config, &err, "--port", "21"), err);
    UM_CHECK_INT(config.port, 21);
    UM_CHECK_INT(config.max_batch, 12);
    UM_CHECK_INT(config.max_queue, 3);
    UM_CHECK_INT(config.steps, 9);         /* a key of another command is fine: one file for all */
    UM_CHECK_INT(config.rows_per_step, 0); /* the backend's */
    um_config_deinit(&config);
    unlink(path);
}

static void flags_have_two_spellings_and_booleans_four(void)
{
    um_config config;
    um_err err = {0};

    UM_CHECK_OK(LOAD(UM_COMMAND_SERVE, &config, &err, "--port=0", "--strict-params",
                     "--no-early-headers", "--metrics-auth=true", "--host", "0.0.0.0"),
                err);
    UM_CHECK_INT(config.port, 0);
    UM_CHECK(config.strict_params && config.metrics_auth && !config.early_headers);
    UM_CHECK_STR(config.host, "0.0.0.0");
    um_config_deinit(&config);
}

static void lists_repeat_and_a_stronger_place_replaces_them(void)
{
    um_config config;
    um_err err = {0};

    setenv("UNMASK_API_KEY", "environment-1,environment-2", 1);
    setenv("UNMASK_MODEL_ALIAS", "a,b", 1);
    UM_CHECK_OK(
        LOAD(UM_COMMAND_SERVE, &config, &err, "--api-key", "with,comma", "--api-key", "two"), err);
    UM_CHECK_INT(config.api_key.count, 2);
    UM_CHECK_STR(config.api_key.items[0], "with,comma");
    UM_CHECK_STR(config.api_key.items[1], "two");
    UM_CHECK_INT(config.model_alias.count, 2);
    UM_CHECK_STR(config.model_alias.items[1], "b");
    um_config_deinit(&config);
}

static void words_are_arguments_and_two_dashes_end_options(void)
{
    um_config config;
    um_err err = {0};

    UM_CHECK_OK(LOAD(UM_COMMAND_GENERATE, &config, &err, "tell", "--seed", "-1", "me", "--", "--x"),
                err);
    UM_CHECK_INT(config.arguments.count, 3);
    UM_CHECK_STR(config.arguments.items[1], "me");
    UM_CHECK_STR(config.arguments.items[2], "--x");
    UM_CHECK_INT(config.seed, -1);
    um_config_deinit(&config);
}

static void unknown_names_point_to_the_nearest(void)
{
    um_config config;
    um_err err = {0};
    const char *path;

    UM_CHECK_STATUS(LOAD(UM_COMMAND_SERVE, &config, &err, "--max-bach", "3"), UM_E_UNKNOWN_PARAM);
    UM_CHECK(strstr(err.message, "--max-batch") != NULL);
    UM_CHECK_STR(err.field, "--max-bach");
    /* an option of another command is unknown here */
    UM_CHECK_STATUS(LOAD(UM_COMMAND_GENERATE, &config, &err, "--port", "3"), UM_E_UNKNOWN_PARAM);
    UM_CHECK_STATUS(LOAD(UM_COMMAND_SERVE, &config, &err, "--no-port"), UM_E_UNKNOWN_PARAM);
    UM_CHECK_STATUS(LOAD(UM_COMMAND_SERVE, &config, &err, "-p", "3"), UM_E_UNKNOWN_PARAM);
    path = config_file("{\"hots\":\"x\"}");
    UM_CHECK_STATUS(LOAD(UM_COMMAND_SERVE, &config, &err, "--config", (char *)path),
                    UM_E_UNKNOWN_PARAM);
    UM_CHECK(strstr(err.message, "\"host\"") != NULL);
    unlink(path);
}

static void wrong_values_name_option_value_and_bound(void)
{
    static const struct {
        const char *word;
        um_status status;
        const char *message;
    } cases[] = {
        {"--port=65536", UM_E_INT_ABOVE_MAX, "--port is 65536; the maximum is 65535"},
        {"--max-batch=0", UM_E_INT_BELOW_MIN, "--max-batch is 0; the minimum is 1"},
        {"--port=12x", UM_E_TYPE, "--port is \"12x\"; expected an integer"},
        {"--port=", UM_E_TYPE, "--port is \"\"; expected an integer"},
        {"--port=99999999999999999999", UM_E_TYPE,
         "--port is \"99999999999999999999\"; expected an integer"},
        {"--strict-params=yes", UM_E_TYPE, "--strict-params is \"yes\"; expected true or false"},
        {"--port", UM_E_MISSING, "--port needs a value"},
    };
    um_config config;
    um_err err = {0};

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        UM_CHECK_STATUS(LOAD(UM_COMMAND_SERVE, &config, &err, (char *)cases[i].word),
                        cases[i].status);
        UM_CHECK_STR(err.message, cases[i].message);
    }
    UM_CHECK_STATUS(LOAD(UM_COMMAND_GENERATE, &config, &err, "--temperature", "nan"), UM_E_TYPE);
    UM_CHECK_STATUS(LOAD(UM_COMMAND_GENERATE, &config, &err, "--temperature", "2.5"),
                    UM_E_DEC_ABOVE_MAX);
}

static void broken_config_files_are_refused(void)
{
    static const char *const texts[] = {"[]",
                                        "{",
                                        "{\"port\":\"8\"}",
                                        "{\"port\":1.5}",
                                        "{\"api_key\":\"k\"}",
                                        "{\"api_key\":[1]}",
                                        "{\"strict_params\":1}"};
    um_config config;
    um_err err = {0};

    for (size_t i = 0; i < UM_COUNT_OF(texts); i++) {
        const char *path = config_file(texts[i]);

        UM_CHECK(LOAD(UM_COMMAND_SERVE, &config, &err, "--config", (char *)path) < 0);
        unlink(path);
    }
    UM_CHECK_STATUS(LOAD(UM_COMMAND_SERVE, &config, &err, "--config", "/nonexistent"),
                    UM_E_NOT_FOUND);
}

static void help_lists_the_commands_own_options(void)
{
    um_buf text = {0};

    um_config_help(UM_COMMAND_GENERATE, &text);
    UM_CHECK(strstr(um_buf_view(&text), "--block-length N") != NULL);
    UM_CHECK(strstr(um_buf_view(&text), "--[no-]raw") != NULL);
    UM_CHECK(strstr(um_buf_view(&text), "--port") == NULL);
    um_buf_deinit(&text);
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void)
{
    const char *path = config_file("{\"host\":\"h\",\"api_key\":[\"key-in-file\"]}");
    um_config config;
    um_err err = {0};
    long n;

    setenv("UNMASK_CORS_ORIGIN", "a,b", 1);
    for (n = 1; n < 200; n++) {
        um_status status;

        um_mem_fail_after(n);
        status = LOAD(UM_COMMAND_SERVE, &config, &err, "--config", (char *)path, "--api-key",
                      "12345678", "word");
        if (um_mem_fail_pending()) {
            um_mem_fail_after(0);
            UM_CHECK_INT(status, UM_OK);
            um_config_deinit(&config);
            break;
        }
        UM_CHECK_INT(status, UM_E_NOMEM);
    }
    UM_CHECK(n > 10 && n < 200);
    unlink(path);
}

static const um_test tests[] = {
    UM_TEST(defaults_come_from_the_table),
    UM_TEST(flag_wins_over_variable_over_file_over_default),
    UM_TEST(flags_have_two_spellings_and_booleans_four),
    UM_TEST(lists_repeat_and_a_stronger_place_replaces_them),
    UM_TEST(words_are_arguments_and_two_dashes_end_options),
    UM_TEST(unknown_names_point_to_the_nearest),
    UM_TEST(wrong_values_name_option_value_and_bound),
    UM_TEST(broken_config_files_are_refused),
    UM_TEST(help_lists_the_commands_own_options),
    UM_TEST(every_failed_allocation_is_reported_and_leaks_nothing),
};
UM_TEST_MAIN(tests)
