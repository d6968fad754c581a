/*
 * Looking for the plugin of the cuda backend where there is none: the reason names the path, a
 * backend asked for is an error, `auto` goes on with the cpu. No CUDA is needed.
 */
#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <unistd.h>

#include "kernels/backend.h"
#include "tests/test.h"

static void check_absent(const char *plugin, um_status status, const char *message)
{
    um_backend_options options = {.name = "cuda", .plugin = plugin, .threads = 1};
    um_backend *backend = NULL;
    um_err err = {0};

    UM_CHECK_STATUS(um_backend_open(&options, &backend, &err), status);
    UM_CHECK(backend == NULL);
    UM_CHECK_STR(err.message, message);
    options.name = "auto";
    UM_CHECK_OK(um_backend_open(&options, &backend, &err), err);
    UM_CHECK(um_backend_is_host(backend));
    UM_CHECK_INT(um_backend_step_rows(backend), 512);
    um_backend_close(backend);
}

static void a_missing_plugin_is_named(void)
{
    check_absent("/nowhere/plugin.so", UM_E_NOT_FOUND,
                 "backend cuda cannot run: there is no plugin /nowhere/plugin.so");
}

static void it_is_looked_for_beside_the_program(void)
{
    char program[512] = {0}, expected[600], *slash;

    UM_CHECK(readlink("/proc/self/exe", program, sizeof(program) - 1) > 0);
    slash = strrchr(program, '/');
    UM_ASSERT(slash);
    *slash = '\0';
    snprintf(expected, sizeof(expected),
             "backend cuda cannot run: there is no plugin %s/unmask-cuda.so", program);
    check_absent(NULL, UM_E_NOT_FOUND, expected);
    check_absent("", UM_E_NOT_FOUND, expected);
}

static void a_file_that_is_no_library_is_refused(void)
{
    check_absent("/proc/self/cmdline", UM_E_NOT_FOUND,
                 "backend cuda cannot run: plugin /proc/self/cmdline: file too short");
}

static void a_library_that_is_no_plugin_is_refused(void)
{
    Dl_info libc;
    char expected[600];

    UM_ASSERT(dladdr((const void *)(uintptr_t)gnu_get_libc_version, &libc) != 0);
    snprintf(expected, sizeof(expected),
             "backend cuda cannot run: plugin %s has no function unmask_plugin_open",
             libc.dli_fname);
    check_absent(libc.dli_fname, UM_E_UNSUPPORTED, expected);
}

static const um_test tests[] = {
    UM_TEST(a_missing_plugin_is_named),
    UM_TEST(it_is_looked_for_beside_the_program),
    UM_TEST(a_file_that_is_no_library_is_refused),
    UM_TEST(a_library_that_is_no_plugin_is_refused),
};
UM_TEST_MAIN(tests)
