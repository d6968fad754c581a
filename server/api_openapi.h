/*
 * GET /openapi.json: the document of openapi.h, as an answer. HTTP thread only.
 */
#ifndef UM_SERVER_API_OPENAPI_H
#define UM_SERVER_API_OPENAPI_H

#include "server/http.h"

/* Route handler; the context is the um_app. */
void um_api_openapi(void *app, um_exchange *exchange);

#endif
