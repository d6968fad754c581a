/* atom and red: one lane after the other, in the order of the lanes. */
#include <map>

#include "tests/fakecuda/ptx_check.h"
#include "tests/fakecuda/ptx_half.h"

namespace fakecuda
{

namespace
{

template <class T> T add(T old, T b, T)
{
    if constexpr (std::is_integral_v<T>)
        return T(std::make_unsigned_t<T>(old) + std::make_unsigned_t<T>(b));
    else
        return old + b;
}
template <class T> T minimum(T old, T b, T)
{
    return b < old ? b : old;
}
template <class T> T maximum(T old, T b, T)
{
    return b > old ? b : old;
}
template <class T> T bit_and(T old, T b, T)
{
    return old & b;
}
template <class T> T bit_or(T old, T b, T)
{
    return old | b;
}
template <class T> T bit_xor(T old, T b, T)
{
    return old ^ b;
}
template <class T> T exchange(T, T b, T)
{
    return b;
}
template <class T> T compare_and_swap(T old, T expected, T b)
{
    return old == expected ? b : old;
}
uint32_t increment(uint32_t old, uint32_t top, uint32_t)
{
    return old >= top ? 0 : old + 1;
}
uint32_t decrement(uint32_t old, uint32_t top, uint32_t)
{
    return old == 0 || old > top ? top : old - 1;
}
template <class H> H add_narrow(H old, H b, H)
{
    return H::from(old.wide() + b.wide());
}
template <class H> Two<H> add_pair(Two<H> old, Two<H> b, Two<H> c)
{
    return {add_narrow(old.low, b.low, c.low), add_narrow(old.high, b.high, c.high)};
}

/* Operands: result (inst.flag: there is one), address, value, and for cas a second value. */
template <auto F> struct Atomic;
template <class T, T (*F)(T, T, T)> struct Atomic<F> {
    static void run(Warp &warp, const Inst &inst)
    {
        Access access;

        access.touch = Touch::update;
        access.bytes = access.alignment = sizeof(T);
        lane_addresses(warp, inst.op[1], inst.address_bytes, inst.imm, access.address);
        check_access(warp, inst.space, access);
        for (int i = 0; i < LANES; i++) {
            if (!has(warp.mask, i))
                continue;

            const T old = lane_get<T>(access.pointer[i], 0);
            const T b = lane_get<T>(warp.reg(inst.op[2]), i);
            const T c = inst.elements > 1 ? lane_get<T>(warp.reg(inst.op[3]), i) : b;

            lane_set(access.pointer[i], 0, F(old, b, c));
            if (inst.flag)
                lane_set(warp.reg(inst.op[0]), i, old);
        }
    }
};

using AtomicTable = std::map<std::string, Exec>;

template <class T> void integer_rows(AtomicTable &t)
{
    const std::string type = std::string(".") + type_name<T>();

    t["add" + type] = Atomic<add<T>>::run;
    t["min" + type] = Atomic<minimum<T>>::run;
    t["max" + type] = Atomic<maximum<T>>::run;
}

template <class T> void bit_rows(AtomicTable &t, const std::string &type)
{
    t["and" + type] = Atomic<bit_and<T>>::run;
    t["or" + type] = Atomic<bit_or<T>>::run;
    t["xor" + type] = Atomic<bit_xor<T>>::run;
    t["exch" + type] = Atomic<exchange<T>>::run;
    t["cas" + type] = Atomic<compare_and_swap<T>>::run;
}

AtomicTable make_table()
{
    AtomicTable t;

    integer_rows<int32_t>(t);
    integer_rows<uint32_t>(t);
    integer_rows<int64_t>(t);
    integer_rows<uint64_t>(t);
    bit_rows<uint32_t>(t, ".b32");
    bit_rows<uint64_t>(t, ".b64");
    t["cas.b16"] = Atomic<compare_and_swap<uint16_t>>::run;
    t["add.f32"] = Atomic<add<float>>::run;
    t["add.f64"] = Atomic<add<double>>::run;
    t["inc.u32"] = Atomic<increment>::run;
    t["dec.u32"] = Atomic<decrement>::run;
    t["add.f16"] = Atomic<add_narrow<Half>>::run;
    t["add.bf16"] = Atomic<add_narrow<Bf16>>::run;
    t["add.f16x2"] = Atomic<add_pair<Half>>::run;
    t["add.bf16x2"] = Atomic<add_pair<Bf16>>::run;
    return t;
}

} // namespace

Exec atomic_exec(const std::string &operation, const std::string &type)
{
    static const AtomicTable table = make_table();
    auto row = table.find(operation + "." + type);

    return row == table.end() ? nullptr : row->second;
}

} // namespace fakecuda
