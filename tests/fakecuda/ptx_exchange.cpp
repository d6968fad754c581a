/* Instructions in which the lanes of a warp exchange values: shfl, vote, match, redux. */
#include "tests/fakecuda/ptx_check.h"

namespace fakecuda
{

namespace
{

struct Lanes32 {
    uint32_t lane[LANES];

    Lanes32(Warp &warp, uint32_t offset)
    {
        memcpy(lane, warp.reg(offset), sizeof lane);
    }
};

enum class Shuffle { up, down, butterfly, index };

/* The source lane, and whether it lies in the segment; PTX ISA, shfl.sync. */
template <Shuffle MODE> int source_lane(int lane, uint32_t b, uint32_t c, bool *inside)
{
    const int segment = int(c >> 8 & 31), clamp = int(c & 31), distance = int(b & 31);
    const int most = (lane & segment) | (clamp & ~segment), least = lane & segment;
    const int source = MODE == Shuffle::up          ? lane - distance
                       : MODE == Shuffle::down      ? lane + distance
                       : MODE == Shuffle::butterfly ? lane ^ distance
                                                    : least | (distance & ~segment);

    *inside = MODE == Shuffle::up ? source >= most : source <= most;
    return *inside ? source : lane;
}

/* Result, inside?, value, b, c, member mask. A lane that does not take part gives all ones. */
template <Shuffle MODE> void exec_shuffle(Warp &warp, const Inst &inst)
{
    const Lanes32 value(warp, inst.op[2]), b(warp, inst.op[3]), c(warp, inst.op[4]);
    const Lanes32 members(warp, inst.op[5]);
    uint32_t result[LANES], inside = 0;

    if (!gather(warp, members.lane))
        return;
    for (int i = 0; i < LANES; i++) {
        bool in_segment;
        int source = source_lane<MODE>(i, b.lane[i], c.lane[i], &in_segment);

        result[i] = has(warp.mask & members.lane[i], source) ? value.lane[source] : ~0u;
        inside |= in_segment ? 1u << i : 0u;
    }
    write_lanes(warp.reg(inst.op[0]), result, warp.mask);
    warp.set_predicate(inst.op[1], inside);
}

uint32_t vote_all(uint32_t bits, uint32_t members)
{
    return bits == members;
}
uint32_t vote_any(uint32_t bits, uint32_t)
{
    return bits != 0;
}
uint32_t vote_uniform(uint32_t bits, uint32_t members)
{
    return bits == members || bits == 0;
}
uint32_t vote_ballot(uint32_t bits, uint32_t)
{
    return bits;
}

/* Result, predicate, member mask. */
template <uint32_t (*F)(uint32_t, uint32_t), bool TO_PREDICATE>
void exec_vote(Warp &warp, const Inst &inst)
{
    const Lanes32 members(warp, inst.op[2]);
    uint32_t result[LANES], bits = 0;

    if (!gather(warp, members.lane))
        return;
    for (int i = 0; i < LANES; i++) {
        result[i] = F(warp.predicate(inst.op[1]) & members.lane[i], members.lane[i]);
        bits |= result[i] ? 1u << i : 0u;
    }
    if (TO_PREDICATE)
        warp.set_predicate(inst.op[0], bits);
    else
        write_lanes(warp.reg(inst.op[0]), result, warp.mask);
}

/* Result, value, member mask. */
template <class T> void exec_match_any(Warp &warp, const Inst &inst)
{
    const Lanes32 members(warp, inst.op[2]);
    uint32_t result[LANES] = {};

    if (!gather(warp, members.lane))
        return;
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < LANES; j++)
            if (has(members.lane[i], j) &&
                lane_get<T>(warp.reg(inst.op[1]), i) == lane_get<T>(warp.reg(inst.op[1]), j))
                result[i] |= 1u << j;
    write_lanes(warp.reg(inst.op[0]), result, warp.mask);
}

/* Result, all equal?, value, member mask. */
template <class T> void exec_match_all(Warp &warp, const Inst &inst)
{
    const Lanes32 members(warp, inst.op[3]);
    uint32_t result[LANES] = {}, equal = 0;

    if (!gather(warp, members.lane))
        return;
    for (int i = 0; i < LANES; i++) {
        bool same = true;

        for (int j = 0; j < LANES; j++)
            same = same && (!has(members.lane[i], j) || lane_get<T>(warp.reg(inst.op[2]), i) ==
                                                            lane_get<T>(warp.reg(inst.op[2]), j));
        result[i] = same ? members.lane[i] : 0;
        equal |= same ? 1u << i : 0u;
    }
    write_lanes(warp.reg(inst.op[0]), result, warp.mask);
    warp.set_predicate(inst.op[1], equal);
}

template <class T> T add(T a, T b)
{
    return T(uint32_t(a) + uint32_t(b));
}
template <class T> T minimum(T a, T b)
{
    return b < a ? b : a;
}
template <class T> T maximum(T a, T b)
{
    return b > a ? b : a;
}
uint32_t bit_and(uint32_t a, uint32_t b)
{
    return a & b;
}
uint32_t bit_or(uint32_t a, uint32_t b)
{
    return a | b;
}
uint32_t bit_xor(uint32_t a, uint32_t b)
{
    return a ^ b;
}

/* Result, value, member mask. */
template <class T, T (*F)(T, T)> void exec_reduce(Warp &warp, const Inst &inst)
{
    const Lanes32 members(warp, inst.op[2]);
    T result[LANES] = {};

    if (!gather(warp, members.lane))
        return;
    for (int i = 0; i < LANES; i++) {
        if (!has(warp.mask, i))
            continue;
        result[i] = lane_get<T>(warp.reg(inst.op[1]), i);
        for (int j = 0; j < LANES; j++)
            if (j != i && has(members.lane[i], j))
                result[i] = F(result[i], lane_get<T>(warp.reg(inst.op[1]), j));
    }
    write_lanes(warp.reg(inst.op[0]), result, warp.mask);
}

void exec_warp_barrier(Warp &warp, const Inst &inst)
{
    const Lanes32 members(warp, inst.op[0]);

    if (gather(warp, members.lane))
        next_interval(warp);
}

void exec_active_mask(Warp &warp, const Inst &inst)
{
    uint32_t result[LANES];

    for (uint32_t &lane : result)
        lane = warp.mask;
    write_lanes(warp.reg(inst.op[0]), result, warp.mask);
}

} // namespace

