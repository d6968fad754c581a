/*
 * The playground's response, with a scripted exchange: one page with everything inline, admitted by a
 * nonce that is new each time, and the headers that forbid everything else.
 */
#include <ctype.h>
#include <stdlib.h>

#include "core/base/mem.h"
#include "server/api_playground.h"
#include "tests/test.h"

#define NONCE "0123456789abcdef0123456789abcdef"
#define NONCES 2000

/* ---- the exchange that stands in ------------------------------------------------------------ */

struct um_exchange {
    um_buf headers; /* "Name: value\n" each */
    um_buf body;
    char type[64];
    unsigned status;
};

void um_exchange_header(um_exchange *exchange, const char *name, const char *value)
{
    um_buf_printf(&exchange->headers, "%s: %s\n", name, value);
}

void um_exchange_reply(um_exchange *exchange, unsigned http_status, const char *content_type,
                       const char *body, size_t length)
{
    exchange->status = http_status;
    snprintf(exchange->type, sizeof(exchange->type), "%s", content_type);
    um_buf_append(&exchange->body, body, length);
}

void um_exchange_reply_error(um_exchange *exchange, const um_err *err)
{
    exchange->status = err->status == UM_E_OVERLOADED ? 503 : 500;
}

static void free_exchange(um_exchange *exchange)
{
    um_buf_deinit(&exchange->headers);
    um_buf_deinit(&exchange->body);
}

static size_t count(const char *text, const char *part)
{
    size_t found = 0;

    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        found++;
    return found;
}

/* ---- the page ------------------------------------------------------------------------------- */

static void every_place_in_the_page_is_filled(void)
{
    um_buf page = {0};
    const char *text;

    um_playground_page(NONCE, &page);
    text = um_buf_view(&page);
    UM_CHECK_INT(strlen(text), page.length);
    UM_CHECK(strncmp(text, "<!doctype html>\n", 16) == 0);
    UM_CHECK(page.length > 8 && strcmp(text + page.length - 8, "</html>\n") == 0);
    UM_CHECK_INT(count(text, "<style nonce=\"" NONCE "\">"), 1);
    UM_CHECK_INT(count(text, "<script type=\"module\" nonce=\"" NONCE "\">"), 1);
    UM_CHECK_INT(count(text, NONCE), 2);
    for (const char *at = text; (at = strchr(at, '@')); at++) {
        size_t word = 1;

        while (isupper((unsigned char)at[word]))
            word++;
        UM_CHECK(word == 1 || at[word] != '@');
    }
    um_buf_deinit(&page);
}

/* What the policy would refuse, and what would end the inline parts early. */
static void the_page_brings_all_it_needs(void)
{
    um_buf page = {0};
    const char *text;

    um_playground_page(NONCE, &page);
    text = um_buf_view(&page);
    UM_CHECK_INT(count(text, "</script"), 1);
    UM_CHECK_INT(count(text, "</style"), 1);
    UM_CHECK_INT(count(text, "<script"), 1);
    UM_CHECK_INT(count(text, "<link"), 1);
    UM_CHECK_INT(count(text, "<link rel=\"icon\" href=\"data:"), 1);
    UM_CHECK_INT(count(text, "://"), count(text, "xmlns='http://www.w3.org/2000/svg'"));
    UM_CHECK_INT(count(text, " src="), 0);
    UM_CHECK_INT(count(text, " style="), 0);
    UM_CHECK_INT(count(text, " onclick="), 0);
    UM_CHECK_INT(count(text, "@import"), 0);
    UM_CHECK_INT(count(text, "url("), 0);
    UM_CHECK_INT(count(text, "innerHTML"), 0);
    UM_CHECK_INT(count(text, "outerHTML"), 0);
    UM_CHECK_INT(count(text, "insertAdjacentHTML"), 0);
    UM_CHECK_INT(count(text, "eval("), 0);
    um_buf_deinit(&page);
}

/* ---- the response --------------------------------------------------------------------------- */

static void the_headers_are_those_documented(void)
{
    um_exchange exchange = {0};
    char nonce[UM_PLAYGROUND_NONCE_BYTES], expected[1024];
    const char *place;

    um_api_playground(NULL, &exchange);
    UM_CHECK_INT(exchange.status, 200);
    UM_CHECK_STR(exchange.type, "text/html; charset=utf-8");
    place = strstr(um_buf_view(&exchange.body), "<style nonce=\"");
    UM_CHECK(place);
    snprintf(nonce, sizeof(nonce), "%s", place ? place + strlen("<style nonce=\"") : "");
    snprintf(expected, sizeof(expected),
             "Content-Security-Policy: default-src 'none'; script-src 'nonce-%s'; "
             "style-src 'nonce-%s'; connect-src 'self'; img-src data:; base-uri 'none'; "
             "form-action 'none'; frame-ancestors 'none'\n"
             "X-Content-Type-Options: nosniff\n"
             "Referrer-Policy: no-referrer\n"
             "Cache-Control: no-cache\n",
             nonce, nonce);
    UM_CHECK_STR(um_buf_view(&exchange.headers), expected);
    UM_CHECK_INT(count(um_buf_view(&exchange.body), nonce), 2);
    free_exchange(&exchange);
}

/* Whichever allocation fails, the answer is an error and never half a page. */
static void without_memory_the_answer_is_an_error(void)
{
    bool failed = true;

    for (long n = 1; failed && n < 100; n++) {
        um_exchange exchange = {0};

        um_buf_reserve(&exchange.headers, 4096);
        um_buf_reserve(&exchange.body, 1 << 20);
        um_mem_fail_after(n);
        um_api_playground(NULL, &exchange);
        failed = !um_mem_fail_pending();
        um_mem_fail_after(0);
        UM_CHECK_INT(exchange.status, failed ? 503 : 200);
        free_exchange(&exchange);
    }
    UM_CHECK(!failed);
}

static int compare_nonces(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void no_two_responses_share_a_nonce(void)
{
    static char nonces[NONCES][UM_PLAYGROUND_NONCE_BYTES];

    for (size_t i = 0; i < NONCES; i++) {
        um_playground_nonce(nonces[i]);
        UM_CHECK_INT(strspn(nonces[i], "0123456789abcdef"), UM_PLAYGROUND_NONCE_BYTES - 1);
    }
    qsort(nonces, NONCES, sizeof(nonces[0]), compare_nonces);
    for (size_t i = 1; i < NONCES; i++)
        UM_CHECK(strcmp(nonces[i - 1], nonces[i]) != 0);
}

static const um_test tests[] = {
    UM_TEST(every_place_in_the_page_is_filled),     UM_TEST(the_page_brings_all_it_needs),
    UM_TEST(the_headers_are_those_documented),      UM_TEST(no_two_responses_share_a_nonce),
    UM_TEST(without_memory_the_answer_is_an_error),
};
UM_TEST_MAIN(tests)
