/*
 * Generation parameters of one request: defaults, ranges and cross-checks. What the HTTP layer
 * parsed ("given") is resolved here against the model's recommendation into settings that the
 * engine runs without further questions. Error fields are the API's names ("diffusion.steps").
 */
#ifndef UM_ENGINE_PARAMS_H
#define UM_ENGINE_PARAMS_H

#include "core/engine/policy.h"
#include "core/model/family.h"

#define UM_STOP_STRINGS_MAX 4
#define UM_STOP_STRING_BYTES_MAX 256
#define UM_STEPS_MAX 8192
#define UM_STEPS_PER_BLOCK_MAX 1024
#define UM_TEMPERATURE_MAX 2.0
#define UM_CFG_SCALE_MAX 20.0
/* Fast-dLLM's own settings, where neither request nor model says otherwise. */
#define UM_THRESHOLD_DEFAULT 0.9
#define UM_FACTOR_DEFAULT 1.0
#define UM_ORDER_TEMPERATURE_MAX 10.0
#define UM_EPS_MIN 1e-6
#define UM_EPS_MAX 0.1
#define UM_PENALTY_MAX 2.0
/* Above 0 is what is asked; within these float32 keeps it a number, and its inverse. */
#define UM_REPETITION_PENALTY_MIN 1e-6
#define UM_REPETITION_PENALTY_MAX 1e6
#define UM_NOISE_DEFAULT 0.5
#define UM_DEADLINE_MS_MAX 600000
#define UM_LOGPROBS_MAX 20
#define UM_STOP_TOKENS_MAX 64
#define UM_BIASES_MAX 1024 /* entries of logit_bias */
/* A gap of open length grows by so many positions where the model knows no blocks. */
#define UM_GROWTH_TOKENS 32

typedef enum um_eos_rule {
    UM_EOS_NONE,
    UM_EOS_CONFIDENCE, /* LLaDA's confidence_eos_eot_inf */
    UM_EOS_LOGITS,     /* LLaDA's logits_eos_inf */
} um_eos_rule;

typedef struct um_stop_string {
    char bytes[UM_STOP_STRING_BYTES_MAX];
    int32_t length;
} um_stop_string;

/* What a request asked for. Zero-initialise; a field counts only when its has_ flag is set. */
typedef struct um_params_given {
    bool has_max_tokens, has_temperature, has_top_p, has_top_k, has_min_p, has_seed;
    bool has_steps, has_steps_per_block, has_block_length;
    bool has_threshold, has_factor, has_order_temperature, has_eps, has_cfg_scale;
    bool has_eos_rule, has_early_stop, has_reference_quirks;
    bool has_frequency_penalty, has_presence_penalty, has_repetition_penalty;
    bool has_min_tokens, has_deadline_ms, has_noise, has_infill_length;
    um_preset preset; /* family.h; the rows are in params.c. Single settings are stronger */
    int64_t max_tokens;
    double temperature;
    double top_p;  /* 0 acts as top_k 1 */
    int64_t top_k; /* 0 and -1: off */
    double min_p;
    int64_t seed;
    int64_t steps;
    int64_t steps_per_block;
    int64_t block_length;
    double threshold;
    double factor;
    double order_temperature;
    double eps;
    double cfg_scale;
    um_eos_rule eos_rule;
    bool early_stop;
    bool reference_quirks;
    double frequency_penalty;
    double presence_penalty;
    double repetition_penalty;
    int64_t min_tokens;
    bool ignore_eos;
    bool keep_special_text; /* skip_special_tokens: false */
    bool wants_logprobs;
    int64_t top_logprobs; /* alternatives of each token, where log-probabilities are wanted */
    int64_t deadline_ms;
    double noise;
    int64_t infill_length; /* 0: auto */
    const char *algorithm; /* NULL: not given; borrowed for the call */
} um_params_given;

