/*
 * core/model/safetensors: what a good file yields, and that every field of a bad one is refused
 * with file, tensor and reason before anything is read through it.
 */
#include "core/model/safetensors.h"

#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/mem.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/test.h"

/* ---- files in memory ------------------------------------------------------------------------ */

/* Length, header and `data_bytes` bytes of data 0, 1, 2, ... */
static void build(um_buf *out, uint64_t header_length, const char *header, size_t data_bytes)
{
    um_buf_clear(out);
    for (int i = 0; i < 8; i++)
        um_buf_char(out, (char)(header_length >> (8 * i)));
    um_buf_text(out, header);
    for (size_t i = 0; i < data_bytes; i++)
        um_buf_char(out, (char)i);
    UM_ASSERT(!um_buf_failed(out));
}

static um_status parse(const char *header, size_t data_bytes, um_buf *bytes, um_checkpoint **out,
                       um_err *err)
{
    build(bytes, strlen(header), header, data_bytes);
    return um_checkpoint_parse(bytes->data, bytes->length, "x.safetensors", out, err);
}

static void a_good_header_yields_its_tensors_in_order_of_name(void)
{
    um_buf bytes = {0};
    um_checkpoint *checkpoint = NULL;
    um_err err = {0};
    const um_checkpoint_tensor *t;

    UM_CHECK_OK(parse("{\"__metadata__\":{\"format\":\"pt\"},"
                      "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
                      "\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}  ",
                      28, &bytes, &checkpoint, &err),
                err);
    UM_CHECK_INT(um_checkpoint_count(checkpoint), 2);
    UM_CHECK_INT(um_checkpoint_files(checkpoint), 1);
    UM_CHECK_INT(um_checkpoint_bytes(checkpoint), bytes.length);
    UM_CHECK_STR(um_checkpoint_at(checkpoint, 0)->name, "a");
    t = um_checkpoint_find(checkpoint, "b");
    UM_ASSERT(t != NULL);
    UM_CHECK(t == um_checkpoint_at(checkpoint, 1));
    UM_CHECK(t->supported);
    UM_CHECK_INT(t->dtype, UM_F32);
    UM_CHECK_INT(t->rank, 2);
    UM_CHECK_INT(t->shape[0], 2);
    UM_CHECK_INT(t->shape[1], 3);
    UM_CHECK_INT(t->bytes, 24);
    UM_CHECK_INT(*(const uint8_t *)t->data, 4);
    UM_CHECK_STR(t->file, "x.safetensors");
    UM_CHECK(um_checkpoint_find(checkpoint, "c") == NULL);
    UM_CHECK(um_checkpoint_find(checkpoint, "__metadata__") == NULL);
    um_checkpoint_discard(checkpoint, t); /* not mapped: nothing to give back */
    UM_CHECK_INT(*(const uint8_t *)t->data, 4);
    um_checkpoint_close(checkpoint);
    um_buf_deinit(&bytes);
}

static void empty_scalar_and_foreign_tensors_are_allowed(void)
{
    static const struct {
        const char *header;
        size_t data_bytes;
        bool supported; /* its last tensor */
    } good[] = {
        {"{}", 0, true},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[0,0]}}", 0, true},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, true},
        {"{\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, false},
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3,2],\"data_offsets\":[0,3]}}", 3, false},
        {"{\"z\":{\"dtype\":\"F16\",\"shape\":[0],\"data_offsets\":[4,4]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
         4, true},
    };

    for (size_t i = 0; i < UM_COUNT_OF(good); i++) {
        um_buf bytes = {0};
        um_checkpoint *checkpoint = NULL;
        um_err err = {0};
        size_t count;

        UM_CHECK_OK(parse(good[i].header, good[i].data_bytes, &bytes, &checkpoint, &err), err);
        count = um_checkpoint_count(checkpoint);
        if (count > 0)
            UM_CHECK(um_checkpoint_at(checkpoint, count - 1)->supported == good[i].supported);
        um_checkpoint_close(checkpoint);
        um_buf_deinit(&bytes);
    }
}

/* One tensor "a" whose entry is given, with 8 bytes of data. */
#define ENTRY(text) "{\"a\":" text "}", 8

typedef struct refused {
    const char *header;
    size_t data_bytes;
    const char *reason; /* part of the message */
} refused;

