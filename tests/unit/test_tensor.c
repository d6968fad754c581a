/* Tensors and backends: conversion of dtypes, views, ownership, opening by name, failures. */
#include "core/base/mem.h"
#include "kernels/ops.h"

#include "tests/support/ref_backend.h"
#include "tests/test.h"

static void bf16_rounds_to_nearest_even_and_keeps_nan(void)
{
    /* Every bf16 value survives the way up and down. */
    for (uint32_t h = 0; h < 0x10000u; h++) {
        float value = um_bf16_to_f32((uint16_t)h);

        if (isnan(value))
            UM_CHECK(isnan(um_bf16_to_f32(um_f32_to_bf16(value))));
        else
            UM_CHECK_INT(um_f32_to_bf16(value), h);
    }
    UM_CHECK_INT(um_f32_to_bf16(0x1.01p0f), 0x3f80);     /* half way: to even, down */
    UM_CHECK_INT(um_f32_to_bf16(0x1.03p0f), 0x3f82);     /* half way: to even, up */
    UM_CHECK_INT(um_f32_to_bf16(0x1.010002p0f), 0x3f81); /* just above half way */
    UM_CHECK_INT(um_f32_to_bf16(0x1.fffffep127f), 0x7f80);
    UM_CHECK_INT(um_f32_to_bf16(INFINITY), 0x7f80);
    /* a NaN whose payload lies in the low half only must not become infinity */
    union {
        uint32_t bits;
        float value;
    } nan = {.bits = 0x7f800001u};
    UM_CHECK(isnan(um_bf16_to_f32(um_f32_to_bf16(nan.value))));
}

static void f16_widens_exactly(void)
{
    for (uint32_t h = 0; h < 0x10000u; h++) {
        int exponent = (int)(h >> 10) & 31;
        double mantissa = (double)(h & 1023u), sign = h & 0x8000u ? -1.0 : 1.0;
        double expected = exponent == 0 ? sign * ldexp(mantissa, -24)
                                        : sign * ldexp(1024.0 + mantissa, exponent - 25);
        float value = um_f16_to_f32((uint16_t)h);

        if (exponent == 31 && mantissa != 0)
            UM_CHECK(isnan(value));
        else if (exponent == 31)
            UM_CHECK((double)value == sign * (double)INFINITY);
        else
            UM_CHECK((double)value == expected && !signbit(value) == !signbit(expected));
    }
}

static void widen_reads_every_checkpoint_dtype(void)
{
    static const float f32[3] = {1.5f, -2.0f, 0.25f};
    static const uint16_t bf16[3] = {0x3fc0, 0xc000, 0x3e80}, f16[3] = {0x3e00, 0xc000, 0x3400};
    float out[3][4];

    for (int i = 0; i < 3; i++)
        out[i][3] = 7.0f;
    um_widen(UM_F32, f32, out[0], 3);
    um_widen(UM_BF16, bf16, out[1], 3);
    um_widen(UM_F16, f16, out[2], 3);
    for (int i = 0; i < 3; i++) {
        UM_CHECK_INT(memcmp(out[i], f32, sizeof(f32)), 0);
        UM_CHECK(out[i][3] == 7.0f);
    }
}

static void convert_rounds_once_and_copies_its_own_dtype(void)
{
    enum { COUNT = 300 }; /* more than one piece of the conversion */
    float wide[COUNT], back[COUNT + 1];
    uint16_t half[COUNT + 1], same[COUNT];

    for (int i = 0; i < COUNT; i++)
        wide[i] = (float)i + 1.0f / 512.0f;
    half[COUNT] = 7;
    back[COUNT] = 7.0f;
    um_convert(UM_F32, wide, UM_BF16, half, COUNT);
    for (int i = 0; i < COUNT; i++)
        UM_CHECK_INT(half[i], um_f32_to_bf16(wide[i]));
    UM_CHECK_INT(half[COUNT], 7);
    um_convert(UM_BF16, half, UM_BF16, same, COUNT);
    UM_CHECK_INT(memcmp(same, half, sizeof(same)), 0);
    um_convert(UM_BF16, half, UM_F32, back, COUNT);
    for (int i = 0; i < COUNT; i++)
        UM_CHECK(back[i] == um_bf16_to_f32(half[i]));
    UM_CHECK(back[COUNT] == 7.0f);
}

