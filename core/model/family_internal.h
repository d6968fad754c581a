/* The rows of the family table, one per family_<name>.c. */
#ifndef UM_MODEL_FAMILY_INTERNAL_H
#define UM_MODEL_FAMILY_INTERNAL_H

#include "core/model/family.h"

extern const um_family umi_family_diffugpt;
extern const um_family umi_family_diffullama;
extern const um_family umi_family_dream;
extern const um_family umi_family_illada;
extern const um_family umi_family_llada;
extern const um_family umi_family_mmada;

/* LLaDA's configuration class and names, which MMaDA shares. */
um_status umi_llada_read_config(const um_json *config, um_model_config *out, um_err *err);
um_status umi_llada_list_tensors(const um_model_config *config, um_tensor_list *list, um_err *err);

#endif
