/*
 * The host's side of selftest_cases.h: plain C++ for what only the device has, written for clarity
 * and without the interpreter's code. Only for selftest.cpp.
 */
#ifndef FAKECUDA_SELFTEST_TWINS_H
#define FAKECUDA_SELFTEST_TWINS_H

#include <algorithm>
#include <cfenv>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdlib>

namespace twins
{

using std::abs;
using std::max;
using std::min;

inline bool bit(uint64_t value, unsigned index)
{
    return index < 64 && ((value >> index) & 1);
}

inline uint32_t __umulhi(uint32_t a, uint32_t b)
{
    return uint32_t((uint64_t{a} * b) >> 32);
}
inline int32_t __mulhi(int32_t a, int32_t b)
{
    return int32_t((int64_t{a} * b) >> 32);
}
inline uint64_t __umul64hi(uint64_t a, uint64_t b)
{
    return uint64_t((static_cast<unsigned __int128>(a) * b) >> 64);
}
inline int64_t __mul64hi(int64_t a, int64_t b)
{
    return int64_t((static_cast<__int128>(a) * b) >> 64);
}
inline uint32_t ptx_shl(uint32_t a, uint32_t b)
{
    return b > 31 ? 0 : a << b;
}
inline uint32_t ptx_shr_u(uint32_t a, uint32_t b)
{
    return b > 31 ? 0 : a >> b;
}
inline int32_t ptx_shr_s(int32_t a, uint32_t b)
{
    return a >> min(b, 31u);
}
inline int __popcll(uint64_t a)
{
    int count = 0;

    for (unsigned i = 0; i < 64; i++)
        count += bit(a, i);
    return count;
}
inline int __popc(uint32_t a)
{
    return __popcll(a);
}
inline int __clzll(int64_t a)
{
    int count = 0;

    while (count < 64 && !bit(uint64_t(a), unsigned(63 - count)))
        count++;
    return count;
}
inline int __clz(int32_t a)
{
    return __clzll(int64_t(uint32_t(a))) - 32;
}
inline int __ffsll(int64_t a)
{
    for (unsigned i = 0; i < 64; i++)
        if (bit(uint64_t(a), i))
            return int(i) + 1;
    return 0;
}
inline int __ffs(int32_t a)
{
    return __ffsll(int64_t(uint32_t(a)));
}
inline uint64_t __brevll(uint64_t a)
{
    uint64_t result = 0;

    for (unsigned i = 0; i < 64; i++)
        result |= uint64_t{bit(a, i)} << (63 - i);
    return result;
}
inline uint32_t __brev(uint32_t a)
{
    return uint32_t(__brevll(a) >> 32);
}
inline uint32_t ptx_prmt(uint32_t a, uint32_t b, uint32_t selector)
{
    const uint32_t words[2] = {a, b};
    uint32_t result = 0;

    for (int i = 0; i < 4; i++) {
        const uint32_t pick = (selector >> (4 * i)) & 0xf;
        uint32_t byte = (words[(pick >> 2) & 1] >> (8 * (pick & 3))) & 0xff;

        if (pick & 8)
            byte = byte > 127 ? 0xff : 0;
        result |= byte << (8 * i);
    }
    return result;
}
inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t selector)
{
    return ptx_prmt(a, b, selector & 0x7777);
}
inline uint32_t funnel(uint32_t low, uint32_t high, unsigned shift, bool left)
{
    uint32_t result = 0;
    const uint64_t both = uint64_t{high} << 32 | low;

    for (unsigned i = 0; i < 32; i++)
        result |= uint32_t{bit(both, left ? i + 32 - shift : i + shift)} << i;
    return result;
}
inline uint32_t __funnelshift_l(uint32_t low, uint32_t high, uint32_t n)
{
    return funnel(low, high, n % 32, true);
}
inline uint32_t __funnelshift_r(uint32_t low, uint32_t high, uint32_t n)
{
    return funnel(low, high, n % 32, false);
}
inline uint32_t __funnelshift_lc(uint32_t low, uint32_t high, uint32_t n)
{
    return funnel(low, high, min(n, 32u), true);
}
inline uint32_t __funnelshift_rc(uint32_t low, uint32_t high, uint32_t n)
{
    return funnel(low, high, min(n, 32u), false);
}
inline int32_t __dp4a(int32_t a, int32_t b, int32_t c)
{
    int64_t sum = c;

    for (int i = 0; i < 32; i += 8)
        sum += int64_t{int8_t(a >> i)} * int8_t(b >> i);
    return int32_t(sum);
}
inline uint32_t __dp4a(uint32_t a, uint32_t b, uint32_t c)
{
    for (int i = 0; i < 32; i += 8)
        c += uint32_t{uint8_t(a >> i)} * uint8_t(b >> i);
    return c;
}
inline uint32_t __usad(uint32_t a, uint32_t b, uint32_t c)
{
    return max(a, b) - min(a, b) + c;
}
inline uint32_t __sad(int32_t a, int32_t b, uint32_t c)
{
    return uint32_t(max(a, b) - min(a, b)) + c;
}
inline int32_t __mul24(int32_t a, int32_t b)
{
    const int64_t x = int32_t(uint32_t(a) << 8) / 256, y = int32_t(uint32_t(b) << 8) / 256;

    return int32_t(x * y);
}
inline uint32_t ptx_lop3(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t result = 0;

    for (unsigned i = 0; i < 32; i++)
        result |= ((0x6cu >> (bit(a, i) * 4 + bit(b, i) * 2 + bit(c, i))) & 1) << i;
    return result;
}
template <class T> T extract(T a, uint32_t b, uint32_t c, bool is_signed)
{
    const unsigned size = sizeof(T) * 8, from = b & 255, length = c & 255;
    const unsigned top = min(from + length - 1, size - 1);
    const bool fill = is_signed && length > 0 && bit(uint64_t(a), top);
    uint64_t result = 0;

    for (unsigned i = 0; i < size; i++)
        result |= uint64_t{i < length && from + i < size ? bit(uint64_t(a), from + i) : fill} << i;
    return T(result);
}
inline uint32_t ptx_bfe_u(uint32_t a, uint32_t b, uint32_t c)
{
    return extract(a, b, c, false);
}
inline int32_t ptx_bfe_s(int32_t a, uint32_t b, uint32_t c)
{
    return extract(a, b, c, true);
}
inline uint64_t ptx_bfe_u64(uint64_t a, uint32_t b, uint32_t c)
{
    return extract(a, b, c, false);
}
inline uint32_t ptx_bfi(uint32_t a, uint32_t b, uint32_t position, uint32_t length)
{
    const unsigned from = position & 255, count = length & 255;
    uint32_t result = 0;

    for (unsigned i = 0; i < 32; i++)
        result |= uint32_t{i >= from && i - from < count ? bit(a, i - from) : bit(b, i)} << i;
    return result;
}
inline uint32_t ptx_bfind_u(uint32_t a)
{
    return a == 0 ? UINT32_MAX : uint32_t(31 - __clz(int32_t(a)));
}
inline uint32_t ptx_bfind_s(int32_t a)
{
    return ptx_bfind_u(uint32_t(a < 0 ? -(a + 1) : a));
}
inline uint32_t ptx_slct(uint32_t a, uint32_t b, int32_t c)
{
    return c >= 0 ? a : b;
}
template <class T> T clamp_to(int64_t value)
{
    return T(min(max(value, int64_t{std::numeric_limits<T>::min()}),
                 int64_t{std::numeric_limits<T>::max()}));
}
inline int32_t ptx_add_sat(int32_t a, int32_t b)
{
    return clamp_to<int32_t>(int64_t{a} + b);
}
inline uint32_t ptx_pack_s8(int32_t a, int32_t b, uint32_t c)
{
    return uint32_t{uint8_t(clamp_to<int8_t>(a))} << 8 | uint8_t(clamp_to<int8_t>(b)) | c << 16;
}
inline int32_t ptx_sat_s8(int32_t a)
{
    return clamp_to<int8_t>(a);
}
inline uint32_t ptx_sat_u8(int32_t a)
{
    return clamp_to<uint8_t>(a);
}
inline uint16_t ptx_sat_u16_s32(int32_t a)
{
    return clamp_to<uint16_t>(a);
}
inline uint32_t ptx_setp_pair(int32_t a, int32_t b, int32_t c)
{
    return (a < b && c > 0 ? 1u : 0u) | (!(a < b) && c > 0 ? 2u : 0u);
}

