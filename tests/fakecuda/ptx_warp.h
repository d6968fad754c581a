/*
 * The running state: a warp's registers and lanes, a block's shared memory and barriers, and the
 * elementwise loop that most instructions are made of. Private to the interpreter.
 */
#ifndef FAKECUDA_PTX_WARP_H
#define FAKECUDA_PTX_WARP_H

#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "tests/fakecuda/ptx_program.h"

namespace fakecuda
{

struct Block;

/* One cp.async of a warp between its issue and the wait of each lane. */
struct AsyncCopy {
    uint32_t lanes; /* still pending */
    uint32_t bytes;
    uint32_t group[LANES]; /* commit groups of the lane before it */
    uint32_t shared_offset[LANES];
    unsigned char data[LANES][16];
    const Inst *inst;
};

struct Warp {
    Block *block = nullptr;
    uint32_t index = 0; /* in the block */
    unsigned char *registers = nullptr;
    unsigned char *local = nullptr; /* LANES times the kernel's local bytes */

    /* Of the instruction that runs. */
    uint32_t pc = 0;    /* of the next instruction */
    uint32_t group = 0; /* lanes at this pc, running together */
    uint32_t mask = 0;  /* those of them whose guard holds */
    uint32_t stop = 0;  /* run on while pc is below */
    const Inst *inst = nullptr;
    uint64_t executed = 0;
    uint64_t limit = 0; /* of `executed`, looked at in branches */

    /* Lanes: every existing lane is in exactly one of running, waiting, at_barrier and exited. */
    uint32_t existing = 0;
    uint32_t running = 0;
    uint32_t waiting = 0;    /* for other lanes at a warp-synchronous instruction */
    uint32_t at_barrier = 0; /* of the block */
    uint32_t exited = 0;
    uint32_t lane_pc[LANES] = {}; /* of lanes outside `group` */
    const Inst *lane_barrier[LANES] = {};

    /* Order of memory accesses: `interval` rises at every barrier and __syncwarp; what warp w did
     * before its interval seen[w] happened before what this warp does now. */
    std::vector<uint32_t> seen;
    uint32_t settled = 1; /* earlier intervals lie behind a barrier, whatever their warp */
    uint32_t interval() const
    {
        return seen[index];
    }

    std::vector<AsyncCopy> copies;
    uint32_t committed[LANES] = {}; /* commit groups of a lane so far */

    unsigned char *reg(uint32_t offset)
    {
        return registers + offset;
    }
    uint32_t predicate(uint32_t offset) const
    {
        uint32_t bits;
        memcpy(&bits, registers + offset, sizeof bits);
        return bits;
    }
    /* Sets the bits of the lanes in `mask`. */
    void set_predicate(uint32_t offset, uint32_t bits)
    {
        uint32_t merged = (predicate(offset) & ~mask) | (bits & mask);
        memcpy(registers + offset, &merged, sizeof merged);
    }

    /* Throws the Report that launch() hands out. */
    [[noreturn]] void fault(int lane, const char *kind, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
};

/* Waits until, for every lane in warp.mask, all lanes of its member mask are at this instruction;
 * checks the masks. Then warp.mask holds the lanes that go on; false: none yet. */
bool gather(Warp &warp, const uint32_t *member_masks);
/* The same where the whole warp must come (mma, ldmatrix). */
bool gather_all(Warp &warp);

template <class T> T lane_get(const unsigned char *lanes, int lane)
{
    T value;
    memcpy(&value, lanes + size_t(lane) * sizeof(T), sizeof(T));
    return value;
}

template <class T> void lane_set(unsigned char *lanes, int lane, T value)
{
    memcpy(lanes + size_t(lane) * sizeof(T), &value, sizeof(T));
}

inline bool has(uint32_t mask, int lane)
{
    return (mask >> lane) & 1;
}

/* Copies the lanes of `mask` into a register. */
template <class T> void write_lanes(unsigned char *destination, const T *result, uint32_t mask)
{
    if (mask == ALL_LANES) {
        memcpy(destination, result, sizeof(T) * LANES);
        return;
    }
    for (int i = 0; i < LANES; i++)
        if (has(mask, i))
            lane_set(destination, i, result[i]);
}

/* A source operand, lane by lane. */
template <class T> struct Source32 {
    const unsigned char *lanes;
    T operator[](int lane) const
    {
        return lane_get<T>(lanes, lane);
    }
};
template <> struct Source32<bool> {
    const unsigned char *lanes;
    bool operator[](int lane) const
    {
        uint32_t bits;
        memcpy(&bits, lanes, sizeof bits);
        return has(bits, lane);
    }
};

/*
 * An instruction that computes each lane by itself: F is the scalar function. All lanes are
 * computed, also those outside the mask, so that the loop has no branch and vectorises; F must
 * accept any bits. The result is built aside because it may overwrite a source.
 */
template <auto F> struct Elementwise;
template <class D, class... A, D (*F)(A...)> struct Elementwise<F> {
    template <size_t... K> static void loop(Warp &warp, const Inst &inst, std::index_sequence<K...>)
    {
        const unsigned char *source[] = {warp.reg(inst.op[K + 1])...};

        if constexpr (std::is_same_v<D, bool>) {
            uint32_t bits = 0;

            for (int i = 0; i < LANES; i++)
                bits |= F(Source32<A>{source[K]}[i]...) ? 1u << i : 0u;
            warp.set_predicate(inst.op[0], bits);
        } else {
            D result[LANES];

            for (int i = 0; i < LANES; i++)
                result[i] = F(Source32<A>{source[K]}[i]...);
            write_lanes(warp.reg(inst.op[0]), result, warp.mask);
        }
    }
    static void run(Warp &warp, const Inst &inst)
    {
        loop(warp, inst, std::index_sequence_for<A...>{});
    }
    template <class T> static constexpr uint8_t width()
    {
        return std::is_same_v<T, bool> ? 0 : uint8_t(sizeof(T));
    }
    static OpRow row()
    {
        return OpRow{run, 1 + sizeof...(A), {width<D>(), width<A>()...}, 1};
    }
};

template <auto F> void add_row(OpTable &table, const std::string &key)
{
    table[key] = Elementwise<F>::row();
}

/* An instruction whose function sees the whole warp. */
inline void add_row(OpTable &table, const std::string &key, Exec exec,
                    std::initializer_list<uint8_t> widths, uint8_t results = 1)
{
    OpRow row;

    row.exec = exec;
    row.results = results;
    for (uint8_t width : widths)
        row.width[row.operands++] = width;
    table[key] = row;
}

template <class T> const char *type_name();
template <> inline const char *type_name<int8_t>()
{
    return "s8";
}
template <> inline const char *type_name<uint8_t>()
{
    return "u8";
}
template <> inline const char *type_name<int16_t>()
{
    return "s16";
}
template <> inline const char *type_name<uint16_t>()
{
    return "u16";
}
template <> inline const char *type_name<int32_t>()
{
    return "s32";
}
template <> inline const char *type_name<uint32_t>()
{
    return "u32";
}
template <> inline const char *type_name<int64_t>()
{
    return "s64";
}
template <> inline const char *type_name<uint64_t>()
{
    return "u64";
}
template <> inline const char *type_name<float>()
{
    return "f32";
}
template <> inline const char *type_name<double>()
{
    return "f64";
}

} // namespace fakecuda

#endif
