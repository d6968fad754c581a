/* How the parts of the execution call each other. Private to the interpreter. */
#ifndef FAKECUDA_PTX_RUN_H
#define FAKECUDA_PTX_RUN_H

#include "tests/fakecuda/ptx_block.h"

namespace fakecuda
{

/* Runs until every lane has returned or waits at a block barrier. */
void run_warp(Warp &warp);

/* No warp of the block can run and some have not returned. */
[[noreturn]] void fault_stuck(Block &block);
void reset_barriers(Block &block);

} // namespace fakecuda

#endif
