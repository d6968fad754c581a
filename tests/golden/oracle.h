/*
 * A second forward pass, in double precision and written for clarity from the formulas of LLaDA's
 * modeling_llada.py: what the real one is compared with where no published number exists. It
 * shares no code with core/model; the weights are those of the tiny checkpoint.
 */
#ifndef UM_TESTS_GOLDEN_ORACLE_H
#define UM_TESTS_GOLDEN_ORACLE_H

#include "tests/support/tiny_checkpoint.h"

/* Logits [wanted_count][embedding_size] of the wanted rows of one sequence. `compute` UM_BF16 rounds
 * where kernels/ops.h says that mode rounds, and nowhere else; UM_F32 rounds nowhere. */
void um_oracle_logits(const um_tiny_options *options, um_dtype compute, const int32_t *ids,
                      int64_t rows, const int32_t *wanted, int64_t wanted_count, double *logits);

#endif
