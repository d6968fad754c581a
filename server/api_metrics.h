/*
 * GET /metrics: the Prometheus text format. Every series exists from the start. HTTP thread only.
 */
#ifndef UM_SERVER_API_METRICS_H
#define UM_SERVER_API_METRICS_H

#include "server/http.h"

void um_api_metrics(void *app, um_exchange *exchange);

#endif
