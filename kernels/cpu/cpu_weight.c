/*
 * Packing weights into panels, all threads together. Owns umi_cpu_weight. The source may be an
 * unaligned memory map in f32, bf16 or f16.
 */
#include <string.h>

#include "core/base/mem.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/cpu_pack.h"

typedef struct pack_job {
    const um_weight_spec *spec;
    umi_cpu_weight *weight;
    int64_t panel_cols;
} pack_job;

/* Which part and which of its rows is column `col` of a panel; false for padding. */
static bool find_source(const pack_job *job, int64_t panel, int64_t col, int32_t *part,
                        int64_t *row)
{
    const um_weight_spec *spec = job->spec;
    int64_t half = job->panel_cols / 2;

    if (spec->kind == UM_WEIGHT_GATED) {
        *part = col >= half;
        *row = panel * half + col % half;
        return *row < spec->parts[0].rows;
    }
    *row = panel * job->panel_cols + col;
    for (*part = 0; *part < spec->part_count; ++*part) {
        if (*row < spec->parts[*part].rows)
            return true;
        *row -= spec->parts[*part].rows;
    }
    return false;
}

static void pack_panel(void *context, int32_t worker, int64_t panel)
{
    const pack_job *job = context;
    umi_cpu_weight *weight = job->weight;
    um_dtype dtype = weight->base.dtype;
    int64_t block = umi_stage_elements(dtype);
    uint32_t *to = (uint32_t *)weight->panels + panel * weight->panel_bytes / 4;
    umi_stage stage = {0}; /* padding columns and the odd half of a last pair stay zero */

    (void)worker;
    for (int64_t k = 0; k < weight->base.in; k += block) {
        int64_t left = weight->base.in - k, count = left < block ? left : block;

        if (count % 2)
            stage = (umi_stage){0};
        for (int64_t c = 0; c < job->panel_cols; c++) {
            const um_tensor *part;
            int32_t p;
            int64_t row;

            if (!find_source(job, panel, c, &p, &row))
                continue;
            part = &job->spec->parts[p];
            um_convert(part->dtype,
                       (const char *)part->data +
                           (size_t)(row * part->stride + k) * um_dtype_bytes(part->dtype),
                       dtype, stage.words[c], count);
        }
        umi_turn_stage(&stage, umi_pack_words(dtype, count), to, job->panel_cols);
        to += umi_pack_words(dtype, count) * job->panel_cols;
    }
}

static void pack_bias(const pack_job *job)
{
    for (int64_t i = 0; i < job->weight->panel_count * job->panel_cols; i++) {
        const um_tensor *bias;
        int32_t part;
        int64_t row;

        if (!find_source(job, i / job->panel_cols, i % job->panel_cols, &part, &row))
            continue;
        bias = &job->spec->biases[part];
        if (bias->data)
            um_widen(bias->dtype,
                     (const char *)bias->data + (size_t)row * um_dtype_bytes(bias->dtype),
                     job->weight->bias + i, 1);
    }
}

static bool has_bias(const um_weight_spec *spec)
{
    for (int32_t i = 0; i < spec->part_count; i++)
        if (spec->biases[i].data)
            return true;
    return false;
}

/* Sizes of everything, from the spec; false when they overflow. */
static bool measure(const um_weight_spec *spec, int64_t panel_cols, umi_cpu_weight *weight)
{
    int64_t rows = 0, outputs;
    size_t words, columns;

    for (int32_t i = 0; i < spec->part_count; i++)
        rows += spec->parts[i].rows;
    weight->base.kind = spec->kind;
    weight->base.activation = spec->activation;
    weight->base.dtype = spec->dtype;
    weight->base.in = spec->parts[0].cols;
    weight->base.out = spec->kind == UM_WEIGHT_GATED ? rows / 2 : rows;
    outputs = umi_panel_outputs(weight, panel_cols);
    weight->panel_count = (weight->base.out + outputs - 1) / outputs;
    weight->panel_bytes = umi_pack_words(spec->dtype, weight->base.in) * panel_cols * 4;
    columns = (size_t)weight->panel_count * (size_t)panel_cols;
    words = (size_t)umi_pack_words(spec->dtype, weight->base.in) * 4;
    weight->bias_bytes = has_bias(spec) ? columns * sizeof(float) : 0;
    return um_mem_mul(columns, words, &weight->panels_bytes) &&
           um_mem_add(weight->panels_bytes, weight->bias_bytes, &weight->base.bytes);
}

um_status umi_cpu_weight_create(const umi_cpu_kernels *kernels, umi_pool *pool,
                                const um_weight_spec *spec, um_weight **out, um_err *err)
{
    pack_job job = {.spec = spec, .panel_cols = kernels->panel_cols};
    umi_cpu_weight *weight;

    *out = NULL;
    weight = um_mem_zalloc(sizeof(*weight));
    if (!weight)
        return um_fail(err, UM_E_NOMEM, "no memory for a weight");
    if (measure(spec, kernels->panel_cols, weight))
        weight->panels = um_mem_alloc_aligned(weight->panels_bytes);
    if (weight->bias_bytes)
        weight->bias = um_mem_alloc_aligned(weight->bias_bytes);
    if (!weight->panels || (weight->bias_bytes && !weight->bias)) {
        um_status status = um_fail(err, UM_E_NOMEM, "no memory for %zu bytes of packed weights",
                                   weight->base.bytes);

        umi_cpu_weight_destroy(&weight->base);
        return status;
    }
    job.weight = weight;
    if (weight->bias)
        pack_bias(&job);
    umi_pool_run(pool, weight->panel_count, pack_panel, &job);
    *out = &weight->base;
    return UM_OK;
}

void umi_cpu_weight_destroy(um_weight *base)
{
    umi_cpu_weight *weight = (umi_cpu_weight *)base;

    if (!weight)
        return;
    um_mem_free_aligned(weight->panels, weight->panels_bytes);
    um_mem_free_aligned(weight->bias, weight->bias_bytes);
    um_mem_free(weight);
}
