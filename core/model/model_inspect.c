/* What a checkpoint directory holds and whether it can be served; reads headers only. */
#include <string.h>

#include "core/base/mem.h"
#include "core/model/model.h"

/* Vectors stay float32 in either precision; a tied head is packed beside the embedding table. */
static void add_needs(const um_model_dir *dir, um_model_report *out)
{
    size_t matrices = 0, vectors = 0;

    for (size_t i = 0; i < dir->list.count; i++) {
        const um_tensor_need *need = &dir->list.items[i];
        size_t elements = (size_t)need->rows * (size_t)need->cols;

        if (need->rows == 1)
            vectors += elements;
        else if (need->role == UM_ROLE_EMBEDDING && dir->config.tied_head)
            matrices += 2 * elements;
        else
            matrices += elements;
    }
    out->parameters = um_tensor_list_parameters(&dir->list);
    out->need_f32_bytes = (matrices + vectors) * sizeof(float);
    out->need_bf16_bytes = matrices * sizeof(uint16_t) + vectors * sizeof(float);
}

static void add_files(const um_model_dir *dir, um_model_report *out)
{
    const um_tensor_need *need = um_tensor_list_find(&dir->list, UM_ROLE_EMBEDDING, 0);
    const um_checkpoint_tensor *embedding = um_checkpoint_find(dir->checkpoint, need->name);

    out->tensor_count = um_checkpoint_count(dir->checkpoint);
    out->file_count = um_checkpoint_files(dir->checkpoint);
    out->checkpoint_bytes = um_checkpoint_bytes(dir->checkpoint);
    out->dtype_name = embedding ? embedding->dtype_name : "";
    if (out->problem.status == UM_OK)
        out->unknown_count = um_weights_unknown(dir->checkpoint, &dir->list, NULL);
}

um_status um_model_inspect(const char *path, const um_model_dir_options *options,
                           um_model_report *out, um_err *err)
{
    um_model_dir dir;
    um_status status;

    *out = (um_model_report){.dtype_name = ""};
    status = um_model_dir_open(path, options, &dir, &out->problem);
    memcpy(out->architecture, dir.architecture, sizeof(out->architecture));
    out->family = dir.family;
    out->config = dir.config;
    out->defaults = dir.defaults;
    out->algorithm = dir.algorithm; /* ownership moves */
    dir.algorithm = NULL;
    if (dir.list.count > 0)
        add_needs(&dir, out);
    if (dir.checkpoint && dir.list.count > 0)
        add_files(&dir, out);
    if (dir.tensor_problems.length > 0)
        out->tensor_problems = um_mem_strdup(um_buf_view(&dir.tensor_problems));
    if (status == UM_E_NOMEM || um_buf_failed(&dir.tensor_problems) ||
        (dir.tensor_problems.length > 0 && !out->tensor_problems)) {
        status = um_fail(err, UM_E_NOMEM, "no memory to inspect %s", path);
        um_model_report_deinit(out);
    } else {
        status = UM_OK;
    }
    um_model_dir_close(&dir);
    return status;
}

void um_model_report_deinit(um_model_report *report)
{
    um_mem_free(report->tensor_problems);
    um_mem_free(report->algorithm);
    *report = (um_model_report){0};
}
