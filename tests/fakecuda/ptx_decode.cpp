/* Decoding: registers, constants, operands, and instructions that one row of the table describes.
 * Instructions with a syntax of their own: ptx_decode_rules.cpp. */
#include "tests/fakecuda/ptx_decode.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>

namespace fakecuda
{

namespace
{

const std::map<std::string, Special> &special_names()
{
    static const std::map<std::string, Special> names = {
        {"%tid.x", Special::tid_x},
        {"%tid.y", Special::tid_y},
        {"%tid.z", Special::tid_z},
        {"%ntid.x", Special::ntid_x},
        {"%ntid.y", Special::ntid_y},
        {"%ntid.z", Special::ntid_z},
        {"%ctaid.x", Special::ctaid_x},
        {"%ctaid.y", Special::ctaid_y},
        {"%ctaid.z", Special::ctaid_z},
        {"%nctaid.x", Special::nctaid_x},
        {"%nctaid.y", Special::nctaid_y},
        {"%nctaid.z", Special::nctaid_z},
        {"%laneid", Special::laneid},
        {"%warpid", Special::warpid},
        {"%nwarpid", Special::nwarpid},
        {"%smid", Special::smid},
        {"%nsmid", Special::nsmid},
        {"%lanemask_eq", Special::lanemask_eq},
        {"%lanemask_lt", Special::lanemask_lt},
        {"%lanemask_le", Special::lanemask_le},
        {"%lanemask_gt", Special::lanemask_gt},
        {"%lanemask_ge", Special::lanemask_ge},
        {"%dynamic_smem_size", Special::dynamic_smem_size},
        {"%total_smem_size", Special::total_smem_size},
    };
    return names;
}

/* Parts of a name that do not change what is computed here: rounding to nearest is the only
 * rounding, approximations are exact, and what is synchronous is so by its base name. */
bool is_silent(const std::string &part)
{
    static const char *const silent[] = {"ftz",  "rn",  "approx",  "full",
                                         "sync", "uni", "aligned", "noftz"};

    return std::find(std::begin(silent), std::end(silent), part) != std::end(silent);
}

} // namespace

std::string trimmed(const std::string &text)
{
    const char *blank = " \t\r\n";
    size_t from = text.find_first_not_of(blank);

    return from == std::string::npos ? std::string()
                                     : text.substr(from, text.find_last_not_of(blank) - from + 1);
}

std::vector<std::string> split(const std::string &text, char separator)
{
    std::vector<std::string> parts;
    size_t from = 0;

    for (size_t at; (at = text.find(separator, from)) != std::string::npos; from = at + 1)
        parts.push_back(text.substr(from, at - from));
    parts.push_back(text.substr(from));
    return parts;
}

std::vector<std::string> split_operands(const std::string &text)
{
    std::vector<std::string> operands;
    std::string current;
    int depth = 0;

    for (char c : text) {
        depth += c == '{' || c == '[' || c == '(';
        depth -= c == '}' || c == ']' || c == ')';
        if (c == ',' && depth == 0) {
            operands.push_back(trimmed(current));
            current.clear();
        } else {
            current += c;
        }
    }
    if (!trimmed(current).empty())
        operands.push_back(trimmed(current));
    return operands;
}

bool parse_literal(const std::string &text, uint8_t bytes, uint64_t *bits)
{
    const bool negative = !text.empty() && text[0] == '-';
    const std::string number = negative ? text.substr(1) : text;
    char *end = nullptr;

    if (number.empty() || !isdigit(static_cast<unsigned char>(number[0])))
        return false;
    if (number.size() > 2 && strchr("fFdD", number[1]) && number[0] == '0') {
        *bits = strtoull(number.c_str() + 2, &end, 16);
        return *end == 0;
    }
    if (number.find('.') != std::string::npos) {
        const double value = strtod(text.c_str(), &end);
        const float narrow = float(value);

        *bits = 0;
        memcpy(bits, bytes == 8 ? static_cast<const void *>(&value) : &narrow, bytes == 8 ? 8 : 4);
        return *end == 0;
    }
    *bits = strtoull(number.c_str(), &end, 0);
    if (*end == 'U')
        end++;
    if (negative)
        *bits = ~*bits + 1;
    return *end == 0;
}

uint8_t type_bytes(const std::string &type)
{
    static const std::map<std::string, uint8_t> sizes = {
        {"b8", 1},     {"u8", 1},  {"s8", 1},  {"b16", 2}, {"u16", 2}, {"s16", 2},  {"f16", 2},
        {"bf16", 2},   {"b32", 4}, {"u32", 4}, {"s32", 4}, {"f32", 4}, {"tf32", 4}, {"f16x2", 4},
        {"bf16x2", 4}, {"b64", 8}, {"u64", 8}, {"s64", 8}, {"f64", 8}};
    auto found = sizes.find(type);

    return found == sizes.end() ? 0 : found->second;
}

const OpTable &op_table()
{
    static const OpTable table = [] {
        OpTable t;

        add_integer_rows(t);
        add_float_rows(t);
        add_half_rows(t);
        add_convert_rows(t);
        add_compare_rows(t);
        add_warp_rows(t);
        add_tensor_rows(t);
        return t;
    }();
    return table;
}

bool Decoder::Name::has(const char *part) const
{
    return std::find(parts.begin(), parts.end(), part) != parts.end();
}

Decoder::Decoder(Program &program, std::map<std::string, Symbol> symbols)
    : program_(program), symbols_(std::move(symbols))
{
    open_scope();
    location({0, 0, 0});
    program_.carry = allocate(0).offset;
}

void Decoder::unknown(const std::string &why) const
{
    throw Report{"unknown instruction", text_ + (why.empty() ? "" : " (" + why + ")"), ""};
}

void Decoder::open_scope()
{
    scopes_.emplace_back();
}

void Decoder::close_scope()
{
    scopes_.pop_back();
}

Register Decoder::allocate(uint8_t bytes)
{
    const Register result{program_.register_file_bytes, bytes};

    /* A predicate takes as much as a register of bytes, so that all stay aligned. */
    program_.register_file_bytes += uint32_t(LANES) * std::max(bytes, uint8_t(1));
    return result;
}

void Decoder::declare(const std::string &text)
{
    /* ".reg .b32 %r<5>", ".reg .b32 a, b", ".param .b64 param0" */
    const size_t dot = text.find('.', 1), name_at = text.find_first_of(" \t", dot);
    const std::string type = text.substr(dot + 1, name_at - dot - 1);
    const uint8_t bytes = type_bytes(type);

    text_ = text;
    if (name_at == std::string::npos || (bytes == 0 && type != "pred"))
        unknown("type of register");
    for (const std::string &name : split_operands(text.substr(name_at))) {
        const size_t range = name.find('<');

        if (range == std::string::npos) {
            scopes_.back().names[name] = allocate(bytes);
            continue;
        }

        const uint32_t count = uint32_t(std::stoul(name.substr(range + 1)));
        const Register first = allocate(bytes);

        program_.register_file_bytes = first.offset + count * LANES * std::max(bytes, uint8_t(1));
        scopes_.back().ranges[name.substr(0, range)] = {first, count};
    }
}

bool Decoder::find_register(const std::string &name, Register *found) const
{
    const size_t digits = name.find_last_not_of("0123456789") + 1;
    const std::string prefix = name.substr(0, digits);

    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
        auto exact = scope->names.find(name);
        auto range = digits < name.size() ? scope->ranges.find(prefix) : scope->ranges.end();

        if (exact != scope->names.end()) {
            *found = exact->second;
            return true;
        }
        if (range == scope->ranges.end())
            continue;

        const uint32_t number = uint32_t(std::stoul(name.substr(digits)));

        if (number >= range->second.second)
            continue;
        *found = range->second.first;
        found->offset += number * LANES * std::max(found->bytes, uint8_t(1));
        return true;
    }
    return false;
}

