#include "tests/support/fake_step.h"

void um_fake_step(const um_plan *plan, int32_t token, um_step_result *result)
{
    for (int32_t i = 0; i < plan->request_count; i++) {
        const um_select_rule *rule = &plan->select_rules[i];

        for (int32_t k = 0; k < rule->count; k++)
            result->commits[rule->first + k] = (um_commit){
                .sequence = i,
                .position = plan->score_rows[rule->first + k].position,
                .token = token == UM_FAKE_ECHO ? plan->ids[plan->cu_seqlens[i]] : token,
                .confidence = 0.5f,
            };
        result->counts[i] = rule->count;
    }
}
