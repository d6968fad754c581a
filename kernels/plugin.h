/*
 * How the program and a backend plugin find each other. A plugin is a shared object with one
 * visible function, UMI_PLUGIN_ENTRY of type umi_plugin_open. It links its own copy of core/base
 * and shares only structs with the program, so both must be of one build: the program hands over
 * what it was compiled with, and a plugin that knows other sizes refuses. Whatever a side
 * allocates, the same side frees. A plugin does not log: levels are the program's.
 */
#ifndef UM_KERNELS_PLUGIN_H
#define UM_KERNELS_PLUGIN_H

#include "kernels/ops_table.h"

#define UMI_PLUGIN_ENTRY "unmask_plugin_open"

/* Sizes of what both sides look into. Made by UMI_PLUGIN_ABI in either. */
typedef struct umi_plugin_abi {
    uint32_t version; /* goes up when a meaning changes that no size shows */
    uint32_t sizes[24];
} umi_plugin_abi;

#define UMI_PLUGIN_VERSION 1
#define UMI_PLUGIN_ABI                                                                             \
    ((umi_plugin_abi){                                                                             \
        .version = UMI_PLUGIN_VERSION,                                                             \
        .sizes = {sizeof(um_ops_table),      sizeof(um_backend),     sizeof(um_backend_options),   \
                  sizeof(um_backend_limits), sizeof(um_weight),      sizeof(um_weight_spec),       \
                  sizeof(um_tensor),         sizeof(um_embed_args),  sizeof(um_rmsnorm_args),      \
                  sizeof(um_layernorm_args), sizeof(um_linear_args), sizeof(um_rope_args),         \
                  sizeof(um_attention_args), sizeof(um_mix_args),    sizeof(um_score_args),        \
                  sizeof(um_score_row),      sizeof(um_score_rule),  sizeof(um_logit_edit),        \
                  sizeof(um_alternative),    sizeof(um_select_args), sizeof(um_select_rule),       \
                  sizeof(um_commit),         sizeof(um_peak),        sizeof(um_err)}})

/* UM_E_UNSUPPORTED: the plugin is of another build; UM_E_NOT_FOUND: what it needs is not there. */
typedef um_status (*umi_plugin_open)(const umi_plugin_abi *program,
                                     const um_backend_options *options, um_backend **out,
                                     um_err *err);

/* Opens the backend of options->plugin. UM_E_NOT_FOUND and UM_E_UNSUPPORTED mean that it cannot run
 * here, with the reason in `err`; anything else is a failure of a device that is there. */
um_status umi_plugin_load(const um_backend_options *options, um_backend **out, um_err *err);

#endif
