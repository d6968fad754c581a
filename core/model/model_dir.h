/*
 * A checkpoint directory understood, before anything is loaded: config.json read by its family,
 * recommended settings, weight files open, every tensor checked. What um_model_open loads from and
 * um_model_inspect reports on.
 */
#ifndef UM_MODEL_MODEL_DIR_H
#define UM_MODEL_MODEL_DIR_H

#include "core/model/family.h"

typedef struct um_model_dir {
    char architecture[64]; /* "" when config.json names none */
    const um_family *family;
    um_model_config config;
    um_model_defaults defaults; /* unmask.json over generation_config.json over the family's row */
    char *algorithm;            /* storage of defaults.algorithm when unmask.json sets it; owned */
    um_checkpoint *checkpoint;
    um_tensor_list list;
    um_buf tensor_problems; /* every missing or unfit tensor, one per line */
} um_model_dir;

/* What the user knows better than the files. */
typedef struct um_model_dir_options {
    const char *family; /* NULL: by architectures[0] */
    int32_t context;    /* positions to serve, up to the config's limit; 0: the family's choice */
} um_model_dir_options;

/* On failure `out` holds what was understood until then. Close it in either case.
 * UM_E_UNSUPPORTED when the architecture is unknown, or shared with autoregressive models and
 * nothing says that this is a diffusion model. */
um_status um_model_dir_open(const char *dir, const um_model_dir_options *options, um_model_dir *out,
                            um_err *err);
void um_model_dir_close(um_model_dir *dir);

#endif
