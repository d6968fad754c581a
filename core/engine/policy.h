/*
 * Sampler policies as data. A policy says how sure a position is (confidence), how many are
 * committed per denoising step (count) and where candidates are looked for (scope); the code
 * exists once per field value. Named samplers of the literature are rows of the table in policy.c.
 */
#ifndef UM_ENGINE_POLICY_H
#define UM_ENGINE_POLICY_H

#include "kernels/ops.h"

typedef enum um_count_rule {
    UM_COUNT_QUOTA,     /* LLaDA: n div S, the first n mod S steps one more */
    UM_COUNT_THRESHOLD, /* Fast-dLLM: all at or above a confidence, at least a minimum */
    UM_COUNT_FACTOR,    /* Fast-dLLM: longest prefix with (r+1)(1-w_r) <= factor */
} um_count_rule;

typedef enum um_scope {
    UM_SCOPE_BLOCK, /* masks left of the active block's end */
} um_scope;

typedef struct um_policy {
    const char *name; /* as in the API: "low_confidence" */
    um_confidence confidence;
    um_count_rule count;
    um_scope scope;
} um_policy;

/* By API name or alias ("maskgit_plus", "low_confidence_static", ...), case-insensitive; NULL when
 * unknown. Static. */
const um_policy *um_policy_find(const char *name);
/* The table, for error messages; NULL behind the last. */
const um_policy *um_policy_at(size_t index);
/* "low_confidence, random, threshold, factor" */
const char *um_policy_names(void);

#endif
