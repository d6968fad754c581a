/* See ops_check.h. */
#include "kernels/ops_check.h"

#include <float.h>
#include <math.h>

#include "kernels/ops_table.h"

static void check_matrix(const um_tensor *t, int64_t rows, int64_t cols)
{
    UM_ASSERT(t->data != NULL);
    UM_ASSERT(t->rows == rows);
    UM_ASSERT(t->cols == cols);
    UM_ASSERT(t->stride >= cols);
    UM_ASSERT((uintptr_t)t->data % um_dtype_bytes(t->dtype) == 0);
}

static bool is_compute_dtype(um_dtype dtype)
{
    return dtype == UM_F32 || dtype == UM_BF16;
}

/* A vector of at least `count` elements. */
static void check_vector(const um_tensor *t, um_dtype dtype, int64_t count)
{
    UM_ASSERT(t->dtype == dtype);
    UM_ASSERT(t->data != NULL);
    UM_ASSERT(t->rows == 1);
    UM_ASSERT(t->cols >= count);
}

/* An array of at least `count` structs. */
static void check_structs(const um_tensor *t, int64_t count, size_t size, size_t align)
{
    check_vector(t, UM_BYTES, count * (int64_t)size);
    UM_ASSERT((uintptr_t)t->data % align == 0);
}

/* Every one of the first `count` indices in [low, end), where the host can see them. */
static void check_indices(const um_backend *backend, const um_tensor *t, int64_t count, int64_t low,
                          int64_t end)
{
    check_vector(t, UM_I32, count);
    if (!backend->is_host)
        return;
    for (int64_t i = 0; i < count; i++) {
        int32_t index = um_i32_row(t, 0)[i];

        UM_ASSERT(index >= low && index < end);
    }
}

static um_status check_weight_part(const um_weight_spec *spec, int32_t i, um_err *err)
{
    const um_tensor *first = &spec->parts[0], *part = &spec->parts[i], *bias = &spec->biases[i];

    if (part->rows < 1 || part->cols != first->cols || part->cols < 1)
        return um_fail(err, UM_E_FORMAT, "weight part %d is %lld x %lld; part 0 has %lld columns",
                       i, (long long)part->rows, (long long)part->cols, (long long)first->cols);
    if (spec->kind == UM_WEIGHT_GATED && part->rows != first->rows)
        return um_fail(err, UM_E_FORMAT, "gate has %lld rows, up has %lld", (long long)first->rows,
                       (long long)part->rows);
    if (bias->data && (bias->rows != 1 || bias->cols != part->rows))
        return um_fail(err, UM_E_FORMAT, "bias %d is %lld x %lld; it must be 1 x %lld", i,
                       (long long)bias->rows, (long long)bias->cols, (long long)part->rows);
    if (!is_compute_dtype(part->dtype) && part->dtype != UM_F16)
        return um_fail(err, UM_E_UNSUPPORTED, "weight part %d is %s; f32, bf16 and f16 are known",
                       i, um_dtype_name(part->dtype));
    if (bias->data && !is_compute_dtype(bias->dtype) && bias->dtype != UM_F16)
        return um_fail(err, UM_E_UNSUPPORTED, "bias %d is %s; f32, bf16 and f16 are known", i,
                       um_dtype_name(bias->dtype));
    return UM_OK;
}

um_status umi_check_weight(const um_weight_spec *spec, um_err *err)
{
    um_status status = UM_OK;

    UM_ASSERT(is_compute_dtype(spec->dtype));
    UM_ASSERT(spec->part_count >= 1 && spec->part_count <= UM_WEIGHT_PARTS_MAX);
    UM_ASSERT(spec->kind != UM_WEIGHT_GATED || spec->part_count == 2);
    for (int32_t i = 0; i < spec->part_count && status == UM_OK; i++) {
        UM_ASSERT(spec->parts[i].data != NULL);
        UM_ASSERT(spec->parts[i].stride >= spec->parts[i].cols);
        status = check_weight_part(spec, i, err);
    }
    return status;
}

