/*
 * The public operations of a denoising step. Model and engine code calls these only; dtype is a
 * field of the tensor, the device a property of the backend.
 *
 * Every op takes the backend, one args struct with named fields and `um_err *`. The wrapper in
 * ops.c checks shapes and dtypes (ops_check.c, the same rules for all backends), then calls the
 * backend's slot. Wrong arguments are programmer mistakes and end the process; an op's status
 * tells of the device only. Only um_weight_create refuses with an error what a checkpoint can get
 * wrong. Vectors and struct arrays may be longer than the call needs. Tensors in args are borrowed
 * for the call.
 *
 * Rounding points, the same in every backend ("compute dtype" = f32 or bf16, chosen at load):
 *   f32   everything float32, weights widened exactly.
 *   bf16  residual stream float32; inputs of matrix products (normed rows, q, attention output,
 *         gated activation, head input), K and V rounded to bf16; accumulation, norms, softmax
 *         and RoPE in float32; attention probabilities exp(s - max) rounded to bf16 before the
 *         product with V, their sum taken in float32 before rounding.
 *
 * Batch invariance: an output row depends on its own input rows only. Every reduction has one
 * order, fixed by shapes of weights and of the row's own sequence; never by the number of rows in
 * the call or of threads. Comparisons treat ties as "lowest index wins". A NaN input
 * makes the outputs that depend on it NaN, up to the logits, and touches no other row.
 */
#ifndef UM_KERNELS_OPS_H
#define UM_KERNELS_OPS_H

#include "kernels/backend.h"

/* ---- weights ------------------------------------------------------------------------------ */

typedef struct um_weight um_weight; /* a matrix packed for one backend; opaque */

typedef enum um_weight_kind {
    UM_WEIGHT_PLAIN,     /* y = W x + b */
    UM_WEIGHT_GATED,     /* two parts of equal shape, gate then up: y = act(gate x) * (up x) */
    UM_WEIGHT_ACTIVATED, /* y = act(W x + b) */
} um_weight_kind;

typedef enum um_activation {
    UM_ACT_SILU,
    UM_ACT_GELU, /* exact, erf form */
    UM_ACT_RELU,
    UM_ACT_GELU_TANH, /* GPT-2's gelu_new: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
} um_activation;

#define UM_WEIGHT_PARTS_MAX 4

typedef struct um_weight_spec {
    um_weight_kind kind;
    um_activation activation;              /* GATED and ACTIVATED only */
    um_dtype dtype;                        /* UM_F32 or UM_BF16: storage and product precision */
    int32_t part_count;                    /* row blocks stacked top to bottom, e.g. q, k, v */
    um_tensor parts[UM_WEIGHT_PARTS_MAX];  /* host [out_i][in], f32 / bf16 / f16 */
    um_tensor biases[UM_WEIGHT_PARTS_MAX]; /* host [1][out_i] or data NULL */
} um_weight_spec;

/* Packs; the source may be unmapped afterwards. UM_E_NOMEM. */
um_status um_weight_create(um_backend *backend, const um_weight_spec *spec, um_weight **out,
                           um_err *err);
void um_weight_destroy(um_backend *backend, um_weight *weight);
int64_t um_weight_out(const um_weight *weight); /* width of y: rows of PLAIN, half of GATED */
int64_t um_weight_in(const um_weight *weight);
size_t um_weight_bytes(const um_weight *weight);

/* ---- forward ------------------------------------------------------------------------------ */

/* x[r] = scale * table[ids[r]] + position_table[positions[r]], widened to f32. Ids and positions
 * outside their tables are an assertion. */
typedef struct um_embed_args {
    const um_tensor *ids;            /* [1][rows] i32 */
    const um_tensor *table;          /* [vocab][d] f32 or bf16 */
    float scale;                     /* 1, or sqrt(d) */
    const um_tensor *positions;      /* [1][rows] i32; NULL with position_table */
    const um_tensor *position_table; /* learned positions [positions_max][d], dtype of table;
                                      * NULL: none */
    const um_tensor *out;            /* [rows][d] f32 */
} um_embed_args;
um_status um_op_embed(um_backend *backend, const um_embed_args *args, um_err *err);

/* out[r] = gain * cast(x[r] * (1 / sqrt(mean(x[r]^2) + eps))), cast to out's dtype before the gain
 * and after it. In place (x == out, both f32) is allowed. */
