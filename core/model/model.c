/*
 * Opening, closing and the forward pass. One layer sequence serves every pre-norm transformer:
 * families differ in names and facts, not here. Runs on the engine's thread.
 */
#include "core/model/model.h"

#include <math.h>
#include <string.h>

#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/model/synthetic.h"

/* Row-wise work goes through scratch of this many rows: far above the ridge of any CPU, so that
 * reading a weight again for the next chunk costs nothing that counts, and small enough that the
 * widest activations (MLP) stay in megabytes. */
#define CHUNK_ROWS 256

struct um_model {
    um_backend *backend; /* borrowed */
    um_model_info info;
    char *algorithm; /* storage of info.defaults.algorithm when unmask.json sets it; owned */
    um_weights weights;
    int64_t rows_max;
    /* scratch and tables, owned; "c": compute dtype */
    um_tensor cos_sin;  /* [context][head_dim] f32; data NULL with learned positions */
    um_tensor x;        /* [rows_max][width] f32: the residual stream */
    um_tensor q;        /* [rows_max][heads * head_dim] c */
    um_tensor k;        /* [rows_max][kv_heads * head_dim] c */
    um_tensor v;        /* [rows_max][kv_heads * head_dim] c */
    um_tensor attended; /* [rows_max][heads * head_dim] c */
    um_tensor wanted;   /* [CHUNK_ROWS][width] f32: gathered rows of x */
    um_tensor normed;   /* [CHUNK_ROWS][width] c */
    um_tensor qkv;      /* [CHUNK_ROWS][(heads + 2 kv_heads) * head_dim] f32 */
    um_tensor gated;    /* [CHUNK_ROWS][mlp_width] c */
};

bool um_precision_parse(const char *text, um_precision *out)
{
    static const char *const names[] = {
        [UM_PRECISION_AUTO] = "auto", [UM_PRECISION_F32] = "f32", [UM_PRECISION_BF16] = "bf16"};

    for (size_t i = 0; i < UM_COUNT_OF(names); i++) {
        if (strcmp(names[i], text) != 0)
            continue;
        *out = (um_precision)i;
        return true;
    }
    return false;
}

/* ---- opening ------------------------------------------------------------------------------- */

static int64_t q_width(const um_model_config *c)
{
    return (int64_t)c->heads * c->head_dim;
}

static int64_t kv_width(const um_model_config *c)
{
    return (int64_t)c->kv_heads * c->head_dim;
}

/* Inverse frequencies as PyTorch's CPU code yields them for the reference: exponent and power
 * rounded to float32, then a float32 reciprocal. Rounding once at the end moves the phase by
 * 2e-4 rad at position 4000. */
static float inverse_frequency(double theta, int32_t pair, int32_t head_dim)
{
    float exponent = (float)(2 * pair) / (float)head_dim;

    return 1.0f / (float)pow(theta, (double)exponent);
}

static um_status fill_rope_table(um_model *model, float *row, float *frequencies, um_err *err)
{
    const um_model_config *c = &model->info.config;
    int32_t pairs = c->head_dim / 2;
    um_status status = UM_OK;

    for (int32_t pair = 0; pair < pairs; pair++)
        frequencies[pair] = inverse_frequency(c->rope_theta, pair, c->head_dim);
    for (int32_t position = 0; position < c->context_max && status == UM_OK; position++) {
        um_tensor to = um_tensor_view(&model->cos_sin, position, 1, 0, c->head_dim);

        for (int32_t pair = 0; pair < pairs; pair++) {
            float angle = (float)position * frequencies[pair];

            row[pair] = (float)cos((double)angle);
            row[pairs + pair] = (float)sin((double)angle);
        }
        status = um_tensor_upload(model->backend, &to, row, c->head_dim, err);
    }
    return status;
}

