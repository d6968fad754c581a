/*
 * The host side of score and select: the head's product into the tile, chunk by chunk, then the
 * kernels of cuda_score.h on it. Rules and edits stay on the device, so that what is launched
 * depends on shapes alone. Scratch comes from reserve. Owner: the engine thread.
 */
#include "kernels/cuda/cuda_score.h"

#include "core/base/mem.h"
#include "kernels/cuda/cuda_internal.h"

struct umi_cuda_score_state {
    int64_t rows_max;
    uint64_t *cuts;         /* device [rows_max], owned */
    umi_score_plain *plain; /* device [rows_max], owned */
    uint64_t *keys;         /* device [rows_max], owned; NULL while every sequence fits a block */
    float *raw;             /* device, owned */
    int64_t raw_floats;     /* room for any one row, and for a quarter of what the tile holds */
};

/* ---- scratch ---------------------------------------------------------------------------------- */

static void state_destroy(umi_cuda_score_state *state)
{
    if (!state)
        return;
    umi_cuda_free(state->cuts);
    umi_cuda_free(state->plain);
    umi_cuda_free(state->keys);
    umi_cuda_free(state->raw);
    um_mem_free(state);
}

static um_status state_fill(umi_cuda_score_state *state, um_err *err)
{
    size_t rows = (size_t)state->rows_max;
    um_status status = umi_cuda_alloc(rows * sizeof(*state->cuts), (void **)&state->cuts, err);

    if (status == UM_OK)
        status = umi_cuda_alloc(rows * sizeof(*state->plain), (void **)&state->plain, err);
    if (status == UM_OK && state->rows_max > UMI_SELECT_SHARED_ROWS)
        status = umi_cuda_alloc(rows * sizeof(*state->keys), (void **)&state->keys, err);
    if (status == UM_OK)
        status = umi_cuda_alloc((size_t)state->raw_floats * sizeof(*state->raw),
                                (void **)&state->raw, err);
    return status;
}

um_status umi_cuda_score_reserve(umi_cuda *cuda, const um_backend_limits *limits, um_err *err)
{
    umi_cuda_score_state *state;
    um_status status;

    if (limits->vocab_max > UMI_SCORE_VOCAB_MAX)
        return um_fail(err, UM_E_UNSUPPORTED, "a vocabulary of %lld; at most %d",
                       (long long)limits->vocab_max, UMI_SCORE_VOCAB_MAX);
    state = um_mem_zalloc(sizeof(*state));
    if (!state)
        return um_fail(err, UM_E_NOMEM, "no memory for the scratch of score");
    state->rows_max = limits->rows_max > 0 ? limits->rows_max : 1;
    state->raw_floats = limits->vocab_max + UM_BANNED_MAX;
    if (state->raw_floats < cuda->tile_floats / 4)
        state->raw_floats = cuda->tile_floats / 4;
    status = state_fill(state, err);
    if (status != UM_OK) {
        state_destroy(state);
        return status;
    }
    state_destroy(cuda->score);
    cuda->score = state;
    return UM_OK;
}

void umi_cuda_score_close(umi_cuda *cuda)
{
    state_destroy(cuda->score);
    cuda->score = NULL;
}

/* ---- score ------------------------------------------------------------------------------------- */

/* Everything but what changes from chunk to chunk. */
static umi_score_job plan_job(const umi_cuda *cuda, const um_score_args *args)
{
    umi_score_job job = {.logits = cuda->tile,
                         .stride = UMI_CUDA_LOGITS_STRIDE(args->vocab),
                         .vocab = (int32_t)args->vocab,
                         .rules = args->rules->data,
                         .edits = args->edits ? args->edits->data : NULL,
                         .cuts = cuda->score->cuts};

    if (args->alternatives) {
        int64_t edits = args->edits ? args->edits->cols / (int64_t)sizeof(um_logit_edit) : 0;

        job.alternative_count = args->alternative_count;
        job.alternative_stride = args->alternatives->stride / (int64_t)sizeof(um_alternative);
        job.plain = cuda->score->plain;
        job.raw = cuda->score->raw;
        job.raw_stride = UM_BANNED_MAX + (edits < args->vocab ? edits : args->vocab);
    }
    return job;
}