typedef struct um_rmsnorm_args {
    const um_tensor *x;    /* [rows][d] f32, may be strided */
    const um_tensor *gain; /* [1][d] f32 */
    float eps;
    const um_tensor *out; /* [rows][d] f32 or bf16, may be strided */
} um_rmsnorm_args;
um_status um_op_rmsnorm(um_backend *backend, const um_rmsnorm_args *args, um_err *err);

/* out[r] = cast((x[r] - mean) * (1 / sqrt(variance + eps)) * gain + bias): mean and variance (of the
 * population) in f32, everything in f32, one cast at the end. In place (x == out, both f32) is
 * allowed. */
typedef struct um_layernorm_args {
    const um_tensor *x;    /* [rows][d] f32, may be strided */
    const um_tensor *gain; /* [1][d] f32 */
    const um_tensor *bias; /* [1][d] f32, or NULL */
    float eps;
    const um_tensor *out; /* [rows][d] f32 or bf16, may be strided */
} um_layernorm_args;
um_status um_op_layernorm(um_backend *backend, const um_layernorm_args *args, um_err *err);

/* out = W x + b, or out += W x + b (f32 out only). GATED weights: out = act(gate) * up;
 * ACTIVATED: out = act(W x + b). Neither accumulates. */
typedef struct um_linear_args {
    const um_tensor *x; /* [rows][in], dtype of the weight */
    const um_weight *weight;
    bool accumulate;
    const um_tensor *out; /* [rows][out] f32; f32 or bf16 when not accumulating */
} um_linear_args;
um_status um_op_linear(um_backend *backend, const um_linear_args *args, um_err *err);

/* Half-split rotary embedding of q and k at absolute positions, then rounding to the compute
 * dtype; v is rounded only. The table holds cos and sin of float32 angles, made on the host.
 * Without a table (models with learned positions) all three are split and rounded only. */
typedef struct um_rope_args {
    const um_tensor *qkv;       /* [rows][(heads + 2 kv_heads) * head_dim] f32: q | k | v */
    const um_tensor *positions; /* [1][rows] i32; NULL with cos_sin */
    const um_tensor
        *cos_sin; /* [positions_max][head_dim] f32: cos[head_dim/2] | sin[...]; or NULL */
    int32_t heads;
    int32_t kv_heads;
    int32_t head_dim;
    const um_tensor *q; /* [rows][heads * head_dim] compute dtype */
    const um_tensor *k; /* [rows][kv_heads * head_dim] compute dtype */
    const um_tensor *v; /* [rows][kv_heads * head_dim] compute dtype */
} um_rope_args;
um_status um_op_rope(um_backend *backend, const um_rope_args *args, um_err *err);

/* Bidirectional attention inside each packed sequence: rows [cu_seqlens[s], cu_seqlens[s+1]) see
 * each other and nothing else. Query head h uses KV head h / (heads / kv_heads). */
typedef struct um_attention_args {
    const um_tensor *q; /* [rows][heads * head_dim] */
    const um_tensor *k; /* [rows][kv_heads * head_dim], dtype of q */
    const um_tensor *v;
    const int32_t *cu_seqlens; /* host, [sequence_count + 1], starts at 0, ends at rows */
    int32_t sequence_count;
    int32_t heads;
    int32_t kv_heads;
    int32_t head_dim;
    float scale;          /* 1 / sqrt(head_dim) */
    const um_tensor *out; /* [rows][heads * head_dim], dtype of q */
} um_attention_args;
um_status um_op_attention(um_backend *backend, const um_attention_args *args, um_err *err);

/* Guidance on hidden rows after the final norm (the head is linear): for each pair,
 * out[r] = u + (scale_r + 1) * (c - u), in f32, with c = x[conditional[r]], u = x[unconditional[r]];
 * unconditional[r] < 0 copies c. Rounded to out's dtype. */
typedef struct um_mix_args {
    const um_tensor *x;             /* [rows_in][d] f32 */
    const um_tensor *conditional;   /* [1][rows] i32 */
    const um_tensor *unconditional; /* [1][rows] i32 */
    const um_tensor *scales;        /* [1][rows] f32 */
    const um_tensor *out;           /* [rows][d] compute dtype */
} um_mix_args;
um_status um_op_mix(um_backend *backend, const um_mix_args *args, um_err *err);

/* ---- decode: head, confidence, selection ----------------------------------------------------- */

