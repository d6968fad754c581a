#include "core/model/weights.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"

#define LIST_CAPACITY_MIN 64
#define STAGING_ELEMENTS ((int64_t)64 << 10)
#define NAMES_SHOWN 3

/* ---- the list of needs --------------------------------------------------------------------- */

static um_status grow(um_tensor_list *list, um_err *err)
{
    size_t capacity = list->capacity ? list->capacity * 2 : LIST_CAPACITY_MIN;
    size_t bytes;
    um_tensor_need *items = NULL;

    if (um_mem_mul(capacity, sizeof(*items), &bytes))
        items = um_mem_realloc(list->items, bytes);
    if (!items)
        return um_fail(err, UM_E_NOMEM, "no memory for a list of %zu tensors", capacity);
    list->items = items;
    list->capacity = capacity;
    return UM_OK;
}

um_status um_tensor_list_add(um_tensor_list *list, um_role role, int32_t layer, int64_t rows,
                             int64_t cols, um_err *err, const char *name, ...)
{
    um_tensor_need *need;
    va_list arguments;
    int length;

    if (list->count == list->capacity) {
        um_status status = grow(list, err);

        if (status != UM_OK)
            return status;
    }
    need = &list->items[list->count++];
    *need = (um_tensor_need){.role = role, .layer = layer, .rows = rows, .cols = cols};
    va_start(arguments, name);
    length = vsnprintf(need->name, sizeof(need->name), name, arguments);
    va_end(arguments);
    UM_ASSERT(length > 0 && length < (int)sizeof(need->name));
    return UM_OK;
}

void um_tensor_list_deinit(um_tensor_list *list)
{
    um_mem_free(list->items);
    *list = (um_tensor_list){0};
}

const um_tensor_need *um_tensor_list_find(const um_tensor_list *list, um_role role, int32_t layer)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].role == role && list->items[i].layer == layer)
            return &list->items[i];
    return NULL;
}

uint64_t um_tensor_list_parameters(const um_tensor_list *list)
{
    uint64_t count = 0;

    for (size_t i = 0; i < list->count; i++)
        count += (uint64_t)list->items[i].rows * (uint64_t)list->items[i].cols;
    return count;
}

/* ---- checking ------------------------------------------------------------------------------ */

static void append_shape(um_buf *out, const um_checkpoint_tensor *found)
{
    um_buf_char(out, '[');
    for (int32_t i = 0; i < found->rank; i++)
        um_buf_printf(out, "%s%lld", i ? ", " : "", (long long)found->shape[i]);
    um_buf_char(out, ']');
}

static bool shape_fits(const um_checkpoint_tensor *found, const um_tensor_need *need)
{
    if (found->rank == 1)
        return need->rows == 1 && found->shape[0] == need->cols;
    return found->rank == 2 && found->shape[need->transposed] == need->rows &&
           found->shape[!need->transposed] == need->cols;
}

static bool fits(const um_checkpoint_tensor *found, const um_tensor_need *need)
{
    return found && shape_fits(found, need) && found->supported;
}

/* One line about what is wrong with a need that does not fit. */
static void append_problem(um_buf *out, const um_checkpoint_tensor *found,
                           const um_tensor_need *need)
{
    um_buf_printf(out, "%s%s is ", out->length ? "\n" : "", need->name);
    if (!found) {
        um_buf_text(out, "missing");
    } else if (!shape_fits(found, need)) {
        append_shape(out, found);
        if (need->rows == 1)
            um_buf_printf(out, ", expected [%lld]", (long long)need->cols);
        else
            um_buf_printf(out, ", expected [%lld, %lld]",
                          (long long)(need->transposed ? need->cols : need->rows),
                          (long long)(need->transposed ? need->rows : need->cols));
    } else {
        um_buf_printf(out, "%s, expected F32, BF16 or F16", found->dtype_name);
    }
}