/* As many rows as tile and scratch hold. */
static int64_t chunk_rows(const umi_cuda *cuda, const umi_score_job *job)
{
    int64_t rows = cuda->tile_floats / job->stride;

    if (job->raw && rows > cuda->score->raw_floats / job->raw_stride)
        rows = cuda->score->raw_floats / job->raw_stride;
    return rows;
}

static um_status multiply_head(umi_cuda *cuda, const um_score_args *args, const umi_score_job *job,
                               int64_t first, um_err *err)
{
    um_tensor x = um_tensor_view(args->hidden, first, job->rows, 0, args->hidden->cols);
    const umi_cuda_weight *head = (const umi_cuda_weight *)args->head;
    umi_cuda_product product = {.weight = head,
                                .cols = args->vocab,
                                .x = x.data,
                                .x_stride = x.stride,
                                .rows = job->rows,
                                .out = job->logits,
                                .out_stride = job->stride,
                                .out_dtype = UM_F32,
                                .add_bias = head->bias != NULL};
    float *copy = args->logits ? um_f32_row(args->logits, first) : NULL;
    int64_t copy_stride = args->logits ? args->logits->stride : 0;
    um_status status = umi_cuda_multiply(cuda, &product, err);

    if (status == UM_OK && (copy || args->scale < 1.0f || args->scale > 1.0f))
        status = UMI_CUDA_TRY(err, umi_launch_score_scale(job->logits, job->stride, job->rows,
                                                          job->vocab, args->scale, copy,
                                                          copy_stride, cuda->stream));
    return status;
}

static um_status score_chunk(umi_cuda *cuda, const um_score_args *args, umi_score_job job,
                             int64_t first, um_err *err)
{
    um_status status = multiply_head(cuda, args, &job, first, err);

    job.score_rows = (const um_score_row *)args->score_rows->data + first;
    job.tokens = um_i32_row(args->tokens, 0) + first;
    job.confidences = um_f32_row(args->confidences, 0) + first;
    if (args->alternatives)
        job.alternatives =
            (um_alternative *)args->alternatives->data + first * job.alternative_stride;
    if (status == UM_OK && job.alternatives)
        status = UMI_CUDA_TRY(err, umi_launch_score_alternatives(&job, cuda->stream));
    if (status == UM_OK)
        status = UMI_CUDA_TRY(err, umi_launch_score_prepare(&job, cuda->stream));
    if (status == UM_OK)
        status = UMI_CUDA_TRY(err, umi_launch_score_choose(&job, cuda->stream));
    return status;
}

um_status umi_cuda_score(um_backend *backend, const um_score_args *args, um_err *err)
{
    umi_cuda *cuda = (umi_cuda *)backend;
    umi_score_job job = plan_job(cuda, args);
    int64_t rows = args->hidden->rows, chunk = chunk_rows(cuda, &job);
    um_status status = UM_OK;

    for (int64_t first = 0; first < rows && status == UM_OK; first += chunk) {
        job.rows = (int32_t)(rows - first < chunk ? rows - first : chunk);
        status = score_chunk(cuda, args, job, first, err);
    }
    return status;
}

/* ---- select -------------------------------------------------------------------------------------- */

um_status umi_cuda_select(um_backend *backend, const um_select_args *args, um_err *err)
{
    umi_cuda *cuda = (umi_cuda *)backend;
    umi_select_job job = {.tokens = args->tokens->data,
                          .confidences = args->confidences->data,
                          .score_rows = args->score_rows->data,
                          .rules = args->rules->data,
                          .rule_count = args->rule_count,
                          .commits = args->commits->data,
                          .counts = args->counts->data,
                          .keys = cuda->score->keys};

    return UMI_CUDA_TRY(err, umi_launch_select(&job, cuda->stream));
}
