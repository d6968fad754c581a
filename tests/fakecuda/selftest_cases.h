/*
 * Expressions that the self-test computes twice: on the fake device, compiled by nvcc and run by
 * the interpreter, and on the host, where selftest_twins.h defines what C++ lacks. Every result is
 * compared bit for bit, but for those of MATH_CASES. Inputs are the members of SelftestInput.
 */
#ifndef FAKECUDA_SELFTEST_CASES_H
#define FAKECUDA_SELFTEST_CASES_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define SELFTEST_BOTH __host__ __device__
#else
#define SELFTEST_BOTH
#endif

struct SelftestInput {
    uint32_t u, v, w;
    uint64_t x, y;
    float f, g, h, m; /* m: moderate */
    double d, e;
};

/* A result as 64 bits; every NaN is the same. */
template <class T> SELFTEST_BOTH inline uint64_t selftest_bits(T value)
{
    return uint64_t(value);
}
template <> SELFTEST_BOTH inline uint64_t selftest_bits(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return value != value ? 0x7fffffffu : bits;
}
template <> SELFTEST_BOTH inline uint64_t selftest_bits(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return value != value ? ~0ull >> 1 : bits;
}

/* u, v, w unsigned; a, b, c the same bits signed. */
#define INTEGER_CASES(X)                                                                           \
    X(u + v)                                                                                       \
    X(u - v)                                                                                       \
    X(u *v)                                                                                        \
    X(u *v + w)                                                                                    \
    X(__umulhi(u, v))                                                                              \
    X(__mulhi(a, b))                                                                               \
    X(__umulhi(u, v) + w)                                                                          \
    X(uint64_t(u) * v)                                                                             \
    X(int64_t(a) * b)                                                                              \
    X(uint64_t(u) * v + in.x)                                                                      \
    X(int64_t(a) * b + int64_t(in.y >> 8))                                                         \
    X(u / (v | 1))                                                                                 \
    X(u % (v | 1))                                                                                 \
    X(a / ((b & 0x7fffffff) | 1))                                                                  \
    X(a % ((b & 0x7fffffff) | 1))                                                                  \
    X(a / (-2 - (b & 0xffff)))                                                                     \
    X(a % (-2 - (b & 0xffff)))                                                                     \
    X(min(u, v))                                                                                   \
    X(max(u, v))                                                                                   \
    X(min(a, b))                                                                                   \
    X(max(a, b))                                                                                   \
    X(abs(a >> 1))                                                                                 \
    X(-(a >> 1))                                                                                   \
    X(~u)                                                                                          \
    X((u & v) ^ (u | w))                                                                           \
    X(u << (v & 31))                                                                               \
    X(u >> (v & 31))                                                                               \
    X(a >> (v & 31))                                                                               \
    X(ptx_shl(u, v))                                                                               \
    X(ptx_shr_u(u, v))                                                                             \
    X(ptx_shr_s(a, v))                                                                             \
    X(__popc(u))                                                                                   \
    X(__clz(a))                                                                                    \
    X(__ffs(a))                                                                                    \
    X(__brev(u))                                                                                   \
    X(__byte_perm(u, v, w & 0x7777))                                                               \
    X(ptx_prmt(u, v, w))                                                                           \
    X(__funnelshift_l(u, v, w))                                                                    \
    X(__funnelshift_r(u, v, w))                                                                    \
    X(__funnelshift_lc(u, v, w))                                                                   \
    X(__funnelshift_rc(u, v, w))                                                                   \
    X(__dp4a(a, b, c))                                                                             \
    X(__dp4a(u, v, w))                                                                             \
    X(__usad(u, v, w))                                                                             \
    X(__sad(a >> 1, b >> 1, w))                                                                    \
    X(__mul24(a, b))                                                                               \
    X(ptx_lop3(u, v, w))                                                                           \
    X(ptx_bfe_u(u, v, w))                                                                          \
    X(ptx_bfe_s(a, v, w))                                                                          \
    X(ptx_bfi(u, v, w >> 8, w))                                                                    \
    X(ptx_bfind_u(u))                                                                              \
    X(ptx_bfind_s(a))                                                                              \
    X(ptx_slct(u, v, c))                                                                           \
    X(ptx_add_sat(a, b))                                                                           \
    X(ptx_pack_s8(a >> 22, b >> 22, w))                                                            \
    X(uint32_t(uint16_t(u)) * uint16_t(v))                                                         \
    X(uint16_t(uint16_t(u) + uint16_t(v)))                                                         \
    X(int16_t(a) * int16_t(b))                                                                     \
    X(int16_t(int16_t(a) >> 3))                                                                    \
    X(int8_t(a))                                                                                   \
    X(uint8_t(u))                                                                                  \
    X(int64_t(int8_t(a)))                                                                          \
    X(int8_t(in.x))                                                                                \
    X(min(int16_t(a), int16_t(b)))                                                                 \
    X(ptx_sat_s8(a >> 20))                                                                         \
    X(ptx_sat_u8(a >> 20))                                                                         \
    X(ptx_sat_u16_s32(a))                                                                          \
    X(a < b)                                                                                       \
    X(a <= b && u > v)                                                                             \
    X(a > b || u >= w)                                                                             \
    X((a == b) != (u < w))                                                                         \
    X(a < 0 ? u : v)                                                                               \
    X(ptx_setp_pair(a, b, c))

