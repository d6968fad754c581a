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

/* On failure `out` holds what was understood until then. Close it in either case. */
um_status um_model_dir_open(const char *dir, um_model_dir *out, um_err *err);
void um_model_dir_close(um_model_dir *dir);

#endif
