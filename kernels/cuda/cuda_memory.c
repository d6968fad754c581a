/*
 * Memory of the cuda backend: device allocations, pinned staging, copies both ways, and the words
 * for what goes wrong. Owns the staging halves and the landing buffer of umi_cuda. Engine thread.
 */
#include <string.h>

#include "kernels/cuda/cuda_internal.h"

/* ---- checking ----------------------------------------------------------------------------- */

/* Faults after which every later call fails too: only a new process helps. */
static bool is_lost(cudaError_t error)
{
    switch (error) {
    case cudaErrorECCUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorLaunchFailure:
    case cudaErrorContained:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorMpsConnectionFailed:
    case cudaErrorMpsRpcFailure:
        return true;
    default:
        return false;
    }
}

/* Length of the function's name at the start of a call's text. */
static int name_length(const char *call)
{
    return (int)strcspn(call, "(");
}

um_status umi_cuda_status(cudaError_t error, const char *call, um_err *err)
{
    if (error == cudaSuccess)
        return UM_OK;
    return um_fail(err, error == cudaErrorMemoryAllocation ? UM_E_NOMEM : UM_E_DEVICE,
                   "%s%.*s failed: %s (%s)%s", is_lost(error) ? "CUDA device lost: " : "",
                   name_length(call), call, cudaGetErrorString(error), cudaGetErrorName(error),
                   is_lost(error) ? "; the process must be started again" : "");
}

um_status umi_cublas_status(const um_cublas *lt, cublasStatus_t error, const char *call,
                            um_err *err)
{
    if (error == CUBLAS_STATUS_SUCCESS)
        return UM_OK;
    return um_fail(err, error == CUBLAS_STATUS_ALLOC_FAILED ? UM_E_NOMEM : UM_E_DEVICE,
                   "cuBLASLt: %.*s failed: %s", name_length(call), call,
                   lt->get_status_name(error));
}

/* ---- device memory -------------------------------------------------------------------------- */

um_status umi_cuda_alloc(size_t bytes, void **out, um_err *err)
{
    um_status status;

    *out = NULL;
    status = UMI_CUDA_TRY(err, cudaMalloc(out, bytes));
    return status == UM_OK ? UM_OK
                           : um_err_prefix(err, status, "%zu bytes of device memory", bytes);
}

void umi_cuda_free(void *data)
{
    /* A fault of an earlier launch would show here; the next download tells of it. */
    (void)cudaFree(data);
}

/* ---- host to device -------------------------------------------------------------------------- */

/* Until the device has read what the half holds. */
static um_status wait_for_half(umi_cuda_half *half, um_err *err)
{
    um_status status = UM_OK;

    if (half->in_flight)
        status = UMI_CUDA_TRY(err, cudaEventSynchronize(half->sent));
    half->in_flight = half->in_flight && status != UM_OK;
    return status;
}

/* Goes on with the other half. */
static um_status turn_over(umi_cuda *cuda, um_err *err)
{
    umi_cuda_half *full = &cuda->halves[cuda->half], *next = &cuda->halves[1 - cuda->half];
    um_status status = UMI_CUDA_TRY(err, cudaEventRecord(full->sent, cuda->stream));

    if (status != UM_OK)
        return status;
    full->in_flight = true;
    status = wait_for_half(next, err);
    if (status != UM_OK)
        return status;
    next->used = 0;
    cuda->half = 1 - cuda->half;
    return UM_OK;
}

um_status umi_cuda_stage(umi_cuda *cuda, size_t bytes, void **out, um_err *err)
{
    size_t room = (bytes + 15) & ~(size_t)15;
    um_status status = UM_OK;
    umi_cuda_half *half;

    UM_ASSERT(bytes <= UMI_CUDA_STAGING_BYTES);
    *out = NULL;
    if (room > UMI_CUDA_STAGING_BYTES - cuda->halves[cuda->half].used)
        status = turn_over(cuda, err);
    if (status != UM_OK)
        return status;
    half = &cuda->halves[cuda->half];
    *out = half->data + half->used;
    half->used += room;
    return UM_OK;
}

um_status umi_cuda_send(umi_cuda *cuda, void *to, const void *staged, size_t bytes, um_err *err)
{
    return UMI_CUDA_TRY(err,
                        cudaMemcpyAsync(to, staged, bytes, cudaMemcpyHostToDevice, cuda->stream));
}

um_status umi_cuda_upload(um_backend *backend, void *to, const void *from, size_t bytes,
                          um_err *err)
{
    umi_cuda *cuda = (umi_cuda *)backend;
    um_status status = UM_OK;

    for (size_t done = 0, part; done < bytes && status == UM_OK; done += part) {
        void *staged;

        part = bytes - done < UMI_CUDA_STAGING_BYTES ? bytes - done : UMI_CUDA_STAGING_BYTES;
        status = umi_cuda_stage(cuda, part, &staged, err);
        if (status != UM_OK)
            break;
        memcpy(staged, (const char *)from + done, part);
        status = umi_cuda_send(cuda, (char *)to + done, staged, part, err);
    }
    return status;
}

/* ---- device to host -------------------------------------------------------------------------- */

um_status umi_cuda_download(um_backend *backend, void *to, const void *from, size_t bytes,
                            um_err *err)
{
    umi_cuda *cuda = (umi_cuda *)backend;
    um_status status = UM_OK;

    for (size_t done = 0, part; done < bytes && status == UM_OK; done += part) {
        part = bytes - done < UMI_CUDA_STAGING_BYTES ? bytes - done : UMI_CUDA_STAGING_BYTES;
        status = UMI_CUDA_TRY(err, cudaMemcpyAsync(cuda->landing, (const char *)from + done, part,
                                                   cudaMemcpyDeviceToHost, cuda->stream));
        if (status == UM_OK)
            status = UMI_CUDA_TRY(err, cudaStreamSynchronize(cuda->stream));
        if (status != UM_OK)
            break;
        memcpy((char *)to + done, cuda->landing, part);
        /* Everything sent has been read as well. */
        cuda->halves[0].in_flight = cuda->halves[1].in_flight = false;
        cuda->halves[cuda->half].used = 0;
    }
    return status;
}

/* ---- life ------------------------------------------------------------------------------------ */

static um_status alloc_pinned(char **out, um_err *err)
{
    void *data = NULL;
    um_status status = UMI_CUDA_TRY(err, cudaMallocHost(&data, UMI_CUDA_STAGING_BYTES));

    *out = data;
    return status;
}

um_status umi_cuda_memory_open(umi_cuda *cuda, um_err *err)
{
    um_status status = alloc_pinned(&cuda->landing, err);

    for (int i = 0; i < 2 && status == UM_OK; i++) {
        umi_cuda_half *half = &cuda->halves[i];

        status = alloc_pinned(&half->data, err);
        if (status == UM_OK)
            status =
                UMI_CUDA_TRY(err, cudaEventCreateWithFlags(&half->sent, cudaEventDisableTiming));
    }
    return status;
}

void umi_cuda_memory_close(umi_cuda *cuda)
{
    for (int i = 0; i < 2; i++) {
        if (cuda->halves[i].sent)
            (void)cudaEventDestroy(cuda->halves[i].sent);
        (void)cudaFreeHost(cuda->halves[i].data);
    }
    (void)cudaFreeHost(cuda->landing);
}