/* x, y unsigned; s, t the same bits signed. */
#define LONG_CASES(X)                                                                              \
    X(x + y)                                                                                       \
    X(x - y)                                                                                       \
    X(x *y)                                                                                        \
    X(x *y + in.u)                                                                                 \
    X(__umul64hi(x, y))                                                                            \
    X(__mul64hi(s, t))                                                                             \
    X(x / (y | 1))                                                                                 \
    X(x % (y | 1))                                                                                 \
    X(s / ((t & INT64_MAX) | 1))                                                                   \
    X(s % ((t & INT64_MAX) | 1))                                                                   \
    X(x << (y & 63))                                                                               \
    X(x >> (y & 63))                                                                               \
    X(s >> (y & 63))                                                                               \
    X(~x &(x ^ y))                                                                                 \
    X(__popcll(x))                                                                                 \
    X(__clzll(s))                                                                                  \
    X(__ffsll(s))                                                                                  \
    X(__brevll(x))                                                                                 \
    X(min(x, y))                                                                                   \
    X(max(s, t))                                                                                   \
    X(s < t)                                                                                       \
    X(x <= y ? s : t)                                                                              \
    X(ptx_bfe_u64(x, in.u, in.v))                                                                  \
    X(uint64_t(((unsigned __int128)(x)*y + x) >> 64))                                              \
    X(ptx_add128(x, y))                                                                            \
    X(ptx_sub128(x, y))                                                                            \
    X(ptx_mad128(x, y))                                                                            \
    X(ptx_add96(in.u, in.v, in.w))

#define FLOAT_CASES(X)                                                                             \
    X(f + g)                                                                                       \
    X(f - g)                                                                                       \
    X(f *g)                                                                                        \
    X(f / g)                                                                                       \
    X(fmaf(f, g, h))                                                                               \
    X(sqrtf(fabsf(f)))                                                                             \
    X(-f)                                                                                          \
    X(fabsf(f))                                                                                    \
    X(fminf(f, g))                                                                                 \
    X(fmaxf(f, g))                                                                                 \
    X(ptx_min_nan(f, g))                                                                           \
    X(ptx_max_nan(f, g))                                                                           \
    X(copysignf(f, g))                                                                             \
    X(ptx_copysign(f, g))                                                                          \
    X(truncf(f))                                                                                   \
    X(floorf(f))                                                                                   \
    X(ceilf(f))                                                                                    \
    X(rintf(f))                                                                                    \
    X(__saturatef(f))                                                                              \
    X(ptx_add_sat_f32(f, g))                                                                       \
    X(ptx_fma_sat_f32(f, g, h))                                                                    \
    X(__fadd_rz(f, g))                                                                             \
    X(__fadd_rd(f, g))                                                                             \
    X(__fsub_ru(f, g))                                                                             \
    X(__fmul_rz(f, g))                                                                             \
    X(__fmul_ru(f, g))                                                                             \
    X(__fmaf_rd(f, g, h))                                                                          \
    X(__fmaf_rz(f, g, h))                                                                          \
    X(__frcp_rn(f))                                                                                \
    X(f < g)                                                                                       \
    X(f <= g)                                                                                      \
    X(f == g)                                                                                      \
    X(f != g)                                                                                      \
    X(!(f < g))                                                                                    \
    X(!(f >= g))                                                                                   \
    X(ptx_testp(f))                                                                                \
    X(ptx_set(f, g))                                                                               \
    X(f < g && g < h ? f : h)                                                                      \
    X(double(f))                                                                                   \
    X(float(in.d))

