/* Comparisons: setp and set. */
#include "tests/fakecuda/ptx_half.h"
#include "tests/fakecuda/ptx_warp.h"

namespace fakecuda
{

namespace
{

/* Comparisons. The unordered forms hold when an operand is NaN. */
template <class T> bool equal(T a, T b)
{
    return a == b;
}
template <class T> bool differs(T a, T b)
{
    return a < b || a > b;
}
template <class T> bool less(T a, T b)
{
    return a < b;
}
template <class T> bool less_equal(T a, T b)
{
    return a <= b;
}
template <class T> bool greater(T a, T b)
{
    return a > b;
}
template <class T> bool greater_equal(T a, T b)
{
    return a >= b;
}
template <class T> bool unordered(T a, T b)
{
    return a != a || b != b;
}
template <class T> bool ordered(T a, T b)
{
    return !unordered(a, b);
}
template <class T, bool (*F)(T, T)> bool or_unordered(T a, T b)
{
    return F(a, b) || unordered(a, b);
}
template <class H, bool (*F)(float, float)> bool narrow_compare(H a, H b)
{
    return F(a.wide(), b.wide());
}

/* set: all ones, or 1.0 */
template <class T, bool (*F)(T, T)> uint32_t set_bits(T a, T b)
{
    return F(a, b) ? ~0u : 0u;
}
template <class T, bool (*F)(T, T)> float set_float(T a, T b)
{
    return F(a, b) ? 1.0f : 0.0f;
}
template <class H, bool (*F)(float, float)> uint32_t set_pair_bits(Two<H> a, Two<H> b)
{
    return (F(a.low.wide(), b.low.wide()) ? 0xffffu : 0u) |
           (F(a.high.wide(), b.high.wide()) ? 0xffff0000u : 0u);
}
template <class H, bool (*F)(float, float)> Two<H> set_pair(Two<H> a, Two<H> b)
{
    return {H::from(F(a.low.wide(), b.low.wide()) ? 1.0f : 0.0f),
            H::from(F(a.high.wide(), b.high.wide()) ? 1.0f : 0.0f)};
}

template <class T, bool (*F)(T, T)>
void compare_row(OpTable &t, const std::string &name, const std::string &type)
{
    add_row<F>(t, "setp." + name + "." + type);
    if constexpr (std::is_same_v<T, float>) { /* nvcc uses set for floats and pairs alone */
        add_row<set_bits<T, F>>(t, "set." + name + ".u32." + type);
        add_row<set_float<T, F>>(t, "set." + name + ".f32." + type);
    }
}

template <class H, bool (*F)(float, float)>
void narrow_compare_row(OpTable &t, const std::string &name, const std::string &type)
{
    add_row<narrow_compare<H, F>>(t, "setp." + name + "." + type);
    add_row<set_pair_bits<H, F>>(t, "set." + name + ".u32." + type + "x2");
    add_row<set_pair<H, F>>(t, "set." + name + "." + type + "x2." + type + "x2");
}

template <bool (*F)(float, float)> void float_compare_rows(OpTable &t, const std::string &name)
{
    compare_row<float, F>(t, name, "f32");
    narrow_compare_row<Half, F>(t, name, "f16");
    narrow_compare_row<Bf16, F>(t, name, "bf16");
}

template <class T> void integer_compare_rows(OpTable &t, const std::string &type)
{
    compare_row<T, equal<T>>(t, "eq", type);
    compare_row<T, differs<T>>(t, "ne", type);
    if (type[0] == 'b')
        return;
    compare_row<T, less<T>>(t, "lt", type);
    compare_row<T, less_equal<T>>(t, "le", type);
    compare_row<T, greater<T>>(t, "gt", type);
    compare_row<T, greater_equal<T>>(t, "ge", type);
    if constexpr (std::is_unsigned_v<T>) {
        compare_row<T, less<T>>(t, "lo", type);
        compare_row<T, less_equal<T>>(t, "ls", type);
        compare_row<T, greater<T>>(t, "hi", type);
        compare_row<T, greater_equal<T>>(t, "hs", type);
    }
}

template <class F> void ordered_rows(OpTable &t, const std::string &type)
{
    compare_row<F, equal<F>>(t, "eq", type);
    compare_row<F, differs<F>>(t, "ne", type);
    compare_row<F, less<F>>(t, "lt", type);
    compare_row<F, less_equal<F>>(t, "le", type);
    compare_row<F, greater<F>>(t, "gt", type);
    compare_row<F, greater_equal<F>>(t, "ge", type);
    compare_row<F, or_unordered<F, equal<F>>>(t, "equ", type);
    compare_row<F, or_unordered<F, differs<F>>>(t, "neu", type);
    compare_row<F, or_unordered<F, less<F>>>(t, "ltu", type);
    compare_row<F, or_unordered<F, less_equal<F>>>(t, "leu", type);
    compare_row<F, or_unordered<F, greater<F>>>(t, "gtu", type);
    compare_row<F, or_unordered<F, greater_equal<F>>>(t, "geu", type);
    compare_row<F, ordered<F>>(t, "num", type);
    compare_row<F, unordered<F>>(t, "nan", type);
}

} // namespace

void add_compare_rows(OpTable &t)
{
    integer_compare_rows<int16_t>(t, "s16");
    integer_compare_rows<uint16_t>(t, "u16");
    integer_compare_rows<uint16_t>(t, "b16");
    integer_compare_rows<int32_t>(t, "s32");
    integer_compare_rows<uint32_t>(t, "u32");
    integer_compare_rows<uint32_t>(t, "b32");
    integer_compare_rows<int64_t>(t, "s64");
    integer_compare_rows<uint64_t>(t, "u64");
    integer_compare_rows<uint64_t>(t, "b64");
    ordered_rows<double>(t, "f64");
    ordered_rows<float>(t, "f32");
    float_compare_rows<equal<float>>(t, "eq");
    float_compare_rows<differs<float>>(t, "ne");
    float_compare_rows<less<float>>(t, "lt");
    float_compare_rows<less_equal<float>>(t, "le");
    float_compare_rows<greater<float>>(t, "gt");
    float_compare_rows<greater_equal<float>>(t, "ge");
    float_compare_rows<or_unordered<float, equal<float>>>(t, "equ");
    float_compare_rows<or_unordered<float, differs<float>>>(t, "neu");
    float_compare_rows<or_unordered<float, less<float>>>(t, "ltu");
    float_compare_rows<or_unordered<float, less_equal<float>>>(t, "leu");
    float_compare_rows<or_unordered<float, greater<float>>>(t, "gtu");
    float_compare_rows<or_unordered<float, greater_equal<float>>>(t, "geu");
    float_compare_rows<ordered<float>>(t, "num");
    float_compare_rows<unordered<float>>(t, "nan");
}

} // namespace fakecuda