static um_status create_rope_table(um_model *model, um_err *err)
{
    const um_model_config *c = &model->info.config;
    size_t head_dim = (size_t)c->head_dim;
    um_status status;
    float *row;

    if (c->position_rows)
        return UM_OK;
    status =
        um_tensor_create(model->backend, UM_F32, c->context_max, c->head_dim, &model->cos_sin, err);
    if (status != UM_OK)
        return status;
    row = um_mem_calloc(head_dim + head_dim / 2, sizeof(*row));
    if (!row)
        return um_fail(err, UM_E_NOMEM, "no memory for a row of the rotary table, width %zu",
                       head_dim);
    status = fill_rope_table(model, row, row + head_dim, err);
    um_mem_free(row);
    return status;
}

static um_status create_scratch(um_model *model, um_err *err)
{
    const um_model_config *c = &model->info.config;
    int64_t rows = model->rows_max, chunk = rows < CHUNK_ROWS ? rows : CHUNK_ROWS;
    int64_t q = q_width(c), kv = kv_width(c);
    um_dtype compute = model->info.precision;
    const struct {
        um_tensor *tensor;
        um_dtype dtype;
        int64_t rows;
        int64_t cols;
    } plan[] = {
        {&model->x, UM_F32, rows, c->width},
        {&model->q, compute, rows, q},
        {&model->k, compute, rows, kv},
        {&model->v, compute, rows, kv},
        {&model->attended, compute, rows, q},
        {&model->wanted, UM_F32, chunk, c->width},
        {&model->normed, compute, chunk, c->width},
        {&model->qkv, UM_F32, chunk, q + 2 * kv},
        {&model->gated, compute, chunk, c->mlp_width},
    };

    for (size_t i = 0; i < UM_COUNT_OF(plan); i++) {
        um_status status = um_tensor_create(model->backend, plan[i].dtype, plan[i].rows,
                                            plan[i].cols, plan[i].tensor, err);

        if (status != UM_OK)
            return status;
        model->info.scratch_bytes += plan[i].tensor->bytes;
    }
    return UM_OK;
}

static um_status reserve_backend(const um_model *model, um_err *err)
{
    const um_model_config *c = &model->info.config;
    int64_t qkv = q_width(c) + 2 * kv_width(c);
    int64_t widest = qkv > c->mlp_width ? qkv : c->mlp_width;
    um_backend_limits limits = {
        .rows_max = model->rows_max,
        .sequence_max = model->rows_max < c->context_max ? model->rows_max : c->context_max,
        .width_max = widest > c->width ? widest : c->width,
        .vocab_max = c->vocab_rows,
    };

    return um_backend_reserve(model->backend, &limits, err);
}

/* Everything but the facts: `model->info` has family, config, defaults and precision. */
static um_status build(um_model *model, const um_model_options *options, const um_tensor_list *list,
                       const um_tensor_source *source, um_err *err)
{
    um_weights_load_args load = {.config = &model->info.config,
                                 .list = list,
                                 .source = source,
                                 .precision = model->info.precision,
                                 .progress = options->progress,
                                 .progress_context = options->progress_context};
    um_status status;

    UM_ASSERT(options->rows_max >= 0);
    model->rows_max = options->rows_max ? options->rows_max : 2 * (int64_t)load.config->context_max;
    model->info.parameters = um_tensor_list_parameters(list);
    status = reserve_backend(model, err);
    if (status == UM_OK)
        status = create_scratch(model, err);
    if (status == UM_OK)
        status = create_rope_table(model, err);
    if (status == UM_OK)
        status = um_weights_load(model->backend, &load, &model->weights, err);
    if (status == UM_OK)
        model->info.weight_bytes = model->weights.bytes;
    return status;
}

static um_dtype choose_precision(um_precision asked, um_dtype stored)
{
    if (asked == UM_PRECISION_AUTO)
        return stored == UM_F32 ? UM_F32 : UM_BF16;
    return asked == UM_PRECISION_F32 ? UM_F32 : UM_BF16;
}

static void warn_of_unknown(const um_model_dir *from)
{
    um_buf names = {0};
    size_t unknown = um_weights_unknown(from->checkpoint, &from->list, &names);

    if (unknown > 0)
        um_log(UM_LOG_WARN, "unknown_tensors", "count=%zu first=\"%s\"", unknown,
               um_buf_view(&names));
    um_buf_deinit(&names);
}

