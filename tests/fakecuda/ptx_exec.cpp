/*
 * The warp loop and control flow. In a warp the lanes with the lowest pc run together until they
 * branch apart, reach a lane that waits further down, or wait themselves; nvcc's layout of the code
 * makes that reconverge.
 */
#include <algorithm>
#include <cstdarg>

#include "tests/fakecuda/ptx_block.h"
#include "tests/fakecuda/ptx_run.h"

namespace fakecuda
{

namespace
{

/* The text that a kernel's pointer leads to, for assertions; only from the module's constants. */
std::string device_text(uint64_t address)
{
    Allocation *hit = memory().find(address);
    std::string text;

    for (; hit && hit->holds(address, 1); address++) {
        char c = *reinterpret_cast<const char *>(address);

        if (c == 0)
            break;
        text += c;
    }
    return text;
}

Dim thread_of(const Warp &warp, int lane)
{
    const Dim &block = warp.block->launch->block;
    const uint32_t linear = warp.index * LANES + uint32_t(lane);

    return Dim{linear % block.x, linear / block.x % block.y, linear / block.x / block.y};
}

/* Lanes of warp.mask leave the running group and go on elsewhere. */
void leave_group(Warp &warp, uint32_t lanes, uint32_t pc)
{
    for (int i = 0; i < LANES; i++)
        if (has(lanes, i))
            warp.lane_pc[i] = pc;
    warp.group &= ~lanes;
    if (warp.group == 0)
        warp.stop = 0;
}

/* The running lanes with the lowest pc become the group. */
bool pick_group(Warp &warp)
{
    uint32_t lowest = UINT32_MAX, next = UINT32_MAX;

    for (int i = 0; i < LANES; i++)
        if (has(warp.running, i))
            lowest = std::min(lowest, warp.lane_pc[i]);
    warp.group = 0;
    for (int i = 0; i < LANES; i++) {
        if (!has(warp.running, i))
            continue;
        if (warp.lane_pc[i] == lowest)
            warp.group |= 1u << i;
        else
            next = std::min(next, warp.lane_pc[i]);
    }
    warp.pc = lowest;
    warp.stop = next;
    return warp.group != 0;
}

[[noreturn]] void fault_waiting(Warp &warp)
{
    const int lane = __builtin_ctz(warp.waiting);

    warp.inst = &warp.block->program->code[warp.lane_pc[lane]];
    warp.fault(lane, "warp mask",
               "lanes 0x%08x wait here for lanes of their mask that never come (0x%08x wait at a "
               "block barrier)",
               warp.waiting, warp.at_barrier);
}

} // namespace

void Warp::fault(int lane, const char *kind, const char *format, ...)
{
    const Source &source = block->program->sources[inst->source];
    const Dim thread = thread_of(*this, lane);
    char text[512], where[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(where, sizeof where, ", block (%u,%u,%u), thread (%u,%u,%u), at ", block->index.x,
             block->index.y, block->index.z, thread.x, thread.y, thread.z);
    throw Report{kind, text,
                 "kernel " + block->kernel->display_name + where +
                     block->program->places[source.place] + ": " + source.text};
}

void run_warp(Warp &warp)
{
    const Inst *code = warp.block->program->code.data();

    while (pick_group(warp)) {
        do {
            const Inst &inst = code[warp.pc++];

            warp.inst = &inst;
            warp.executed += inst.counted;
            warp.mask = warp.group;
            if (inst.guard != NO_GUARD) {
                uint32_t holds = warp.predicate(inst.guard);

                warp.mask &= inst.guard_negated ? ~holds : holds;
                if (warp.mask == 0)
                    continue;
            }
            inst.exec(warp, inst);
        } while (warp.pc < warp.stop);
        leave_group(warp, warp.group, warp.pc);
    }
    if (warp.waiting != 0)
        fault_waiting(warp);
}

bool gather(Warp &warp, const uint32_t *member_masks)
{
    const uint32_t here_pc = warp.pc - 1;
    uint32_t here = warp.mask, late = 0, differ = warp.waiting;

    for (int i = 0; i < LANES; i++)
        differ |= has(warp.mask, i) ? member_masks[i] ^ warp.mask : 0;
    if (differ == 0) /* the usual case: all are here, named by one mask */
        return true;
    for (int i = 0; i < LANES; i++)
        if (has(warp.waiting, i) && warp.lane_pc[i] == here_pc)
            here |= 1u << i;
    for (int i = 0; i < LANES; i++) {
        const uint32_t members = member_masks[i];

        if (!has(here, i))
            continue;
        if (!has(members, i))
            warp.fault(i, "warp mask", "lane %d is not in its own mask 0x%08x", i, members);
        if (members & ~warp.existing)
            warp.fault(i, "warp mask",
                       "mask 0x%08x names lanes the block does not have; it has 0x%08x", members,
                       warp.existing);
        if (members & warp.exited)
            warp.fault(i, "warp mask", "mask 0x%08x names lanes 0x%08x, which have returned",
                       members, members & warp.exited);
        if (members & ~here)
            late |= 1u << i;
        for (int j = 0; j < LANES; j++)
            if (has(members & here, j) && member_masks[j] != members)
                warp.fault(i, "warp mask", "lanes %d and %d disagree: masks 0x%08x and 0x%08x", i,
                           j, members, member_masks[j]);
    }
    const uint32_t ready = here & ~late;
    warp.waiting = (warp.waiting & ~ready) | late;
    warp.running = (warp.running | ready) & ~late;
    warp.group |= ready;
    leave_group(warp, late, here_pc);
    warp.mask = ready;
    return ready != 0;
}

bool gather_all(Warp &warp)
{
    uint32_t masks[LANES];

    if (warp.mask == ALL_LANES)
        return true;
    std::fill(masks, masks + LANES, ALL_LANES);
    return gather(warp, masks);
}

void exec_branch(Warp &warp, const Inst &inst)
{
    if (warp.executed > warp.limit)
        warp.fault(__builtin_ctz(warp.mask), "instruction budget",
                   "the launch has run more than %llu warp instructions",
                   static_cast<unsigned long long>(settings().instruction_budget));
    if (warp.mask == warp.group) {
        warp.pc = inst.target;
        return;
    }
    leave_group(warp, warp.mask, inst.target);
    leave_group(warp, warp.group, warp.pc);
}

/* brx.idx: every lane picks a target from the table. */
void exec_branch_indexed(Warp &warp, const Inst &inst)
{
    const std::vector<uint32_t> &targets = warp.block->program->branch_tables[inst.target];
    const uint32_t taken = warp.mask;

    for (int i = 0; i < LANES; i++) {
        if (!has(taken, i))
            continue;

        const uint32_t index = lane_get<uint32_t>(warp.reg(inst.op[0]), i);

        if (index >= targets.size())
            warp.fault(i, "branch table", "index %u of %zu targets", index, targets.size());
        leave_group(warp, 1u << i, targets[index]);
    }
    leave_group(warp, warp.group, warp.pc);
}

void exec_exit(Warp &warp, const Inst &)
{
    const uint32_t leaving = warp.mask;

    for (const AsyncCopy &copy : warp.copies)
        if (copy.lanes & leaving) {
            warp.inst = copy.inst;
            warp.fault(__builtin_ctz(copy.lanes & leaving), "cp.async",
                       "the thread returns before this copy was waited for");
        }
    warp.exited |= leaving;
    warp.running &= ~leaving;
    warp.block->exited += uint32_t(__builtin_popcount(leaving));
    leave_group(warp, leaving, warp.pc);
}

void exec_trap(Warp &warp, const Inst &)
{
    warp.fault(__builtin_ctz(warp.mask), "trap", "the kernel stopped itself");
}

/* Operands: message, file, line, function. */
void exec_assert(Warp &warp, const Inst &inst)
{
    const int lane = __builtin_ctz(warp.mask);

    warp.fault(lane, "assertion", "%s:%u: %s: %s",
               device_text(lane_get<uint64_t>(warp.reg(inst.op[1]), lane)).c_str(),
               lane_get<uint32_t>(warp.reg(inst.op[2]), lane),
               device_text(lane_get<uint64_t>(warp.reg(inst.op[3]), lane)).c_str(),
               device_text(lane_get<uint64_t>(warp.reg(inst.op[0]), lane)).c_str());
}

void exec_nothing(Warp &, const Inst &)
{
}

/* The warp's instructions so far; inst.imm is the width of the result. */
void exec_clock(Warp &warp, const Inst &inst)
{
    for (int i = 0; i < LANES; i++) {
        if (has(warp.mask, i) && inst.imm == 8)
            lane_set(warp.reg(inst.op[0]), i, warp.executed);
        else if (has(warp.mask, i))
            lane_set(warp.reg(inst.op[0]), i, uint32_t(warp.executed));
    }
}

} // namespace fakecuda