static const refused refused_headers[] = {
    {"", 0, "does not begin"},
    {" {}", 0, "does not begin"},
    {"[]", 0, "does not begin"},
    {"{", 0, "JSON"},
    {"{\"a\":1,}", 0, "JSON"},
    {"{} x", 0, "JSON"},
    {"{}", 3, "end at byte 0 of 3"},
    {"{\"a\":{},\"a\":{}}", 0, "JSON"}, /* duplicate name */
    {"{\"\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "name is empty"},
    {"{\"a\\u001b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "control"},
    {ENTRY("7"), "tensor a: its entry is an integer"},
    {ENTRY("null"), "its entry is null"},
    {ENTRY("{\"shape\":[2],\"data_offsets\":[0,8]}"), "dtype is null"},
    {ENTRY("{\"dtype\":3,\"shape\":[2],\"data_offsets\":[0,8]}"), "dtype is an integer"},
    {ENTRY("{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}"), "dtype is \"F31\""},
    {ENTRY("{\"dtype\":\"F3\",\"shape\":[2],\"data_offsets\":[0,8]}"), "dtype is \"F3\""},
    {ENTRY("{\"dtype\":\"F32\\u0000\",\"shape\":[2],\"data_offsets\":[0,8]}"), "dtype is"},
    {ENTRY("{\"dtype\":\"F32\",\"data_offsets\":[0,8]}"), "shape is null"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":\"2\",\"data_offsets\":[0,8]}"), "shape is a string"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}"), "shape[0]"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}"), "shape[0]"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[true],\"data_offsets\":[0,8]}"), "shape[0]"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}"),
     "9 dimensions"},
    /* 2^32 * 2^32 is 0 in 64 bits, 2^61 * 4 bytes too, 2^59 * 32 bits too */
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}"),
     "overflows at dimension 1"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}"),
     "do not fill"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[576460752303423488],\"data_offsets\":[0,0]}"),
     "do not fill"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]}"), "JSON"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[2]}"), "data_offsets"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}"), "data_offsets"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}"), "data_offsets"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}"), "data_offsets"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[\"0\",8]}"), "data_offsets"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}"), "end is before the begin"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}"), "8 bytes of data"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,9223372036854775807]}"),
     "8 bytes of data"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}"), "do not fill"},
    {ENTRY("{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}"), "do not fill"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"), "end at byte 4 of 8"},
    {ENTRY("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}"), "hole: bytes 0 to 4"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
     12, "tensor b overlaps tensor a at byte 4"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
     8, "overlaps"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
     12, "hole: bytes 4 to 8"},
};

static void every_bad_field_is_refused_with_its_reason(void)
{
    for (size_t i = 0; i < UM_COUNT_OF(refused_headers); i++) {
        const refused *r = &refused_headers[i];
        um_buf bytes = {0};
        um_checkpoint *checkpoint = NULL;
        um_err err = {0};

        UM_CHECK_STATUS(parse(r->header, r->data_bytes, &bytes, &checkpoint, &err), UM_E_FORMAT);
        UM_CHECK(checkpoint == NULL);
        UM_CHECK(strncmp(err.message, "x.safetensors: ", 15) == 0);
        UM_CHECK(strstr(err.message, r->reason) != NULL);
        if (!strstr(err.message, r->reason))
            printf("%s\n  gives: %s\n", r->header, err.message);
        um_buf_deinit(&bytes);
    }
}

static void header_length_is_held_against_the_file(void)
{
    static const struct {
        uint64_t length;
        const char *reason;
    } cases[] = {
        {0, "does not begin"},
        {1, "JSON"},
        {3, "only 2 bytes follow"},
        {100000001, "the maximum is 100000000"},
        {UINT64_MAX, "the maximum is 100000000"},
        {(uint64_t)1 << 63, "the maximum is 100000000"},
    };
    um_buf bytes = {0};

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        um_checkpoint *checkpoint = NULL;
        um_err err = {0};

        build(&bytes, cases[i].length, "{}", 0);
        UM_CHECK_STATUS(
            um_checkpoint_parse(bytes.data, bytes.length, "x.safetensors", &checkpoint, &err),
            UM_E_FORMAT);
        UM_CHECK(strstr(err.message, cases[i].reason) != NULL);
    }
    for (size_t count = 0; count < 8; count++) {
        um_checkpoint *checkpoint = NULL;
        um_err err = {0};

        UM_CHECK_STATUS(um_checkpoint_parse(bytes.data, count, "x.safetensors", &checkpoint, &err),
                        UM_E_FORMAT);
        UM_CHECK(strstr(err.message, "header length alone") != NULL);
    }
    um_buf_deinit(&bytes);
}

/* ---- directories ---------------------------------------------------------------------------- */

static void make_tiny(char *dir, int32_t shards)
{
    um_tiny_options options = {.shards = shards};
    um_err err = {0};

    um_temp_dir_make(dir);
    UM_CHECK_OK(um_tiny_checkpoint_write(dir, &options, &err), err);
}

