/*
 * Opens a backend by name and keeps what is common to all: names, limits, the optional slots.
 */
#include "kernels/backend.h"

#include <string.h>

#include "kernels/ops_table.h"

#define BACKEND_TILE_BYTES ((size_t)16 << 20)

um_status um_backend_open(const um_backend_options *options, um_backend **out, um_err *err)
{
    um_backend_options filled = *options;

    *out = NULL;
    if (!filled.name)
        filled.name = "auto";
    if (filled.isa && strcmp(filled.isa, "auto") == 0)
        filled.isa = NULL;
    if (filled.tile_bytes == 0)
        filled.tile_bytes = BACKEND_TILE_BYTES;
    if (strcmp(filled.name, "ref") == 0)
        return umi_ref_open(&filled, out, err);
    if (strcmp(filled.name, "cpu") == 0 || strcmp(filled.name, "auto") == 0)
        return umi_cpu_open(&filled, out, err);
    return um_fail_field(err, UM_E_VALUE, "backend", "backend is '%s'; known are auto, cpu, ref",
                         filled.name);
}

void um_backend_close(um_backend *backend)
{
    if (backend)
        backend->ops->close(backend);
}

const char *um_backend_name(const um_backend *backend)
{
    return backend->name;
}

const char *um_backend_describe(const um_backend *backend)
{
    return backend->description;
}

bool um_backend_is_host(const um_backend *backend)
{
    return backend->is_host;
}

bool um_backend_is_batch_invariant(const um_backend *backend)
{
    return backend->is_batch_invariant;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

um_status um_backend_reserve(um_backend *backend, const um_backend_limits *limits, um_err *err)
{
    const um_backend_limits *old = &backend->limits;
    um_backend_limits wanted = {
        .rows_max = larger(old->rows_max, limits->rows_max),
        .sequence_max = larger(old->sequence_max, limits->sequence_max),
        .width_max = larger(old->width_max, limits->width_max),
        .vocab_max = larger(old->vocab_max, limits->vocab_max),
    };
    um_status status = backend->ops->reserve(backend, &wanted, err);

    if (status == UM_OK)
        backend->limits = wanted;
    return status;
}

um_status um_backend_measure_peak(um_backend *backend, double seconds, um_peak *out, um_err *err)
{
    *out = (um_peak){0};
    if (!backend->ops->measure_peak)
        return um_fail(err, UM_E_UNSUPPORTED, "backend %s cannot measure its peak", backend->name);
    return backend->ops->measure_peak(backend, seconds, out, err);
}
