/*
 * Wrong arguments end the process before any kernel runs: each case spoils one thing about a call
 * that is otherwise good. The checks are common to all backends, so one backend serves.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/ops_table.h"
#include "tests/ops/ops_fixture.h"

/* A backend with good arguments for some ops, all over the same small tensors. */
typedef struct bench {
    um_backend *backend;
    ops_matrix x, out, gain, table;
    um_tensor table_row; /* the first row of table */
    um_weight *weight;
    bool accumulate;
    int32_t ids[4];
    int32_t cu_seqlens[3];
    um_score_row score_rows[4];
    um_score_rule score_rule;
    um_logit_edit edits[2];
    um_alternative alternatives[4][3];
    int32_t alternative_count;
    um_select_rule select_rule;
    int32_t positions[4];
    um_commit commits[4];
    int32_t tokens[4], counts[1];
    float confidences[4];
} bench;

enum { ROWS = 4, WIDTH = 8 };

static void bench_init(bench *b)
{
    um_backend_options options = {.name = "ref"};
    um_backend_limits limits = {
        .rows_max = ROWS, .sequence_max = 2, .width_max = WIDTH, .vocab_max = WIDTH};
    um_weight_spec spec = {.dtype = UM_F32, .part_count = 1};
    um_err err = {0};

    *b = (bench){
        .score_rows = {{0, 0, 1}, {1, 0, 1}, {2, 0, 1}, {3, 0, 1}},
        .cu_seqlens = {0, 2, 4},
        .edits = {{.token = 1, .repetition = 1}, {.token = 7, .repetition = 2}},
        .alternative_count = 3,
        .score_rule = {.edit_count = 2, .top_p = 1, .banned = {-1, -1}, .uncounted = {-1, -1}},
        .select_rule = {.rows = ROWS, .count = 1}};
    UM_CHECK_OK(um_backend_open(&options, &b->backend, &err), err);
    UM_CHECK_OK(um_backend_reserve(b->backend, &limits, &err), err);
    b->x = ops_make(b->backend, UM_F32, ROWS, WIDTH, OPS_TIGHT);
    b->out = ops_make(b->backend, UM_F32, ROWS, WIDTH, OPS_TIGHT);
    b->gain = ops_make(b->backend, UM_F32, 1, WIDTH, OPS_TIGHT);
    b->table = ops_make(b->backend, UM_F32, WIDTH, WIDTH, OPS_TIGHT);
    ops_fill(&b->x, 1, 1.0f);
    ops_fill(&b->gain, 2, 1.0f);
    ops_fill(&b->table, 3, 1.0f);
    b->table_row = um_tensor_view(&b->table.view, 0, 1, 0, WIDTH);
    spec.parts[0] = b->table.host;
    UM_CHECK_OK(um_weight_create(b->backend, &spec, &b->weight, &err), err);
}

static void bench_deinit(bench *b)
{
    um_weight_destroy(b->backend, b->weight);
    ops_free(&b->table);
    ops_free(&b->gain);
    ops_free(&b->out);
    ops_free(&b->x);
    um_backend_close(b->backend);
}

static void embed(bench *b)
{
    um_tensor ids = um_tensor_host(UM_I32, 1, ROWS, b->ids);
    um_embed_args args = {.ids = &ids, .table = &b->table.view, .scale = 1, .out = &b->out.view};

    (void)um_op_embed(b->backend, &args, NULL);
}

static void embed_positions(bench *b)
{
    um_tensor ids = um_tensor_host(UM_I32, 1, ROWS, b->ids);
    um_tensor positions = um_tensor_host(UM_I32, 1, ROWS, b->positions);
    um_embed_args args = {.ids = &ids,
                          .table = &b->table.view,
                          .scale = 1,
                          .positions = &positions,
                          .position_table = &b->gain.view,
                          .out = &b->out.view};

    (void)um_op_embed(b->backend, &args, NULL);
}

static void layernorm(bench *b)
{
    um_layernorm_args args = {
        .x = &b->x.view, .gain = &b->table_row, .bias = &b->gain.view, .out = &b->out.view};

    (void)um_op_layernorm(b->backend, &args, NULL);
}

static void rmsnorm(bench *b)
{
    um_rmsnorm_args args = {.x = &b->x.view, .gain = &b->gain.view, .out = &b->out.view};

    (void)um_op_rmsnorm(b->backend, &args, NULL);
}