using u128 = unsigned __int128;

inline u128 wide_of(uint64_t high, uint64_t low)
{
    return static_cast<u128>(high) << 64 | low;
}
inline uint64_t folded(u128 value)
{
    return uint64_t(value >> 64) ^ uint64_t(value);
}
inline uint64_t ptx_add128(uint64_t x, uint64_t y)
{
    return folded(wide_of(x, y) + wide_of(y, x));
}
inline uint64_t ptx_sub128(uint64_t x, uint64_t y)
{
    return folded(wide_of(x, y) - wide_of(y, x));
}
inline uint64_t ptx_mad128(uint64_t x, uint64_t y)
{
    return folded(static_cast<u128>(x) * y + wide_of(x, y));
}
inline uint32_t ptx_add96(uint32_t u, uint32_t v, uint32_t w)
{
    const u128 sum = (static_cast<u128>(w) << 64 | uint64_t{v} << 32 | u) +
                     (static_cast<u128>(u) << 64 | uint64_t{w} << 32 | v);

    return uint32_t(sum) ^ uint32_t(sum >> 32) ^ uint32_t(sum >> 64);
}

/* The device's minimum: a number before a NaN, -0 before +0. */
template <class T> T lesser(T a, T b)
{
    if (a != a || b != b)
        return a != a ? b : a;
    return a == b ? (std::signbit(a) ? a : b) : std::min(a, b);
}
template <class T> T greater(T a, T b)
{
    return -lesser(-a, -b);
}
inline float ptx_min_nan(float a, float b)
{
    return a != a || b != b ? NAN : lesser(a, b);
}
inline float ptx_max_nan(float a, float b)
{
    return a != a || b != b ? NAN : greater(a, b);
}
inline float ptx_copysign(float a, float b)
{
    return copysignf(b, a);
}
inline float __saturatef(float a)
{
    return a != a ? 0.0f : min(max(a, 0.0f), 1.0f) + 0.0f;
}
inline float ptx_add_sat_f32(float a, float b)
{
    return __saturatef(a + b);
}
inline float ptx_fma_sat_f32(float a, float b, float c)
{
    return __saturatef(fmaf(a, b, c));
}
inline float __frcp_rn(float a)
{
    return 1.0f / a;
}