static um_status open_from(um_model *model, um_model_dir *from, const um_model_options *options,
                           um_err *err)
{
    um_tensor_source source = um_checkpoint_source(from->checkpoint);
    const um_tensor_need *embedding = um_tensor_list_find(&from->list, UM_ROLE_EMBEDDING, 0);
    um_dtype stored = um_checkpoint_find(from->checkpoint, embedding->name)->dtype;

    warn_of_unknown(from);
    model->info.family = from->family;
    model->info.config = from->config;
    model->info.defaults = from->defaults;
    model->algorithm = from->algorithm; /* ownership moves */
    from->algorithm = NULL;
    model->info.precision = choose_precision(options->precision, stored);
    model->info.hash = um_checkpoint_hash(from->checkpoint);
    model->info.mtime = um_checkpoint_mtime(from->checkpoint);
    return build(model, options, &from->list, &source, err);
}

static um_status create(um_backend *backend, um_model **out, um_err *err)
{
    *out = um_mem_zalloc(sizeof(**out));
    if (!*out)
        return um_fail(err, UM_E_NOMEM, "no memory for a model");
    (*out)->backend = backend;
    return UM_OK;
}

um_status um_model_open(const char *dir, um_backend *backend, const um_model_options *options,
                        um_model **out, um_err *err)
{
    um_model_dir from;
    um_model *model = NULL;
    um_status status = um_model_dir_open(dir, &options->dir, &from, err);

    *out = NULL;
    if (status != UM_OK)
        goto done;
    status = create(backend, &model, err);
    if (status == UM_OK)
        status = open_from(model, &from, options, err);
    if (status != UM_OK)
        goto done;
    *out = model;
    model = NULL;
done:
    um_model_close(model);
    um_model_dir_close(&from);
    return status;
}

um_status um_model_open_synthetic(const um_model_config *config, um_backend *backend,
                                  const um_model_options *options, um_model **out, um_err *err)
{
    um_dtype precision = choose_precision(options->precision, UM_BF16);
    um_tensor_source source = um_synthetic_source(&precision);
    um_tensor_list list = {0};
    um_model *model = NULL;
    um_status status = um_model_config_check(config, err);

    *out = NULL;
    if (status != UM_OK)
        goto done;
    status = create(backend, &model, err);
    if (status != UM_OK)
        goto done;
    model->info.family = um_family_at(0); /* for the names only: shapes and ops are the same */
    model->info.config = *config;
    model->info.defaults = model->info.family->defaults;
    model->info.precision = precision;
    status = model->info.family->list_tensors(config, &list, err);
    if (status == UM_OK)
        status = build(model, options, &list, &source, err);
    if (status != UM_OK)
        goto done;
    *out = model;
    model = NULL;
done:
    um_model_close(model);
    um_tensor_list_deinit(&list);
    return status;
}

void um_model_close(um_model *model)
{
    if (!model)
        return;
    um_weights_deinit(model->backend, &model->weights);
    um_tensor_destroy(model->backend, &model->cos_sin);
    um_tensor_destroy(model->backend, &model->x);
    um_tensor_destroy(model->backend, &model->q);
    um_tensor_destroy(model->backend, &model->k);
    um_tensor_destroy(model->backend, &model->v);
    um_tensor_destroy(model->backend, &model->attended);
    um_tensor_destroy(model->backend, &model->wanted);
    um_tensor_destroy(model->backend, &model->normed);
    um_tensor_destroy(model->backend, &model->qkv);
    um_tensor_destroy(model->backend, &model->gated);
    um_mem_free(model->algorithm);
    um_mem_free(model);
}

const um_model_info *um_model_get_info(const um_model *model)
{
    return &model->info;
}

um_backend *um_model_backend(const um_model *model)
{
    return model->backend;
}

const um_weight *um_model_head(const um_model *model)
{
    return model->weights.head;
}

