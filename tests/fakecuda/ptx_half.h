/* The two 16-bit float types and pairs of them, as the device rounds: to nearest, ties to even. */
#ifndef FAKECUDA_PTX_HALF_H
#define FAKECUDA_PTX_HALF_H

#include <cmath>
#include <cstdint>
#include <cstring>

namespace fakecuda
{

inline uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float bits_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

struct Bf16 {
    uint16_t bits;

    float wide() const
    {
        return bits_float(uint32_t{bits} << 16);
    }
    static Bf16 from(float value)
    {
        uint32_t b = float_bits(value);
        uint32_t rounded = (b + 0x7fffu + ((b >> 16) & 1)) >> 16;

        return Bf16{uint16_t(value != value ? 0x7fff : rounded)};
    }
    static Bf16 toward_zero(float value)
    {
        return Bf16{uint16_t(value != value ? 0x7fff : float_bits(value) >> 16)};
    }
};

struct Half {
    uint16_t bits;

    float wide() const
    {
        uint32_t sign = uint32_t{bits} >> 15 << 31, magnitude = bits & 0x7fffu;

        if (magnitude >= 0x7c00) /* infinity and NaN keep their payload */
            return bits_float(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
        /* A subnormal half is a normal float: the multiplication scales both kinds exactly. */
        return bits_float(sign | float_bits(bits_float(magnitude << 13) * 0x1p112f));
    }
    static Half from(float value)
    {
        uint32_t b = float_bits(value), sign = b >> 31 << 15, magnitude = b & 0x7fffffffu;

        if (magnitude > 0x7f800000u)
            return Half{0x7fff};
        if (magnitude >= 0x477ff000u) /* 65520 and above round to infinity */
            return Half{uint16_t(sign | 0x7c00)};
        if (magnitude < 0x38800000u) /* below 2^-14: let a float addition round to 2^-24 */
            return Half{
                uint16_t(sign | (float_bits(bits_float(magnitude) + 0.5f) - float_bits(0.5f)))};
        return Half{
            uint16_t(sign | (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1)) >> 13)};
    }
    static Half toward_zero(float value)
    {
        Half nearest = from(value);

        if (std::fabs(nearest.wide()) > std::fabs(value))
            nearest.bits--;
        return nearest;
    }
};

/* Two of them in one 32-bit register, the lower half first. */
template <class H> struct Two {
    H low, high;
};

/* A double as a float that rounds on to a 16-bit type as the double itself would. */
inline float to_odd_float(double value)
{
    float nearest = float(value);
    double back = double(nearest);

    if (back == value || value != value || std::isinf(nearest) || (float_bits(nearest) & 1))
        return nearest;
    return bits_float(float_bits(nearest) + (std::fabs(back) < std::fabs(value) ? 1u : ~0u));
}

} // namespace fakecuda

#endif
