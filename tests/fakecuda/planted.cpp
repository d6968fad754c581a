/*
 * Planted bugs: each is found in forward and in reverse order with its name, its kernel, a thread
 * and the line; the same kernels without the bug stay clean, with the right result. A checker that
 * stops finding bugs fails here.
 */
#include "tests/fakecuda/test_program.h"

#include "tests/fakecuda/ptx_fixture.h"

namespace
{

using fakecuda::Buffer;
using fakecuda::Dim;
using fakecuda::TestModule;

constexpr int THREADS = 128;
constexpr size_t ELEMENTS = 4 * THREADS;

struct Plant {
    const char *name;
    const char *kind;         /* forward; nullptr: a wrong result instead of a fault */
    const char *reverse_kind; /* nullptr: the same */
    int n;
    uint32_t blocks = 1;
    size_t shared_bytes = 0, shared_missing = 0;
    size_t input = ELEMENTS; /* elements the kernel may read */
    bool host_pointer = false;
};

const Plant PLANTS[] = {
    {"missing_syncthreads", "shared race", "uninitialised shared", 0},
    {"missing_sync_after_wait", "shared race", nullptr, 0},
    {"missing_sync_before_refill", "shared race", nullptr, 0},
    {"missing_syncwarp", "shared race", nullptr, 0},
    {"two_blocks_one_word", "block race", nullptr, 0, 2},
    {"wait_one_group_too_few", "uninitialised shared", nullptr, 0},
    {"shared_write_out_of_bounds", "shared bounds", nullptr, 1},
    {"dynamic_shared_too_small", "shared bounds", nullptr, 0, 1, 4 * THREADS, 64},
    {"global_read_of_next_row", "global bounds", nullptr, 4},
    {"ragged_tail_read_out_of_bounds", "global bounds", nullptr, 100, 1, 0, 0, 400},
    {"uninitialised_shared_element", "uninitialised shared", nullptr, 0},
    {"wrong_warp_mask", "warp mask", nullptr, 0},
    {"shuffle_in_divergence", "warp mask", nullptr, 0},
    {"barrier_in_divergence", "shared race", nullptr, 0},
    {"return_before_barrier", "divergent barrier", nullptr, 100},
    {"misaligned_vector_load", "misaligned address", nullptr, 0, 1, 0, 0, ELEMENTS + 4},
    {"host_pointer", "host pointer", nullptr, 0, 1, 0, 0, ELEMENTS, true},
    {"tail_columns_not_masked", nullptr, nullptr, 100},

    {"block_reads_what_another_writes", "block race", nullptr, 0, 2},
    {"race_on_half_words", "shared race", nullptr, 0},
    {"race_of_several_readers", "shared race", nullptr, 0},
    {"ldmatrix_without_syncwarp", "shared race", nullptr, 0},
    {"copy_pending_at_return", "cp.async", nullptr, 0},
    {"failed_assertion", "assertion", nullptr, 0},
    {"endless_loop", "instruction budget", nullptr, 0},
    {"masks_disagree", "warp mask", nullptr, 0},
    {"null_pointer", "null pointer", nullptr, 1},
    {"named_barrier_for_too_many", "divergent barrier", nullptr, 0},
    {"named_barrier_missing", "shared race", "uninitialised shared", 0},
};

/* in[i] = i % 8, but for one 77 that only the assertion looks for. */
std::vector<float> input_values(size_t count)
{
    std::vector<float> values(count);

    for (size_t i = 0; i < count; i++)
        values[i] = i == 77 ? 77.0f : float(i % 8);
    return values;
}

struct Outcome {
    std::string fault;
    std::vector<float> out;
};

Outcome run(const Plant &plant, bool bad, bool reverse)
{
    TestModule module(fakecuda::read_text(PLANTED_PTX_80));
    Buffer<float> in(input_values(plant.input)), out(2 * THREADS);
    const float host[ELEMENTS] = {};
    const float *given = plant.host_pointer && bad ? host : in.device();
    const std::string name = std::string(plant.name) + (bad ? "_bad" : "_good");
    const size_t shared = plant.shared_bytes - (bad ? plant.shared_missing : 0);
    Outcome outcome;

    fakecuda::settings().reverse = reverse;
    fakecuda::settings().instruction_budget = 50 * 1000;
    outcome.fault = module.launch(name.c_str(), Dim{plant.blocks, 1, 1}, Dim{THREADS, 1, 1}, shared,
                                  given, out.device(), plant.n);
    for (size_t i = 0; i < out.size(); i++)
        outcome.out.push_back(out[i]);
    return outcome;
}

void check_contains(const std::string &line, const std::string &part)
{
    um_test_count();
    if (line.find(part) == std::string::npos)
        um_test_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", line.c_str(), part.c_str());
}

void every_bug_is_named(void)
{
    for (const Plant &plant : PLANTS)
        for (bool reverse : {false, true}) {
            const char *kind = reverse && plant.reverse_kind ? plant.reverse_kind : plant.kind;

            if (!kind)
                continue;

            const std::string fault = run(plant, true, reverse).fault;

            check_contains(fault, std::string("fakecuda: ") + kind + ": ");
            check_contains(fault, std::string("kernel ") + plant.name + "_bad, block (");
            check_contains(fault, "), thread (");
            check_contains(fault, "planted.cu:");
        }
}

void the_same_without_the_bug_is_clean(void)
{
    for (const Plant &plant : PLANTS)
        for (bool reverse : {false, true}) {
            const std::string fault = run(plant, false, reverse).fault;

            um_test_count();
            if (!fault.empty())
                um_test_fail(__FILE__, __LINE__, "%s: %s", plant.name, fault.c_str());
        }
}

void order_does_not_change_clean_results(void)
{
    for (const Plant &plant : PLANTS) {
        const Outcome forward = run(plant, false, false), reverse = run(plant, false, true);

        um_test_count();
        if (memcmp(forward.out.data(), reverse.out.data(), forward.out.size() * sizeof(float)))
            um_test_fail(__FILE__, __LINE__, "%s differs in reverse order", plant.name);
    }
}

/* The checks cannot know what a kernel should compute; a comparison with a reference does. */
void logic_bug_is_a_wrong_result(void)
{
    const Plant *plant = nullptr;
    const std::vector<float> in = input_values(ELEMENTS);
    float sum = 0;

    for (const Plant &each : PLANTS)
        plant = each.kind ? plant : &each;
    for (int i = 0; i < plant->n; i++)
        sum += in[size_t(i)];

    const Outcome good = run(*plant, false, false), bad = run(*plant, true, false);

    UM_CHECK_STR(bad.fault.c_str(), "");
    UM_CHECK_NEAR(good.out[0], sum, 0);
    UM_CHECK(bad.out[0] != sum);
}

void messages_say_what_and_where(void)
{
    struct {
        const char *name, *part;
    } const wanted[] = {
        {"missing_syncwarp", "thread 0 reads offset 4 that thread 1 wrote with no barrier between"},
        {"two_blocks_one_word", "block (1,0,0), thread (0,0,0)"},
        {"two_blocks_one_word", "that block (0,0,0) wrote in this launch"},
        {"shared_write_out_of_bounds", "4 bytes at offset 512 of 512 bytes of shared memory"},
        {"global_read_of_next_row", "4-byte read at offset 2048 of an allocation of 2048 bytes"},
        {"wait_one_group_too_few", "a wait_group is missing or waits for too few groups"},
        {"failed_assertion", "in[threadIdx.x] != 77.0f"},
        {"failed_assertion", "planted.cu:"},
        {"misaligned_vector_load", "ld.global.v4.f32"},
    };

    for (const auto &each : wanted)
        for (const Plant &plant : PLANTS)
            if (strcmp(plant.name, each.name) == 0)
                check_contains(run(plant, true, false).fault, each.part);
}

const um_test tests[] = {
    {"every_bug_is_named", every_bug_is_named, 0},
    {"the_same_without_the_bug_is_clean", the_same_without_the_bug_is_clean, 0},
    {"order_does_not_change_clean_results", order_does_not_change_clean_results, 0},
    {"logic_bug_is_a_wrong_result", logic_bug_is_a_wrong_result, 0},
    {"messages_say_what_and_where", messages_say_what_and_where, 0},
};

} // namespace

UM_TEST_MAIN(tests)
