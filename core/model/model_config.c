#include "core/model/model_config.h"

/* Bounds far above every model known, low enough that no product of dimensions overflows. */
#define WIDTH_MAX (1 << 16)
#define MLP_MAX (1 << 20)
#define LAYERS_MAX 1024
#define HEADS_MAX 1024
#define VOCAB_MAX (1 << 22)
#define CONTEXT_MAX (1 << 20)

typedef struct bound {
    const char *name;
    int64_t value;
    int64_t min;
    int64_t max;
} bound;

static um_status check_bounds(const um_model_config *c, um_err *err)
{
    const bound bounds[] = {
        {"width", c->width, 1, WIDTH_MAX},
        {"layers", c->layers, 1, LAYERS_MAX},
        {"heads", c->heads, 1, HEADS_MAX},
        {"kv_heads", c->kv_heads, 1, c->heads},
        {"head_dim", c->head_dim, 2, WIDTH_MAX},
        {"mlp_width", c->mlp_width, 1, MLP_MAX},
        {"block_group", c->block_group, 1, c->layers},
        {"vocab", c->vocab, 1, c->vocab_rows},
        {"vocab_rows", c->vocab_rows, 2, VOCAB_MAX},
        {"position rows", c->position_rows, 0, CONTEXT_MAX},
        {"context", c->context_limit, 1, c->position_rows ? c->position_rows : CONTEXT_MAX},
        {"served context", c->context_max, 1, c->context_limit},
        {"mask token", c->mask_token, 0, (int64_t)c->vocab_rows - 1},
        {"end token", c->end_token, 0, (int64_t)c->vocab_rows - 1},
        {"turn token", c->turn_token, -1, (int64_t)c->vocab_rows - 1},
        {"begin token", c->prompt_bos, -1, (int64_t)c->vocab_rows - 1},
    };

    for (size_t i = 0; i < UM_COUNT_OF(bounds); i++)
        if (bounds[i].value < bounds[i].min || bounds[i].value > bounds[i].max)
            return um_fail(err, UM_E_FORMAT, "%s is %lld; expected %lld to %lld", bounds[i].name,
                           (long long)bounds[i].value, (long long)bounds[i].min,
                           (long long)bounds[i].max);
    return UM_OK;
}

um_status um_model_config_check(const um_model_config *c, um_err *err)
{
    um_status status = check_bounds(c, err);

    if (status != UM_OK)
        return status;
    if ((int64_t)c->heads * c->head_dim != c->width)
        return um_fail(err, UM_E_FORMAT, "%d heads of %d do not make up the width %d", c->heads,
                       c->head_dim, c->width);
    if (c->head_dim % 2 != 0 && !c->position_rows)
        return um_fail(err, UM_E_FORMAT, "the head width %d is odd; rotary embedding needs pairs",
                       c->head_dim);
    if (c->heads % c->kv_heads != 0)
        return um_fail(err, UM_E_FORMAT, "%d heads cannot share %d key/value heads evenly",
                       c->heads, c->kv_heads);
    if (c->layers % c->block_group != 0)
        return um_fail(err, UM_E_FORMAT, "%d layers do not divide into groups of %d", c->layers,
                       c->block_group);
    if (c->mask_token == c->end_token)
        return um_fail(err, UM_E_FORMAT, "mask and end token are both %d", c->mask_token);
    /* Comparisons written so that NaN fails. */
    if (!(c->norm_eps > 0.0f && c->norm_eps < 1.0f))
        return um_fail(err, UM_E_FORMAT, "the norm's epsilon is %g; expected 0 < epsilon < 1",
                       (double)c->norm_eps);
    if (!c->position_rows && !(c->rope_theta > 1.0 && c->rope_theta < 1e12))
        return um_fail(err, UM_E_FORMAT, "the rotary base is %g; expected 1 < base < 1e12",
                       c->rope_theta);
    if (c->norm_bias && c->norm == UM_NORM_RMS)
        return um_fail(err, UM_E_UNSUPPORTED, "RMS norms with a bias are not supported");
    return UM_OK;
}
