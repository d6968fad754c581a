/*
 * Arithmetic of the interpreter: every expression of selftest_cases.h on the fake device, compiled
 * for compute_80 and for compute_90, against the host; with all lanes together, and with the lanes
 * of either parity alone, where the other lanes' results must stay untouched.
 */
#include "tests/fakecuda/test_program.h"

#include <random>

#include "tests/fakecuda/ptx_fixture.h"
#include "tests/fakecuda/selftest_cases.h"
#include "tests/fakecuda/selftest_twins.h"

namespace
{

using fakecuda::Buffer;
using fakecuda::TestModule;

constexpr int COUNT = 256;
constexpr uint64_t UNTOUCHED = 0x5a5a5a5a5a5a5a5aull;

const char *const MODULES[] = {SELFTEST_PTX_80, SELFTEST_PTX_90};

/* Every edge value meets several others; the rest is random in all its bits, or in its size. */
std::vector<SelftestInput> make_inputs()
{
    const uint32_t words[] = {0, 1, 2, 31, 32, 33, 0x7fffffff, 0x80000000, 0xffffffff, 0xff00, 255};
    const uint64_t longs[] = {0, 1, 63, 64, INT64_MAX, 1ull << 63, ~0ull, 0xffffffff, 1ull << 32};
    const float floats[] = {0.0f,     -0.0f,   1.0f,      -1.0f,    0.5f,      1.5f,   2.5f,
                            -2.5f,    1e-40f,  -3e-39f,   INFINITY, -INFINITY, NAN,    FLT_MAX,
                            -FLT_MAX, FLT_MIN, 65504.0f,  65520.0f, 6e-8f,     6e-5f,  0x1p31f,
                            0x1p32f,  0x1p63f, -0x1p31f,  0x1p64f,  127.5f,    128.0f, 1.0f / 3.0f,
                            0x1p-25f, 1e30f,   0x1.01p0f, 0x1.03p0f};
    std::mt19937_64 random(7);
    auto word = [&] { return random() % 3 ? uint32_t(random()) : words[random() % 11]; };
    auto whole = [&] { return random() % 3 ? random() >> random() % 64 : longs[random() % 9]; };
    auto small = [&] { return float(double(random() % 2000001) / 50000.0 - 20.0); };
    auto real = [&] {
        if (random() % 2 == 0)
            return floats[random() % UM_COUNT_OF(floats)];
        return std::ldexp(small(), int(random() % 40) - 20);
    };
    std::vector<SelftestInput> inputs(COUNT);

    for (SelftestInput &in : inputs) {
        in = SelftestInput{word(), word(), word(),  whole(), whole(), real(),
                           real(), real(), small(), 0,       0};
        in.d = random() % 2 ? double(real()) : double(small()) * 1e9;
        in.e = random() % 2 ? double(real()) : double(small()) / 3;
    }
    return inputs;
}

struct Expected {
    std::vector<const char *> expressions;
    std::vector<uint64_t> bits; /* of one input */
};

namespace host
{

using namespace twins;

#define STORE(expression)                                                                          \
    out.expressions.push_back(#expression);                                                        \
    out.bits.push_back(selftest_bits(expression));
#define HOST_CASES(name, CASES, DECLARATIONS)                                                      \
    Expected name(const SelftestInput &in)                                                         \
    {                                                                                              \
        Expected out;                                                                              \
        DECLARATIONS                                                                               \
        CASES(STORE)                                                                               \
        return out;                                                                                \
    }

HOST_CASES(integer_cases, INTEGER_CASES, const uint32_t u = in.u; const uint32_t v = in.v;
           const uint32_t w = in.w; const int32_t a = int32_t(u); const int32_t b = int32_t(v);
           const int32_t c = int32_t(w);)
HOST_CASES(long_cases, LONG_CASES, const uint64_t x = in.x; const uint64_t y = in.y;
           const int64_t s = int64_t(x); const int64_t t = int64_t(y);)
#define fminf lesser
#define fmaxf greater
HOST_CASES(float_cases, FLOAT_CASES, const float f = in.f; const float g = in.g;
           const float h = in.h;)
#undef fminf
#undef fmaxf
#define fmin lesser
#define fmax greater
HOST_CASES(double_cases, DOUBLE_CASES, )
#undef fmin
#undef fmax
HOST_CASES(convert_cases, CONVERT_CASES, )
#define __expf expf /* the C library has something else by that name */
#define __logf logf
HOST_CASES(math_cases, MATH_CASES, )
#undef __expf
#undef __logf

template <class N> Expected narrow_cases(const SelftestInput &in)
{
    const N p(double(in.f)), q(double(in.g)), r(double(in.h));
    Expected out;
    auto from_floats = [](float low, float high) {
        return PairOf<N>{N(double(low)), N(double(high))};
    };

    NARROW_CASES(STORE)
    return out;
}

} // namespace host

using Compare = bool (*)(uint64_t actual, uint64_t expected);

bool same_bits(uint64_t actual, uint64_t expected)
{
    return actual == expected;
}

/* Observed: below 1.5e-6, from __expf and powf of large arguments. NaN fails. */
bool near(uint64_t actual, uint64_t expected)
{
    float a, e;

    memcpy(&a, &actual, sizeof a);
    memcpy(&e, &expected, sizeof e);
    return std::fabs(a - e) <= 4e-6f * std::fabs(e) + 1e-6f;
}

void check_results(const char *kernel, int phase, Buffer<uint64_t> &out,
                   const std::vector<SelftestInput> &inputs,
                   Expected (*expect)(const SelftestInput &), Compare matches)
{
    for (size_t i = 0; i < inputs.size(); i++) {
        const Expected expected = expect(inputs[i]);
        const bool runs = phase < 0 || int(i & 1) == phase;

        for (size_t k = 0; k < expected.bits.size(); k++) {
            const uint64_t actual = out[k * inputs.size() + i];
            const bool good = runs ? matches(actual, expected.bits[k]) : actual == UNTOUCHED;

            um_test_count();
            if (!good)
                um_test_fail(kernel, phase, "%s of input %zu is 0x%llx, expected 0x%llx",
                             expected.expressions[k], i, (unsigned long long)actual,
                             (unsigned long long)(runs ? expected.bits[k] : UNTOUCHED));
        }
    }
}

void check_cases(const char *kernel, Expected (*expect)(const SelftestInput &),
                 Compare matches = same_bits)
{
    const std::vector<SelftestInput> inputs = make_inputs();
    const size_t cases = expect(inputs[0]).bits.size();

    for (const char *path : MODULES) {
        TestModule module(fakecuda::read_text(path));
        Buffer<SelftestInput> in(inputs);

        for (int phase : {-1, 0, 1}) {
            Buffer<uint64_t> out(std::vector<uint64_t>(cases * COUNT, UNTOUCHED));
            const std::string fault = module.launch(kernel, {2, 1, 1}, {COUNT / 2, 1, 1}, 0,
                                                    in.device(), out.device(), COUNT, phase);

            UM_CHECK_STR(fault.c_str(), "");
            check_results(kernel, phase, out, inputs, expect, matches);
        }
    }
}

void integers(void)
{
    check_cases("integer_cases", host::integer_cases);
}
void long_integers_and_carry_chains(void)
{
    check_cases("long_cases", host::long_cases);
}
void floats(void)
{
    check_cases("float_cases", host::float_cases);
}
void doubles(void)
{
    check_cases("double_cases", host::double_cases);
}
void conversions(void)
{
    check_cases("convert_cases", host::convert_cases);
}
void halves(void)
{
    check_cases("half_cases", host::narrow_cases<twins::HalfTwin>);
}
void bfloats(void)
{
    check_cases("bf16_cases", host::narrow_cases<twins::Bf16Twin>);
}
void approximations_and_the_library_on_them(void)
{
    check_cases("math_cases", host::math_cases, near);
}

const um_test tests[] = {
    {"integers", integers, 0},
    {"long_integers_and_carry_chains", long_integers_and_carry_chains, 0},
    {"floats", floats, 0},
    {"doubles", doubles, 0},
    {"conversions", conversions, 0},
    {"halves", halves, 0},
    {"bfloats", bfloats, 0},
    {"approximations_and_the_library_on_them", approximations_and_the_library_on_them, 0},
};

} // namespace

UM_TEST_MAIN(tests)
