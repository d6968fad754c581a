/*
 * GET /: the playground, one page with its style and script inline (server/www, made into one text by
 * CMake). Nothing else may run or be loaded on it: the Content-Security-Policy admits inline parts
 * only by a nonce that is new in each response. HTTP thread only.
 */
#ifndef UM_SERVER_API_PLAYGROUND_H
#define UM_SERVER_API_PLAYGROUND_H

#include "core/base/buf.h"
#include "server/http.h"

#define UM_PLAYGROUND_NONCE_BYTES 33 /* 128 bits as hex, and the terminator */

/* Without --no-playground; needs no API key, for the page itself asks for one. */
void um_api_playground(void *context, um_exchange *exchange);

/* What the handler is made of. A nonce is fresh from the system's generator. */
void um_playground_nonce(char nonce[UM_PLAYGROUND_NONCE_BYTES]);
/* Appends the page with the nonce in each place for it, and the header's value. */
void um_playground_page(const char *nonce, um_buf *out);
void um_playground_policy(const char *nonce, um_buf *out);

/* The page before that, made from server/www by CMake; not terminated. For api_playground.c alone. */
extern const unsigned char umi_playground_text[];
extern const size_t umi_playground_length;

#endif
