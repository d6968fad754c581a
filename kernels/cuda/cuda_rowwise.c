/*
 * The row-wise ops: from checked arguments to the jobs of cuda_launch.h. Engine thread.
 */
#include "kernels/cuda/cuda_internal.h"
#include "kernels/cuda/cuda_launch.h"

um_status umi_cuda_embed(um_backend *backend, const um_embed_args *args, um_err *err)
{
    const umi_cuda *cuda = (const umi_cuda *)backend;
    const um_tensor *places = args->position_table;
    umi_embed_job job = {.ids = args->ids->data,
                         .table = args->table->data,
                         .table_stride = args->table->stride,
                         .positions = places ? args->positions->data : NULL,
                         .position_table = places ? places->data : NULL,
                         .position_stride = places ? places->stride : 0,
                         .out = args->out->data,
                         .out_stride = args->out->stride,
                         .rows = args->out->rows,
                         .cols = (int32_t)args->out->cols,
                         .scale = args->scale,
                         .bf16 = args->table->dtype == UM_BF16};

    return UMI_CUDA_TRY(err, umi_launch_embed(&job, cuda->stream));
}

static umi_norm_job norm_job(const um_tensor *x, const um_tensor *gain, const um_tensor *bias,
                             float eps, const um_tensor *out)
{
    return (umi_norm_job){.x = x->data,
                          .x_stride = x->stride,
                          .gain = gain->data,
                          .bias = bias ? bias->data : NULL,
                          .out = out->data,
                          .out_stride = out->stride,
                          .rows = out->rows,
                          .cols = (int32_t)out->cols,
                          .eps = eps,
                          .bf16 = out->dtype == UM_BF16};
}

um_status umi_cuda_rmsnorm(um_backend *backend, const um_rmsnorm_args *args, um_err *err)
{
    const umi_cuda *cuda = (const umi_cuda *)backend;
    umi_norm_job job = norm_job(args->x, args->gain, NULL, args->eps, args->out);

    return UMI_CUDA_TRY(err, umi_launch_rmsnorm(&job, cuda->stream));
}

um_status umi_cuda_layernorm(um_backend *backend, const um_layernorm_args *args, um_err *err)
{
    const umi_cuda *cuda = (const umi_cuda *)backend;
    umi_norm_job job = norm_job(args->x, args->gain, args->bias, args->eps, args->out);

    return UMI_CUDA_TRY(err, umi_launch_layernorm(&job, cuda->stream));
}

um_status umi_cuda_rope(um_backend *backend, const um_rope_args *args, um_err *err)
{
    const umi_cuda *cuda = (const umi_cuda *)backend;
    const um_tensor *table = args->cos_sin;
    umi_rope_job job = {.qkv = args->qkv->data,
                        .qkv_stride = args->qkv->stride,
                        .positions = table ? args->positions->data : NULL,
                        .cos_sin = table ? table->data : NULL,
                        .cos_sin_stride = table ? table->stride : 0,
                        .q = args->q->data,
                        .k = args->k->data,
                        .v = args->v->data,
                        .q_stride = args->q->stride,
                        .k_stride = args->k->stride,
                        .v_stride = args->v->stride,
                        .rows = args->qkv->rows,
                        .heads = args->heads,
                        .kv_heads = args->kv_heads,
                        .head_dim = args->head_dim,
                        .bf16 = args->q->dtype == UM_BF16};

    return UMI_CUDA_TRY(err, umi_launch_rope(&job, cuda->stream));
}

um_status umi_cuda_mix(um_backend *backend, const um_mix_args *args, um_err *err)
{
    const umi_cuda *cuda = (const umi_cuda *)backend;
    umi_mix_job job = {.x = args->x->data,
                       .x_stride = args->x->stride,
                       .conditional = args->conditional->data,
                       .unconditional = args->unconditional->data,
                       .scales = args->scales->data,
                       .out = args->out->data,
                       .out_stride = args->out->stride,
                       .rows = args->out->rows,
                       .cols = (int32_t)args->out->cols,
                       .bf16 = args->out->dtype == UM_BF16};

    return UMI_CUDA_TRY(err, umi_launch_mix(&job, cuda->stream));
}