/* The host's own arithmetic under another rounding; volatile so that nothing moves or folds. */
template <class F> float rounded(int mode, F &&compute)
{
    const int before = fegetround();

    fesetround(mode);
    volatile float result = compute();
    fesetround(before);
    return result;
}
inline float sum_in(int mode, float a, float b)
{
    volatile float x = a, y = b;

    return rounded(mode, [&] { return x + y; });
}
inline float product_in(int mode, float a, float b)
{
    volatile float x = a, y = b;

    return rounded(mode, [&] { return x * y; });
}
inline float __fadd_rz(float a, float b)
{
    return sum_in(FE_TOWARDZERO, a, b);
}
inline float __fadd_rd(float a, float b)
{
    return sum_in(FE_DOWNWARD, a, b);
}
inline float __fsub_ru(float a, float b)
{
    return sum_in(FE_UPWARD, a, -b);
}
inline float __fmul_rz(float a, float b)
{
    return product_in(FE_TOWARDZERO, a, b);
}
inline float __fmul_ru(float a, float b)
{
    return product_in(FE_UPWARD, a, b);
}
inline float __fmaf_rd(float a, float b, float c)
{
    volatile float x = a, y = b, z = c;

    return rounded(FE_DOWNWARD, [&] { return fmaf(x, y, z); });
}
inline float __fmaf_rz(float a, float b, float c)
{
    volatile float x = a, y = b, z = c;

    return rounded(FE_TOWARDZERO, [&] { return fmaf(x, y, z); });
}
inline uint32_t ptx_testp(float a)
{
    return (std::isfinite(a) ? 1u : 0u) | (std::isinf(a) ? 2u : 0u) | (std::isnan(a) ? 4u : 0u) |
           (std::isnormal(a) ? 8u : 0u) | (std::fpclassify(a) == FP_SUBNORMAL ? 16u : 0u);
}
inline float ptx_set(float a, float b)
{
    return a < b ? 1.0f : 0.0f;
}

