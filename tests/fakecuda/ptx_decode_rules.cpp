/* Decoding of the instructions that have a syntax of their own. See ptx_decode.h. */
#include <algorithm>

#include "tests/fakecuda/ptx_decode.h"

namespace fakecuda
{

namespace
{

bool starts_with(const std::string &text, const char *prefix)
{
    return text.rfind(prefix, 0) == 0;
}

/* Qualifiers of memory instructions that change nothing here: caching, ordering, scope. */
bool is_memory_hint(const std::string &part)
{
    static const char *const hints[] = {"volatile", "relaxed", "acquire", "release", "acq_rel",
                                        "weak",     "gpu",     "cta",     "sys",     "cluster",
                                        "ca",       "cg",      "cs",      "lu",      "cv",
                                        "wb",       "wt",      "nc",      "noftz",   "unified"};

    return starts_with(part, "L1::") || starts_with(part, "L2::") ||
           std::find(std::begin(hints), std::end(hints), part) != std::end(hints);
}

bool parse_space(const std::string &part, Space *space)
{
    static const std::map<std::string, Space> spaces = {
        {"global", Space::global}, {"shared", Space::shared}, {"shared::cta", Space::shared},
        {"local", Space::local},   {"param", Space::param},   {"const", Space::constant}};
    auto found = spaces.find(part);

    if (found != spaces.end())
        *space = found->second;
    return found != spaces.end();
}

uint64_t window_of(Space space)
{
    return space == Space::shared  ? SHARED_WINDOW
           : space == Space::local ? LOCAL_WINDOW
           : space == Space::param ? PARAM_WINDOW
                                   : 0;
}

} // namespace

const std::map<std::string, Decoder::Rule> &Decoder::rules()
{
    static const std::map<std::string, Rule> rules = {
        {"mov", &Decoder::rule_move},
        {"cvt", &Decoder::rule_convert},
        {"cvta", &Decoder::rule_convert_address},
        {"setp", &Decoder::rule_set_predicate},
        {"ld", &Decoder::rule_load},
        {"ldu", &Decoder::rule_load},
        {"st", &Decoder::rule_store},
        {"atom", &Decoder::rule_atomic},
        {"red", &Decoder::rule_atomic},
        {"cp", &Decoder::rule_async_copy},
        {"ldmatrix", &Decoder::rule_load_matrix},
        {"mma", &Decoder::rule_mma},
        {"bar", &Decoder::rule_barrier},
        {"barrier", &Decoder::rule_barrier},
        {"bra", &Decoder::rule_branch},
        {"brx", &Decoder::rule_branch_indexed},
        {"call", &Decoder::rule_call},
        {"ret", &Decoder::rule_exit},
        {"exit", &Decoder::rule_exit},
        {"trap", &Decoder::rule_trap},
        {"membar", &Decoder::rule_nothing},
        {"fence", &Decoder::rule_nothing},
        {"prefetch", &Decoder::rule_nothing},
        {"prefetchu", &Decoder::rule_nothing},
        {"createpolicy", &Decoder::rule_nothing},
        {"nanosleep", &Decoder::rule_nothing},
        {"griddepcontrol", &Decoder::rule_nothing},
    };
    return rules;
}

/* "[%rd1+16]", "[symbol]", "[symbol+4]", "[1024]" */
Decoder::Address Decoder::address(const std::string &text)
{
    Address result;
    Register base;
    Symbol symbol;
    uint64_t add = 0;

    if (text.size() < 3 || text.front() != '[' || text.back() != ']')
        unknown("address " + text);

    const std::string inside = text.substr(1, text.size() - 2);
    const size_t plus = inside.find('+');
    const std::string first = trimmed(inside.substr(0, plus));

    if (plus != std::string::npos && !parse_literal(trimmed(inside.substr(plus + 1)), 8, &add))
        unknown("address " + text);
    if (find_register(first, &base)) {
        result.reg = base.offset;
        result.bytes = base.bytes;
        result.add = int64_t(add);
        return result;
    }
    if (find_symbol(first, &symbol))
        add += symbol.address;
    else if (uint64_t literal; parse_literal(first, 8, &literal))
        add += literal;
    else
        unknown("address " + text);
    result.reg = constant(8, 0);
    result.add = int64_t(add);
    result.fixed = true;
    return result;
}

/* Half of the elements side by side, and again, up to the whole. */
uint32_t Decoder::join(const Operands &elements, size_t first, size_t count, uint8_t bytes)
{
    if (count == 1)
        return source(elements[first], bytes);

    const uint8_t half = uint8_t(bytes / 2);
    const uint32_t low = join(elements, first, count / 2, half);
    const uint32_t high = join(elements, first + count / 2, count / 2, half);
    const uint32_t result = temporary(bytes);

    emit_row("join." + std::to_string(bytes), {result, low, high});
    return result;
}

void Decoder::take_apart(const Operands &elements, uint32_t from, uint8_t bytes)
{
    const uint8_t half = uint8_t(bytes / 2);
    const std::string width = std::to_string(bytes);
    const size_t count = elements.size() / 2;

    for (size_t part = 0; part < 2; part++) {
        const Operands these(elements.begin() + long(part * count),
                             elements.begin() + long((part + 1) * count));
        const uint32_t to = count == 1 ? destination(these[0], half) : temporary(half);

        emit_row((part ? "high." : "low.") + width, {to, from});
        if (count > 1)
            take_apart(these, to, half);
    }
}

void Decoder::rule_move(const Name &name, const Operands &operands)
{
    const std::string type = name.parts.back();
    const uint8_t bytes = type_bytes(type);

    if (operands.size() != 2)
        unknown("number of operands");
    if (operands[0][0] == '{') {
        take_apart(vector_elements(operands[0]), source(operands[1], bytes), bytes);
    } else if (operands[1][0] == '{') {
        const Operands elements = vector_elements(operands[1]);
        const uint32_t joined = join(elements, 0, elements.size(), bytes);

        emit_row("mov." + type, {destination(operands[0], bytes), joined});
    } else if (starts_with(operands[1], "%clock") || starts_with(operands[1], "%globaltimer")) {
        const uint32_t result = destination(operands[0], bytes);
        Inst &inst = emit(exec_clock);

        inst.op[0] = result;
        inst.imm = bytes;
    } else if (!by_row("mov." + type, operands)) {
        unknown("");
    }
}

/* A register of `from` bytes as one of the type's width: its low part, or extended by the sign of
 * the type. */
uint32_t Decoder::resized(uint32_t from_register, uint8_t from, const std::string &type)
{
    const uint8_t bytes = type_bytes(type);
    const uint32_t result = temporary(bytes);

    if (from == bytes)
        return from_register;
    emit_row("cvt.u" + std::to_string(8 * bytes) + ".u" + std::to_string(8 * from),
             {result, from_register});
    return result;
}

void Decoder::rule_convert(const Name &name, const Operands &operands)
{
    std::string key = "cvt", from = name.parts.back(), to = name.parts[name.parts.size() - 2];
    const bool from_float = from.find('f') != std::string::npos;
    const bool to_integer = to[0] == 's' || to[0] == 'u';
    Register found;

    for (const std::string &part : name.parts)
        if (part != "ftz" && !(part == "sat" && from_float && to_integer))
            key += "." + part;
    if (operands.size() != 2) { /* two or three sources: their widths are exact */
        if (!by_row(key, operands))
            unknown("");
        return;
    }
    /* Registers may be wider than the types. */
    uint32_t value = find_register(operands[1], &found) ? resized(found.offset, found.bytes, from)
                                                        : source(operands[1], type_bytes(from));
    const Register result = any_register(operands[0]);

    if (type_bytes(to) == 0 || result.bytes < type_bytes(to))
        unknown("");
    if (result.bytes == type_bytes(to)) {
        emit_row(key, {result.offset, value});
        return;
    }

    const uint32_t narrow = temporary(type_bytes(to));
    const std::string wide = (to[0] == 's' ? "s" : "u") + std::to_string(8 * result.bytes);

    emit_row(key, {narrow, value});
    emit_row("cvt." + wide + "." + (to_integer ? to : "u16"), {result.offset, narrow});
}

void Decoder::rule_convert_address(const Name &name, const Operands &operands)
{
    const bool to = name.has("to");
    Space space = Space::generic;

    for (const std::string &part : name.parts)
        parse_space(part, &space);
    if (space == Space::generic || operands.size() != 2 || name.parts.back() != "u64")
        unknown("");

    const uint64_t window = window_of(space);
    const uint32_t result = destination(operands[0], 8), from = source(operands[1], 8);

    emit_row(to ? "sub.u64" : "add.u64", {result, from, constant(8, window)});
}

/* setp on pairs of 16-bit floats sets a predicate for each. */
void Decoder::set_pair(const std::string &comparison, const std::string &type, const Operands &all)
{
    const size_t bar = all[0].find('|');
    const std::string half = type.substr(0, type.size() - 2); /* without "x2" */
    const uint32_t a = source(all[1], 4), b = source(all[2], 4);
    const uint32_t low = temporary(2), high = temporary(2);

    if (bar == std::string::npos || all.size() != 3)
        unknown("");
    for (const char *part : {"low.4", "high.4"}) {
        const bool first = part[0] == 'l';
        const std::string to = first ? all[0].substr(0, bar) : all[0].substr(bar + 1);

        emit_row(part, {low, a});
        emit_row(part, {high, b});
        emit_row("setp." + comparison + "." + half, {destination(to, 0), low, high});
    }
}

/* setp.lt.s32 p, a, b; setp.lt.and.s32 p|q, a, b, c */
void Decoder::rule_set_predicate(const Name &name, const Operands &operands)
{
    const std::string type = name.parts.back(), key = "setp." + name.parts[0] + "." + type;
    const uint8_t bytes = type_bytes(type);
    std::string logic;

    for (const char *each : {"and", "or", "xor"})
        if (name.has(each))
            logic = std::string(each) + ".pred";
    if (operands.size() != (logic.empty() ? 3u : 4u) || bytes == 0)
        unknown("");
    if (type.size() > 2 && type.substr(type.size() - 2) == "x2")
        return set_pair(name.parts[0], type, operands);

    const Operands to = split(operands[0], '|');
    const uint32_t a = source(operands[1], bytes), b = source(operands[2], bytes);

    if (to.size() == 1 && logic.empty()) {
        emit_row(key, {destination(to[0], 0), a, b});
        return;
    }

    const uint32_t holds = temporary(0), fails = temporary(0);
    const uint32_t c = logic.empty() ? constant(0, 1) : source(operands[3], 0);

    if (logic.empty())
        logic = "and.pred";
    emit_row(key, {holds, a, b});
    emit_row("not.pred", {fails, holds});
    if (to.size() > 1)
        emit_row(logic, {destination(to[1], 0), fails, c});
    emit_row(logic, {destination(to[0], 0), holds, c});
}

void Decoder::memory_access(const Name &name, const std::string &registers,
                            const std::string &where, Exec exec)
{
    const std::string type = name.parts.back();
    const Operands elements = vector_elements(registers);
    const Address at = address(where);
    Inst shape;

    shape.bytes = type_bytes(type);
    shape.sign = type[0] == 's';
    shape.elements = uint8_t(elements.size());
    shape.address_bytes = at.bytes;
    shape.imm = at.add;
    shape.flag = at.fixed;
    for (size_t i = 0; i + 1 < name.parts.size(); i++) {
        const std::string &part = name.parts[i];
        const bool vector = part == "v" + std::to_string(elements.size());

        if (!parse_space(part, &shape.space) && !is_memory_hint(part) && !vector)
            unknown("." + part);
    }
    if (shape.bytes == 0 || elements.size() > 4 || shape.bytes * elements.size() > 16)
        unknown("");
    for (const std::string &element : elements) {
        Register found;

        if (find_register(element, &found))
            shape.register_bytes = std::max(shape.register_bytes, found.bytes);
    }
    shape.register_bytes = std::max(shape.register_bytes, shape.bytes);
    for (size_t i = 0; i < elements.size(); i++)
        shape.op[i] = exec == exec_load ? destination(elements[i], shape.register_bytes)
                                        : source(elements[i], shape.register_bytes);
    shape.op[elements.size()] = at.reg;
    shape.exec = exec;
    append(shape);
}

void Decoder::rule_load(const Name &name, const Operands &operands)
{
    if (operands.size() < 2 || operands.size() > (name.has("L2::cache_hint") ? 3u : 2u))
        unknown("number of operands");
    memory_access(name, operands[0], operands[1], exec_load);
}

/* The parameters of a call are registers: st.param [param0], a is a move. */
void Decoder::rule_store(const Name &name, const Operands &operands)
{
    if (operands.size() < 2 || operands.size() > (name.has("L2::cache_hint") ? 3u : 2u))
        unknown("number of operands");
    if (!name.has("param"))
        return memory_access(name, operands[1], operands[0], exec_store);

    const std::string to = operands[0].substr(1, operands[0].find_first_of("+]") - 1);
    const std::string type = name.parts.back();

    emit_row("mov." + type,
             {destination(to, type_bytes(type)), source(operands[1], type_bytes(type))});
}

/* atom d, [a], b; atom.cas d, [a], b, c; red [a], b */
void Decoder::rule_atomic(const Name &name, const Operands &operands)
{
    const bool returns = name.base == "atom";
    const std::string type = name.parts.back();
    std::string operation;
    Inst shape;

    for (size_t i = 0; i + 1 < name.parts.size(); i++)
        if (!parse_space(name.parts[i], &shape.space) && !is_memory_hint(name.parts[i]))
            operation += name.parts[i];

    const size_t values = operands.size() - (returns ? 2 : 1);
    const Exec exec = atomic_exec(operation, type);

    if (!exec || operands.size() < 2 || values != (operation == "cas" ? 2u : 1u))
        unknown("");

    const Address at = address(operands[returns]);
    const uint8_t bytes = type_bytes(type);

    shape.exec = exec;
    shape.flag = returns && operands[0] != "_";
    shape.bytes = bytes;
    shape.elements = uint8_t(values);
    shape.address_bytes = at.bytes;
    shape.imm = at.add;
    shape.op[0] = shape.flag ? destination(operands[0], bytes) : 0;
    shape.op[1] = at.reg;
    for (size_t i = 0; i < values; i++)
        shape.op[2 + i] = source(operands[(returns ? 2 : 1) + i], bytes);
    append(shape);
}

void Decoder::rule_async_copy(const Name &name, const Operands &operands)
{
    if (name.parts.empty() || name.parts[0] != "async")
        unknown("");
    if (name.full == "cp.async.commit_group") {
        emit(exec_async_commit);
        return;
    }
    if (name.full == "cp.async.wait_all" || name.full == "cp.async.wait_group") {
        uint64_t groups = ~0ull; /* none, and what is not committed */

        if (name.full == "cp.async.wait_group" &&
            (operands.size() != 1 || !parse_literal(operands[0], 4, &groups)))
            unknown("");
        emit(exec_async_wait).imm = int64_t(groups);
        return;
    }

    const bool hint = name.has("L2::cache_hint");
    const size_t count = operands.size() - hint;
    uint64_t bytes = 0;

    for (const std::string &part : name.parts)
        if (part != "async" && part != "shared" && part != "shared::cta" && part != "global" &&
            !is_memory_hint(part))
            unknown("." + part);
    if (!name.has("global") || count < 3 || count > 4 || !parse_literal(operands[2], 4, &bytes) ||
        (bytes != 16 && (name.has("cg") || (bytes != 4 && bytes != 8))))
        unknown("");

    const Address to = address(operands[0]), from = address(operands[1]);
    const uint32_t wanted = count == 4 ? source(operands[3], 4) : 0;
    Inst &inst = emit(exec_async_copy);

    inst.bytes = uint8_t(bytes);
    inst.flag = count == 4;
    inst.address_bytes = to.bytes;
    inst.imm = to.add;
    inst.imm2 = from.add;
    inst.op[0] = to.reg;
    inst.op[1] = from.reg;
    inst.op[2] = wanted;
    if (from.bytes != 8)
        unknown("global address of 32 bits");
}

void Decoder::rule_load_matrix(const Name &name, const Operands &operands)
{
    const Operands elements = operands.size() == 2 ? vector_elements(operands[0]) : Operands();
    const std::string count = "x" + std::to_string(elements.size());

    if (elements.empty() || !name.has("m8n8") || !name.has("b16") || !name.has(count.c_str()) ||
        !(name.has("shared") || name.has("shared::cta")))
        unknown("");

    const Address at = address(operands[1]);
    Inst shape;

    for (size_t i = 0; i < elements.size(); i++)
        shape.op[i] = destination(elements[i], 4);
    shape.exec = exec_load_matrix;
    shape.op[elements.size()] = at.reg;
    shape.elements = uint8_t(elements.size());
    shape.address_bytes = at.bytes;
    shape.imm = at.add;
    shape.flag = name.has("trans");
    append(shape);
}

/* mma d, a, b, c: all vectors of 32-bit registers. */
void Decoder::rule_mma(const Name &name, const Operands &operands)
{
    std::string key = name.base;
    Operands all;
    uint32_t offsets[MAX_OPERANDS];

    for (const std::string &part : name.parts)
        if (part != "sync" && part != "aligned")
            key += "." + part;
    for (const std::string &operand : operands)
        for (const std::string &element : vector_elements(operand))
            all.push_back(element);

    auto row = op_table().find(key);

    if (row == op_table().end() || all.size() != row->second.operands)
        unknown("");
    for (size_t i = 0; i < all.size(); i++)
        offsets[i] = i < 4 ? destination(all[i], 4) : source(all[i], 4);

    Inst &inst = emit(row->second.exec);

    std::copy(offsets, offsets + all.size(), inst.op);
}

/* bar.sync a; bar.sync a, b; bar.arrive a, b; bar.red.popc.u32 d, a, p; barrier.sync a */
void Decoder::rule_barrier(const Name &name, const Operands &operands)
{
    static const std::map<std::string, uint8_t> flavours = {{"sync", BARRIER_SYNC},
                                                            {"arrive", BARRIER_ARRIVE},
                                                            {"popc", BARRIER_POPC},
                                                            {"and", BARRIER_AND},
                                                            {"or", BARRIER_OR}};
    Inst shape;
    bool known = false;

    for (const auto &[part, flavour] : flavours)
        if (name.has(part.c_str())) {
            shape.flag = flavour;
            known = true;
        }

    const bool reduces = shape.flag >= BARRIER_POPC;
    const size_t least = reduces ? 3 : 1, id = reduces ? 1 : 0;

    if (!known || operands.size() < least || operands.size() > least + 1 ||
        (shape.flag == BARRIER_ARRIVE && operands.size() != 2) || name.has("cluster"))
        unknown("");
    shape.exec = exec_barrier;
    shape.elements = operands.size() > least ? 2 : 1;
    shape.sign = name.base == "bar" || name.has("aligned");
    shape.op[0] = source(operands[id], 4);
    shape.op[1] = shape.elements > 1 ? source(operands[id + 1], 4) : 0;
    if (reduces) {
        shape.op[2] = destination(operands[0], shape.flag == BARRIER_POPC ? 4 : 0);
        shape.op[3] = source(operands.back(), 0);
    }
    append(shape);
}

void Decoder::rule_branch(const Name &, const Operands &operands)
{
    if (operands.size() != 1)
        unknown("");
    jumps_.emplace_back(uint32_t(program_.code.size()), operands[0]);
    emit(exec_branch);
}

void Decoder::rule_branch_indexed(const Name &, const Operands &operands)
{
    if (operands.size() != 2)
        unknown("");

    const uint32_t index = source(operands[0], 4);

    jumps_.emplace_back(uint32_t(program_.code.size()), operands[1]);
    emit(exec_branch_indexed).op[0] = index;
}

/* Only the call of a failed assertion is known: message, file, line, function, width of char. */
void Decoder::rule_call(const Name &, const Operands &operands)
{
    if (operands.size() != 2 || operands[0] != "__assertfail")
        unknown("a call; everything must be inlined, and printf is not supported");

    const Operands params = split_operands(operands[1].substr(1, operands[1].size() - 2));
    uint32_t offsets[4];

    if (params.size() != 5)
        unknown("");
    for (size_t i = 0; i < 4; i++)
        offsets[i] = source(params[i], i == 2 ? 4 : 8);
    std::copy(offsets, offsets + 4, emit(exec_assert).op);
}

void Decoder::rule_exit(const Name &, const Operands &)
{
    emit(exec_exit);
}

void Decoder::rule_trap(const Name &, const Operands &)
{
    emit(exec_trap);
}

void Decoder::rule_nothing(const Name &, const Operands &)
{
    emit(exec_nothing);
}

} // namespace fakecuda