um_status um_weights_check(const um_checkpoint *checkpoint, const um_tensor_list *list,
                           um_buf *problems, um_err *err)
{
    um_buf lines = {0};
    size_t count = 0;
    um_status status = UM_OK;

    for (size_t i = 0; i < list->count; i++) {
        const um_tensor_need *need = &list->items[i];
        const um_checkpoint_tensor *found = um_checkpoint_find(checkpoint, need->name);

        if (fits(found, need))
            continue;
        append_problem(&lines, found, need);
        count++;
    }
    if (um_buf_failed(&lines)) {
        status = um_fail(err, UM_E_NOMEM, "no memory to list what is wrong with the checkpoint");
    } else if (count > 0) {
        if (problems)
            um_buf_append(problems, lines.data, lines.length);
        for (size_t i = 0; i < lines.length; i++)
            if (lines.data[i] == '\n')
                lines.data[i] = ';';
        status = um_fail(err, UM_E_FORMAT, "%zu of %zu tensors are missing or unfit: %s", count,
                         list->count, lines.data);
    }
    um_buf_deinit(&lines);
    return status;
}

static bool is_needed(const um_tensor_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].name, name) == 0)
            return true;
    return false;
}

size_t um_weights_unknown(const um_checkpoint *checkpoint, const um_tensor_list *list,
                          um_buf *first_names)
{
    size_t unknown = um_checkpoint_count(checkpoint) - list->count;
    size_t shown = 0;

    UM_ASSERT(um_checkpoint_count(checkpoint) >= list->count);
    for (size_t i = 0; first_names && shown < unknown && shown < NAMES_SHOWN; i++) {
        const char *name = um_checkpoint_at(checkpoint, i)->name;

        if (!is_needed(list, name))
            um_buf_printf(first_names, "%s%s", shown++ ? ", " : "", name);
    }
    return unknown;
}

/* ---- a checkpoint as source ---------------------------------------------------------------- */

#define TRANSPOSE_TILE ((size_t)32)

/* [cols][rows] -> [rows][cols], elements of `bytes`; tile by tile, so that neither side leaves the
 * cache. */
static void transpose(const char *from, char *to, size_t rows, size_t cols, size_t bytes)
{
    for (size_t r0 = 0; r0 < rows; r0 += TRANSPOSE_TILE)
        for (size_t c0 = 0; c0 < cols; c0 += TRANSPOSE_TILE)
            for (size_t r = r0; r < rows && r < r0 + TRANSPOSE_TILE; r++)
                for (size_t c = c0; c < cols && c < c0 + TRANSPOSE_TILE; c++)
                    memcpy(to + (r * cols + c) * bytes, from + (c * rows + r) * bytes, bytes);
}

static um_status checkpoint_get(const void *context, const um_tensor_need *need, um_tensor *out,
                                um_err *err)
{
    const um_checkpoint_tensor *found = um_checkpoint_find(context, need->name);
    void *copy;

    UM_ASSERT(fits(found, need));
    *out = um_tensor_host(found->dtype, need->rows, need->cols, found->data);
    /* Writers pad their header to 8 bytes, but the format does not oblige them to. */
    if (!need->transposed && (uintptr_t)found->data % um_dtype_bytes(found->dtype) == 0)
        return UM_OK;
    copy = um_mem_alloc_aligned(found->bytes);
    if (!copy)
        return um_fail(err, UM_E_NOMEM, "no memory for a copy of %s, %zu bytes", need->name,
                       found->bytes);
    if (need->transposed)
        transpose(found->data, copy, (size_t)need->rows, (size_t)need->cols,
                  um_dtype_bytes(found->dtype));
    else
        memcpy(copy, found->data, found->bytes);
    out->data = copy;
    out->bytes = found->bytes;
    return UM_OK;
}

static void checkpoint_release(const void *context, const um_tensor_need *need, um_tensor *tensor)
{
    const um_checkpoint *checkpoint = context;

    if (tensor->bytes > 0)
        um_mem_free_aligned(tensor->data, tensor->bytes);
    um_checkpoint_discard(checkpoint, um_checkpoint_find(checkpoint, need->name));
    *tensor = (um_tensor){0};
}

