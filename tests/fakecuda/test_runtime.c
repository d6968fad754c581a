/*
 * The fake CUDA runtime: what it does, what it refuses, what it counts and what its switches
 * change. Kernels are in test_runtime_kernels.cu; the interpreter has tests of its own.
 */
#include "tests/test.h"

#include <cuda_runtime_api.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fakecuda/fakecuda.h"

cudaError_t plain_add(int *values, int count, int amount, cudaStream_t stream);
cudaError_t plain_sum_shared(const int *values, int *out, size_t shared_bytes, bool opt_in,
                             cudaStream_t stream);
cudaError_t plain_count_calls(void **where, cudaStream_t stream);
cudaError_t plain_blocks_per_multiprocessor(int *blocks, size_t shared_bytes);
cudaError_t compressed_add(int *values, int count, int amount, cudaStream_t stream);
cudaError_t machine_add(int *values, int count, int amount, cudaStream_t stream);

enum { COUNT = 100 };

static fakecuda_counts counters(void)
{
    fakecuda_counts counts;

    fakecuda_counters(&counts);
    return counts;
}

/* Device memory of COUNT ints, all `value`. */
static int *device_ints(int value)
{
    int host[COUNT], *device = NULL;

    for (int i = 0; i < COUNT; i++)
        host[i] = value;
    UM_CHECK_INT(cudaMalloc((void **)&device, sizeof(host)), cudaSuccess);
    UM_CHECK_INT(cudaMemcpy(device, host, sizeof(host), cudaMemcpyHostToDevice), cudaSuccess);
    return device;
}

static int read_int(const int *device)
{
    int value = -1;

    UM_CHECK_INT(cudaMemcpy(&value, device, sizeof(value), cudaMemcpyDeviceToHost), cudaSuccess);
    return value;
}

/* ---- objects of nvcc ------------------------------------------------------------------------ */

static void a_kernel_of_an_unmodified_object_runs(void)
{
    int *values = device_ints(7), *sum = device_ints(0);
    void *counter = NULL;

    UM_CHECK_INT(plain_add(values, COUNT, 3, NULL), cudaSuccess);
    UM_CHECK_INT(read_int(values + COUNT - 1), 10);
    UM_CHECK_INT(plain_sum_shared(values, sum, 32 * sizeof(int), false, NULL), cudaSuccess);
    UM_CHECK_INT(read_int(sum), 320);
    UM_CHECK_INT(plain_count_calls(&counter, NULL), cudaSuccess);
    UM_CHECK_INT(plain_count_calls(&counter, NULL), cudaSuccess);
    UM_CHECK_INT(read_int(counter), 2);
    UM_CHECK_INT(counters().launches, 4);
    UM_CHECK_INT(cudaFree(values), cudaSuccess);
    UM_CHECK_INT(cudaFree(sum), cudaSuccess);
}

static void compressed_ptx_is_refused_with_the_remedy(void)
{
    int *values = device_ints(0);
    char fault[256];

    fakecuda_catch(fault, sizeof(fault));
    UM_CHECK_INT(compressed_add(values, COUNT, 1, NULL), cudaErrorInvalidDeviceFunction);
    UM_CHECK_STR(fault, "fakecuda: device code: the object's PTX is compressed; build it with "
                        "nvcc --no-compress");
    UM_CHECK_INT(cudaFree(values), cudaSuccess);
}

static void an_object_without_ptx_is_refused(void)
{
    int *values = device_ints(0);
    char fault[256];

    fakecuda_catch(fault, sizeof(fault));
    UM_CHECK_INT(machine_add(values, COUNT, 1, NULL), cudaErrorInvalidDeviceFunction);
    UM_CHECK_STR(fault, "fakecuda: device code: the object holds no PTX up to compute_90; add a "
                        "virtual architecture");
    UM_CHECK_INT(cudaFree(values), cudaSuccess);
}

