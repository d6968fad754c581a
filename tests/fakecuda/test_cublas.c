/*
 * The fake cublasLtMatmul against sums in double, its refusals, and what an algorithm promises: the
 * same bits for any number of columns.
 */
#include "tests/test.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <stdlib.h>

#include "kernels/tensor.h"
#include "tests/fakecuda/fakecuda.h"

/* One product with everything that it needs; column-major, as cuBLAS has it. */
typedef struct matmul {
    int64_t m, n, k;
    bool a_transposed, b_transposed;
    cudaDataType in, out;
    float alpha, beta;
    uint32_t epilogue;
    int64_t pad; /* added to every leading dimension */

    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t layouts[3]; /* A, B, C = D */
    int64_t lds[3];
    int64_t sizes[3]; /* elements */
    float *host[4];   /* values as the device sees them: A, B, C, bias */
    void *device[4];
    cublasLtMatmulAlgo_t algo;
    void *workspace;
    size_t workspace_bytes;
} matmul;

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static float random_value(uint32_t *state)
{
    return (float)next_random(state) / 8388608.0f - 1.0f;
}

/* Random values in the element type, on both sides. */
static void fill_operand(matmul *mm, int index, cudaDataType type, int64_t count, uint32_t seed)
{
    size_t bytes = (size_t)count * (type == CUDA_R_32F ? 4 : 2);
    char *raw = malloc(bytes);

    mm->host[index] = malloc((size_t)count * sizeof(float));
    for (int64_t i = 0; i < count; i++) {
        float value = random_value(&seed);

        if (type == CUDA_R_16BF) {
            uint16_t half = um_f32_to_bf16(value);
            memcpy(raw + i * 2, &half, 2);
            value = um_bf16_to_f32(half);
        } else {
            memcpy(raw + i * 4, &value, 4);
        }
        mm->host[index][i] = value;
    }
    UM_CHECK_INT(cudaMalloc(&mm->device[index], bytes), cudaSuccess);
    UM_CHECK_INT(cudaMemcpy(mm->device[index], raw, bytes, cudaMemcpyHostToDevice), cudaSuccess);
    free(raw);
}

static void create(matmul *mm)
{
    const int32_t a_op = mm->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const int32_t b_op = mm->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const int64_t rows[3] = {mm->a_transposed ? mm->k : mm->m, mm->b_transposed ? mm->n : mm->k,
                             mm->m};
    const int64_t cols[3] = {mm->a_transposed ? mm->m : mm->k, mm->b_transposed ? mm->k : mm->n,
                             mm->n};

    UM_CHECK_INT(cublasLtCreate(&mm->handle), CUBLAS_STATUS_SUCCESS);
    UM_CHECK_INT(cublasLtMatmulDescCreate(&mm->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), 0);
    UM_CHECK_INT(
        cublasLtMatmulDescSetAttribute(mm->desc, CUBLASLT_MATMUL_DESC_TRANSA, &a_op, sizeof(a_op)),
        0);
    UM_CHECK_INT(
        cublasLtMatmulDescSetAttribute(mm->desc, CUBLASLT_MATMUL_DESC_TRANSB, &b_op, sizeof(b_op)),
        0);
    UM_CHECK_INT(cublasLtMatmulDescSetAttribute(mm->desc, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                &mm->epilogue, sizeof(mm->epilogue)),
                 0);
    for (int i = 0; i < 3; i++) {
        cudaDataType type = i < 2 ? mm->in : mm->out;

        mm->lds[i] = rows[i] + mm->pad;
        mm->sizes[i] = (cols[i] - 1) * mm->lds[i] + rows[i];
        UM_CHECK_INT(cublasLtMatrixLayoutCreate(&mm->layouts[i], type, (uint64_t)rows[i],
                                                (uint64_t)cols[i], mm->lds[i]),
                     0);
        fill_operand(mm, i, type, mm->sizes[i], (uint32_t)(i + 1));
    }
    fill_operand(mm, 3, mm->out, mm->m, 4);
    UM_CHECK_INT(cublasLtMatmulDescSetAttribute(mm->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                &mm->device[3], sizeof(void *)),
                 0);
    mm->workspace_bytes = 1 << 20;
    UM_CHECK_INT(cudaMalloc(&mm->workspace, mm->workspace_bytes), cudaSuccess);
}