/* Settings in force. Plain data. */
typedef struct um_params {
    const um_policy *policy; /* static */
    um_count_rule count;     /* the policy's, with SCHEDULE resolved to the family's */
    bool filtered;           /* confidence is of the sampled distribution */
    int32_t max_tokens;      /* budget: the answer is read from that many positions */
    int32_t canvas_tokens;   /* generated positions: ceil(max_tokens / block_length) whole blocks,
                                the last one cut where prompt + canvas would pass the context */
    int32_t block_length;
    int32_t block_count;
    int32_t steps_per_block; /* 0: no bound (threshold and factor without steps) */
    float temperature;
    float top_p;
    float min_p;
    int32_t top_k; /* 0: off */
    float threshold;
    float factor;
    float order_temperature;
    float eps;
    float cfg_scale;
    um_eos_rule eos_rule;
    bool early_stop;
    bool reference_quirks;
    float frequency_penalty; /* counts are taken over what is filled in on the canvas */
    float presence_penalty;
    float repetition_penalty; /* of tokens on the canvas and in the prompt; 0 and 1: none */
    int32_t min_tokens;       /* no end token in the first so many positions */
    bool ignore_eos;          /* end tokens are never predicted */
    bool keep_special_text;   /* special tokens other than MASK and end tokens are text */
    int32_t logprobs;         /* entries of a token's row: its own and the likeliest; 0: none */
    int32_t deadline_ms;      /* from arrival; 0: none */
    float noise;              /* share of the draft's tokens that are masked at the start */
    bool exact_length; /* the canvas is max_tokens long, not whole blocks; full means complete */
    bool grows;        /* infilling of open length: the canvas begins with one block and gains the
                          next while the model has not ended the gap, up to canvas_tokens */
    uint64_t seed;
    uint32_t choice; /* counter word of the random numbers */
} um_params;

/*
 * What surrounds a canvas, for um_params_resolve. With infill the canvas has infill_length
 * positions, or max_tokens; with neither, or "auto", it grows (params.grows) up to max_tokens or the
 * default, cut to the free context.
 */
typedef struct um_params_place {
    int32_t prompt_tokens;   /* in front of the canvas and behind it */
    int32_t draft_tokens;    /* positions that the canvas must have room for; 0: no draft */
    int32_t default_tokens;  /* budget where the request has none; 0: the model's */
    bool infill;             /* text follows: exact_length, and infill_length counts */
    bool one_block;          /* the whole canvas at once, unless the request says otherwise; with
                                infill a template: the canvas is exactly draft_tokens long */
    const char *field;       /* of the prompt in errors: "messages", "prompt", "input" */
    const char *draft_field; /* of the draft: "prediction", "diffusion.template" */
} um_params_place;

/* Facts that parameters are checked against. Plain data, read-only after load. */
typedef struct um_params_limits {
    const um_family *family;
    um_model_defaults defaults;
    int32_t context_max;
} um_params_limits;

/* A model's recommendation comes from files beside the checkpoint: check it once at start. It names
 * a policy of the table and its numbers are within the ranges of requests. UM_E_UNSUPPORTED,
 * UM_E_FORMAT. */
um_status um_params_limits_check(const um_params_limits *limits, um_err *err);

/* Range checks and conflicts that need no prompt: run before it is encoded. */
um_status um_params_check(const um_params_given *given, const um_params_limits *limits,
                          um_err *err);

/*
 * Checks and resolves. The place's prompt_tokens decide the free context: without an explicit
 * max_tokens the budget is cut to what is free; with one, prompt + max_tokens > context is
 * UM_E_CONTEXT_LENGTH. A draft longer than the budget is UM_E_VALUE; diffusion.infill_length or
 * diffusion.noise without infill or draft is UM_E_CONFLICT; min_tokens above the budget is
 * UM_E_INT_ABOVE_MAX. `random_seed` is used when no
 * seed was given. `steps` is shared over the blocks, rounded up.
 */
um_status um_params_resolve(const um_params_given *given, const um_params_limits *limits,
                            const um_params_place *place, uint64_t random_seed, um_params *out,
                            um_err *err);

/* What a preset means for this model: policy, steps_per_block, block_length, threshold, and the rest
 * as a request would get it that gives nothing else. After um_params_limits_check. */
void um_params_preset(const um_params_limits *limits, um_preset preset, um_params *out);

/* Bounds of block b of the canvas, relative to the first generated position. */
void um_params_block(const um_params *params, int32_t block, int32_t *begin, int32_t *end);

#endif