/* ---- forward ------------------------------------------------------------------------------- */

static um_tensor rows_of(const um_tensor *tensor, int64_t row, int64_t rows)
{
    return um_tensor_view(tensor, row, rows, 0, tensor->cols);
}

static um_status norm(const um_model *model, const um_tensor *x, const um_norm_weights *weights,
                      const um_tensor *out, um_err *err)
{
    const um_model_config *c = &model->info.config;
    um_layernorm_args args = {.x = x,
                              .gain = &weights->gain,
                              .bias = weights->bias.data ? &weights->bias : NULL,
                              .eps = c->norm_eps,
                              .out = out};
    um_rmsnorm_args rms = {.x = x, .gain = &weights->gain, .eps = c->norm_eps, .out = out};

    return c->norm == UM_NORM_LAYER ? um_op_layernorm(model->backend, &args, err)
                                    : um_op_rmsnorm(model->backend, &rms, err);
}

static um_status linear(const um_model *model, const um_tensor *x, const um_weight *weight,
                        bool accumulate, const um_tensor *out, um_err *err)
{
    um_linear_args args = {.x = x, .weight = weight, .accumulate = accumulate, .out = out};

    return um_op_linear(model->backend, &args, err);
}

/* Optional norms of q and k over all heads at once, in place, before the rotation. */
static um_status norm_qk(const um_model *model, const um_layer_weights *layer, const um_tensor *qkv,
                         um_err *err)
{
    const um_model_config *c = &model->info.config;
    um_tensor q = um_tensor_view(qkv, 0, qkv->rows, 0, q_width(c));
    um_tensor k = um_tensor_view(qkv, 0, qkv->rows, q_width(c), kv_width(c));
    um_status status = norm(model, &q, &layer->q_norm, &q, err);

    return status == UM_OK ? norm(model, &k, &layer->k_norm, &k, err) : status;
}

/* Rows [row, row+rows): x -> q, k, v. */
static um_status project_qkv(um_model *model, const um_layer_weights *layer,
                             const um_tensor *all_positions, int64_t row, int64_t rows, um_err *err)
{
    const um_model_config *c = &model->info.config;
    um_tensor x = rows_of(&model->x, row, rows), normed = rows_of(&model->normed, 0, rows);
    um_tensor qkv = rows_of(&model->qkv, 0, rows);
    um_tensor q = rows_of(&model->q, row, rows), k = rows_of(&model->k, row, rows);
    um_tensor v = rows_of(&model->v, row, rows);
    um_tensor positions = um_tensor_view(all_positions, 0, 1, row, rows);
    um_rope_args rope = {.qkv = &qkv,
                         .positions = &positions,
                         .cos_sin = model->cos_sin.data ? &model->cos_sin : NULL,
                         .heads = c->heads,
                         .kv_heads = c->kv_heads,
                         .head_dim = c->head_dim,
                         .q = &q,
                         .k = &k,
                         .v = &v};
    um_status status = norm(model, &x, &layer->attention_norm, &normed, err);

    if (status == UM_OK)
        status = linear(model, &normed, layer->qkv, false, &qkv, err);
    if (status == UM_OK && c->qk_norm)
        status = norm_qk(model, layer, &qkv, err);
    return status == UM_OK ? um_op_rope(model->backend, &rope, err) : status;
}

static um_status attend(um_model *model, const um_forward_args *args, int64_t rows, um_err *err)
{
    const um_model_config *c = &model->info.config;
    um_tensor q = rows_of(&model->q, 0, rows), k = rows_of(&model->k, 0, rows);
    um_tensor v = rows_of(&model->v, 0, rows), out = rows_of(&model->attended, 0, rows);
    um_attention_args attention = {.q = &q,
                                   .k = &k,
                                   .v = &v,
                                   .cu_seqlens = args->cu_seqlens,
                                   .sequence_count = args->sequence_count,
                                   .heads = c->heads,
                                   .kv_heads = c->kv_heads,
                                   .head_dim = c->head_dim,
                                   .scale = 1.0f / sqrtf((float)c->head_dim),
                                   .out = &out};

    return um_op_attention(model->backend, &attention, err);
}

