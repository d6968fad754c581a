/*
 * Wrong arguments end the process before any kernel runs: each case spoils one thing about a call
 * that is otherwise good. The checks are common to all backends, so one backend serves.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/ops/ops_fixture.h"

/* A backend with good arguments for some ops, all over the same small tensors. */
typedef struct bench {
    um_backend *backend;
    ops_matrix x, out, gain, table;
    um_weight *weight;
    int32_t ids[4];
    int32_t cu_seqlens[3];
    um_score_row score_rows[4];
    um_score_rule score_rule;
    um_select_rule select_rule;
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

    *b = (bench){.score_rows = {{0, 0, 1}, {1, 0, 1}, {2, 0, 1}, {3, 0, 1}},
                 .cu_seqlens = {0, 2, 4},
                 .score_rule = {.top_p = 1, .banned = {-1, -1}, .uncounted = {-1, -1}},
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

static void rmsnorm(bench *b)
{
    um_rmsnorm_args args = {.x = &b->x.view, .gain = &b->gain.view, .out = &b->out.view};

    (void)um_op_rmsnorm(b->backend, &args, NULL);
}

static void linear(bench *b)
{
    um_linear_args args = {.x = &b->x.view, .weight = b->weight, .out = &b->out.view};

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
    um_score_args args = {.hidden = &b->x.view,
                          .head = b->weight,
                          .scale = 1,
                          .vocab = WIDTH,
                          .score_rows = &rows,
                          .rules = &rules,
                          .rule_count = 1,
                          .tokens = &tokens,
                          .confidences = &confidences};

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
