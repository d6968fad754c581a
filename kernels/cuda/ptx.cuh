/*
 * All inline PTX of the backend: one instruction a wrapper. What touches memory is volatile with a
 * "memory" clobber and takes generic pointers. A new instruction comes together with its case in
 * tests/fakecuda and its self-test there.
 */
#ifndef UM_KERNELS_CUDA_PTX_CUH
#define UM_KERNELS_CUDA_PTX_CUH

#include <cstdint>

namespace ptx
{

/* Two floats rounded to bf16 (nearest, ties to even), `low` in the low half. */
__device__ __forceinline__ uint32_t pack_bf16(float low, float high)
{
    uint32_t packed;

    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

} // namespace ptx

#endif
