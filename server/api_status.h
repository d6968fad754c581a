/*
 * What the server says about itself: models, health, version. Answers at once, also while the
 * model loads. Route handlers; context is the um_app. HTTP thread only.
 */
#ifndef UM_SERVER_API_STATUS_H
#define UM_SERVER_API_STATUS_H

#include "server/http.h"

void um_api_models(void *app, um_exchange *exchange);
void um_api_model(void *app, um_exchange *exchange); /* the id is the path's tail */
void um_api_health(void *app, um_exchange *exchange);
void um_api_live(void *app, um_exchange *exchange);
void um_api_version(void *app, um_exchange *exchange);

#endif
