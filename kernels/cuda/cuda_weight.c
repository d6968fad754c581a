/*
 * Weights on the device: the parts of a spec stacked top to bottom in one matrix of the weight's
 * dtype, converted on the way through the pinned staging, so that the host never holds a second
 * copy. Biases are f32. Owns umi_cuda_weight. Engine thread.
 */
#include "core/base/mem.h"
#include "kernels/cuda/cuda_internal.h"

/* Converts rows [row, row + rows), columns [col, col + cols) of `part` into `dtype` and sends them
 * to `to`, where they lie without gaps. */
static um_status send_block(umi_cuda *cuda, const um_tensor *part, int64_t row, int64_t rows,
                            int64_t col, int64_t cols, um_dtype dtype, char *to, um_err *err)
{
    size_t row_bytes = (size_t)cols * um_dtype_bytes(dtype), bytes = (size_t)rows * row_bytes;
    void *staged;
    um_status status = umi_cuda_stage(cuda, bytes, &staged, err);

    if (status != UM_OK)
        return status;
    for (int64_t r = 0; r < rows; r++) {
        size_t first = (size_t)((row + r) * part->stride + col);

        um_convert(part->dtype, (const char *)part->data + first * um_dtype_bytes(part->dtype),
                   dtype, (char *)staged + (size_t)r * row_bytes, cols);
    }
    return umi_cuda_send(cuda, to, staged, bytes, err);
}

/* Sends a part to `to`, as many whole rows at a time as the staging holds, or a row in pieces. */
static um_status send_part(umi_cuda *cuda, const um_tensor *part, um_dtype dtype, char *to,
                           um_err *err)
{
    int64_t room = (int64_t)(UMI_CUDA_STAGING_BYTES / um_dtype_bytes(dtype));
    int64_t cols_each = part->cols < room ? part->cols : room, rows_each = room / cols_each;
    um_status status = UM_OK;

    for (int64_t row = 0; row < part->rows; row += rows_each) {
        int64_t rows = part->rows - row < rows_each ? part->rows - row : rows_each;

        for (int64_t col = 0; col < part->cols && status == UM_OK; col += cols_each) {
            int64_t cols = part->cols - col < cols_each ? part->cols - col : cols_each;
            size_t at = (size_t)(row * part->cols + col) * um_dtype_bytes(dtype);

            status = send_block(cuda, part, row, rows, col, cols, dtype, to + at, err);
        }
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

static um_status send_parts(umi_cuda *cuda, const um_weight_spec *spec, umi_cuda_weight *weight,
                            um_err *err)
{
    size_t row_bytes = (size_t)weight->base.in * um_dtype_bytes(spec->dtype);
    char *values = weight->values;
    float *bias = weight->bias;
    um_status status = UM_OK;

    for (int32_t i = 0; i < spec->part_count && status == UM_OK; i++) {
        const um_tensor *part = &spec->parts[i];

        status = send_part(cuda, part, spec->dtype, values, err);
        if (status == UM_OK && spec->biases[i].data)
            status = send_part(cuda, &spec->biases[i], UM_F32, (char *)bias, err);
        values += (size_t)part->rows * row_bytes;
        bias = bias ? bias + part->rows : NULL;
    }
    return status;
}

/* Sizes and memory; parts without a bias beside others with one have zeros. */
static um_status alloc_weight(umi_cuda *cuda, const um_weight_spec *spec, umi_cuda_weight *weight,
                              um_err *err)
{
    size_t rows = 0, in = (size_t)spec->parts[0].cols, row_bytes, bytes;
    bool biased = false;
    um_status status;

    for (int32_t i = 0; i < spec->part_count; i++) {
        rows += (size_t)spec->parts[i].rows;
        biased = biased || spec->biases[i].data;
    }
    if (!um_mem_mul(in, um_dtype_bytes(spec->dtype), &row_bytes) ||
        !um_mem_mul(rows, row_bytes, &bytes))
        return um_fail(err, UM_E_NOMEM, "no memory for a weight of %zu x %zu", rows, in);
    weight->base = (um_weight){.kind = spec->kind,
                               .activation = spec->activation,
                               .dtype = spec->dtype,
                               .out = (int64_t)(spec->kind == UM_WEIGHT_GATED ? rows / 2 : rows),
                               .in = (int64_t)in,
                               .bytes = bytes + (biased ? rows * sizeof(float) : 0)};
    status = umi_cuda_alloc(bytes, &weight->values, err);
    if (status != UM_OK || !biased)
        return status;
    status = umi_cuda_alloc(rows * sizeof(float), (void **)&weight->bias, err);
    if (status == UM_OK)
        status =
            UMI_CUDA_TRY(err, cudaMemsetAsync(weight->bias, 0, rows * sizeof(float), cuda->stream));
    return status;
}

um_status umi_cuda_weight_create(um_backend *backend, const um_weight_spec *spec, um_weight **out,
                                 um_err *err)
{
    umi_cuda *cuda = (umi_cuda *)backend;
    umi_cuda_weight *weight = um_mem_zalloc(sizeof(*weight));
    um_status status;

    *out = NULL;
    if (!weight)
        return um_fail(err, UM_E_NOMEM, "no memory for a weight");
    status = alloc_weight(cuda, spec, weight, err);
    if (status == UM_OK)
        status = send_parts(cuda, spec, weight, err);
    if (status != UM_OK) {
        umi_cuda_weight_destroy(backend, &weight->base);
        return status;
    }
    *out = &weight->base;
    return UM_OK;
}

void umi_cuda_weight_destroy(um_backend *backend, um_weight *base)
{
    umi_cuda_weight *weight = (umi_cuda_weight *)base;

    (void)backend;
    umi_cuda_free(weight->values);
    umi_cuda_free(weight->bias);
    um_mem_free(weight);
}
