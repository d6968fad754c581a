#include "core/model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/json.h"
#include "core/base/mem.h"

#define HEADER_BYTES_MAX 100000000u /* the format's own limit */
#define INDEX_BYTES_MAX ((size_t)64 << 20)
#define FILES_MAX 4096u
#define NAME_BYTES_MAX 1024u
#define PATH_BYTES 4096
#define LENGTH_BYTES 8u
#define HASH_SAMPLE_BYTES 4096u
#define LISTED_MAX 8 /* names in one message */
#define SUFFIX ".safetensors"

typedef struct weight_file {
    char *name; /* base name, owned */
    const uint8_t *bytes;
    size_t count;
    bool mapped; /* else `bytes` is borrowed */
    int64_t mtime;
    size_t header_bytes; /* of the JSON */
} weight_file;

typedef struct tensor {
    um_checkpoint_tensor view; /* first: the array is handed out as these */
    char *name;                /* owned */
    size_t file;
    size_t begin, end; /* in the file's data */
} tensor;

struct um_checkpoint {
    weight_file *files; /* [file_count], owned */
    size_t file_count;
    tensor *tensors; /* [tensor_count], owned; by name */
    size_t tensor_count;
    size_t tensor_capacity;
};

/* Every dtype of the format; ours are the ones with `usable`. Sizes in bits: some pack two values
 * into a byte. */
static const struct {
    const char *name;
    uint32_t bits;
    bool usable;
    um_dtype dtype;
} dtypes[] = {
    {"F32", 32, true, UM_F32},    {"BF16", 16, true, UM_BF16}, {"F16", 16, true, UM_F16},
    {"F64", 64, false, 0},        {"I64", 64, false, 0},       {"I32", 32, false, 0},
    {"I16", 16, false, 0},        {"I8", 8, false, 0},         {"U64", 64, false, 0},
    {"U32", 32, false, 0},        {"U16", 16, false, 0},       {"U8", 8, false, 0},
    {"BOOL", 8, false, 0},        {"F8_E4M3", 8, false, 0},    {"F8_E5M2", 8, false, 0},
    {"F8_E8M0", 8, false, 0},     {"F6_E2M3", 6, false, 0},    {"F6_E3M2", 6, false, 0},
    {"F4", 4, false, 0},          {"C64", 64, false, 0},       {"F8_E4M3FNUZ", 8, false, 0},
    {"F8_E5M2FNUZ", 8, false, 0},
};

/* ---- one header ---------------------------------------------------------------------------- */

/* Names go into messages and logs: no control characters, no monsters. */
static bool name_is_sane(const char *name)
{
    size_t length = strlen(name);

    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    return length > 0 && length <= NAME_BYTES_MAX;
}

static um_status read_dtype(const um_json *entry, tensor *out, uint32_t *bits, um_err *err)
{
    const um_json *value = um_json_member(entry, "dtype");
    size_t length;
    const char *name;

    if (um_json_kind_of(value) != UM_JSON_STRING)
        return um_fail(err, UM_E_FORMAT, "dtype is %s; expected a string",
                       um_json_kind_name(um_json_kind_of(value)));
    name = um_json_string_value(value, &length);
    for (size_t i = 0; i < UM_COUNT_OF(dtypes); i++) {
        if (strlen(dtypes[i].name) != length || memcmp(dtypes[i].name, name, length) != 0)
            continue;
        out->view.dtype = dtypes[i].dtype;
        out->view.supported = dtypes[i].usable;
        out->view.dtype_name = dtypes[i].name;
        *bits = dtypes[i].bits;
        return UM_OK;
    }
    return um_fail(err, UM_E_FORMAT, "dtype is \"%.20s\", which the format does not know", name);
}

/* A non-negative integer that fits size_t; booleans, reals and negatives are refused. */
static bool size_value(const um_json *value, size_t *out)
{
    if (um_json_kind_of(value) != UM_JSON_INT || um_json_int_value(value) < 0)
        return false;
    *out = (size_t)um_json_int_value(value);
    return true;
}

