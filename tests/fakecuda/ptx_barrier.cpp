/*
 * Block barriers: bar.sync, bar.arrive and bar.red, with any of the 16 ids and with a thread count.
 * A barrier orders memory accesses between the warps that came to it.
 */
#include <algorithm>

#include "tests/fakecuda/ptx_run.h"

namespace fakecuda
{

namespace
{

uint32_t reduce(const Barrier &barrier, uint8_t flavour)
{
    switch (flavour) {
    case BARRIER_POPC:
        return barrier.ones;
    case BARRIER_AND:
        return barrier.ones == barrier.arrived;
    default:
        return barrier.ones != 0;
    }
}

/* bar.red gives every thread the count, or all or any of the predicates. */
void write_reduction(Warp &warp, int lane, const Barrier &barrier)
{
    const Inst &inst = *warp.lane_barrier[lane];
    const uint32_t result = reduce(barrier, inst.flag);

    if (inst.flag == BARRIER_POPC) {
        lane_set(warp.reg(inst.op[2]), lane, result);
    } else if (inst.flag == BARRIER_AND || inst.flag == BARRIER_OR) {
        warp.mask = 1u << lane;
        warp.set_predicate(inst.op[2], result ? ALL_LANES : 0);
    }
}

/* A warp must come to an aligned barrier by one instruction. */
void check_aligned(Warp &warp, uint32_t lanes)
{
    const Inst *first = nullptr;

    for (int i = 0; i < LANES; i++) {
        if (!has(lanes, i))
            continue;
        if (first && warp.lane_barrier[i] != first && first->sign) {
            warp.inst = warp.lane_barrier[i];
            warp.fault(i, "divergent barrier",
                       "lanes of one warp have come to two barrier instructions; the other is %s",
                       warp.block->program->sources[first->source].text.c_str());
        }
        first = warp.lane_barrier[i];
    }
}

/* What any of these warps did before now lies before what those that waited do next. */
void join_orders(Block &block, const Barrier &barrier)
{
    const size_t warps = block.warps.size();
    std::vector<uint32_t> joined(warps, 0);
    uint32_t waited = 0;

    for (size_t w = 0; w < warps; w++) {
        if (barrier.lanes_arrived[w] == 0)
            continue;
        next_interval(block.warps[w]);
        for (size_t v = 0; v < warps; v++)
            joined[v] = std::max(joined[v], block.warps[w].seen[v]);
    }
    for (size_t w = 0; w < warps; w++) {
        waited += uint32_t(__builtin_popcount(barrier.lanes_waiting[w]));
        if (barrier.lanes_waiting[w] != 0)
            block.warps[w].seen = joined;
    }
    if (waited == block.threads)
        block.full_interval = joined;
    else
        block.partial_barriers = true;
    for (Warp &warp : block.warps)
        update_settled(warp);
}

void complete(Block &block, Barrier &barrier)
{
    join_orders(block, barrier);
    for (size_t w = 0; w < block.warps.size(); w++) {
        Warp &warp = block.warps[w];
        const uint32_t lanes = barrier.lanes_waiting[w], mask = warp.mask;

        check_aligned(warp, lanes);
        for (int i = 0; i < LANES; i++)
            if (has(lanes, i))
                write_reduction(warp, i, barrier);
        warp.mask = mask;
        warp.at_barrier &= ~lanes;
        warp.running |= lanes;
    }
    barrier = Barrier();
}

uint32_t uniform_operand(Warp &warp, uint32_t offset, const char *what)
{
    const int first = __builtin_ctz(warp.mask);
    const uint32_t value = lane_get<uint32_t>(warp.reg(offset), first);

    for (int i = 0; i < LANES; i++)
        if (has(warp.mask, i) && lane_get<uint32_t>(warp.reg(offset), i) != value)
            warp.fault(i, "divergent barrier", "lanes %d and %d disagree on the %s", first, i,
                       what);
    return value;
}

/* Makes the barrier ready for its first lanes; others must want the same number of threads. */
Barrier &enter(Warp &warp, const Inst &inst)
{
    Block &block = *warp.block;
    const uint32_t id = uniform_operand(warp, inst.op[0], "barrier");
    const uint32_t count =
        inst.elements > 1 ? uniform_operand(warp, inst.op[1], "thread count") : block.threads;

    if (id >= BARRIERS)
        warp.fault(__builtin_ctz(warp.mask), "divergent barrier", "barrier %u of %d", id, BARRIERS);
    Barrier &barrier = block.barriers[id];
    if (barrier.expected == 0) {
        barrier.expected = count;
        barrier.lanes_waiting.assign(block.warps.size(), 0);
        barrier.lanes_arrived.assign(block.warps.size(), 0);
    }
    if (barrier.expected != count || (inst.elements > 1 && count % LANES != 0))
        warp.fault(__builtin_ctz(warp.mask), "divergent barrier",
                   "barrier %u for %u threads; others came for %u", id, count, barrier.expected);
    return barrier;
}

} // namespace

/* Operands: id; thread count, if inst.elements > 1; result and predicate of bar.red. inst.sign: the
 * aligned form. */
void exec_barrier(Warp &warp, const Inst &inst)
{
    Block &block = *warp.block;
    Barrier &barrier = enter(warp, inst);
    const uint32_t lanes = warp.mask;

    block.stats->barriers++;
    barrier.arrived += uint32_t(__builtin_popcount(lanes));
    barrier.lanes_arrived[warp.index] |= lanes;
    if (inst.flag >= BARRIER_POPC)
        barrier.ones += uint32_t(__builtin_popcount(warp.predicate(inst.op[3]) & lanes));
    if (barrier.arrived > barrier.expected)
        warp.fault(__builtin_ctz(lanes), "divergent barrier", "%u threads at a barrier for %u",
                   barrier.arrived, barrier.expected);
    if (inst.flag != BARRIER_ARRIVE) {
        barrier.lanes_waiting[warp.index] |= lanes;
        for (int i = 0; i < LANES; i++)
            if (has(lanes, i)) {
                warp.lane_barrier[i] = &inst;
                warp.lane_pc[i] = warp.pc;
            }
        warp.at_barrier |= lanes;
        warp.running &= ~lanes;
        warp.group &= ~lanes;
        if (warp.group == 0)
            warp.stop = 0;
    }
    if (barrier.arrived == barrier.expected)
        complete(block, barrier);
}

void reset_barriers(Block &block)
{
    for (Barrier &barrier : block.barriers)
        barrier = Barrier();
    block.partial_barriers = false;
    block.full_interval.assign(block.warps.size(), 1);
}

void fault_stuck(Block &block)
{
    for (Warp &warp : block.warps) {
        if (warp.at_barrier == 0)
            continue;

        const int lane = __builtin_ctz(warp.at_barrier);

        warp.inst = warp.lane_barrier[lane];
        for (const Barrier &barrier : block.barriers)
            if (barrier.expected != 0 && has(barrier.lanes_waiting[warp.index], lane))
                warp.fault(
                    lane, "divergent barrier",
                    "%u of %u threads wait here; %u of the block's %u have returned, %u wait "
                    "at other barriers",
                    barrier.arrived, barrier.expected, block.exited, block.threads,
                    block.threads - block.exited - barrier.arrived);
    }
    block.warps[0].fault(0, "divergent barrier", "no thread can run");
}

} // namespace fakecuda
