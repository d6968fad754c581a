/*
 * API keys from options and key file, in the form that the transport compares. Keys never appear
 * in an error or a log line.
 */
#ifndef UM_SERVER_KEYS_H
#define UM_SERVER_KEYS_H

#include "config/config.h"
#include "server/http.h"

/* Every key of --api-key and of --api-key-file (one per line, `name:key` or `key`, `#` comments).
 * *keys is the caller's (um_mem_free); NULL when there are none. */
um_status um_keys_load(const um_config *config, um_http_key **keys, size_t *count, um_err *err);

#endif
