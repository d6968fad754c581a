/*
 * The interpreter beyond arithmetic: memory spaces, control flow, exchange between lanes, barriers,
 * atomics, asynchronous copies, matrices, statistics; for compute_80 and compute_90. Expected
 * values follow the PTX ISA and are computed here.
 */
#include "tests/fakecuda/test_program.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "tests/fakecuda/ptx_fixture.h"

namespace
{

using fakecuda::Buffer;
using fakecuda::Dim;
using fakecuda::TestModule;

constexpr Dim ONE{1, 1, 1};
constexpr Dim WARP{32, 1, 1};

/* Both targets, forward and reverse. */
void for_each_module(const std::function<void(TestModule &)> &body)
{
    for (const char *path : {SELFTEST_DEVICE_PTX_80, SELFTEST_DEVICE_PTX_90})
        for (bool reverse : {false, true}) {
            TestModule module(fakecuda::read_text(path));

            fakecuda::settings().reverse = reverse;
            body(module);
        }
}

void check_clean(const std::string &fault)
{
    UM_CHECK_STR(fault.c_str(), "");
}

template <class T> std::vector<T> sequence(size_t count, T first, T step)
{
    std::vector<T> values(count);

    for (size_t i = 0; i < count; i++)
        values[i] = T(first + T(i) * step);
    return values;
}

struct Mixed {
    uint8_t byte;
    float array[3];
    const int *pointer;
    double wide;
};

void parameters_constants_and_variables(void)
{
    for_each_module([](TestModule &module) {
        Buffer<int> numbers(std::vector<int>{3, 5, 8});
        Buffer<double> out(6);
        const Mixed mixed{200, {0.5f, 1.5f, 2.5f}, numbers.device(), 1e100};

        check_clean(module.launch("memory_params", ONE, ONE, 0, mixed, 2, out.device()));
        UM_CHECK_NEAR(out[0], 200, 0);
        UM_CHECK_NEAR(out[1], 2.5, 0);
        UM_CHECK_NEAR(out[2], 8, 0);
        UM_CHECK_NEAR(out[3], 1e100, 0);
        UM_CHECK_NEAR(out[4], 40, 0);
        UM_CHECK_NEAR(out[5], 7, 0);

        const fakecuda::Variable *counter = fakecuda::find_variable(module.get(), "module_counter");
        UM_CHECK(counter && counter->bytes == sizeof(int));
        UM_CHECK_INT(*static_cast<int *>(counter->address), 8);
    });
}

template <class T> T bytes_at(const std::vector<uint8_t> &bytes, size_t at)
{
    T value;

    memcpy(&value, &bytes[at], sizeof value);
    return value;
}

void every_width_extends_by_its_sign(void)
{
    const std::vector<uint8_t> in = sequence<uint8_t>(512, 3, 29);

    for_each_module([&in](TestModule &module) {
        Buffer<uint8_t> input(in), bytes(8 * 32);
        Buffer<int64_t> out(6 * 32);

        check_clean(module.launch("memory_widths", ONE, WARP, 0, input.device(), out.device(),
                                  bytes.device()));
        for (size_t i = 0; i < 32; i++) {
            const size_t at = 16 * i;
            const uint32_t u32 = bytes_at<uint32_t>(in, at + 12);

            UM_CHECK_INT(out[6 * i], bytes_at<int8_t>(in, at));
            UM_CHECK_INT(out[6 * i + 1], bytes_at<uint8_t>(in, at + 1));
            UM_CHECK_INT(out[6 * i + 2], bytes_at<int16_t>(in, at + 2));
            UM_CHECK_INT(out[6 * i + 3], bytes_at<uint16_t>(in, at + 4));
            UM_CHECK_INT(out[6 * i + 4], bytes_at<int32_t>(in, at + 8));
            UM_CHECK_INT(out[6 * i + 5], u32);
            UM_CHECK_INT(bytes[8 * i], uint8_t(u32));
            UM_CHECK_INT(bytes[8 * i + 1], 0xff); /* untouched */
            UM_CHECK_INT(bytes[8 * i + 2] | bytes[8 * i + 3] << 8, uint16_t(u32));
            UM_CHECK_INT(bytes[8 * i + 6] | bytes[8 * i + 7] << 8, bytes_at<uint16_t>(in, at + 2));
        }
    });
}

void vectors_through_every_space(void)
{
    struct Four {
        float x, y, z, w;
    };
    std::vector<Four> in(256);

    for (size_t i = 0; i < in.size(); i++)
        in[i] = Four{float(i), float(i) + 0.25f, float(i) + 0.5f, float(i) + 0.75f};
    for_each_module([&in](TestModule &module) {
        for (int which : {0, 1, 2, 3}) {
            Buffer<Four> input(in), out(64);

            check_clean(module.launch("memory_spaces", ONE, {64, 1, 1}, 64 * sizeof(Four),
                                      input.device(), out.device(), which));
            for (size_t i = 0; i < 64; i++) {
                const Four &other = in[4 * (i ^ 1) + size_t(which)], &second = in[4 * (i ^ 1) + 1];
                const Four expected = (i + size_t(which)) % 3 == 0 ? other
                                      : (i + size_t(which)) % 3 == 1
                                          ? Four{second.w, second.z, second.y, second.x}
                                          : in[4 * i + (i & 3)];

                UM_CHECK_NEAR(out[i].x, expected.x, 0);
                UM_CHECK_NEAR(out[i].w, expected.w, 0);
            }
        }
    });
}

int collatz(int value, int thread)
{
    int steps = 0;

    for (; value > 1 && steps <= 1000; steps++)
        value = value % 2 ? 3 * value + 1 : value / 2;
    for (int k = 0; k < thread % 5; k++)
        steps += k == 2 ? 0 : 100;
    return steps;
}

void lanes_part_and_meet_again(void)
{
    const std::vector<int> in = sequence(80, 1, 7);

    for_each_module([&in](TestModule &module) {
        std::vector<int> with_exits = in;

        for (size_t i = 0; i < in.size(); i += 6)
            with_exits[i] = -1;

        Buffer<int> input(with_exits), out(std::vector<int>(80, 12345));

        check_clean(
            module.launch("control_flow", ONE, {80, 1, 1}, 0, input.device(), out.device()));
        for (size_t i = 0; i < in.size(); i++)
            UM_CHECK_INT(out[i], i % 6 == 0 ? 12345 : collatz(in[i], int(i)));
    });
}

void jump_tables(void)
{
    for_each_module([](TestModule &module) {
        Buffer<int> in(sequence(32, 0, 1)), out(32);

        check_clean(module.launch("jump_table", ONE, WARP, 0, in.device(), out.device()));
        for (int i = 0; i < 32; i++)
            UM_CHECK_INT(out[size_t(i)], i == 0 ? 11 : i == 1 ? 21 : 44);
    });
}

/* What each lane gets, from the values of all. */
std::vector<std::function<int(int)>> exchange_expectations(const std::vector<int> &v)
{
    auto value = [&v](int lane) { return v[size_t(lane)]; };
    auto ballot = [value](int from, int to, auto holds) {
        uint32_t bits = 0;

        for (int i = from; i < to; i++)
            bits |= holds(value(i)) ? 1u << i : 0u;
        return int(bits);
    };

    return {
        [=](int) { return value(5); },
        [=](int i) { return value(i / 8 * 8 + (i + 3) % 8); },
        [=](int i) { return value(i < 3 ? i : i - 3); },
        [=](int i) { return value(i % 8 < 2 ? i : i - 2); },
        [=](int i) { return value(i + 4 > 31 ? i : i + 4); },
        [=](int i) { return value(i % 16 == 15 ? i : i + 1); },
        [=](int i) { return value(i ^ 7); },
        [=](int) { return int(*std::max_element(v.begin(), v.end()) > 90); },
        [=](int) { return 1; },
        [=](int) { return ballot(0, 32, [](int x) { return x % 2 != 0; }); },
        [=](int i) { return ballot(0, 32, [=](int x) { return x % 4 == value(i) % 4; }); },
        [=](int) { return -1; },
        [=](int) { return 2; },
        [=](int) { return std::accumulate(v.begin(), v.end(), 0); },
        [=](int) { return -*std::max_element(v.begin(), v.end()); },
        [=](int) { return *std::max_element(v.begin(), v.end()); },
        [=](int) { return std::accumulate(v.begin(), v.end(), 0, std::bit_xor<int>()); },
        [=](int i) { return value(i ^ 1); },
        [=](int i) {
            return ballot(i < 16 ? 0 : 16, i < 16 ? 16 : 32, [](int x) { return x > 50; });
        },
        [=](int i) { return i % 3 == 0 ? 0x49249249 + value(9) : -1; },
    };
}

void lanes_exchange(void)
{
    std::vector<int> values(32);

    for (size_t i = 0; i < 32; i++)
        values[i] = int(i * 37 % 101);
    for_each_module([&values](TestModule &module) {
        const auto expected = exchange_expectations(values);
        Buffer<int> in(values), out(32 * expected.size());

        check_clean(module.launch("exchange", ONE, WARP, 0, in.device(), out.device()));
        for (size_t k = 0; k < expected.size(); k++)
            for (size_t i = 0; i < 32; i++) {
                um_test_count();
                if (out[32 * k + i] != expected[k](int(i)))
                    um_test_fail(__FILE__, __LINE__, "result %zu of lane %zu is %d, expected %d", k,
                                 i, out[32 * k + i], expected[k](int(i)));
            }
    });
}

void block_wide_votes(void)
{
    for_each_module([](TestModule &module) {
        Buffer<int> in(sequence(96, 0, 3)), out(96), large(sequence(96, 1001, 1));

        check_clean(module.launch("block_votes", ONE, {48, 2, 1}, 0, in.device(), out.device()));
        UM_CHECK_INT(out[0], 48 * 4 + 2);
        UM_CHECK_INT(out[95], 48 * 4 + 2);
        check_clean(module.launch("block_votes", ONE, {48, 2, 1}, 0, large.device(), out.device()));
        UM_CHECK_INT(out[50], 48 * 4 + 1);
    });
}

void named_barriers_order_pairs_of_warps(void)
{
    for_each_module([](TestModule &module) {
        const int rounds = 5;
        Buffer<int> in(sequence(32, 10, 1)), out(128);

        check_clean(module.launch("named_barriers", ONE, {128, 1, 1}, 0, in.device(), out.device(),
                                  rounds));
        for (int i = 0; i < 128; i++) {
            const int lane = i % 32, pair = i / 64;
            const int sum = rounds * (10 + 31 - lane) + 10 + rounds * 1000 * pair;

            UM_CHECK_INT(out[size_t(i)], i / 32 % 2 == 0 ? 0 : sum);
        }
    });
}

void special_registers(void)
{
    for_each_module([](TestModule &module) {
        const uint32_t blocks = 2 * 3 * 2, threads = 5 * 4 * 3;
        Buffer<uint32_t> out(blocks * threads * 6);

        check_clean(module.launch("special_registers", {2, 3, 2}, {5, 4, 3}, 0, out.device()));
        for (uint32_t b = 0; b < blocks; b++)
            for (uint32_t t = 0; t < threads; t++) {
                const uint32_t lane = t % 32, *const at = &out[6 * (b * threads + t)];

                UM_CHECK_INT(at[0], b * 1000 + t);
                UM_CHECK_INT(at[1], lane);
                UM_CHECK_INT(at[2], t / 32);
                UM_CHECK_INT(at[3], (1ull << lane) - 1);
                UM_CHECK_INT(at[4], 0xffffffffu - ((1ull << lane) - 1));
                UM_CHECK_INT(at[5], 1);
            }
    });
}

void atomics_add_up(void)
{
    const std::vector<int> in = sequence(256, 1, 1);

    for_each_module([&in](TestModule &module) {
        Buffer<int> input(in), out(std::vector<int>(32, 0));
        Buffer<uint64_t> wide(std::vector<uint64_t>(2, 0));
        Buffer<float> floats(std::vector<float>(1, 0.0f));

        out[4] = 0xffff;
        out[8] = 2;
        out[9] = 3;
        check_clean(module.launch("atomics", {4, 1, 1}, {64, 1, 1}, 0, input.device(), out.device(),
                                  wide.device(), floats.device()));
        UM_CHECK_INT(out[0], 256 * 257 / 2);
        UM_CHECK_INT(out[1], -256);
        UM_CHECK_INT(out[2], 256);
        UM_CHECK_INT(uint32_t(out[3]), 0xffffffffu);
        UM_CHECK_INT(out[4], 0);
        UM_CHECK_INT(out[5], -1);
        UM_CHECK_INT(out[6], std::accumulate(in.begin(), in.end(), 0, std::bit_xor<int>()));
        UM_CHECK_INT(out[7], 256 % 10);
        UM_CHECK_INT(out[8], 5);
        UM_CHECK_INT(out[9], 4);
        UM_CHECK_INT(out[16 + 2], 3 + 4);
        for (int r = 0; r < 4; r++) {
            int sum = 0;

            for (int value : in)
                sum += (value & 3) == r ? value : 0;
            UM_CHECK_INT(out[size_t(10 + r)], sum);
        }
        UM_CHECK_INT(wide[0], 256ull << 40);
        UM_CHECK_INT(wide[1], 0xffull << 31);
        UM_CHECK_NEAR(floats[0], 128.0f, 0);
    });
}

void copies_arrive_at_their_wait(void)
{
    const std::vector<uint8_t> in = sequence<uint8_t>(4096, 1, 7);

    for_each_module([&in](TestModule &module) {
        Buffer<uint8_t> input(in), out(896);

        check_clean(module.launch("async_copies", ONE, WARP, 0, input.device(), out.device()));
        for (size_t lane = 0; lane < 32; lane++) {
            for (size_t i = 0; i < 16; i++)
                UM_CHECK_INT(out[16 * lane + i], i < lane % 17 ? in[16 * lane + i] : 0);
            for (size_t i = 0; i < 8; i++)
                UM_CHECK_INT(out[512 + 8 * lane + i], i < lane % 9 ? in[8 * lane + i] : 0);
            for (size_t i = 0; i < 4; i++)
                UM_CHECK_INT(out[768 + 4 * lane + i], in[112 * lane + i]);
        }
    });
}

/* Element (row, column) of matrix m. */
uint16_t element(const std::vector<uint16_t> &in, int m, int row, int column)
{
    return in[size_t((8 * m + row) * 8 + column)];
}

void matrices_are_laid_over_the_lanes(void)
{
    const std::vector<uint16_t> in = sequence<uint16_t>(256, 1000, 3);
    const struct {
        int matrix;
        bool transposed;
    } results[] = {{0, false}, {0, true},  {0, true}, {1, true}, {0, false}, {1, false},
                   {2, false}, {3, false}, {0, true}, {1, true}, {2, true},  {3, true}};

    for_each_module([&](TestModule &module) {
        Buffer<uint16_t> input(in);
        Buffer<uint32_t> out(32 * UM_COUNT_OF(results));

        check_clean(module.launch("load_matrices", ONE, WARP, 0, input.device(), out.device()));
        for (size_t k = 0; k < UM_COUNT_OF(results); k++)
            for (int lane = 0; lane < 32; lane++) {
                const int m = results[k].matrix, major = lane / 4, minor = 2 * (lane % 4);
                const bool t = results[k].transposed;
                const uint32_t low = element(in, m, t ? minor : major, t ? major : minor);
                const uint32_t high = element(in, m, t ? minor + 1 : major, t ? major : minor + 1);

                UM_CHECK_INT(out[32 * k + size_t(lane)], low | high << 16);
            }
    });
}

/* Small whole numbers: exact in every type and in every order of adding. */
int whole(size_t i, size_t j, bool is_signed)
{
    return int((i * 7 + j * 5 + i * j) % 11) - (is_signed ? 5 : 0);
}
uint16_t as_bf16(int value)
{
    const float f = float(value);
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    return uint16_t(bits >> 16);
}
uint16_t as_f16(int value)
{
    const int size = std::abs(value);
    int exponent = 0;

    if (size == 0)
        return 0;
    while (size >> (exponent + 1) != 0)
        exponent++;
    return uint16_t((value < 0 ? 0x8000 : 0) | (exponent + 15) << 10 |
                    ((size << (10 - exponent)) & 0x3ff));
}
uint32_t as_f32(int value)
{
    return uint32_t{as_bf16(value)} << 16;
}
template <class T> T as_is(int value)
{
    return T(value);
}

template <class T, class W>
void check_product(TestModule &module, const char *kernel, size_t k, T (*encode)(int))
{
    const bool is_signed = std::string(kernel) != "mma_u8";
    std::vector<T> left(16 * k), right(k * 8);
    std::vector<W> add(128);

    for (size_t i = 0; i < left.size(); i++)
        left[i] = encode(whole(i / k, i % k, is_signed));
    for (size_t i = 0; i < right.size(); i++)
        right[i] = encode(whole(i % 8 + 3, i / 8, is_signed));
    for (size_t i = 0; i < add.size(); i++)
        add[i] = W(i) - W(50);

    Buffer<T> a(left), b(right);
    Buffer<W> c(add), d(128);

    check_clean(
        module.launch(kernel, ONE, WARP, 0, a.device(), b.device(), c.device(), d.device()));
    for (size_t i = 0; i < 16; i++)
        for (size_t j = 0; j < 8; j++) {
            int sum = int(i * 8 + j) - 50;

            for (size_t x = 0; x < k; x++)
                sum += whole(i, x, is_signed) * whole(j + 3, x, is_signed);
            UM_CHECK_INT(d[i * 8 + j], sum);
        }
}

void tensor_products(void)
{
    for_each_module([](TestModule &module) {
        check_product<uint16_t, float>(module, "mma_bf16", 16, as_bf16);
        check_product<uint16_t, float>(module, "mma_f16", 16, as_f16);
        check_product<uint16_t, float>(module, "mma_bf16_k8", 8, as_bf16);
        check_product<uint32_t, float>(module, "mma_tf32", 8, as_f32);
        check_product<int8_t, int>(module, "mma_s8", 32, as_is<int8_t>);
        check_product<uint8_t, int>(module, "mma_u8", 32, as_is<uint8_t>);
        check_product<int8_t, int>(module, "mma_s8_k16", 16, as_is<int8_t>);
    });
}

/* Stride s of words: s lanes of a wave fall into one bank, 8 words of 32 bytes lie s apart. */
void statistics_count_conflicts_and_sectors(void)
{
    for_each_module([](TestModule &module) {
        for (uint32_t stride : {1u, 2u, 8u, 32u}) {
            Buffer<float> in(sequence(1024, 0.0f, 1.0f)), out(32);

            fakecuda::reset_statistics();
            check_clean(module.launch("strides", {1, 1, 1}, WARP, 4096, in.device(), out.device(),
                                      int(stride), int(stride)));
            const fakecuda::KernelStats &stats = fakecuda::statistics().at("strides");

            UM_CHECK_INT(stats.launches, 1);
            UM_CHECK_INT(stats.blocks, 1);
            UM_CHECK_INT(stats.shared_waves, 2 * stride);
            UM_CHECK_INT(stats.shared_ideal, 2);
            UM_CHECK_INT(stats.global_sectors, 4 + 4 * std::min(stride, 8u));
            UM_CHECK_INT(stats.global_ideal, 8);
            UM_CHECK_INT(stats.bytes_read, 128);
            UM_CHECK_INT(stats.bytes_written, 128);
            UM_CHECK_INT(stats.mma, 0);
        }
    });
}

/* ---- what does not load or launch ---- */

const char HEAD[] = ".version 8.0\n.target sm_80\n.address_size 64\n";

void check_load_fault(const std::string &text, const char *part)
{
    TestModule module(HEAD + text);

    um_test_count();
    if (module.fault().find(part) == std::string::npos)
        um_test_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", module.fault().c_str(),
                     part);
}

