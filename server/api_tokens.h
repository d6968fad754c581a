/*
 * POST /tokenize and /detokenize, also under /v1/: texts and conversations to the ids that the model
 * gets, and back. Shapes: vLLM's. Read and worked on by the thread pool like the bodies of requests
 * that generate, but counted with none of them.
 *
 * HTTP thread only; context is the um_app.
 */
#ifndef UM_SERVER_API_TOKENS_H
#define UM_SERVER_API_TOKENS_H

#include "server/http.h"

#define UM_DETOKENIZE_BYTES_MAX ((size_t)16 << 20) /* of text */

void um_api_tokenize(void *app, um_exchange *exchange);
void um_api_detokenize(void *app, um_exchange *exchange);

#endif
