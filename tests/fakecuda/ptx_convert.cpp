/* cvt in all its forms. */
#include <cmath>
#include <limits>

#include "tests/fakecuda/ptx_half.h"
#include "tests/fakecuda/ptx_warp.h"

namespace fakecuda
{

namespace
{

/* The decoder gives cvt operands of exactly their types' widths (it widens and narrows itself). */
template <class D, class S> D convert(S a)
{
    return D(a);
}

template <class D, class S> D convert_saturated(S a)
{
    using Limits = std::numeric_limits<D>;

    if constexpr (std::is_signed_v<S>) {
        if (a < 0)
            return std::is_signed_v<D> && (sizeof(D) >= sizeof(S) || a >= S(Limits::min()))
                       ? D(a)
                       : Limits::min();
    }
    return uint64_t(a) > uint64_t(Limits::max()) ? Limits::max() : D(a);
}

enum class Round { nearest, zero, down, up };

template <Round R, class F> F round_to_integer(F a)
{
    return R == Round::nearest ? std::nearbyint(a)
           : R == Round::zero  ? std::trunc(a)
           : R == Round::down  ? std::floor(a)
                               : std::ceil(a);
}

/* Out of range saturates; NaN is 0, or the top bit in 64 bits. */
template <class D, Round R, class F> D float_to_integer(F a)
{
    using Limits = std::numeric_limits<D>;
    F whole = round_to_integer<R>(a);

    if (whole != whole)
        return sizeof(D) == 8 ? D(1ull << 63) : D(0);
    if (whole <= F(Limits::min()))
        return Limits::min();
    /* max() + 1 is a power of two, exact in every float type; max() itself may not be. */
    if (whole >= F(Limits::max() / 2 + 1) * F(2))
        return Limits::max();
    return D(whole);
}
template <class D, Round R, class H> D narrow_to_integer(H a)
{
    return float_to_integer<D, R>(a.wide());
}
template <class H, class S> H integer_to_narrow(S a)
{
    return H::from(to_odd_float(double(a)));
}

float saturate(float a)
{
    return a > 0 ? (a < 1 ? a : 1.0f) : 0.0f;
}

template <class H> float widen(H a)
{
    return a.wide();
}
template <class H> double widen_double(H a)
{
    return double(a.wide());
}
template <class H> H narrow(float a)
{
    return H::from(a);
}
template <class H> H narrow_double(double a)
{
    return H::from(to_odd_float(a));
}
template <class H> H narrow_relu(float a)
{
    return a > 0 || a != a ? H::from(a) : H{0};
}
template <class H> H truncate(float a)
{
    return H::toward_zero(a);
}
template <class To, class From> To between_narrow(From a)
{
    return To::from(a.wide());
}
template <class H, Round R> H narrow_round(H a)
{
    return H::from(round_to_integer<R>(a.wide()));
}
/* The first source goes to the upper half. */
template <class H, H (*F)(float)> Two<H> narrow_pair(float a, float b)
{
    return {F(b), F(a)};
}
/* 10 mantissa bits, ties away from zero. */
uint32_t to_tf32(float a)
{
    uint32_t bits = float_bits(a);

    return a != a || std::isinf(a) ? bits : (bits + 0x1000u) & ~0x1fffu;
}

template <class D, class S> void integer_pair(OpTable &t)
{
    const std::string types = std::string(type_name<D>()) + "." + type_name<S>();

    add_row<convert<D, S>>(t, "cvt." + types);
    if constexpr (sizeof(S) >= 4 && sizeof(D) <= 4)
        add_row<convert_saturated<D, S>>(t, "cvt.sat." + types);
}

template <class D, class F> void rounded_rows(OpTable &t, const std::string &types)
{
    add_row<float_to_integer<D, Round::nearest, F>>(t, "cvt.rni." + types);
    add_row<float_to_integer<D, Round::zero, F>>(t, "cvt.rzi." + types);
    add_row<float_to_integer<D, Round::down, F>>(t, "cvt.rmi." + types);
    add_row<float_to_integer<D, Round::up, F>>(t, "cvt.rpi." + types);
}

template <class I, class H> void narrow_integer_rows(OpTable &t, const std::string &half)
{
    const std::string type = type_name<I>(), types = type + "." + half;

    add_row<narrow_to_integer<I, Round::nearest, H>>(t, "cvt.rni." + types);
    add_row<narrow_to_integer<I, Round::zero, H>>(t, "cvt.rzi." + types);
    add_row<narrow_to_integer<I, Round::down, H>>(t, "cvt.rmi." + types);
    add_row<narrow_to_integer<I, Round::up, H>>(t, "cvt.rpi." + types);
    add_row<integer_to_narrow<H, I>>(t, "cvt.rn." + half + "." + type);
}

template <class I, class... S> void integer_rows(OpTable &t)
{
    const std::string type = type_name<I>();

    (integer_pair<I, S>(t), ...);
    rounded_rows<I, float>(t, type + ".f32");
    add_row<convert<float, I>>(t, "cvt.rn.f32." + type);
    add_row<convert<double, I>>(t, "cvt.rn.f64." + type);
    if constexpr (sizeof(I) >= 4)
        rounded_rows<I, double>(t, type + ".f64");
    if constexpr (sizeof(I) == 2 || sizeof(I) == 4) {
        narrow_integer_rows<I, Half>(t, "f16");
        narrow_integer_rows<I, Bf16>(t, "bf16");
    }
}

template <class... I> void all_integer_rows(OpTable &t)
{
    (integer_rows<I, I...>(t), ...);
}

template <class F> void whole_rows(OpTable &t)
{
    const std::string types = std::string(type_name<F>()) + "." + type_name<F>();

    add_row<round_to_integer<Round::nearest, F>>(t, "cvt.rni." + types);
    add_row<round_to_integer<Round::zero, F>>(t, "cvt.rzi." + types);
    add_row<round_to_integer<Round::down, F>>(t, "cvt.rmi." + types);
    add_row<round_to_integer<Round::up, F>>(t, "cvt.rpi." + types);
    add_row<convert<F, F>>(t, "cvt." + types);
}

template <class H> void narrow_rows(OpTable &t, const std::string &half)
{
    add_row<widen<H>>(t, "cvt.f32." + half);
    add_row<widen_double<H>>(t, "cvt.f64." + half);
    add_row<narrow<H>>(t, "cvt.rn." + half + ".f32");
    add_row<narrow_double<H>>(t, "cvt.rn." + half + ".f64");
    add_row<narrow_relu<H>>(t, "cvt.rn.relu." + half + ".f32");
    add_row<truncate<H>>(t, "cvt.rz." + half + ".f32");
    add_row<narrow_pair<H, narrow<H>>>(t, "cvt.rn." + half + "x2.f32");
    add_row<narrow_pair<H, narrow_relu<H>>>(t, "cvt.rn.relu." + half + "x2.f32");
    add_row<narrow_pair<H, truncate<H>>>(t, "cvt.rz." + half + "x2.f32");
    add_row<narrow_round<H, Round::nearest>>(t, "cvt.rni." + half + "." + half);
    add_row<narrow_round<H, Round::zero>>(t, "cvt.rzi." + half + "." + half);
    add_row<narrow_round<H, Round::down>>(t, "cvt.rmi." + half + "." + half);
    add_row<narrow_round<H, Round::up>>(t, "cvt.rpi." + half + "." + half);
}

} // namespace

void add_convert_rows(OpTable &t)
{
    all_integer_rows<int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t>(t);
    whole_rows<float>(t);
    whole_rows<double>(t);
    add_row<saturate>(t, "cvt.sat.f32.f32");
    add_row<convert<float, double>>(t, "cvt.rn.f32.f64");
    add_row<convert<double, float>>(t, "cvt.f64.f32");
    narrow_rows<Half>(t, "f16");
    narrow_rows<Bf16>(t, "bf16");
    add_row<between_narrow<Half, Bf16>>(t, "cvt.rn.f16.bf16");
    add_row<between_narrow<Bf16, Half>>(t, "cvt.rn.bf16.f16");
    add_row<to_tf32>(t, "cvt.rna.tf32.f32");
}

} // namespace fakecuda