#define UM_BANNED_MAX 2
#define UM_UNCOUNTED_MAX 2

/* How sure a row is of its token; larger is surer. w is the softmax of the plain logits at
 * temperature 1, or with `filtered` of the distribution that is sampled from. */
typedef enum um_confidence {
    UM_CONFIDENCE_PROBABILITY, /* w at the token */
    UM_CONFIDENCE_RANDOM,      /* uniform (0,1) from the counter UM_DRAW_ORDER */
    UM_CONFIDENCE_MARGIN,  /* the largest w minus the second (of one id: w) (Dream topk_margin) */
    UM_CONFIDENCE_ENTROPY, /* sum w ln(w + 1e-10): negative entropy (Dream entropy) */
    UM_CONFIDENCE_LOGPROB, /* ln w at the token (DiffuLLaMA, DiffuGPT) */
} um_confidence;

/* One change of a logit before anything else: l = l > 0 ? l / repetition : l * repetition, then
 * l += bias. logit_bias, frequency, presence and repetition penalties, merged per token by the
 * host. */
typedef struct um_logit_edit {
    int32_t token;    /* below the vocab of the call */
    float bias;       /* finite, or -infinity */
    float repetition; /* > 0, finite; 1: none */
} um_logit_edit;

/* How rows of one sequence are scored, all of them or some. Plain data, uploaded with the plan. */
typedef struct um_score_rule {
    uint64_t seed;
    uint32_t step;   /* the request's own denoising step, from 0 */
    uint32_t choice; /* counter word of the choice */
    float temperature;
    int32_t confidence;            /* um_confidence */
    int32_t filtered;              /* confidence of the sampled distribution, see above */
    float top_p;                   /* (0, 1]; 1: off */
    float min_p;                   /* [FLT_MIN, 1]; 0: off */
    int32_t top_k;                 /* 0: off */
    int32_t banned[UM_BANNED_MAX]; /* ids whose logit is -inf everywhere; -1: none */
    /* ids left out of the confidence softmax only (LLaDA's confidence_eos_eot_inf): a row that
     * predicts one has confidence exactly 0; -1: none. Not with `filtered`. */
    int32_t uncounted[UM_UNCOUNTED_MAX];
    int32_t first_edit; /* its range of `edits`; no token twice. Ranges may overlap */
    int32_t edit_count;
} um_score_rule;

/* One row to score. */
typedef struct um_score_row {
    int32_t position; /* on its own canvas: the noise counter's position */
    int32_t rule;     /* index into rules */
    int32_t masked;   /* 0: only competes (UM_SELECT_COMPETING), cannot be committed */
} um_score_row;

/* One of a row's likeliest tokens. */
typedef struct um_alternative {
    int32_t token;
    float logprob; /* plain: ln softmax of the logits before edits and bans, at temperature 1;
                    * -FLT_MAX for a logit of -inf. NaN and +inf as in um_score_args */
} um_alternative;

#define UM_ALTERNATIVES_MAX 20

/*
 * logits l = scale * (W h + b), computed tile by tile ([row chunk][vocab] f32 <= tile_bytes),
 * then changed by the rule's edits and bans.
 *
 * Sampled distribution: softmax(l / T) (T = 1 at temperature 0), of which these ids are kept, one
 * after the other, ids ordered by (l descending, id ascending), max being the largest l:
 *   top_p  the first id, and every id whose preceding ids have at most top_p of all mass
 *   top_k  every id whose l is at least the k-th largest that top_p kept (ties stay)
 *   min_p  every id with l >= max + T * um_noise_log(min_p), so min_p times the largest probability
 * Masses for top_p are integers floor(2^32 * exp((l - max) / T) + 1/2), exp in float32, and their
 * bound is floor((double)top_p * (double)sum), so that neither the order of addition nor the number
 * of threads can move the cut.
 *
 * token = argmax_v l_v                         at temperature 0,
 *         argmax_v l_v + T * gumbel(seed; step, position, v/4, choice)[v%4] over kept v  otherwise.
 * confidence as um_confidence says; w over ids that count, or over kept ids with `filtered`.
 *
 * Not finite: a NaN logit reads as -inf, +inf as FLT_MAX, before the edits and after them, so a
 * broken row still gives a token that is not banned (the lowest such id when all are -inf) and a
 * confidence in [0, 1] (LOGPROB and ENTROPY: <= 0). Where no id counts it is 0 (LOGPROB: -FLT_MAX,
 * as for a token that does not count or whose l is -inf). `logits` holds l before edits, bans and
 * any of this.
 */
