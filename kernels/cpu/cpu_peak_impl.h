/*
 * What the machine can do at this level, for `unmask bench`: products in registers only, and a
 * streaming read. Text shared by all levels.
 */
#ifndef UM_KERNELS_CPU_PEAK_IMPL_H
#define UM_KERNELS_CPU_PEAK_IMPL_H

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/cpu_vec.h"

enum { PEAK_CHAINS = 12 }; /* independent sums: more than latency x units, fewer than registers */

static double peak_f32(int64_t iterations)
{
    vf sum[PEAK_CHAINS], a = v_set1(0.999f), b = v_set1(1e-3f);
    volatile float sink;

    for (int c = 0; c < PEAK_CHAINS; c++)
        sum[c] = v_set1((float)c);
    for (int64_t i = 0; i < iterations; i++)
        for (int c = 0; c < PEAK_CHAINS; c++)
            sum[c] = v_fma(sum[c], a, b);
    for (int c = 1; c < PEAK_CHAINS; c++)
        sum[0] = sum[0] + sum[c];
    sink = v_sum(sum[0]);
    (void)sink;
    return 2.0 * (double)(VL * PEAK_CHAINS) * (double)iterations;
}

#if UM_VEC_HAS_DOT_BF16
static double peak_bf16(int64_t iterations)
{
    vf sum[PEAK_CHAINS];
    vu a = v_set1_u(0x3f003f00u), b = v_set1_u(0x3a003a00u); /* 0.5 and 2^-11, twice */
    volatile float sink;

    for (int c = 0; c < PEAK_CHAINS; c++)
        sum[c] = v_set1((float)c);
    for (int64_t i = 0; i < iterations; i++)
        for (int c = 0; c < PEAK_CHAINS; c++)
            sum[c] = v_dot_bf16(sum[c], a, b);
    for (int c = 1; c < PEAK_CHAINS; c++)
        sum[0] = sum[0] + sum[c];
    sink = v_sum(sum[0]);
    (void)sink;
    return 4.0 * (double)(VL * PEAK_CHAINS) * (double)iterations;
}
#endif

static double read_all(const float *data, int64_t count)
{
    vf sum[4] = {{0}, {0}, {0}, {0}};

    for (int64_t i = 0; i + 4 * VL <= count; i += 4 * VL)
        for (int part = 0; part < 4; part++)
            sum[part] = sum[part] + v_load(data + i + part * VL);
    return (double)v_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

#endif
