#include "tests/support/fake_step.h"

/* Every row's own entry is the token, at the confidence of its commit. */
static void fill_alternatives(const um_plan *plan, int32_t request, int32_t token,
                              um_step_result *result)
{
    const um_select_rule *rule = &plan->select_rules[request];
    int32_t own = plan->alternative_count - 1;

    for (int32_t row = rule->first; row < rule->first + rule->rows && own >= 0; row++) {
        um_alternative *out = um_step_result_alternatives(result, plan, row);

        for (int32_t i = 0; i < own; i++)
            out[i] = (um_alternative){.token = i, .logprob = -1.0f - (float)i};
        out[own] = (um_alternative){.token = token, .logprob = -0.6931472f};
    }
}

void um_fake_step(const um_plan *plan, int32_t token, um_step_result *result)
{
    for (int32_t i = 0; i < plan->request_count; i++) {
        const um_select_rule *rule = &plan->select_rules[i];
        int32_t said = token == UM_FAKE_ECHO ? plan->ids[plan->cu_seqlens[i]] : token;

        for (int32_t k = 0; k < rule->count; k++)
            result->commits[rule->first + k] = (um_commit){
                .sequence = i,
                .position = plan->score_rows[rule->first + k].position,
                .token = said,
                .confidence = 0.5f,
            };
        result->counts[i] = rule->count;
        fill_alternatives(plan, i, said, result);
    }
}
