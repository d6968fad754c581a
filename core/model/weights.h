/*
 * Tensor names -> packed weights. A family lists which checkpoint tensor plays which role; this
 * module checks presence and shapes (one error names every missing or misshapen tensor), then
 * packs matrix by matrix (q, k, v as one, gate and up as one), giving source pages back after
 * each: peak memory is the packed weights plus the largest of these.
 */
#ifndef UM_MODEL_WEIGHTS_H
#define UM_MODEL_WEIGHTS_H

#include "core/base/buf.h"
#include "core/model/model_config.h"
#include "core/model/safetensors.h"

/* Role of a tensor in a pre-norm transformer. _BIAS follows what it belongs to. */
typedef enum um_role {
    UM_ROLE_EMBEDDING, /* not per layer */
    UM_ROLE_POSITIONS, /* learned */
    UM_ROLE_FINAL_NORM,
    UM_ROLE_FINAL_NORM_BIAS,
    UM_ROLE_HEAD,
    UM_ROLE_HEAD_BIAS,
    UM_ROLE_ATTENTION_NORM, /* per layer from here on */
    UM_ROLE_ATTENTION_NORM_BIAS,
    UM_ROLE_QKV, /* q | k | v in one tensor, or the three below */
    UM_ROLE_QKV_BIAS,
    UM_ROLE_Q,
    UM_ROLE_Q_BIAS,
    UM_ROLE_K,
    UM_ROLE_K_BIAS,
    UM_ROLE_V,
    UM_ROLE_V_BIAS,
    UM_ROLE_Q_NORM,
    UM_ROLE_K_NORM,
    UM_ROLE_ATTENTION_OUT,
    UM_ROLE_ATTENTION_OUT_BIAS,
    UM_ROLE_MLP_NORM,
    UM_ROLE_MLP_NORM_BIAS,
    UM_ROLE_GATE, /* gated MLPs only */
    UM_ROLE_GATE_BIAS,
    UM_ROLE_UP,
    UM_ROLE_UP_BIAS,
    UM_ROLE_DOWN,
    UM_ROLE_DOWN_BIAS,
    UM_ROLE_COUNT,
} um_role;

#define UM_TENSOR_NAME_BYTES 160

typedef struct um_tensor_need {
    um_role role;
    int32_t layer; /* 0 for roles that are not per layer */
    int64_t rows;  /* 1 for vectors */
    int64_t cols;
    bool transposed; /* the file has [cols][rows] (GPT-2's Conv1D) */
    char name[UM_TENSOR_NAME_BYTES];
} um_tensor_need;

typedef struct um_tensor_list {
    um_tensor_need *items; /* owned */
    size_t count;
    size_t capacity;
} um_tensor_list;

/* Appends one need, stored as [rows][cols]; `name` is a printf format (layer number and the like).
 * UM_E_NOMEM. */
um_status um_tensor_list_add(um_tensor_list *list, um_role role, int32_t layer, int64_t rows,
                             int64_t cols, um_err *err, const char *name, ...) UM_PRINTF(7, 8);
void um_tensor_list_deinit(um_tensor_list *list);
/* NULL when the family lists no such tensor. */
const um_tensor_need *um_tensor_list_find(const um_tensor_list *list, um_role role, int32_t layer);
/* Elements of all listed tensors: a tied head counts once. */
uint64_t um_tensor_list_parameters(const um_tensor_list *list);

/* Vectors of a norm, f32. */
typedef struct um_norm_weights {
    um_tensor gain; /* [1][d]; data NULL: the model has no such norm */
    um_tensor bias; /* [1][d], or data NULL */
} um_norm_weights;

typedef struct um_layer_weights {
    um_norm_weights attention_norm;
    um_norm_weights mlp_norm;
    um_norm_weights q_norm, k_norm; /* optional */
    um_weight *qkv;                 /* q | k | v */
    um_weight *attention_out;
    um_weight *mlp_in; /* GATED (gate, up) or ACTIVATED (up) */
    um_weight *down;
} um_layer_weights;

typedef struct um_weights {
    um_tensor embedding; /* [vocab_rows][d] f32 or bf16, owned */
    um_tensor positions; /* [position_rows][d], dtype of embedding, or data NULL; owned */
    um_norm_weights final_norm;
    um_weight *head;
    um_layer_weights *layers; /* [layers], owned */
    int32_t layer_count;
    size_t bytes; /* all packed weights and tables */
} um_weights;

/* Compares the list with what the checkpoint has. UM_E_FORMAT names every missing or misshapen
 * tensor as far as the message reaches; `problems` (may be NULL) gets all, one per line. */
um_status um_weights_check(const um_checkpoint *checkpoint, const um_tensor_list *list,
                           um_buf *problems, um_err *err);
/* Tensors of the checkpoint that the list does not use, and the first names of them (may be NULL).
 * The list must have passed um_weights_check. */
size_t um_weights_unknown(const um_checkpoint *checkpoint, const um_tensor_list *list,
                          um_buf *first_names);

/* Where contents come from: a checkpoint, or a generator (synthetic.h). */
typedef struct um_tensor_source {
    /* A host tensor of the need's shape, in f32, bf16 or f16, aligned to its element. */
    um_status (*get)(const void *context, const um_tensor_need *need, um_tensor *out, um_err *err);
    /* `tensor` came from get and is not read any more. */
    void (*release)(const void *context, const um_tensor_need *need, um_tensor *tensor);
    const void *context; /* borrowed */
} um_tensor_source;
/* The list must have passed um_weights_check. */
um_tensor_source um_checkpoint_source(const um_checkpoint *checkpoint);

/* Called after each packed matrix with the share loaded, 0..1; returns false to give up
 * (UM_E_CANCELLED). */
typedef bool (*um_load_progress_fn)(void *context, double share);

typedef struct um_weights_load_args {
    const um_model_config *config;
    const um_tensor_list *list;
    const um_tensor_source *source;
    um_dtype precision;           /* UM_F32 or UM_BF16 */
    um_load_progress_fn progress; /* may be NULL */
    void *progress_context;
} um_weights_load_args;
um_status um_weights_load(um_backend *backend, const um_weights_load_args *args, um_weights *out,
                          um_err *err);
void um_weights_deinit(um_backend *backend, um_weights *weights);

#endif
