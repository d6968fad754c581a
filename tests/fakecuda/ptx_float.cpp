/* Instructions on f32, f64 and the 16-bit float types. */
#include <cmath>

#include "tests/fakecuda/ptx_half.h"
#include "tests/fakecuda/ptx_warp.h"

namespace fakecuda
{

namespace
{

template <class T> T add(T a, T b)
{
    return a + b;
}
template <class T> T sub(T a, T b)
{
    return a - b;
}
template <class T> T mul(T a, T b)
{
    return a * b;
}
template <class T> T divide(T a, T b)
{
    return a / b;
}
template <class T> T fused(T a, T b, T c)
{
    return std::fma(a, b, c);
}
template <class T> T negate(T a)
{
    return -a;
}
template <class T> T absolute(T a)
{
    return std::fabs(a);
}
/* The device's minimum prefers a number to a NaN and -0 to +0; .NaN forms give the NaN. */
template <class T> T minimum(T a, T b)
{
    if (a == b)
        return std::signbit(a) ? a : b;
    return a < b || b != b ? a : b;
}
template <class T> T maximum(T a, T b)
{
    if (a == b)
        return std::signbit(a) ? b : a;
    return a > b || b != b ? a : b;
}
template <class T> T minimum_nan(T a, T b)
{
    return a != a || b != b ? T(NAN) : minimum(a, b);
}
template <class T> T maximum_nan(T a, T b)
{
    return a != a || b != b ? T(NAN) : maximum(a, b);
}
/* The sign of a on the size of b. */
template <class T> T copy_sign(T a, T b)
{
    return std::copysign(b, a);
}
template <class T> T reciprocal(T a)
{
    return T(1) / a;
}
template <class T> T square_root(T a)
{
    return std::sqrt(a);
}
template <class T> T reciprocal_root(T a)
{
    return T(1) / std::sqrt(a);
}
float clamp01(float a)
{
    return a > 0 ? (a < 1 ? a : 1.0f) : 0.0f; /* NaN gives 0 */
}
float add_saturated(float a, float b)
{
    return clamp01(a + b);
}
float mul_saturated(float a, float b)
{
    return clamp01(a * b);
}
float fused_saturated(float a, float b, float c)
{
    return clamp01(std::fma(a, b, c));
}

/* The other roundings: the exact result as a double whose last bit says whether it is exact, then
 * one step down or up where the nearest float lies on the wrong side. */
double odd_sum(double a, double b)
{
    const double sum = a + b, part = sum - a, error = (a - (sum - part)) + (b - part);
    uint64_t bits;

    memcpy(&bits, &sum, sizeof bits);
    if (error == 0 || error != error || (bits & 1))
        return sum;
    return std::nextafter(sum, error > 0 ? double(INFINITY) : -double(INFINITY));
}

enum class Round { zero, down, up };

template <Round R> float directed(double exact)
{
    const float nearest = float(exact);
    const bool down = R == Round::down || (R == Round::zero && exact > 0);

    if (down && double(nearest) > exact)
        return std::nextafter(nearest, -INFINITY);
    if (!down && double(nearest) < exact)
        return std::nextafter(nearest, INFINITY);
    return nearest;
}
template <Round R> float directed_add(float a, float b)
{
    return directed<R>(odd_sum(double(a), double(b)));
}
template <Round R> float directed_sub(float a, float b)
{
    return directed<R>(odd_sum(double(a), -double(b)));
}
template <Round R> float directed_mul(float a, float b)
{
    return directed<R>(double(a) * double(b));
}
template <Round R> float directed_fused(float a, float b, float c)
{
    return directed<R>(odd_sum(double(a) * double(b), double(c)));
}

template <Round R> void directed_rows(OpTable &t, const std::string &round)
{
    add_row<directed_add<R>>(t, "add." + round + ".f32");
    add_row<directed_sub<R>>(t, "sub." + round + ".f32");
    add_row<directed_mul<R>>(t, "mul." + round + ".f32");
    add_row<directed_fused<R>>(t, "fma." + round + ".f32");
}

float sine(float a)
{
    return std::sin(a);
}
float cosine(float a)
{
    return std::cos(a);
}
float power_of_two(float a)
{
    return std::exp2(a);
}
float log_of_two(float a)
{
    return std::log2(a);
}
float tangent_h(float a)
{
    return std::tanh(a);
}

template <class T> bool is_finite(T a)
{
    return std::isfinite(a);
}
template <class T> bool is_infinite(T a)
{
    return std::isinf(a);
}
template <class T> bool is_number(T a)
{
    return !std::isnan(a);
}
template <class T> bool is_nan(T a)
{
    return std::isnan(a);
}
template <class T> bool is_normal(T a)
{
    return std::isnormal(a);
}
template <class T> bool is_subnormal(T a)
{
    return std::fpclassify(a) == FP_SUBNORMAL;
}

template <class T> void rows_of_type(OpTable &t)
{
    const std::string type = std::string(".") + type_name<T>();

    add_row<add<T>>(t, "add" + type);
    add_row<sub<T>>(t, "sub" + type);
    add_row<mul<T>>(t, "mul" + type);
    add_row<divide<T>>(t, "div" + type);
    add_row<fused<T>>(t, "fma" + type);
    add_row<fused<T>>(t, "mad" + type);
    add_row<negate<T>>(t, "neg" + type);
    add_row<absolute<T>>(t, "abs" + type);
    add_row<minimum<T>>(t, "min" + type);
    add_row<maximum<T>>(t, "max" + type);
    add_row<copy_sign<T>>(t, "copysign" + type);
    add_row<reciprocal<T>>(t, "rcp" + type);
    add_row<square_root<T>>(t, "sqrt" + type);
    add_row<reciprocal_root<T>>(t, "rsqrt" + type);
    add_row<is_finite<T>>(t, "testp.finite" + type);
    add_row<is_infinite<T>>(t, "testp.infinite" + type);
    add_row<is_number<T>>(t, "testp.number" + type);
    add_row<is_nan<T>>(t, "testp.notanumber" + type);
    add_row<is_normal<T>>(t, "testp.normal" + type);
    add_row<is_subnormal<T>>(t, "testp.subnormal" + type);
}

/* The 16-bit types compute in float and round once; that equals rounding the exact result. */
template <class H, float (*F)(float)> H narrow1(H a)
{
    return H::from(F(a.wide()));
}
template <class H, float (*F)(float, float)> H narrow2(H a, H b)
{
    return H::from(F(a.wide(), b.wide()));
}
/* A product of 16-bit floats is exact in double. */
template <class H> H narrow_fused(H a, H b, H c)
{
    return H::from(to_odd_float(double(a.wide()) * double(b.wide()) + double(c.wide())));
}
template <class H> H narrow_fused_relu(H a, H b, H c)
{
    H result = narrow_fused(a, b, c);

    return result.wide() > 0 ? result : H{0};
}
template <class H> H narrow_negate(H a)
{
    return H{uint16_t(a.bits ^ 0x8000)};
}
template <class H> H narrow_absolute(H a)
{
    return H{uint16_t(a.bits & 0x7fff)};
}

template <class H, H (*F)(H)> Two<H> pair1(Two<H> a)
{
    return {F(a.low), F(a.high)};
}
template <class H, H (*F)(H, H)> Two<H> pair2(Two<H> a, Two<H> b)
{
    return {F(a.low, b.low), F(a.high, b.high)};
}
template <class H, H (*F)(H, H, H)> Two<H> pair3(Two<H> a, Two<H> b, Two<H> c)
{
    return {F(a.low, b.low, c.low), F(a.high, b.high, c.high)};
}

template <class H, H (*F)(H)> void row1(OpTable &t, const char *name, const std::string &type)
{
    add_row<F>(t, name + type);
    add_row<pair1<H, F>>(t, name + type + "x2");
}
template <class H, H (*F)(H, H)> void row2(OpTable &t, const char *name, const std::string &type)
{
    add_row<F>(t, name + type);
    add_row<pair2<H, F>>(t, name + type + "x2");
}
template <class H, H (*F)(H, H, H)> void row3(OpTable &t, const char *name, const std::string &type)
{
    add_row<F>(t, name + type);
    add_row<pair3<H, F>>(t, name + type + "x2");
}

template <class H> void rows_of_narrow(OpTable &t, const std::string &type)
{
    row2<H, narrow2<H, add<float>>>(t, "add", type);
    row2<H, narrow2<H, sub<float>>>(t, "sub", type);
    row2<H, narrow2<H, mul<float>>>(t, "mul", type);
    row2<H, narrow2<H, minimum<float>>>(t, "min", type);
    row2<H, narrow2<H, maximum<float>>>(t, "max", type);
    row2<H, narrow2<H, minimum_nan<float>>>(t, "min.NaN", type);
    row2<H, narrow2<H, maximum_nan<float>>>(t, "max.NaN", type);
    row3<H, narrow_fused<H>>(t, "fma", type);
    row3<H, narrow_fused_relu<H>>(t, "fma.relu", type);
    row1<H, narrow_negate<H>>(t, "neg", type);
    row1<H, narrow_absolute<H>>(t, "abs", type);
    row1<H, narrow1<H, tangent_h>>(t, "tanh", type);
    row1<H, narrow1<H, power_of_two>>(t, "ex2", type);
}

} // namespace

void add_float_rows(OpTable &t)
{
    rows_of_type<float>(t);
    rows_of_type<double>(t);
    add_row<minimum_nan<float>>(t, "min.NaN.f32");
    add_row<maximum_nan<float>>(t, "max.NaN.f32");
    add_row<add_saturated>(t, "add.sat.f32");
    add_row<mul_saturated>(t, "mul.sat.f32");
    add_row<fused_saturated>(t, "fma.sat.f32");
    directed_rows<Round::zero>(t, "rz");
    directed_rows<Round::down>(t, "rm");
    directed_rows<Round::up>(t, "rp");
    add_row<sine>(t, "sin.f32");
    add_row<cosine>(t, "cos.f32");
    add_row<power_of_two>(t, "ex2.f32");
    add_row<log_of_two>(t, "lg2.f32");
    add_row<tangent_h>(t, "tanh.f32");
}

void add_half_rows(OpTable &t)
{
    rows_of_narrow<Half>(t, ".f16");
    rows_of_narrow<Bf16>(t, ".bf16");
}

} // namespace fakecuda
