#include "core/model/synthetic.h"

#include <math.h>

#include "core/base/mem.h"

/* SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): one multiply-mix per two values, since a large
 * shape has a billion of them. */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static bool is_norm(um_role role)
{
    return role == UM_ROLE_FINAL_NORM || role == UM_ROLE_ATTENTION_NORM ||
           role == UM_ROLE_MLP_NORM || role == UM_ROLE_Q_NORM || role == UM_ROLE_K_NORM;
}

/* `count` values uniform in [-bound, bound), two from each draw. */
static void fill_uniform(const um_tensor *tensor, int64_t count, float bound, uint64_t seed)
{
    float *wide = tensor->data;
    uint16_t *half = tensor->data;
    uint64_t bits = 0;

    for (int64_t i = 0; i < count; i++) {
        float value;

        bits = i % 2 == 0 ? next(&seed) : bits >> 32;
        value = (float)(int32_t)(uint32_t)bits * 0x1p-31f * bound;
        if (tensor->dtype == UM_F32)
            wide[i] = value;
        else
            half[i] = um_f32_to_bf16(value);
    }
}

/* Biases stay as allocated: zero. */
static um_status synthetic_get(const void *context, const um_tensor_need *need, um_tensor *out,
                               um_err *err)
{
    const um_dtype *dtype = context;
    size_t count = (size_t)need->rows * (size_t)need->cols;
    size_t bytes = count * um_dtype_bytes(*dtype);
    uint64_t seed = (uint64_t)need->layer * UM_ROLE_COUNT + (uint64_t)need->role;

    *out = um_tensor_host(*dtype, need->rows, need->cols, um_mem_alloc_aligned(bytes));
    if (!out->data)
        return um_fail(err, UM_E_NOMEM, "no memory to make %s, %zu bytes", need->name, bytes);
    out->bytes = bytes;
    if (is_norm(need->role)) {
        for (size_t i = 0; i < count; i++)
            if (*dtype == UM_F32)
                ((float *)out->data)[i] = 1.0f;
            else
                ((uint16_t *)out->data)[i] = um_f32_to_bf16(1.0f);
    } else if (need->rows > 1) {
        fill_uniform(out, (int64_t)count, sqrtf(3.0f / (float)need->cols), seed);
    }
    return UM_OK;
}

static void synthetic_release(const void *context, const um_tensor_need *need, um_tensor *tensor)
{
    (void)context;
    (void)need;
    um_mem_free_aligned(tensor->data, tensor->bytes);
    *tensor = (um_tensor){0};
}

um_tensor_source um_synthetic_source(const um_dtype *dtype)
{
    return (um_tensor_source){.get = synthetic_get, .release = synthetic_release, .context = dtype};
}