void unknown_code_stops_at_load(void)
{
    check_load_fault(
        ".visible .entry k() { .reg .b32 %r<3>; frobnicate.sync.b32 %r1, %r2, 5; ret; }",
        "unknown instruction: frobnicate.sync.b32 %r1, %r2, 5; kernel k");
    check_load_fault(".visible .entry k() { .reg .b32 %r<3>; add.rz.s32 %r1, %r2, 5; ret; }",
                     "unknown instruction: add.rz.s32 %r1, %r2, 5");
    check_load_fault(".visible .entry k() { .reg .b64 %r<3>; add.s32 %r1, %r2, 5; ret; }",
                     "width of operand %r1");
    check_load_fault(".visible .entry k() { call.uni (r), vprintf, (a, b); ret; }",
                     "printf is not supported");
    check_load_fault(".visible .entry k() { bra nowhere; ret; }", "label nowhere (no such label)");
    check_load_fault(".visible .entry k() { ret; ", "PTX syntax");
}

void launches_have_limits(void)
{
    TestModule module(std::string(HEAD) +
                      ".visible .entry k() .maxntid 64, 1, 1 { .shared .b8 s[1024]; ret; }");

    check_clean(module.launch("k", {1, 1, 1}, {64, 1, 1}, 0));
    std::string fault = module.launch("k", {1, 1, 1}, {65, 1, 1}, 0);
    UM_CHECK_STR(
        fault.c_str(),
        "fakecuda: launch limits: threads of a block (__launch_bounds__) is 65, allowed is "
        "1 to 64; kernel k");
    fault = module.launch("k", {0, 1, 1}, {64, 1, 1}, 0);
    UM_CHECK_STR(fault.c_str(),
                 "fakecuda: launch limits: grid.x is 0, allowed is 1 to 2147483647; kernel k");
    check_clean(module.launch("k", {1, 1, 1}, {64, 1, 1}, 226 * 1024));
    UM_CHECK(module.launch("k", {1, 1, 1}, {64, 1, 1}, 226 * 1024 + 1).find("shared memory") !=
             std::string::npos);
    UM_CHECK(!fakecuda::find_kernel(module.get(), "another"));
}

