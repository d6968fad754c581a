/* Lock, counters, errors, what tests may ask, and the statistics printed at the end. */
#include "tests/fakecuda/runtime.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <string>
#include <unistd.h>
#include <utility>

#include "tests/fakecuda/ptx.h"

namespace fakecuda
{

namespace
{

thread_local cudaError_t last_error = cudaSuccess;

/* Lives on after exit handlers: unregistering and statistics come late. */
struct State {
    std::recursive_mutex lock;
    fakecuda_counts counts = {};
    std::map<std::string, fakecuda_kernel> earlier; /* kernels before the last reset */
};

State &state()
{
    static State *const state = new State;
    return *state;
}

struct CountField {
    const char *name;
    uint64_t fakecuda_counts::*field;
};
const CountField count_fields[] = {
    {"live_allocations", &fakecuda_counts::live_allocations},
    {"live_objects", &fakecuda_counts::live_objects},
    {"device_allocations", &fakecuda_counts::device_allocations},
    {"pinned_allocations", &fakecuda_counts::pinned_allocations},
    {"objects_created", &fakecuda_counts::objects_created},
    {"frees", &fakecuda_counts::frees},
    {"device_bytes", &fakecuda_counts::device_bytes},
    {"device_bytes_peak", &fakecuda_counts::device_bytes_peak},
    {"largest_allocation", &fakecuda_counts::largest_allocation},
    {"launches", &fakecuda_counts::launches},
    {"matmuls", &fakecuda_counts::matmuls},
    {"memsets", &fakecuda_counts::memsets},
    {"host_waits", &fakecuda_counts::host_waits},
    {"copies_to_device", &fakecuda_counts::copies_to_device},
    {"bytes_to_device", &fakecuda_counts::bytes_to_device},
    {"copies_to_host", &fakecuda_counts::copies_to_host},
    {"bytes_to_host", &fakecuda_counts::bytes_to_host},
    {"copies_on_device", &fakecuda_counts::copies_on_device},
    {"bytes_on_device", &fakecuda_counts::bytes_on_device},
};
static_assert(sizeof(fakecuda_counts) ==
                  sizeof count_fields / sizeof *count_fields * sizeof(uint64_t),
              "every counter has a row");

struct KernelField {
    const char *name;
    uint64_t fakecuda_kernel::*field;
    uint64_t KernelStats::*source;
};
const KernelField kernel_fields[] = {
    {"launches", &fakecuda_kernel::launches, &KernelStats::launches},
    {"blocks", &fakecuda_kernel::blocks, &KernelStats::blocks},
    {"warp_instructions", &fakecuda_kernel::warp_instructions, &KernelStats::warp_instructions},
    {"mma", &fakecuda_kernel::mma, &KernelStats::mma},
    {"barriers", &fakecuda_kernel::barriers, &KernelStats::barriers},
    {"shared_waves", &fakecuda_kernel::shared_waves, &KernelStats::shared_waves},
    {"shared_ideal", &fakecuda_kernel::shared_ideal, &KernelStats::shared_ideal},
    {"global_sectors", &fakecuda_kernel::global_sectors, &KernelStats::global_sectors},
    {"global_ideal", &fakecuda_kernel::global_ideal, &KernelStats::global_ideal},
    {"bytes_read", &fakecuda_kernel::bytes_read, &KernelStats::bytes_read},
    {"bytes_written", &fakecuda_kernel::bytes_written, &KernelStats::bytes_written},
    {"atomics", &fakecuda_kernel::atomics, &KernelStats::atomics},
};

fakecuda_kernel to_c(const std::string &name, const KernelStats &stats)
{
    fakecuda_kernel kernel = {};

    snprintf(kernel.name, sizeof kernel.name, "%s", name.c_str());
    for (const KernelField &row : kernel_fields)
        kernel.*row.field = stats.*row.source;
    return kernel;
}

void append_number(std::string &line, const char *name, uint64_t value)
{
    line += std::string(" ") + name + "=" + std::to_string(value);
}

/* Adds the statistics since the last reset to those before it. */
void settle_statistics()
{
    for (const auto &entry : statistics()) {
        fakecuda_kernel &sum = state().earlier[entry.first];

        for (const KernelField &row : kernel_fields)
            sum.*row.field += entry.second.*row.source;
    }
    reset_statistics();
}

std::string statistics_text()
{
    std::string text = "fakecuda: runtime";

    for (const CountField &row : count_fields)
        append_number(text, row.name, counts().*row.field);
    text += "\n";
    settle_statistics();
    for (const auto &entry : state().earlier) {
        text += "fakecuda: kernel " + entry.first;
        for (const KernelField &row : kernel_fields)
            append_number(text, row.name, entry.second.*row.field);
        text += "\n";
    }
    return text;
}

/* One write, so that lines of several processes do not mix. */
__attribute__((destructor)) void print_statistics()
{
    const std::string &where = switches().stats;
    int file = STDERR_FILENO;

    if (where.empty())
        return;
    if (where != "1")
        file = open(where.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    const std::string text = statistics_text();
    if (file < 0 || write(file, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        fprintf(stderr, "fakecuda: cannot write statistics to %s\n", where.c_str());
    if (file > STDERR_FILENO)
        close(file);
}

} // namespace

std::recursive_mutex &runtime_lock()
{
    return state().lock;
}

fakecuda_counts &counts()
{
    return state().counts;
}

cudaError_t remember(cudaError_t error)
{
    if (error != cudaSuccess && error != cudaErrorNotReady)
        last_error = error;
    return error;
}

} // namespace fakecuda

using namespace fakecuda;

extern "C" {

cudaError_t cudaGetLastError(void)
{
    return std::exchange(last_error, cudaSuccess);
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

void fakecuda_counters(fakecuda_counts *out)
{
    std::lock_guard<std::recursive_mutex> guard(runtime_lock());
    *out = counts();
}

size_t fakecuda_kernels(fakecuda_kernel *out, size_t capacity)
{
    std::lock_guard<std::recursive_mutex> guard(runtime_lock());
    size_t count = 0;

    for (const auto &entry : statistics()) {
        if (count < capacity)
            out[count] = to_c(entry.first, entry.second);
        count++;
    }
    return count;
}

void fakecuda_reset_kernels(void)
{
    std::lock_guard<std::recursive_mutex> guard(runtime_lock());
    settle_statistics();
}

bool fakecuda_set(const char *name, const char *value)
{
    std::lock_guard<std::recursive_mutex> guard(runtime_lock());
    return set_switch(name, value);
}

void fakecuda_catch(char *line, size_t bytes)
{
    std::lock_guard<std::recursive_mutex> guard(runtime_lock());

    if (!line) {
        set_report_hook(nullptr);
        return;
    }
    *line = '\0';
    set_report_hook([line, bytes](const Report &fault) {
        if (*line == '\0') /* the first fault is the cause of later ones */
            snprintf(line, bytes, "%s", fault.line().c_str());
    });
}

bool fakecuda_has_cublas(void)
{
    std::lock_guard<std::recursive_mutex> guard(runtime_lock());
    return !switches().no_cublas;
}

} // extern "C"
