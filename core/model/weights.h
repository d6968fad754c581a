/*
 * Tensor names -> packed weights. A family lists which checkpoint tensor plays which role; this
 * module checks presence and shapes (one error names every missing or misshapen tensor), then
 * packs tensor by tensor, giving source pages back after each: peak memory is the packed weights
 * plus the largest tensor.
 */
#ifndef UM_MODEL_WEIGHTS_H
#define UM_MODEL_WEIGHTS_H

#include "core/model/model_config.h"
#include "core/model/safetensors.h"

/* Role of a tensor in a (pre-norm, gated MLP) transformer. _BIAS follows its matrix. */
typedef enum um_role {
    UM_ROLE_EMBEDDING, /* not per layer */
    UM_ROLE_FINAL_NORM,
    UM_ROLE_HEAD,
    UM_ROLE_HEAD_BIAS,
    UM_ROLE_ATTENTION_NORM, /* per layer from here on */
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
    UM_ROLE_GATE,
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
    char name[UM_TENSOR_NAME_BYTES];
} um_tensor_need;

typedef struct um_tensor_list {
    um_tensor_need *items; /* owned */
    size_t count;
    size_t capacity;
} um_tensor_list;

/* Appends one need; `name` is a printf format (layer number and the like). UM_E_NOMEM. */
um_status um_tensor_list_add(um_tensor_list *list, um_role role, int32_t layer, int64_t rows,
                             int64_t cols, um_err *err, const char *name, ...) UM_PRINTF(7, 8);
void um_tensor_list_deinit(um_tensor_list *list);

typedef struct um_layer_weights {
    um_tensor attention_norm; /* [1][d] f32 */
    um_tensor mlp_norm;       /* [1][d] f32 */
    um_tensor q_norm, k_norm; /* [1][q], [1][k] f32, or data NULL */
    um_weight *qkv;           /* q | k | v */
    um_weight *attention_out;
    um_weight *gate_up; /* GATED */
    um_weight *down;
} um_layer_weights;

typedef struct um_weights {
    um_tensor embedding; /* [vocab_rows][d] f32 or bf16, owned */
    um_tensor final_norm;
    um_weight *head;
    um_layer_weights *layers; /* [layers], owned */
    int32_t layer_count;
    size_t bytes; /* all packed weights and tables */
} um_weights;

/* Called after each tensor with the share loaded, 0..1; returns false to give up (UM_E_CANCELLED). */
typedef bool (*um_load_progress_fn)(void *context, double share);

um_status um_weights_check(const um_checkpoint *checkpoint, const um_tensor_list *list,
                           um_err *err);
um_status um_weights_load(um_backend *backend, const um_model_config *config,
                          const um_checkpoint *checkpoint, const um_tensor_list *list,
                          um_dtype precision, um_load_progress_fn progress, void *context,
                          um_weights *out, um_err *err);
void um_weights_deinit(um_backend *backend, um_weights *weights);

#endif