static void linear(bench *b)
{
    um_linear_args args = {
        .x = &b->x.view, .weight = b->weight, .accumulate = b->accumulate, .out = &b->out.view};

    (void)um_op_linear(b->backend, &args, NULL);
}

static void attention(bench *b)
{
    um_attention_args args = {.q = &b->x.view,
                              .k = &b->x.view,
                              .v = &b->x.view,
                              .cu_seqlens = b->cu_seqlens,
                              .sequence_count = 2,
                              .heads = 2,
                              .kv_heads = 2,
                              .head_dim = 4,
                              .scale = 1,
                              .out = &b->out.view};

    (void)um_op_attention(b->backend, &args, NULL);
}

static void score(bench *b)
{
    um_tensor rows = um_tensor_host(UM_BYTES, 1, sizeof(b->score_rows), b->score_rows);
    um_tensor rules = um_tensor_host(UM_BYTES, 1, sizeof(b->score_rule), &b->score_rule);
    um_tensor tokens = um_tensor_host(UM_I32, 1, ROWS, b->tokens);
    um_tensor confidences = um_tensor_host(UM_F32, 1, ROWS, b->confidences);
    um_tensor edits = um_tensor_host(UM_BYTES, 1, sizeof(b->edits), b->edits);
    um_tensor alternatives =
        um_tensor_host(UM_BYTES, ROWS, sizeof(b->alternatives[0]), b->alternatives);
    um_score_args args = {.hidden = &b->x.view,
                          .head = b->weight,
                          .scale = 1,
                          .vocab = WIDTH,
                          .score_rows = &rows,
                          .rules = &rules,
                          .rule_count = 1,
                          .edits = &edits,
                          .tokens = &tokens,
                          .confidences = &confidences,
                          .alternatives = &alternatives,
                          .alternative_count = b->alternative_count};

    (void)um_op_score(b->backend, &args, NULL);
}

static void choose(bench *b)
{
    um_tensor rows = um_tensor_host(UM_BYTES, 1, sizeof(b->score_rows), b->score_rows);
    um_tensor rules = um_tensor_host(UM_BYTES, 1, sizeof(b->select_rule), &b->select_rule);
    um_tensor tokens = um_tensor_host(UM_I32, 1, ROWS, b->tokens);
    um_tensor confidences = um_tensor_host(UM_F32, 1, ROWS, b->confidences);
    um_tensor commits = um_tensor_host(UM_BYTES, 1, sizeof(b->commits), b->commits);
    um_tensor counts = um_tensor_host(UM_I32, 1, 1, b->counts);
    um_select_args args = {.tokens = &tokens,
                           .confidences = &confidences,
                           .score_rows = &rows,
                           .rules = &rules,
                           .rule_count = 1,
                           .commits = &commits,
                           .counts = &counts};

    (void)um_op_select(b->backend, &args, NULL);
}