uint32_t Decoder::constant(uint8_t bytes, uint64_t value)
{
    const uint64_t kept = bytes == 0   ? value != 0
                          : bytes == 8 ? value
                                       : value & ((1ull << (8 * bytes)) - 1);
    auto [place, added] = constants_.try_emplace({bytes, kept}, 0);

    if (added) {
        place->second = allocate(bytes).offset;
        program_.constants.push_back({place->second, bytes, kept});
    }
    return place->second;
}

bool Decoder::find_special(const std::string &name, Register *found)
{
    auto special = special_names().find(name);

    if (special == special_names().end())
        return false;

    auto [place, added] = specials_.try_emplace(uint8_t(special->second));

    if (added) {
        place->second = allocate(4);
        program_.specials.push_back({special->second, place->second.offset});
    }
    *found = place->second;
    return true;
}

/* A register that holds a value between the micro-operations of one instruction. */
uint32_t Decoder::temporary(uint8_t bytes)
{
    std::vector<uint32_t> &pool = temporaries_[bytes];
    size_t &used = temporaries_used_[bytes];

    if (used == pool.size())
        pool.push_back(allocate(bytes).offset);
    return pool[used++];
}

/* "name", "name+16" */
bool Decoder::find_symbol(const std::string &text, Symbol *found) const
{
    const size_t plus = text.find('+');
    auto symbol = symbols_.find(trimmed(text.substr(0, plus)));
    uint64_t add = 0;

    if (symbol == symbols_.end())
        return false;
    if (plus != std::string::npos && !parse_literal(trimmed(text.substr(plus + 1)), 8, &add))
        return false;
    *found = symbol->second;
    found->address += add;
    return true;
}

uint32_t Decoder::source(const std::string &text, uint8_t bytes)
{
    Register found;
    Symbol symbol;
    uint64_t bits;

    if (bytes == 0 && text[0] == '!') {
        const uint32_t inverse = temporary(0);

        emit_row("not.pred", {inverse, source(trimmed(text.substr(1)), 0)});
        return inverse;
    }
    if (find_register(text, &found) || find_special(text, &found)) {
        if (found.bytes != bytes)
            unknown("width of operand " + text);
        return found.offset;
    }
    if (parse_literal(text, bytes, &bits))
        return constant(bytes, bits);
    if (find_symbol(text, &symbol))
        return constant(bytes, symbol.address);
    unknown("operand " + text);
}

