/*
 * Reading config.json's keys: what several families share. Each function reads one key and fails
 * with an error that names it; absent and null are the fallback.
 */
#ifndef UM_MODEL_CONFIG_KEYS_H
#define UM_MODEL_CONFIG_KEYS_H

#include "core/base/json.h"
#include "core/model/model_config.h"

/* Ids and dimensions beyond this are refused here; um_model_config_check knows the true bounds. */
#define UMI_DIMENSION_MAX (1 << 24)

/* One integer key. */
um_status umi_read_id(const um_json *config, const char *key, int64_t min, int64_t fallback,
                      int32_t *out, um_err *err);
/* bos_token_id; null (not absent) means that prompts have none. */
um_status umi_read_bos(const um_json *config, int32_t fallback, um_model_config *out, um_err *err);
/* An integer of at least 1 that goes by two names; both present must agree. */
um_status umi_read_aliased(const um_json *config, const char *key, const char *alias,
                           int64_t fallback, int64_t *out, um_err *err);
/* A key of which one value is supported; absent means `fallback`. */
um_status umi_require_text(const um_json *config, const char *key, const char *wanted,
                           const char *fallback, um_err *err);
um_status umi_require_bool(const um_json *config, const char *key, bool wanted, bool fallback,
                           um_err *err);
/* A key that asks for a computation which we do not have, whatever its value. */
um_status umi_require_null(const um_json *config, const char *key, um_err *err);

typedef struct umi_activation_name {
    const char *name;
    um_activation activation;
} umi_activation_name;
/* One of `known`, which the error lists. */
um_status umi_read_activation(const um_json *config, const char *key, const char *fallback,
                              const umi_activation_name *known, size_t known_count,
                              um_activation *out, um_err *err);

#endif