static void destroy(matmul *mm)
{
    for (int i = 0; i < 4; i++) {
        free(mm->host[i]);
        UM_CHECK_INT(cudaFree(mm->device[i]), cudaSuccess);
    }
    UM_CHECK_INT(cudaFree(mm->workspace), cudaSuccess);
    for (int i = 0; i < 3; i++)
        UM_CHECK_INT(cublasLtMatrixLayoutDestroy(mm->layouts[i]), 0);
    UM_CHECK_INT(cublasLtMatmulDescDestroy(mm->desc), 0);
    UM_CHECK_INT(cublasLtDestroy(mm->handle), 0);
}

/* The heuristic's proposals; how many. */
static int propose(const matmul *mm, uint64_t workspace, cublasLtMatmulHeuristicResult_t *out,
                   int capacity)
{
    cublasLtMatmulPreference_t preference;
    const uint32_t alignment = 4;
    int count = 0;

    UM_CHECK_INT(cublasLtMatmulPreferenceCreate(&preference), 0);
    UM_CHECK_INT(cublasLtMatmulPreferenceSetAttribute(preference,
                                                      CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                      &workspace, sizeof(workspace)),
                 0);
    for (int i = 0; i < 4; i++)
        UM_CHECK_INT(
            cublasLtMatmulPreferenceSetAttribute(
                preference,
                (cublasLtMatmulPreferenceAttributes_t)(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES +
                                                       i),
                &alignment, sizeof(alignment)),
            0);
    UM_CHECK_INT(cublasLtMatmulAlgoGetHeuristic(mm->handle, mm->desc, mm->layouts[0],
                                                mm->layouts[1], mm->layouts[2], mm->layouts[2],
                                                preference, capacity, out, &count),
                 0);
    UM_CHECK_INT(cublasLtMatmulPreferenceDestroy(preference), 0);
    return count;
}

static cublasStatus_t run(const matmul *mm, const cublasLtMatmulAlgo_t *algo)
{
    return cublasLtMatmul(mm->handle, mm->desc, &mm->alpha, mm->device[0], mm->layouts[0],
                          mm->device[1], mm->layouts[1], &mm->beta, mm->device[2], mm->layouts[2],
                          mm->device[2], mm->layouts[2], algo, mm->workspace, mm->workspace_bytes,
                          NULL);
}

static double expected(const matmul *mm, int64_t row, int64_t col)
{
    double sum = 0.0;

    for (int64_t at = 0; at < mm->k; at++) {
        float a = mm->host[0][mm->a_transposed ? at + row * mm->lds[0] : row + at * mm->lds[0]];
        float b = mm->host[1][mm->b_transposed ? col + at * mm->lds[1] : at + col * mm->lds[1]];
        sum += (double)a * (double)b;
    }
    sum = (double)mm->alpha * sum + (double)mm->beta * (double)mm->host[2][row + col * mm->lds[2]];
    if (mm->epilogue & CUBLASLT_EPILOGUE_BIAS)
        sum += (double)mm->host[3][row];
    if ((mm->epilogue & CUBLASLT_EPILOGUE_RELU) && sum < 0.0)
        sum = 0.0;
    return sum;
}

/* float32 sums of up to 200 products below 1 were within 3e-6 of the double ones; a bf16 result of
 * up to 64 is within half of its last bit. */
static void compare(const matmul *mm)
{
    size_t each = mm->out == CUDA_R_32F ? 4 : 2;
    char *raw = malloc((size_t)mm->sizes[2] * each);

    UM_CHECK_INT(
        cudaMemcpy(raw, mm->device[2], (size_t)mm->sizes[2] * each, cudaMemcpyDeviceToHost), 0);
    for (int64_t i = 0; i < mm->sizes[2]; i++) {
        int64_t row = i % mm->lds[2], col = i / mm->lds[2];
        uint16_t half = 0;
        float value = 0.0f;
        double want;

        if (each == 2) {
            memcpy(&half, raw + i * 2, 2);
            value = um_bf16_to_f32(half);
        } else {
            memcpy(&value, raw + i * 4, 4);
        }
        /* what lies between the columns is not written */
        want = row < mm->m ? expected(mm, row, col) : (double)mm->host[2][i];
        UM_CHECK_NEAR(value, want, each == 2 ? 1e-5 + fabs(want) / 256.0 : 1e-5);
    }
    free(raw);
}

