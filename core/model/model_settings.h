/*
 * What a model recommends for its use, from the weakest word to the strongest: the family's row,
 * generation_config.json, the table built in from config/models/, unmask.json beside the checkpoint.
 */
#ifndef UM_MODEL_MODEL_SETTINGS_H
#define UM_MODEL_MODEL_SETTINGS_H

#include "core/model/model_dir.h"

#define UMI_JSON_BYTES_MAX ((size_t)1 << 20)
#define UMI_PATH_BYTES 4096

/* The files of config/models/ as JSON texts, NULL behind the last; made by CMake. */
extern const char *const umi_builtin_models[];

/* `out` has family, config and the family's defaults. UM_E_FORMAT names file and key. */
um_status umi_model_settings_apply(const char *dir, um_model_dir *out, um_err *err);
/* One document of our own keys, what unmask.json holds, on top of what `out` has. Kinds and ranges
 * as of um_json_get_*; UM_E_FORMAT, UM_E_NOMEM. */
um_status umi_model_settings_read(const um_json *root, um_model_dir *out, um_err *err);

/* dir/name into path[UMI_PATH_BYTES]. UM_E_IO when it is longer. */
um_status umi_model_path(const char *dir, const char *name, char *path, um_err *err);
/* JSON getters speak of request parameters; in a checkpoint the same fault is a malformed file. */
um_status umi_file_fault(um_status status);

#endif
