/*
 * Tests: a table of named functions, each run in a process of its own with a time limit. Checks
 * print both values and count; they stay on in release builds. A test that returns with a failed
 * check, crashes or overruns has failed.
 *
 *     static void adds(void) { UM_CHECK_INT(1 + 1, 2); }
 *     static const um_test tests[] = {UM_TEST(adds)};
 *     UM_TEST_MAIN(tests)
 *
 * Run `test_x` for all, `test_x NAME...` for some, `test_x --list`.
 */
#ifndef UM_TESTS_TEST_H
#define UM_TESTS_TEST_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/check.h"

typedef struct um_test {
    const char *name; /* the promise it checks */
    void (*run)(void);
    int limit_s; /* 0: 300 seconds (times 10 under a sanitizer) */
} um_test;

#define UM_TEST(function)                                                                          \
    {                                                                                              \
        .name = #function, .run = function                                                         \
    }

int um_test_main(const um_test *tests, size_t count, int argc, char **argv);
#define UM_TEST_MAIN(tests)                                                                        \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return um_test_main(tests, UM_COUNT_OF(tests), argc, argv);                                \
    }

void um_test_fail(const char *file, int line, const char *format, ...) UM_PRINTF(3, 4);
/* Ends the running test as skipped (counted and shown). */
UM_NORETURN void um_test_skip(const char *reason);
/* Checks made so far; a test that checked nothing fails. */
void um_test_count(void);

#define UM_CHECK(condition)                                                                        \
    (um_test_count(),                                                                              \
     (condition) ? (void)0 : um_test_fail(__FILE__, __LINE__, "%s is false", #condition))

#define UM_CHECK_INT(actual, expected)                                                             \
    do {                                                                                           \
        long long um_a = (long long)(actual), um_e = (long long)(expected);                        \
        um_test_count();                                                                           \
        if (um_a != um_e)                                                                          \
            um_test_fail(__FILE__, __LINE__, "%s is %lld, expected %lld", #actual, um_a, um_e);    \
    } while (0)

/* NaN fails. */
#define UM_CHECK_NEAR(actual, expected, tolerance)                                                 \
    do {                                                                                           \
        double um_a = (double)(actual), um_e = (double)(expected), um_t = (double)(tolerance);     \
        um_test_count();                                                                           \
        if (!(fabs(um_a - um_e) <= um_t))                                                          \
            um_test_fail(__FILE__, __LINE__, "%s is %.9g, expected %.9g within %.3g", #actual,     \
                         um_a, um_e, um_t);                                                        \
    } while (0)

#define UM_CHECK_STR(actual, expected)                                                             \
    do {                                                                                           \
        const char *um_a = (actual), *um_e = (expected);                                           \
        um_test_count();                                                                           \
        if (!um_a || strcmp(um_a, um_e) != 0)                                                      \
            um_test_fail(__FILE__, __LINE__, "%s is \"%s\", expected \"%s\"", #actual,             \
                         um_a ? um_a : "(null)", um_e);                                            \
    } while (0)

/* Status of a call; prints the error message on failure. `err` is a um_err in scope. */
#define UM_CHECK_OK(call, err)                                                                     \
    do {                                                                                           \
        um_status um_s = (call);                                                                   \
        um_test_count();                                                                           \
        if (um_s != UM_OK)                                                                         \
            um_test_fail(__FILE__, __LINE__, "%s: %s: %s", #call, um_status_name(um_s),            \
                         (err).message);                                                           \
    } while (0)

#define UM_CHECK_STATUS(call, expected)                                                            \
    do {                                                                                           \
        um_status um_s = (call);                                                                   \
        um_test_count();                                                                           \
        if (um_s != (expected))                                                                    \
            um_test_fail(__FILE__, __LINE__, "%s is %s, expected %s", #call, um_status_name(um_s), \
                         um_status_name(expected));                                                \
    } while (0)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UM_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UM_TEST_SANITIZED 1
#endif
#endif
#ifndef UM_TEST_SANITIZED
#define UM_TEST_SANITIZED 0
#endif

#endif