static void shards_and_single_file_hold_the_same_tensors(void)
{
    char one[UM_TEMP_PATH_BYTES], three[UM_TEMP_PATH_BYTES];
    um_checkpoint *single = NULL, *sharded = NULL;
    um_err err = {0};

    make_tiny(one, 1);
    make_tiny(three, 3);
    UM_CHECK_OK(um_checkpoint_open(one, &single, &err), err);
    UM_CHECK_OK(um_checkpoint_open(three, &sharded, &err), err);
    UM_CHECK_INT(um_checkpoint_files(single), 1);
    UM_CHECK_INT(um_checkpoint_files(sharded), 3);
    UM_CHECK_INT(um_checkpoint_count(single), 21);
    UM_CHECK_INT(um_checkpoint_count(sharded), 21);
    for (size_t i = 0; i < 21; i++) {
        const um_checkpoint_tensor *a = um_checkpoint_at(single, i);
        const um_checkpoint_tensor *b = um_checkpoint_at(sharded, i);

        UM_CHECK_STR(a->name, b->name);
        UM_CHECK_INT(a->bytes, b->bytes);
        UM_CHECK(memcmp(a->data, b->data, a->bytes) == 0);
        um_checkpoint_discard(sharded, b); /* its pages come back when they are read again */
        UM_CHECK(memcmp(a->data, b->data, a->bytes) == 0);
    }
    um_checkpoint_close(single);
    um_checkpoint_close(sharded);
    um_temp_dir_remove(one);
    um_temp_dir_remove(three);
}

/* Opens a directory that must be refused and checks the message. */
static void check_refused(const char *dir, um_status expected, const char *reason)
{
    um_checkpoint *checkpoint = NULL;
    um_err err = {0};

    UM_CHECK_STATUS(um_checkpoint_open(dir, &checkpoint, &err), expected);
    UM_CHECK(checkpoint == NULL);
    UM_CHECK(strstr(err.message, reason) != NULL);
    if (!strstr(err.message, reason))
        printf("expected \"%s\" in: %s\n", reason, err.message);
}

static void missing_and_cut_files_are_named(void)
{
    char dir[UM_TEMP_PATH_BYTES], path[UM_TEMP_PATH_BYTES + 64];

    um_temp_dir_make(dir);
    check_refused(dir, UM_E_NOT_FOUND, "model.safetensors: cannot open");
    um_temp_dir_write(dir, "model.safetensors", "", 0);
    check_refused(dir, UM_E_FORMAT, "model.safetensors: it is empty");
    snprintf(path, sizeof(path), "%s/model.safetensors", dir);
    UM_CHECK_INT(unlink(path), 0);
    UM_CHECK_INT(mkfifo(path, 0600), 0);
    check_refused(dir, UM_E_FORMAT, "model.safetensors: it is no regular file");
    um_temp_dir_remove(dir);

    make_tiny(dir, 1);
    snprintf(path, sizeof(path), "%s/model.safetensors", dir);
    UM_CHECK_INT(truncate(path, 4000), 0);
    check_refused(dir, UM_E_FORMAT, "truncated?");
    um_temp_dir_remove(dir);

    make_tiny(dir, 3);
    snprintf(path, sizeof(path), "%s/model-00002-of-00003.safetensors", dir);
    UM_CHECK_INT(unlink(path), 0);
    check_refused(dir, UM_E_NOT_FOUND,
                  "1 of 3 weight files are missing: model-00002-of-00003.safetensors");
    um_temp_dir_remove(dir);
    check_refused("/nonexistent", UM_E_NOT_FOUND, "/nonexistent");
}

static void an_index_cannot_point_outside_its_directory_or_lie(void)
{
    static const struct {
        const char *index;
        const char *reason;
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"../model.safetensors\"}}", "in the same directory"},
        {"{\"weight_map\":{\"a\":\"/etc/model.safetensors\"}}", "in the same directory"},
        {"{\"weight_map\":{\"a\":\"b/model.safetensors\"}}", "in the same directory"},
        {"{\"weight_map\":{\"a\":\".safetensors\"}}", "in the same directory"},
        {"{\"weight_map\":{\"a\":\"model.bin\"}}", "in the same directory"},
        {"{\"weight_map\":{\"a\":\"\"}}", "in the same directory"},
        {"{\"weight_map\":{\"a\":\"model.safetensors\\u0000.safetensors\"}}",
         "in the same directory"},
        {"{\"weight_map\":{\"a\":7}}", "weight_map[\"a\"] is an integer"},
        {"{\"weight_map\":{}}", "no object with members"},
        {"{\"weight_map\":[]}", "no object with members"},
        {"{}", "no object with members"},
        {"[", "JSON"},
        /* the file holds all tensors, the map names one, or one too many */
        {"{\"weight_map\":{\"model.transformer.ln_f.weight\":\"model.safetensors\"}}",
         "is not in weight_map"},
    };
    char dir[UM_TEMP_PATH_BYTES];

    make_tiny(dir, 1);
    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        um_temp_dir_write(dir, "model.safetensors.index.json", cases[i].index,
                          strlen(cases[i].index));
        check_refused(dir, UM_E_FORMAT, cases[i].reason);
    }
    um_temp_dir_remove(dir);
}

