/*
 * The reference backend: host memory, scratch and the table of slots. One thread.
 */
#include "kernels/ref/ref_internal.h"

#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"

static void *ref_alloc(um_backend *backend, size_t bytes)
{
    (void)backend;
    return um_mem_alloc_aligned(bytes);
}

static void ref_release(um_backend *backend, void *data, size_t bytes)
{
    (void)backend;
    um_mem_free_aligned(data, bytes);
}

static um_status ref_copy(um_backend *backend, void *to, const void *from, size_t bytes,
                          um_err *err)
{
    (void)backend;
    (void)err;
    if (bytes)
        memcpy(to, from, bytes);
    return UM_OK;
}

static void ref_close(um_backend *backend)
{
    umi_ref_deinit((umi_ref *)backend);
    um_mem_free(backend);
}

void umi_ref_init(umi_ref *ref, const um_backend_options *options)
{
    *ref = (umi_ref){0};
    ref->base.is_host = true;
    ref->base.is_batch_invariant = true;
    ref->tile_bytes = options->tile_bytes;
}

void umi_ref_deinit(umi_ref *ref)
{
    um_mem_free_aligned(ref->scratch, ref->scratch_bytes);
}

/* Takes `count` elements of `size` bytes off a block that is being laid out; 64-byte aligned. */
static bool lay_out(size_t *end, int64_t count, size_t size, size_t *start)
{
    size_t bytes;

    *start = *end;
    return um_mem_mul((size_t)count, size, &bytes) && um_mem_add(bytes, 63, &bytes) &&
           um_mem_add(*end, bytes & ~(size_t)63, end);
}

um_status umi_ref_reserve(um_backend *backend, const um_backend_limits *limits, um_err *err)
{
    umi_ref *ref = (umi_ref *)backend;
    int64_t tile_rows, tile_floats = (int64_t)(ref->tile_bytes / sizeof(float));
    int64_t key_count = limits->rows_max > limits->vocab_max ? limits->rows_max : limits->vocab_max;
    size_t row, scores, plain, keys, tile, bytes = 0;
    char *block = NULL;

    if (limits->vocab_max > tile_floats)
        return um_fail(err, UM_E_UNSUPPORTED,
                       "a row of %lld logits does not fit the logits tile of %zu bytes",
                       (long long)limits->vocab_max, ref->tile_bytes);
    tile_rows = limits->vocab_max ? tile_floats / limits->vocab_max : 0;
    if (tile_rows > limits->rows_max)
        tile_rows = limits->rows_max;
    tile_floats = tile_rows * limits->vocab_max;
    if (lay_out(&bytes, limits->width_max, sizeof(float), &row) &&
        lay_out(&bytes, limits->sequence_max, sizeof(float), &scores) &&
        lay_out(&bytes, limits->vocab_max, sizeof(float), &plain) &&
        lay_out(&bytes, key_count, sizeof(uint64_t), &keys) &&
        lay_out(&bytes, tile_floats, sizeof(float), &tile))
        block = um_mem_alloc_aligned(bytes);
    if (!block)
        return um_fail(err, UM_E_NOMEM, "no memory for %zu bytes of scratch", bytes);
    umi_ref_deinit(ref);
    ref->scratch = block;
    ref->scratch_bytes = bytes;
    ref->row = (float *)(void *)(block + row);
    ref->scores = (float *)(void *)(block + scores);
    ref->plain = (float *)(void *)(block + plain);
    ref->keys = (uint64_t *)(void *)(block + keys);
    ref->tile = (float *)(void *)(block + tile);
    ref->tile_floats = tile_floats;
    return UM_OK;
}

const um_ops_table umi_ref_ops = {
    .close = ref_close,
    .reserve = umi_ref_reserve,
    .alloc = ref_alloc,
    .release = ref_release,
    .upload = ref_copy,
    .download = ref_copy,
    .weight_create = umi_ref_weight_create,
    .weight_destroy = umi_ref_weight_destroy,
    .embed = umi_ref_embed,
    .rmsnorm = umi_ref_rmsnorm,
    .layernorm = umi_ref_layernorm,
    .linear = umi_ref_linear,
    .rope = umi_ref_rope,
    .attention = umi_ref_attention,
    .mix = umi_ref_mix,
    .score = umi_ref_score,
    .select = umi_ref_select,
};

um_status umi_ref_open(const um_backend_options *options, um_backend **out, um_err *err)
{
    umi_ref *ref;

    *out = NULL;
    if (options->isa)
        return um_fail_field(err, UM_E_CONFLICT, "isa",
                             "isa is '%s', but backend ref has no instruction-set levels",
                             options->isa);
    ref = um_mem_zalloc(sizeof(*ref));
    if (!ref)
        return um_fail(err, UM_E_NOMEM, "no memory for backend ref");
    umi_ref_init(ref, options);
    ref->base.ops = &umi_ref_ops;
    snprintf(ref->base.name, sizeof(ref->base.name), "ref");
    snprintf(ref->base.description, sizeof(ref->base.description), "ref, 1 thread, tile %zu KiB",
             options->tile_bytes >> 10);
    *out = &ref->base;
    return UM_OK;
}
