/*
 * core/model: tensors checked against what a family needs, packing from a checkpoint or from a
 * generator, what inspect says, and that no allocation failure or give-up leaks.
 */
#include "core/model/weights.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/mem.h"
#include "core/model/model.h"
#include "core/model/synthetic.h"
#include "tests/support/ref_backend.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/test.h"

static void make_tiny(char *dir, const um_tiny_options *options)
{
    um_err err = {0};

    um_temp_dir_make(dir);
    UM_CHECK_OK(um_tiny_checkpoint_write(dir, options, &err), err);
}

/* Replaces the config of a tiny checkpoint by that of other options: its tensors do not fit. */
static void make_unfit(char *dir, const um_tiny_options *written, const um_tiny_options *claimed)
{
    char other[UM_TEMP_PATH_BYTES], from[UM_TEMP_PATH_BYTES + 32], to[UM_TEMP_PATH_BYTES + 32];

    make_tiny(dir, written);
    make_tiny(other, claimed);
    snprintf(from, sizeof(from), "%s/config.json", other);
    snprintf(to, sizeof(to), "%s/config.json", dir);
    UM_CHECK_INT(rename(from, to), 0);
    um_temp_dir_remove(other);
}

/* ---- checking ------------------------------------------------------------------------------- */

static void one_error_names_every_missing_and_misshapen_tensor(void)
{
    static const um_tiny_options written = {.mlp_width = 24, .layers = 1};
    static const um_tiny_options claimed = {.mlp_width = 32, .layers = 1, .qkv_bias = true};
    static const char expected[] = "model.transformer.blocks.0.q_proj.bias is missing\n"
                                   "model.transformer.blocks.0.k_proj.bias is missing\n"
                                   "model.transformer.blocks.0.v_proj.bias is missing\n"
                                   "model.transformer.blocks.0.ff_proj.weight is [24, 16], "
                                   "expected [32, 16]\n"
                                   "model.transformer.blocks.0.up_proj.weight is [24, 16], "
                                   "expected [32, 16]\n"
                                   "model.transformer.blocks.0.ff_out.weight is [16, 24], "
                                   "expected [16, 32]";
    um_model_report report;
    um_model *model = NULL;
    um_model_options options = {0};
    um_backend *backend = um_ref_backend_open();
    um_err err = {0};
    char dir[UM_TEMP_PATH_BYTES];

    make_unfit(dir, &written, &claimed);
    UM_CHECK_OK(um_model_inspect(dir, &(um_model_dir_options){0}, &report, &err), err);
    UM_CHECK_STATUS(report.problem.status, UM_E_FORMAT);
    UM_CHECK_STR(report.tensor_problems, expected);
    UM_CHECK_INT(report.tensor_count, 12);
    um_model_report_deinit(&report);
    UM_CHECK_STATUS(um_model_open(dir, backend, &options, &model, &err), UM_E_FORMAT);
    UM_CHECK(model == NULL);
    UM_CHECK(strstr(err.message, dir) != NULL);
    UM_CHECK(strstr(err.message, "6 of 15 tensors are missing or unfit: ") != NULL);
    UM_CHECK(strstr(err.message, "q_proj.bias is missing;model.transformer.blocks.0.k_p") != NULL);
    um_backend_close(backend);
    um_temp_dir_remove(dir);
}

static void a_long_list_of_problems_is_cut_in_the_message_only(void)
{
    static const um_tiny_options written = {.layers = 2}, claimed = {.layers = 20};
    um_model_report report;
    um_err err = {0};
    char dir[UM_TEMP_PATH_BYTES];
    size_t lines = 1;

    make_unfit(dir, &written, &claimed);
    UM_CHECK_OK(um_model_inspect(dir, &(um_model_dir_options){0}, &report, &err), err);
    UM_CHECK_INT(strlen(report.problem.message), UM_ERR_MESSAGE_BYTES - 1);
    UM_CHECK(strstr(report.problem.message, "162 of 183 tensors") != NULL);
    for (const char *c = report.tensor_problems; *c; c++)
        lines += *c == '\n';
    UM_CHECK_INT(lines, 162);
    um_model_report_deinit(&report);
    um_temp_dir_remove(dir);
}