void add_warp_rows(OpTable &t)
{
    add_row(t, "shfl.up.b32", exec_shuffle<Shuffle::up>, {4, 0, 4, 4, 4, 4}, 2);
    add_row(t, "shfl.down.b32", exec_shuffle<Shuffle::down>, {4, 0, 4, 4, 4, 4}, 2);
    add_row(t, "shfl.bfly.b32", exec_shuffle<Shuffle::butterfly>, {4, 0, 4, 4, 4, 4}, 2);
    add_row(t, "shfl.idx.b32", exec_shuffle<Shuffle::index>, {4, 0, 4, 4, 4, 4}, 2);
    add_row(t, "vote.all.pred", exec_vote<vote_all, true>, {0, 0, 4});
    add_row(t, "vote.any.pred", exec_vote<vote_any, true>, {0, 0, 4});
    add_row(t, "vote.uni.pred", exec_vote<vote_uniform, true>, {0, 0, 4});
    add_row(t, "vote.ballot.b32", exec_vote<vote_ballot, false>, {4, 0, 4});
    add_row(t, "match.any.b32", exec_match_any<uint32_t>, {4, 4, 4});
    add_row(t, "match.any.b64", exec_match_any<uint64_t>, {4, 8, 4});
    add_row(t, "match.all.b32", exec_match_all<uint32_t>, {4, 0, 4, 4}, 2);
    add_row(t, "match.all.b64", exec_match_all<uint64_t>, {4, 0, 8, 4}, 2);
    add_row(t, "redux.add.u32", exec_reduce<uint32_t, add<uint32_t>>, {4, 4, 4});
    add_row(t, "redux.add.s32", exec_reduce<int32_t, add<int32_t>>, {4, 4, 4});
    add_row(t, "redux.min.u32", exec_reduce<uint32_t, minimum<uint32_t>>, {4, 4, 4});
    add_row(t, "redux.min.s32", exec_reduce<int32_t, minimum<int32_t>>, {4, 4, 4});
    add_row(t, "redux.max.u32", exec_reduce<uint32_t, maximum<uint32_t>>, {4, 4, 4});
    add_row(t, "redux.max.s32", exec_reduce<int32_t, maximum<int32_t>>, {4, 4, 4});
    add_row(t, "redux.and.b32", exec_reduce<uint32_t, bit_and>, {4, 4, 4});
    add_row(t, "redux.or.b32", exec_reduce<uint32_t, bit_or>, {4, 4, 4});
    add_row(t, "redux.xor.b32", exec_reduce<uint32_t, bit_xor>, {4, 4, 4});
    add_row(t, "bar.warp", exec_warp_barrier, {4}, 0);
    add_row(t, "activemask.b32", exec_active_mask, {4});
}

} // namespace fakecuda
