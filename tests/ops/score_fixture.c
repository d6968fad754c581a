/* See score_fixture.h. */
#include "tests/ops/score_fixture.h"

um_score_rule score_plain_rule(void)
{
    return (um_score_rule){.top_p = 1, .banned = {-1, -1}, .uncounted = {-1, -1}};
}

static void read_alternatives(ops_matrix *matrix, const score_call *call, scored *out)
{
    size_t row_bytes = (size_t)call->alternative_count * sizeof(um_alternative);

    ops_download(matrix, "alternatives");
    for (int64_t r = 0; r < call->hidden.rows; r++)
        memcpy(out->alternatives[r],
               (const char *)matrix->host.data + (size_t)(r * matrix->host.stride), row_bytes);
}

void score_run(um_backend *backend, const score_call *call, scored *out)
{
    int64_t rows = call->hidden.rows;
    ops_matrix row_array = ops_structs(backend, rows, call->rows);
    ops_matrix rule_array = ops_structs(backend, call->rule_count, call->rules);
    ops_matrix tokens = ops_make(backend, UM_I32, 1, rows, OPS_TIGHT);
    ops_matrix confidences = ops_make(backend, UM_F32, 1, rows, OPS_TIGHT);
    ops_matrix edits = {0}, alternatives = {0};
    um_score_args args = {.hidden = &call->hidden,
                          .head = call->head,
                          .scale = call->scale,
                          .vocab = call->vocab,
                          .score_rows = &row_array.view,
                          .rules = &rule_array.view,
                          .rule_count = call->rule_count,
                          .tokens = &tokens.view,
                          .confidences = &confidences.view,
                          .alternative_count = call->alternative_count,
                          .logits = call->logits};
    um_err err = {0};

    if (call->edit_count > 0) {
        edits = ops_structs(backend, call->edit_count, call->edits);
        args.edits = &edits.view;
    }
    if (call->alternative_count > 0) {
        alternatives =
            ops_make(backend, UM_BYTES, rows,
                     call->alternative_count * (int64_t)sizeof(um_alternative), OPS_TIGHT);
        args.alternatives = &alternatives.view;
    }
    UM_CHECK_OK(um_op_score(backend, &args, &err), err);
    ops_download(&tokens, "tokens");
    ops_download(&confidences, "confidences");
    memcpy(out->tokens, tokens.host.data, (size_t)rows * sizeof(out->tokens[0]));
    memcpy(out->confidences, confidences.host.data, (size_t)rows * sizeof(out->confidences[0]));
    if (call->alternative_count > 0) {
        read_alternatives(&alternatives, call, out);
        ops_free(&alternatives);
    }
    if (call->edit_count > 0)
        ops_free(&edits);
    ops_free(&confidences);
    ops_free(&tokens);
    ops_free(&rule_array);
    ops_free(&row_array);
}

void score_logits(um_backend *backend, const float *logits, int64_t row_count,
                  const score_call *call, scored *out)
{
    um_weight_spec spec = {.dtype = UM_F32, .part_count = 1};
    ops_matrix hidden = ops_make(backend, UM_F32, row_count, 1, OPS_TIGHT);
    score_call full = *call;
    um_weight *head;
    um_err err = {0};

    spec.parts[0] = um_tensor_host(UM_F32, call->vocab, 1, logits);
    for (int64_t r = 0; r < row_count; r++)
        ops_set(&hidden.host, r, 0, 1.0f);
    ops_upload(&hidden);
    UM_CHECK_OK(um_weight_create(backend, &spec, &head, &err), err);
    full.hidden = hidden.view;
    full.head = head;
    full.scale = 1;
    score_run(backend, &full, out);
    um_weight_destroy(backend, head);
    ops_free(&hidden);
}