static void tensors_own_zeroed_memory_and_views_share_it(void)
{
    um_backend *backend = um_ref_backend_open();
    um_tensor tensor, view, inner;
    float sent[12], got[12];
    um_err err = {0};

    UM_CHECK_OK(um_tensor_create(backend, UM_F32, 3, 4, &tensor, &err), err);
    UM_CHECK_INT(tensor.bytes, 48);
    UM_CHECK_INT((uintptr_t)tensor.data % 64, 0);
    for (int i = 0; i < 12; i++) {
        UM_CHECK(((float *)tensor.data)[i] == 0.0f);
        sent[i] = (float)i;
    }
    UM_CHECK_OK(um_tensor_upload(backend, &tensor, sent, 12, &err), err);
    view = um_tensor_view(&tensor, 1, 2, 1, 3);
    inner = um_tensor_view(&view, 1, 1, 1, 2);
    UM_CHECK_INT(view.bytes, 0);
    UM_CHECK_INT(view.stride, 4);
    UM_CHECK(um_f32_row(&view, 1)[2] == 11.0f);
    UM_CHECK(um_f32_row(&inner, 0)[0] == 10.0f);
    UM_CHECK_OK(um_tensor_download(backend, &tensor, got, 12, &err), err);
    UM_CHECK_INT(memcmp(sent, got, sizeof(got)), 0);
    um_tensor_destroy(backend, &view); /* owns nothing */
    um_tensor_destroy(backend, &tensor);
    UM_CHECK(tensor.data == NULL);
    um_backend_close(backend);
}

static void impossible_sizes_are_out_of_memory(void)
{
    um_backend *backend = um_ref_backend_open();
    um_tensor tensor;
    um_err err = {0};

    UM_CHECK_STATUS(um_tensor_create(backend, UM_F32, INT64_MAX, INT64_MAX, &tensor, &err),
                    UM_E_NOMEM);
    UM_CHECK(tensor.data == NULL);
    um_backend_close(backend);
}

static void unknown_names_are_refused(void)
{
    um_backend_options unknown = {.name = "quantum"};
    um_backend_options level = {.name = "ref", .isa = "avx2"};
    um_backend *backend;
    um_err err = {0};

    UM_CHECK_STATUS(um_backend_open(&unknown, &backend, &err), UM_E_VALUE);
    UM_CHECK_STR(err.message, "backend is 'quantum'; known are auto, cpu, cuda, ref");
    UM_CHECK(backend == NULL);
    UM_CHECK_STATUS(um_backend_open(&level, &backend, &err), UM_E_CONFLICT);
}

static void a_row_of_logits_must_fit_the_tile(void)
{
    um_backend_options options = {.name = "ref", .tile_bytes = 4096};
    um_backend_limits limits = {.rows_max = 4, .sequence_max = 4, .width_max = 8};
    um_backend *backend;
    um_err err = {0};

    UM_CHECK_OK(um_backend_open(&options, &backend, &err), err);
    limits.vocab_max = 1024;
    UM_CHECK_OK(um_backend_reserve(backend, &limits, &err), err);
    limits.vocab_max = 1025;
    UM_CHECK_STATUS(um_backend_reserve(backend, &limits, &err), UM_E_UNSUPPORTED);
    um_backend_close(backend);
}

static void ref_has_no_peak(void)
{
    um_backend *backend = um_ref_backend_open();
    um_peak peak;
    um_err err = {0};

    UM_CHECK_STATUS(um_backend_measure_peak(backend, 0.01, &peak, &err), UM_E_UNSUPPORTED);
    UM_CHECK(peak.f32_flops == 0.0);
    UM_CHECK_STR(um_backend_name(backend), "ref");
    UM_CHECK_STR(um_backend_describe(backend), "ref, 1 thread, tile 16384 KiB");
    UM_CHECK(um_backend_is_host(backend));
    UM_CHECK(um_backend_is_batch_invariant(backend));
    um_backend_close(backend);
}