/* x += the MLP of the normed x; at most a chunk of rows. */
static um_status add_mlp(um_model *model, const um_layer_weights *layer, const um_tensor *x,
                         um_err *err)
{
    um_tensor normed = rows_of(&model->normed, 0, x->rows);
    um_tensor gated = rows_of(&model->gated, 0, x->rows);
    um_status status = norm(model, x, &layer->mlp_norm, &normed, err);

    if (status == UM_OK)
        status = linear(model, &normed, layer->mlp_in, false, &gated, err);
    return status == UM_OK ? linear(model, &gated, layer->down, true, x, err) : status;
}

static int64_t chunk_at(const um_model *model, int64_t row, int64_t rows)
{
    int64_t chunk = model->normed.rows;

    return rows - row < chunk ? rows - row : chunk;
}

/* The MLP of the last layer is left to finish_wanted: no other row will ever look at its result. */
static um_status forward_layer(um_model *model, const um_layer_weights *layer, bool last,
                               const um_forward_args *args, int64_t rows, um_err *err)
{
    um_status status = UM_OK;
    int64_t count;

    for (int64_t row = 0; row < rows && status == UM_OK; row += count) {
        count = chunk_at(model, row, rows);
        status = project_qkv(model, layer, args->positions, row, count, err);
    }
    if (status == UM_OK)
        status = attend(model, args, rows, err);
    for (int64_t row = 0; row < rows && status == UM_OK; row += count) {
        um_tensor x, attended;

        count = chunk_at(model, row, rows);
        x = rows_of(&model->x, row, count);
        attended = rows_of(&model->attended, row, count);
        status = linear(model, &attended, layer->attention_out, true, &x, err);
        if (status == UM_OK && !last)
            status = add_mlp(model, layer, &x, err);
    }
    return status;
}

/* The last MLP and the final norm, for the gathered rows alone. */
static um_status finish_wanted(um_model *model, const um_forward_args *args, const um_tensor *x,
                               um_err *err)
{
    const um_layer_weights *layer = &model->weights.layers[model->info.config.layers - 1];
    um_status status = UM_OK;
    int64_t count;

    for (int64_t row = 0; row < args->hidden->rows && status == UM_OK; row += count) {
        um_tensor gather, wanted, hidden;
        um_embed_args pick = {.ids = &gather, .table = x, .scale = 1.0f, .out = &wanted};

        count = chunk_at(model, row, args->hidden->rows);
        gather = um_tensor_view(args->gather, 0, 1, row, count);
        wanted = rows_of(&model->wanted, 0, count);
        hidden = rows_of(args->hidden, row, count);
        status = um_op_embed(model->backend, &pick, err);
        if (status == UM_OK)
            status = add_mlp(model, layer, &wanted, err);
        if (status == UM_OK)
            status = norm(model, &wanted, &model->weights.final_norm, &hidden, err);
    }
    return status;
}

um_status um_model_forward(um_model *model, const um_forward_args *args, um_err *err)
{
    const um_model_config *c = &model->info.config;
    int64_t rows = args->cu_seqlens[args->sequence_count];
    um_tensor x;
    um_embed_args embed = {.ids = args->ids,
                           .table = &model->weights.embedding,
                           .scale = c->embed_scale,
                           .positions = args->positions,
                           .position_table = c->position_rows ? &model->weights.positions : NULL,
                           .out = &x};
    um_status status;

    UM_ASSERT(rows > 0 && rows <= model->rows_max);
    x = rows_of(&model->x, 0, rows);
    status = um_op_embed(model->backend, &embed, err);
    for (int32_t i = 0; i < c->layers && status == UM_OK; i++)
        status =
            forward_layer(model, &model->weights.layers[i], i == c->layers - 1, args, rows, err);
    return status == UM_OK ? finish_wanted(model, args, &x, err) : status;
}
