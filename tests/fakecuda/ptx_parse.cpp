/*
 * A module's text: variables, kernels, line information. The statements of a kernel go to the
 * decoder one by one.
 */
#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <memory>

#include "tests/fakecuda/ptx_decode.h"

namespace fakecuda
{

class Module
{
  public:
    std::map<std::string, Kernel> kernels;
    std::vector<std::unique_ptr<Program>> programs;
    std::map<std::string, Variable> variables;
    std::vector<std::unique_ptr<unsigned char[]>> memory_of_variables;

    ~Module()
    {
        for (auto &entry : variables)
            memory().remove(entry.second.address);
    }
};

namespace
{

[[noreturn]] void syntax_fault(const std::string &what)
{
    throw Report{"PTX syntax", what, ""};
}

size_t round_up(size_t value, size_t to)
{
    return (value + to - 1) / to * to;
}

/* Cuts text into statements; comments are blanks. */
class Reader
{
  public:
    Reader(const char *text, size_t bytes) : text_(text, strnlen(text, bytes))
    {
        blank_comments();
    }

    /* The next character that is not blank; 0 at the end. */
    char peek()
    {
        while (at_ < text_.size() && isspace(static_cast<unsigned char>(text_[at_])))
            at_++;
        return at_ < text_.size() ? text_[at_] : '\0';
    }
    void skip()
    {
        at_++;
    }
    bool starts_with(const char *word)
    {
        peek();
        return text_.compare(at_, strlen(word), word) == 0;
    }
    bool at_location()
    {
        return starts_with(".loc ") || starts_with(".loc\t");
    }
    std::string line()
    {
        return take(std::min(text_.find('\n', at_), text_.size()));
    }
    /* Up to the first of these characters, which stays; runs of blanks become one. */
    std::string until(const char *characters)
    {
        peek();
        return take(std::min(text_.find_first_of(characters, at_), text_.size()));
    }
    /* A label's name if one stands here; its colon is passed. */
    bool label(std::string *name)
    {
        size_t end = (peek(), at_);

        while (end < text_.size() &&
               (isalnum(static_cast<unsigned char>(text_[end])) || strchr("_$%", text_[end])))
            end++;
        if (end == at_ || end >= text_.size() || text_[end] != ':')
            return false;
        *name = text_.substr(at_, end - at_);
        at_ = end + 1;
        return true;
    }
    /* From an opening brace behind its closing one. */
    void skip_braces()
    {
        int depth = 0;

        do {
            depth += peek() == '{';
            depth -= peek() == '}';
            if (peek() == '\0')
                syntax_fault("a brace is not closed");
            skip();
        } while (depth > 0);
    }

  private:
    std::string take(size_t end)
    {
        std::string result;

        for (; at_ < end; at_++) {
            char c = isspace(static_cast<unsigned char>(text_[at_])) ? ' ' : text_[at_];

            if (c != ' ' || (!result.empty() && result.back() != ' '))
                result += c;
        }
        return trimmed(result);
    }

    void blank_comments()
    {
        for (size_t i = 0; i + 1 < text_.size(); i++) {
            const bool line = text_.compare(i, 2, "//") == 0;
            const bool block = text_.compare(i, 2, "/*") == 0;

            if (!line && !block)
                continue;

            size_t end = line ? text_.find('\n', i) : text_.find("*/", i);

            end = std::min(end, text_.size());
            std::fill(text_.begin() + long(i), text_.begin() + long(end), ' ');
            if (block && end < text_.size())
                text_[end] = text_[end + 1] = ' ';
        }
    }