/* Without a hook a fault is one line on stderr and the end of the program. */
void fault_ends_the_program(void)
{
    const std::string text =
        std::string(HEAD) + ".visible .entry k() { .reg .b32 %r<3>; frobnicate %r1; ret; }";
    FILE *const line = tmpfile();
    char read[256] = "";
    int status = 0;
    const pid_t child = fork();

    if (child == 0) {
        dup2(fileno(line), STDERR_FILENO);
        fakecuda::load_module(text.data(), text.size());
        _exit(0);
    }
    UM_CHECK(child > 0 && waitpid(child, &status, 0) == child);
    UM_CHECK_INT(WEXITSTATUS(status), fakecuda::FAULT_EXIT);
    rewind(line);
    UM_CHECK(fgets(read, sizeof read, line));
    UM_CHECK_STR(read, "fakecuda: unknown instruction: frobnicate %r1; kernel k\n");
    UM_CHECK(!fgets(read, sizeof read, line));
    fclose(line);
}

const um_test tests[] = {
    {"parameters_constants_and_variables", parameters_constants_and_variables, 0},
    {"every_width_extends_by_its_sign", every_width_extends_by_its_sign, 0},
    {"vectors_through_every_space", vectors_through_every_space, 0},
    {"lanes_part_and_meet_again", lanes_part_and_meet_again, 0},
    {"jump_tables", jump_tables, 0},
    {"lanes_exchange", lanes_exchange, 0},
    {"block_wide_votes", block_wide_votes, 0},
    {"named_barriers_order_pairs_of_warps", named_barriers_order_pairs_of_warps, 0},
    {"special_registers", special_registers, 0},
    {"atomics_add_up", atomics_add_up, 0},
    {"copies_arrive_at_their_wait", copies_arrive_at_their_wait, 0},
    {"matrices_are_laid_over_the_lanes", matrices_are_laid_over_the_lanes, 0},
    {"tensor_products", tensor_products, 0},
    {"statistics_count_conflicts_and_sectors", statistics_count_conflicts_and_sectors, 0},
    {"unknown_code_stops_at_load", unknown_code_stops_at_load, 0},
    {"launches_have_limits", launches_have_limits, 0},
    {"fault_ends_the_program", fault_ends_the_program, 0},
};

} // namespace

UM_TEST_MAIN(tests)