static um_status read_shape(const um_json *entry, tensor *out, size_t *elements, um_err *err)
{
    const um_json *shape = um_json_member(entry, "shape");
    size_t rank = um_json_count(shape);

    if (um_json_kind_of(shape) != UM_JSON_ARRAY)
        return um_fail(err, UM_E_FORMAT, "shape is %s; expected an array",
                       um_json_kind_name(um_json_kind_of(shape)));
    if (rank > UM_ST_RANK_MAX)
        return um_fail(err, UM_E_FORMAT, "shape has %zu dimensions; the maximum is %d", rank,
                       UM_ST_RANK_MAX);
    *elements = 1;
    for (size_t i = 0; i < rank; i++) {
        size_t extent;

        if (!size_value(um_json_element(shape, i), &extent))
            return um_fail(err, UM_E_FORMAT, "shape[%zu] is no non-negative integer", i);
        if (!um_mem_mul(*elements, extent, elements))
            return um_fail(err, UM_E_FORMAT, "shape's product overflows at dimension %zu", i);
        out->view.shape[i] = (int64_t)extent;
    }
    out->view.rank = (int32_t)rank;
    return UM_OK;
}

static um_status read_offsets(const um_json *entry, size_t data_bytes, tensor *out, um_err *err)
{
    const um_json *offsets = um_json_member(entry, "data_offsets");

    if (um_json_kind_of(offsets) != UM_JSON_ARRAY || um_json_count(offsets) != 2 ||
        !size_value(um_json_element(offsets, 0), &out->begin) ||
        !size_value(um_json_element(offsets, 1), &out->end))
        return um_fail(err, UM_E_FORMAT, "data_offsets is no array of two non-negative integers");
    if (out->begin > out->end)
        return um_fail(err, UM_E_FORMAT, "data_offsets are [%zu, %zu]: the end is before the begin",
                       out->begin, out->end);
    if (out->end > data_bytes)
        return um_fail(err, UM_E_FORMAT,
                       "data_offsets end at %zu; the file has %zu bytes of data (truncated?)",
                       out->end, data_bytes);
    return UM_OK;
}

static um_status read_entry(const um_json *entry, const weight_file *file, tensor *out, um_err *err)
{
    size_t data_at = LENGTH_BYTES + file->header_bytes;
    size_t elements = 0, bits_all;
    uint32_t bits = 0;
    um_status status;

    if (um_json_kind_of(entry) != UM_JSON_OBJECT)
        return um_fail(err, UM_E_FORMAT, "its entry is %s; expected an object",
                       um_json_kind_name(um_json_kind_of(entry)));
    status = read_dtype(entry, out, &bits, err);
    if (status == UM_OK)
        status = read_shape(entry, out, &elements, err);
    if (status == UM_OK)
        status = read_offsets(entry, file->count - data_at, out, err);
    if (status != UM_OK)
        return status;
    if (!um_mem_mul(elements, bits, &bits_all) || bits_all % 8 != 0 ||
        bits_all / 8 != out->end - out->begin)
        return um_fail(err, UM_E_FORMAT,
                       "its %zu elements of %s do not fill data_offsets [%zu, %zu] exactly",
                       elements, out->view.dtype_name, out->begin, out->end);
    out->view.bytes = out->end - out->begin;
    out->view.data = file->bytes + data_at + out->begin;
    out->view.file = file->name;
    return UM_OK;
}

static um_status append_tensor(um_checkpoint *checkpoint, const char *name, const um_json *entry,
                               size_t file, um_err *err)
{
    tensor *out;
    um_status status;

    if (!name_is_sane(name))
        return um_fail(err, UM_E_FORMAT,
                       "a tensor name is empty, longer than %u bytes or holds control characters",
                       NAME_BYTES_MAX);
    UM_ASSERT(checkpoint->tensor_count < checkpoint->tensor_capacity);
    out = &checkpoint->tensors[checkpoint->tensor_count];
    *out = (tensor){.file = file};
    status = read_entry(entry, &checkpoint->files[file], out, err);
    if (status != UM_OK)
        return um_err_prefix(err, status, "tensor %.100s", name);
    out->name = um_mem_strdup(name);
    if (!out->name)
        return um_fail(err, UM_E_NOMEM, "no memory for a tensor name");
    out->view.name = out->name;
    checkpoint->tensor_count++;
    return UM_OK;
}

static int by_offset(const void *a, const void *b)
{
    const tensor *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const tensor *)a)->name, ((const tensor *)b)->name);
}

