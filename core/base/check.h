/*
 * Assertions and attributes. Programmer mistakes end the process; they are never error codes.
 *
 * UM_ASSERT stays on in release builds (control plane); UM_DEBUG_ASSERT is for loops over
 * elements and is compiled out with NDEBUG.
 */
#ifndef UM_BASE_CHECK_H
#define UM_BASE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define UM_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define UM_MUST_USE __attribute__((warn_unused_result))
#define UM_NORETURN __attribute__((noreturn))
#define UM_UNUSED __attribute__((unused))
#define UM_ALIGNED(bytes) __attribute__((aligned(bytes)))
#define UM_LIKELY(x) __builtin_expect(!!(x), 1)
#else
#error "unmask is built with gcc or clang"
#endif

UM_NORETURN void um_check_failed(const char *file, int line, const char *what);

#define UM_ASSERT(condition)                                                                       \
    ((condition) ? (void)0 : um_check_failed(__FILE__, __LINE__, #condition))
#define UM_FATAL(what) um_check_failed(__FILE__, __LINE__, (what))

#ifdef NDEBUG
#define UM_DEBUG_ASSERT(condition) ((void)sizeof((condition) ? 1 : 0))
#else
#define UM_DEBUG_ASSERT(condition) UM_ASSERT(condition)
#endif

#define UM_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
