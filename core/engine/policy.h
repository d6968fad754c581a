/*
 * Sampler policies as data. A policy says how sure a position is (confidence) and how many
 * positions are committed per denoising step (count); the code exists once per field value.
 * Candidates are the masks left of the active block's end (canvas.h). Named samplers of the
 * literature are rows or aliases of the table in policy.c.
 */
#ifndef UM_ENGINE_POLICY_H
#define UM_ENGINE_POLICY_H

#include "kernels/ops.h"

typedef enum um_count_rule {
    UM_COUNT_QUOTA,     /* LLaDA: n div S, the first n mod S steps one more */
    UM_COUNT_THRESHOLD, /* Fast-dLLM: all at or above a confidence, at least a minimum */
    UM_COUNT_FACTOR,    /* Fast-dLLM: longest prefix with (r+1)(1-w_r) <= factor */
} um_count_rule;

typedef struct um_policy {
    const char *name; /* as in the API: "low_confidence" */
    um_confidence confidence;
    um_count_rule count;
} um_policy;

/* By API name or alias ("maskgit_plus", "low_confidence_dynamic", ...), case-insensitive; NULL
 * when unknown. Static. */
const um_policy *um_policy_find(const char *name);
/* The table, for listings; NULL behind the last. */
const um_policy *um_policy_at(size_t index);
/* "low_confidence, random, threshold, factor": for error messages. */
const char *um_policy_names(void);

#endif