static void misshapen_weights_are_errors(void)
{
    static const float data[12];
    um_backend *backend = um_ref_backend_open();
    um_weight_spec good = {.kind = UM_WEIGHT_GATED, .dtype = UM_F32, .part_count = 2};
    um_weight_spec bad;
    um_weight *weight;
    um_err err = {0};

    good.parts[0] = um_tensor_host(UM_F32, 2, 3, data);
    good.parts[1] = um_tensor_host(UM_F32, 2, 3, data);
    UM_CHECK_OK(um_weight_create(backend, &good, &weight, &err), err);
    UM_CHECK_INT(um_weight_out(weight), 2);
    UM_CHECK_INT(um_weight_in(weight), 3);
    UM_CHECK(um_weight_bytes(weight) >= 48);
    um_weight_destroy(backend, weight);

    bad = good;
    bad.parts[1] = um_tensor_host(UM_F32, 3, 3, data);
    UM_CHECK_STATUS(um_weight_create(backend, &bad, &weight, &err), UM_E_FORMAT);
    UM_CHECK(weight == NULL);
    bad.parts[1] = um_tensor_host(UM_F32, 2, 4, data);
    UM_CHECK_STATUS(um_weight_create(backend, &bad, &weight, &err), UM_E_FORMAT);
    bad.parts[1] = um_tensor_host(UM_I32, 2, 3, data);
    UM_CHECK_STATUS(um_weight_create(backend, &bad, &weight, &err), UM_E_UNSUPPORTED);
    bad = good;
    bad.biases[1] = um_tensor_host(UM_F32, 1, 3, data);
    UM_CHECK_STATUS(um_weight_create(backend, &bad, &weight, &err), UM_E_FORMAT);
    um_backend_close(backend);
}

/* Opens, reserves, packs and makes a tensor; cleans up whatever was made. */
static um_status make_everything(um_err *err)
{
    static const float data[12];
    um_backend_options options = {.name = "ref"};
    um_backend_limits limits = {.rows_max = 8, .sequence_max = 8, .width_max = 8, .vocab_max = 40};
    um_weight_spec spec = {.dtype = UM_BF16, .part_count = 1};
    um_backend *backend = NULL;
    um_weight *weight = NULL;
    um_tensor tensor = {0};
    um_status status;

    spec.parts[0] = um_tensor_host(UM_F32, 4, 3, data);
    status = um_backend_open(&options, &backend, err);
    if (status == UM_OK)
        status = um_backend_reserve(backend, &limits, err);
    if (status == UM_OK)
        status = um_weight_create(backend, &spec, &weight, err);
    if (status == UM_OK)
        status = um_tensor_create(backend, UM_F32, 2, 2, &tensor, err);
    if (backend) {
        um_tensor_destroy(backend, &tensor);
        um_weight_destroy(backend, weight);
    }
    um_backend_close(backend);
    return status;
}

static void every_allocation_may_fail(void)
{
    long failures = 0;

    for (;; failures++) {
        um_err err = {0};
        um_status status;

        um_mem_fail_after(failures + 1);
        status = make_everything(&err);
        if (um_mem_fail_pending()) {
            um_mem_fail_after(0);
            UM_CHECK_OK(status, err);
            break;
        }
        UM_CHECK_STATUS(status, UM_E_NOMEM);
        UM_CHECK(err.message[0] != '\0');
    }
    UM_CHECK_INT(failures, 5); /* backend, scratch, weight and its values, tensor */
}

static const um_test tests[] = {
    UM_TEST(bf16_rounds_to_nearest_even_and_keeps_nan),
    UM_TEST(f16_widens_exactly),
    UM_TEST(widen_reads_every_checkpoint_dtype),
    UM_TEST(convert_rounds_once_and_copies_its_own_dtype),
    UM_TEST(tensors_own_zeroed_memory_and_views_share_it),
    UM_TEST(impossible_sizes_are_out_of_memory),
    UM_TEST(unknown_names_are_refused),
    UM_TEST(a_row_of_logits_must_fit_the_tile),
    UM_TEST(ref_has_no_peak),
    UM_TEST(misshapen_weights_are_errors),
    UM_TEST(every_allocation_may_fail),
};
UM_TEST_MAIN(tests)
