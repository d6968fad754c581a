/*
 * What a denoising step costs on the cuda backend, counted by the fake runtime: launches as
 * docs/gpu-model.md has them, one wait, one copy each way, nothing allocated.
 */
#include "tests/cuda/fake.h"
#include "tests/support/tiny_engine.h"
#include "tests/test.h"

enum { PROMPT = 5 };

static const int32_t prompt[PROMPT] = {3, 1, 4, 1, 5};

/* What one turn of the engine cost. */
static fakecuda_counts turn(um_tiny_engine *tiny)
{
    fakecuda_counts before = fake_counts(), after;

    UM_CHECK(um_tiny_engine_turn(tiny));
    after = fake_counts();
    return (fakecuda_counts){
        .live_allocations = after.live_allocations - before.live_allocations,
        .live_objects = after.live_objects - before.live_objects,
        .device_allocations = after.device_allocations - before.device_allocations,
        .pinned_allocations = after.pinned_allocations - before.pinned_allocations,
        .objects_created = after.objects_created - before.objects_created,
        .launches = after.launches - before.launches,
        .matmuls = after.matmuls - before.matmuls,
        .memsets = after.memsets - before.memsets,
        .host_waits = after.host_waits - before.host_waits,
        .copies_to_device = after.copies_to_device - before.copies_to_device,
        .copies_to_host = after.copies_to_host - before.copies_to_host,
        .copies_on_device = after.copies_on_device - before.copies_on_device,
    };
}

/* `wishes`: penalties, a minimum length and log-probabilities as well. */
static void submit(um_tiny_engine *tiny, int32_t seed, bool wishes)
{
    um_tiny_request request = {.prompt = prompt,
                               .prompt_tokens = PROMPT,
                               .given = {.has_max_tokens = true,
                                         .max_tokens = 16,
                                         .has_block_length = true,
                                         .block_length = 8,
                                         .has_steps_per_block = true,
                                         .steps_per_block = 8,
                                         .has_seed = true,
                                         .seed = seed,
                                         .has_frequency_penalty = wishes,
                                         .frequency_penalty = 0.5,
                                         .has_min_tokens = wishes,
                                         .min_tokens = 3,
                                         .wants_logprobs = wishes,
                                         .top_logprobs = wishes ? 5 : 0}};

    um_tiny_engine_submit(tiny, &request);
}

/*
 * A layer: norm, product, rotation, attention, product, norm, product, activation, product. Around
 * them: embedding, gathering, last norm, mix, head, preparing and choosing, selecting. Where somebody
 * wants log-probabilities, listing the likeliest.
 */
static void check_step(fakecuda_counts cost, int32_t layers, bool wishes)
{
    UM_CHECK_INT(cost.launches + cost.matmuls, 9 * layers + 8 + wishes);
    UM_CHECK_INT(cost.matmuls, 4 * layers + 1);
    UM_CHECK_INT(cost.host_waits, 1);
    UM_CHECK_INT(cost.copies_to_host, 1);
    UM_CHECK_INT(cost.memsets, 0);
    UM_CHECK_INT(cost.copies_on_device, 0);
    UM_CHECK_INT(cost.device_allocations, 0);
    UM_CHECK_INT(cost.pinned_allocations, 0);
    UM_CHECK_INT(cost.objects_created, 0);
    UM_CHECK_INT(cost.live_allocations, 0);
}

static void count_steps(um_precision precision, int32_t layers)
{
    const um_tiny_engine_options options = {.backend = {.name = "cuda", .plugin = fake_plugin()},
                                            .precision = precision,
                                            .checkpoint = {.layers = layers},
                                            .batch_max = 4,
                                            .rows_per_step = 64};
    static um_tiny_engine tiny;

    UM_CHECK(um_tiny_engine_open(&tiny, &options));
    submit(&tiny, 1, false);
    for (int i = 0; i < 6; i++) {
        fakecuda_counts cost = turn(&tiny);

        if (i == 0) /* joins, and algorithms are chosen */
            continue;
        check_step(cost, layers, false);
        UM_CHECK_INT(cost.copies_to_device, 1);
    }
    for (int32_t seed = 2; seed <= 3; seed++) {
        submit(&tiny, seed, seed == 3);
        for (int i = 0; i < 4; i++) {
            fakecuda_counts cost = turn(&tiny);

            if (i == 0)
                continue;
            check_step(cost, layers, seed == 3);
            UM_CHECK_INT(cost.copies_to_device, 1);
        }
    }
    um_tiny_engine_close(&tiny);
}

static void step_costs_nine_launches_a_layer_and_one_wait(void)
{
    count_steps(UM_PRECISION_F32, 2);
    count_steps(UM_PRECISION_BF16, 3);
}

static const um_test tests[] = {
    UM_TEST(step_costs_nine_launches_a_layer_and_one_wait),
};
UM_TEST_MAIN(tests)
