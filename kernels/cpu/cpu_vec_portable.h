/*
 * Vectors of 4 floats in plain C; see cpu_vec.h. Compilers map them to SSE2 or NEON registers, 16
 * of which hold a tile of 4 rows by 2 vectors. Without an FMA instruction a product and its sum
 * round twice: results differ from the other levels in the last bits, as between any two levels.
 */
#ifndef UM_KERNELS_CPU_VEC_PORTABLE_H
#define UM_KERNELS_CPU_VEC_PORTABLE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define UM_VEC_HAS_DOT_BF16 0
#define UM_TILE_ROWS 4
enum { VL = 4, PANEL_VECTORS = 2, TILE_ROWS = UM_TILE_ROWS };

typedef float vf __attribute__((vector_size(16), aligned(16)));
typedef int32_t vi __attribute__((vector_size(16), aligned(16)));
typedef uint32_t vu __attribute__((vector_size(16), aligned(16)));

static inline vf v_load(const float *from)
{
    vf v;

    memcpy(&v, from, sizeof(v));
    return v;
}
static inline void v_store(float *to, vf v)
{
    memcpy(to, &v, sizeof(v));
}
static inline vf v_load_n(const float *from, int64_t n)
{
    vf v = {0};

    if (n >= VL)
        return v_load(from);
    memcpy(&v, from, (size_t)n * sizeof(*from));
    return v;
}
static inline void v_store_n(float *to, vf v, int64_t n)
{
    if (n >= VL)
        v_store(to, v);
    else
        memcpy(to, &v, (size_t)n * sizeof(*to));
}
static inline vu v_load_u16_n(const uint16_t *from, int64_t n)
{
    vu v = {0};

    for (int i = 0; i < VL && i < n; i++)
        v[i] = from[i];
    return v;
}
static inline void v_store_u16_n(uint16_t *to, vu v, int64_t n)
{
    for (int i = 0; i < VL && i < n; i++)
        to[i] = (uint16_t)v[i];
}

static inline vf v_set1(float x)
{
    return (vf){x, x, x, x};
}
static inline vf v_fma(vf a, vf b, vf c)
{
    return a * b + c;
}
/* One bit for each lane that a mask selects. */
static inline uint32_t v_bits(vi mask)
{
    return (uint32_t)((mask[0] & 1) | (mask[1] & 2) | (mask[2] & 4) | (mask[3] & 8));
}
/* The second operand where either is NaN. */
static inline vf v_max(vf a, vf b)
{
    vi greater = (vi)(a > b);

    return (vf)((greater & (vi)a) | (~greater & (vi)b));
}
static inline vf v_sqrt(vf x)
{
    return (vf){sqrtf(x[0]), sqrtf(x[1]), sqrtf(x[2]), sqrtf(x[3])};
}
/* Nearest integer for |x| < 2^22: adding 1.5 * 2^23 leaves no room for a fraction. */
static inline vf v_round(vf x)
{
    return (x + 12582912.0f) - 12582912.0f;
}
/* x * 2^n for integral |n| < 252, in two steps since 2^n itself may leave the range. */
static inline vf v_ldexp(vf x, vf n)
{
    vi whole = __builtin_convertvector(n, vi);
    vi half = whole >> 1;

    return x * (vf)((half + 127) << 23) * (vf)((whole - half + 127) << 23);
}

static inline void v_mul_hi_lo(vu a, uint32_t b, vu *hi, vu *lo)
{
    for (int i = 0; i < VL; i++) {
        uint64_t product = (uint64_t)a[i] * b;

        (*hi)[i] = (uint32_t)(product >> 32);
        (*lo)[i] = (uint32_t)product;
    }
}

/* to[4 * i + c] = lane i of the c-th vector. */
static inline void v_store_interleaved(float *to, vf a, vf b, vf c, vf d)
{
    for (int i = 0; i < VL; i++)
        v_store(to + 4 * i, (vf){a[i], b[i], c[i], d[i]});
}

#endif
