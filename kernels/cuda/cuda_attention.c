/*
 * The host side of attention: builds the work list of cuda_attention.h and launches.
 *
 * The list follows from the lengths of the sequences and the shape of the heads, which all layers
 * of a step share: it is built and sent when they differ from the last call's, so once a step.
 * Scratch comes from reserve. Owner: the engine thread.
 */
#include <string.h>

#include "core/base/mem.h"
#include "kernels/cuda/cuda_attention.h"
#include "kernels/cuda/cuda_internal.h"

/*
 * A sequence is split when it is longer than this and has fewer than half of SPLIT_BLOCKS tiles:
 * into as many ranges as bring it near that number of blocks, which fill a large device, but not
 * shorter than SPLIT_KEYS. Constants, since a result must not depend on the device: see the header.
 */
enum { SPLIT_ABOVE = 512, SPLIT_KEYS = 256, SPLIT_BLOCKS = 128 };

struct umi_cuda_attention_state {
    /* what the list on the device was built from */
    bool sent;
    int32_t heads, kv_heads, head_dim;
    int32_t sequence_count;
    int32_t *cu_seqlens; /* [sequence_max + 1], host, owned */
    int32_t sequence_max;

    umi_attention_item *list;  /* host, owned: items, then what is to be combined */
    umi_attention_item *items; /* device, owned: the same */
    int32_t item_max;
    int32_t item_count;
    int32_t combine_count;

    float *sums;   /* device, owned; NULL where no sequence can be split */
    float *scales; /* device, owned; likewise */
    int32_t part_max;
};

/* ---- the work list -------------------------------------------------------------------------- */

/* How a sequence is cut. */
typedef struct cut {
    int32_t tile_rows; /* query rows of a tile */
    int32_t tiles;
    int32_t range; /* keys of a range; the last one may be shorter */
    int32_t ranges;
} cut;

static int32_t ceil_div(int32_t a, int32_t b)
{
    return (a + b - 1) / b;
}

static cut cut_sequence(const um_attention_args *args, int32_t length)
{
    cut c = {.range = length, .ranges = 1};
    int32_t blocks;

    c.tile_rows = UMI_ATTENTION_TILE / (args->heads / args->kv_heads);
    c.tiles = ceil_div(length, c.tile_rows);
    blocks = c.tiles * args->kv_heads;
    if (length <= SPLIT_ABOVE || blocks > SPLIT_BLOCKS / 2 ||
        args->head_dim > UMI_ATTENTION_PART_WIDTH)
        return c;
    c.ranges = ceil_div(length, SPLIT_KEYS);
    if (c.ranges > SPLIT_BLOCKS / blocks)
        c.ranges = SPLIT_BLOCKS / blocks;
    c.range = ceil_div(ceil_div(length, c.ranges), UMI_ATTENTION_KEYS) * UMI_ATTENTION_KEYS;
    c.ranges = ceil_div(length, c.range);
    return c;
}

static void append(umi_cuda_attention_state *state, umi_attention_item item)
{
    UM_ASSERT(state->item_count + state->combine_count < state->item_max);
    state->list[state->item_count + state->combine_count] = item;
}

/* The blocks of one sequence; parts are numbered from *part on. */
static void list_blocks(umi_cuda_attention_state *state, const cut *c, int32_t first,
                        int32_t length, int32_t *part)
{
    for (int32_t tile = 0; tile < c->tiles; tile++)
        for (int32_t range = 0; range < c->ranges; range++) {
            umi_attention_item item = {.first = first,
                                       .row = tile * c->tile_rows,
                                       .key = range * c->range,
                                       .part = -1,
                                       .parts = c->ranges};

            item.rows = length - item.row < c->tile_rows ? length - item.row : c->tile_rows;
            item.keys = length - item.key < c->range ? length - item.key : c->range;
            if (c->ranges > 1)
                item.part = (*part)++;
            append(state, item);
            state->item_count++;
        }
}