static void spoil_nothing(bench *b)
{
    (void)b;
}
static void spoil_id(bench *b)
{
    b->ids[2] = WIDTH;
}
static void spoil_negative_id(bench *b)
{
    b->ids[3] = -1;
}
static void spoil_out_dtype(bench *b)
{
    b->out.view.dtype = UM_I32;
}
static void spoil_out_rows(bench *b)
{
    b->out.view.rows = ROWS - 1;
}
static void spoil_out_stride(bench *b)
{
    b->out.view.stride = WIDTH - 1;
}
static void spoil_x_dtype(bench *b)
{
    b->x.view.dtype = UM_BF16;
}
static void spoil_x_cols(bench *b)
{
    b->x.view.cols = WIDTH - 1;
}
static void spoil_gain(bench *b)
{
    b->gain.view.cols = WIDTH - 1;
}
static void spoil_alias(bench *b)
{
    b->out.view.data = b->x.view.data;
}
static void spoil_accumulate(bench *b)
{
    b->accumulate = true;
    b->weight->kind = UM_WEIGHT_ACTIVATED;
}
static void spoil_start(bench *b)
{
    b->cu_seqlens[0] = 1;
}
static void spoil_end(bench *b)
{
    b->cu_seqlens[2] = 3;
}
static void spoil_length(bench *b)
{
    b->cu_seqlens[1] = 1; /* the other one has 3 rows, 2 are reserved */
}
static void spoil_order(bench *b)
{
    b->cu_seqlens[1] = 5;
}
static void spoil_temperature(bench *b)
{
    b->score_rule.temperature = -1;
}
static void spoil_confidence(bench *b)
{
    b->score_rule.confidence = 9;
}
static void spoil_rule_index(bench *b)
{
    b->score_rows[3].rule = 1;
}
static void spoil_select_rows(bench *b)
{
    b->select_rule.rows = ROWS + 1;
}
static void spoil_select_first(bench *b)
{
    b->select_rule.first = 1;
}
static void spoil_select_kind(bench *b)
{
    b->select_rule.kind = 5;
}
static void spoil_select_count(bench *b)
{
    b->select_rule.count = -1;
}
static void spoil_top_p_zero(bench *b)
{
    b->score_rule.top_p = 0;
}
static void spoil_top_p_large(bench *b)
{
    b->score_rule.top_p = 1.5f;
}
static void spoil_top_p_nan(bench *b)
{
    b->score_rule.top_p = NAN;
}
static void spoil_top_k(bench *b)
{
    b->score_rule.top_k = -1;
}
static void spoil_min_p(bench *b)
{
    b->score_rule.min_p = 1.5f;
}
static void spoil_small_min_p(bench *b)
{
    b->score_rule.min_p = 1e-40f;
}
static void spoil_filtered(bench *b)
{
    b->score_rule.filtered = 2;
}
static void spoil_uncounted(bench *b)
{
    b->score_rule.filtered = 1;
    b->score_rule.uncounted[1] = 3;
}
static void spoil_edit_range(bench *b)
{
    b->score_rule.first_edit = 1;
}
static void spoil_edit_first(bench *b)
{
    b->score_rule.first_edit = -1;
}
static void spoil_edit_count(bench *b)
{
    b->score_rule.edit_count = -1;
}
static void spoil_edit_token(bench *b)
{
    b->edits[1].token = WIDTH;
}
static void spoil_negative_edit(bench *b)
{
    b->edits[1].token = -1;
}
static void spoil_bias(bench *b)
{
    b->edits[0].bias = INFINITY;
}
static void spoil_bias_nan(bench *b)
{
    b->edits[0].bias = NAN;
}
static void spoil_repetition(bench *b)
{
    b->edits[0].repetition = 0;
}
static void spoil_alternatives(bench *b)
{
    b->alternative_count = 4;
}
static void spoil_no_alternatives(bench *b)
{
    b->alternative_count = 0;
}
static void spoil_independent_count(bench *b)
{
    b->select_rule.kind = UM_SELECT_INDEPENDENT;
}
static void spoil_threshold(bench *b)
{
    b->select_rule.threshold = 1.5f;
}
static void spoil_threshold_nan(bench *b)
{
    b->select_rule.threshold = NAN;
}
static void spoil_factor(bench *b)
{
    b->select_rule.factor = -1;
}
static void spoil_quirk(bench *b)
{
    b->select_rule.factor_quirk = 2;
}
static void spoil_order_temperature(bench *b)
{
    b->select_rule.order_temperature = -1;
}
static void spoil_drawn_threshold(bench *b)
{
    b->select_rule.kind = UM_SELECT_THRESHOLD;
    b->select_rule.order_temperature = 1;
}
static void spoil_unmasked(bench *b)
{
    b->score_rows[2].masked = 0;
}
static void spoil_select_order(bench *b)
{
    b->score_rows[2].position = 1;
}
static void spoil_position(bench *b)
{
    b->positions[1] = 1;
}
static void spoil_position_dtype(bench *b)
{
    b->gain.view.dtype = UM_BF16;
}
static void spoil_position_width(bench *b)
{
    b->gain.view.cols = WIDTH - 1;
}

