/* Loads, stores and asynchronous copies. */
#include <algorithm>

#include "tests/fakecuda/ptx_block.h"
#include "tests/fakecuda/ptx_half.h"
#include "tests/fakecuda/ptx_statistics.h"

namespace fakecuda
{

void lane_addresses(Warp &warp, uint32_t offset, uint8_t bytes, int64_t add, uint64_t *addresses)
{
    const unsigned char *lanes = warp.reg(offset);

    /* A 32-bit address is one of the shared or local space, and wraps there. */
    if (bytes == 4)
        for (int i = 0; i < LANES; i++)
            addresses[i] = lane_get<uint32_t>(lanes, i) + uint32_t(add);
    else
        for (int i = 0; i < LANES; i++)
            addresses[i] = lane_get<uint64_t>(lanes, i) + uint64_t(add);
}

namespace
{

/* M is the element in memory, R the register it is loaded into, extended. */
template <class M, class R>
void load_register(Warp &warp, const Access &access, uint32_t element, unsigned char *destination)
{
    R result[LANES];

    if (access.contiguous && access.bytes == sizeof(M)) {
        for (int i = 0; i < LANES; i++)
            result[i] = R(lane_get<M>(access.pointer[0], i));
        memcpy(destination, result, sizeof result);
        return;
    }
    for (int i = 0; i < LANES; i++)
        if (has(warp.mask, i))
            lane_set(destination, i, R(lane_get<M>(access.pointer[i], int(element))));
}

template <class M, class R>
void store_register(Warp &warp, const Access &access, uint32_t element, const unsigned char *source)
{
    if (access.contiguous && access.bytes == sizeof(M)) {
        for (int i = 0; i < LANES; i++)
            lane_set(access.pointer[0], i, M(lane_get<R>(source, i)));
        return;
    }
    for (int i = 0; i < LANES; i++)
        if (has(warp.mask, i))
            lane_set(access.pointer[i], int(element), M(lane_get<R>(source, i)));
}

using LoadRegister = void (*)(Warp &, const Access &, uint32_t, unsigned char *);
using StoreRegister = void (*)(Warp &, const Access &, uint32_t, const unsigned char *);

int log2_of(uint32_t bytes)
{
    return __builtin_ctz(bytes);
}

/* [bytes in memory][bytes of the register], as powers of two; registers are not narrower. */
constexpr LoadRegister LOAD_UNSIGNED[4][4] = {
    {load_register<uint8_t, uint8_t>, load_register<uint8_t, uint16_t>,
     load_register<uint8_t, uint32_t>, load_register<uint8_t, uint64_t>},
    {nullptr, load_register<uint16_t, uint16_t>, load_register<uint16_t, uint32_t>,
     load_register<uint16_t, uint64_t>},
    {nullptr, nullptr, load_register<uint32_t, uint32_t>, load_register<uint32_t, uint64_t>},
    {nullptr, nullptr, nullptr, load_register<uint64_t, uint64_t>}};
constexpr LoadRegister LOAD_SIGNED[4][4] = {
    {load_register<int8_t, int8_t>, load_register<int8_t, int16_t>, load_register<int8_t, int32_t>,
     load_register<int8_t, int64_t>},
    {nullptr, load_register<int16_t, int16_t>, load_register<int16_t, int32_t>,
     load_register<int16_t, int64_t>},
    {nullptr, nullptr, load_register<int32_t, int32_t>, load_register<int32_t, int64_t>},
    {nullptr, nullptr, nullptr, load_register<int64_t, int64_t>}};
constexpr StoreRegister STORE[4][4] = {
    {store_register<uint8_t, uint8_t>, store_register<uint8_t, uint16_t>,
     store_register<uint8_t, uint32_t>, store_register<uint8_t, uint64_t>},
    {nullptr, store_register<uint16_t, uint16_t>, store_register<uint16_t, uint32_t>,
     store_register<uint16_t, uint64_t>},
    {nullptr, nullptr, store_register<uint32_t, uint32_t>, store_register<uint32_t, uint64_t>},
    {nullptr, nullptr, nullptr, store_register<uint64_t, uint64_t>}};

/* The last operand is the address, the ones before it the registers. */
void reach(Warp &warp, const Inst &inst, Touch touch, Access &access)
{
    access.touch = touch;
    access.bytes = access.alignment = uint32_t{inst.bytes} * inst.elements;
    lane_addresses(warp, inst.op[inst.elements], inst.address_bytes, inst.imm, access.address);
    check_access(warp, inst.space, access);
}

/* ld.param with a fixed address: the same for all lanes, and neither counted nor in doubt. */
bool is_fixed_param(const Warp &warp, const Inst &inst)
{
    return inst.space == Space::param && inst.flag != 0 &&
           uint64_t(inst.imm) + uint64_t{inst.bytes} * inst.elements <= warp.block->params.size();
}

} // namespace

void exec_load(Warp &warp, const Inst &inst)
{
    const LoadRegister(*table)[4] = inst.sign ? LOAD_SIGNED : LOAD_UNSIGNED;
    const LoadRegister load = table[log2_of(inst.bytes)][log2_of(inst.register_bytes)];
    Access access;

    if (is_fixed_param(warp, inst))
        std::fill(access.pointer, access.pointer + LANES, warp.block->params.data() + inst.imm);
    else
        reach(warp, inst, Touch::read, access);
    for (uint32_t e = 0; e < inst.elements; e++)
        load(warp, access, e, warp.reg(inst.op[e]));
}

void exec_store(Warp &warp, const Inst &inst)
{
    const StoreRegister store = STORE[log2_of(inst.bytes)][log2_of(inst.register_bytes)];
    Access access;

    reach(warp, inst, Touch::write, access);
    for (uint32_t e = 0; e < inst.elements; e++)
        store(warp, access, e, warp.reg(inst.op[e]));
}

/*
 * cp.async: the source is read and both ends are checked now, the bytes arrive at the wait of the
 * lane that issued it; until then they are garbage that nobody may read. Operands: shared address,
 * global address and, with inst.flag, how many bytes to read before filling up with zeros.
 */
void exec_async_copy(Warp &warp, const Inst &inst)
{
    const uint32_t all = warp.mask, bytes = inst.bytes;
    AsyncCopy copy{};
    Access source{};
    uint64_t shared[LANES];

    copy.inst = &inst;
    copy.lanes = all;
    copy.bytes = bytes;
    std::copy(warp.committed, warp.committed + LANES, copy.group);
    lane_addresses(warp, inst.op[0], inst.address_bytes, inst.imm, shared);
    lane_addresses(warp, inst.op[1], 8, inst.imm2, source.address);
    source.touch = Touch::read;
    source.alignment = bytes;
    for (uint32_t count = bytes; count > 0; count--) { /* lanes that read as many bytes together */
        warp.mask = 0;
        for (int i = 0; i < LANES; i++) {
            uint32_t wanted = inst.flag ? lane_get<uint32_t>(warp.reg(inst.op[2]), i) : bytes;

            if (has(all, i) && wanted > bytes)
                warp.fault(i, "cp.async", "source size %u is above the copy's %u bytes", wanted,
                           bytes);
            if (has(all, i) && wanted == count)
                warp.mask |= 1u << i;
        }
        if (warp.mask == 0)
            continue;
        source.bytes = count;
        check_access(warp, Space::global, source);
        for (int i = 0; i < LANES; i++)
            if (has(warp.mask, i))
                memcpy(copy.data[i], source.pointer[i], count);
    }
    warp.mask = all;
    for (int i = 0; i < LANES; i++) {
        if (!has(all, i))
            continue;
        copy.shared_offset[i] = shared_offset(warp, i, shared[i], bytes);
        stamp_shared(warp, i, Actor::lane, Touch::write, copy.shared_offset[i], bytes);
        warp.block->shared.mark_valid(copy.shared_offset[i], bytes, false);
        memset(warp.block->shared.at(copy.shared_offset[i]), 0xff, bytes);
    }
    count_shared(warp, all, copy.shared_offset, bytes);
    warp.copies.push_back(copy);
}

void exec_async_commit(Warp &warp, const Inst &)
{
    for (int i = 0; i < LANES; i++)
        warp.committed[i] += has(warp.mask, i);
}

/* inst.imm: so many of the lane's last groups may stay pending; -1: also what is not committed
 * must arrive. */
void exec_async_wait(Warp &warp, const Inst &inst)
{
    SharedMemory &shared = warp.block->shared;

    for (AsyncCopy &copy : warp.copies)
        for (int i = 0; i < LANES; i++) {
            int64_t behind = int64_t{warp.committed[i]} - copy.group[i]; /* 0: not committed */

            if (!has(warp.mask & copy.lanes, i) || behind <= inst.imm)
                continue;
            copy.lanes &= ~(1u << i);
            memcpy(shared.at(copy.shared_offset[i]), copy.data[i], copy.bytes);
            stamp_shared(warp, i, Actor::lane, Touch::write, copy.shared_offset[i], copy.bytes);
            shared.mark_valid(copy.shared_offset[i], copy.bytes, true);
        }
    warp.copies.erase(std::remove_if(warp.copies.begin(), warp.copies.end(),
                                     [](const AsyncCopy &copy) { return copy.lanes == 0; }),
                      warp.copies.end());
}

} // namespace fakecuda