/* What is to be combined: the first range of each split tile stands for all of them. */
static void list_combines(umi_cuda_attention_state *state)
{
    for (int32_t i = 0; i < state->item_count; i++) {
        if (state->list[i].part < 0 || state->list[i].key > 0)
            continue;
        append(state, state->list[i]);
        state->combine_count++;
    }
}

static void build_list(umi_cuda_attention_state *state, const um_attention_args *args)
{
    int32_t part = 0;

    state->item_count = 0;
    state->combine_count = 0;
    for (int32_t s = 0; s < args->sequence_count; s++) {
        int32_t first = args->cu_seqlens[s], length = args->cu_seqlens[s + 1] - first;
        cut c;

        if (length == 0)
            continue;
        c = cut_sequence(args, length);
        list_blocks(state, &c, first, length, &part);
    }
    UM_ASSERT(part * args->kv_heads <= state->part_max);
    list_combines(state);
}

static bool is_sent(const umi_cuda_attention_state *state, const um_attention_args *args)
{
    return state->sent && state->heads == args->heads && state->kv_heads == args->kv_heads &&
           state->head_dim == args->head_dim && state->sequence_count == args->sequence_count &&
           memcmp(state->cu_seqlens, args->cu_seqlens,
                  ((size_t)args->sequence_count + 1) * sizeof(*args->cu_seqlens)) == 0;
}

static um_status send_list(umi_cuda *cuda, const um_attention_args *args, um_err *err)
{
    umi_cuda_attention_state *state = cuda->attention;
    size_t count = (size_t)args->sequence_count + 1;
    um_status status;

    if (is_sent(state, args))
        return UM_OK;
    UM_ASSERT(args->sequence_count <= state->sequence_max);
    state->sent = false;
    state->heads = args->heads;
    state->kv_heads = args->kv_heads;
    state->head_dim = args->head_dim;
    state->sequence_count = args->sequence_count;
    memcpy(state->cu_seqlens, args->cu_seqlens, count * sizeof(*args->cu_seqlens));
    build_list(state, args);
    status = umi_cuda_upload(
        &cuda->base, state->items, state->list,
        ((size_t)state->item_count + (size_t)state->combine_count) * sizeof(*state->list), err);
    state->sent = status == UM_OK;
    return status;
}

/* ---- the op --------------------------------------------------------------------------------- */

static bool is_aligned(const um_tensor *t)
{
    return (uintptr_t)t->data % 16 == 0 && t->stride % 8 == 0;
}

static bool fits_tensor_cores(const um_attention_args *args)
{
    return args->q->dtype == UM_BF16 && (args->head_dim == 64 || args->head_dim == 128) &&
           is_aligned(args->q) && is_aligned(args->k) && is_aligned(args->v) &&
           is_aligned(args->out);
}

um_status umi_cuda_attention(um_backend *backend, const um_attention_args *args, um_err *err)
{
    umi_cuda *cuda = (umi_cuda *)backend;
    umi_cuda_attention_state *state = cuda->attention;
    umi_attention_job job;
    um_status status;

    if (args->heads / args->kv_heads > UMI_ATTENTION_TILE)
        return um_fail(err, UM_E_UNSUPPORTED,
                       "cuda attention takes at most %d query heads for a KV head, not %d",
                       UMI_ATTENTION_TILE, (int)(args->heads / args->kv_heads));
    status = send_list(cuda, args, err);
    if (status != UM_OK || state->item_count == 0)
        return status;
    job = (umi_attention_job){.q = args->q->data,
                              .k = args->k->data,
                              .v = args->v->data,
                              .out = args->out->data,
                              .q_stride = (int32_t)args->q->stride,
                              .k_stride = (int32_t)args->k->stride,
                              .v_stride = (int32_t)args->v->stride,
                              .out_stride = (int32_t)args->out->stride,
                              .items = state->items,
                              .combines = state->items + state->item_count,
                              .sums = state->sums,
                              .scales = state->scales,
                              .item_count = state->item_count,
                              .combine_count = state->combine_count,
                              .kv_heads = args->kv_heads,
                              .group = args->heads / args->kv_heads,
                              .head_dim = args->head_dim,
                              .scale = args->scale,
                              .bf16 = args->q->dtype == UM_BF16};
    if (fits_tensor_cores(args))
        status = UMI_CUDA_TRY(err, umi_launch_attention_mma(&job, cuda->stream));
    else
        status = UMI_CUDA_TRY(err, umi_launch_attention_fma(&job, cuda->stream));
    if (status == UM_OK && job.combine_count > 0)
        status = UMI_CUDA_TRY(err, umi_launch_attention_combine(&job, cuda->stream));
    return status;
}

