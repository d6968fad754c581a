/*
 * Opens libcublasLt of the machine and fills the table of its functions. Engine thread.
 */
#include "kernels/cuda/cuda_cublas.h"

#include <dlfcn.h>

static const char *reason_of_dl(void)
{
    const char *reason = dlerror();

    return reason ? reason : "unknown";
}

static um_status fill(um_cublas *lt, um_err *err)
{
    static const struct {
        size_t offset;
        const char *symbol;
    } functions[] = {
#define CUBLAS_ENTRY(field, symbol) {offsetof(um_cublas, field), #symbol},
        UMI_CUBLAS_FUNCTIONS(CUBLAS_ENTRY)
#undef CUBLAS_ENTRY
    };

    for (size_t i = 0; i < UM_COUNT_OF(functions); i++) {
        void **slot = (void **)(void *)((char *)lt + functions[i].offset);

        *slot = dlsym(lt->library, functions[i].symbol);
        if (!*slot)
            return um_fail(err, UM_E_UNSUPPORTED, "%s has no function %s", UMI_CUBLAS_LIBRARY,
                           functions[i].symbol);
    }
    return UM_OK;
}

um_status umi_cublas_open(um_cublas *out, um_err *err)
{
    um_status status;
    size_t major;

    *out = (um_cublas){.library = dlopen(UMI_CUBLAS_LIBRARY, RTLD_NOW | RTLD_LOCAL)};
    if (!out->library)
        return um_fail(err, UM_E_NOT_FOUND, "no cuBLAS %d: %s", UMI_CUBLAS_MAJOR, reason_of_dl());
    status = fill(out, err);
    if (status == UM_OK) {
        major = out->get_version() / 10000;
        if (major != UMI_CUBLAS_MAJOR)
            status = um_fail(err, UM_E_UNSUPPORTED, "%s is of version %zu; it must be %d",
                             UMI_CUBLAS_LIBRARY, major, UMI_CUBLAS_MAJOR);
    }
    if (status != UM_OK)
        umi_cublas_close(out);
    return status;
}

void umi_cublas_close(um_cublas *cublas)
{
    if (cublas->library)
        (void)dlclose(cublas->library);
    *cublas = (um_cublas){0};
}