um_tensor_source um_checkpoint_source(const um_checkpoint *checkpoint)
{
    return (um_tensor_source){
        .get = checkpoint_get, .release = checkpoint_release, .context = checkpoint};
}

/* ---- loading ------------------------------------------------------------------------------- */

typedef struct loader {
    um_backend *backend;
    const um_weights_load_args *args;
    const um_tensor_need **needs; /* [layers][UM_ROLE_COUNT], owned; NULL: not listed */
    float *widened;               /* [STAGING_ELEMENTS or one row], owned */
    uint16_t *rounded;            /* the same */
    int64_t staging_elements;
    int64_t elements_done;
    int64_t elements_all;
    um_weights *out;
} loader;

static const um_tensor_need *need_of(const loader *l, um_role role, int32_t layer)
{
    return l->needs[layer * UM_ROLE_COUNT + (int32_t)role];
}

static um_status report_progress(loader *l, const um_tensor_need *need, um_err *err)
{
    l->elements_done += need->rows * need->cols;
    if (l->args->progress && !l->args->progress(l->args->progress_context,
                                                (double)l->elements_done / (double)l->elements_all))
        return um_fail(err, UM_E_CANCELLED, "loading was given up at %s", need->name);
    return UM_OK;
}

/* Copies `from` into `to` (f32 or bf16) in pieces, widened exactly or rounded once. */
static um_status upload_converted(loader *l, const um_tensor *from, const um_tensor *to,
                                  um_err *err)
{
    int64_t rows_each = l->staging_elements / from->cols;

    UM_ASSERT(rows_each > 0);
    if (from->dtype == to->dtype)
        return um_tensor_upload(l->backend, to, from->data, from->rows * from->cols, err);
    for (int64_t row = 0; row < from->rows; row += rows_each) {
        int64_t rows = from->rows - row < rows_each ? from->rows - row : rows_each;
        const char *source =
            (const char *)from->data + (size_t)(row * from->cols) * um_dtype_bytes(from->dtype);
        um_tensor piece = um_tensor_view(to, row, rows, 0, to->cols);
        const void *converted = l->widened;
        um_status status;

        um_widen(from->dtype, source, l->widened, rows * from->cols);
        if (to->dtype == UM_BF16) {
            for (int64_t i = 0; i < rows * from->cols; i++)
                l->rounded[i] = um_f32_to_bf16(l->widened[i]);
            converted = l->rounded;
        }
        status = um_tensor_upload(l->backend, &piece, converted, rows * from->cols, err);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

/* A vector or table that ops read as a plain tensor. */
static um_status load_tensor(loader *l, um_role role, int32_t layer, um_dtype dtype, um_tensor *out,
                             um_err *err)
{
    const um_tensor_need *need = need_of(l, role, layer);
    const um_tensor_source *source = l->args->source;
    um_tensor from = {0};
    um_status status;

    if (!need)
        return UM_OK; /* optional; required ones are in every family's list */
    status = um_tensor_create(l->backend, dtype, need->rows, need->cols, out, err);
    if (status != UM_OK)
        return status;
    l->out->bytes += out->bytes;
    status = source->get(source->context, need, &from, err);
    if (status != UM_OK)
        return status;
    status = upload_converted(l, &from, out, err);
    source->release(source->context, need, &from);
    return status == UM_OK ? report_progress(l, need, err) : status;
}

/* One packed matrix of one or several tensors, stacked in the order of `roles`. */
static um_status load_matrix(loader *l, um_weight_kind kind, int32_t layer, const um_role *roles,
                             int32_t role_count, um_weight **out, um_err *err)
{
    const um_tensor_source *source = l->args->source;
    const um_tensor_need *taken[2 * UM_WEIGHT_PARTS_MAX];
    um_tensor *tensors[2 * UM_WEIGHT_PARTS_MAX];
    size_t count = 0;
    um_status status = UM_OK;
    um_weight_spec spec = {.kind = kind,
                           .activation = l->args->config->activation,
                           .dtype = l->args->precision,
                           .part_count = role_count};

    for (int32_t i = 0; i < role_count; i++) {
        const um_tensor_need *bias = need_of(l, roles[i] + 1, layer);

        tensors[count] = &spec.parts[i];
        taken[count++] = need_of(l, roles[i], layer);
        if (bias) {
            tensors[count] = &spec.biases[i];
            taken[count++] = bias;
        }
    }
    for (size_t i = 0; i < count && status == UM_OK; i++) {
        status = source->get(source->context, taken[i], tensors[i], err);
        if (status != UM_OK)
            count = i; /* what release must undo */
    }
    if (status == UM_OK)
        status = um_weight_create(l->backend, &spec, out, err);
    if (status == UM_OK)
        l->out->bytes += um_weight_bytes(*out);
    for (size_t i = 0; i < count; i++) {
        source->release(source->context, taken[i], tensors[i]);
        if (status == UM_OK)
            status = report_progress(l, taken[i], err);
    }
    return status;
}

/* Role `gain` and the bias that follows it, each where the family has it. */
static um_status load_norm(loader *l, um_role gain, int32_t layer, um_norm_weights *out,
                           um_err *err)
{
    um_status status = load_tensor(l, gain, layer, UM_F32, &out->gain, err);

    return status == UM_OK ? load_tensor(l, gain + 1, layer, UM_F32, &out->bias, err) : status;
}

static um_status load_qkv(loader *l, int32_t layer, um_weight **out, um_err *err)
{
    static const um_role apart[] = {UM_ROLE_Q, UM_ROLE_K, UM_ROLE_V};
    static const um_role fused[] = {UM_ROLE_QKV};

    return need_of(l, UM_ROLE_QKV, layer)
               ? load_matrix(l, UM_WEIGHT_PLAIN, layer, fused, 1, out, err)
               : load_matrix(l, UM_WEIGHT_PLAIN, layer, apart, 3, out, err);
}

static um_status load_mlp_in(loader *l, int32_t layer, um_weight **out, um_err *err)
{
    static const um_role roles[] = {UM_ROLE_GATE, UM_ROLE_UP};

    return need_of(l, UM_ROLE_GATE, layer)
               ? load_matrix(l, UM_WEIGHT_GATED, layer, roles, 2, out, err)
               : load_matrix(l, UM_WEIGHT_ACTIVATED, layer, &roles[1], 1, out, err);
}

static um_status load_layer(loader *l, int32_t layer, um_layer_weights *out, um_err *err)
{
    static const um_role attention_out[] = {UM_ROLE_ATTENTION_OUT};
    static const um_role down[] = {UM_ROLE_DOWN};
    um_status status = load_norm(l, UM_ROLE_ATTENTION_NORM, layer, &out->attention_norm, err);

    if (status == UM_OK)
        status = load_norm(l, UM_ROLE_MLP_NORM, layer, &out->mlp_norm, err);
    if (status == UM_OK)
        status = load_tensor(l, UM_ROLE_Q_NORM, layer, UM_F32, &out->q_norm.gain, err);
    if (status == UM_OK)
        status = load_tensor(l, UM_ROLE_K_NORM, layer, UM_F32, &out->k_norm.gain, err);
    if (status == UM_OK)
        status = load_qkv(l, layer, &out->qkv, err);
    if (status == UM_OK)
        status = load_matrix(l, UM_WEIGHT_PLAIN, layer, attention_out, 1, &out->attention_out, err);
    if (status == UM_OK)
        status = load_mlp_in(l, layer, &out->mlp_in, err);
    if (status == UM_OK)
        status = load_matrix(l, UM_WEIGHT_PLAIN, layer, down, 1, &out->down, err);
    return status;
}

static um_status load_all(loader *l, um_err *err)
{
    static const um_role head[] = {UM_ROLE_HEAD};
    um_weights *out = l->out;
    um_status status =
        load_tensor(l, UM_ROLE_EMBEDDING, 0, l->args->precision, &out->embedding, err);

    if (status == UM_OK)
        status = load_tensor(l, UM_ROLE_POSITIONS, 0, l->args->precision, &out->positions, err);
    if (status == UM_OK)
        status = load_norm(l, UM_ROLE_FINAL_NORM, 0, &out->final_norm, err);
    if (status == UM_OK)
        status = load_matrix(l, UM_WEIGHT_PLAIN, 0, head, 1, &out->head, err);
    for (int32_t layer = 0; status == UM_OK && layer < out->layer_count; layer++)
        status = load_layer(l, layer, &out->layers[layer], err);
    return status;
}

static um_status prepare(loader *l, um_err *err)
{
    const um_tensor_list *list = l->args->list;
    size_t layers = (size_t)l->args->config->layers;

    l->needs = um_mem_calloc(layers * UM_ROLE_COUNT, sizeof(*l->needs));
    l->out->layers = um_mem_calloc(layers, sizeof(*l->out->layers));
    if (!l->needs || !l->out->layers)
        return um_fail(err, UM_E_NOMEM, "no memory for the weights of %zu layers", layers);
    l->out->layer_count = l->args->config->layers;
    l->staging_elements = STAGING_ELEMENTS;
    for (size_t i = 0; i < list->count; i++) {
        const um_tensor_need *need = &list->items[i];

        UM_ASSERT(need->layer < l->args->config->layers);
        l->needs[need->layer * UM_ROLE_COUNT + (int32_t)need->role] = need;
        l->elements_all += need->rows * need->cols;
        if (need->cols > l->staging_elements)
            l->staging_elements = need->cols;
    }
    if (l->args->config->tied_head) { /* the same tensor is packed twice: as table and as head */
        const um_tensor_need *embedding = need_of(l, UM_ROLE_EMBEDDING, 0);

        l->needs[UM_ROLE_HEAD] = embedding;
        l->elements_all += embedding->rows * embedding->cols;
    }
    l->widened = um_mem_calloc((size_t)l->staging_elements, sizeof(*l->widened));
    l->rounded = um_mem_calloc((size_t)l->staging_elements, sizeof(*l->rounded));
    if (!l->widened || !l->rounded)
        return um_fail(err, UM_E_NOMEM, "no memory to convert %lld elements at a time",
                       (long long)l->staging_elements);
    return UM_OK;
}

um_status um_weights_load(um_backend *backend, const um_weights_load_args *args, um_weights *out,
                          um_err *err)
{
    loader l = {.backend = backend, .args = args, .out = out};
    um_status status;

    UM_ASSERT(args->precision == UM_F32 || args->precision == UM_BF16);
    *out = (um_weights){0};
    status = prepare(&l, err);
    if (status == UM_OK)
        status = load_all(&l, err);
    um_mem_free(l.rounded);
    um_mem_free(l.widened);
    um_mem_free(l.needs);
    if (status != UM_OK)
        um_weights_deinit(backend, out);
    return status;
}

static void deinit_norm(um_backend *backend, um_norm_weights *norm)
{
    um_tensor_destroy(backend, &norm->gain);
    um_tensor_destroy(backend, &norm->bias);
}

static void deinit_layer(um_backend *backend, um_layer_weights *layer)
{
    deinit_norm(backend, &layer->attention_norm);
    deinit_norm(backend, &layer->mlp_norm);
    deinit_norm(backend, &layer->q_norm);
    deinit_norm(backend, &layer->k_norm);
    um_weight_destroy(backend, layer->qkv);
    um_weight_destroy(backend, layer->attention_out);
    um_weight_destroy(backend, layer->mlp_in);
    um_weight_destroy(backend, layer->down);
}

void um_weights_deinit(um_backend *backend, um_weights *weights)
{
    um_tensor_destroy(backend, &weights->embedding);
    um_tensor_destroy(backend, &weights->positions);
    deinit_norm(backend, &weights->final_norm);
    um_weight_destroy(backend, weights->head);
    for (int32_t i = 0; i < weights->layer_count; i++)
        deinit_layer(backend, &weights->layers[i]);
    um_mem_free(weights->layers);
    *weights = (um_weights){0};
}