static void integer_tensors_are_no_weights(void)
{
    static const char file[] = "\x40\0\0\0\0\0\0\0"
                               "{\"w\":{\"dtype\":\"I16\",\"shape\":[2,1],\"data_offsets\":[0,4]}}"
                               "        data";
    um_checkpoint *checkpoint = NULL;
    um_tensor_list list = {0};
    um_err err = {0};

    UM_CHECK_OK(um_checkpoint_parse(file, sizeof(file) - 1, "f", &checkpoint, &err), err);
    UM_CHECK_OK(um_tensor_list_add(&list, UM_ROLE_HEAD, 0, 2, 1, &err, "%s", "w"), err);
    UM_CHECK_STATUS(um_weights_check(checkpoint, &list, NULL, &err), UM_E_FORMAT);
    UM_CHECK(strstr(err.message, "w is I16, expected F32, BF16 or F16") != NULL);
    um_tensor_list_deinit(&list);
    um_checkpoint_close(checkpoint);
}

static void unused_tensors_are_counted_and_the_first_are_named(void)
{
    static const um_tiny_options written = {.qkv_bias = true, .qk_norm = true}, claimed = {0};
    um_checkpoint *checkpoint = NULL;
    um_model_report report;
    um_tensor_list list = {0};
    um_buf names = {0};
    um_err err = {0};
    char dir[UM_TEMP_PATH_BYTES];

    make_unfit(dir, &written, &claimed);
    UM_CHECK_OK(um_model_inspect(dir, &(um_model_dir_options){0}, &report, &err), err);
    UM_CHECK_OK(report.problem.status, report.problem); /* a warning, no more */
    UM_CHECK_INT(report.unknown_count, 10);
    UM_CHECK_OK(um_checkpoint_open(dir, &checkpoint, &err), err);
    UM_CHECK_OK(report.family->list_tensors(&report.config, &list, &err), err);
    UM_CHECK_INT(um_weights_unknown(checkpoint, &list, &names), 10);
    UM_CHECK_STR(um_buf_view(&names), "model.transformer.blocks.0.k_norm.weight, "
                                      "model.transformer.blocks.0.k_proj.bias, "
                                      "model.transformer.blocks.0.q_norm.weight");
    um_buf_deinit(&names);
    um_tensor_list_deinit(&list);
    um_checkpoint_close(checkpoint);
    um_model_report_deinit(&report);
    um_temp_dir_remove(dir);
}

static void inspect_tells_size_and_need_without_loading(void)
{
    static const um_tiny_options options = {.dtype = UM_BF16, .shards = 2, .tied_head = true};
    enum { MATRICES = 2 * (4 * 16 * 16 + 3 * 16 * 24), TABLE = 40 * 16, VECTORS = 5 * 16 };
    um_model_report report;
    um_err err = {0};
    char dir[UM_TEMP_PATH_BYTES];

    make_tiny(dir, &options);
    UM_CHECK_OK(um_model_inspect(dir, &(um_model_dir_options){0}, &report, &err), err);
    UM_CHECK_OK(report.problem.status, report.problem);
    UM_CHECK_STR(report.architecture, "LLaDAModelLM");
    UM_CHECK_STR(report.family->name, "llada");
    UM_CHECK_STR(report.dtype_name, "BF16");
    UM_CHECK_INT(report.file_count, 2);
    UM_CHECK_INT(report.tensor_count, 20);
    UM_CHECK_INT(report.parameters, MATRICES + TABLE + VECTORS);
    UM_CHECK_INT(report.need_f32_bytes, 4 * (MATRICES + 2 * TABLE + VECTORS));
    UM_CHECK_INT(report.need_bf16_bytes, 2 * (MATRICES + 2 * TABLE) + 4 * VECTORS);
    UM_CHECK(report.checkpoint_bytes > 2 * (MATRICES + TABLE + VECTORS));
    um_model_report_deinit(&report);
    um_temp_dir_remove(dir);
}

/* ---- sources -------------------------------------------------------------------------------- */

