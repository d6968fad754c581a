/* Switches from the environment. See switches.h. */
#include "tests/fakecuda/switches.h"

#include <cstdlib>
#include <cstring>

#include "tests/fakecuda/ptx.h"

namespace fakecuda
{

namespace
{

struct State {
    Switches now;
    uint64_t allocations = 0;
    uint64_t launches = 0;
};

bool read_flag(const char *value, bool *out)
{
    if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
        return false;
    *out = value[0] == '1';
    return true;
}

bool read_number(const char *value, uint64_t *out)
{
    char *end;
    uint64_t number = strtoull(value, &end, 10);

    if (end == value || *end != '\0')
        return false;
    *out = number;
    return true;
}

bool read_word(const char *value, const char *word, bool *out)
{
    if (*value != '\0' && strcmp(value, word) != 0)
        return false;
    *out = *value != '\0';
    return true;
}

bool set(State &state, const char *name, const char *value)
{
    Switches &now = state.now;

    if (strcmp(name, "ORDER") == 0)
        return read_word(value, "reverse", &now.reverse);
    if (strcmp(name, "LAZY") == 0)
        return read_flag(value, &now.lazy);
    if (strcmp(name, "TRAP") == 0)
        return read_flag(value, &now.trap);
    if (strcmp(name, "NO_DEVICE") == 0)
        return read_flag(value, &now.no_device);
    if (strcmp(name, "NO_CUBLAS") == 0)
        return read_flag(value, &now.no_cublas);
    if (strcmp(name, "SPLITS") == 0)
        return read_word(value, "shape", &now.splits_by_shape);
    if (strcmp(name, "MEMORY") == 0)
        return read_number(value, &now.memory);
    if (strcmp(name, "SMS") == 0)
        return read_number(value, &now.multiprocessors);
    if (strcmp(name, "FAIL_ALLOC") == 0) {
        state.allocations = 0;
        return read_number(value, &now.fail_alloc);
    }
    if (strcmp(name, "FAIL_LAUNCH") == 0) {
        state.launches = 0;
        return read_number(value, &now.fail_launch);
    }
    if (strcmp(name, "STATS") == 0) {
        now.stats = strcmp(value, "0") == 0 ? "" : value;
        return true;
    }
    return false;
}

const char *const names[] = {"ORDER",     "LAZY",       "TRAP",        "NO_DEVICE",
                             "NO_CUBLAS", "FAIL_ALLOC", "FAIL_LAUNCH", "SMS",
                             "MEMORY",    "SPLITS",     "STATS"};

State *read_environment()
{
    State *state = new State;

    for (const char *name : names) {
        std::string variable = std::string("FAKECUDA_") + name;
        const char *value = getenv(variable.c_str());

        if (value && !set(*state, name, value))
            report("switch", "%s is '%s'", variable.c_str(), value);
    }
    settings().reverse = state->now.reverse;
    return state;
}

State &state()
{
    static State *const state = read_environment(); /* lives on: exit handlers come by */
    return *state;
}

} // namespace

const Switches &switches()
{
    return state().now;
}

bool set_switch(const char *name, const char *value)
{
    bool known = set(state(), name, value);

    settings().reverse = state().now.reverse;
    return known;
}

bool allocation_fails()
{
    return ++state().allocations == state().now.fail_alloc;
}

bool launch_fails()
{
    return ++state().launches == state().now.fail_launch;
}

} // namespace fakecuda
