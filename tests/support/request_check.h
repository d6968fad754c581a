/*
 * Bodies against the parser of requests, for a model "org/tiny" (aliases "small" and "at@fast") with
 * a context of 64, ids 0 to 39, of which 35 is MASK, and --max-n 4.
 */
#ifndef UM_TESTS_REQUEST_CHECK_H
#define UM_TESTS_REQUEST_CHECK_H

#include "server/request_json.h"
#include "tests/test.h"

#define UM_TEST_CONTEXT 64
#define UM_TEST_VOCAB 40
#define UM_TEST_MASK 35
#define UM_TEST_MAX_N 4

#define UM_TEST_USER "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"
#define UM_TEST_CHAT(fields) "{" UM_TEST_USER "," fields "}"
#define UM_TEST_TEXT(fields) "{\"prompt\":\"Hi\"," fields "}"

um_api_rules um_test_rules(void);
um_status um_test_parse(um_endpoint endpoint, const char *body, bool strict, um_api_request *out,
                        um_err *err);

typedef struct um_test_refusal {
    const char *body;
    um_status status;
    const char *field;
} um_test_refusal;

/* Every body is refused in that way. */
void um_test_refusals(um_endpoint endpoint, const um_test_refusal *cases, size_t count);
/* Parses the body again and again, with the first, second, ... allocation failing: each time it is
 * UM_E_OVERLOADED, until all of them, more than `least` and fewer than `most`, succeed. */
void um_test_failing_allocations(um_endpoint endpoint, const char *body, long least, long most);
/* Every body is accepted, with `ignored` for x-unmask-ignored. */
void um_test_accepted(um_endpoint endpoint, const char *const *bodies, size_t count,
                      const char *ignored);

#endif
