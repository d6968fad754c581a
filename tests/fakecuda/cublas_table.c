/* The backend's table of cuBLASLt, filled from the fake device's own functions instead of a library
 * on disk: the one file in which the plugin of the tests differs from the one that ships. */
#include "kernels/cuda/cuda_cublas.h"

#include <string.h>

#include "tests/fakecuda/fakecuda.h"

um_status umi_cublas_open(um_cublas *out, um_err *err)
{
    memset(out, 0, sizeof(*out));
    if (!fakecuda_has_cublas())
        return um_fail(err, UM_E_NOT_FOUND, "%s: cannot open shared object file",
                       UMI_CUBLAS_LIBRARY);
#define TABLE_FILL(field, symbol) out->field = symbol;
    UMI_CUBLAS_FUNCTIONS(TABLE_FILL)
#undef TABLE_FILL
    return UM_OK;
}

void umi_cublas_close(um_cublas *cublas)
{
    memset(cublas, 0, sizeof(*cublas));
}
