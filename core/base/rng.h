/*
 * Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011). Key = the request's 64-bit seed; counter = (the request's own step, canvas
 * position, draw, choice). No state: the same counter gives the same bits in every backend, batch
 * and thread, which is what makes sampling independent of who else is in the batch.
 *
 * Header only, plain mul/add (no fused multiply-add, no libm), valid C and C++, so that every
 * backend compiles the very same arithmetic.
 */
#ifndef UM_BASE_RNG_H
#define UM_BASE_RNG_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define UM_RNG_FUNCTION static __host__ __device__ __forceinline__
#else
#define UM_RNG_FUNCTION static inline
#endif

/* What the `draw` counter word means. A token draw for vocabulary entry v uses word v/4 and lane
 * v%4 of its result; all other purposes sit above every vocabulary size. */
#define UM_DRAW_ORDER 0x80000000u  /* order of positions (random remasking) */
#define UM_DRAW_RANK 0x80000001u   /* draw of positions by confidence (Dream alg_temp) */
#define UM_DRAW_COMMIT 0x80000002u /* each position on its own (Dream origin, DiffuLLaMA) */
#define UM_DRAW_NOISE 0x80000003u  /* which tokens of a first draft are masked again; step 0 */

UM_RNG_FUNCTION void um_philox(uint64_t seed, uint32_t step, uint32_t position, uint32_t draw,
                               uint32_t choice, uint32_t out[4])
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint32_t c0 = step, c1 = position, c2 = draw, c3 = choice;

    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;

        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* (x + 1/2) * 2^-32 rounded to float32 and kept below 1: in (0, 1), never 0 or 1. */
UM_RNG_FUNCTION float um_uniform(uint32_t x)
{
    float u = ((float)x + 0.5f) * 0x1p-32f;

    return u < 1.0f ? u : 0x1.fffffep-1f;
}

/*
 * Natural logarithm of a positive normal float32, by one polynomial that every backend shares
 * (Cephes logf coefficients). Relative error below 1e-7, near 1 too. Mul and add only.
 */
UM_RNG_FUNCTION float um_noise_log(float x)
{
    uint32_t bits;
    int32_t exponent;
    float m, z, y;

    memcpy(&bits, &x, sizeof(bits));
    exponent = (int32_t)(bits >> 23) - 126;
    bits = (bits & 0x007fffffu) | 0x3f000000u; /* m in [0.5, 1) */
    memcpy(&m, &bits, sizeof(m));
    if (m < 0.70710678f) {
        exponent -= 1;
        m = m + m;
    }
    m = m - 1.0f;
    z = m * m;
    y = 7.0376836292e-2f;
    y = y * m + -1.1514610310e-1f;
    y = y * m + 1.1676998740e-1f;
    y = y * m + -1.2420140846e-1f;
    y = y * m + 1.4249322787e-1f;
    y = y * m + -1.6668057665e-1f;
    y = y * m + 2.0000714765e-1f;
    y = y * m + -2.4999993993e-1f;
    y = y * m + 3.3333331174e-1f;
    y = y * m * z;
    y = y + -2.12194440e-4f * (float)exponent;
    y = y + -0.5f * z;
    y = m + y;
    return y + 0.693359375f * (float)exponent;
}

/*
 * Gumbel noise -ln(-ln u) for u = (x + 1/2) * 2^-32. A winner has u close to 1, where float32 has
 * no precision left, so the upper half works on v = 1 - u = (~x + 1/2) * 2^-32, which keeps its 24
 * bits there: -ln u = -log1p(-v) = -ln(w) * v / (1 - w) with w = fl(1 - v), and v itself when w
 * rounds to 1. Against float64, in which LLaDA's code draws: relative error of -ln u below 3e-7,
 * absolute error of the noise below 1.2e-6, over all x.
 */
UM_RNG_FUNCTION float um_gumbel(uint32_t x)
{
    float e;

    if (x < 0x80000000u) {
        e = -um_noise_log(um_uniform(x));
    } else {
        float v = um_uniform(~x);
        float w = 1.0f - v;

        e = w == 1.0f ? v : -um_noise_log(w) * (v / (1.0f - w));
    }
    return -um_noise_log(e);
}

#endif