void umi_check_embed(const um_backend *backend, const um_embed_args *args)
{
    const um_tensor *out = args->out, *table = args->table;

    UM_ASSERT(is_compute_dtype(table->dtype));
    UM_ASSERT(out->dtype == UM_F32);
    check_matrix(table, table->rows, out->cols);
    check_matrix(out, out->rows, out->cols);
    check_indices(backend, args->ids, out->rows, 0, table->rows);
    if (!args->position_table)
        return;
    UM_ASSERT(args->position_table->dtype == table->dtype);
    check_matrix(args->position_table, args->position_table->rows, out->cols);
    check_indices(backend, args->positions, out->rows, 0, args->position_table->rows);
}

static void check_norm(const um_tensor *x, const um_tensor *gain, const um_tensor *out)
{
    bool in_place = x->data == out->data;

    UM_ASSERT(x->dtype == UM_F32);
    UM_ASSERT(is_compute_dtype(out->dtype));
    UM_ASSERT(out->cols > 0);
    check_vector(gain, UM_F32, out->cols);
    check_matrix(x, out->rows, out->cols);
    check_matrix(out, out->rows, out->cols);
    UM_ASSERT(!in_place || (out->dtype == UM_F32 && out->stride == x->stride));
}

void umi_check_rmsnorm(const um_rmsnorm_args *args)
{
    check_norm(args->x, args->gain, args->out);
}

void umi_check_layernorm(const um_layernorm_args *args)
{
    check_norm(args->x, args->gain, args->out);
    if (args->bias)
        check_vector(args->bias, UM_F32, args->out->cols);
}

void umi_check_linear(const um_backend *backend, const um_linear_args *args)
{
    const um_tensor *x = args->x, *out = args->out;
    const um_weight *weight = args->weight;

    UM_ASSERT(x->dtype == weight->dtype);
    UM_ASSERT(is_compute_dtype(out->dtype));
    UM_ASSERT(!args->accumulate || (out->dtype == UM_F32 && weight->kind == UM_WEIGHT_PLAIN));
    UM_ASSERT(x->data != out->data);
    check_matrix(x, out->rows, weight->in);
    check_matrix(out, out->rows, weight->out);
    UM_ASSERT(out->rows <= backend->limits.rows_max);
    UM_ASSERT(weight->in <= backend->limits.width_max);
    UM_ASSERT(weight->out <= backend->limits.width_max);
}

void umi_check_rope(const um_backend *backend, const um_rope_args *args)
{
    int64_t rows = args->qkv->rows;
    int64_t q_width = (int64_t)args->heads * args->head_dim;
    int64_t k_width = (int64_t)args->kv_heads * args->head_dim;

    UM_ASSERT(args->heads > 0 && args->kv_heads > 0);
    UM_ASSERT(args->head_dim > 0 && args->head_dim % 2 == 0);
    UM_ASSERT(args->qkv->dtype == UM_F32);
    UM_ASSERT(is_compute_dtype(args->q->dtype));
    UM_ASSERT(args->k->dtype == args->q->dtype);
    UM_ASSERT(args->v->dtype == args->q->dtype);
    check_matrix(args->qkv, rows, q_width + 2 * k_width);
    check_matrix(args->q, rows, q_width);
    check_matrix(args->k, rows, k_width);
    check_matrix(args->v, rows, k_width);
    if (!args->cos_sin)
        return;
    UM_ASSERT(args->cos_sin->dtype == UM_F32);
    check_matrix(args->cos_sin, args->cos_sin->rows, args->head_dim);
    check_indices(backend, args->positions, rows, 0, args->cos_sin->rows);
}

void umi_check_attention(const um_backend *backend, const um_attention_args *args)
{
    int64_t rows = args->q->rows;
    int64_t q_width = (int64_t)args->heads * args->head_dim;
    int64_t k_width = (int64_t)args->kv_heads * args->head_dim;

    UM_ASSERT(args->kv_heads > 0 && args->heads > 0 && args->heads % args->kv_heads == 0);
    UM_ASSERT(args->head_dim > 0);
    UM_ASSERT(is_compute_dtype(args->q->dtype));
    UM_ASSERT(args->k->dtype == args->q->dtype);
    UM_ASSERT(args->v->dtype == args->q->dtype);
    UM_ASSERT(args->out->dtype == args->q->dtype);
    check_matrix(args->q, rows, q_width);
    check_matrix(args->k, rows, k_width);
    check_matrix(args->v, rows, k_width);
    check_matrix(args->out, rows, q_width);
    UM_ASSERT(rows <= backend->limits.rows_max);
    UM_ASSERT(args->sequence_count >= 0);
    UM_ASSERT(args->cu_seqlens[0] == 0);
    for (int32_t s = 0; s < args->sequence_count; s++) {
        int32_t length = args->cu_seqlens[s + 1] - args->cu_seqlens[s];

        UM_ASSERT(length >= 0 && length <= backend->limits.sequence_max);
    }
    UM_ASSERT(args->cu_seqlens[args->sequence_count] == rows);
}