static const struct {
    const char *name;
    void (*op)(bench *b);
    void (*spoil)(bench *b);
} cases[] = {
    {"embed: id at the end", embed, spoil_id},
    {"embed: negative id", embed, spoil_negative_id},
    {"embed: out dtype", embed, spoil_out_dtype},
    {"embed: out stride", embed, spoil_out_stride},
    {"rmsnorm: x dtype", rmsnorm, spoil_x_dtype},
    {"rmsnorm: x width", rmsnorm, spoil_x_cols},
    {"rmsnorm: rows", rmsnorm, spoil_out_rows},
    {"rmsnorm: gain", rmsnorm, spoil_gain},
    {"linear: x dtype", linear, spoil_x_dtype},
    {"linear: x width", linear, spoil_x_cols},
    {"linear: rows", linear, spoil_out_rows},
    {"linear: in place", linear, spoil_alias},
    {"linear: activated and accumulated", linear, spoil_accumulate},
    {"attention: first row", attention, spoil_start},
    {"attention: last row", attention, spoil_end},
    {"attention: sequence longer than reserved", attention, spoil_length},
    {"attention: descending", attention, spoil_order},
    {"attention: out dtype", attention, spoil_out_dtype},
    {"score: temperature", score, spoil_temperature},
    {"score: confidence", score, spoil_confidence},
    {"score: rule index", score, spoil_rule_index},
    {"score: x dtype", score, spoil_x_dtype},
    {"select: more rows than there are", choose, spoil_select_rows},
    {"select: rows behind the end", choose, spoil_select_first},
    {"select: kind", choose, spoil_select_kind},
    {"select: count", choose, spoil_select_count},
    {"score: top_p of zero", score, spoil_top_p_zero},
    {"score: top_p above one", score, spoil_top_p_large},
    {"score: top_p NaN", score, spoil_top_p_nan},
    {"score: top_k", score, spoil_top_k},
    {"score: min_p", score, spoil_min_p},
    {"score: min_p below the normal range", score, spoil_small_min_p},
    {"score: filtered", score, spoil_filtered},
    {"score: uncounted with filtered", score, spoil_uncounted},
    {"score: edits behind the last", score, spoil_edit_range},
    {"score: edits before the first", score, spoil_edit_first},
    {"score: number of edits", score, spoil_edit_count},
    {"score: edited token", score, spoil_edit_token},
    {"score: edited token below 0", score, spoil_negative_edit},
    {"score: bias", score, spoil_bias},
    {"score: bias NaN", score, spoil_bias_nan},
    {"score: repetition", score, spoil_repetition},
    {"score: more alternatives than room", score, spoil_alternatives},
    {"score: alternatives without a number", score, spoil_no_alternatives},
    {"select: own draws and a count", choose, spoil_independent_count},
    {"select: threshold", choose, spoil_threshold},
    {"select: threshold NaN", choose, spoil_threshold_nan},
    {"select: factor", choose, spoil_factor},
    {"select: quirk", choose, spoil_quirk},
    {"select: order temperature", choose, spoil_order_temperature},
    {"select: order temperature of a threshold", choose, spoil_drawn_threshold},
    {"select: a row that is not masked", choose, spoil_unmasked},
    {"select: positions that do not ascend", choose, spoil_select_order},
    {"embed: position at the end", embed_positions, spoil_position},
    {"embed: dtype of the positions' table", embed_positions, spoil_position_dtype},
    {"embed: width of the positions' table", embed_positions, spoil_position_width},
    {"layernorm: x width", layernorm, spoil_x_cols},
    {"layernorm: bias", layernorm, spoil_gain},
    {"layernorm: out dtype", layernorm, spoil_out_dtype},
};

/* True when `op` on the bench ends the process by an assertion. Its message is not shown. */
static bool aborts(bench *b, void (*op)(bench *), void (*spoil)(bench *))
{
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);

        if (null >= 0)
            dup2(null, STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        spoil(b);
        op(b);
        _exit(0);
    }
    UM_CHECK(waitpid(child, &status, 0) == child);
    UM_CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
             (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT));
    return WIFSIGNALED(status);
}

static void wrong_arguments_end_the_process(void)
{
    bench b;

    bench_init(&b);
    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        if (aborts(&b, cases[i].op, spoil_nothing))
            um_test_fail(__FILE__, __LINE__, "%s: the good call failed", cases[i].name);
        if (!aborts(&b, cases[i].op, cases[i].spoil))
            um_test_fail(__FILE__, __LINE__, "%s: was let through", cases[i].name);
    }
    bench_deinit(&b);
}

static const um_test tests[] = {
    UM_TEST(wrong_arguments_end_the_process),
};
UM_TEST_MAIN(tests)
