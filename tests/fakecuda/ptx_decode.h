/*
 * From the text of a kernel to its Insts. The parser (ptx_parse.cpp) cuts a module into statements
 * and variables; the decoder knows registers, symbols and labels of one kernel, and turns each
 * statement into one or more Insts by the rows of the op table. Private to the interpreter.
 */
#ifndef FAKECUDA_PTX_DECODE_H
#define FAKECUDA_PTX_DECODE_H

#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/fakecuda/ptx_program.h"

namespace fakecuda
{

/* Where a name leads: an address in a space. */
struct Symbol {
    Space space = Space::global;
    uint64_t address = 0;
};

struct Register {
    uint32_t offset = 0;
    uint8_t bytes = 0; /* 0: predicate */
};

/* `.loc`: file number, line, column. */
using Location = std::array<int, 3>;

/* Locations of a module's code. */
struct LineTable {
    std::map<int, std::string> files;
    std::map<Location, Location> inlined_at;

    /* "attn.cu:64 (inlined from ptx.cuh:12)" */
    std::string place(const Location &location) const;
};

std::string trimmed(const std::string &text);
std::vector<std::string> split(const std::string &text, char separator);
/* Operands: split at commas outside of brackets, braces and parentheses, trimmed. */
std::vector<std::string> split_operands(const std::string &text);
/* An integer literal or 0f/0d float, as bits; false: `text` is neither. */
bool parse_literal(const std::string &text, uint8_t bytes, uint64_t *bits);
/* Bytes of "u32", "f64", "bf16x2", ...; 0 if there is no such type ("pred" too). */
uint8_t type_bytes(const std::string &type);

class Decoder
{
  public:
    Decoder(Program &program, std::map<std::string, Symbol> symbols);

    void open_scope();
    void close_scope();
    /* `.reg .b32 %r<5>` or `.param .b64 param0`, without the semicolon. */
    void declare(const std::string &text);
    void label(const std::string &name);
    void branch_targets(const std::string &table, const std::string &targets);
    void location(const Location &location);
    /* Without the semicolon. Throws a Report for what the interpreter does not know. */
    void instruction(const std::string &text);
    /* Fills in branch targets; `locations` are those given to location(), by place index. */
    void finish();

    std::vector<Location> locations;

  private:
    struct Scope {
        std::map<std::string, Register> names;
        std::map<std::string, std::pair<Register, uint32_t>> ranges; /* %r<5>: first and count */
    };
    struct Name { /* an instruction's name, cut at its dots */
        std::string base, full;
        std::vector<std::string> parts; /* behind the base */
        bool has(const char *part) const;
    };
    struct Address {
        uint32_t reg = 0; /* its offset; a constant where the text names no register */
        uint8_t bytes = 8;
        int64_t add = 0;
        bool fixed = false; /* no register */
    };
    using Operands = std::vector<std::string>;
    using Rule = void (Decoder::*)(const Name &, const Operands &);

    static const std::map<std::string, Rule> &rules();

    [[noreturn]] void unknown(const std::string &why) const;
    Register allocate(uint8_t bytes);
    bool find_register(const std::string &name, Register *found) const;
    bool find_special(const std::string &name, Register *found);
    bool find_symbol(const std::string &text, Symbol *found) const;
    uint32_t constant(uint8_t bytes, uint64_t value);
    uint32_t temporary(uint8_t bytes);
    /* The register that holds an operand of this width; emits what is needed to get it there. */
    uint32_t source(const std::string &text, uint8_t bytes);
    uint32_t destination(const std::string &text, uint8_t bytes);
    Register any_register(const std::string &text) const;
    Operands vector_elements(const std::string &text) const;
    Address address(const std::string &text);

    /* The references hold until the next Inst. */
    Inst &append(const Inst &inst);
    Inst &emit(Exec exec);
    Inst &emit_row(const std::string &key, std::initializer_list<uint32_t> operands);
    bool by_row(const std::string &key, const Operands &operands);

    void rule_move(const Name &, const Operands &);
    void rule_convert(const Name &, const Operands &);
    void rule_convert_address(const Name &, const Operands &);
    void rule_set_predicate(const Name &, const Operands &);
    void rule_load(const Name &, const Operands &);
    void rule_store(const Name &, const Operands &);
    void rule_atomic(const Name &, const Operands &);
    void rule_async_copy(const Name &, const Operands &);
    void rule_load_matrix(const Name &, const Operands &);
    void rule_mma(const Name &, const Operands &);
    void rule_barrier(const Name &, const Operands &);
    void rule_branch(const Name &, const Operands &);
    void rule_branch_indexed(const Name &, const Operands &);
    void rule_call(const Name &, const Operands &);
    void rule_exit(const Name &, const Operands &);
    void rule_trap(const Name &, const Operands &);
    void rule_nothing(const Name &, const Operands &);

    uint32_t join(const Operands &elements, size_t first, size_t count, uint8_t bytes);
    void take_apart(const Operands &elements, uint32_t source, uint8_t bytes);
    uint32_t resized(uint32_t source, uint8_t from, const std::string &type);
    void set_pair(const std::string &comparison, const std::string &type, const Operands &);
    void memory_access(const Name &name, const std::string &registers, const std::string &where,
                       Exec exec);

    Program &program_;
    std::map<std::string, Symbol> symbols_;
    std::vector<Scope> scopes_;
    std::map<std::string, uint32_t> labels_;
    std::map<std::string, uint32_t> tables_;              /* branch tables, by name */
    std::vector<std::pair<uint32_t, std::string>> jumps_; /* Inst, label; brx: the table's name */
    std::vector<std::pair<std::string, Operands>> table_labels_;
    std::map<std::pair<uint8_t, uint64_t>, uint32_t> constants_;
    std::map<uint8_t, Register> specials_;
    std::string text_;                                     /* of the instruction being decoded */
    std::map<uint8_t, std::vector<uint32_t>> temporaries_; /* by bytes */
    std::map<uint8_t, size_t> temporaries_used_;           /* by this instruction */
};

} // namespace fakecuda

#endif