    std::string text_;
    size_t at_ = 0;
};

/* ".global .align 4 .b8 name[24] = {1, 2}" and its like in the other spaces. */
struct Declaration {
    std::string name;
    size_t align = 1, element = 0, bytes = 0;
    bool is_extern = false;
    std::vector<std::string> values;
};

Declaration parse_declaration(const std::string &text)
{
    const size_t equals = text.find('=');
    const std::string left = trimmed(text.substr(0, equals));
    const size_t bracket = left.find('[');
    Declaration result;
    std::vector<std::string> words = split(trimmed(left.substr(0, bracket)), ' ');

    result.name = words.back();
    for (size_t i = 0; i + 1 < words.size(); i++) {
        if (words[i] == ".align")
            result.align = std::stoul(words[i + 1]);
        else if (words[i] == ".extern")
            result.is_extern = true;
        else if (words[i][0] == '.' && type_bytes(words[i].substr(1)) != 0)
            result.element = type_bytes(words[i].substr(1));
    }
    if (result.element == 0)
        syntax_fault("type of the declaration " + text);
    result.align = std::max(result.align, result.element);
    result.bytes = result.element;
    for (size_t at = bracket; at != std::string::npos; at = left.find('[', at + 1))
        result.bytes *= strtoul(left.c_str() + at + 1, nullptr, 0);
    if (equals != std::string::npos) {
        const std::string value = trimmed(text.substr(equals + 1));

        result.values = split_operands(value[0] == '{' ? value.substr(1, value.size() - 2) : value);
    }
    return result;
}

/* "void f<(int)64>(float *)" becomes "f<64>"; the names of anonymous namespaces go too. */
std::string display_name(const std::string &mangled)
{
    int status = 0;
    char *demangled = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
    std::string name = demangled ? demangled : mangled;
    int depth = 0;

    free(demangled);
    for (const char *noise : {"(anonymous namespace)::", "(int)", "(unsigned int)", "(bool)"})
        for (size_t at; (at = name.find(noise)) != std::string::npos;)
            name.erase(at, strlen(noise));
    if (name.rfind("void ", 0) == 0)
        name.erase(0, 5);
    for (size_t i = 0; i < name.size(); i++) {
        depth += name[i] == '<';
        depth -= name[i] == '>';
        if (name[i] == '(' && depth == 0)
            return name.substr(0, i);
    }
    return name;
}

class Parser
{
  public:
    Parser(Module &module, const char *text, size_t bytes) : module_(module), reader_(text, bytes)
    {
    }
    void parse();

  private:
    void declaration();
    void file_line(const std::string &line);
    Location loc_line(const std::string &line);
    void variable(const std::string &text, MemoryKind kind);
    void write_values(const Declaration &declared, unsigned char *memory);
    void kernel(const std::string &head);
    void parameters(const std::string &list, Kernel &kernel,
                    std::map<std::string, Symbol> &symbols);
    void body(Kernel &kernel, Program &program, std::map<std::string, Symbol> symbols);
    void statement(Decoder &decoder);
    std::map<std::string, Symbol> shared_symbols(Kernel &kernel, const std::vector<Declaration> &);