/* Not in a child of the runner's making: the fault must end the program. */
static int exit_of(void (*body)(void))
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        (void)freopen("/dev/null", "w", stderr);
        body();
        _exit(0);
    }
    UM_CHECK(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void launch_compressed(void)
{
    (void)compressed_add(NULL, 1, 1, NULL);
}

static void a_fault_ends_the_program(void)
{
    UM_CHECK_INT(exit_of(launch_compressed), 97);
}

static void dynamic_shared_memory_is_limited_until_opted_in(void)
{
    int *values = device_ints(1), *sum = device_ints(0), blocks = 0;
    const size_t much = 100 * 1024;
    char fault[256];

    fakecuda_catch(fault, sizeof(fault));
    UM_CHECK_INT(plain_sum_shared(values, sum, much, false, NULL), cudaErrorInvalidValue);
    UM_CHECK(strstr(fault, "102400 bytes of dynamic shared memory, 49152 allowed"));
    UM_CHECK_INT(plain_sum_shared(values, sum, much, true, NULL), cudaSuccess);
    UM_CHECK_INT(read_int(sum), 32);
    UM_CHECK_INT(plain_sum_shared(values, sum, 228 * 1024, true, NULL), cudaErrorInvalidValue);
    UM_CHECK_INT(plain_blocks_per_multiprocessor(&blocks, much), cudaSuccess);
    UM_CHECK_INT(blocks, 2);
    UM_CHECK_INT(cudaFree(values), cudaSuccess);
    UM_CHECK_INT(cudaFree(sum), cudaSuccess);
}

/* ---- memory and copies ------------------------------------------------------------------------ */

static void new_device_memory_is_nan_in_every_type(void)
{
    unsigned char bytes[300];
    void *device = NULL;

    UM_CHECK_INT(cudaMalloc(&device, sizeof(bytes)), cudaSuccess);
    UM_CHECK_INT((uintptr_t)device % 256, 0);
    UM_CHECK_INT(cudaMemcpy(bytes, device, sizeof(bytes), cudaMemcpyDeviceToHost), cudaSuccess);
    for (size_t i = 0; i < sizeof(bytes); i++)
        UM_CHECK_INT(bytes[i], 0xff);
    UM_CHECK_INT(cudaFree(device), cudaSuccess);
}

static void copies_check_kind_and_bounds(void)
{
    int *device = device_ints(5), host[COUNT + 1];
    char fault[256];

    fakecuda_catch(fault, sizeof(fault));
    UM_CHECK_INT(cudaMemcpy(host, device, sizeof(host), cudaMemcpyDeviceToHost),
                 cudaErrorInvalidValue);
    UM_CHECK(strstr(fault, "copy bounds: 404 bytes"));
    fakecuda_catch(fault, sizeof(fault));
    UM_CHECK_INT(cudaMemcpy(host, device, 4, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    UM_CHECK(strstr(fault, "copy kind"));
    fakecuda_catch(fault, sizeof(fault));
    UM_CHECK_INT(cudaMemcpy(host + 1, host, 4, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    UM_CHECK(strstr(fault, "copy kind"));
    UM_CHECK_INT(cudaMemcpy(host, device + 3, 4, cudaMemcpyDefault), cudaSuccess);
    UM_CHECK_INT(host[0], 5);
    fakecuda_catch(fault, sizeof(fault));
    UM_CHECK_INT(cudaMemset(device + 1, 0, COUNT * sizeof(int)), cudaErrorInvalidValue);
    UM_CHECK(strstr(fault, "device bounds: cudaMemset"));
    UM_CHECK_INT(cudaMemset(device + 1, 0, 4), cudaSuccess);
    UM_CHECK_INT(read_int(device + 1), 0);
    UM_CHECK_INT(read_int(device + 2), 5);
    UM_CHECK_INT(cudaFree(device), cudaSuccess);
}

static void copies_of_rows_leave_the_gaps(void)
{
    int *device = device_ints(1), host[6] = {10, 11, 12, 13, 14, 15};

    /* two rows of two ints: pitch 3 on the host, 4 on the device */
    UM_CHECK_INT(cudaMemcpy2DAsync(device, 16, host, 12, 8, 2, cudaMemcpyHostToDevice, NULL),
                 cudaSuccess);
    UM_CHECK_INT(read_int(device), 10);
    UM_CHECK_INT(read_int(device + 1), 11);
    UM_CHECK_INT(read_int(device + 2), 1);
    UM_CHECK_INT(read_int(device + 4), 13);
    UM_CHECK_INT(read_int(device + 5), 14);
    UM_CHECK_INT(read_int(device + 6), 1);
    UM_CHECK_INT(cudaFree(device), cudaSuccess);
}

static void bad_frees_are_faults(void)
{
    int *device = device_ints(0);
    void *pinned = NULL;
    char fault[256];

    fakecuda_catch(fault, sizeof(fault));
    UM_CHECK_INT(cudaFree(device + 1), cudaErrorInvalidValue);
    UM_CHECK(strstr(fault, "invalid free"));
    UM_CHECK_INT(cudaFree(device), cudaSuccess);
    UM_CHECK_INT(cudaFree(device), cudaErrorInvalidValue);
    UM_CHECK_INT(cudaMallocHost(&pinned, 10), cudaSuccess);
    UM_CHECK_INT(cudaFree(pinned), cudaErrorInvalidValue);
    UM_CHECK_INT(cudaFreeHost(pinned), cudaSuccess);
    UM_CHECK_INT(cudaFreeHost(pinned), cudaErrorInvalidValue);
    UM_CHECK_INT(cudaFree(NULL), cudaSuccess);
    UM_CHECK_INT(counters().live_allocations, 0);
}

static void memory_is_bounded(void)
{
    void *first = NULL, *second = NULL;
    size_t free_bytes = 0, total = 0;

    UM_CHECK(fakecuda_set("MEMORY", "1000"));
    UM_CHECK_INT(cudaMalloc(&first, 600), cudaSuccess);
    UM_CHECK_INT(cudaMemGetInfo(&free_bytes, &total), cudaSuccess);
    UM_CHECK_INT(free_bytes, 400);
    UM_CHECK_INT(total, 1000);
    UM_CHECK_INT(cudaMalloc(&second, 401), cudaErrorMemoryAllocation);
    UM_CHECK_INT(cudaGetLastError(), cudaErrorMemoryAllocation);
    UM_CHECK_INT(cudaGetLastError(), cudaSuccess);
    UM_CHECK_INT(cudaMalloc(&second, 400), cudaSuccess);
    UM_CHECK_INT(cudaFree(first), cudaSuccess);
    UM_CHECK_INT(cudaFree(second), cudaSuccess);
}

/* ---- streams, events, laziness ----------------------------------------------------------------- */

static void lazily_nothing_runs_before_the_host_waits(void)
{
    int *values = device_ints(1), *result = NULL;
    cudaStream_t stream;

    UM_CHECK(fakecuda_set("LAZY", "1"));
    UM_CHECK_INT(cudaMallocHost((void **)&result, sizeof(*result)), cudaSuccess);
    UM_CHECK_INT(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    *result = -5;
    UM_CHECK_INT(plain_add(values, COUNT, 1, stream), cudaSuccess);
    UM_CHECK_INT(cudaMemcpyAsync(result, values, sizeof(*result), cudaMemcpyDeviceToHost, stream),
                 cudaSuccess);
    UM_CHECK_INT(*result, -5);
    UM_CHECK_INT(read_int(values), 1); /* stream 0 does not wait for this one */
    UM_CHECK_INT(cudaStreamSynchronize(stream), cudaSuccess);
    UM_CHECK_INT(*result, 2);
    UM_CHECK_INT(cudaStreamDestroy(stream), cudaSuccess);
    UM_CHECK_INT(cudaFreeHost(result), cudaSuccess);
    UM_CHECK_INT(cudaFree(values), cudaSuccess);
}

static void pinned_memory_is_read_when_the_copy_runs(void)
{
    int *values = device_ints(0), *pinned = NULL, pageable = 1;
    cudaStream_t stream;

    UM_CHECK(fakecuda_set("LAZY", "1"));
    UM_CHECK_INT(cudaMallocHost((void **)&pinned, sizeof(*pinned)), cudaSuccess);
    UM_CHECK_INT(cudaStreamCreate(&stream), cudaSuccess);
    *pinned = 1;
    UM_CHECK_INT(cudaMemcpyAsync(values, pinned, 4, cudaMemcpyHostToDevice, stream), cudaSuccess);
    UM_CHECK_INT(cudaMemcpyAsync(values + 1, &pageable, 4, cudaMemcpyHostToDevice, stream),
                 cudaSuccess);
    *pinned = 2; /* too early: the fault that this mode is there to show */
    pageable = 2;
    UM_CHECK_INT(cudaStreamSynchronize(stream), cudaSuccess);
    UM_CHECK_INT(read_int(values), 2);
    UM_CHECK_INT(read_int(values + 1), 1);
    UM_CHECK_INT(cudaStreamDestroy(stream), cudaSuccess);
    UM_CHECK_INT(cudaFreeHost(pinned), cudaSuccess);
    UM_CHECK_INT(cudaFree(values), cudaSuccess);
}

static void events_order_streams(void)
{
    int *values = device_ints(1);
    cudaStream_t first, second;
    cudaEvent_t event;
    float milliseconds = 0.0f;

    UM_CHECK(fakecuda_set("LAZY", "1"));
    UM_CHECK_INT(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking), cudaSuccess);
    UM_CHECK_INT(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking), cudaSuccess);
    UM_CHECK_INT(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
    UM_CHECK_INT(cudaEventQuery(event), cudaSuccess); /* never recorded */
    UM_CHECK_INT(plain_add(values, COUNT, 10, first), cudaSuccess);
    UM_CHECK_INT(cudaEventRecord(event, first), cudaSuccess);
    UM_CHECK_INT(plain_add(values, COUNT, 100, first), cudaSuccess); /* behind the event */
    UM_CHECK_INT(cudaStreamWaitEvent(second, event, 0), cudaSuccess);
    UM_CHECK_INT(cudaMemcpyAsync(values + 1, values, 4, cudaMemcpyDeviceToDevice, second),
                 cudaSuccess);
    UM_CHECK_INT(cudaEventElapsedTime(&milliseconds, event, event), cudaErrorNotReady);
    UM_CHECK_INT(cudaStreamSynchronize(second), cudaSuccess);
    UM_CHECK_INT(cudaEventQuery(event), cudaSuccess);
    UM_CHECK_INT(read_int(values + 1), 11);
    UM_CHECK_INT(read_int(values), 11);
    UM_CHECK_INT(cudaStreamDestroy(first), cudaSuccess); /* what is queued still runs */
    UM_CHECK_INT(read_int(values), 111);
    UM_CHECK_INT(cudaStreamDestroy(second), cudaSuccess);
    UM_CHECK_INT(cudaEventSynchronize(event), cudaSuccess); /* of a stream that is gone */
    UM_CHECK_INT(cudaEventDestroy(event), cudaSuccess);
    UM_CHECK_INT(counters().live_objects, 0);
    UM_CHECK_INT(cudaFree(values), cudaSuccess);
}

static void polling_gets_on(void)
{
    int *values = device_ints(1), polls = 0;
    cudaStream_t stream;

    UM_CHECK(fakecuda_set("LAZY", "1"));
    UM_CHECK_INT(cudaStreamCreate(&stream), cudaSuccess);
    for (int i = 0; i < 3; i++)
        UM_CHECK_INT(plain_add(values, COUNT, 1, stream), cudaSuccess);
    while (cudaStreamQuery(stream) == cudaErrorNotReady && polls < 100)
        polls++;
    UM_CHECK_INT(polls, 2);
    UM_CHECK_INT(cudaGetLastError(), cudaSuccess); /* "not ready" is no error to remember */
    UM_CHECK_INT(read_int(values), 4);
    UM_CHECK_INT(cudaStreamDestroy(stream), cudaSuccess);
    UM_CHECK_INT(cudaFree(values), cudaSuccess);
}

static void stream_0_and_blocking_streams_keep_their_order(void)
{
    int *values = device_ints(1);
    cudaStream_t stream;

    UM_CHECK(fakecuda_set("LAZY", "1"));
    UM_CHECK_INT(cudaStreamCreate(&stream), cudaSuccess);
    UM_CHECK_INT(plain_add(values, COUNT, 1, stream), cudaSuccess);
    UM_CHECK_INT(read_int(values), 2); /* a copy on stream 0 */
    UM_CHECK_INT(cudaStreamDestroy(stream), cudaSuccess);
    UM_CHECK_INT(cudaFree(values), cudaSuccess);
}

static void host_function(void *data)
{
    ++*(int *)data;
}

static void host_functions_run_in_their_place(void)
{
    int called = 0;
    cudaStream_t stream;

    UM_CHECK(fakecuda_set("LAZY", "1"));
    UM_CHECK_INT(cudaStreamCreate(&stream), cudaSuccess);
    UM_CHECK_INT(cudaLaunchHostFunc(stream, host_function, &called), cudaSuccess);
    UM_CHECK_INT(called, 0);
    UM_CHECK_INT(cudaDeviceSynchronize(), cudaSuccess);
    UM_CHECK_INT(called, 1);
    UM_CHECK_INT(cudaStreamDestroy(stream), cudaSuccess);
}

/* ---- other switches and the counters ------------------------------------------------------------- */

static void touch_device_memory(void)
{
    int *device = NULL;

    (void)fakecuda_set("TRAP", "1");
    (void)cudaMalloc((void **)&device, 400);
    *(volatile int *)device = 1;
}

static void touch_behind_device_memory(void)
{
    char *device = NULL;

    (void)cudaMalloc((void **)&device, 400);
    *(volatile char *)(device + 512) = 1; /* 400 bytes, padded to 256 */
}

static void with_the_trap_host_code_cannot_touch_device_memory(void)
{
    int *values;

    UM_CHECK(fakecuda_set("TRAP", "1"));
    values = device_ints(1);
    UM_CHECK_INT(plain_add(values, COUNT, 1, NULL), cudaSuccess);
    UM_CHECK_INT(read_int(values), 2);
    UM_CHECK_INT(cudaFree(values), cudaSuccess);
    UM_CHECK(exit_of(touch_device_memory) != 0);
    UM_CHECK(exit_of(touch_behind_device_memory) != 0);
}

static void the_nth_allocation_fails_once(void)
{
    void *memory[3] = {NULL};
    cudaEvent_t event;

    UM_CHECK(fakecuda_set("FAIL_ALLOC", "2"));
    UM_CHECK_INT(cudaMalloc(&memory[0], 8), cudaSuccess);
    UM_CHECK_INT(cudaMallocHost(&memory[1], 8), cudaErrorMemoryAllocation);
    UM_CHECK(memory[1] == NULL);
    UM_CHECK_INT(cudaMalloc(&memory[2], 8), cudaSuccess);
    UM_CHECK(fakecuda_set("FAIL_ALLOC", "1"));
    UM_CHECK_INT(cudaEventCreate(&event), cudaErrorMemoryAllocation);
    UM_CHECK_INT(cudaFree(memory[0]), cudaSuccess);
    UM_CHECK_INT(cudaFree(memory[2]), cudaSuccess);
}

static void the_nth_launch_fails_once(void)
{
    int *values = device_ints(0);

    UM_CHECK(fakecuda_set("FAIL_LAUNCH", "2"));
    UM_CHECK_INT(plain_add(values, COUNT, 1, NULL), cudaSuccess);
    UM_CHECK_INT(plain_add(values, COUNT, 1, NULL), cudaErrorLaunchOutOfResources);
    UM_CHECK_INT(plain_add(values, COUNT, 1, NULL), cudaSuccess);
    UM_CHECK_INT(read_int(values), 2);
    UM_CHECK_INT(cudaFree(values), cudaSuccess);
}

static void without_a_device_every_call_says_so(void)
{
    int count = -1;
    void *memory = NULL;

    UM_CHECK(fakecuda_set("NO_DEVICE", "1"));
    UM_CHECK_INT(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
    UM_CHECK_INT(count, 0);
    UM_CHECK_INT(cudaMalloc(&memory, 4), cudaErrorInsufficientDriver);
    UM_CHECK_STR(cudaGetErrorString(cudaErrorInsufficientDriver),
                 "CUDA driver version is insufficient for CUDA runtime version");
}

static void unknown_switches_and_values_are_refused(void)
{
    UM_CHECK(!fakecuda_set("NO_SUCH", "1"));
    UM_CHECK(!fakecuda_set("LAZY", "yes"));
    UM_CHECK(!fakecuda_set("FAIL_ALLOC", "3x"));
    UM_CHECK(!fakecuda_set("ORDER", "random"));
}

static void counters_tell_what_was_done(void)
{
    fakecuda_counts before = counters(), after;
    fakecuda_kernel kernels[8];
    int *values = device_ints(1), *pinned = NULL;

    UM_CHECK_INT(cudaMallocHost((void **)&pinned, 8), cudaSuccess);
    UM_CHECK_INT(plain_add(values, COUNT, 1, NULL), cudaSuccess);
    UM_CHECK_INT(cudaMemcpyAsync(pinned, values, 8, cudaMemcpyDeviceToHost, NULL), cudaSuccess);
    UM_CHECK_INT(cudaMemsetAsync(values, 0, 4, NULL), cudaSuccess);
    UM_CHECK_INT(cudaMemcpyAsync(values, values + 4, 12, cudaMemcpyDeviceToDevice, NULL),
                 cudaSuccess);
    after = counters();
    UM_CHECK_INT(after.host_waits - before.host_waits, 1); /* device_ints */
    UM_CHECK_INT(cudaStreamSynchronize(NULL), cudaSuccess);
    after = counters();
    UM_CHECK_INT(after.host_waits - before.host_waits, 2);
    UM_CHECK_INT(after.device_allocations, 1);
    UM_CHECK_INT(after.pinned_allocations, 1);
    UM_CHECK_INT(after.live_allocations, 2);
    UM_CHECK_INT(after.device_bytes, 400);
    UM_CHECK_INT(after.largest_allocation, 400);
    UM_CHECK_INT(after.copies_to_device, 1);
    UM_CHECK_INT(after.bytes_to_device, 400);
    UM_CHECK_INT(after.copies_to_host, 1);
    UM_CHECK_INT(after.bytes_to_host, 8);
    UM_CHECK_INT(after.copies_on_device, 1);
    UM_CHECK_INT(after.bytes_on_device, 12);
    UM_CHECK_INT(after.memsets, 1);
    UM_CHECK_INT(after.launches, 1);
    UM_CHECK_INT(fakecuda_kernels(kernels, UM_COUNT_OF(kernels)), 1);
    UM_CHECK_STR(kernels[0].name, "add");
    UM_CHECK_INT(kernels[0].launches, 1);
    UM_CHECK_INT(kernels[0].blocks, 2);
    UM_CHECK_INT(kernels[0].bytes_read, 400);
    UM_CHECK_INT(kernels[0].bytes_written, 400);
    UM_CHECK_INT(kernels[0].global_sectors, kernels[0].global_ideal);
    fakecuda_reset_kernels();
    UM_CHECK_INT(fakecuda_kernels(kernels, UM_COUNT_OF(kernels)), 0);
    UM_CHECK_INT(cudaFree(values), cudaSuccess);
    UM_CHECK_INT(cudaFreeHost(pinned), cudaSuccess);
    UM_CHECK_INT(counters().live_allocations, 0);
    UM_CHECK_INT(counters().device_bytes_peak, 400);
}

static const um_test tests[] = {
    UM_TEST(a_kernel_of_an_unmodified_object_runs),
    UM_TEST(compressed_ptx_is_refused_with_the_remedy),
    UM_TEST(an_object_without_ptx_is_refused),
    UM_TEST(a_fault_ends_the_program),
    UM_TEST(dynamic_shared_memory_is_limited_until_opted_in),
    UM_TEST(new_device_memory_is_nan_in_every_type),
    UM_TEST(copies_check_kind_and_bounds),
    UM_TEST(copies_of_rows_leave_the_gaps),
    UM_TEST(bad_frees_are_faults),
    UM_TEST(memory_is_bounded),
    UM_TEST(lazily_nothing_runs_before_the_host_waits),
    UM_TEST(pinned_memory_is_read_when_the_copy_runs),
    UM_TEST(events_order_streams),
    UM_TEST(polling_gets_on),
    UM_TEST(stream_0_and_blocking_streams_keep_their_order),
    UM_TEST(host_functions_run_in_their_place),
    UM_TEST(with_the_trap_host_code_cannot_touch_device_memory),
    UM_TEST(the_nth_allocation_fails_once),
    UM_TEST(the_nth_launch_fails_once),
    UM_TEST(without_a_device_every_call_says_so),
    UM_TEST(unknown_switches_and_values_are_refused),
    UM_TEST(counters_tell_what_was_done),
};
UM_TEST_MAIN(tests)