/* The format wants the data covered exactly once. `tensors` are one file's; sorts them. */
static um_status check_cover(tensor *tensors, size_t count, size_t data_bytes, um_err *err)
{
    size_t at = 0;

    qsort(tensors, count, sizeof(*tensors), by_offset);
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].begin < at)
            return um_fail(err, UM_E_FORMAT, "tensor %.100s overlaps tensor %.100s at byte %zu",
                           tensors[i].name, tensors[i - 1].name, tensors[i].begin);
        if (tensors[i].begin > at)
            return um_fail(err, UM_E_FORMAT, "tensor %.100s leaves a hole: bytes %zu to %zu",
                           tensors[i].name, at, tensors[i].begin);
        at = tensors[i].end;
    }
    if (at != data_bytes)
        return um_fail(err, UM_E_FORMAT, "the tensors end at byte %zu of %zu bytes of data", at,
                       data_bytes);
    return UM_OK;
}

static um_status reserve_tensors(um_checkpoint *checkpoint, size_t more, um_err *err)
{
    size_t capacity, bytes;
    tensor *grown = NULL;

    if (um_mem_add(checkpoint->tensor_count, more, &capacity) &&
        um_mem_mul(capacity, sizeof(tensor), &bytes))
        grown = um_mem_realloc(checkpoint->tensors, bytes);
    if (!grown)
        return um_fail(err, UM_E_NOMEM, "no memory for %zu more tensors", more);
    checkpoint->tensors = grown;
    checkpoint->tensor_capacity = capacity;
    return UM_OK;
}

static um_status read_tensors(um_checkpoint *checkpoint, size_t file, const um_json *header,
                              um_err *err)
{
    size_t first = checkpoint->tensor_count;
    um_status status = reserve_tensors(checkpoint, um_json_count(header), err);
    const weight_file *from = &checkpoint->files[file];

    for (void *it = um_json_first(header); it && status == UM_OK; it = um_json_next(header, it))
        if (strcmp(um_json_iter_key(it), "__metadata__") != 0)
            status =
                append_tensor(checkpoint, um_json_iter_key(it), um_json_iter_value(it), file, err);
    if (status == UM_OK)
        status = check_cover(checkpoint->tensors + first, checkpoint->tensor_count - first,
                             from->count - LENGTH_BYTES - from->header_bytes, err);
    return status;
}

static um_status read_header(um_checkpoint *checkpoint, size_t index, um_err *err)
{
    weight_file *file = &checkpoint->files[index];
    uint64_t header_bytes = 0;
    um_json *header = NULL;
    um_status status;

    if (file->count < LENGTH_BYTES)
        return um_fail(err, UM_E_FORMAT, "it has %zu bytes; the header length alone has %u",
                       file->count, LENGTH_BYTES);
    for (unsigned i = 0; i < LENGTH_BYTES; i++)
        header_bytes |= (uint64_t)file->bytes[i] << (8 * i);
    if (header_bytes > HEADER_BYTES_MAX)
        return um_fail(err, UM_E_FORMAT, "header length is %llu; the maximum is %u",
                       (unsigned long long)header_bytes, HEADER_BYTES_MAX);
    if (header_bytes > file->count - LENGTH_BYTES)
        return um_fail(err, UM_E_FORMAT, "header length is %llu, but only %zu bytes follow",
                       (unsigned long long)header_bytes, file->count - LENGTH_BYTES);
    file->header_bytes = (size_t)header_bytes;
    if (file->header_bytes == 0 || file->bytes[LENGTH_BYTES] != '{')
        return um_fail(err, UM_E_FORMAT, "the header does not begin with '{'");
    status =
        um_json_parse((const char *)file->bytes + LENGTH_BYTES, file->header_bytes, &header, err);
    if (status == UM_OK)
        status = read_tensors(checkpoint, index, header, err);
    um_json_free(header);
    return status == UM_E_JSON ? UM_E_FORMAT : status;
}

/* ---- files --------------------------------------------------------------------------------- */