typedef struct um_score_args {
    const um_tensor *hidden;     /* [rows][d] compute dtype */
    const um_weight *head;       /* [vocab][d] PLAIN */
    float scale;                 /* 1, or 1/sqrt(d) for scale_logits */
    int64_t vocab;               /* ids considered, <= um_weight_out(head) */
    const um_tensor *score_rows; /* UM_BYTES: um_score_row[rows] */
    const um_tensor *rules;      /* UM_BYTES: um_score_rule[rule_count] */
    int32_t rule_count;
    const um_tensor *edits;       /* UM_BYTES: um_logit_edit[]; NULL: no rule has edits */
    const um_tensor *tokens;      /* out [1][rows] i32 */
    const um_tensor *confidences; /* out [1][rows] f32 */
    /* out [rows][alternative_count] um_alternative as UM_BYTES, likeliest first (ties: lower id);
     * the last entry of a row is its chosen token's own. NULL: not wanted */
    const um_tensor *alternatives;
    int32_t alternative_count; /* 0..UM_ALTERNATIVES_MAX + 1, at most vocab + 1 */
    const um_tensor *logits;   /* out [rows][vocab] f32 or NULL: tests only */
} um_score_args;
um_status um_op_score(um_backend *backend, const um_score_args *args, um_err *err);

typedef enum um_select_kind {
    UM_SELECT_COUNT,     /* the `count` most confident */
    UM_SELECT_THRESHOLD, /* every one >= threshold, at least `count` */
    UM_SELECT_FACTOR, /* longest prefix of ranks r with (r+1)(1-w_r) <= factor, at least `count` */
    /* each one by its own draw: uniform(seed; step, position, UM_DRAW_COMMIT, choice)[0] < threshold
     * (Dream origin, DiffuLLaMA); count is 0 */
    UM_SELECT_INDEPENDENT,
    /* every masked row whose confidence is at least the (count+1)-th smallest of all rows, masked
     * or not (DiffuLLaMA, DiffuGPT); everything masked when count is 0, nothing from `rows` on */
    UM_SELECT_COMPETING,
} um_select_kind;

/* Which of a sequence's scored rows [first, first+rows) are committed in this step: rows ordered by
 * (key descending, position ascending), a NaN key last and -0 as 0. Rows of one sequence come in
 * ascending position, and all are masked unless the kind is COMPETING. The key is the confidence,
 * or with an order_temperature
 * confidence / order_temperature + gumbel(seed; step, position, UM_DRAW_RANK, choice)[0]: the
 * `count` largest are then a draw without replacement by softmax(confidence / order_temperature)
 * (Dream alg_temp; COUNT only). */
typedef struct um_select_rule {
    uint64_t seed; /* with step and choice as in um_score_rule */
    uint32_t step;
    uint32_t choice;
    int32_t first;
    int32_t rows;
    int32_t kind;    /* um_select_kind */
    int32_t count;   /* the quota, the minimum, or how many stay behind (COMPETING) */
    float threshold; /* [0, 1]: of the confidence, or of the draw (INDEPENDENT) */
    float factor;
    int32_t factor_quirk;    /* Fast-dLLM: a failing last rank (>= 2) is committed too */
    float order_temperature; /* 0: ordered by confidence */
    int32_t sequence;        /* handed through to the result */
    int32_t reserved;        /* 0; keeps the size a multiple of 8 */
} um_select_rule;

/* One committed position: what travels back from the device. */
typedef struct um_commit {
    int32_t sequence;
    int32_t position;
    int32_t token;
    float confidence;
} um_commit;

typedef struct um_select_args {
    const um_tensor *tokens;      /* [1][rows] i32, from score */
    const um_tensor *confidences; /* [1][rows] f32 */
    const um_tensor *score_rows;  /* UM_BYTES: um_score_row[rows] */
    const um_tensor *rules;       /* UM_BYTES: um_select_rule[rule_count] */
    int32_t rule_count;
    /* out: rule i's commits lie at [first_i, first_i + counts[i]), positions ascending */
    const um_tensor *commits; /* UM_BYTES: um_commit[rows] */
    const um_tensor *counts;  /* [1][rule_count] i32 */
} um_select_args;
um_status um_op_select(um_backend *backend, const um_select_args *args, um_err *err);

#endif
