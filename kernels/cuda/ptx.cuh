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

/* 2^x within 2^-22 of it, relative; 2^-inf is 0. */
__device__ __forceinline__ float exp2_approx(float x)
{
    float y;

    asm("ex2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* ---- copies from global to shared memory behind the thread's back ---------------------------- */

/* 16 bytes, of which `bytes` (0 or 16) are read and the rest is zero. */
__device__ __forceinline__ void copy_async_16(void *to, const void *from, int bytes)
{
    uint32_t shared = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    size_t global = __cvta_generic_to_global(from);

    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared), "l"(global), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void copy_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Until at most PENDING of the thread's committed groups are under way. */
template <int PENDING> __device__ __forceinline__ void copy_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

/* ---- tensor cores ---------------------------------------------------------------------------- */

/* Four 8 x 8 matrices of 16-bit elements; lanes 8 i to 8 i + 7 give the rows of matrix i. */
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const void *row)
{
    uint32_t shared = static_cast<uint32_t>(__cvta_generic_to_shared(row));

    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared)
                 : "memory");
}

/* The same, each matrix transposed. */
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&to)[4], const void *row)
{
    uint32_t shared = static_cast<uint32_t>(__cvta_generic_to_shared(row));

    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared)
                 : "memory");
}

/* sum[16][8] += a[16][16] b[16][8], bf16 into f32. */
__device__ __forceinline__ void multiply_bf16(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0,
                                              uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

} // namespace ptx

#endif
