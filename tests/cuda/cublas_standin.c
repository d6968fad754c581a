/*
 * Libraries that pretend to be libcublasLt.so.13 for test_cuda_cublas.c: every function of the
 * table answers with a version. STANDIN_VERSION says which; STANDIN_HOLLOW leaves all functions but
 * the first out.
 */
#include "kernels/cuda/cuda_cublas.h"

/* Other names than the header's, the same symbols: the prototypes need not fit. */
#define STANDIN(field, symbol)                                                                     \
    __attribute__((visibility("default"))) size_t standin_##field(void) __asm__(#symbol);          \
    size_t standin_##field(void)                                                                   \
    {                                                                                              \
        return STANDIN_VERSION;                                                                    \
    }

#ifdef STANDIN_HOLLOW
STANDIN(get_version, cublasLtGetVersion)
#else
UMI_CUBLAS_FUNCTIONS(STANDIN)
#endif
