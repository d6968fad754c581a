/*
 * The cuda backend on the fake device, for tests of its kernels: opens the plugin that ships with
 * the runtime of tests/fakecuda below it, and asks that runtime what it saw.
 */
#ifndef UM_TESTS_CUDA_FAKE_H
#define UM_TESTS_CUDA_FAKE_H

#include "kernels/ops.h"

#include "tests/fakecuda/fakecuda.h"

/* Path of the plugin: UM_CUDA_TEST_PLUGIN where that is set (scripts/gpu_check), which has no fake
 * runtime to ask. */
const char *fake_plugin(void);
/* Ends the test with a message when it cannot. Close with um_backend_close. */
um_backend *fake_open(void);
um_backend *fake_open_tile(size_t tile_bytes); /* 0: the default */

fakecuda_counts fake_counts(void);
void fake_reset_kernels(void);
/* Sums over the instances of a kernel, whose names contain that; zero when none ran. */
fakecuda_kernel fake_kernel(const char *name);
void fake_set(const char *name, const char *value);

#endif
