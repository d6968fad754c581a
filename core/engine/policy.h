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
    UM_COUNT_SCHEDULE,  /* an even pace, as the family has it: QUOTA or TIME */
    UM_COUNT_QUOTA,     /* LLaDA: n div S a step, the first n mod S steps one more */
    UM_COUNT_TIME,      /* Dream: floor(masks left * (1 - s/t)) with times falling from 1 to eps */
    UM_COUNT_THRESHOLD, /* Fast-dLLM: all at or above a confidence, at least a minimum */
    UM_COUNT_FACTOR,    /* Fast-dLLM: longest prefix with (r+1)(1-w_r) <= factor */
    UM_COUNT_INDEPENDENT, /* each position by its own draw (Dream origin, DiffuLLaMA) */
    UM_COUNT_COMPETING,   /* DiffuLLaMA's confidence sampler: revealed positions compete too */
} um_count_rule;

typedef struct um_policy {
    const char *name; /* as in the API: "low_confidence" */
    um_confidence confidence;
    um_count_rule count;
} um_policy;

/* By API name or alias ("maskgit_plus", "low_confidence_dynamic", ...), case-insensitive; NULL
 * when unknown. Static. */
const um_policy *um_policy_find(const char *name);
/* Its count, with SCHEDULE resolved: TIME for families with Dream's schedule, else QUOTA. */
um_count_rule um_policy_count(const um_policy *policy, bool time_schedule);
/* Schedules that know no blocks (Dream's and DiffuLLaMA's): a prompt's masks count with the first
 * block, a block ends with its steps, and more steps than positions still mean something. */
bool um_count_knows_no_blocks(um_count_rule count);
/* The table, for listings; NULL behind the last. */
const um_policy *um_policy_at(size_t index);
/* "low_confidence, random, ...": for error messages. */
const char *um_policy_names(void);

#endif
