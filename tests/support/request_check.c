#include "tests/support/request_check.h"

#include "core/base/mem.h"

static const um_family family = {.name = "llada", .has_eos_rules = true};
static const um_params_limits limits = {
    .family = &family,
    .defaults = {.algorithm = "low_confidence", .block_length = 8, .max_tokens = 16},
    .context_max = UM_TEST_CONTEXT,
};

um_api_rules um_test_rules(void)
{
    static char *const aliases[] = {(char *)"small", (char *)"at@fast"};

    return (um_api_rules){.model_id = "org/tiny",
                          .model_aliases = aliases,
                          .model_alias_count = UM_COUNT_OF(aliases),
                          .vocab = UM_TEST_VOCAB,
                          .mask_token = UM_TEST_MASK,
                          .max_choices = UM_TEST_MAX_N,
                          .limits = &limits};
}

um_status um_test_parse(um_endpoint endpoint, const char *body, bool strict, um_api_request *out,
                        um_err *err)
{
    um_api_rules rules = um_test_rules();

    rules.strict_params = strict;
    *err = (um_err){0};
    return um_api_request_parse(endpoint, body, strlen(body), &rules, out, err);
}

void um_test_refusals(um_endpoint endpoint, const um_test_refusal *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        um_api_request request;
        um_err err;
        um_status status = um_test_parse(endpoint, cases[i].body, false, &request, &err);

        if (status != cases[i].status || strcmp(err.field, cases[i].field) != 0)
            um_test_fail(__FILE__, __LINE__, "%s: %s, field \"%s\": %s", cases[i].body,
                         um_status_name(status), err.field, err.message);
        um_test_count();
        um_api_request_deinit(&request);
    }
}

void um_test_accepted(um_endpoint endpoint, const char *const *bodies, size_t count,
                      const char *ignored)
{
    for (size_t i = 0; i < count; i++) {
        um_api_request request;
        um_err err;
        um_status status = um_test_parse(endpoint, bodies[i], false, &request, &err);

        if (status != UM_OK)
            um_test_fail(__FILE__, __LINE__, "%s: %s: %s", bodies[i], err.field, err.message);
        else
            UM_CHECK_STR(um_buf_view(&request.ignored), ignored);
        um_test_count();
        um_api_request_deinit(&request);
    }
}

void um_test_failing_allocations(um_endpoint endpoint, const char *body, long least, long most)
{
    long n;

    for (n = 1; n < most; n++) {
        um_api_request r;
        um_err err;
        um_status status;

        um_mem_fail_after(n);
        status = um_test_parse(endpoint, body, false, &r, &err);
        if (um_mem_fail_pending()) {
            um_mem_fail_after(0);
            UM_CHECK_INT(status, UM_OK);
            um_api_request_deinit(&r);
            break;
        }
        UM_CHECK_INT(status, UM_E_OVERLOADED);
    }
    UM_CHECK(n > least && n < most);
}
