/*
 * What the op tests share: every backend and instruction-set level that this machine can run,
 * matrices with guard zones around them, pseudo-random contents, and element checks against a
 * double-precision expectation.
 */
#ifndef UM_TESTS_OPS_FIXTURE_H
#define UM_TESTS_OPS_FIXTURE_H

#include "kernels/ops.h"

#include "tests/test.h"

#define OPS_LABEL_BYTES 160
#define OPS_ROWS_MAX 400
#define OPS_WIDTH_MAX 1536
#define OPS_BACKENDS_MAX 16

/* The backends under test, opened once per test: ref, then cpu at each level with 1 and 2 threads,
 * then cuda on the fake device where the build has it (with UM_CUDA_TEST_PLUGIN, which
 * scripts/gpu_check sets, on what that plugin finds). A level that the machine lacks is left out
 * and named on standard output. The fake device takes milliseconds for a block: tests with very
 * many give it fewer. */
typedef struct ops_backends {
    int count;
    um_backend *at[OPS_BACKENDS_MAX];
    char label[OPS_BACKENDS_MAX][48]; /* "cpu-avx2/2" */
} ops_backends;

/* tile_bytes 0: the default. Reserves for OPS_ROWS_MAX rows and vocab_max logits. */
void ops_open(ops_backends *backends, size_t tile_bytes, int64_t vocab_max);
void ops_close(ops_backends *backends);
bool ops_is_fake_device(const um_backend *backend);

/* Plain row-major, or inside a wider matrix at an odd offset. */
typedef enum ops_layout {
    OPS_TIGHT,
    OPS_PADDED,
} ops_layout;

/* A matrix in the backend's memory, for the args of ops, and its copy in host memory, which tests
 * read and write. The surroundings of both are all-ones bytes: NaN for a kernel that reads them, and
 * a guard against one that writes them. */
typedef struct ops_matrix {
    um_backend *backend;  /* NULL: host memory only, for the sources of weights */
    um_tensor store;      /* owned */
    um_tensor view;       /* of store */
    um_tensor host_store; /* owned */
    um_tensor host;       /* of host_store */
} ops_matrix;

/* All-ones bytes throughout. */
ops_matrix ops_make(um_backend *backend, um_dtype dtype, int64_t rows, int64_t cols,
                    ops_layout layout);
/* One row with these contents. */
ops_matrix ops_vector(um_backend *backend, um_dtype dtype, int64_t count, const void *data);
/* `count` structs as UM_BYTES. */
#define ops_structs(backend, count, data)                                                          \
    ops_vector((backend), UM_BYTES, (int64_t)(count) * (int64_t)sizeof(*(data)), (data))
void ops_free(ops_matrix *matrix);
/* What tests wrote to the host copy goes to the backend. */
void ops_upload(const ops_matrix *matrix);
/* What ops wrote comes back. Fails the test when a byte outside the view has changed. */
void ops_download(ops_matrix *matrix, const char *label);

/* Uniform in (-scale, scale), rounded to the tensor's dtype; the same for the same seed. Host copy
 * and backend. */
void ops_fill(ops_matrix *matrix, uint32_t seed, float scale);
float ops_uniform(uint32_t seed, uint32_t index); /* (-1, 1) */

/* The following take tensors in host memory. */
double ops_get(const um_tensor *t, int64_t row, int64_t col);
void ops_set(const um_tensor *t, int64_t row, int64_t col, float value);
/* Bitwise equality of one row of each. */
bool ops_same_row(const um_tensor *a, int64_t row_a, const um_tensor *b, int64_t row_b);
/* Rows [first, end) of `broken` must be NaN all over, the others as in `clean`. */
void ops_check_isolated(const um_tensor *clean, const um_tensor *broken, int64_t first, int64_t end,
                        const char *label);

/* Round half to even to the dtype's precision, in double and without um_f32_to_bf16. */
double ops_round(um_dtype dtype, double value);

/* Errors of one op on one backend. */
typedef struct ops_stats {
    double worst_f32;  /* largest error / bound */
    double worst_bf16; /* the same, the element's own rounding taken off */
    int64_t elements;  /* bf16 elements seen */
    int64_t different; /* of them, not the expected bits */
} ops_stats;

/* |actual - expected| <= bound; a bf16 element may also be one rounding (2^-8 of it) away. */
void ops_check_element(ops_stats *stats, const char *label, const um_tensor *t, int64_t row,
                       int64_t col, double expected, double bound);
/* Prints the worst error. Of the bf16 elements at most one in a hundred may differ at all: float32
 * against double straddles a rounding boundary for about one in a thousand, a rounding point that
 * is missing or misplaced shifts one in four. */
void ops_stats_finish(const ops_stats *stats, const char *op, const char *label);

#endif
