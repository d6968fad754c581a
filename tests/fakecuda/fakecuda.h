/*
 * What a test may ask of the fake device, from C. Linked into a test program these are plain
 * functions; a program that opened unmask-cuda-fake.so finds them there with dlsym. Any thread.
 */
#ifndef FAKECUDA_FAKECUDA_H
#define FAKECUDA_FAKECUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FAKECUDA_API __attribute__((visibility("default")))

/* Totals since the start, but where a comment says otherwise. Tests compare two readings. */
typedef struct fakecuda_counts {
    uint64_t live_allocations; /* device and pinned, now */
    uint64_t live_objects;     /* streams, events, cuBLASLt handles and descriptors, now */
    uint64_t device_allocations;
    uint64_t pinned_allocations;
    uint64_t objects_created;
    uint64_t frees;
    uint64_t device_bytes;      /* now */
    uint64_t device_bytes_peak; /* most at any time */
    uint64_t largest_allocation;
    uint64_t launches; /* kernels; cuBLASLt products count as matmuls */
    uint64_t matmuls;
    uint64_t memsets;
    uint64_t host_waits; /* calls in which the host waited for the device */
    uint64_t copies_to_device;
    uint64_t bytes_to_device;
    uint64_t copies_to_host;
    uint64_t bytes_to_host;
    uint64_t copies_on_device;
    uint64_t bytes_on_device;
} fakecuda_counts;

FAKECUDA_API void fakecuda_counters(fakecuda_counts *out);

/* Exact and repeatable work of one kernel over all of its launches. */
typedef struct fakecuda_kernel {
    char name[128]; /* demangled, without arguments: "attend<64>" */
    uint64_t launches;
    uint64_t blocks;
    uint64_t warp_instructions;
    uint64_t mma;
    uint64_t barriers;
    uint64_t shared_waves; /* shared memory passes; = shared_ideal without bank conflicts */
    uint64_t shared_ideal;
    uint64_t global_sectors; /* 32-byte sectors; = global_ideal when fully coalesced */
    uint64_t global_ideal;
    uint64_t bytes_read;
    uint64_t bytes_written;
    uint64_t atomics;
} fakecuda_kernel;

/* Fills up to `capacity` entries in the order of names; how many there are. */
FAKECUDA_API size_t fakecuda_kernels(fakecuda_kernel *out, size_t capacity);
/* Counts anew; what FAKECUDA_STATS prints at the end is of the whole run all the same. */
FAKECUDA_API void fakecuda_reset_kernels(void);

/* Sets a switch as the environment variable FAKECUDA_<name> would at the start ("FAIL_ALLOC", "3");
 * counts of failing calls start anew. False: no such switch, or a bad value. */
FAKECUDA_API bool fakecuda_set(const char *name, const char *value);

/* From now on the line of a fault is put here instead of ending the program, and the call at fault
 * fails; "" until then. NULL: as before. */
FAKECUDA_API void fakecuda_catch(char *line, size_t bytes);

/* False with FAKECUDA_NO_CUBLAS. */
FAKECUDA_API bool fakecuda_has_cublas(void);

#ifdef __cplusplus
}
#endif

#endif
