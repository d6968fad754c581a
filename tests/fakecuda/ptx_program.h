/*
 * A decoded kernel and the table that decodes it: one row per instruction form. Private to the
 * interpreter.
 *
 * A register of a warp is 32 lanes side by side, of the width it was declared with; a predicate is
 * one 32-bit mask. Constants and special registers are registers that are filled before a block
 * starts, so every operand is one offset into the warp's register file. An instruction that does
 * two things becomes several Insts (micro-operations); only the first is counted.
 */
#ifndef FAKECUDA_PTX_PROGRAM_H
#define FAKECUDA_PTX_PROGRAM_H

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/fakecuda/ptx.h"

namespace fakecuda
{

struct Warp;
struct Inst;
using Exec = void (*)(Warp &, const Inst &);

constexpr int LANES = 32;
constexpr uint32_t ALL_LANES = 0xffffffffu;
constexpr uint32_t NO_GUARD = ~0u;
constexpr int MAX_OPERANDS = 14; /* mma.m16n8k16: 4 + 4 + 2 + 4 */

/* Where the address spaces lie in the 64-bit space; global addresses are the host's. Shared
 * addresses start above zero so that a null pointer is no shared address. */
constexpr uint64_t SHARED_WINDOW = 1ull << 60;
constexpr uint64_t LOCAL_WINDOW = 2ull << 60;
constexpr uint64_t PARAM_WINDOW = 3ull << 60;
constexpr uint64_t WINDOW_SIZE = 1ull << 32;
constexpr uint32_t SHARED_BASE = 1024;
constexpr uint32_t LOCAL_BASE = 1024;

enum class Space : uint8_t { generic, global, shared, local, param, constant };

struct Inst {
    Exec exec = nullptr;
    uint32_t guard = NO_GUARD; /* predicate register */
    bool guard_negated = false;
    uint8_t counted = 1; /* 0: a later micro-operation of its instruction */
    Space space = Space::generic;
    uint8_t bytes = 0;          /* of one memory element */
    uint8_t elements = 1;       /* 1, 2, 4: vector loads and stores */
    uint8_t register_bytes = 0; /* of the loaded or stored registers */
    uint8_t address_bytes = 8;  /* of the address register */
    bool sign = false;          /* loads narrower than their register extend the sign */
    uint8_t flag = 0;           /* meaning by instruction */
    uint32_t op[MAX_OPERANDS] = {};
    int64_t imm = 0;     /* added to an address; or by instruction */
    int64_t imm2 = 0;    /* cp.async: added to the global address */
    uint32_t target = 0; /* branch: index of the instruction; brx: of the table */
    uint32_t source = 0; /* index into Program::sources */
};

struct Source {
    std::string text;
    uint32_t place = 0; /* index into Program::places */
};

/* A run of 32 lanes that is filled once per launch (constants) or block (special registers). */
struct Constant {
    uint32_t offset;
    uint8_t bytes;
    uint64_t value;
};

enum class Special : uint8_t {
    tid_x,
    tid_y,
    tid_z,
    ntid_x,
    ntid_y,
    ntid_z,
    ctaid_x,
    ctaid_y,
    ctaid_z,
    nctaid_x,
    nctaid_y,
    nctaid_z,
    laneid,
    warpid,
    nwarpid,
    smid,
    nsmid,
    lanemask_eq,
    lanemask_lt,
    lanemask_le,
    lanemask_gt,
    lanemask_ge,
    dynamic_smem_size,
    total_smem_size
};

struct SpecialUse {
    Special which;
    uint32_t offset; /* of a 32-bit register */
};

struct Program {
    std::vector<Inst> code;
    std::vector<Source> sources;
    std::vector<std::string> places; /* "file:line" */
    std::vector<std::vector<uint32_t>> branch_tables;
    std::vector<Constant> constants;
    std::vector<SpecialUse> specials;
    uint32_t register_file_bytes = 0;
    uint32_t carry = 0; /* offset of the predicate that add.cc sets */
};

/* What the decoder must know of an instruction form: how wide its operands are, in bytes; 0 is a
 * predicate. The first is the result. */
struct OpRow {
    Exec exec = nullptr;
    uint8_t operands = 0;
    uint8_t width[MAX_OPERANDS] = {};
    uint8_t results = 1; /* 2: d|p, where p may be missing */
};

/* Keys are instruction names without the parts that change nothing here, see normal_name(). */
using OpTable = std::unordered_map<std::string, OpRow>;

const OpTable &op_table();
/* Each topic adds its rows. */
void add_integer_rows(OpTable &table);
void add_float_rows(OpTable &table);
void add_half_rows(OpTable &table);
void add_convert_rows(OpTable &table);
void add_compare_rows(OpTable &table);
void add_warp_rows(OpTable &table);
void add_tensor_rows(OpTable &table);

/* Instructions with a syntax of their own. */
void exec_branch(Warp &warp, const Inst &inst);
void exec_branch_indexed(Warp &warp, const Inst &inst);
void exec_exit(Warp &warp, const Inst &inst);
void exec_trap(Warp &warp, const Inst &inst);
void exec_assert(Warp &warp, const Inst &inst);
void exec_nothing(Warp &warp, const Inst &inst);
void exec_clock(Warp &warp, const Inst &inst);
void exec_barrier(Warp &warp, const Inst &inst);
void exec_load(Warp &warp, const Inst &inst);
void exec_store(Warp &warp, const Inst &inst);
void exec_load_matrix(Warp &warp, const Inst &inst);
void exec_async_copy(Warp &warp, const Inst &inst);
void exec_async_commit(Warp &warp, const Inst &inst);
void exec_async_wait(Warp &warp, const Inst &inst);
/* nullptr: no such form. `operation`: "add", "cas", ...; `type`: "u32", "f32", ... */
Exec atomic_exec(const std::string &operation, const std::string &type);

/* Barrier flavours in Inst::flag. */
enum : uint8_t { BARRIER_SYNC, BARRIER_ARRIVE, BARRIER_POPC, BARRIER_AND, BARRIER_OR };

} // namespace fakecuda

#endif
