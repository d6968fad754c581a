/*
 * cuBLASLt as a table of the functions used, so that nothing is linked against it: the library is
 * 600 MB and opened only after a device was found. The structures of its headers belong to major
 * version 13, so another major version is refused.
 *
 *     um_cublas lt;
 *     status = umi_cublas_open(&lt, err);
 *     ...
 *     lt.matmul(handle, ...);
 *     umi_cublas_close(&lt);
 *
 * cuda_cublas.c opens libcublasLt.so.13; the plugin for tests without a GPU links another
 * definition of the same two functions. Owner thread: the engine's.
 */
#ifndef UM_KERNELS_CUDA_CUBLAS_H
#define UM_KERNELS_CUDA_CUBLAS_H

#include <cublasLt.h>

#include "core/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UMI_CUBLAS_LIBRARY "libcublasLt.so.13"
#define UMI_CUBLAS_MAJOR 13

/* X(field, symbol): the only list of these names. */
#define UMI_CUBLAS_FUNCTIONS(X)                                                                    \
    X(get_version, cublasLtGetVersion)                                                             \
    X(get_status_name, cublasLtGetStatusName)                                                      \
    X(create, cublasLtCreate)                                                                      \
    X(destroy, cublasLtDestroy)                                                                    \
    X(desc_create, cublasLtMatmulDescCreate)                                                       \
    X(desc_destroy, cublasLtMatmulDescDestroy)                                                     \
    X(desc_set, cublasLtMatmulDescSetAttribute)                                                    \
    X(layout_create, cublasLtMatrixLayoutCreate)                                                   \
    X(layout_destroy, cublasLtMatrixLayoutDestroy)                                                 \
    X(layout_set, cublasLtMatrixLayoutSetAttribute)                                                \
    X(preference_create, cublasLtMatmulPreferenceCreate)                                           \
    X(preference_destroy, cublasLtMatmulPreferenceDestroy)                                         \
    X(preference_set, cublasLtMatmulPreferenceSetAttribute)                                        \
    X(heuristic, cublasLtMatmulAlgoGetHeuristic)                                                   \
    X(algo_check, cublasLtMatmulAlgoCheck)                                                         \
    X(algo_get, cublasLtMatmulAlgoConfigGetAttribute)                                              \
    X(algo_set, cublasLtMatmulAlgoConfigSetAttribute)                                              \
    X(matmul, cublasLtMatmul)

typedef struct um_cublas {
    void *library; /* from dlopen, owned; NULL where the functions are linked */
/* names of a field and of a function: NOLINTNEXTLINE(bugprone-macro-parentheses) */
#define UMI_CUBLAS_FIELD(field, symbol) __typeof__(&symbol) field;
    UMI_CUBLAS_FUNCTIONS(UMI_CUBLAS_FIELD)
#undef UMI_CUBLAS_FIELD
} um_cublas;

/* UM_E_NOT_FOUND: no library; UM_E_UNSUPPORTED: a function is missing or the major version is
 * another. `out` is zero on failure. */
um_status umi_cublas_open(um_cublas *out, um_err *err);
/* Accepts a zeroed table. */
void umi_cublas_close(um_cublas *cublas);

#ifdef __cplusplus
}
#endif

#endif
