/*
 * What the cuda backend does when something fails: every allocation of the host and of the device,
 * every launch, a device that is lost, a program of another build. Linked with the backend's own
 * objects instead of the plugin, so that the host's allocations can be made to fail too.
 */
#include <stdlib.h>

#include "core/base/mem.h"
#include "kernels/cuda/cuda_internal.h"
#include "kernels/plugin.h"
#include "tests/fakecuda/fakecuda.h"
#include "tests/test.h"

enum { WIDTH = 16, ROWS = 4, VOCAB = 32, WALK_MAX = 400 };

um_status unmask_plugin_open(const umi_plugin_abi *program, const um_backend_options *options,
                             um_backend **out, um_err *err);

static um_status open_backend(um_backend **out, um_err *err)
{
    const umi_plugin_abi abi = UMI_PLUGIN_ABI;
    const um_backend_options options = {.name = "cuda"};

    return unmask_plugin_open(&abi, &options, out, err);
}

static uint64_t live(void)
{
    fakecuda_counts counts;

    fakecuda_counters(&counts);
    return counts.live_allocations + counts.live_objects;
}

/* ---- a little of everything --------------------------------------------------------------------- */

typedef struct world {
    um_backend *backend;
    um_weight *weight, *gated;
    um_tensor x, out, normed, gain, ids;
} world;

static um_status create_weights(world *w, um_err *err)
{
    static const float values[2 * WIDTH * WIDTH] = {1.0f}, bias[WIDTH] = {1.0f};
    um_weight_spec spec = {.kind = UM_WEIGHT_PLAIN, .dtype = UM_F32, .part_count = 1};
    um_status status;

    spec.parts[0] = um_tensor_host(UM_F32, WIDTH, WIDTH, values);
    spec.biases[0] = um_tensor_host(UM_F32, 1, WIDTH, bias);
    status = um_weight_create(w->backend, &spec, &w->weight, err);
    spec = (um_weight_spec){.kind = UM_WEIGHT_GATED, .dtype = UM_F32, .part_count = 2};
    spec.parts[0] = um_tensor_host(UM_F32, WIDTH, WIDTH, values);
    spec.parts[1] = um_tensor_host(UM_F32, WIDTH, WIDTH, values);
    if (status == UM_OK)
        status = um_weight_create(w->backend, &spec, &w->gated, err);
    return status;
}

static um_status create_tensors(world *w, um_err *err)
{
    um_status status = um_tensor_create(w->backend, UM_F32, ROWS, WIDTH, &w->x, err);

    if (status == UM_OK)
        status = um_tensor_create(w->backend, UM_F32, ROWS, WIDTH, &w->out, err);
    if (status == UM_OK)
        status = um_tensor_create(w->backend, UM_F32, ROWS, WIDTH, &w->normed, err);
    if (status == UM_OK)
        status = um_tensor_create(w->backend, UM_F32, 1, WIDTH, &w->gain, err);
    if (status == UM_OK)
        status = um_tensor_create(w->backend, UM_I32, 1, ROWS, &w->ids, err);
    return status;
}

static um_status create(world *w, um_err *err)
{
    const um_backend_limits limits = {
        .rows_max = ROWS, .sequence_max = ROWS, .width_max = 2 * WIDTH, .vocab_max = VOCAB};
    um_status status = open_backend(&w->backend, err);

    if (status == UM_OK)
        status = um_backend_reserve(w->backend, &limits, err);
    if (status == UM_OK)
        status = create_weights(w, err);
    return status == UM_OK ? create_tensors(w, err) : status;
}

static void destroy(world *w)
{
    if (!w->backend)
        return;
    um_weight_destroy(w->backend, w->weight);
    um_weight_destroy(w->backend, w->gated);
    um_tensor_destroy(w->backend, &w->x);
    um_tensor_destroy(w->backend, &w->out);
    um_tensor_destroy(w->backend, &w->normed);
    um_tensor_destroy(w->backend, &w->gain);
    um_tensor_destroy(w->backend, &w->ids);
    um_backend_close(w->backend);
    *w = (world){0};
}

/* Launches of every op of this file's backend but attention, score and select. */
static um_status run(world *w, um_err *err)
{
    um_embed_args embed = {.ids = &w->ids, .table = &w->x, .scale = 1.0f, .out = &w->out};
    um_rmsnorm_args rmsnorm = {.x = &w->out, .gain = &w->gain, .eps = 1e-5f, .out = &w->normed};
    um_layernorm_args layernorm = {.x = &w->out, .gain = &w->gain, .eps = 1e-5f, .out = &w->out};
    um_linear_args linear = {.x = &w->normed, .weight = w->weight, .accumulate = true};
    um_linear_args gated = {.x = &w->normed, .weight = w->gated, .out = &w->out};
    um_mix_args mix = {.x = &w->out,
                       .conditional = &w->ids,
                       .unconditional = &w->ids,
                       .scales = &w->gain,
                       .out = &w->normed};
    um_tensor q = um_tensor_view(&w->x, 0, ROWS, 0, 4), k = um_tensor_view(&w->x, 0, ROWS, 4, 2);
    um_tensor v = um_tensor_view(&w->x, 0, ROWS, 8, 2),
              qkv = um_tensor_view(&w->out, 0, ROWS, 0, 8);
    um_rope_args rope = {
        .qkv = &qkv, .heads = 2, .kv_heads = 1, .head_dim = 2, .q = &q, .k = &k, .v = &v};
    float host[ROWS * WIDTH];
    um_status status = um_op_embed(w->backend, &embed, err);

    linear.out = &w->out;
    if (status == UM_OK)
        status = um_op_rmsnorm(w->backend, &rmsnorm, err);
    if (status == UM_OK)
        status = um_op_layernorm(w->backend, &layernorm, err);
    if (status == UM_OK)
        status = um_op_linear(w->backend, &linear, err);
    if (status == UM_OK)
        status = um_op_linear(w->backend, &gated, err);
    if (status == UM_OK)
        status = um_op_mix(w->backend, &mix, err);
    if (status == UM_OK)
        status = um_op_rope(w->backend, &rope, err);
    return status == UM_OK ? um_tensor_download(w->backend, &w->out, host, ROWS * WIDTH, err)
                           : status;
}

