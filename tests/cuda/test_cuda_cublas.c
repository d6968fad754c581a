/*
 * Opening cuBLASLt: a library that is not there, one of another major version, one that lacks
 * functions, a good one. The libraries are stand-ins whose soname is the real one's: once loaded
 * by its path, such a library is what dlopen finds under that name.
 */
#include "kernels/cuda/cuda_cublas.h"

#include <dlfcn.h>

#include "tests/test.h"

static void load(const char *path)
{
    if (!dlopen(path, RTLD_NOW | RTLD_LOCAL))
        UM_FATAL("a stand-in library cannot be loaded");
}

static void check_refused(um_status expected, const char *message)
{
    um_cublas lt;
    um_err err = {0};

    UM_CHECK_STATUS(umi_cublas_open(&lt, &err), expected);
    UM_CHECK_STR(err.message, message);
    UM_CHECK(lt.library == NULL && lt.matmul == NULL);
}

static void a_missing_library_is_named(void)
{
    void *installed = dlopen(UMI_CUBLAS_LIBRARY, RTLD_NOW | RTLD_LOCAL);

    if (installed)
        um_test_skip("cuBLAS is installed here");
    check_refused(UM_E_NOT_FOUND, "no cuBLAS 13: libcublasLt.so.13: cannot open shared object "
                                  "file: No such file or directory");
}

static void another_major_version_is_refused(void)
{
    load(STANDIN_OLD);
    check_refused(UM_E_UNSUPPORTED, "libcublasLt.so.13 is of version 12; it must be 13");
}

static void a_missing_function_is_named(void)
{
    load(STANDIN_BARE);
    check_refused(UM_E_UNSUPPORTED, "libcublasLt.so.13 has no function cublasLtGetStatusName");
}

static void the_table_is_complete(void)
{
    um_cublas lt;
    um_err err = {0};

    load(STANDIN_GOOD);
    UM_CHECK_OK(umi_cublas_open(&lt, &err), err);
    UM_CHECK_INT(lt.get_version(), 130100);
#define CHECK_THERE(field, symbol) UM_CHECK(lt.field != NULL);
    UMI_CUBLAS_FUNCTIONS(CHECK_THERE)
#undef CHECK_THERE
    umi_cublas_close(&lt);
    UM_CHECK(lt.library == NULL && lt.matmul == NULL);
    umi_cublas_close(&lt); /* a zeroed table is accepted */
}

static const um_test tests[] = {
    UM_TEST(a_missing_library_is_named),
    UM_TEST(another_major_version_is_refused),
    UM_TEST(a_missing_function_is_named),
    UM_TEST(the_table_is_complete),
};
UM_TEST_MAIN(tests)