void umi_check_mix(const um_backend *backend, const um_mix_args *args)
{
    const um_tensor *x = args->x, *out = args->out;

    UM_ASSERT(x->dtype == UM_F32);
    UM_ASSERT(is_compute_dtype(out->dtype));
    UM_ASSERT(x->data != out->data);
    check_matrix(x, x->rows, out->cols);
    check_matrix(out, out->rows, out->cols);
    check_indices(backend, args->conditional, out->rows, 0, x->rows);
    check_indices(backend, args->unconditional, out->rows, INT32_MIN, x->rows);
    check_vector(args->scales, UM_F32, out->rows);
}

static void check_edits(const um_score_args *args, const um_score_rule *rule)
{
    int64_t end = (int64_t)rule->first_edit + rule->edit_count;

    UM_ASSERT(rule->first_edit >= 0 && rule->edit_count >= 0);
    if (rule->edit_count == 0)
        return;
    UM_ASSERT(args->edits != NULL);
    check_structs(args->edits, end, sizeof(um_logit_edit), _Alignof(um_logit_edit));
    for (int64_t i = rule->first_edit; i < end; i++) {
        const um_logit_edit *edit = (const um_logit_edit *)args->edits->data + i;

        UM_ASSERT(edit->token >= 0 && edit->token < args->vocab);
        UM_ASSERT(edit->bias < INFINITY);
        UM_ASSERT(edit->repetition > 0 && edit->repetition < INFINITY);
    }
}

static void check_score_rule(const um_score_args *args, const um_score_rule *rule)
{
    UM_ASSERT(rule->temperature >= 0 && rule->temperature < INFINITY);
    UM_ASSERT(rule->confidence >= UM_CONFIDENCE_PROBABILITY &&
              rule->confidence <= UM_CONFIDENCE_LOGPROB);
    UM_ASSERT(rule->filtered == 0 || rule->filtered == 1);
    UM_ASSERT(rule->top_p > 0 && rule->top_p <= 1);
    UM_ASSERT(rule->top_k >= 0);
    UM_ASSERT(rule->min_p == 0 || (rule->min_p >= FLT_MIN && rule->min_p <= 1));
    for (int32_t i = 0; i < UM_UNCOUNTED_MAX; i++)
        UM_ASSERT(!rule->filtered || rule->uncounted[i] < 0);
    check_edits(args, rule);
}

/* [rows][alternative_count] structs, or more. */
static void check_alternatives(const um_score_args *args)
{
    const um_tensor *t = args->alternatives;

    UM_ASSERT((t != NULL) == (args->alternative_count > 0));
    if (!t)
        return;
    UM_ASSERT(args->alternative_count <= UM_ALTERNATIVES_MAX + 1);
    UM_ASSERT(args->alternative_count <= args->vocab + 1);
    UM_ASSERT(t->dtype == UM_BYTES);
    UM_ASSERT(t->rows >= args->hidden->rows);
    UM_ASSERT(t->cols >= args->alternative_count * (int64_t)sizeof(um_alternative));
    check_matrix(t, t->rows, t->cols);
    UM_ASSERT((uintptr_t)t->data % _Alignof(um_alternative) == 0);
    UM_ASSERT(t->stride % (int64_t) _Alignof(um_alternative) == 0);
}

