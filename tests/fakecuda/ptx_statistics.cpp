/*
 * How well a warp's accesses use the memory system: shared-memory waves against bank conflicts,
 * 32-byte sectors of global memory against scattered addresses.
 */
#include "tests/fakecuda/ptx_statistics.h"

#include <algorithm>

#include "tests/fakecuda/ptx_block.h"

namespace fakecuda
{

namespace
{

constexpr uint32_t BANKS = 32;
constexpr uint64_t SECTOR = 32;

/* Is there one word at most for each bank? */
bool is_free_of_conflicts(uint32_t mask, const uint32_t *offsets, uint32_t words)
{
    uint32_t word_of[BANKS], used = 0;

    for (uint32_t left = mask; left != 0; left &= left - 1)
        for (uint32_t k = 0; k < words; k++) {
            const uint32_t word = offsets[__builtin_ctz(left)] / 4 + k, bank = word % BANKS;

            if (has(used, int(bank)) && word_of[bank] != word)
                return false;
            word_of[bank] = word;
            used |= 1u << bank;
        }
    return true;
}

/* Waves of one pass: the most distinct words that fall into one bank. */
uint32_t waves_of(uint32_t mask, const uint32_t *offsets, uint32_t words)
{
    uint32_t seen[BANKS][LANES], count[BANKS] = {}, most = 0;

    for (uint32_t left = mask; left != 0; left &= left - 1)
        for (uint32_t k = 0; k < words; k++) {
            uint32_t word = offsets[__builtin_ctz(left)] / 4 + k, bank = word % BANKS, i = 0;

            while (i < count[bank] && seen[bank][i] != word)
                i++;
            if (i == count[bank])
                seen[bank][count[bank]++] = word;
            most = std::max(most, count[bank]);
        }
    return most;
}

uint64_t sectors_of(const uint64_t *sorted, size_t count, uint64_t *distinct)
{
    uint64_t sectors = 0, last_sector = ~0ull, last = ~0ull;

    *distinct = 0;
    for (size_t i = 0; i < count; i++) {
        sectors += sorted[i] / SECTOR != last_sector;
        *distinct += sorted[i] != last;
        last_sector = sorted[i] / SECTOR;
        last = sorted[i];
    }
    return sectors;
}

} // namespace

void count_shared(Warp &warp, uint32_t mask, const uint32_t *offsets, uint32_t bytes)
{
    /* A pass serves 32 lanes of up to 4 bytes, 16 of 8 or 8 of 16. */
    const uint32_t words = std::max(bytes / 4, 1u), lanes = LANES / words;
    KernelStats &stats = *warp.block->stats;

    for (uint32_t first = 0; first < LANES; first += lanes) {
        uint32_t pass = mask & (lanes == LANES ? ALL_LANES : ((1u << lanes) - 1) << first);

        if (pass == 0)
            continue;
        stats.shared_waves +=
            is_free_of_conflicts(pass, offsets, words) ? 1 : waves_of(pass, offsets, words);
        stats.shared_ideal++;
    }
}

void count_global(Warp &warp, const Access &access)
{
    KernelStats &stats = *warp.block->stats;
    const uint32_t lanes = uint32_t(__builtin_popcount(warp.mask));
    const uint64_t lane_bytes = uint64_t{lanes} * access.bytes;
    uint64_t sectors, distinct = LANES;

    if (access.contiguous) {
        uint64_t end = access.address[0] + lane_bytes - 1;

        sectors = end / SECTOR - access.address[0] / SECTOR + 1;
    } else {
        uint64_t sorted[LANES];
        size_t count = 0;

        for (int i = 0; i < LANES; i++)
            if (has(warp.mask, i))
                sorted[count++] = access.address[i];
        if (!std::is_sorted(sorted, sorted + count))
            std::sort(sorted, sorted + count);
        sectors = sectors_of(sorted, count, &distinct);
    }
    stats.global_sectors += sectors;
    stats.global_ideal += (distinct * access.bytes + SECTOR - 1) / SECTOR;
    (access.touch == Touch::read ? stats.bytes_read : stats.bytes_written) += lane_bytes;
    if (access.touch == Touch::update)
        stats.atomics += lanes;
}

} // namespace fakecuda