static um_status map_file(const char *dir, weight_file *file, um_err *err)
{
    char path[PATH_BYTES];
    struct stat info;
    int fd;
    void *map;
    um_status status = UM_OK;

    if (snprintf(path, sizeof(path), "%s/%s", dir, file->name) >= (int)sizeof(path))
        return um_fail(err, UM_E_IO, "its path is longer than %d bytes", PATH_BYTES);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us up */
    if (fd < 0)
        return um_fail(err, errno == ENOENT ? UM_E_NOT_FOUND : UM_E_IO, "cannot open: %s",
                       strerror(errno));
    if (fstat(fd, &info) != 0)
        status = um_fail(err, UM_E_IO, "cannot tell its size: %s", strerror(errno));
    else if (!S_ISREG(info.st_mode))
        status = um_fail(err, UM_E_FORMAT, "it is no regular file");
    else if (info.st_size == 0)
        status = um_fail(err, UM_E_FORMAT, "it is empty");
    else if ((map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0)) == MAP_FAILED)
        status = um_fail(err, UM_E_IO, "cannot map its %lld bytes: %s", (long long)info.st_size,
                         strerror(errno));
    else {
        file->bytes = map;
        file->count = (size_t)info.st_size;
        file->mapped = true;
        file->mtime = info.st_mtime;
    }
    close(fd);
    return status;
}

static um_status open_files(const char *dir, um_checkpoint *checkpoint, um_err *err)
{
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        um_status status = map_file(dir, &checkpoint->files[i], err);

        if (status == UM_OK)
            status = read_header(checkpoint, i, err);
        if (status != UM_OK)
            return um_err_prefix(err, status, "%s", checkpoint->files[i].name);
    }
    return UM_OK;
}

/* A shard is a file beside its index, never a path. */
static bool shard_name_is_plain(const char *name)
{
    size_t length = strlen(name), suffix = strlen(SUFFIX);

    return name_is_sane(name) && !strchr(name, '/') && name[0] != '.' && length > suffix &&
           strcmp(name + length - suffix, SUFFIX) == 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The values of weight_map, borrowed and sorted, repeats included. */
static um_status collect_shards(const um_json *map, const char **names, um_err *err)
{
    size_t count = 0;

    for (void *it = um_json_first(map); it; it = um_json_next(map, it)) {
        const um_json *value = um_json_iter_value(it);
        size_t length;

        if (um_json_kind_of(value) != UM_JSON_STRING)
            return um_fail(err, UM_E_FORMAT, "weight_map[\"%.100s\"] is %s; expected a string",
                           um_json_iter_key(it), um_json_kind_name(um_json_kind_of(value)));
        names[count] = um_json_string_value(value, &length);
        if (strlen(names[count]) != length || !shard_name_is_plain(names[count]))
            return um_fail(err, UM_E_FORMAT,
                           "weight_map[\"%.100s\"] is \"%.100s\"; expected the name of a " SUFFIX
                           " file in the same directory",
                           um_json_iter_key(it), names[count]);
        count++;
    }
    qsort(names, count, sizeof(*names), by_text);
    return UM_OK;
}

static um_status add_files(um_checkpoint *checkpoint, const char *const *names, size_t count,
                           um_err *err)
{
    size_t distinct = 0;

    for (size_t i = 0; i < count; i++)
        distinct += i == 0 || strcmp(names[i], names[i - 1]) != 0;
    if (distinct > FILES_MAX)
        return um_fail(err, UM_E_FORMAT, "weight_map names %zu files; the maximum is %u", distinct,
                       FILES_MAX);
    checkpoint->files = um_mem_calloc(distinct, sizeof(*checkpoint->files));
    if (!checkpoint->files)
        return um_fail(err, UM_E_NOMEM, "no memory for %zu files", distinct);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && strcmp(names[i], names[i - 1]) == 0)
            continue;
        checkpoint->files[checkpoint->file_count].name = um_mem_strdup(names[i]);
        if (!checkpoint->files[checkpoint->file_count++].name)
            return um_fail(err, UM_E_NOMEM, "no memory for a file name");
    }
    return UM_OK;
}

static um_status check_shards_exist(const char *dir, const um_checkpoint *checkpoint, um_err *err)
{
    um_buf missing = {0};
    size_t count = 0;
    um_status status = UM_OK;

    for (size_t i = 0; i < checkpoint->file_count; i++) {
        char path[PATH_BYTES];

        snprintf(path, sizeof(path), "%s/%s", dir, checkpoint->files[i].name);
        if (access(path, F_OK) == 0)
            continue;
        if (count++ < LISTED_MAX)
            um_buf_printf(&missing, "%s%s", count > 1 ? ", " : "", checkpoint->files[i].name);
    }
    if (count > 0)
        status = um_fail(err, UM_E_NOT_FOUND, "%zu of %zu weight files are missing: %s%s", count,
                         checkpoint->file_count, um_buf_view(&missing),
                         count > LISTED_MAX ? ", ..." : "");
    um_buf_deinit(&missing);
    return status;
}