    Module &module_;
    Reader reader_;
    LineTable lines_;
    std::map<std::string, Symbol> global_symbols_;
    std::vector<Declaration> module_shared_;
    std::vector<std::pair<Program *, std::vector<Location>>> unplaced_;
};

void Parser::file_line(const std::string &line)
{
    /* .file 1 "path" */
    const size_t quote = line.find('"'), end = line.find('"', quote + 1);

    if (quote != std::string::npos && end != std::string::npos)
        lines_.files[int(strtol(line.c_str() + strlen(".file"), nullptr, 10))] =
            line.substr(quote + 1, end - quote - 1);
}

Location Parser::loc_line(const std::string &line)
{
    /* .loc 1 30 5, function_name $L__info_string0, inlined_at 1 18 3 */
    Location here{}, outer{};
    const size_t inlined = line.find("inlined_at ");

    sscanf(line.c_str(), ".loc %d %d %d", &here[0], &here[1], &here[2]);
    if (inlined != std::string::npos &&
        sscanf(line.c_str() + inlined, "inlined_at %d %d %d", &outer[0], &outer[1], &outer[2]) == 3)
        lines_.inlined_at[here] = outer;
    return here;
}

void Parser::write_values(const Declaration &declared, unsigned char *memory)
{
    size_t at = 0;

    for (const std::string &text : declared.values) {
        const bool generic = text.rfind("generic(", 0) == 0;
        const std::string name = generic ? text.substr(8, text.size() - 9) : text;
        uint64_t bits = 0;
        auto symbol = global_symbols_.find(name);

        if (symbol != global_symbols_.end())
            bits = symbol->second.address;
        else if (!parse_literal(text, uint8_t(declared.element), &bits))
            syntax_fault("initial value " + text + " of " + declared.name);
        if (at + declared.element > declared.bytes)
            syntax_fault("too many initial values of " + declared.name);
        memcpy(memory + at, &bits, declared.element);
        at += declared.element;
    }
}

void Parser::variable(const std::string &text, MemoryKind kind)
{
    const Declaration declared = parse_declaration(text);
    const size_t align = 256; /* as cudaMalloc gives; enough for every .align */
    auto storage = std::make_unique<unsigned char[]>(declared.bytes + align);
    void *base = storage.get();
    size_t room = declared.bytes + align;

    if (declared.is_extern)
        syntax_fault("an external variable: " + text);
    std::align(align, declared.bytes, base, room);
    memset(base, 0, declared.bytes);
    write_values(declared, static_cast<unsigned char *>(base));
    memory().add(base, declared.bytes, kind, declared.name.c_str());
    module_.variables[declared.name] = Variable{declared.name, base, declared.bytes, kind};
    module_.memory_of_variables.push_back(std::move(storage));
    global_symbols_[declared.name] =
        Symbol{kind == MemoryKind::constant ? Space::constant : Space::global,
               reinterpret_cast<uint64_t>(base)};
}

void Parser::declaration()
{
    /* A kernel ends with a brace, a function's head or a variable with a semicolon; a variable's
     * initial values stand in braces behind an equals sign. */
    std::string text = reader_.until("{;=");
    auto has = [&text](const char *word) { return text.find(word) != std::string::npos; };

    if (has(".entry"))
        return kernel(text);
    if (has(".func")) {
        if (reader_.peek() == '{')
            return reader_.skip_braces(); /* a call of it will not decode */
        return reader_.skip();
    }
    if (reader_.peek() == '{')
        syntax_fault(text);
    text += reader_.until(";");
    reader_.skip();
    if (has(".shared"))
        module_shared_.push_back(parse_declaration(text));
    else if (has(".const"))
        variable(text, MemoryKind::constant);
    else if (has(".global"))
        variable(text, MemoryKind::device);
    else
        syntax_fault(text);
}

void Parser::parameters(const std::string &list, Kernel &kernel,
                        std::map<std::string, Symbol> &symbols)
{
    for (const std::string &text : split_operands(list)) {
        const Declaration declared = parse_declaration(text);
        const size_t offset = round_up(kernel.param_bytes, declared.align);

        kernel.params.push_back({offset, declared.bytes});
        kernel.param_bytes = offset + declared.bytes;
        symbols[declared.name] = Symbol{Space::param, offset};
    }
}

void Parser::kernel(const std::string &head)
{
    /* .visible .entry name(.param .u64 a, .param .u32 b) .maxntid 128, 1, 1 */
    const size_t entry = head.find(".entry") + strlen(".entry");
    const size_t open = std::min(head.find('(', entry), head.size());
    const size_t close = head.rfind(')');
    const size_t limit = head.find(".maxntid");
    const std::string name = trimmed(head.substr(entry, open - entry));
    Kernel &kernel = module_.kernels[name];
    std::map<std::string, Symbol> symbols = global_symbols_;
    unsigned x = 1024, y = 1, z = 1;

    kernel.name = name;
    kernel.display_name = display_name(name);
    if (open < head.size() && close != std::string::npos)
        parameters(head.substr(open + 1, close - open - 1), kernel, symbols);
    if (limit != std::string::npos)
        sscanf(head.c_str() + limit, ".maxntid %u, %u, %u", &x, &y, &z);
    kernel.max_threads = x * y * z;
    module_.programs.push_back(std::make_unique<Program>());
    kernel.program = module_.programs.back().get();
    try {
        body(kernel, *module_.programs.back(), std::move(symbols));
    } catch (Report &fault) {
        fault.place = "kernel " + kernel.display_name;
        throw;
    }
}

/* Static arrays one behind the other, the dynamic array behind them. */
std::map<std::string, Symbol> Parser::shared_symbols(Kernel &kernel,
                                                     const std::vector<Declaration> &arrays)
{
    std::map<std::string, Symbol> symbols;
    size_t dynamic_align = 1;

    for (const Declaration &each : arrays) {
        if (each.is_extern) {
            dynamic_align = std::max({dynamic_align, each.align, size_t(16)});
            continue;
        }

        const size_t offset = round_up(kernel.static_shared_bytes, each.align);

        symbols[each.name] = Symbol{Space::shared, SHARED_BASE + offset};
        kernel.static_shared_bytes = offset + each.bytes;
    }
    kernel.static_shared_bytes = round_up(kernel.static_shared_bytes, dynamic_align);
    for (const Declaration &each : arrays)
        if (each.is_extern)
            symbols[each.name] = Symbol{Space::shared, SHARED_BASE + kernel.static_shared_bytes};
    return symbols;
}

void Parser::body(Kernel &kernel, Program &program, std::map<std::string, Symbol> symbols)
{
    Reader ahead = reader_; /* declarations of the whole body first: they give the addresses */
    std::vector<Declaration> shared;
    std::string text;
    int depth = 0;

    do {
        const char c = ahead.peek();

        depth += c == '{';
        depth -= c == '}';
        if (c == '\0')
            syntax_fault("kernel " + kernel.name + " does not end");
        if (std::string label; ahead.label(&label))
            continue;
        if (ahead.at_location()) {
            ahead.line();
            continue;
        }
        if (c == '.' && ahead.starts_with(".shared")) {
            shared.push_back(parse_declaration(ahead.until(";")));
        } else if (c == '.' && ahead.starts_with(".local")) {
            const Declaration local = parse_declaration(ahead.until(";"));
            const size_t offset = round_up(kernel.local_bytes, local.align);

            symbols[local.name] = Symbol{Space::local, LOCAL_BASE + offset};
            kernel.local_bytes = offset + local.bytes;
        } else if (c != '{' && c != '}') {
            text += ahead.until("{};") + " ";
        }
        if (ahead.peek() == ';' || c == '{' || c == '}')
            ahead.skip();
    } while (depth > 0);
    kernel.local_bytes = round_up(kernel.local_bytes, 16);
    for (const Declaration &each : module_shared_) /* those of the module that it names */
        if (text.find(each.name) != std::string::npos)
            shared.push_back(each);
    for (const auto &[name, symbol] : shared_symbols(kernel, shared))
        symbols[name] = symbol;

    Decoder decoder(program, std::move(symbols));

    reader_.skip();
    for (depth = 1; depth > 0;) {
        const char c = reader_.peek();

        if (c == '{' || c == '}') {
            depth += c == '{' ? 1 : -1;
            c == '{' ? decoder.open_scope() : decoder.close_scope();
            reader_.skip();
        } else {
            statement(decoder);
        }
    }
    decoder.finish();
    unplaced_.emplace_back(&program, decoder.locations);
}

void Parser::statement(Decoder &decoder)
{
    std::string name;

    if (reader_.at_location())
        return decoder.location(loc_line(reader_.line()));
    if (reader_.label(&name)) {
        if (!reader_.starts_with(".branchtargets"))
            return decoder.label(name);

        const std::string targets = reader_.until(";").substr(strlen(".branchtargets"));

        decoder.branch_targets(name, targets);
        return reader_.skip();
    }

    const std::string text = reader_.until(";");

    if (reader_.peek() != ';')
        syntax_fault("a statement without an end: " + text);
    reader_.skip();
    if (text.rfind(".reg", 0) == 0 || text.rfind(".param", 0) == 0)
        decoder.declare(text);
    else if (text.rfind(".shared", 0) != 0 && text.rfind(".local", 0) != 0 &&
             text.rfind(".pragma", 0) != 0)
        decoder.instruction(text);
}

void Parser::parse()
{
    while (reader_.peek() != '\0') {
        if (reader_.starts_with(".file")) {
            file_line(reader_.line());
        } else if (reader_.starts_with(".section")) {
            reader_.until("{");
            reader_.skip_braces();
        } else if (reader_.starts_with(".version") || reader_.starts_with(".target") ||
                   reader_.starts_with(".address_size") || reader_.starts_with(".pragma")) {
            reader_.line();
        } else {
            declaration();
        }
    }
    for (auto &[program, locations] : unplaced_)
        for (const Location &location : locations)
            program->places.push_back(lines_.place(location));
}

std::string base_name(const std::string &path)
{
    return path.substr(path.rfind('/') + 1); /* npos + 1 is 0 */
}

} // namespace

std::string LineTable::place(const Location &location) const
{
    Location outer = location;
    auto name = [this](const Location &at) {
        auto file = files.find(at[0]);

        return (file == files.end() ? "unknown file" : base_name(file->second)) + ":" +
               std::to_string(at[1]);
    };

    for (int depth = 0; depth < 16 && inlined_at.count(outer); depth++)
        outer = inlined_at.at(outer);
    return outer == location ? name(location)
                             : name(outer) + " (inlined from " + name(location) + ")";
}

Module *load_module(const char *text, size_t bytes)
{
    auto module = std::make_unique<Module>();

    try {
        Parser(*module, text, bytes).parse();
    } catch (const Report &fault) {
        report(fault);
        return nullptr;
    }
    return module.release();
}

void unload_module(Module *module)
{
    delete module;
}

const Kernel *find_kernel(const Module *module, const char *name)
{
    auto found = module->kernels.find(name);

    return found == module->kernels.end() ? nullptr : &found->second;
}

const Variable *find_variable(const Module *module, const char *name)
{
    auto found = module->variables.find(name);

    return found == module->variables.end() ? nullptr : &found->second;
}

} // namespace fakecuda
