/* Runs a table of tests, each in a child process with a time limit. See test.h. */
#include "tests/test.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_DEFAULT_S 300 /* guards against a hang: a debug build on a loaded machine passes */
#define EXIT_FAILED 1
#define EXIT_SKIPPED 77

static int failure_count;
static long check_count;

void um_test_count(void)
{
    __atomic_add_fetch(&check_count, 1, __ATOMIC_RELAXED);
}

void um_test_fail(const char *file, int line, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "    %s:%d: ", file, line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    if (__atomic_add_fetch(&failure_count, 1, __ATOMIC_RELAXED) >= 20) {
        fprintf(stderr, "    too many failures, giving up\n");
        _exit(EXIT_FAILED);
    }
}

void um_test_skip(const char *reason)
{
    printf("    skipped: %s\n", reason);
    fflush(stdout);
    _exit(EXIT_SKIPPED);
}

static int run_child(const um_test *test)
{
    int limit = test->limit_s ? test->limit_s : LIMIT_DEFAULT_S;

    alarm((unsigned)(UM_TEST_SANITIZED ? limit * 10 : limit));
    test->run();
    if (check_count == 0)
        um_test_fail(test->name, 0, "the test checked nothing");
    return failure_count ? EXIT_FAILED : 0; /* exit() runs the leak check */
}

/* Returns EXIT_FAILED, EXIT_SKIPPED or 0. */
static int run_one(const um_test *test)
{
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0)
        exit(run_child(test));
    if (child < 0 || waitpid(child, &status, 0) != child)
        return EXIT_FAILED;
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "    ended by signal %d%s\n", WTERMSIG(status),
                WTERMSIG(status) == SIGALRM ? " (time limit)" : "");
        return EXIT_FAILED;
    }
    return WEXITSTATUS(status) == 0              ? 0
           : WEXITSTATUS(status) == EXIT_SKIPPED ? EXIT_SKIPPED
                                                 : EXIT_FAILED;
}

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return argc < 2;
}

int um_test_main(const um_test *tests, size_t count, int argc, char **argv)
{
    int passed = 0, failed = 0, skipped = 0;

    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < count; i++)
            puts(tests[i].name);
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        int result;

        if (!wanted(tests[i].name, argc, argv))
            continue;
        result = run_one(&tests[i]);
        printf("%s %s\n",
               result == 0              ? "ok  "
               : result == EXIT_SKIPPED ? "skip"
                                        : "FAIL",
               tests[i].name);
        passed += result == 0;
        skipped += result == EXIT_SKIPPED;
        failed += result == EXIT_FAILED;
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed || passed + skipped == 0 ? EXIT_FAILED : 0;
}