/* Two one-tensor files, and maps that contradict them. */
static void an_index_must_agree_with_its_shards(void)
{
    static const struct {
        const char *index;
        const char *reason; /* NULL: fine */
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"b.safetensors\"}}", NULL},
        {"{\"weight_map\":{\"a\":\"b.safetensors\",\"b\":\"a.safetensors\"}}",
         "tensor a is in a.safetensors; weight_map says b.safetensors"},
        {"{\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"b.safetensors\",\"c\":\"b.safetensors\"}"
         "}",
         "tensor c is not in b.safetensors"},
    };
    char dir[UM_TEMP_PATH_BYTES];
    um_buf bytes = {0};

    um_temp_dir_make(dir);
    for (int i = 0; i < 2; i++) {
        char header[80], name[32];

        snprintf(header, sizeof(header),
                 "{\"%c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 'a' + i);
        snprintf(name, sizeof(name), "%c.safetensors", 'a' + i);
        build(&bytes, strlen(header), header, 4);
        um_temp_dir_write(dir, name, bytes.data, bytes.length);
    }
    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        um_checkpoint *checkpoint = NULL;
        um_err err = {0};

        um_temp_dir_write(dir, "model.safetensors.index.json", cases[i].index,
                          strlen(cases[i].index));
        if (cases[i].reason)
            check_refused(dir, UM_E_FORMAT, cases[i].reason);
        else
            UM_CHECK_OK(um_checkpoint_open(dir, &checkpoint, &err), err);
        um_checkpoint_close(checkpoint);
    }
    um_buf_deinit(&bytes);
    um_temp_dir_remove(dir);
}

static uint64_t hash_of(const char *dir)
{
    um_checkpoint *checkpoint = NULL;
    um_err err = {0};
    uint64_t hash;

    UM_CHECK_OK(um_checkpoint_open(dir, &checkpoint, &err), err);
    hash = um_checkpoint_hash(checkpoint);
    UM_CHECK(um_checkpoint_mtime(checkpoint) > 1600000000);
    um_checkpoint_close(checkpoint);
    return hash;
}

static void the_hash_tells_checkpoints_apart_and_is_stable(void)
{
    char a[UM_TEMP_PATH_BYTES], b[UM_TEMP_PATH_BYTES], path[UM_TEMP_PATH_BYTES + 64];
    FILE *file;

    make_tiny(a, 1);
    make_tiny(b, 1);
    UM_CHECK(hash_of(a) == hash_of(b));
    snprintf(path, sizeof(path), "%s/model.safetensors", b);
    file = fopen(path, "r+b");
    UM_ASSERT(file != NULL);
    UM_CHECK_INT(fseek(file, -1, SEEK_END), 0); /* one byte of the last tensor */
    UM_CHECK_INT(fputc(0x55, file), 0x55);
    UM_CHECK_INT(fclose(file), 0);
    UM_CHECK(hash_of(a) != hash_of(b));
    um_temp_dir_remove(a);
    um_temp_dir_remove(b);
}

static void opening_survives_every_allocation_failure(void)
{
    char dir[UM_TEMP_PATH_BYTES];
    long n = 1;

    make_tiny(dir, 3);
    for (bool opened = false; !opened; n++) {
        um_checkpoint *checkpoint = NULL;
        um_err err = {0};
        um_status status;

        um_mem_fail_after(n);
        status = um_checkpoint_open(dir, &checkpoint, &err);
        opened = um_mem_fail_pending();
        um_mem_fail_after(0);
        UM_CHECK_STATUS(status, opened ? UM_OK : UM_E_NOMEM);
        um_checkpoint_close(checkpoint);
    }
    UM_CHECK(n > 25); /* a name for each of 21 tensors and 3 files at least */
    um_temp_dir_remove(dir);
}

static const um_test tests[] = {
    UM_TEST(a_good_header_yields_its_tensors_in_order_of_name),
    UM_TEST(empty_scalar_and_foreign_tensors_are_allowed),
    UM_TEST(every_bad_field_is_refused_with_its_reason),
    UM_TEST(header_length_is_held_against_the_file),
    UM_TEST(shards_and_single_file_hold_the_same_tensors),
    UM_TEST(missing_and_cut_files_are_named),
    UM_TEST(an_index_cannot_point_outside_its_directory_or_lie),
    UM_TEST(an_index_must_agree_with_its_shards),
    UM_TEST(the_hash_tells_checkpoints_apart_and_is_stable),
    UM_TEST(opening_survives_every_allocation_failure),
};
UM_TEST_MAIN(tests)