#define DOUBLE_CASES(X)                                                                            \
    X(in.d + in.e)                                                                                 \
    X(in.d - in.e)                                                                                 \
    X(in.d *in.e)                                                                                  \
    X(in.d / in.e)                                                                                 \
    X(fma(in.d, in.e, in.d))                                                                       \
    X(sqrt(fabs(in.d)))                                                                            \
    X(fmin(in.d, in.e))                                                                            \
    X(fmax(in.d, in.e))                                                                            \
    X(floor(in.d))                                                                                 \
    X(rint(in.e))                                                                                  \
    X(in.d < in.e)                                                                                 \
    X(in.d >= in.e)                                                                                \
    X(double(in.u))                                                                                \
    X(double(int64_t(in.x)))                                                                       \
    X(double(in.y))

#define CONVERT_CASES(X)                                                                           \
    X(__float2int_rn(in.f))                                                                        \
    X(__float2int_rz(in.f))                                                                        \
    X(__float2int_rd(in.f))                                                                        \
    X(__float2int_ru(in.f))                                                                        \
    X(__float2uint_rn(in.f))                                                                       \
    X(__float2uint_rz(in.f))                                                                       \
    X(__float2ll_rn(in.f))                                                                         \
    X(__float2ll_rz(in.f))                                                                         \
    X(__float2ull_rz(in.f))                                                                        \
    X(__double2int_rn(in.d))                                                                       \
    X(__double2int_rz(in.d))                                                                       \
    X(__double2ll_rd(in.d))                                                                        \
    X(float(int32_t(in.u)))                                                                        \
    X(float(in.u))                                                                                 \
    X(float(int64_t(in.x)))                                                                        \
    X(float(in.x))                                                                                 \
    X(float(int8_t(in.u)))                                                                         \
    X(float(uint16_t(in.u)))                                                                       \
    X(ptx_f32_to_s8(in.f))                                                                         \
    X(ptx_f32_to_u16(in.f))                                                                        \
    X(ptx_tf32(in.f))

/* H is __half or __nv_bfloat16; p, q, r are f, g, h rounded to it; results are widened. */
#define NARROW_CASES(X)                                                                            \
    X(wide(p))                                                                                     \
    X(wide(__hadd(p, q)))                                                                          \
    X(wide(__hsub(p, q)))                                                                          \
    X(wide(__hmul(p, q)))                                                                          \
    X(wide(__hfma(p, q, r)))                                                                       \
    X(wide(__hmin(p, q)))                                                                          \
    X(wide(__hmax(p, q)))                                                                          \
    X(wide(__hneg(p)))                                                                             \
    X(wide(__habs(p)))                                                                             \
    X(__hlt(p, q))                                                                                 \
    X(__hge(p, q))                                                                                 \
    X(__heq(p, q))                                                                                 \
    X(pair_case(__hadd2(pair(p, q), pair(q, r))))                                                  \
    X(pair_case(__hmul2(pair(p, q), pair(q, r))))                                                  \
    X(pair_case(__hfma2(pair(p, q), pair(q, r), pair(r, p))))                                      \
    X(pair_case(__hmax2(pair(p, q), pair(q, r))))                                                  \
    X(pair_case(from_floats(in.f, in.g)))

/* The device's library on top of approximate instructions: compared within a relative bound. */
#define MATH_CASES(X)                                                                              \
    X(expf(in.m))                                                                                  \
    X(exp2f(in.m))                                                                                 \
    X(logf(fabsf(in.m)))                                                                           \
    X(log2f(fabsf(in.m)))                                                                          \
    X(powf(fabsf(in.m), 1.5f))                                                                     \
    X(sinf(in.m))                                                                                  \
    X(cosf(in.m))                                                                                  \
    X(sinf(in.m * 1e6f))                                                                           \
    X(tanhf(in.m))                                                                                 \
    X(erff(in.m))                                                                                  \
    X(rsqrtf(fabsf(in.m)))                                                                         \
    X(__expf(in.m))                                                                                \
    X(__logf(fabsf(in.m)))                                                                         \
    X(__fdividef(in.m, 3.0f))                                                                      \
    X(ptx_tanh(in.m))

#endif
