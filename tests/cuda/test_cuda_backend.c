/*
 * The host side of the cuda backend on the fake device: what opening says and needs, copies of any
 * size in any order of execution, weights that do not fit the staging, the tuning table, batch
 * invariance on a device whose algorithms differ by shape, and what a steady state costs.
 */
#include <stdlib.h>

#include "core/base/mem.h"
#include "tests/cuda/fake.h"
#include "tests/ops/ops_fixture.h"

enum { WIDTH = 64, ROWS_MAX = 300 };

static um_backend *open_with(bool batch_invariant)
{
    const um_backend_limits limits = {
        .rows_max = ROWS_MAX, .sequence_max = 64, .width_max = 1100, .vocab_max = 64};
    um_backend_options options = {
        .name = "cuda", .plugin = fake_plugin(), .batch_invariant = batch_invariant};
    um_backend *backend = NULL;
    um_err err = {0};

    UM_CHECK_OK(um_backend_open(&options, &backend, &err), err);
    if (!backend)
        UM_FATAL(err.message);
    UM_CHECK_OK(um_backend_reserve(backend, &limits, &err), err);
    return backend;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void it_says_what_it_is(void)
{
    um_backend *backend = open_with(false);

    UM_CHECK(strncmp(um_backend_name(backend), "cuda-sm_", 8) == 0);
    UM_CHECK(strncmp(um_backend_describe(backend), "cuda, ", 6) == 0);
    UM_CHECK(strstr(um_backend_describe(backend), "GiB, driver 13.") != NULL);
    UM_CHECK(strstr(um_backend_describe(backend), "tile 64 MiB") != NULL);
    UM_CHECK(!um_backend_is_host(backend));
    UM_CHECK(!um_backend_is_batch_invariant(backend));
    UM_CHECK_INT(um_backend_step_rows(backend), 2048);
    um_backend_close(backend);
    UM_CHECK_INT(fake_counts().live_allocations, 0);
    UM_CHECK_INT(fake_counts().live_objects, 0);
}

/* Asked for: an error with the reason. Left to us: cpu. */
static void check_absent(const char *plugin, const char *reason)
{
    um_backend_options options = {.name = "cuda", .plugin = plugin, .threads = 1};
    um_backend *backend = NULL;
    um_err err = {0};

    UM_CHECK_STATUS(um_backend_open(&options, &backend, &err), UM_E_NOT_FOUND);
    UM_CHECK(backend == NULL);
    UM_CHECK(strstr(err.message, "backend cuda cannot run: ") == err.message);
    if (!strstr(err.message, reason))
        um_test_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", err.message, reason);
    options.name = "auto";
    UM_CHECK_OK(um_backend_open(&options, &backend, &err), err);
    UM_CHECK(um_backend_is_host(backend));
    um_backend_close(backend);
}

static void without_a_device_auto_is_cpu(void)
{
    setenv("FAKECUDA_NO_DEVICE", "1", 1);
    check_absent(fake_plugin(), "no CUDA driver is installed");
    UM_CHECK_INT(fake_counts().pinned_allocations, 0);
}

static void without_cublas_auto_is_cpu(void)
{
    setenv("FAKECUDA_NO_CUBLAS", "1", 1);
    check_absent(fake_plugin(), "cublas");
    UM_CHECK_INT(fake_counts().live_objects, 0);
}

#ifdef UM_CUDA_PLUGIN
/* The plugin that ships, on a machine without a driver, or with one that shows no device. */
static void the_plugin_that_ships_says_why_it_cannot_run(void)
{
    setenv("CUDA_VISIBLE_DEVICES", "", 1);
    check_absent(UM_CUDA_PLUGIN, "no CUDA d");
}
#endif

static void auto_takes_the_device_unless_a_level_is_asked_for(void)
{
    um_backend_options options = {.name = "auto", .plugin = fake_plugin(), .threads = 1};
    um_backend *backend = NULL;
    um_err err = {0};

    UM_CHECK_OK(um_backend_open(&options, &backend, &err), err);
    UM_CHECK(!um_backend_is_host(backend));
    um_backend_close(backend);
    options.isa = "portable";
    UM_CHECK_OK(um_backend_open(&options, &backend, &err), err);
    UM_CHECK_STR(um_backend_name(backend), "cpu-portable");
    um_backend_close(backend);
    options.name = "cuda";
    UM_CHECK_STATUS(um_backend_open(&options, &backend, &err), UM_E_CONFLICT);
}

/* ---- copies ----------------------------------------------------------------------------------- */

static unsigned char byte_at(size_t i, unsigned seed)
{
    return (unsigned char)((i * 2654435761u >> 13) + seed);
}

/* Sends `bytes`, spoils the source at once, and has them back. */
static void check_copy(um_backend *backend, size_t bytes)
{
    um_tensor tensor;
    um_err err = {0};
    unsigned char *host = um_mem_alloc_aligned(bytes);
    size_t wrong = 0;

    UM_ASSERT(host);
    UM_CHECK_OK(um_tensor_create(backend, UM_BYTES, 1, (int64_t)bytes, &tensor, &err), err);
    UM_CHECK_OK(um_tensor_download(backend, &tensor, host, (int64_t)bytes, &err), err);
    for (size_t i = 0; i < bytes; i++)
        wrong += host[i] != 0;
    UM_CHECK_INT(wrong, 0); /* zeroed */
    for (size_t i = 0; i < bytes; i++)
        host[i] = byte_at(i, 1);
    UM_CHECK_OK(um_tensor_upload(backend, &tensor, host, (int64_t)bytes, &err), err);
    memset(host, 0xee, bytes);
    UM_CHECK_OK(um_tensor_download(backend, &tensor, host, (int64_t)bytes, &err), err);
    for (size_t i = 0; i < bytes; i++)
        wrong += host[i] != byte_at(i, 1);
    UM_CHECK_INT(wrong, 0);
    um_tensor_destroy(backend, &tensor);
    um_mem_free_aligned(host, bytes);
}

static void check_copies(void)
{
    static const size_t sizes[] = {1, 3, 4096, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 13 << 20};
    um_backend *backend = open_with(false);

    for (size_t i = 0; i < UM_COUNT_OF(sizes); i++)
        check_copy(backend, sizes[i]);
    um_backend_close(backend);
}

static void copies_of_any_size_arrive(void)
{
    check_copies();
}

/* Nothing runs before something waits for it: a staging half that is filled again too early, or a
 * download that does not wait, shows. */
static void copies_arrive_when_the_device_is_late(void)
{
    setenv("FAKECUDA_LAZY", "1", 1);
    setenv("FAKECUDA_TRAP", "1", 1);
    check_copies();
}

/* Many small uploads in a row fill one half after the other. */
static void uploads_in_a_row_keep_their_order(void)
{
    enum { COUNT = 100, BYTES = 250 << 10 };
    static unsigned char host[BYTES];
    um_backend *backend;
    um_tensor tensor;
    um_err err = {0};
    int wrong = 0;

    setenv("FAKECUDA_LAZY", "1", 1);
    backend = open_with(false);
    UM_CHECK_OK(um_tensor_create(backend, UM_BYTES, COUNT, BYTES, &tensor, &err), err);
    for (int i = 0; i < COUNT; i++) {
        um_tensor row = um_tensor_view(&tensor, i, 1, 0, BYTES);

        memset(host, i, BYTES);
        UM_CHECK_OK(um_tensor_upload(backend, &row, host, BYTES, &err), err);
    }
    for (int i = 0; i < COUNT; i++) {
        um_tensor row = um_tensor_view(&tensor, i, 1, 0, BYTES);

        UM_CHECK_OK(um_tensor_download(backend, &row, host, BYTES, &err), err);
        wrong += host[0] != i || host[BYTES - 1] != i;
    }
    UM_CHECK_INT(wrong, 0);
    um_tensor_destroy(backend, &tensor);
    um_backend_close(backend);
}

/* ---- products ---------------------------------------------------------------------------------- */

/* A weight of one part and an input of ROWS_MAX rows. */
typedef struct layer {
    um_backend *backend;
    um_weight *weight;
    ops_matrix x, out;
} layer;

static layer make_layer(um_backend *backend, um_dtype dtype, int64_t in, int64_t out)
{
    ops_matrix part = ops_make(NULL, UM_F32, out, in, OPS_TIGHT);
    um_weight_spec spec = {.kind = UM_WEIGHT_PLAIN, .dtype = dtype, .part_count = 1};
    layer l = {.backend = backend};
    um_err err = {0};

    ops_fill(&part, 5, 1.0f);
    spec.parts[0] = part.host;
    UM_CHECK_OK(um_weight_create(backend, &spec, &l.weight, &err), err);
    ops_free(&part);
    l.x = ops_make(backend, dtype, ROWS_MAX, in, OPS_TIGHT);
    l.out = ops_make(backend, UM_F32, ROWS_MAX, out, OPS_TIGHT);
    ops_fill(&l.x, 6, 1.0f);
    return l;
}

static void discard_layer(layer *l)
{
    ops_free(&l->out);
    ops_free(&l->x);
    um_weight_destroy(l->backend, l->weight);
}

/* The product of the first `rows` rows; launches only. */
static void run_layer(const layer *l, int64_t rows)
{
    um_tensor x = um_tensor_view(&l->x.view, 0, rows, 0, l->x.view.cols);
    um_tensor out = um_tensor_view(&l->out.view, 0, rows, 0, l->out.view.cols);
    um_linear_args args = {.x = &x, .weight = l->weight, .out = &out};
    um_err err = {0};

    UM_CHECK_OK(um_op_linear(l->backend, &args, &err), err);
}

/* One row of the weight alone is more than the staging holds, so it is sent in pieces. */
static void a_weight_row_may_be_longer_than_the_staging(void)
{
    enum { LONG = (1 << 20) + 77 };
    const um_backend_limits limits = {
        .rows_max = 2, .sequence_max = 2, .width_max = LONG, .vocab_max = 8};
    um_backend *backend = open_with(false);
    um_err err = {0};
    layer l;

    UM_CHECK_OK(um_backend_reserve(backend, &limits, &err), err);
    l = (layer){.backend = backend, .x = ops_make(backend, UM_F32, 1, LONG, OPS_TIGHT)};
    l.out = ops_make(backend, UM_F32, 1, 2, OPS_TIGHT);
    for (int64_t i = 0; i < LONG; i++) /* picks three columns */
        ops_set(&l.x.host, 0, i, i == 0 || i == 1 << 20 || i == LONG - 1 ? 1.0f : 0.0f);
    ops_upload(&l.x);
    {
        ops_matrix part = ops_make(NULL, UM_F32, 2, LONG, OPS_TIGHT);
        um_weight_spec spec = {.kind = UM_WEIGHT_PLAIN, .dtype = UM_F32, .part_count = 1};

        for (int64_t i = 0; i < LONG; i++) {
            ops_set(&part.host, 0, i, (float)i);
            ops_set(&part.host, 1, i, (float)(2 * i + 1));
        }
        spec.parts[0] = part.host;
        UM_CHECK_OK(um_weight_create(backend, &spec, &l.weight, &err), err);
        ops_free(&part);
    }
    run_layer(&l, 1);
    ops_download(&l.out, "long row");
    UM_CHECK_NEAR(ops_get(&l.out.host, 0, 0), (1 << 20) + LONG - 1, 0.5);
    UM_CHECK_NEAR(ops_get(&l.out.host, 0, 1), 3 + 2 * ((1 << 20) + LONG - 1), 0.5);
    discard_layer(&l);
    um_backend_close(backend);
}

/* Does row 0 have the same bits whatever the number of rows is? */
static bool row_is_invariant(bool batch_invariant, um_dtype dtype)
{
    static const int64_t counts[] = {2, 8, 9, 31, 33, 100, 257, ROWS_MAX};
    um_backend *backend = open_with(batch_invariant);
    layer l = make_layer(backend, dtype, 1024, 24);
    ops_matrix alone = ops_make(NULL, UM_F32, 1, 24, OPS_TIGHT);
    bool same = true;

    UM_CHECK(um_backend_is_batch_invariant(backend) == batch_invariant);
    run_layer(&l, 1);
    ops_download(&l.out, "one row");
    memcpy(um_f32_row(&alone.host, 0), um_f32_row(&l.out.host, 0), 24 * sizeof(float));
    for (size_t i = 0; i < UM_COUNT_OF(counts); i++) {
        run_layer(&l, counts[i]);
        ops_download(&l.out, "more rows");
        same = same && ops_same_row(&alone.host, 0, &l.out.host, 0);
    }
    ops_free(&alone);
    discard_layer(&l);
    um_backend_close(backend);
    return same;
}

/* The device chooses another order of summation for few rows: without the option that shows (or
 * this test would prove nothing), with it no more. */
static void batch_invariant_pins_one_order_of_summation(void)
{
    setenv("FAKECUDA_SPLITS", "shape", 1);
    UM_CHECK(!row_is_invariant(false, UM_F32));
    UM_CHECK(row_is_invariant(true, UM_F32));
    UM_CHECK(!row_is_invariant(false, UM_BF16));
    UM_CHECK(row_is_invariant(true, UM_BF16));
}

/* ---- what a steady state costs ------------------------------------------------------------------ */

static void a_bucket_is_tuned_once(void)
{
    um_backend *backend = open_with(false);
    layer l = make_layer(backend, UM_BF16, WIDTH, WIDTH);
    fakecuda_counts before, after;

    run_layer(&l, 1);
    before = fake_counts();
    run_layer(&l, 8); /* the bucket of 1 */
    after = fake_counts();
    UM_CHECK_INT(after.objects_created, before.objects_created);
    run_layer(&l, 9); /* another: one question to the heuristic */
    UM_CHECK_INT(fake_counts().objects_created, after.objects_created + 1);
    run_layer(&l, ROWS_MAX);
    after = fake_counts();
    for (int64_t rows = 257; rows <= ROWS_MAX; rows++)
        run_layer(&l, rows);
    UM_CHECK_INT(fake_counts().objects_created, after.objects_created);
    UM_CHECK_INT(fake_counts().matmuls, before.matmuls + 3 + ROWS_MAX - 256);
    discard_layer(&l);
    um_backend_close(backend);
}

/* Upload, ops, download as a step does: one wait, and nothing allocated or made. */
static void a_step_waits_once_and_allocates_nothing(void)
{
    um_backend *backend = open_with(false);
    layer l = make_layer(backend, UM_BF16, WIDTH, WIDTH);
    fakecuda_counts before = {0}, after;
    float host[WIDTH];
    um_err err = {0};

    for (int step = 0; step < 20; step++) {
        um_tensor row = um_tensor_view(&l.out.view, 0, 1, 0, WIDTH);

        if (step == 1)
            before = fake_counts();
        UM_CHECK_OK(um_tensor_upload(backend, &row, host, WIDTH, &err), err);
        run_layer(&l, 20);
        UM_CHECK_OK(um_tensor_download(backend, &row, host, WIDTH, &err), err);
    }
    after = fake_counts();
    UM_CHECK_INT(after.host_waits - before.host_waits, 19);
    UM_CHECK_INT(after.copies_to_device - before.copies_to_device, 19);
    UM_CHECK_INT(after.copies_to_host - before.copies_to_host, 19);
    UM_CHECK_INT(after.device_allocations, before.device_allocations);
    UM_CHECK_INT(after.pinned_allocations, before.pinned_allocations);
    UM_CHECK_INT(after.objects_created, before.objects_created);
    discard_layer(&l);
    um_backend_close(backend);
}

static void its_peak_is_measured(void)
{
    um_backend *backend = open_with(false);
    fakecuda_counts before = fake_counts();
    um_peak peak;
    um_err err = {0};

    UM_CHECK_OK(um_backend_measure_peak(backend, 0.01, &peak, &err), err);
    UM_CHECK(peak.f32_flops > 0);
    UM_CHECK(peak.bf16_flops > 0);
    UM_CHECK(peak.read_bytes > 0);
    UM_CHECK_INT(fake_counts().live_allocations, before.live_allocations);
    um_backend_close(backend);
}

static const um_test tests[] = {
    UM_TEST(it_says_what_it_is),
    UM_TEST(without_a_device_auto_is_cpu),
    UM_TEST(without_cublas_auto_is_cpu),
#ifdef UM_CUDA_PLUGIN
    UM_TEST(the_plugin_that_ships_says_why_it_cannot_run),
#endif
    UM_TEST(auto_takes_the_device_unless_a_level_is_asked_for),
    UM_TEST(copies_of_any_size_arrive),
    UM_TEST(copies_arrive_when_the_device_is_late),
    UM_TEST(uploads_in_a_row_keep_their_order),
    UM_TEST(a_weight_row_may_be_longer_than_the_staging),
    UM_TEST(batch_invariant_pins_one_order_of_summation),
    UM_TEST(a_bucket_is_tuned_once),
    UM_TEST(a_step_waits_once_and_allocates_nothing),
    UM_TEST(its_peak_is_measured),
};
UM_TEST_MAIN(tests)
