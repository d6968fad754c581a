/* Counters of memory traffic. Private to the interpreter. */
#ifndef FAKECUDA_PTX_STATISTICS_H
#define FAKECUDA_PTX_STATISTICS_H

#include "tests/fakecuda/ptx_check.h"

namespace fakecuda
{

/* The lanes in `mask` touch `bytes` each at these offsets of shared memory. */
void count_shared(Warp &warp, uint32_t mask, const uint32_t *offsets, uint32_t bytes);
/* Global memory, the lanes in warp.mask. */
void count_global(Warp &warp, const Access &access);

} // namespace fakecuda

#endif
