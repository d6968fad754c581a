/*
 * A model family: how its config.json and tensor names map onto our dimensions and ops, and the
 * facts that the engine and the API read. Adding a family = one file family_<name>.c and one row
 * in the table of family.c.
 */
#ifndef UM_MODEL_FAMILY_H
#define UM_MODEL_FAMILY_H

#include "core/model/model_config.h"
#include "core/model/weights.h"

/* Settings a family recommends when neither request, flag nor model file says otherwise. */
/* How much a request trades for speed. */
typedef enum um_preset {
    UM_PRESET_RECOMMENDED, /* the model's own settings */
    UM_PRESET_FAST,
    UM_PRESET_BALANCED,
    UM_PRESET_MAX,
    UM_PRESET_COUNT,
} um_preset;

extern const char *const um_preset_names[UM_PRESET_COUNT]; /* "fast" */

/* What a model's settings say of a preset. */
typedef struct um_model_preset {
    char algorithm[32];      /* "": nothing */
    int32_t block_length;    /* 0: nothing */
    int32_t steps_per_block; /* 0: nothing */
    float threshold;         /* 0: nothing */
} um_model_preset;

typedef struct um_model_defaults {
    const char *algorithm;        /* name in the policy table: "low_confidence" */
    const char *greedy_algorithm; /* instead of it at temperature 0; NULL: the same */
    int32_t block_length;         /* 0: the whole canvas is one block */
    int32_t steps_per_block;      /* 0: block_length, one token per step */
    int32_t max_tokens;
    float temperature;
    float top_p;             /* 1: off */
    float order_temperature; /* Dream's alg_temp; 0: off */
    float eps;               /* where the times of a time schedule end */
    um_model_preset presets[UM_PRESET_COUNT];
} um_model_defaults;

#define UM_FAMILY_ARCHITECTURES_MAX 2

typedef struct um_family {
    const char *name;                                       /* "llada" */
    const char *architectures[UM_FAMILY_ARCHITECTURES_MAX]; /* config.json architectures[0] */
    /* Autoregressive models have the same architecture: a checkpoint is taken for this family only
     * where its tokenizer has a mask token, or when the user says so. */
    bool is_shared_architecture;
    bool has_eos_rules;       /* confidence_eos_eot_inf and logits_eos_inf exist */
    bool time_schedule;       /* an even pace is Dream's, by time; else LLaDA's quota */
    bool filtered_confidence; /* confidence is of the distribution that is sampled from (Dream) */
    const char *turn_token_text; /* looked up in the tokenizer: "<|eot_id|>", or NULL */
    const char *padding_text;    /* what some models fill up with instead of the end token; ends an
                                  * answer where the tokenizer has it; NULL: none */
    um_model_defaults defaults;
    /* config.json -> dimensions; every value range-checked, error names the key. */
    um_status (*read_config)(const um_json *config, um_model_config *out, um_err *err);
    /* What only the weight files tell: which tensor names, whether the head is stored apart, rows
     * of the vocabulary. NULL: nothing. */
    um_status (*adapt)(const um_checkpoint *checkpoint, um_model_config *config, um_err *err);
    /* Lists every tensor the forward needs, in the family's own names. */
    um_status (*list_tensors)(const um_model_config *config, um_tensor_list *list, um_err *err);
} um_family;

/* By architectures[0] (not model_type: other classes reuse it). UM_E_UNSUPPORTED lists what is
 * known. */
um_status um_family_find(const um_json *config, const um_family **out, um_err *err);
/* By name ("dream"). UM_E_UNSUPPORTED_VALUE lists what is known. */
um_status um_family_by_name(const char *name, const um_family **out, um_err *err);
/* The table, for --help and inspect; NULL behind the last. */
const um_family *um_family_at(size_t index);

#endif