/* A header of odd length: what follows is not aligned to its element. */
static void misaligned_data_is_copied_before_use(void)
{
    static const char header[] =
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}";
    static const float values[3] = {1.5f, -2.0f, 3.25f};
    um_tensor_need need = {.role = UM_ROLE_FINAL_NORM, .rows = 1, .cols = 3, .name = "w"};

    for (size_t pad = 0; pad < 4; pad++) {
        um_checkpoint *checkpoint = NULL;
        um_tensor_source source;
        um_tensor tensor = {0};
        um_buf bytes = {0};
        um_err err = {0};

        um_buf_char(&bytes, (char)(sizeof(header) - 1 + pad));
        um_buf_append(&bytes, "\0\0\0\0\0\0\0", 7);
        um_buf_text(&bytes, header);
        um_buf_append(&bytes, "   ", pad);
        um_buf_append(&bytes, values, sizeof(values));
        UM_CHECK_OK(um_checkpoint_parse(bytes.data, bytes.length, "f", &checkpoint, &err), err);
        source = um_checkpoint_source(checkpoint);
        UM_CHECK_OK(source.get(source.context, &need, &tensor, &err), err);
        UM_CHECK_INT((uintptr_t)tensor.data % sizeof(float), 0);
        UM_CHECK(memcmp(tensor.data, values, sizeof(values)) == 0);
        source.release(source.context, &need, &tensor);
        um_checkpoint_close(checkpoint);
        um_buf_deinit(&bytes);
    }
}

static void generated_weights_keep_their_scale_and_repeat(void)
{
    um_dtype dtype = UM_F32;
    um_tensor_source source = um_synthetic_source(&dtype);
    um_tensor_need matrix = {.role = UM_ROLE_UP, .layer = 3, .rows = 300, .cols = 200};
    um_tensor_need norm = {.role = UM_ROLE_MLP_NORM, .layer = 3, .rows = 1, .cols = 200};
    um_tensor_need bias = {.role = UM_ROLE_UP_BIAS, .layer = 3, .rows = 1, .cols = 200};
    um_tensor first, again, ones, zeros;
    um_err err = {0};
    double sum = 0, squares = 0;

    UM_CHECK_OK(source.get(source.context, &matrix, &first, &err), err);
    UM_CHECK_OK(source.get(source.context, &matrix, &again, &err), err);
    UM_CHECK_OK(source.get(source.context, &norm, &ones, &err), err);
    UM_CHECK_OK(source.get(source.context, &bias, &zeros, &err), err);
    for (int i = 0; i < 300 * 200; i++) {
        double value = (double)((float *)first.data)[i];

        sum += value;
        squares += value * value;
    }
    /* uniform of variance 1/200 over 60,000 draws: six standard errors */
    UM_CHECK_NEAR(sum / 60000, 0, 6 * sqrt(1.0 / 200 / 60000));
    UM_CHECK_NEAR(squares / 60000, 1.0 / 200, 6 * sqrt(0.8 / 60000) / 200);
    UM_CHECK(memcmp(first.data, again.data, first.bytes) == 0);
    for (int i = 0; i < 200; i++) {
        UM_CHECK_NEAR(((float *)ones.data)[i], 1, 0);
        UM_CHECK_NEAR(((float *)zeros.data)[i], 0, 0);
    }
    source.release(source.context, &matrix, &first);
    source.release(source.context, &matrix, &again);
    source.release(source.context, &norm, &ones);
    source.release(source.context, &bias, &zeros);
}

/* ---- loading -------------------------------------------------------------------------------- */

typedef struct watcher {
    double last;
    int calls;
    int calls_max; /* gives up there */
} watcher;

static bool watch(void *context, double share)
{
    watcher *w = context;

    UM_CHECK(share > w->last && share <= 1.0);
    w->last = share;
    return ++w->calls < w->calls_max;
}

static void progress_rises_to_one_and_may_give_up(void)
{
    static const um_tiny_options tiny = {.linear_bias = true, .tied_head = true};
    um_backend *backend = um_ref_backend_open();
    char dir[UM_TEMP_PATH_BYTES];
    int all;

    make_tiny(dir, &tiny);
    for (int calls_max = 1000;;) {
        watcher w = {.calls_max = calls_max};
        um_model_options options = {.progress = watch, .progress_context = &w};
        um_model *model = NULL;
        um_err err = {0};
        um_status status = um_model_open(dir, backend, &options, &model, &err);

        if (calls_max == 1000) {
            all = w.calls;
            UM_CHECK_INT(status, UM_OK);
            UM_CHECK_INT(all, 2 * 16 + 3); /* every tensor, the tied table twice */
            UM_CHECK_NEAR(w.last, 1, 0);
            calls_max = all;
        } else {
            UM_CHECK_STATUS(status, UM_E_CANCELLED);
            UM_CHECK(model == NULL);
        }
        um_model_close(model);
        if (--calls_max == 0)
            break;
    }
    um_backend_close(backend);
    um_temp_dir_remove(dir);
}

