/*
 * Opens a backend by name and keeps what is common to all: names, limits, the optional slots.
 */
#include "kernels/backend.h"

#include <string.h>

#include "core/base/log.h"
#include "kernels/plugin.h"

#define HOST_TILE_BYTES ((size_t)16 << 20)
/* Far above the ridges of 9 rows (CPU) and 295 (H100), so that several canvases share a step. */
#define HOST_STEP_ROWS 512
#define DEVICE_STEP_ROWS 2048

/* True: cuda cannot run here. Any other failure is one of a device that is there. */
static bool is_absent(um_status status)
{
    return status == UM_E_NOT_FOUND || status == UM_E_UNSUPPORTED;
}

/* cuda if it can run; UM_EMPTY, with the reason in the log, if it cannot. */
static um_status try_cuda(const um_backend_options *options, um_backend **out, um_err *err)
{
    um_err reason = {0};
    um_status status = umi_plugin_load(options, out, &reason);

    if (is_absent(status)) {
        um_log(UM_LOG_INFO, "no_cuda", "reason=\"%s\"", reason.message);
        return UM_EMPTY;
    }
    if (status != UM_OK && err)
        *err = reason;
    return status;
}

static um_status open_host(const um_backend_options *options, um_backend **out, um_err *err)
{
    um_backend_options filled = *options;

    if (filled.tile_bytes == 0)
        filled.tile_bytes = HOST_TILE_BYTES;
    if (strcmp(filled.name, "ref") == 0)
        return umi_ref_open(&filled, out, err);
    return umi_cpu_open(&filled, out, err);
}

static um_status open_cuda(const um_backend_options *options, um_backend **out, um_err *err)
{
    um_status status;

    if (options->isa)
        return um_fail_field(err, UM_E_CONFLICT, "isa",
                             "isa is '%s', but backend cuda has no instruction-set levels",
                             options->isa);
    status = umi_plugin_load(options, out, err);
    return status == UM_OK ? UM_OK : um_err_prefix(err, status, "backend cuda cannot run");
}

um_status um_backend_open(const um_backend_options *options, um_backend **out, um_err *err)
{
    um_backend_options filled = *options;

    *out = NULL;
    if (!filled.name)
        filled.name = "auto";
    if (filled.isa && strcmp(filled.isa, "auto") == 0)
        filled.isa = NULL;
    if (strcmp(filled.name, "cuda") == 0)
        return open_cuda(&filled, out, err);
    if (strcmp(filled.name, "auto") == 0 && !filled.isa) {
        um_status status = try_cuda(&filled, out, err);

        if (status != UM_EMPTY)
            return status;
    }
    if (strcmp(filled.name, "auto") == 0 || strcmp(filled.name, "cpu") == 0 ||
        strcmp(filled.name, "ref") == 0)
        return open_host(&filled, out, err);
    return um_fail_field(err, UM_E_VALUE, "backend",
                         "backend is '%s'; known are auto, cpu, cuda, ref", filled.name);
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

int32_t um_backend_step_rows(const um_backend *backend)
{
    return backend->is_host ? HOST_STEP_ROWS : DEVICE_STEP_ROWS;
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
