/*
 * What all kernels say in vectors, on top of one of the cpu_vec_<isa>.h files, which the including
 * source must name first. Widths and a few instructions differ between levels; the arithmetic
 * below is one text, the same in every lane: a row's tail goes through the same polynomial as its
 * body, which libm's exp would not promise.
 *
 * vf, vi and vu are VL floats, int32 and uint32; comparisons give all-ones lanes (vi).
 */
#ifndef UM_KERNELS_CPU_VEC_H
#define UM_KERNELS_CPU_VEC_H

#include <stdbool.h>

#include "core/base/check.h"

#define UM_INLINE static inline __attribute__((always_inline))

/* a where the mask is set, b elsewhere. */
UM_INLINE vf v_select(vi mask, vf a, vf b)
{
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}
UM_INLINE bool v_any(vi mask)
{
    return v_bits(mask) != 0;
}
UM_INLINE vu v_set1_u(uint32_t x)
{
    return (vu){0} + x;
}
/* 0, 1, 2, ... */
UM_INLINE vi v_lane_index(void)
{
    vi index;

    for (int i = 0; i < VL; i++)
        index[i] = i;
    return index;
}

/* Lanes from n on replaced by `fill`. */
UM_INLINE vf v_fill_from(vf v, int64_t n, float fill)
{
    if (n >= VL)
        return v;
    return v_select((vi)(v_lane_index() < (int32_t)n), v, v_set1(fill));
}