/* ---- scratch -------------------------------------------------------------------------------- */

static void free_state(umi_cuda_attention_state *state)
{
    if (!state)
        return;
    umi_cuda_free(state->scales);
    umi_cuda_free(state->sums);
    umi_cuda_free(state->items);
    um_mem_free(state->list);
    um_mem_free(state->cu_seqlens);
    um_mem_free(state);
}

/* A tile holds at least one row. A split sequence has at most SPLIT_BLOCKS blocks, each of which
 * leaves a part, in at most half as many tiles. */
static void set_bounds(umi_cuda_attention_state *state, const um_backend_limits *limits)
{
    int64_t split = 0, items;

    if (limits->sequence_max > SPLIT_ABOVE)
        split = limits->rows_max / (SPLIT_ABOVE + 1);
    items = limits->rows_max + split * (SPLIT_BLOCKS + SPLIT_BLOCKS / 2);
    UM_ASSERT(items <= INT32_MAX);
    state->sequence_max = (int32_t)limits->rows_max;
    state->item_max = (int32_t)items;
    state->part_max = (int32_t)(split * SPLIT_BLOCKS);
}

static um_status make_host_side(umi_cuda_attention_state *state, um_err *err)
{
    size_t sequences = (size_t)state->sequence_max + 1, items = (size_t)state->item_max;

    state->cu_seqlens = um_mem_calloc(sequences, sizeof(*state->cu_seqlens));
    state->list = um_mem_calloc(items, sizeof(*state->list));
    if (state->cu_seqlens && state->list)
        return UM_OK;
    return um_fail(err, UM_E_NOMEM, "no memory for the work list of attention, %zu items", items);
}

static um_status make_device_side(umi_cuda_attention_state *state, um_err *err)
{
    size_t rows = (size_t)state->part_max * UMI_ATTENTION_TILE;
    um_status status = umi_cuda_alloc((size_t)state->item_max * sizeof(*state->items),
                                      (void **)&state->items, err);

    if (status == UM_OK && rows > 0)
        status = umi_cuda_alloc(rows * UMI_ATTENTION_PART_WIDTH * sizeof(*state->sums),
                                (void **)&state->sums, err);
    if (status == UM_OK && rows > 0)
        status = umi_cuda_alloc(rows * 2 * sizeof(*state->scales), (void **)&state->scales, err);
    return status;
}

um_status umi_cuda_attention_reserve(umi_cuda *cuda, const um_backend_limits *limits, um_err *err)
{
    umi_cuda_attention_state *state;
    um_status status = UMI_CUDA_TRY(err, umi_prepare_attention());

    if (status != UM_OK)
        return status;
    state = um_mem_zalloc(sizeof(*state));
    if (!state)
        return um_fail(err, UM_E_NOMEM, "no memory for the state of attention");
    set_bounds(state, limits);
    status = make_host_side(state, err);
    if (status == UM_OK)
        status = make_device_side(state, err);
    if (status != UM_OK) {
        free_state(state);
        return status;
    }
    free_state(cuda->attention);
    cuda->attention = state;
    return UM_OK;
}

void umi_cuda_attention_close(umi_cuda *cuda)
{
    free_state(cuda->attention);
    cuda->attention = NULL;
}
