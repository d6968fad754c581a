#include "server/api_playground.h"

#include <string.h>

#include "core/base/entropy.h"

#define NONCE_BYTES ((UM_PLAYGROUND_NONCE_BYTES - 1) / 2)
#define NONCE_PLACE "@NONCE@"

void um_playground_nonce(char nonce[UM_PLAYGROUND_NONCE_BYTES])
{
    um_entropy_hex(nonce, NONCE_BYTES);
}

void um_playground_page(const char *nonce, um_buf *out)
{
    const unsigned char *at = umi_playground_text;
    const unsigned char *end = at + umi_playground_length;
    const unsigned char *place;

    while ((place = memmem(at, (size_t)(end - at), NONCE_PLACE, strlen(NONCE_PLACE)))) {
        um_buf_append(out, at, (size_t)(place - at));
        um_buf_text(out, nonce);
        at = place + strlen(NONCE_PLACE);
    }
    um_buf_append(out, at, (size_t)(end - at));
}

void um_playground_policy(const char *nonce, um_buf *out)
{
    um_buf_printf(out,
                  "default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; "
                  "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
                  "frame-ancestors 'none'",
                  nonce, nonce);
}

void um_api_playground(void *context, um_exchange *exchange)
{
    char nonce[UM_PLAYGROUND_NONCE_BYTES];
    um_buf page = {0}, policy = {0};
    um_err err = {0};

    (void)context;
    um_playground_nonce(nonce);
    um_playground_page(nonce, &page);
    um_playground_policy(nonce, &policy);
    if (um_buf_failed(&page) || um_buf_failed(&policy)) {
        um_fail(&err, UM_E_OVERLOADED, "no memory for the page");
        um_exchange_reply_error(exchange, &err);
    } else {
        um_exchange_header(exchange, "Content-Security-Policy", um_buf_view(&policy));
        um_exchange_header(exchange, "X-Content-Type-Options", "nosniff");
        um_exchange_header(exchange, "Referrer-Policy", "no-referrer");
        um_exchange_header(exchange, "Cache-Control", "no-cache");
        um_exchange_reply(exchange, 200, "text/html; charset=utf-8", um_buf_view(&page),
                          page.length);
    }
    um_buf_deinit(&page);
    um_buf_deinit(&policy);
}