static void check_product(matmul *mm)
{
    cublasLtMatmulHeuristicResult_t proposals[4];
    int count;

    create(mm);
    count = propose(mm, 1 << 20, proposals, 4);
    UM_CHECK(count >= 1);
    if (count >= 1) {
        UM_CHECK_INT(run(mm, &proposals[0].algo), CUBLAS_STATUS_SUCCESS);
        compare(mm);
    }
    destroy(mm);
}

static void products_match_sums_in_double(void)
{
    static const cudaDataType types[][2] = {
        {CUDA_R_32F, CUDA_R_32F}, {CUDA_R_16BF, CUDA_R_32F}, {CUDA_R_16BF, CUDA_R_16BF}};

    for (size_t t = 0; t < UM_COUNT_OF(types); t++)
        for (int ops = 0; ops < 4; ops++) {
            matmul mm = {.m = 67,
                         .n = 5,
                         .k = 131,
                         .a_transposed = ops & 1,
                         .b_transposed = ops & 2,
                         .in = types[t][0],
                         .out = types[t][1],
                         .alpha = 1.0f,
                         .epilogue = CUBLASLT_EPILOGUE_DEFAULT,
                         .pad = 3};
            check_product(&mm);
        }
}

static void sums_scale_bias_and_clip(void)
{
    static const uint32_t epilogues[] = {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS,
                                         CUBLASLT_EPILOGUE_RELU, CUBLASLT_EPILOGUE_RELU_BIAS};

    for (size_t i = 0; i < UM_COUNT_OF(epilogues); i++) {
        matmul mm = {.m = 4,
                     .n = 3,
                     .k = 9,
                     .a_transposed = true,
                     .in = CUDA_R_32F,
                     .out = CUDA_R_32F,
                     .alpha = 0.5f,
                     .beta = 1.0f,
                     .epilogue = epilogues[i]};
        check_product(&mm);
    }
}

