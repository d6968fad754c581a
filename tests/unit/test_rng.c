/* Random numbers: Philox against the published vectors, noise against double-precision libm. */
#include "core/base/rng.h"

#include "tests/test.h"

/* Random123 1.x, kat_vectors: philox4x32-10. Counter words are c0..c3, key words k0 (low), k1. */
static const struct vector {
    uint32_t counter[4], key[2], out[4];
} vectors[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

static void philox_gives_the_published_vectors(void)
{
    for (size_t i = 0; i < UM_COUNT_OF(vectors); i++) {
        const struct vector *v = &vectors[i];
        uint32_t out[4];

        um_philox((uint64_t)v->key[1] << 32 | v->key[0], v->counter[0], v->counter[1],
                  v->counter[2], v->counter[3], out);
        for (int j = 0; j < 4; j++)
            UM_CHECK_INT(out[j], v->out[j]);
    }
}

/* Calls visit for x near both ends and the middle, one by one, and in strides between. */
static void for_many_x(void (*visit)(uint32_t x))
{
    for (uint64_t x = 0; x < (uint64_t)1 << 32;) {
        uint64_t to_middle = x < 0x80000000u ? 0x80000000u - x : x - 0x80000000u;

        visit((uint32_t)x);
        x += x < 20000 || x >= 0xffffffffu - 20000u || to_middle < 20000 ? 1 : 9973;
    }
}

static double worst;

static void visit_uniform(uint32_t x)
{
    float u = um_uniform(x);
    double exact = ((double)x + 0.5) * 0x1p-32;

    if (!(u > 0.0f && u < 1.0f))
        um_test_fail(__FILE__, __LINE__, "um_uniform(%u) is %.9g", x, (double)u);
    worst = fmax(worst, fabs((double)u - exact) / exact);
}

static void uniforms_lie_inside_the_open_interval(void)
{
    for_many_x(visit_uniform);
    /* two roundings of half a unit in the last place: 2 * 2^-24 = 1.2e-7 */
    UM_CHECK_NEAR(worst, 0, 1.2e-7);
    UM_CHECK(um_uniform(0) == 0x1p-33f);
    UM_CHECK(um_uniform(0xffffffffu) == 0x1.fffffep-1f);
}

static void noise_log_is_within_1e_7(void)
{
    double error = 0;

    for (uint32_t bits = 0x00800000u; bits < 0x7f800000u;) {
        double exact, difference;
        float x;

        memcpy(&x, &bits, sizeof(x));
        exact = log((double)x);
        difference = fabs((double)um_noise_log(x) - exact);
        if (!(difference <= 1e-7 * fabs(exact)))
            um_test_fail(__FILE__, __LINE__, "um_noise_log(%a) is off by %g", (double)x,
                         difference);
        if (exact != 0)
            error = fmax(error, difference / fabs(exact));
        bits += bits > 0x3f7ff000u && bits < 0x3f801000u ? 1 : 997;
    }
    UM_CHECK_NEAR(error, 0, 1e-7); /* observed 8.0e-8 */
}

static void visit_gumbel(uint32_t x)
{
    /* -ln u, without the rounding of u to double near 1 */
    double v = ((double)~x + 0.5) * 0x1p-32, e = -log1p(-v);
    double difference = fabs((double)um_gumbel(x) - -log(e));

    if (!(difference <= 1.2e-6))
        um_test_fail(__FILE__, __LINE__, "um_gumbel(%u) is off by %g", x, difference);
    worst = fmax(worst, difference);
}

static void gumbel_noise_is_within_1_2e_6_of_double(void)
{
    for_many_x(visit_gumbel);
    /* observed 1.01e-6 at u = 1 - 9e-8, where the noise is 16 and a unit in the last place 1.9e-6 */
    UM_CHECK_NEAR(worst, 0, 1.2e-6);
}

static const um_test tests[] = {
    UM_TEST(philox_gives_the_published_vectors),
    UM_TEST(uniforms_lie_inside_the_open_interval),
    UM_TEST(noise_log_is_within_1e_7),
    UM_TEST(gumbel_noise_is_within_1_2e_6_of_double),
};
UM_TEST_MAIN(tests)