/* ---- the walks ---------------------------------------------------------------------------------- */

/* Makes a world and runs it with failure number n; how it went. */
typedef um_status (*attempt_fn)(int n, um_err *err);

/* For n = 1, 2, ... until nothing fails any more: each failure is `expected` with a message, and
 * leaves nothing behind. At least `least` things can fail. */
static void walk(attempt_fn attempt, um_status expected, int least)
{
    for (int n = 1; n < WALK_MAX; n++) {
        um_err err = {0};
        um_status status = attempt(n, &err);

        UM_CHECK_INT(live(), 0);
        if (status == UM_OK) {
            if (n <= least)
                um_test_fail(__FILE__, __LINE__, "only %d things failed, expected %d", n - 1,
                             least);
            return;
        }
        UM_CHECK_STATUS(status, expected);
        UM_CHECK(err.message[0] != '\0');
    }
    um_test_fail(__FILE__, __LINE__, "still failing at %d", WALK_MAX);
}

static um_status attempt_all(um_err *err)
{
    world w = {0};
    um_status status = create(&w, err);

    if (status == UM_OK)
        status = run(&w, err);
    destroy(&w);
    return status;
}

static um_status fail_host_allocation(int n, um_err *err)
{
    um_status status;

    um_mem_fail_after(n);
    status = attempt_all(err);
    if (status == UM_OK)
        UM_CHECK(um_mem_fail_pending()); /* a failure that nobody noticed */
    um_mem_fail_after(0);
    return status;
}

static um_status fail_switch(const char *name, int n, um_err *err)
{
    char value[16];
    um_status status;

    snprintf(value, sizeof(value), "%d", n);
    UM_CHECK(fakecuda_set(name, value));
    status = attempt_all(err);
    UM_CHECK(fakecuda_set(name, "0"));
    return status;
}

static um_status fail_device_allocation(int n, um_err *err)
{
    return fail_switch("FAIL_ALLOC", n, err);
}

static um_status fail_launch(int n, um_err *err)
{
    return fail_switch("FAIL_LAUNCH", n, err);
}

static void every_host_allocation_may_fail(void)
{
    walk(fail_host_allocation, UM_E_NOMEM, 6);
}

static void every_device_allocation_may_fail(void)
{
    walk(fail_device_allocation, UM_E_NOMEM, 20);
}

static void every_launch_may_fail(void)
{
    walk(fail_launch, UM_E_DEVICE, 8);
}

/* ---- the rest ------------------------------------------------------------------------------------ */

static void another_build_is_refused(void)
{
    const um_backend_options options = {.name = "cuda"};
    umi_plugin_abi abi = UMI_PLUGIN_ABI;
    um_backend *backend = NULL;
    um_err err = {0};

    abi.sizes[0] += 8;
    UM_CHECK_STATUS(unmask_plugin_open(&abi, &options, &backend, &err), UM_E_UNSUPPORTED);
    UM_CHECK_STR(err.message, "the plugin and the program are of different builds");
    UM_CHECK(backend == NULL);
    for (size_t i = 0; i < UM_COUNT_OF(abi.sizes); i++)
        UM_CHECK(abi.sizes[i] > 0); /* every place of the table is used */
}

static void a_failed_call_is_named(void)
{
    world w = {0};
    um_err err = {0};

    UM_CHECK_OK(create(&w, &err), err);
    UM_CHECK(fakecuda_set("FAIL_LAUNCH", "1"));
    UM_CHECK_STATUS(run(&w, &err), UM_E_DEVICE);
    UM_CHECK(strncmp(err.message, "umi_launch_embed failed: ", 25) == 0);
    destroy(&w);
}

/* A fault that no later call survives is told apart from one that went by. */
static void a_lost_device_is_called_lost(void)
{
    um_err err = {0};

    UM_CHECK_STATUS(umi_cuda_status(cudaErrorIllegalAddress, "cudaStreamSynchronize(s)", &err),
                    UM_E_DEVICE);
    UM_CHECK(strncmp(err.message, "CUDA device lost: cudaStreamSynchronize failed: ", 48) == 0);
    UM_CHECK_STATUS(umi_cuda_status(cudaErrorInvalidValue, "cudaMemcpyAsync(a, b)", &err),
                    UM_E_DEVICE);
    UM_CHECK(strncmp(err.message, "cudaMemcpyAsync failed: ", 24) == 0);
    UM_CHECK_STATUS(umi_cuda_status(cudaErrorMemoryAllocation, "cudaMalloc(a, b)", &err),
                    UM_E_NOMEM);
    UM_CHECK_STATUS(umi_cuda_status(cudaSuccess, "cudaMalloc(a, b)", &err), UM_OK);
}

static const um_test tests[] = {
    UM_TEST(a_lost_device_is_called_lost),     UM_TEST(every_host_allocation_may_fail),
    UM_TEST(every_device_allocation_may_fail), UM_TEST(every_launch_may_fail),
    UM_TEST(another_build_is_refused),         UM_TEST(a_failed_call_is_named),
};
UM_TEST_MAIN(tests)