/* Halves added until one lane is left: the order depends on nothing but VL. */
UM_INLINE float v_sum(vf v)
{
    float lane[VL];

    v_store(lane, v);
    for (int width = VL / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lane[i] = lane[i] + lane[i + width];
    return lane[0];
}

UM_INLINE float v_max_lane(vf v)
{
    float lane[VL], best;

    v_store(lane, v);
    best = lane[0];
    for (int i = 1; i < VL; i++)
        best = lane[i] > best ? lane[i] : best;
    return best;
}

/* ---- bf16 ----------------------------------------------------------------------------------- */

UM_INLINE vf v_load_bf16_n(const uint16_t *from, int64_t n)
{
    return (vf)(v_load_u16_n(from, n) << 16);
}

/* Rounds as um_f32_to_bf16 (the conversion instructions would flush denormals): the bf16 in the
 * high half of each lane, the low half zero, so that the result is also the rounded float. */
UM_INLINE vf v_round_bf16(vf v)
{
    vu bits = (vu)v;
    vf rounded = (vf)((bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u);
    vf quiet = (vf)((bits | 0x00400000u) & 0xffff0000u);

    return v_select((vi)(v != v), quiet, rounded);
}
UM_INLINE void v_store_bf16_n(uint16_t *to, vf v, int64_t n)
{
    v_store_u16_n(to, (vu)v_round_bf16(v) >> 16, n);
}

/* ---- functions ------------------------------------------------------------------------------ */

/* e^x within 1 ulp or so: x = n ln 2 + r, a polynomial in r (Cephes expf coefficients), times 2^n.
 * 0 below -104, infinity above 89; NaN stays NaN because v_max and the ordered comparison keep
 * their last operand. */
UM_INLINE vf v_exp(vf x)
{
    vf n, r, p;

    x = v_max(v_set1(-104.0f), x);
    x = v_select((vi)(x > 89.0f), v_set1(89.0f), x);
    n = v_round(x * 1.44269504088896341f);
    r = v_fma(n, v_set1(-0.693359375f), x);
    r = v_fma(n, v_set1(2.12194440e-4f), r);
    p = v_set1(1.9875691500e-4f);
    p = v_fma(p, r, v_set1(1.3981999507e-3f));
    p = v_fma(p, r, v_set1(8.3334519073e-3f));
    p = v_fma(p, r, v_set1(4.1665795894e-2f));
    p = v_fma(p, r, v_set1(1.6666665459e-1f));
    p = v_fma(p, r, v_set1(5.0000001201e-1f));
    p = v_fma(p, r * r, r) + 1.0f;
    return v_ldexp(p, n);
}

/* The error function: 1 - e^q(|x|) for large |x|, an odd polynomial below 0.93 (minimax
 * coefficients as published by N. Juffa; error below 1 ulp of float32). */
UM_INLINE vf v_erf(vf x)
{
    vf a = (vf)((vu)x & 0x7fffffffu);
    vf s = x * x;
    vf far = v_fma(v_fma(v_set1(-1.72853470e-5f), a, v_set1(3.83197126e-4f)), s,
                   v_fma(v_set1(-3.88396438e-3f), a, v_set1(2.42546219e-2f)));
    vf near = v_set1(-5.96761703e-4f);

    far = v_fma(far, a, v_set1(-1.06777877e-1f));
    far = v_fma(far, a, v_set1(-6.34846687e-1f));
    far = v_fma(far, a, v_set1(-1.28717512e-1f));
    far = 1.0f - v_exp(v_fma(far, a, -a));
    far = (vf)((vu)far | ((vu)x & 0x80000000u));
    near = v_fma(near, s, v_set1(4.99119423e-3f));
    near = v_fma(near, s, v_set1(-2.67681349e-2f));
    near = v_fma(near, s, v_set1(1.12819925e-1f));
    near = v_fma(near, s, v_set1(-3.76125336e-1f));
    near = v_fma(near, s, v_set1(1.28379166e-1f));
    near = v_fma(near, x, x);
    return v_select((vi)(a > 0.927734375f), far, near);
}

/* ---- noise: rng.h, VL counters at a time ----------------------------------------------------- */

/* um_philox for the draws base .. base + VL - 1. */
UM_INLINE void v_philox(uint64_t seed, uint32_t step, uint32_t position, uint32_t base,
                        uint32_t choice, vu out[4])
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    vu c0 = v_set1_u(step), c1 = v_set1_u(position), c3 = v_set1_u(choice);
    vu c2 = (vu)v_lane_index() + base;

    for (int round = 0; round < 10; round++) {
        vu hi0, lo0, hi1, lo1;

        v_mul_hi_lo(c0, 0xD2511F53u, &hi0, &lo0);
        v_mul_hi_lo(c2, 0xCD9E8D57u, &hi1, &lo1);
        c0 = hi1 ^ c1 ^ k0;
        c1 = lo1;
        c2 = hi0 ^ c3 ^ k1;
        c3 = lo0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* um_uniform. The halves convert exactly, so their sum rounds once, like (float)x. */
UM_INLINE vf v_uniform(vu x)
{
    vf high = __builtin_convertvector((vi)(x >> 16), vf);
    vf low = __builtin_convertvector((vi)(x & 0xffffu), vf);
    vf u = ((high * 65536.0f + low) + 0.5f) * 0x1p-32f;

    return v_select((vi)(u < 1.0f), u, v_set1(0x1.fffffep-1f));
}

/* um_noise_log. */
UM_INLINE vf v_noise_log(vf x)
{
    vu bits = (vu)x;
    vi exponent = (vi)(bits >> 23) - 126;
    vf m = (vf)((bits & 0x007fffffu) | 0x3f000000u);
    vi small = (vi)(m < 0.70710678f);
    vf z, y, e;

    exponent += small; /* all ones is -1 */
    m = v_select(small, m + m, m) - 1.0f;
    e = __builtin_convertvector(exponent, vf);
    z = m * m;
    y = v_set1(7.0376836292e-2f);
    y = y * m + -1.1514610310e-1f;
    y = y * m + 1.1676998740e-1f;
    y = y * m + -1.2420140846e-1f;
    y = y * m + 1.4249322787e-1f;
    y = y * m + -1.6668057665e-1f;
    y = y * m + 2.0000714765e-1f;
    y = y * m + -2.4999993993e-1f;
    y = y * m + 3.3333331174e-1f;
    y = y * m * z;
    y = y + -2.12194440e-4f * e;
    y = y + -0.5f * z;
    y = m + y;
    return y + 0.693359375f * e;
}

/* um_gumbel, both of its branches through one logarithm. */
UM_INLINE vf v_gumbel(vu x)
{
    vi upper = (vi)x < 0; /* x >= 2^31 */
    vf v = v_uniform(x ^ (vu)upper);
    vf w = 1.0f - v;
    vf e = -v_noise_log(v_select(upper, w, v));
    vf near_one = v_select((vi)(w == 1.0f), v, e * (v / (1.0f - w)));

    return -v_noise_log(v_select(upper, near_one, e));
}

#endif