/* weight_map and the shards must tell the same story, or a stale file would be served. */
static um_status check_index(const um_checkpoint *checkpoint, const um_json *map, um_err *err)
{
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        const um_checkpoint_tensor *found = &checkpoint->tensors[i].view;
        const um_json *value = um_json_member(map, found->name);

        if (!value)
            return um_fail(err, UM_E_FORMAT, "tensor %.100s of %.100s is not in weight_map",
                           found->name, found->file);
        if (strcmp(um_json_string_value(value, NULL), found->file) != 0)
            return um_fail(err, UM_E_FORMAT, "tensor %.100s is in %.100s; weight_map says %.100s",
                           found->name, found->file, um_json_string_value(value, NULL));
    }
    for (void *it = um_json_first(map); it; it = um_json_next(map, it))
        if (!um_checkpoint_find(checkpoint, um_json_iter_key(it)))
            return um_fail(
                err, UM_E_FORMAT, "tensor %.100s is not in %.100s, where weight_map says",
                um_json_iter_key(it), um_json_string_value(um_json_iter_value(it), NULL));
    return UM_OK;
}

static void sort_by_name(um_checkpoint *checkpoint)
{
    if (checkpoint->tensor_count > 0)
        qsort(checkpoint->tensors, checkpoint->tensor_count, sizeof(tensor), by_name);
}

static um_status open_indexed(const char *dir, const um_json *index, um_checkpoint *checkpoint,
                              um_err *err)
{
    const um_json *map = um_json_member(index, "weight_map");
    size_t count = um_json_count(map);
    const char **names = NULL;
    um_status status;

    if (um_json_kind_of(map) != UM_JSON_OBJECT || count == 0)
        return um_fail(err, UM_E_FORMAT, "weight_map is no object with members");
    names = um_mem_calloc(count, sizeof(*names));
    if (!names)
        return um_fail(err, UM_E_NOMEM, "no memory for %zu names", count);
    status = collect_shards(map, names, err);
    if (status == UM_OK)
        status = add_files(checkpoint, names, count, err);
    um_mem_free(names);
    if (status == UM_OK)
        status = check_shards_exist(dir, checkpoint, err);
    if (status == UM_OK)
        status = open_files(dir, checkpoint, err);
    if (status != UM_OK)
        return status;
    sort_by_name(checkpoint);
    return check_index(checkpoint, map, err);
}

static um_status open_single(const char *dir, um_checkpoint *checkpoint, um_err *err)
{
    static const char *const name = "model" SUFFIX;
    um_status status = add_files(checkpoint, &name, 1, err);

    if (status == UM_OK)
        status = open_files(dir, checkpoint, err);
    if (status == UM_OK)
        sort_by_name(checkpoint);
    return status;
}

um_status um_checkpoint_open(const char *dir, um_checkpoint **out, um_err *err)
{
    static const char index_name[] = "model" SUFFIX ".index.json";
    char path[PATH_BYTES];
    um_checkpoint *checkpoint = NULL;
    um_json *index = NULL;
    um_status status;

    *out = NULL;
    if (snprintf(path, sizeof(path), "%s/%s", dir, index_name) >= (int)sizeof(path))
        return um_fail(err, UM_E_IO, "the path %.100s... is longer than %d bytes", dir, PATH_BYTES);
    checkpoint = um_mem_zalloc(sizeof(*checkpoint));
    if (!checkpoint)
        return um_fail(err, UM_E_NOMEM, "no memory for a checkpoint");
    if (access(path, F_OK) == 0) {
        status = um_json_load(path, INDEX_BYTES_MAX, &index, err);
        if (status == UM_OK) {
            status = open_indexed(dir, index, checkpoint, err);
            if (status != UM_OK)
                um_err_prefix(err, status, "%s", dir);
        }
    } else {
        status = open_single(dir, checkpoint, err);
        if (status != UM_OK)
            um_err_prefix(err, status, "%s", dir);
    }
    if (status == UM_OK) {
        *out = checkpoint;
        checkpoint = NULL;
    }
    um_json_free(index);
    um_checkpoint_close(checkpoint);
    return status;
}