uint32_t Decoder::destination(const std::string &text, uint8_t bytes)
{
    Register found;

    if (text == "_")
        return temporary(bytes);
    if (!find_register(text, &found))
        unknown("operand " + text);
    if (found.bytes != bytes)
        unknown("width of operand " + text);
    return found.offset;
}

Register Decoder::any_register(const std::string &text) const
{
    Register found;

    if (!find_register(text, &found))
        unknown("operand " + text);
    return found;
}

/* "{a, b}" or "a" */
Decoder::Operands Decoder::vector_elements(const std::string &text) const
{
    return text[0] == '{' ? split_operands(text.substr(1, text.size() - 2)) : Operands{text};
}

Inst &Decoder::append(const Inst &inst)
{
    program_.code.push_back(inst);
    program_.code.back().source = uint32_t(program_.sources.size() - 1);
    return program_.code.back();
}

Inst &Decoder::emit(Exec exec)
{
    Inst inst;

    inst.exec = exec;
    return append(inst);
}

Inst &Decoder::emit_row(const std::string &key, std::initializer_list<uint32_t> operands)
{
    auto row = op_table().find(key);

    if (row == op_table().end())
        unknown("");

    Inst &inst = emit(row->second.exec);

    std::copy(operands.begin(), operands.end(), inst.op);
    return inst;
}

/* An instruction that its row describes: a result and sources of fixed widths. */
bool Decoder::by_row(const std::string &key, const Operands &operands)
{
    auto found = op_table().find(key);
    uint32_t offsets[MAX_OPERANDS];
    Operands all = operands;

    if (found == op_table().end())
        return false;

    const OpRow &row = found->second;

    if (row.results == 2) { /* d|p, or d alone */
        const size_t bar = all[0].find('|');

        all.insert(all.begin() + 1,
                   bar == std::string::npos ? "_" : trimmed(all[0].substr(bar + 1)));
        all[0] = trimmed(all[0].substr(0, bar));
    }
    if (all.size() != row.operands)
        unknown("number of operands");
    for (size_t i = 0; i < all.size(); i++)
        offsets[i] =
            i < row.results ? destination(all[i], row.width[i]) : source(all[i], row.width[i]);

    Inst &inst = emit(row.exec);

    std::copy(offsets, offsets + all.size(), inst.op);
    inst.imm = program_.carry; /* read by carry chains only */
    return true;
}

void Decoder::label(const std::string &name)
{
    labels_[name] = uint32_t(program_.code.size());
}

void Decoder::branch_targets(const std::string &table, const std::string &targets)
{
    tables_[table] = uint32_t(table_labels_.size());
    table_labels_.emplace_back(table, split_operands(targets));
}

void Decoder::location(const Location &location)
{
    locations.push_back(location);
}

void Decoder::instruction(const std::string &text)
{
    const size_t first = program_.code.size();
    std::string rest = text, guard;
    bool negated = false;

    text_ = text;
    temporaries_used_.clear();
    program_.sources.push_back({text, uint32_t(locations.size() - 1)});
    if (rest[0] == '@') {
        const size_t blank = rest.find_first_of(" \t");

        guard = rest.substr(1, blank - 1);
        rest = trimmed(rest.substr(blank));
        negated = guard[0] == '!';
        guard = negated ? guard.substr(1) : guard;
    }

    const size_t blank = std::min(rest.find_first_of(" \t{["), rest.size());
    Name name;

    name.full = rest.substr(0, blank);
    name.parts = split(name.full, '.');
    name.base = name.parts[0];
    name.parts.erase(name.parts.begin());

    const Operands operands = split_operands(rest.substr(blank));
    auto rule = rules().find(name.base);
    const bool warp_barrier = name.base == "bar" && name.has("warp");

    if (rule != rules().end() && !warp_barrier) {
        (this->*rule->second)(name, operands);
    } else {
        std::string key = name.base;

        for (const std::string &part : name.parts)
            if (!is_silent(part))
                key += "." + part;
        if (!by_row(key, operands))
            unknown("");
    }
    for (size_t i = first; i < program_.code.size(); i++) {
        Inst &inst = program_.code[i];

        inst.counted = i == first;
        if (!guard.empty()) {
            inst.guard = any_register(guard).offset;
            inst.guard_negated = negated;
        }
    }
}

void Decoder::finish()
{
    auto target = [this](const std::string &name) {
        auto found = labels_.find(name);

        text_ = "label " + name;
        if (found == labels_.end())
            unknown("no such label");
        return found->second;
    };

    text_ = "ret";
    program_.sources.push_back({"(end of the kernel)", uint32_t(locations.size() - 1)});
    emit(exec_exit);
    for (const auto &[table, labels] : table_labels_) {
        program_.branch_tables.emplace_back();
        for (const std::string &name : labels)
            program_.branch_tables.back().push_back(target(name));
    }
    for (const auto &[index, name] : jumps_) {
        Inst &inst = program_.code[index];
        auto table = tables_.find(name);

        inst.target = table != tables_.end() ? table->second : target(name);
    }
}

} // namespace fakecuda