static void odd_sizes_match(void)
{
    static const int64_t sizes[][3] = {{1, 1, 1}, {1, 7, 200}, {130, 1, 8}, {64, 64, 64}};

    for (size_t i = 0; i < UM_COUNT_OF(sizes); i++) {
        matmul mm = {.m = sizes[i][0],
                     .n = sizes[i][1],
                     .k = sizes[i][2],
                     .a_transposed = true,
                     .in = CUDA_R_16BF,
                     .out = CUDA_R_32F,
                     .alpha = 1.0f,
                     .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
        check_product(&mm);
    }
}

/* Runs with `n` columns and returns the first one. */
static void first_column(int64_t n, int proposal, float *out, int64_t rows)
{
    matmul mm = {.m = rows,
                 .n = n,
                 .k = 500,
                 .a_transposed = true,
                 .in = CUDA_R_32F,
                 .out = CUDA_R_32F,
                 .alpha = 1.0f,
                 .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    cublasLtMatmulHeuristicResult_t proposals[4];

    create(&mm);
    UM_CHECK(propose(&mm, 1 << 20, proposals, 4) > proposal);
    UM_CHECK_INT(run(&mm, &proposals[proposal].algo), 0);
    UM_CHECK_INT(
        cudaMemcpy(out, mm.device[2], (size_t)rows * sizeof(float), cudaMemcpyDeviceToHost), 0);
    destroy(&mm);
}

static void an_algorithm_gives_the_same_bits_for_any_column_count(void)
{
    float one[64], many[64], other[64];

    first_column(1, 0, one, 64);
    first_column(33, 0, many, 64);
    UM_CHECK(memcmp(one, many, sizeof(one)) == 0);
    first_column(33, 1, other, 64);
    UM_CHECK(memcmp(one, other, sizeof(one)) != 0); /* or the line above showed nothing */
}

static void by_switch_the_heuristic_depends_on_the_column_count(void)
{
    float one[64], many[64];

    UM_CHECK(fakecuda_set("SPLITS", "shape"));
    first_column(1, 0, one, 64);
    first_column(33, 0, many, 64);
    UM_CHECK(memcmp(one, many, sizeof(one)) != 0);
}

static void splits_need_a_workspace(void)
{
    matmul mm = {.m = 8,
                 .n = 4,
                 .k = 64,
                 .in = CUDA_R_32F,
                 .out = CUDA_R_32F,
                 .alpha = 1.0f,
                 .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    cublasLtMatmulHeuristicResult_t proposals[4];
    const int32_t splits = 2;
    int32_t read = 0;
    size_t written = 0;

    create(&mm);
    UM_CHECK_INT(propose(&mm, 0, proposals, 4), 2); /* the split one is not proposed */
    UM_CHECK_INT(propose(&mm, 1 << 20, proposals, 4), 3);
    UM_CHECK_INT(proposals[1].workspaceSize, 2 * 8 * 4 * 4);
    UM_CHECK_INT(cublasLtMatmulAlgoConfigGetAttribute(&proposals[1].algo,
                                                      CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &read,
                                                      sizeof(read), &written),
                 0);
    UM_CHECK_INT(read, 2);
    mm.workspace_bytes = proposals[1].workspaceSize - 1;
    UM_CHECK_INT(run(&mm, &proposals[1].algo), CUBLAS_STATUS_INVALID_VALUE);
    /* a split without a scheme to add up the parts is no algorithm */
    UM_CHECK_INT(cublasLtMatmulAlgoConfigSetAttribute(
                     &proposals[0].algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &splits, sizeof(splits)),
                 0);
    UM_CHECK_INT(cublasLtMatmulAlgoCheck(mm.handle, mm.desc, mm.layouts[0], mm.layouts[1],
                                         mm.layouts[2], mm.layouts[2], &proposals[0].algo,
                                         &proposals[0]),
                 CUBLAS_STATUS_NOT_SUPPORTED);
    destroy(&mm);
}

static void bad_problems_are_refused(void)
{
    matmul mm = {.m = 16,
                 .n = 4,
                 .k = 8,
                 .in = CUDA_R_32F,
                 .out = CUDA_R_32F,
                 .alpha = 1.0f,
                 .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    const uint32_t gelu = CUBLASLT_EPILOGUE_GELU;
    const int64_t short_ld = 15;
    const uint64_t cols = 5;
    char fault[256];

    create(&mm);
    UM_CHECK_INT(run(&mm, NULL), 0);
    UM_CHECK_INT(cublasLtMatrixLayoutSetAttribute(mm.layouts[2], CUBLASLT_MATRIX_LAYOUT_LD,
                                                  &short_ld, sizeof(short_ld)),
                 0);
    UM_CHECK_INT(run(&mm, NULL), CUBLAS_STATUS_INVALID_VALUE);
    UM_CHECK_INT(cublasLtMatrixLayoutSetAttribute(mm.layouts[2], CUBLASLT_MATRIX_LAYOUT_LD,
                                                  &mm.lds[2], sizeof(mm.lds[2])),
                 0);
    UM_CHECK_INT(
        cublasLtMatrixLayoutSetAttribute(mm.layouts[2], CUBLASLT_MATRIX_LAYOUT_LD, &mm.lds[2], 4),
        CUBLAS_STATUS_INVALID_VALUE);
    UM_CHECK_INT(cublasLtMatrixLayoutSetAttribute(mm.layouts[0], CUBLASLT_MATRIX_LAYOUT_COLS, &cols,
                                                  sizeof(cols)),
                 0);
    UM_CHECK_INT(run(&mm, NULL), CUBLAS_STATUS_INVALID_VALUE); /* A has 5 columns, B 8 rows */
    UM_CHECK_INT(cublasLtMatrixLayoutSetAttribute(mm.layouts[0], CUBLASLT_MATRIX_LAYOUT_COLS,
                                                  &(uint64_t){8}, sizeof(uint64_t)),
                 0);
    UM_CHECK_INT(run(&mm, NULL), 0);
    UM_CHECK_INT(
        cublasLtMatmulDescSetAttribute(mm.desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &gelu, sizeof(gelu)),
        0);
    UM_CHECK_INT(run(&mm, NULL), CUBLAS_STATUS_NOT_SUPPORTED);
    UM_CHECK_INT(cublasLtMatmulDescSetAttribute(mm.desc, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                &mm.epilogue, sizeof(mm.epilogue)),
                 0);
    fakecuda_catch(fault, sizeof(fault));
    UM_CHECK_INT(cublasLtMatmul(mm.handle, mm.desc, &mm.alpha, mm.host[0], mm.layouts[0],
                                mm.device[1], mm.layouts[1], &mm.beta, mm.device[2], mm.layouts[2],
                                mm.device[2], mm.layouts[2], NULL, NULL, 0, NULL),
                 CUBLAS_STATUS_INVALID_VALUE);
    UM_CHECK(strstr(fault, "cublasLtMatmul A") && strstr(fault, "is no device memory"));
    destroy(&mm);
}

static void operands_must_lie_inside_their_allocations(void)
{
    matmul mm = {.m = 16,
                 .n = 4,
                 .k = 8,
                 .in = CUDA_R_32F,
                 .out = CUDA_R_32F,
                 .alpha = 1.0f,
                 .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    const int64_t long_ld = 24;
    char fault[256];

    create(&mm);
    fakecuda_catch(fault, sizeof(fault));
    UM_CHECK_INT(cublasLtMatrixLayoutSetAttribute(mm.layouts[1], CUBLASLT_MATRIX_LAYOUT_LD,
                                                  &long_ld, sizeof(long_ld)),
                 0);
    UM_CHECK_INT(run(&mm, NULL), CUBLAS_STATUS_INVALID_VALUE);
    UM_CHECK(strstr(fault, "device bounds: cublasLtMatmul B: 320 bytes"));
    destroy(&mm);
}

static void the_nth_product_and_creation_fail(void)
{
    matmul mm = {.m = 4,
                 .n = 4,
                 .k = 4,
                 .in = CUDA_R_32F,
                 .out = CUDA_R_32F,
                 .alpha = 1.0f,
                 .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    cublasLtMatrixLayout_t layout;

    create(&mm);
    UM_CHECK(fakecuda_set("FAIL_LAUNCH", "2"));
    UM_CHECK_INT(run(&mm, NULL), 0);
    UM_CHECK_INT(run(&mm, NULL), CUBLAS_STATUS_EXECUTION_FAILED);
    UM_CHECK_INT(run(&mm, NULL), 0);
    UM_CHECK(fakecuda_set("FAIL_ALLOC", "1"));
    UM_CHECK_INT(cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, 1, 1, 1),
                 CUBLAS_STATUS_ALLOC_FAILED);
    destroy(&mm);
}

static void nothing_stays_behind(void)
{
    fakecuda_counts counts;
    matmul mm = {.m = 4,
                 .n = 4,
                 .k = 4,
                 .in = CUDA_R_32F,
                 .out = CUDA_R_32F,
                 .alpha = 1.0f,
                 .epilogue = CUBLASLT_EPILOGUE_DEFAULT};

    check_product(&mm);
    fakecuda_counters(&counts);
    UM_CHECK_INT(counts.live_allocations, 0);
    UM_CHECK_INT(counts.live_objects, 0);
    UM_CHECK_INT(counts.objects_created, 6); /* handle, description, 3 layouts, preference */
    UM_CHECK_INT(counts.matmuls, 1);
}

static const um_test tests[] = {
    UM_TEST(products_match_sums_in_double),
    UM_TEST(sums_scale_bias_and_clip),
    UM_TEST(odd_sizes_match),
    UM_TEST(an_algorithm_gives_the_same_bits_for_any_column_count),
    UM_TEST(by_switch_the_heuristic_depends_on_the_column_count),
    UM_TEST(splits_need_a_workspace),
    UM_TEST(bad_problems_are_refused),
    UM_TEST(operands_must_lie_inside_their_allocations),
    UM_TEST(the_nth_product_and_creation_fail),
    UM_TEST(nothing_stays_behind),
};
UM_TEST_MAIN(tests)
