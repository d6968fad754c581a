/*
 * A backend: where tensors live and which kernels run on them.
 *
 *     um_backend_options options = {.name = "auto", .threads = 0};
 *     status = um_backend_open(&options, &backend, err);
 *     um_log(UM_LOG_INFO, "backend", "%s", um_backend_describe(backend));
 *
 * "ref" is the oracle: plain loops, one thread. "cpu" runs our kernels for the best instruction
 * set that the machine has (avx512bf16, avx512, avx2, portable), or for the one that `isa` names.
 * "cuda" is the plugin unmask-cuda.so. "auto" is cuda where plugin, device and cuBLAS are there and
 * no `isa` is asked for, else cpu, with the reason in the log. Asking for a backend or level that
 * cannot run is an error, never a fallback.
 *
 * One thread at a time uses a backend (the engine thread); the backend may use threads inside.
 */
#ifndef UM_KERNELS_BACKEND_H
#define UM_KERNELS_BACKEND_H

#include "kernels/tensor.h"

typedef struct um_backend_options {
    const char *name;   /* "auto", "cpu", "cuda", "ref" */
    const char *isa;    /* NULL or "auto"; cpu only: "avx512bf16", "avx512", "avx2", "portable" */
    int32_t threads;    /* 0: one per online core */
    size_t tile_bytes;  /* 0: 16 MiB, cuda 64 MiB; the bound of the logits tile */
    const char *plugin; /* path of the cuda plugin; NULL or "": unmask-cuda.so beside the program */
    bool
        batch_invariant; /* see um_backend_is_batch_invariant; cuda pays for it, others always are */
} um_backend_options;

um_status um_backend_open(const um_backend_options *options, um_backend **out, um_err *err);
void um_backend_close(um_backend *backend);

/* "cpu-avx512bf16": reported by /version and part of the fingerprint. */
const char *um_backend_name(const um_backend *backend);
/* "cpu-avx512bf16, 2 threads, tile 16384 KiB": for the log. */
const char *um_backend_describe(const um_backend *backend);
/* True when tensor memory is plain host memory. */
bool um_backend_is_host(const um_backend *backend);
/* True when a row's result never depends on the other rows of a call, bit for bit. */
bool um_backend_is_batch_invariant(const um_backend *backend);

/* Rows of a step that keep this kind of machine busy: the default of --rows-per-step. */
int32_t um_backend_step_rows(const um_backend *backend);

/* The largest call to come: scratch for it is reserved now, so that no op allocates later. May be
 * called again with larger limits. UM_E_NOMEM; UM_E_UNSUPPORTED when one row of logits is larger
 * than the tile. */
typedef struct um_backend_limits {
    int64_t rows_max;     /* packed rows of a call */
    int64_t sequence_max; /* rows of one sequence */
    int64_t width_max;    /* widest activation: max(d, q+2k, mlp) */
    int64_t vocab_max;    /* widest row of logits */
} um_backend_limits;
um_status um_backend_reserve(um_backend *backend, const um_backend_limits *limits, um_err *err);

/* What the machine can do, measured now in about `seconds`: for `unmask bench`. Zero where the
 * backend cannot tell (UM_E_UNSUPPORTED for ref). */
typedef struct um_peak {
    double f32_flops;  /* FLOP/s, all threads, register-only FMA loop */
    double bf16_flops; /* likewise for the bf16 product instruction in use, else = f32_flops */
    double read_bytes; /* bytes/s, streaming read beyond the last-level cache, all threads */
} um_peak;
um_status um_backend_measure_peak(um_backend *backend, double seconds, um_peak *out, um_err *err);

#endif
