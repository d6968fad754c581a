/* The table of sampler policies and their names elsewhere. Read-only; any thread. */
#include "core/engine/policy.h"

#include <strings.h>

static const um_policy policies[] = {
    {"low_confidence", UM_CONFIDENCE_PROBABILITY, UM_COUNT_SCHEDULE},
    {"margin", UM_CONFIDENCE_MARGIN, UM_COUNT_SCHEDULE},
    {"entropy", UM_CONFIDENCE_ENTROPY, UM_COUNT_SCHEDULE},
    {"random", UM_CONFIDENCE_RANDOM, UM_COUNT_QUOTA},
    {"threshold", UM_CONFIDENCE_PROBABILITY, UM_COUNT_THRESHOLD},
    {"factor", UM_CONFIDENCE_PROBABILITY, UM_COUNT_FACTOR},
    {"origin", UM_CONFIDENCE_PROBABILITY, UM_COUNT_INDEPENDENT},
    {"competing", UM_CONFIDENCE_LOGPROB, UM_COUNT_COMPETING},
};

/* What other programs call the same samplers. */
static const struct {
    const char *alias;
    const char *name;
} aliases[] = {
    {"maskgit_plus", "low_confidence"},          /* Dream */
    {"topk_margin", "margin"},                   /* Dream */
    {"low_confidence_static", "low_confidence"}, /* JetEngine, SDAR */
    {"low_confidence_dynamic", "threshold"},     /* JetEngine, SDAR */
    {"confidence_threshold", "threshold"},       /* Fast-dLLM for Dream */
    {"confidence-threshold", "threshold"},       /* mlx-vlm */
    {"LowConfidence", "threshold"},              /* SGLang */
};

static const um_policy *find_exact(const char *name)
{
    for (size_t i = 0; i < UM_COUNT_OF(policies); i++)
        if (strcasecmp(policies[i].name, name) == 0)
            return &policies[i];
    return NULL;
}

const um_policy *um_policy_find(const char *name)
{
    for (size_t i = 0; i < UM_COUNT_OF(aliases); i++)
        if (strcasecmp(aliases[i].alias, name) == 0)
            return find_exact(aliases[i].name);
    return find_exact(name);
}

um_count_rule um_policy_count(const um_policy *policy, bool time_schedule)
{
    if (policy->count != UM_COUNT_SCHEDULE)
        return policy->count;
    return time_schedule ? UM_COUNT_TIME : UM_COUNT_QUOTA;
}

bool um_count_knows_no_blocks(um_count_rule count)
{
    return count == UM_COUNT_TIME || count == UM_COUNT_INDEPENDENT || count == UM_COUNT_COMPETING;
}

const um_policy *um_policy_at(size_t index)
{
    return index < UM_COUNT_OF(policies) ? &policies[index] : NULL;
}

const char *um_policy_names(void)
{
    return "low_confidence, margin, entropy, random, threshold, factor, origin, competing";
}
