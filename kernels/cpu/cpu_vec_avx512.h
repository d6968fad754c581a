/*
 * Vectors of 16 floats on AVX-512 (F, BW, DQ, VL): the parts of the vocabulary of cpu_vec.h that
 * plain vector arithmetic cannot say. 32 registers hold a tile of 6 rows by 4 vectors, the row of
 * weights and a broadcast. Included by the avx512 levels only.
 */
#ifndef UM_KERNELS_CPU_VEC_AVX512_H
#define UM_KERNELS_CPU_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>

#define UM_TILE_ROWS 6
enum { VL = 16, PANEL_VECTORS = 4, TILE_ROWS = UM_TILE_ROWS };

typedef float vf __attribute__((vector_size(64), aligned(64)));
typedef int32_t vi __attribute__((vector_size(64), aligned(64)));
typedef uint32_t vu __attribute__((vector_size(64), aligned(64)));

/* Lanes below n; all of them from VL on. */
static inline __mmask16 lanes_below(int64_t n)
{
    return n >= VL ? (__mmask16)0xffff : (__mmask16)((1u << n) - 1u);
}

static inline vf v_load(const float *from)
{
    return (vf)_mm512_loadu_ps(from);
}
static inline void v_store(float *to, vf v)
{
    _mm512_storeu_ps(to, (__m512)v);
}
static inline vf v_load_n(const float *from, int64_t n)
{
    return (vf)_mm512_maskz_loadu_ps(lanes_below(n), from);
}
static inline void v_store_n(float *to, vf v, int64_t n)
{
    _mm512_mask_storeu_ps(to, lanes_below(n), (__m512)v);
}
static inline vu v_load_u16_n(const uint16_t *from, int64_t n)
{
    return (vu)_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes_below(n), from));
}
static inline void v_store_u16_n(uint16_t *to, vu v, int64_t n)
{
    _mm256_mask_storeu_epi16(to, lanes_below(n), _mm512_cvtepi32_epi16((__m512i)v));
}

static inline vf v_set1(float x)
{
    return (vf)_mm512_set1_ps(x);
}
static inline vf v_fma(vf a, vf b, vf c)
{
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
/* One bit for each lane that a mask selects. */
static inline uint32_t v_bits(vi mask)
{
    return _mm512_movepi32_mask((__m512i)mask);
}
/* The second operand where either is NaN. */
static inline vf v_max(vf a, vf b)
{
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
}
static inline vf v_sqrt(vf x)
{
    return (vf)_mm512_sqrt_ps((__m512)x);
}
static inline vf v_round(vf x)
{
    return (vf)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* x * 2^n for integral n, to zero or infinity where it leaves the range. */
static inline vf v_ldexp(vf x, vf n)
{
    return (vf)_mm512_scalef_ps((__m512)x, (__m512)n);
}

static inline void v_mul_hi_lo(vu a, uint32_t b, vu *hi, vu *lo)
{
    __m512i m = _mm512_set1_epi32((int)b);
    __m512i even = _mm512_mul_epu32((__m512i)a, m);
    __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)a, 32), m);

    *hi = (vu)_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
    *lo = (vu)_mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
}

/* to[4 * i + c] = lane i of the c-th vector. */
static inline void v_store_interleaved(float *to, vf a, vf b, vf c, vf d)
{
    __m512 ab_lo = _mm512_unpacklo_ps((__m512)a, (__m512)b);
    __m512 ab_hi = _mm512_unpackhi_ps((__m512)a, (__m512)b);
    __m512 cd_lo = _mm512_unpacklo_ps((__m512)c, (__m512)d);
    __m512 cd_hi = _mm512_unpackhi_ps((__m512)c, (__m512)d);
    __m512 quad[4] = {_mm512_shuffle_ps(ab_lo, cd_lo, 0x44), _mm512_shuffle_ps(ab_lo, cd_lo, 0xee),
                      _mm512_shuffle_ps(ab_hi, cd_hi, 0x44), _mm512_shuffle_ps(ab_hi, cd_hi, 0xee)};

    for (int i = 0; i < 4; i++) {
        _mm_storeu_ps(to + 4 * i, _mm512_extractf32x4_ps(quad[i], 0));
        _mm_storeu_ps(to + 4 * i + 16, _mm512_extractf32x4_ps(quad[i], 1));
        _mm_storeu_ps(to + 4 * i + 32, _mm512_extractf32x4_ps(quad[i], 2));
        _mm_storeu_ps(to + 4 * i + 48, _mm512_extractf32x4_ps(quad[i], 3));
    }
}

#ifdef __AVX512BF16__
#define UM_VEC_HAS_DOT_BF16 1
/* c + the products of the two bf16 halves of each 32-bit lane, accumulated in f32. */
static inline vf v_dot_bf16(vf c, vu a, vu b)
{
    return (vf)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
}
#else
#define UM_VEC_HAS_DOT_BF16 0
#endif

#endif
