/*
 * A loaded model: weights on a backend, scratch for the largest step, and the forward pass.
 *
 *     um_model_options options = {.precision = UM_PRECISION_AUTO, .rows_max = 8192};
 *     status = um_model_open("models/pocket", backend, &options, &model, err);
 *     status = um_model_forward(model, &args, err);   // hidden rows of the rows that matter
 *     status = um_op_score(backend, ...um_model_head(model)...);
 *
 * The model knows nothing of requests. Owner thread: the engine's.
 */
#ifndef UM_MODEL_MODEL_H
#define UM_MODEL_MODEL_H

#include "core/model/family.h"
#include "core/model/model_dir.h"

typedef struct um_model um_model;

typedef enum um_precision {
    UM_PRECISION_AUTO, /* bf16 for bf16 and f16 checkpoints, f32 for f32 ones */
    UM_PRECISION_F32,
    UM_PRECISION_BF16,
} um_precision;
bool um_precision_parse(const char *text, um_precision *out);

typedef struct um_model_options {
    um_model_dir_options dir; /* what the user knows better than the files */
    um_precision precision;
    int64_t rows_max; /* packed rows of a step; scratch is reserved for it; 0: 2 * context */
    um_load_progress_fn progress; /* may be NULL */
    void *progress_context;
} um_model_options;

typedef struct um_model_info {
    const um_family *family;
    um_model_config config;
    um_model_defaults defaults; /* unmask.json over generation_config.json over the family's row */
    um_dtype precision;         /* UM_F32 or UM_BF16 */
    uint64_t parameters;
    size_t weight_bytes;  /* packed */
    size_t scratch_bytes; /* reserved for activations */
    uint64_t hash;        /* of the checkpoint */
    int64_t mtime;        /* Unix seconds */
} um_model_info;

um_status um_model_open(const char *dir, um_backend *backend, const um_model_options *options,
                        um_model **out, um_err *err);
/* A model of given dimensions with pseudo-random weights, for `unmask bench`. */
um_status um_model_open_synthetic(const um_model_config *config, um_backend *backend,
                                  const um_model_options *options, um_model **out, um_err *err);
void um_model_close(um_model *model);
const um_model_info *um_model_get_info(const um_model *model);
um_backend *um_model_backend(const um_model *model);
const um_weight *um_model_head(const um_model *model);

/* One forward over packed sequences, every position recomputed (cache mode `exact`). Attention
 * sees whole sequences; row-wise work runs in chunks, so scratch stays bounded. The last MLP and
 * what follows are computed for the gathered rows only. */
typedef struct um_forward_args {
    const um_tensor *ids;       /* [1][rows] i32, device */
    const um_tensor *positions; /* [1][rows] i32, device: 0.. inside each sequence */
    const int32_t *cu_seqlens;  /* host [sequence_count + 1] */
    int32_t sequence_count;
    const um_tensor *gather; /* [1][hidden_rows] i32, device: rows whose hidden state is wanted, in
                              * any order */
    const um_tensor *hidden; /* out [hidden_rows][width] f32 or compute dtype, after final norm */
} um_forward_args;
um_status um_model_forward(um_model *model, const um_forward_args *args, um_err *err);

/* What `unmask inspect` prints; reads headers only, loads nothing. Owned strings inside `report`
 * are freed by um_model_report_deinit. */
typedef struct um_model_report {
    const um_family *family; /* NULL: architecture unknown, see `problem` */
    um_model_defaults defaults;
    char architecture[64];
    um_model_config config;
    size_t tensor_count;
    size_t file_count;
    uint64_t parameters;
    size_t checkpoint_bytes;
    size_t need_f32_bytes; /* packed weights in f32, without scratch */
    size_t need_bf16_bytes;
    const char *dtype_name; /* of the embedding */
    size_t unknown_count;   /* tensors in the files that the family does not use */
    um_err problem;         /* status UM_OK: this checkpoint can be served */
    char *tensor_problems;  /* every missing or unfit tensor, one per line; owned, or NULL */
    char *algorithm;        /* storage of defaults.algorithm; owned, or NULL */
} um_model_report;
/* What is wrong with the checkpoint goes into the report; fails only when memory is out. */
um_status um_model_inspect(const char *dir, const um_model_dir_options *options,
                           um_model_report *out, um_err *err);
void um_model_report_deinit(um_model_report *report);

#endif