/* A whole number as an integer type: saturated; NaN as the device has it. */
template <class T> T to_integer(double whole)
{
    if (whole != whole)
        return sizeof(T) == 8 ? T(1ull << 63) : T(0);
    if (whole >= std::ldexp(1.0, std::numeric_limits<T>::digits))
        return std::numeric_limits<T>::max();
    if (whole <= double(std::numeric_limits<T>::min()))
        return std::numeric_limits<T>::min();
    return T(whole);
}
/* Of ties, the even one. */
inline double nearest(double a)
{
    const double down = std::floor(a), rest = a - down;

    if (rest != 0.5)
        return rest < 0.5 ? down : down + 1;
    return std::fmod(down, 2) == 0 ? down : down + 1;
}
inline int __float2int_rn(float a)
{
    return to_integer<int>(nearest(double(a)));
}
inline int __float2int_rz(float a)
{
    return to_integer<int>(std::trunc(double(a)));
}
inline int __float2int_rd(float a)
{
    return to_integer<int>(std::floor(double(a)));
}
inline int __float2int_ru(float a)
{
    return to_integer<int>(std::ceil(double(a)));
}
inline unsigned __float2uint_rn(float a)
{
    return to_integer<unsigned>(nearest(double(a)));
}
inline unsigned __float2uint_rz(float a)
{
    return to_integer<unsigned>(std::trunc(double(a)));
}
inline int64_t __float2ll_rn(float a)
{
    return to_integer<int64_t>(nearest(double(a)));
}
inline int64_t __float2ll_rz(float a)
{
    return to_integer<int64_t>(std::trunc(double(a)));
}
inline uint64_t __float2ull_rz(float a)
{
    return to_integer<uint64_t>(std::trunc(double(a)));
}
inline int __double2int_rn(double a)
{
    return to_integer<int>(nearest(a));
}
inline int __double2int_rz(double a)
{
    return to_integer<int>(std::trunc(a));
}
inline int64_t __double2ll_rd(double a)
{
    return to_integer<int64_t>(std::floor(a));
}
inline int32_t ptx_f32_to_s8(float a)
{
    return to_integer<int8_t>(nearest(double(a)));
}
inline uint16_t ptx_f32_to_u16(float a)
{
    return to_integer<uint16_t>(std::trunc(double(a)));
}
/* The nearest value with 11 significant bits, of ties the one away from zero. */
inline uint32_t ptx_tf32(float a)
{
    uint32_t bits;
    int exponent;
    float result = a;

    if (std::isfinite(a) && a != 0) {
        std::frexp(a, &exponent);
        exponent = max(exponent, -125) - 11;
        result = float(std::ldexp(std::round(std::ldexp(double(a), -exponent)), exponent));
    }
    memcpy(&bits, &result, sizeof bits);
    return bits;
}

inline float rsqrtf(float a)
{
    return 1.0f / sqrtf(a);
}
inline float __fdividef(float a, float b)
{
    return a / b;
}
inline float ptx_tanh(float a)
{
    return tanhf(a);
}

/* A float type of DIGITS significant bits down to 2^LEAST: a value of it is kept as a double. */
template <int DIGITS, int LEAST> struct Narrow {
    double value;

    Narrow(double exact) : value(exact)
    {
        int exponent;

        if (!std::isfinite(exact) || exact == 0)
            return;
        std::frexp(exact, &exponent);
        exponent = std::max(exponent - DIGITS, LEAST - DIGITS + 1);
        value = std::ldexp(std::nearbyint(std::ldexp(exact, -exponent)), exponent);
        if (std::fabs(value) >= std::ldexp(1.0, 2 - LEAST))
            value = std::copysign(double(INFINITY), value);
    }
};
using HalfTwin = Narrow<11, -14>;
using Bf16Twin = Narrow<8, -126>;
template <class N> struct PairOf {
    N low, high;
};

template <int D, int L> float wide(Narrow<D, L> a)
{
    return float(a.value);
}
#define NARROW_2(name, result, expression)                                                         \
    template <int D, int L> result name(Narrow<D, L> a, Narrow<D, L> b)                            \
    {                                                                                              \
        return expression;                                                                         \
    }
#define SAME Narrow<D, L>
NARROW_2(__hadd, SAME, a.value + b.value)
NARROW_2(__hsub, SAME, a.value - b.value)
NARROW_2(__hmul, SAME, a.value *b.value)
NARROW_2(__hmin, SAME, lesser(a.value, b.value))
NARROW_2(__hmax, SAME, greater(a.value, b.value))
NARROW_2(__hlt, bool, a.value < b.value)
NARROW_2(__hge, bool, a.value >= b.value)
NARROW_2(__heq, bool, a.value == b.value)
#undef SAME
template <class N> N __hfma(N a, N b, N c)
{
    return std::fma(a.value, b.value, c.value);
}
template <class N> N __hneg(N a)
{
    return -a.value;
}
template <class N> N __habs(N a)
{
    return std::fabs(a.value);
}
template <class N> PairOf<N> pair(N low, N high)
{
    return {low, high};
}
template <class N> PairOf<N> __hadd2(PairOf<N> a, PairOf<N> b)
{
    return {__hadd(a.low, b.low), __hadd(a.high, b.high)};
}
template <class N> PairOf<N> __hmul2(PairOf<N> a, PairOf<N> b)
{
    return {__hmul(a.low, b.low), __hmul(a.high, b.high)};
}
template <class N> PairOf<N> __hfma2(PairOf<N> a, PairOf<N> b, PairOf<N> c)
{
    return {__hfma(a.low, b.low, c.low), __hfma(a.high, b.high, c.high)};
}
template <class N> PairOf<N> __hmax2(PairOf<N> a, PairOf<N> b)
{
    return {__hmax(a.low, b.low), __hmax(a.high, b.high)};
}
template <class N> uint64_t pair_case(PairOf<N> a)
{
    return selftest_bits(wide(a.low)) << 32 | selftest_bits(wide(a.high));
}

} // namespace twins

#endif
