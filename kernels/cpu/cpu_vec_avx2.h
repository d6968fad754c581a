/*
 * Vectors of 8 floats on AVX2 with FMA; see cpu_vec.h. 16 registers hold a tile of 6 rows by 2
 * vectors. Included by the avx2 level only.
 */
#ifndef UM_KERNELS_CPU_VEC_AVX2_H
#define UM_KERNELS_CPU_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define UM_VEC_HAS_DOT_BF16 0
#define UM_TILE_ROWS 6
enum { VL = 8, PANEL_VECTORS = 2, TILE_ROWS = UM_TILE_ROWS };

typedef float vf __attribute__((vector_size(32), aligned(32)));
typedef int32_t vi __attribute__((vector_size(32), aligned(32)));
typedef uint32_t vu __attribute__((vector_size(32), aligned(32)));

/* Lanes below n; all of them from VL on. */
static inline __m256i lanes_below(int64_t n)
{
    int limit = n >= VL ? VL : (int)n;

    return _mm256_cmpgt_epi32(_mm256_set1_epi32(limit), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vf v_load(const float *from)
{
    return (vf)_mm256_loadu_ps(from);
}
static inline void v_store(float *to, vf v)
{
    _mm256_storeu_ps(to, (__m256)v);
}
static inline vf v_load_n(const float *from, int64_t n)
{
    return n >= VL ? v_load(from) : (vf)_mm256_maskload_ps(from, lanes_below(n));
}
static inline void v_store_n(float *to, vf v, int64_t n)
{
    if (n >= VL)
        v_store(to, v);
    else
        _mm256_maskstore_ps(to, lanes_below(n), (__m256)v);
}
static inline vu v_load_u16_n(const uint16_t *from, int64_t n)
{
    __m128i half = _mm_setzero_si128();

    if (n >= VL)
        half = _mm_loadu_si128((const __m128i *)(const void *)from);
    else
        memcpy(&half, from, (size_t)n * sizeof(*from));
    return (vu)_mm256_cvtepu16_epi32(half);
}
static inline void v_store_u16_n(uint16_t *to, vu v, int64_t n)
{
    __m256i packed = _mm256_packus_epi32((__m256i)v, (__m256i)v);
    __m128i half = _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));

    if (n >= VL)
        _mm_storeu_si128((__m128i *)(void *)to, half);
    else
        memcpy(to, &half, (size_t)n * sizeof(*to));
}

static inline vf v_set1(float x)
{
    return (vf)_mm256_set1_ps(x);
}
static inline vf v_fma(vf a, vf b, vf c)
{
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
/* One bit for each lane that a mask selects. */
static inline uint32_t v_bits(vi mask)
{
    return (uint32_t)_mm256_movemask_ps((__m256)mask);
}
/* The second operand where either is NaN. */
static inline vf v_max(vf a, vf b)
{
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
}
static inline vf v_sqrt(vf x)
{
    return (vf)_mm256_sqrt_ps((__m256)x);
}
static inline vf v_round(vf x)
{
    return (vf)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* x * 2^n for integral |n| < 252, in two steps since 2^n itself may leave the range. */
static inline vf v_ldexp(vf x, vf n)
{
    vi whole = (vi)_mm256_cvtps_epi32((__m256)n);
    vi half = whole >> 1;

    return x * (vf)((half + 127) << 23) * (vf)((whole - half + 127) << 23);
}

static inline void v_mul_hi_lo(vu a, uint32_t b, vu *hi, vu *lo)
{
    __m256i m = _mm256_set1_epi32((int)b);
    __m256i even = _mm256_mul_epu32((__m256i)a, m);
    __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64((__m256i)a, 32), m);

    *hi = (vu)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
    *lo = (vu)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}

/* to[4 * i + c] = lane i of the c-th vector. */
static inline void v_store_interleaved(float *to, vf a, vf b, vf c, vf d)
{
    __m256 ab_lo = _mm256_unpacklo_ps((__m256)a, (__m256)b);
    __m256 ab_hi = _mm256_unpackhi_ps((__m256)a, (__m256)b);
    __m256 cd_lo = _mm256_unpacklo_ps((__m256)c, (__m256)d);
    __m256 cd_hi = _mm256_unpackhi_ps((__m256)c, (__m256)d);
    __m256 quad[4] = {_mm256_shuffle_ps(ab_lo, cd_lo, 0x44), _mm256_shuffle_ps(ab_lo, cd_lo, 0xee),
                      _mm256_shuffle_ps(ab_hi, cd_hi, 0x44), _mm256_shuffle_ps(ab_hi, cd_hi, 0xee)};

    for (int i = 0; i < 4; i++) {
        _mm_storeu_ps(to + 4 * i, _mm256_extractf128_ps(quad[i], 0));
        _mm_storeu_ps(to + 4 * i + 16, _mm256_extractf128_ps(quad[i], 1));
    }
}

#endif
