/* Integer, logic and bit instructions; conversions between predicates, halves and words. */
#include "tests/fakecuda/ptx_warp.h"

namespace fakecuda
{

namespace
{

template <class T> using Unsigned = std::make_unsigned_t<T>;
template <class T> constexpr int BITS = int(sizeof(T)) * 8;

/* C promotes 16-bit products to a signed int that may overflow. */
template <class T> using Wrapping = std::conditional_t<sizeof(T) < 4, uint32_t, Unsigned<T>>;

template <class T> T add(T a, T b)
{
    return T(Wrapping<T>(a) + Wrapping<T>(b));
}
template <class T> T sub(T a, T b)
{
    return T(Wrapping<T>(a) - Wrapping<T>(b));
}
template <class T> T mul_lo(T a, T b)
{
    return T(Wrapping<T>(a) * Wrapping<T>(b));
}
template <class T> T mad_lo(T a, T b, T c)
{
    return add(mul_lo(a, b), c);
}

template <class T> struct WideOf;
template <> struct WideOf<int16_t> {
    using type = int32_t;
};
template <> struct WideOf<uint16_t> {
    using type = uint32_t;
};
template <> struct WideOf<int32_t> {
    using type = int64_t;
};
template <> struct WideOf<uint32_t> {
    using type = uint64_t;
};
template <> struct WideOf<int64_t> {
    using type = __int128;
};
template <> struct WideOf<uint64_t> {
    using type = unsigned __int128;
};
template <class T> using Wide = typename WideOf<T>::type;

template <class T> T mul_hi(T a, T b)
{
    return T((Wide<T>(a) * Wide<T>(b)) >> BITS<T>);
}
template <class T> T mad_hi(T a, T b, T c)
{
    return add(mul_hi(a, b), c);
}
template <class T> Wide<T> mul_wide(T a, T b)
{
    return Wide<T>(Wide<T>(a) * Wide<T>(b));
}
template <class T> Wide<T> mad_wide(T a, T b, Wide<T> c)
{
    return add(mul_wide(a, b), c);
}

int32_t cut24(int32_t a)
{
    return int32_t(uint32_t(a) << 8) >> 8;
}
int32_t mul24(int32_t a, int32_t b)
{
    return mul_lo(cut24(a), cut24(b));
}

/* The device gives some value for a division by zero; all ones is what it is seen to give. */
template <class T> T divide(T a, T b)
{
    if (b == 0)
        return T(-1);
    if (std::is_signed_v<T> && b == T(-1))
        return sub(T(0), a);
    return T(a / b);
}
template <class T> T remainder(T a, T b)
{
    if (b == 0)
        return a;
    return std::is_signed_v<T> && b == T(-1) ? T(0) : T(a % b);
}
template <class T> T minimum(T a, T b)
{
    return a < b ? a : b;
}
template <class T> T maximum(T a, T b)
{
    return a > b ? a : b;
}
template <class T> T negate(T a)
{
    return sub(T(0), a);
}
template <class T> T absolute(T a)
{
    return a < 0 ? negate(a) : a;
}
template <class T> T add_saturated(T a, T b)
{
    int64_t sum = int64_t(a) + int64_t(b);

    return T(sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum);
}
/* c + |a - b| */
template <class T> T sum_absolute_difference(T a, T b, T c)
{
    return add(c, a < b ? sub(b, a) : sub(a, b));
}

template <class T> T shift_right(T a, uint32_t b)
{
    if (b < uint32_t(BITS<T>))
        return T(a >> b);
    return std::is_signed_v<T> && a < 0 ? T(-1) : T(0);
}
template <class T> T shift_left(T a, uint32_t b)
{
    return b < uint32_t(BITS<T>) ? T(Wrapping<T>(a) << b) : T(0);
}
template <class T> T bit_and(T a, T b)
{
    return T(a & b);
}
template <class T> T bit_or(T a, T b)
{
    return T(a | b);
}
template <class T> T bit_xor(T a, T b)
{
    return T(a ^ b);
}
template <class T> T bit_not(T a)
{
    return T(~a);
}
template <class T> T c_not(T a)
{
    return a == 0;
}
bool and_predicate(bool a, bool b)
{
    return a && b;
}
bool or_predicate(bool a, bool b)
{
    return a || b;
}
bool xor_predicate(bool a, bool b)
{
    return a != b;
}
bool not_predicate(bool a)
{
    return !a;
}

template <class T> T copy(T a)
{
    return a;
}
template <class T> T select(T a, T b, bool p)
{
    return p ? a : b;
}
template <class T> T select_by_sign(T a, T b, int32_t c)
{
    return c >= 0 ? a : b;
}
template <class T> T select_by_float(T a, T b, float c)
{
    return c >= 0 ? a : b;
}

template <class T> uint32_t count_ones(T a)
{
    return uint32_t(__builtin_popcountll(a));
}
template <class T> uint32_t leading_zeros(T a)
{
    return a == 0 ? uint32_t(BITS<T>) : uint32_t(__builtin_clzll(uint64_t(a)) - (64 - BITS<T>));
}
template <class T> T reverse_bits(T a)
{
    T result = 0;

    for (int i = 0; i < BITS<T>; i++)
        result = T(result << 1 | ((a >> i) & 1));
    return result;
}
/* Position of the highest bit that differs from the sign; all ones if there is none. */
template <class T> uint32_t find_highest(T a)
{
    Unsigned<T> value = Unsigned<T>(a < 0 ? ~a : a);

    return value == 0 ? ~0u : uint32_t(63 - __builtin_clzll(uint64_t(value)));
}
template <class T> uint32_t find_highest_shift(T a)
{
    uint32_t found = find_highest(a);

    return found == ~0u ? found : uint32_t(BITS<T>) - 1 - found;
}

/* Bits of the field above the register are copies of its sign. */
template <class T> T extract_bits(T a, uint32_t position, uint32_t length)
{
    using U = Unsigned<T>;
    constexpr uint32_t SIZE = uint32_t(BITS<T>);
    const uint32_t from = position & 255, wanted = length & 255;
    const uint32_t top = minimum(from + wanted - 1, SIZE - 1);
    const bool negative = std::is_signed_v<T> && wanted > 0 && ((a >> top) & 1);
    const uint32_t count = from < SIZE ? minimum(wanted, SIZE - from) : 0;
    const U field = count < SIZE ? U((U(1) << count) - 1) : U(-1);
    const U value = shift_right(U(a), from) & field;

    return T(negative ? value | U(~field) : value);
}
/* The low `length` bits of a placed into b. */
template <class T> T insert_bits(T a, T b, uint32_t position, uint32_t length)
{
    uint32_t from = position & 255, count = length & 255;
    T field = count >= uint32_t(BITS<T>) ? T(-1) : T((T(1) << count) - 1);
    T mask = shift_left(field, from);

    return T((b & ~mask) | (shift_left(a, from) & mask));
}

uint32_t logic3(uint32_t a, uint32_t b, uint32_t c, uint32_t table)
{
    uint32_t result = 0;

    for (uint32_t k = 0; k < 8; k++)
        result |=
            ((table >> k) & 1 ? ~0u : 0u) & (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
    return result;
}

uint32_t permute_bytes(uint32_t a, uint32_t b, uint32_t selector)
{
    uint64_t both = uint64_t{b} << 32 | a;
    uint32_t result = 0;

    for (int i = 0; i < 4; i++) {
        uint32_t pick = selector >> (4 * i) & 15;
        uint32_t byte = uint32_t(both >> (8 * (pick & 7))) & 255;

        if (pick & 8)
            byte = byte & 128 ? 255 : 0;
        result |= byte << (8 * i);
    }
    return result;
}

/* Funnel shifts of b:a; .wrap takes the amount modulo 32, .clamp at most 32. */
uint32_t funnel_left(uint32_t a, uint32_t b, uint32_t n)
{
    return uint32_t((uint64_t{b} << 32 | a) << n >> 32);
}
uint32_t funnel_right(uint32_t a, uint32_t b, uint32_t n)
{
    return uint32_t((uint64_t{b} << 32 | a) >> n);
}
uint32_t funnel_left_wrap(uint32_t a, uint32_t b, uint32_t n)
{
    return funnel_left(a, b, n & 31);
}
uint32_t funnel_right_wrap(uint32_t a, uint32_t b, uint32_t n)
{
    return funnel_right(a, b, n & 31);
}
uint32_t funnel_left_clamp(uint32_t a, uint32_t b, uint32_t n)
{
    return funnel_left(a, b, minimum(n, 32u));
}
uint32_t funnel_right_clamp(uint32_t a, uint32_t b, uint32_t n)
{
    return funnel_right(a, b, minimum(n, 32u));
}

/* Sum of four products of bytes; A and B say whether they are signed. */
template <class A, class B> uint32_t dot4(uint32_t a, uint32_t b, uint32_t c)
{
    for (int i = 0; i < 4; i++)
        c += uint32_t(int32_t(A(a >> (8 * i))) * int32_t(B(b >> (8 * i))));
    return c;
}

/* Two saturated bytes in front of the upper half of c: cvt.pack.sat.s8.s32.b32. */
template <class T> uint32_t pack_bytes(int32_t a, int32_t b, uint32_t c)
{
    const int32_t low = std::is_signed_v<T> ? -128 : 0, high = std::is_signed_v<T> ? 127 : 255;

    return uint32_t(uint8_t(minimum(maximum(a, low), high))) << 8 |
           uint32_t(uint8_t(minimum(maximum(b, low), high))) | c << 16;
}

/* Micro-operations of mov with a vector operand. */
template <class T, class H> T join(H low, H high)
{
    return T(T(high) << BITS<H> | T(low));
}
template <class H, class T> H low_half(T a)
{
    return H(a);
}
template <class H, class T> H high_half(T a)
{
    return H(a >> BITS<H>);
}

template <class T> void rows_of_type(OpTable &t)
{
    const std::string type = std::string(".") + type_name<T>();

    add_row<add<T>>(t, "add" + type);
    add_row<sub<T>>(t, "sub" + type);
    add_row<mul_lo<T>>(t, "mul.lo" + type);
    add_row<mul_hi<T>>(t, "mul.hi" + type);
    add_row<mad_lo<T>>(t, "mad.lo" + type);
    add_row<mad_hi<T>>(t, "mad.hi" + type);
    add_row<divide<T>>(t, "div" + type);
    add_row<remainder<T>>(t, "rem" + type);
    add_row<minimum<T>>(t, "min" + type);
    add_row<maximum<T>>(t, "max" + type);
    add_row<shift_right<T>>(t, "shr" + type);
    add_row<sum_absolute_difference<T>>(t, "sad" + type);
    if constexpr (sizeof(T) < 8) {
        add_row<mul_wide<T>>(t, "mul.wide" + type);
        add_row<mad_wide<T>>(t, "mad.wide" + type);
    }
    if constexpr (std::is_signed_v<T>) {
        add_row<negate<T>>(t, "neg" + type);
        add_row<absolute<T>>(t, "abs" + type);
    }
    if constexpr (sizeof(T) >= 4) {
        add_row<extract_bits<T>>(t, "bfe" + type);
        add_row<find_highest<T>>(t, "bfind" + type);
        add_row<find_highest_shift<T>>(t, "bfind.shiftamt" + type);
    }
}

/* T is unsigned: types that differ only in sign or kind share these rows. */
template <class T> void rows_of_width(OpTable &t)
{
    const std::string bits = std::to_string(sizeof(T) * 8);

    add_row<bit_and<T>>(t, "and.b" + bits);
    add_row<bit_or<T>>(t, "or.b" + bits);
    add_row<bit_xor<T>>(t, "xor.b" + bits);
    add_row<bit_not<T>>(t, "not.b" + bits);
    add_row<c_not<T>>(t, "cnot.b" + bits);
    add_row<shift_left<T>>(t, "shl.b" + bits);
    add_row<shift_right<T>>(t, "shr.b" + bits);
    for (const char *kind : {"b", "u", "s", "f"}) {
        const std::string type = kind + bits;

        add_row<copy<T>>(t, "mov." + type);
        add_row<select<T>>(t, "selp." + type);
        add_row<select_by_sign<T>>(t, "slct." + type + ".s32");
        add_row<select_by_float<T>>(t, "slct." + type + ".f32");
    }
    if constexpr (sizeof(T) >= 4) {
        add_row<count_ones<T>>(t, "popc.b" + bits);
        add_row<leading_zeros<T>>(t, "clz.b" + bits);
        add_row<reverse_bits<T>>(t, "brev.b" + bits);
        add_row<insert_bits<T>>(t, "bfi.b" + bits);
    }
}

/*
 * Carry chains: F computes a lane's result from its sources and the carry, and sets the carry.
 * Only the forms with .cc keep the new carry.
 */
template <class T> T chain_add(T a, T b, bool &carry)
{
    T sum = T(a + b), with = T(sum + (carry ? 1 : 0));

    carry = sum < a || with < sum;
    return with;
}
/* The carry of a subtraction is its borrow. */
template <class T> T chain_sub(T a, T b, bool &borrow)
{
    T difference = T(a - b), with = T(difference - (borrow ? 1 : 0));

    borrow = a < b || difference < with;
    return with;
}
template <class T> T chain_mad_lo(T a, T b, T c, bool &carry)
{
    return chain_add(mul_lo(a, b), c, carry);
}
template <class T> T chain_mad_hi(T a, T b, T c, bool &carry)
{
    return chain_add(mul_hi(a, b), c, carry);
}

template <auto F, bool TAKES, bool SETS> struct Chain;
template <class T, class... A, T (*F)(T, A...), bool TAKES, bool SETS>
struct Chain<F, TAKES, SETS> {
    static constexpr int SOURCES = int(sizeof...(A)); /* T and A without the carry */

    template <size_t... K>
    static T lane(const unsigned char *const *source, int i, bool &carry, std::index_sequence<K...>)
    {
        return F(lane_get<T>(source[K], i)..., carry);
    }
    static void run(Warp &warp, const Inst &inst)
    {
        const uint32_t carry_register = uint32_t(inst.imm), before = warp.predicate(carry_register);
        const unsigned char *source[SOURCES];
        uint32_t after = 0;
        T result[LANES];

        for (int k = 0; k < SOURCES; k++)
            source[k] = warp.reg(inst.op[k + 1]);
        for (int i = 0; i < LANES; i++) {
            bool carry = TAKES && has(before, i);

            result[i] = lane(source, i, carry, std::make_index_sequence<size_t(SOURCES)>{});
            after |= carry ? 1u << i : 0u;
        }
        write_lanes(warp.reg(inst.op[0]), result, warp.mask);
        if (SETS)
            warp.set_predicate(carry_register, after);
    }
    static void row(OpTable &table, const std::string &key)
    {
        OpRow row;

        row.exec = run;
        row.operands = 1 + SOURCES;
        for (int k = 0; k <= SOURCES; k++)
            row.width[k] = sizeof(T);
        table[key] = row;
    }
};

template <auto F> void chain_rows(OpTable &t, const std::string &base, const std::string &rest)
{
    Chain<F, false, true>::row(t, base + rest.substr(0, rest.rfind('.')) + ".cc" +
                                      rest.substr(rest.rfind('.')));
    Chain<F, true, false>::row(t, base + "c" + rest);
    Chain<F, true, true>::row(t, base + "c" + rest.substr(0, rest.rfind('.')) + ".cc" +
                                     rest.substr(rest.rfind('.')));
}

/* Sign changes nothing but the upper half of a product. */
template <class T> void chain_rows_of_type(OpTable &t)
{
    const std::string type = std::string(".") + type_name<T>();
    using U = Unsigned<T>;

    chain_rows<chain_add<U>>(t, "add", type);
    chain_rows<chain_sub<U>>(t, "sub", type);
    chain_rows<chain_mad_lo<U>>(t, "mad", ".lo" + type);
    if constexpr (!std::is_signed_v<T>)
        chain_rows<chain_mad_hi<U>>(t, "mad", ".hi" + type);
}

void predicate_rows(OpTable &t)
{
    add_row<and_predicate>(t, "and.pred");
    add_row<or_predicate>(t, "or.pred");
    add_row<xor_predicate>(t, "xor.pred");
    add_row<not_predicate>(t, "not.pred");
    add_row<copy<bool>>(t, "mov.pred");
}

void special_rows(OpTable &t)
{
    add_row<mul24>(t, "mul24.lo.s32");
    add_row<add_saturated<int32_t>>(t, "add.sat.s32");
    add_row<logic3>(t, "lop3.b32");
    add_row<permute_bytes>(t, "prmt.b32");
    add_row<funnel_left_wrap>(t, "shf.l.wrap.b32");
    add_row<funnel_right_wrap>(t, "shf.r.wrap.b32");
    add_row<funnel_left_clamp>(t, "shf.l.clamp.b32");
    add_row<funnel_right_clamp>(t, "shf.r.clamp.b32");
    add_row<dot4<int8_t, int8_t>>(t, "dp4a.s32.s32");
    add_row<dot4<uint8_t, uint8_t>>(t, "dp4a.u32.u32");
    add_row<dot4<int8_t, uint8_t>>(t, "dp4a.s32.u32");
    add_row<dot4<uint8_t, int8_t>>(t, "dp4a.u32.s32");
    add_row<pack_bytes<int8_t>>(t, "cvt.pack.sat.s8.s32.b32");
    add_row<pack_bytes<uint8_t>>(t, "cvt.pack.sat.u8.s32.b32");
    add_row<join<uint64_t, uint32_t>>(t, "join.8");
    add_row<join<uint32_t, uint16_t>>(t, "join.4");
    add_row<join<uint16_t, uint8_t>>(t, "join.2");
    add_row<low_half<uint32_t, uint64_t>>(t, "low.8");
    add_row<low_half<uint16_t, uint32_t>>(t, "low.4");
    add_row<low_half<uint8_t, uint16_t>>(t, "low.2");
    add_row<high_half<uint32_t, uint64_t>>(t, "high.8");
    add_row<high_half<uint16_t, uint32_t>>(t, "high.4");
    add_row<high_half<uint8_t, uint16_t>>(t, "high.2");
}

} // namespace

void add_integer_rows(OpTable &t)
{
    rows_of_type<int16_t>(t);
    rows_of_type<uint16_t>(t);
    rows_of_type<int32_t>(t);
    rows_of_type<uint32_t>(t);
    rows_of_type<int64_t>(t);
    rows_of_type<uint64_t>(t);
    rows_of_width<uint8_t>(t);
    rows_of_width<uint16_t>(t);
    rows_of_width<uint32_t>(t);
    rows_of_width<uint64_t>(t);
    chain_rows_of_type<int32_t>(t);
    chain_rows_of_type<uint32_t>(t);
    chain_rows_of_type<int64_t>(t);
    chain_rows_of_type<uint64_t>(t);
    predicate_rows(t);
    special_rows(t);
}

} // namespace fakecuda
