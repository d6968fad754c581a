/* The rows of the family table, one per family_<name>.c. */
#ifndef UM_MODEL_FAMILY_INTERNAL_H
#define UM_MODEL_FAMILY_INTERNAL_H

#include "core/model/family.h"

extern const um_family umi_family_llada;

#endif
