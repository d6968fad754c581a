/*
 * The public operations: check the arguments, then call the backend's slot. Nothing is computed
 * here.
 */
#include "kernels/ops.h"

#include "kernels/ops_check.h"
#include "kernels/ops_table.h"

um_status um_weight_create(um_backend *backend, const um_weight_spec *spec, um_weight **out,
                           um_err *err)
{
    um_status status = umi_check_weight(spec, err);

    *out = NULL;
    return status == UM_OK ? backend->ops->weight_create(backend, spec, out, err) : status;
}

void um_weight_destroy(um_backend *backend, um_weight *weight)
{
    if (weight)
        backend->ops->weight_destroy(backend, weight);
}

int64_t um_weight_out(const um_weight *weight)
{
    return weight->out;
}

int64_t um_weight_in(const um_weight *weight)
{
    return weight->in;
}

size_t um_weight_bytes(const um_weight *weight)
{
    return weight->bytes;
}

um_status um_op_embed(um_backend *backend, const um_embed_args *args, um_err *err)
{
    umi_check_embed(backend, args);
    return backend->ops->embed(backend, args, err);
}

um_status um_op_rmsnorm(um_backend *backend, const um_rmsnorm_args *args, um_err *err)
{
    umi_check_rmsnorm(args);
    return backend->ops->rmsnorm(backend, args, err);
}

um_status um_op_layernorm(um_backend *backend, const um_layernorm_args *args, um_err *err)
{
    umi_check_layernorm(args);
    return backend->ops->layernorm(backend, args, err);
}

um_status um_op_linear(um_backend *backend, const um_linear_args *args, um_err *err)
{
    umi_check_linear(backend, args);
    return backend->ops->linear(backend, args, err);
}

um_status um_op_rope(um_backend *backend, const um_rope_args *args, um_err *err)
{
    umi_check_rope(backend, args);
    return backend->ops->rope(backend, args, err);
}

um_status um_op_attention(um_backend *backend, const um_attention_args *args, um_err *err)
{
    umi_check_attention(backend, args);
    return backend->ops->attention(backend, args, err);
}

um_status um_op_mix(um_backend *backend, const um_mix_args *args, um_err *err)
{
    umi_check_mix(backend, args);
    return backend->ops->mix(backend, args, err);
}

um_status um_op_score(um_backend *backend, const um_score_args *args, um_err *err)
{
    umi_check_score(backend, args);
    return backend->ops->score(backend, args, err);
}

um_status um_op_select(um_backend *backend, const um_select_args *args, um_err *err)
{
    umi_check_select(backend, args);
    return backend->ops->select(backend, args, err);
}