um_status um_checkpoint_parse(const void *bytes, size_t count, const char *name,
                              um_checkpoint **out, um_err *err)
{
    um_checkpoint *checkpoint = um_mem_zalloc(sizeof(*checkpoint));
    um_status status;

    *out = NULL;
    if (!checkpoint)
        return um_fail(err, UM_E_NOMEM, "no memory for a checkpoint");
    status = add_files(checkpoint, &name, 1, err);
    if (status == UM_OK) {
        checkpoint->files[0].bytes = bytes;
        checkpoint->files[0].count = count;
        status = read_header(checkpoint, 0, err);
        if (status != UM_OK)
            um_err_prefix(err, status, "%s", name);
    }
    if (status == UM_OK) {
        sort_by_name(checkpoint);
        *out = checkpoint;
        checkpoint = NULL;
    }
    um_checkpoint_close(checkpoint);
    return status;
}

void um_checkpoint_close(um_checkpoint *checkpoint)
{
    if (!checkpoint)
        return;
    for (size_t i = 0; i < checkpoint->tensor_count; i++)
        um_mem_free(checkpoint->tensors[i].name);
    um_mem_free(checkpoint->tensors);
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        if (checkpoint->files[i].mapped)
            munmap((void *)(uintptr_t)checkpoint->files[i].bytes, checkpoint->files[i].count);
        um_mem_free(checkpoint->files[i].name);
    }
    um_mem_free(checkpoint->files);
    um_mem_free(checkpoint);
}

/* ---- what is in it ------------------------------------------------------------------------- */

size_t um_checkpoint_count(const um_checkpoint *checkpoint)
{
    return checkpoint->tensor_count;
}

size_t um_checkpoint_files(const um_checkpoint *checkpoint)
{
    return checkpoint->file_count;
}

size_t um_checkpoint_bytes(const um_checkpoint *checkpoint)
{
    size_t bytes = 0;

    for (size_t i = 0; i < checkpoint->file_count; i++)
        bytes += checkpoint->files[i].count;
    return bytes;
}

const um_checkpoint_tensor *um_checkpoint_at(const um_checkpoint *checkpoint, size_t index)
{
    UM_ASSERT(index < checkpoint->tensor_count);
    return &checkpoint->tensors[index].view;
}

static int name_order(const void *key, const void *item)
{
    return strcmp(key, ((const tensor *)item)->name);
}

const um_checkpoint_tensor *um_checkpoint_find(const um_checkpoint *checkpoint, const char *name)
{
    const tensor *found = NULL;

    if (checkpoint->tensor_count > 0)
        found = bsearch(name, checkpoint->tensors, checkpoint->tensor_count, sizeof(tensor),
                        name_order);
    return found ? &found->view : NULL;
}

void um_checkpoint_discard(const um_checkpoint *checkpoint, const um_checkpoint_tensor *view)
{
    const weight_file *file = &checkpoint->files[((const tensor *)view)->file];
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)view->data + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)view->data + view->bytes) & ~(page - 1);

    if (file->mapped && begin < end)
        (void)madvise((void *)begin, end - begin,
                      MADV_DONTNEED); /* advice: nothing depends on it */
}

/* FNV-1a, 64 bits. */
static uint64_t hash_bytes(uint64_t hash, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

uint64_t um_checkpoint_hash(const um_checkpoint *checkpoint)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < checkpoint->file_count; i++) {
        const weight_file *file = &checkpoint->files[i];

        hash = hash_bytes(hash, file->bytes, LENGTH_BYTES + file->header_bytes);
    }
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        const um_checkpoint_tensor *view = &checkpoint->tensors[i].view;
        size_t sample = view->bytes < HASH_SAMPLE_BYTES ? view->bytes : HASH_SAMPLE_BYTES;

        hash = hash_bytes(hash, view->data, sample);
    }
    return hash;
}

int64_t um_checkpoint_mtime(const um_checkpoint *checkpoint)
{
    int64_t newest = 0;

    for (size_t i = 0; i < checkpoint->file_count; i++)
        if (checkpoint->files[i].mtime > newest)
            newest = checkpoint->files[i].mtime;
    return newest;
}