void umi_check_score(const um_backend *backend, const um_score_args *args)
{
    int64_t rows = args->hidden->rows;

    UM_ASSERT(args->head->kind == UM_WEIGHT_PLAIN);
    UM_ASSERT(args->hidden->dtype == args->head->dtype);
    check_matrix(args->hidden, rows, args->head->in);
    UM_ASSERT(args->vocab > 0 && args->vocab <= args->head->out);
    UM_ASSERT(rows <= backend->limits.rows_max);
    UM_ASSERT(args->vocab <= backend->limits.vocab_max);
    UM_ASSERT(args->head->in <= backend->limits.width_max);
    UM_ASSERT(args->rule_count >= 0);
    check_structs(args->score_rows, rows, sizeof(um_score_row), _Alignof(um_score_row));
    check_structs(args->rules, args->rule_count, sizeof(um_score_rule), _Alignof(um_score_rule));
    check_vector(args->tokens, UM_I32, rows);
    check_vector(args->confidences, UM_F32, rows);
    if (args->logits) {
        UM_ASSERT(args->logits->dtype == UM_F32);
        check_matrix(args->logits, rows, args->vocab);
    }
    check_alternatives(args);
    if (!backend->is_host)
        return;
    for (int32_t i = 0; i < args->rule_count; i++)
        check_score_rule(args, (const um_score_rule *)args->rules->data + i);
    for (int64_t i = 0; i < rows; i++) {
        const um_score_row *row = (const um_score_row *)args->score_rows->data + i;

        UM_ASSERT(row->rule >= 0 && row->rule < args->rule_count);
    }
}

static void check_select_rule(const um_select_rule *rule, int64_t rows)
{
    UM_ASSERT(rule->first >= 0 && rule->rows >= 0);
    UM_ASSERT(rule->first <= rows && rule->rows <= rows - rule->first);
    UM_ASSERT(rule->kind >= UM_SELECT_COUNT && rule->kind <= UM_SELECT_COMPETING);
    UM_ASSERT(rule->count >= 0);
    UM_ASSERT(rule->kind != UM_SELECT_INDEPENDENT || rule->count == 0);
    UM_ASSERT(rule->threshold >= 0 && rule->threshold <= 1);
    UM_ASSERT(rule->factor >= 0 && rule->factor < INFINITY);
    UM_ASSERT(rule->factor_quirk == 0 || rule->factor_quirk == 1);
    UM_ASSERT(rule->order_temperature >= 0 && rule->order_temperature < INFINITY);
    UM_ASSERT(rule->order_temperature == 0 || rule->kind == UM_SELECT_COUNT);
}

/* Ascending positions; all masked but where others compete. */
static void check_selected_rows(const um_select_rule *rule, const um_score_row *rows)
{
    for (int32_t i = 0; i < rule->rows; i++) {
        UM_ASSERT(rows[i].masked == 0 || rows[i].masked == 1);
        UM_ASSERT(rows[i].masked || rule->kind == UM_SELECT_COMPETING);
        UM_ASSERT(i == 0 || rows[i].position > rows[i - 1].position);
    }
}

void umi_check_select(const um_backend *backend, const um_select_args *args)
{
    int64_t rows = args->tokens->cols;

    check_vector(args->tokens, UM_I32, rows);
    check_vector(args->confidences, UM_F32, 0);
    check_structs(args->score_rows, 0, sizeof(um_score_row), _Alignof(um_score_row));
    UM_ASSERT(args->rule_count >= 0);
    check_structs(args->rules, args->rule_count, sizeof(um_select_rule), _Alignof(um_select_rule));
    check_structs(args->commits, 0, sizeof(um_commit), _Alignof(um_commit));
    check_vector(args->counts, UM_I32, args->rule_count);
    if (!backend->is_host)
        return;
    for (int32_t i = 0; i < args->rule_count; i++) {
        const um_select_rule *rule = (const um_select_rule *)args->rules->data + i;
        int64_t end = (int64_t)rule->first + rule->rows;

        check_select_rule(rule, rows);
        UM_ASSERT(rule->rows <= backend->limits.rows_max);
        check_vector(args->confidences, UM_F32, end);
        check_structs(args->score_rows, end, sizeof(um_score_row), _Alignof(um_score_row));
        check_structs(args->commits, end, sizeof(um_commit), _Alignof(um_commit));
        check_selected_rows(rule, (const um_score_row *)args->score_rows->data + rule->first);
    }
}