static void check_allocation_walk(um_status (*open)(const char *, um_backend *, um_model **,
                                                    um_err *),
                                  const char *dir)
{
    um_backend *backend = um_ref_backend_open();
    long n = 1;

    for (bool opened = false; !opened; n++) {
        um_model *model = NULL;
        um_err err = {0};
        um_status status;

        um_mem_fail_after(n);
        status = open(dir, backend, &model, &err);
        opened = um_mem_fail_pending();
        um_mem_fail_after(0);
        UM_CHECK_STATUS(status, opened ? UM_OK : UM_E_NOMEM);
        UM_CHECK((model != NULL) == opened);
        um_model_close(model);
    }
    UM_CHECK(n > 50);
    um_backend_close(backend);
}

static um_status open_checkpoint(const char *dir, um_backend *backend, um_model **out, um_err *err)
{
    um_model_options options = {.rows_max = 32};

    return um_model_open(dir, backend, &options, out, err);
}

static um_status open_synthetic(const char *dir, um_backend *backend, um_model **out, um_err *err)
{
    um_model_options options = {.rows_max = 32};
    um_model_config config = {.width = 32,
                              .layers = 3,
                              .heads = 2,
                              .kv_heads = 1,
                              .head_dim = 16,
                              .mlp_width = 40,
                              .block_group = 1,
                              .gated_mlp = true,
                              .vocab = 100,
                              .vocab_rows = 100,
                              .norm_eps = 1e-5f,
                              .rope_theta = 1e4,
                              .embed_scale = 1,
                              .logit_scale = 1,
                              .context_max = 64,
                              .context_limit = 64,
                              .mask_token = 99,
                              .end_token = 98,
                              .turn_token = -1,
                              .prompt_bos = -1};

    (void)dir;
    return um_model_open_synthetic(&config, backend, &options, out, err);
}

static void opening_survives_every_allocation_failure(void)
{
    static const um_tiny_options tiny = {.dtype = UM_BF16, .shards = 2, .qk_norm = true};
    char dir[UM_TEMP_PATH_BYTES];

    make_tiny(dir, &tiny);
    um_temp_dir_write(dir, "unmask.json", "{\"algorithm\":\"factor\"}", 22);
    check_allocation_walk(open_checkpoint, dir);
    um_temp_dir_remove(dir);
}

static void opening_a_synthetic_model_survives_every_allocation_failure(void)
{
    check_allocation_walk(open_synthetic, NULL);
}

static void inspecting_survives_every_allocation_failure(void)
{
    static const um_tiny_options written = {.layers = 1}, claimed = {.layers = 2};
    char dir[UM_TEMP_PATH_BYTES];

    make_unfit(dir, &written, &claimed);
    for (long n = 1;; n++) {
        um_model_report report;
        um_err err = {0};
        um_status status;
        bool finished;

        um_mem_fail_after(n);
        status = um_model_inspect(dir, &(um_model_dir_options){0}, &report, &err);
        finished = um_mem_fail_pending();
        um_mem_fail_after(0);
        UM_CHECK_STATUS(status, finished ? UM_OK : UM_E_NOMEM);
        um_model_report_deinit(&report);
        if (finished)
            break;
    }
    um_temp_dir_remove(dir);
}

