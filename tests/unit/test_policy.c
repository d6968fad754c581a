/* The policy table: names, aliases, and the list that error messages show. */
#include "tests/test.h"

#include "core/base/buf.h"
#include "core/engine/policy.h"

static void check_name(const char *name, const char *expected)
{
    const um_policy *policy = um_policy_find(name);

    UM_CHECK_STR(policy ? policy->name : "(none)", expected);
}

static void finds_every_policy_by_its_name(void)
{
    size_t count = 0;

    for (; um_policy_at(count); count++)
        UM_CHECK(um_policy_find(um_policy_at(count)->name) == um_policy_at(count));
    UM_CHECK_INT(count, 8);
}

static void knows_the_names_of_other_programs(void)
{
    check_name("maskgit_plus", "low_confidence");
    check_name("topk_margin", "margin");
    check_name("low_confidence_static", "low_confidence");
    check_name("low_confidence_dynamic", "threshold");
    check_name("confidence_threshold", "threshold");
    check_name("confidence-threshold", "threshold");
    check_name("LowConfidence", "threshold");
}

static void ignores_case(void)
{
    check_name("LOW_CONFIDENCE", "low_confidence");
    check_name("Random", "random");
    check_name("lowconfidence", "threshold");
}

static void refuses_what_is_not_offered(void)
{
    check_name("", "(none)");
    check_name("entropy_bounded", "(none)");
    check_name("low_confidence ", "(none)");
}

static void policies_mean_what_the_papers_say(void)
{
    const um_policy *low = um_policy_find("low_confidence"), *random = um_policy_find("random");
    const um_policy *threshold = um_policy_find("threshold"), *factor = um_policy_find("factor");

    UM_CHECK(low->confidence == UM_CONFIDENCE_PROBABILITY && low->count == UM_COUNT_SCHEDULE);
    UM_CHECK_INT(um_policy_count(low, false), UM_COUNT_QUOTA); /* LLaDA */
    UM_CHECK_INT(um_policy_count(low, true), UM_COUNT_TIME);   /* Dream */
    UM_CHECK_INT(um_policy_count(random, true), UM_COUNT_QUOTA);
    UM_CHECK(random->confidence == UM_CONFIDENCE_RANDOM && random->count == UM_COUNT_QUOTA);
    UM_CHECK(threshold->confidence == UM_CONFIDENCE_PROBABILITY &&
             threshold->count == UM_COUNT_THRESHOLD);
    UM_CHECK(factor->confidence == UM_CONFIDENCE_PROBABILITY && factor->count == UM_COUNT_FACTOR);
}

static void lists_exactly_the_table(void)
{
    um_buf names = {0};

    for (size_t i = 0; um_policy_at(i); i++)
        um_buf_printf(&names, "%s%s", i ? ", " : "", um_policy_at(i)->name);
    UM_CHECK_STR(um_policy_names(), um_buf_view(&names));
    um_buf_deinit(&names);
}

static const um_test tests[] = {
    UM_TEST(finds_every_policy_by_its_name),
    UM_TEST(knows_the_names_of_other_programs),
    UM_TEST(ignores_case),
    UM_TEST(refuses_what_is_not_offered),
    UM_TEST(policies_mean_what_the_papers_say),
    UM_TEST(lists_exactly_the_table),
};
UM_TEST_MAIN(tests)
