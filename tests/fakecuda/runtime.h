/*
 * The inside of the fake CUDA runtime, shared by its files. Every call from outside holds one lock,
 * so a test may use any thread; nothing runs beside it.
 *
 * Work reaches the device through streams: queues of closures. Eagerly (the default) a queue is
 * emptied as soon as something is put into it; with FAKECUDA_LAZY only when the host waits for it.
 */
#ifndef FAKECUDA_RUNTIME_H
#define FAKECUDA_RUNTIME_H

#include <functional>
#include <mutex>

#include <cuda_runtime_api.h>

#include "tests/fakecuda/fakecuda.h"
#include "tests/fakecuda/memory.h"
#include "tests/fakecuda/report.h"
#include "tests/fakecuda/switches.h"

namespace fakecuda
{

std::recursive_mutex &runtime_lock();
fakecuda_counts &counts(); /* guarded by the lock */
/* Keeps an error for cudaGetLastError and returns it. */
cudaError_t remember(cudaError_t error);

/* The frame of every runtime function but the error queries. */
template <class Body> cudaError_t enter(Body &&body)
{
    std::lock_guard<std::recursive_mutex> guard(runtime_lock());

    if (switches().no_device)
        return remember(cudaErrorInsufficientDriver);
    return remember(body());
}

/* ---- streams: stream.cpp ----------------------------------------------------------------- */

/* False: a fault was reported. */
using Work = std::function<bool()>;

/* Null: an invalid handle, reported. */
CUstream_st *find_stream(cudaStream_t handle);
void enqueue(CUstream_st *stream, Work work);
/* Runs what is queued, there and on the streams it waits for. */
void drain(CUstream_st *stream);
void drain_all();
/* The host waits: drains, counts, and returns the error of work that failed since. */
cudaError_t wait_for(CUstream_st *stream);

/* ---- memory: device_memory.cpp ----------------------------------------------------------- */

/* Device memory is open to the host's instructions while one of these lives (FAKECUDA_TRAP). */
class DeviceAccess
{
  public:
    DeviceAccess();
    ~DeviceAccess();
    DeviceAccess(const DeviceAccess &) = delete;
    DeviceAccess &operator=(const DeviceAccess &) = delete;
};

/* The range lies in one allocation that the device may use; else reported with `what`. */
bool check_device_range(const void *base, size_t bytes, const char *what);

} // namespace fakecuda

#endif
