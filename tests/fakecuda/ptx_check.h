/*
 * What every access to memory is asked: does it lie in one allocation, is it aligned, has the byte
 * been written, did another thread touch it with no barrier between. Private to the interpreter.
 *
 * Shared memory: a stamp for every 2 bytes says which thread wrote and which read them last, and
 * in which interval between two barriers or __syncwarp of its warp. Warp::seen says which intervals
 * of other warps lie behind a barrier. Global memory: a stamp for every 2 bytes says which block of
 * this launch wrote and which read them.
 */
#ifndef FAKECUDA_PTX_CHECK_H
#define FAKECUDA_PTX_CHECK_H

#include "tests/fakecuda/ptx_warp.h"

namespace fakecuda
{

class SharedMemory
{
  public:
    /* A block starts: everything unwritten and filled with 0xff, NaN in every float type. */
    void reset(size_t bytes);
    /* Forgets who touched what, when the interval counters start again. */
    void forget();

    size_t bytes() const
    {
        return data_.size();
    }
    unsigned char *at(uint32_t offset)
    {
        return data_.data() + offset;
    }

    void mark_valid(uint32_t offset, uint32_t bytes, bool valid);
    bool valid(uint32_t offset, uint32_t bytes) const
    {
        uint64_t flags[2] = {0x0101010101010101ull, 0x0101010101010101ull};

        memcpy(flags, valid_.data() + offset, bytes); /* at most 16: one access of a lane */
        return (flags[0] & flags[1]) == 0x0101010101010101ull;
    }

    uint32_t *writers()
    {
        return writers_.data();
    }
    uint32_t *readers()
    {
        return readers_.data();
    }

  private:
    std::vector<unsigned char> data_, valid_;
    std::vector<uint32_t> writers_, readers_; /* one for each 2 bytes */
};

/* Who reads or writes shared memory: a lane, or a whole warp (ldmatrix), or a lane whose accesses
 * do not conflict among themselves (atomics; single bytes, two of which share a stamp). */
enum class Actor { lane, warp, loose };

enum class Touch { read, write, update /* atomic */ };

/* One access of a warp. */
struct Access {
    Touch touch;
    uint32_t bytes; /* of each lane */
    uint32_t alignment;
    uint64_t address[LANES];
    unsigned char *pointer[LANES]; /* set by check_access */
    bool contiguous = false;       /* all lanes, one behind the other: set by check_access */
};

/* Checks the lanes in warp.mask, counts the access and finds the host memory of each lane. */
void check_access(Warp &warp, Space space, Access &access);

/* Register `offset` of the warp, 4 or 8 bytes wide, plus `add`, for every lane. */
void lane_addresses(Warp &warp, uint32_t offset, uint8_t bytes, int64_t add, uint64_t *addresses);

/* The parts of it that cp.async and ldmatrix use by themselves. */
uint32_t shared_offset(Warp &warp, int lane, uint64_t address, uint32_t bytes);
void stamp_shared(Warp &warp, int lane, Actor actor, Touch touch, uint32_t offset, uint32_t bytes);
void check_valid(Warp &warp, int lane, uint32_t offset, uint32_t bytes);

/* Global and constant memory; ptx_check_global.cpp. */
void check_global(Warp &warp, Access &access);

/* The interval of a warp ends: everything it did so far lies before what its lanes do now. */
void next_interval(Warp &warp);
/* After a change of `seen` or of the block's full_interval. */
void update_settled(Warp &warp);

} // namespace fakecuda

#endif