static void the_models_facts_are_those_of_the_checkpoint(void)
{
    static const um_tiny_options tiny = {.kv_heads = 2};
    um_model_options options = {.rows_max = 100};
    um_backend *backend = um_ref_backend_open();
    um_model *model = NULL;
    um_model_report report;
    const um_model_info *info;
    um_err err = {0};
    char dir[UM_TEMP_PATH_BYTES];

    make_tiny(dir, &tiny);
    um_temp_dir_write(dir, "unmask.json", "{\"algorithm\":\"factor\"}", 22);
    UM_CHECK_OK(um_model_inspect(dir, &(um_model_dir_options){0}, &report, &err), err);
    UM_CHECK_OK(um_model_open(dir, backend, &options, &model, &err), err);
    info = um_model_get_info(model);
    UM_CHECK_STR(info->family->name, "llada");
    UM_CHECK_STR(info->defaults.algorithm, "factor");
    UM_CHECK_INT(info->config.kv_heads, 2);
    UM_CHECK_INT(info->parameters, report.parameters);
    UM_CHECK_INT(info->weight_bytes, report.need_f32_bytes); /* ref packs without padding */
    UM_CHECK(info->scratch_bytes >= 100u * (16 + 2 * 16 + 2 * 8) * sizeof(float));
    UM_CHECK(info->hash != 0);
    UM_CHECK(info->mtime > 1600000000);
    UM_CHECK(um_model_backend(model) == backend);
    UM_CHECK_INT(um_weight_out(um_model_head(model)), 40);
    um_model_close(model);
    um_model_report_deinit(&report);
    um_backend_close(backend);
    um_temp_dir_remove(dir);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Peak resident KiB of this process so far. */
static long peak_kib(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long kib = -1;

    UM_ASSERT(file != NULL);
    while (kib < 0 && fgets(line, sizeof(line), file))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    fclose(file);
    return kib;
}

/* In a child, whose peak is its own. */
static void write_in_child(const char *dir, const um_tiny_options *options)
{
    pid_t child = fork();
    int status = -1;

    UM_ASSERT(child >= 0);
    if (child == 0)
        _exit(um_tiny_checkpoint_write(dir, options, NULL) == UM_OK ? 0 : 1);
    UM_CHECK_INT(waitpid(child, &status, 0), child);
    UM_CHECK_INT(status, 0);
}

/* 49 MiB of tensors of at most 3 MiB each: were source pages kept, the peak would double. */
static void loading_peaks_at_the_packed_weights_and_the_largest_matrix(void)
{
    static const um_tiny_options tiny = {
        .width = 512, .heads = 8, .kv_heads = 8, .mlp_width = 1536, .layers = 4, .context = 64};
    um_model_options options = {.rows_max = 16};
    um_backend *backend = um_ref_backend_open();
    um_model *model = NULL;
    um_err err = {0};
    char dir[UM_TEMP_PATH_BYTES];
    long before, grown, packed;

    if (UM_TEST_SANITIZED)
        um_test_skip("resident memory means nothing under a sanitizer");
    um_temp_dir_make(dir);
    write_in_child(dir, &tiny);
    before = peak_kib();
    UM_CHECK_OK(um_model_open(dir, backend, &options, &model, &err), err);
    grown = peak_kib() - before;
    packed = (long)(um_model_get_info(model)->weight_bytes >> 10);
    printf("packed %ld KiB, peak grew by %ld KiB\n", packed, grown);
    UM_CHECK(packed > 45 << 10);
    /* gate and up together are the largest; 2 MiB for tables, scratch and pages at the edges */
    UM_CHECK(grown <= packed + (2 * 1536 * 512 * 4 >> 10) + (2 << 10));
    um_model_close(model);
    um_backend_close(backend);
    um_temp_dir_remove(dir);
}

static const um_test tests[] = {
    UM_TEST(one_error_names_every_missing_and_misshapen_tensor),
    UM_TEST(a_long_list_of_problems_is_cut_in_the_message_only),
    UM_TEST(integer_tensors_are_no_weights),
    UM_TEST(unused_tensors_are_counted_and_the_first_are_named),
    UM_TEST(inspect_tells_size_and_need_without_loading),
    UM_TEST(misaligned_data_is_copied_before_use),
    UM_TEST(generated_weights_keep_their_scale_and_repeat),
    UM_TEST(progress_rises_to_one_and_may_give_up),
    UM_TEST(opening_survives_every_allocation_failure),
    UM_TEST(opening_a_synthetic_model_survives_every_allocation_failure),
    UM_TEST(inspecting_survives_every_allocation_failure),
    UM_TEST(the_models_facts_are_those_of_the_checkpoint),
    UM_TEST(loading_peaks_at_the_packed_weights_and_the_largest_matrix),
};
UM_TEST_MAIN(tests)
