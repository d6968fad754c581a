/* Kernels of the interpreter's self-test: the expressions of selftest_cases.h. */
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "selftest_cases.h"

#define PTX_2(type, name, text, out, in)                                                           \
    __device__ type name(type a, type b)                                                           \
    {                                                                                              \
        type d;                                                                                    \
        asm(text " %0, %1, %2;" : out(d) : in(a), in(b));                                          \
        return d;                                                                                  \
    }

PTX_2(uint32_t, ptx_shl, "shl.b32", "=r", "r")
PTX_2(uint32_t, ptx_shr_u, "shr.u32", "=r", "r")
PTX_2(int32_t, ptx_add_sat, "add.sat.s32", "=r", "r")
PTX_2(float, ptx_min_nan, "min.NaN.f32", "=f", "f")
PTX_2(float, ptx_max_nan, "max.NaN.f32", "=f", "f")
PTX_2(float, ptx_copysign, "copysign.f32", "=f", "f")
PTX_2(float, ptx_add_sat_f32, "add.sat.f32", "=f", "f")
PTX_2(float, ptx_set, "set.lt.f32.f32", "=f", "f")

__device__ int32_t ptx_shr_s(int32_t a, uint32_t b)
{
    int32_t d;
    asm("shr.s32 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
    return d;
}
__device__ uint32_t ptx_prmt(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t d;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
__device__ uint32_t ptx_lop3(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t d;
    asm("lop3.b32 %0, %1, %2, %3, 0x6c;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
__device__ uint32_t ptx_bfe_u(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t d;
    asm("bfe.u32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
__device__ int32_t ptx_bfe_s(int32_t a, uint32_t b, uint32_t c)
{
    int32_t d;
    asm("bfe.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
__device__ uint64_t ptx_bfe_u64(uint64_t a, uint32_t b, uint32_t c)
{
    uint64_t d;
    asm("bfe.u64 %0, %1, %2, %3;" : "=l"(d) : "l"(a), "r"(b), "r"(c));
    return d;
}
__device__ uint32_t ptx_bfi(uint32_t a, uint32_t b, uint32_t c, uint32_t e)
{
    uint32_t d;
    asm("bfi.b32 %0, %1, %2, %3, %4;" : "=r"(d) : "r"(a), "r"(b), "r"(c), "r"(e));
    return d;
}
__device__ uint32_t ptx_bfind_u(uint32_t a)
{
    uint32_t d;
    asm("bfind.u32 %0, %1;" : "=r"(d) : "r"(a));
    return d;
}
__device__ uint32_t ptx_bfind_s(int32_t a)
{
    uint32_t d;
    asm("bfind.s32 %0, %1;" : "=r"(d) : "r"(a));
    return d;
}
__device__ uint32_t ptx_slct(uint32_t a, uint32_t b, int32_t c)
{
    uint32_t d;
    asm("slct.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
__device__ uint32_t ptx_pack_s8(int32_t a, int32_t b, uint32_t c)
{
    uint32_t d;
    asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
__device__ int32_t ptx_sat_s8(int32_t a)
{
    int32_t d;
    asm("cvt.sat.s8.s32 %0, %1;" : "=r"(d) : "r"(a));
    return d;
}
__device__ uint32_t ptx_sat_u8(int32_t a)
{
    uint32_t d;
    asm("cvt.sat.u8.s32 %0, %1;" : "=r"(d) : "r"(a));
    return d;
}
__device__ uint16_t ptx_sat_u16_s32(int32_t a)
{
    uint16_t d;
    asm("cvt.sat.u16.s32 %0, %1;" : "=h"(d) : "r"(a));
    return d;
}
/* Both results of one setp with a third predicate: (a < b and c > 0) and (a >= b and c > 0). */
__device__ uint32_t ptx_setp_pair(int32_t a, int32_t b, int32_t c)
{
    uint32_t d;
    asm("{.reg .pred p, q, r; .reg .b32 x, y; setp.gt.s32 r, %3, 0; setp.lt.and.s32 p|q, %1, %2, r;"
        " selp.u32 x, 1, 0, p; selp.u32 y, 2, 0, q; or.b32 %0, x, y;}"
        : "=r"(d)
        : "r"(a), "r"(b), "r"(c));
    return d;
}
/* (x:y) + (y:x), (x:y) - (y:x) and x * y + (x:y) by carry chains, both halves folded. */
__device__ uint64_t ptx_add128(uint64_t x, uint64_t y)
{
    uint64_t low, high;
    asm("add.cc.u64 %0, %3, %2; addc.u64 %1, %2, %3;" : "=&l"(low), "=l"(high) : "l"(x), "l"(y));
    return low ^ high;
}
__device__ uint64_t ptx_sub128(uint64_t x, uint64_t y)
{
    uint64_t low, high;
    asm("sub.cc.u64 %0, %3, %2; subc.u64 %1, %2, %3;" : "=&l"(low), "=l"(high) : "l"(x), "l"(y));
    return low ^ high;
}
__device__ uint64_t ptx_mad128(uint64_t x, uint64_t y)
{
    uint64_t low, high;
    asm("mad.lo.cc.u64 %0, %2, %3, %3; madc.hi.u64 %1, %2, %3, %2;"
        : "=&l"(low), "=l"(high)
        : "l"(x), "l"(y));
    return low ^ high;
}
/* Three words: the carry goes through the middle one. */
__device__ uint32_t ptx_add96(uint32_t u, uint32_t v, uint32_t w)
{
    uint32_t a, b, c;
    asm("add.cc.u32 %0, %3, %4; addc.cc.u32 %1, %4, %5; addc.u32 %2, %5, %3;"
        : "=&r"(a), "=&r"(b), "=r"(c)
        : "r"(u), "r"(v), "r"(w));
    return a ^ b ^ c;
}
__device__ float ptx_fma_sat_f32(float a, float b, float c)
{
    float d;
    asm("fma.rn.sat.f32 %0, %1, %2, %3;" : "=f"(d) : "f"(a), "f"(b), "f"(c));
    return d;
}
__device__ uint32_t ptx_testp(float a)
{
    uint32_t d;
    asm("{.reg .pred p; .reg .b32 x; testp.finite.f32 p, %1; selp.u32 %0, 1, 0, p;"
        " testp.infinite.f32 p, %1; selp.u32 x, 2, 0, p; or.b32 %0, %0, x;"
        " testp.notanumber.f32 p, %1; selp.u32 x, 4, 0, p; or.b32 %0, %0, x;"
        " testp.normal.f32 p, %1; selp.u32 x, 8, 0, p; or.b32 %0, %0, x;"
        " testp.subnormal.f32 p, %1; selp.u32 x, 16, 0, p; or.b32 %0, %0, x;}"
        : "=&r"(d)
        : "f"(a));
    return d;
}
__device__ int32_t ptx_f32_to_s8(float a)
{
    int32_t d;
    asm("cvt.rni.s8.f32 %0, %1;" : "=r"(d) : "f"(a));
    return d;
}
__device__ uint16_t ptx_f32_to_u16(float a)
{
    uint16_t d;
    asm("cvt.rzi.u16.f32 %0, %1;" : "=h"(d) : "f"(a));
    return d;
}
__device__ uint32_t ptx_tf32(float a)
{
    uint32_t d;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(d) : "f"(a));
    return d;
}
__device__ float ptx_tanh(float a)
{
    float d;
    asm("tanh.approx.f32 %0, %1;" : "=f"(d) : "f"(a));
    return d;
}

__device__ float wide(__half value)
{
    return __half2float(value);
}
__device__ float wide(__nv_bfloat16 value)
{
    return __bfloat162float(value);
}
__device__ __half2 pair(__half low, __half high)
{
    return __halves2half2(low, high);
}
__device__ __nv_bfloat162 pair(__nv_bfloat16 low, __nv_bfloat16 high)
{
    return __halves2bfloat162(low, high);
}
template <class P> __device__ uint64_t pair_case(P value)
{
    return selftest_bits(wide(value.x)) << 32 | selftest_bits(wide(value.y));
}

/* `phase` 0 or 1: only lanes of that parity, in a divergent branch; else all. */
#define CASE_KERNEL(name, CASES, DECLARATIONS)                                                     \
    extern "C" __global__ void name(const SelftestInput *inputs, uint64_t *out, int n, int phase)  \
    {                                                                                              \
        const int i = int(blockIdx.x * blockDim.x + threadIdx.x);                                  \
        int k = 0;                                                                                 \
        if (i >= n || (phase >= 0 && (i & 1) != phase))                                            \
            return;                                                                                \
        const SelftestInput in = inputs[i];                                                        \
        DECLARATIONS                                                                               \
        CASES(STORE)                                                                               \
    }
#define STORE(expression) out[k++ * n + i] = selftest_bits(expression);

CASE_KERNEL(integer_cases, INTEGER_CASES, const uint32_t u = in.u; const uint32_t v = in.v;
            const uint32_t w = in.w; const int32_t a = int32_t(u); const int32_t b = int32_t(v);
            const int32_t c = int32_t(w);)
CASE_KERNEL(long_cases, LONG_CASES, const uint64_t x = in.x; const uint64_t y = in.y;
            const int64_t s = int64_t(x); const int64_t t = int64_t(y);)
CASE_KERNEL(float_cases, FLOAT_CASES, const float f = in.f; const float g = in.g;
            const float h = in.h;)
CASE_KERNEL(double_cases, DOUBLE_CASES, )
CASE_KERNEL(convert_cases, CONVERT_CASES, )
CASE_KERNEL(math_cases, MATH_CASES, )

#define from_floats __floats2half2_rn
CASE_KERNEL(half_cases, NARROW_CASES, const __half p = __float2half_rn(in.f);
            const __half q = __float2half_rn(in.g); const __half r = __float2half_rn(in.h);)
#undef from_floats
#define from_floats __floats2bfloat162_rn
CASE_KERNEL(bf16_cases, NARROW_CASES, const __nv_bfloat16 p = __float2bfloat16_rn(in.f);
            const __nv_bfloat16 q = __float2bfloat16_rn(in.g);
            const __nv_bfloat16 r = __float2bfloat16_rn(in.h);)
