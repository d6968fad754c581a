/* The reference backend, for tests to which the kind of backend does not matter. */
#ifndef UM_TESTS_SUPPORT_REF_BACKEND_H
#define UM_TESTS_SUPPORT_REF_BACKEND_H

#include "kernels/backend.h"
#include "tests/test.h"

static inline um_backend *um_ref_backend_open(void)
{
    um_backend_options options = {.name = "ref"};
    um_backend *backend = NULL;
    um_err err = {0};

    UM_CHECK_OK(um_backend_open(&options, &backend, &err), err);
    return backend;
}

#endif
