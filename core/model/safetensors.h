/*
 * Checkpoint files: one or several safetensors files, memory-mapped read-only. Every header field
 * is checked before use: length, JSON, dtype, shape product, offsets inside the file, no overlap,
 * no duplicate name; with model.safetensors.index.json, `weight_map` decides which shard holds a
 * name and must agree with the shards.
 *
 * Format: https://huggingface.co/docs/safetensors (8-byte little-endian header length, JSON
 * header, then the bytes that data_offsets point into, without gaps).
 *
 * The files must not shrink while they are open: the kernel answers a read behind the new end with
 * SIGBUS.
 *
 * Read-only after open: any thread.
 */
#ifndef UM_MODEL_SAFETENSORS_H
#define UM_MODEL_SAFETENSORS_H

#include "kernels/tensor.h"

#define UM_ST_RANK_MAX 8

typedef struct um_checkpoint um_checkpoint;

typedef struct um_checkpoint_tensor {
    const char *name; /* borrowed from the checkpoint */
    um_dtype dtype;   /* F32, BF16 or F16; other dtypes have supported == false */
    bool supported;
    const char *dtype_name; /* as written in the file */
    int32_t rank;
    int64_t shape[UM_ST_RANK_MAX];
    const void *data; /* inside the map; aligned to 1 byte only */
    size_t bytes;
    const char *file; /* base name of its file */
} um_checkpoint_tensor;

/* Opens the files of a Hugging Face directory: the index's shards if model.safetensors.index.json
 * exists, else model.safetensors. UM_E_NOT_FOUND, UM_E_FORMAT (file, tensor and reason). */
um_status um_checkpoint_open(const char *dir, um_checkpoint **out, um_err *err);
/* One safetensors file that is in memory already, as if it were called `name`. `bytes` is borrowed
 * until close. For tests and fuzzing: no file is touched. */
um_status um_checkpoint_parse(const void *bytes, size_t count, const char *name,
                              um_checkpoint **out, um_err *err);
void um_checkpoint_close(um_checkpoint *checkpoint);

size_t um_checkpoint_count(const um_checkpoint *checkpoint);
size_t um_checkpoint_files(const um_checkpoint *checkpoint);
size_t um_checkpoint_bytes(const um_checkpoint *checkpoint); /* of all files */
/* In order of name. */
const um_checkpoint_tensor *um_checkpoint_at(const um_checkpoint *checkpoint, size_t index);
const um_checkpoint_tensor *um_checkpoint_find(const um_checkpoint *checkpoint, const char *name);

/* The tensor's bytes have been read for good: lets the kernel drop its pages. */
void um_checkpoint_discard(const um_checkpoint *checkpoint, const um_checkpoint_tensor *tensor);

/* Hash over headers, sizes and a 4 KiB sample of each tensor; for system_fingerprint. */
uint64_t um_checkpoint_hash(const um_checkpoint *checkpoint);
/* Unix seconds: newest modification time of the weight files. */
int64_t um_checkpoint_mtime(const um_checkpoint *checkpoint);

#endif
