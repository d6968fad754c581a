/* core/base: buffers, checked memory, status, json, log levels, mailbox. */
#include "core/base/buf.h"
#include "core/base/entropy.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mailbox.h"
#include "core/base/mem.h"
#include "tests/test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void status_names_and_texts_are_unique(void)
{
    static const um_status all[] = {
#define UM_STATUS_LIST(name, value, text) UM_##name,
        UM_STATUS_MAP(UM_STATUS_LIST)
#undef UM_STATUS_LIST
    };

    for (size_t i = 0; i < UM_COUNT_OF(all); i++) {
        for (size_t j = 0; j < i; j++) {
            UM_CHECK(all[i] != all[j]);
            UM_CHECK(strcmp(um_status_name(all[i]), um_status_name(all[j])) != 0);
            UM_CHECK(strcmp(um_status_text(all[i]), um_status_text(all[j])) != 0);
        }
    }
    UM_CHECK_STR(um_status_name(UM_E_NOMEM), "UM_E_NOMEM");
    UM_CHECK_STR(um_status_name((um_status)-999), "UM_?");
}

static void errors_carry_field_and_prefix_and_are_cut_to_fit(void)
{
    um_err err = {0};
    char long_text[2 * UM_ERR_MESSAGE_BYTES];

    UM_CHECK_STATUS(um_fail_field(&err, UM_E_INT_BELOW_MIN, "steps", "steps is %d", 0),
                    UM_E_INT_BELOW_MIN);
    UM_CHECK_STR(err.field, "steps");
    UM_CHECK_STATUS(um_err_prefix(&err, UM_E_FORMAT, "%s", "config.json"), UM_E_FORMAT);
    UM_CHECK_STR(err.message, "config.json: steps is 0");
    UM_CHECK_INT(err.status, UM_E_FORMAT);

    memset(long_text, 'x', sizeof(long_text));
    long_text[sizeof(long_text) - 1] = '\0';
    UM_CHECK_STATUS(um_fail(&err, UM_E_IO, "%s", long_text), UM_E_IO);
    UM_CHECK_INT(strlen(err.message), UM_ERR_MESSAGE_BYTES - 1);
    UM_CHECK_STATUS(um_err_prefix(&err, UM_E_IO, "%s", long_text), UM_E_IO);
    UM_CHECK_INT(strlen(err.message), UM_ERR_MESSAGE_BYTES - 1);
    UM_CHECK_STATUS(um_fail(NULL, UM_E_IO, "nobody listens"), UM_E_IO);
}

/* What they quote comes from clients and files. */
static void errors_are_printable_whatever_they_quote(void)
{
    um_err err = {0};

    um_fail_field(&err, UM_E_VALUE, "a\x1b[2J", "\"%.3s\" is no name\n", "\x1b\xE4\xB8\xAD");
    UM_CHECK_STR(err.field, "a?[2J");
    UM_CHECK_STR(err.message, "\"??\" is no name ");
    um_err_prefix(&err, UM_E_VALUE, "%s", "dir\r\n");
    UM_CHECK_STR(err.message, "dir  : \"??\" is no name ");
}

/* Log lines go to standard error; what `write` makes there comes back as text. */
static size_t logged(void (*write)(void), char *text, size_t size)
{
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    size_t length;

    UM_CHECK(file && saved >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    write();
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    length = fread(text, 1, size - 1, file);
    text[length] = '\0';
    fclose(file);
    return length;
}

static void write_lines(void)
{
    char much[3000];

    um_log(UM_LOG_ERROR, "event", "quoted=\"%s\"", "two\nlines \x1b[31m \xFF");
    memset(much, 'x', sizeof(much) - 1);
    much[sizeof(much) - 1] = '\0';
    um_log(UM_LOG_ERROR, "long", "%s", much);
}

static void log_lines_are_one_printable_line(void)
{
    char text[8192];
    size_t length = logged(write_lines, text, sizeof(text));

    UM_CHECK(strstr(text, " error event quoted=\"two lines ?[31m ?\"\n") != NULL);
    UM_CHECK(strstr(text, " error long xxx") != NULL);
    UM_CHECK_INT(text[length - 1], '\n');
}

static void write_objects(void)
{
    char much[3000];

    um_log_set_format(UM_LOG_JSON);
    um_log(UM_LOG_WARN, "pairs",
           "port=%d share=-0.5 zip=0123 id=%s code=\"7\" empty= message=\"%s\" last=1", 8080, "a-1",
           "say \"hi\" \\ there");
    um_log(UM_LOG_WARN, "words", "no pair at all, \"quoted\"");
    um_log(UM_LOG_WARN, "mixed", "count=3 and words");
    um_log(UM_LOG_WARN, "bare", " ");
    for (size_t i = 0; i < sizeof(much); i++)
        much[i] = "k= "[i % 3];
    much[sizeof(much) - 1] = '\0';
    um_log(UM_LOG_WARN, "many", "%s", much);
    memset(much, '"', sizeof(much) - 1);
    um_log(UM_LOG_WARN, "marks", "%s", much);
    um_log_set_format(UM_LOG_TEXT);
}

static void check_object(char *line, const char *expected)
{
    um_json *json = NULL;
    um_err err = {0};
    const char *behind = strstr(line, ",\"level\"");

    UM_CHECK_OK(um_json_parse(line, strlen(line), &json, &err), err);
    um_json_free(json);
    UM_CHECK(behind != NULL);
    if (expected)
        UM_CHECK_STR(behind, expected);
}

/* Each line is parsed by jansson, whatever the message holds. */
static void log_objects_are_json(void)
{
    static const char *const expected[] = {
        (",\"level\":\"warn\",\"event\":\"pairs\",\"port\":8080,\"share\":-0.5,\"zip\":\"0123\","
         "\"id\":\"a-1\",\"code\":\"7\",\"empty\":\"\",\"message\":\"say \\\"hi\\\" \\\\ "
         "there\",\"last\":1}"),
        ",\"level\":\"warn\",\"event\":\"words\",\"message\":\"no pair at all, \\\"quoted\\\"\"}",
        ",\"level\":\"warn\",\"event\":\"mixed\",\"count\":3,\"message\":\"and words\"}",
        ",\"level\":\"warn\",\"event\":\"bare\"}",
    };
    static char text[32768];
    char *at = text;

    logged(write_objects, text, sizeof(text));
    for (size_t i = 0; i < UM_COUNT_OF(expected) + 2; i++) {
        char *end = strchr(at, '\n');

        UM_CHECK(end != NULL);
        *end = '\0';
        /* of the two long ones: pairs with one name over and over are no JSON that jansson takes */
        if (i < UM_COUNT_OF(expected))
            check_object(at, expected[i]);
        else if (i > UM_COUNT_OF(expected))
            check_object(at, NULL);
        at = end + 1;
    }
    UM_CHECK(*at == '\0');
}

static void buf_builds_any_bytes(void)
{
    um_buf buf = {0};

    UM_CHECK_STR(um_buf_view(&buf), "");
    um_buf_text(&buf, "canvas");
    um_buf_char(&buf, ' ');
    um_buf_printf(&buf, "%d of %s", 3, "8");
    UM_CHECK_STR(um_buf_view(&buf), "canvas 3 of 8");
    um_buf_consume(&buf, 7);
    UM_CHECK_STR(um_buf_view(&buf), "3 of 8");
    um_buf_append(&buf, "\0x", 2);
    UM_CHECK_INT(buf.length, 8);
    um_buf_clear(&buf);
    UM_CHECK_INT(buf.length, 0);
    for (int i = 0; i < 10000; i++)
        um_buf_printf(&buf, "%d,", i);
    UM_CHECK_INT(buf.length, 48890);
    um_buf_deinit(&buf);
}

static void buf_failure_is_sticky_and_keeps_what_it_had(void)
{
    um_buf buf = {0};

    um_buf_text(&buf, "kept");
    um_mem_fail_after(1);
    for (int i = 0; i < 100; i++)
        um_buf_text(&buf, "0123456789");
    UM_CHECK(um_buf_failed(&buf));
    UM_CHECK(strncmp(um_buf_view(&buf), "kept", 4) == 0);
    um_buf_deinit(&buf);
    UM_CHECK(!um_buf_failed(&buf));
}

static void a_reserved_buf_does_not_allocate(void)
{
    um_buf buf = {0};

    um_buf_reserve(&buf, 1000);
    um_mem_fail_after(1);
    for (int i = 0; i < 1000; i++)
        um_buf_char(&buf, 'x');
    UM_CHECK(!um_buf_failed(&buf));
    UM_CHECK(um_mem_fail_pending());
    um_mem_fail_after(0);
    um_buf_deinit(&buf);
}

static void sizes_that_overflow_are_refused(void)
{
    size_t out = 7;

    UM_CHECK(!um_mem_mul(SIZE_MAX, 2, &out));
    UM_CHECK(!um_mem_add(SIZE_MAX, 1, &out));
    UM_CHECK(um_mem_mul(6, 7, &out));
    UM_CHECK_INT(out, 42);
    UM_CHECK(um_mem_calloc(SIZE_MAX / 2, 3) == NULL);
    UM_CHECK(um_mem_alloc_aligned(SIZE_MAX - 3) == NULL);
}

static void aligned_blocks_are_aligned_and_zero(void)
{
    static const size_t sizes[] = {1, 63, 64, 4097, (2u << 20) - 1, 2u << 20, (2u << 20) + 12345};

    for (size_t i = 0; i < UM_COUNT_OF(sizes); i++) {
        unsigned char *block = um_mem_alloc_aligned(sizes[i]);

        UM_CHECK(block != NULL);
        UM_CHECK_INT((uintptr_t)block % 64, 0);
        UM_CHECK_INT(block[0], 0);
        UM_CHECK_INT(block[sizes[i] - 1], 0);
        memset(block, 1, sizes[i]);
        um_mem_free_aligned(block, sizes[i]);
    }
    um_mem_free_aligned(NULL, 10);
}

static void check_json_refused(const char *text, size_t length)
{
    um_err err = {0};
    um_json *root = NULL;

    UM_CHECK_STATUS(um_json_parse(text, length, &root, &err), UM_E_JSON);
    UM_CHECK(root == NULL);
    UM_CHECK(err.message[0] != '\0');
}

static void json_is_strict(void)
{
    static const char *const refused[] = {
        "", "{", "{\"a\":1,\"a\":2}", "[1] x", "\"text\"", "{\"a\":\"\\ud800\"}", "[1e999]", "[01]",
    };
    static const char bad_utf8[] = "[\"\xff\"]";
    char deep[300];
    um_err err = {0};
    um_json *root = NULL;

    for (size_t i = 0; i < UM_COUNT_OF(refused); i++)
        check_json_refused(refused[i], strlen(refused[i]));
    check_json_refused(bad_utf8, sizeof(bad_utf8) - 1);
    memset(deep, '[', 129);
    memset(deep + 129, ']', 129);
    check_json_refused(deep, 258);
    UM_CHECK_OK(um_json_parse(deep + 1, 256, &root, &err), err); /* 128 levels are allowed */
    um_json_free(root);
}

static void json_getters_check_kind_and_range(void)
{
    static const char text[] = "{\"n\":16,\"x\":0.5,\"b\":true,\"s\":\"a\\u0000b\",\"z\":null}";
    um_err err = {0};
    um_json *root = NULL;
    const char *string;
    int64_t integer;
    double number;
    size_t length;
    bool flag;

    UM_CHECK_OK(um_json_parse(text, sizeof(text) - 1, &root, &err), err);
    UM_CHECK_OK(um_json_get_int(root, "n", 1, 16, 3, &integer, &err), err);
    UM_CHECK_INT(integer, 16);
    UM_CHECK_OK(um_json_get_int(root, "z", 1, 16, 3, &integer, &err), err);
    UM_CHECK_INT(integer, 3);
    UM_CHECK_STATUS(um_json_get_int(root, "n", 17, 20, 3, &integer, &err), UM_E_INT_BELOW_MIN);
    UM_CHECK_STATUS(um_json_get_int(root, "n", 0, 15, 3, &integer, &err), UM_E_INT_ABOVE_MAX);
    UM_CHECK_STR(err.field, "n");
    UM_CHECK_STATUS(um_json_get_int(root, "x", 0, 15, 3, &integer, &err), UM_E_TYPE);
    UM_CHECK_OK(um_json_get_number(root, "n", 0, 100, 1, &number, &err), err);
    UM_CHECK_NEAR(number, 16, 0);
    UM_CHECK_STATUS(um_json_get_number(root, "x", 0, 0.4, 0, &number, &err), UM_E_DEC_ABOVE_MAX);
    UM_CHECK_STATUS(um_json_get_number(root, "x", 0.6, 1, 0, &number, &err), UM_E_DEC_BELOW_MIN);
    UM_CHECK_OK(um_json_get_bool(root, "b", false, &flag, &err), err);
    UM_CHECK(flag);
    UM_CHECK_STATUS(um_json_get_bool(root, "n", false, &flag, &err), UM_E_TYPE);
    UM_CHECK_OK(um_json_get_string(root, "absent", "fallback", &string, &err), err);
    UM_CHECK_STR(string, "fallback");
    um_json_string_value(um_json_member(root, "s"), &length);
    UM_CHECK_INT(length, 3);
    um_json_free(root);
}

static void json_files_name_the_file(void)
{
    um_err err = {0};
    um_json *root = NULL;

    UM_CHECK_STATUS(um_json_load("/nonexistent/config.json", 100, &root, &err), UM_E_NOT_FOUND);
    UM_CHECK(strstr(err.message, "/nonexistent/config.json") != NULL);
    UM_CHECK_STATUS(um_json_load("LICENSE", 100, &root, &err), UM_E_FORMAT);
    UM_CHECK_STATUS(um_json_load("LICENSE", 1 << 20, &root, &err), UM_E_FORMAT);
}

/* A pipe nobody writes to would wait for ever, a device could go on for ever. */
static void files_are_regular_whole_and_bounded(void)
{
    char dir[] = "/tmp/unmask_base_XXXXXX", fifo[64];
    um_buf text = {0};
    um_err err = {0};

    UM_CHECK(mkdtemp(dir) != NULL);
    snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
    UM_CHECK(mkfifo(fifo, 0600) == 0);
    UM_CHECK_STATUS(um_file_read(fifo, 100, &text, &err), UM_E_FORMAT);
    unlink(fifo);
    rmdir(dir);
    UM_CHECK_STATUS(um_file_read("/dev/zero", 100, &text, &err), UM_E_FORMAT);
    UM_CHECK_STATUS(um_file_read("tests", 100, &text, &err), UM_E_FORMAT);
    UM_CHECK_STATUS(um_file_read("tests/absent", 100, &text, &err), UM_E_NOT_FOUND);
    UM_CHECK_STATUS(um_file_read("LICENSE", 100, &text, &err), UM_E_FORMAT);
    UM_CHECK_INT(text.length, 0);
    um_buf_text(&text, "before|");
    UM_CHECK_OK(um_file_read("LICENSE", 1 << 20, &text, &err), err);
    UM_CHECK(text.length > 10000 && strncmp(text.data, "before|", 7) == 0);
    um_buf_deinit(&text);
    um_mem_fail_after(1);
    UM_CHECK_STATUS(um_file_read("LICENSE", 1 << 20, &text, &err), UM_E_NOMEM);
    um_buf_deinit(&text);
}

static void log_levels_parse(void)
{
    um_log_level level = UM_LOG_OFF;
    um_log_format format = UM_LOG_TEXT;

    UM_CHECK(um_log_level_parse("warn", &level));
    UM_CHECK_INT(level, UM_LOG_WARN);
    UM_CHECK(!um_log_level_parse("loud", &level));
    UM_CHECK(um_log_format_parse("json", &format) && format == UM_LOG_JSON);
    UM_CHECK(!um_log_format_parse("xml", &format));
}

static void count_wake(void *context)
{
    ++*(int *)context;
}

static void mailbox_is_bounded_ordered_and_wakes_on_the_first(void)
{
    um_mailbox *box = NULL;
    um_err err = {0};
    int wakes = 0, value;

    UM_CHECK_OK(um_mailbox_create(3, sizeof(int), count_wake, &wakes, &box, &err), err);
    UM_CHECK_STATUS(um_mailbox_take(box, &value), UM_EMPTY);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++)
            UM_CHECK_STATUS(um_mailbox_put(box, &i), UM_OK);
        UM_CHECK_STATUS(um_mailbox_put(box, &round), UM_AGAIN);
        for (int i = 0; i < 3; i++) {
            UM_CHECK_STATUS(um_mailbox_take(box, &value), UM_OK);
            UM_CHECK_INT(value, i);
        }
    }
    UM_CHECK_INT(wakes, 5);
    UM_CHECK(!um_mailbox_wait(box, 10));
    um_mailbox_destroy(box);
    um_mailbox_destroy(NULL);
}

static void mailbox_creation_survives_every_failed_allocation(void)
{
    um_mailbox *box = NULL;
    um_err err = {0};
    um_status status = UM_E_NOMEM;

    for (long n = 1; status != UM_OK; n++) {
        um_mem_fail_after(n);
        status = um_mailbox_create(8, 16, NULL, NULL, &box, &err);
        UM_CHECK(status == UM_OK || status == UM_E_NOMEM);
    }
    um_mem_fail_after(0);
    um_mailbox_destroy(box);
}

/* Digits alone, as many as asked for, never the same twice, and every digit comes: 1,024 of them miss
 * one with a chance below 1e-27. */
static void entropy_is_hexadecimal_and_never_the_same(void)
{
    char one[2 * 32 + 2], other[2 * 32 + 2];
    static const char digits[] = "0123456789abcdef";
    unsigned seen = 0;

    for (int i = 0; i < 32; i++) {
        memset(one, 'x', sizeof(one));
        um_entropy_hex(one, 16);
        um_entropy_hex(other, 16);
        UM_CHECK(one[32] == '\0' && one[33] == 'x');
        UM_CHECK_INT(strspn(one, digits), 32);
        UM_CHECK(strcmp(one, other) != 0);
        for (int d = 0; d < 32; d++)
            seen |= 1u << (strchr(digits, one[d]) - digits);
    }
    UM_CHECK_INT(seen, 0xffff);
    UM_CHECK(um_entropy_seed() != um_entropy_seed());
}

static const um_test tests[] = {
    UM_TEST(status_names_and_texts_are_unique),
    UM_TEST(errors_carry_field_and_prefix_and_are_cut_to_fit),
    UM_TEST(errors_are_printable_whatever_they_quote),
    UM_TEST(entropy_is_hexadecimal_and_never_the_same),
    UM_TEST(buf_builds_any_bytes),
    UM_TEST(buf_failure_is_sticky_and_keeps_what_it_had),
    UM_TEST(a_reserved_buf_does_not_allocate),
    UM_TEST(sizes_that_overflow_are_refused),
    UM_TEST(aligned_blocks_are_aligned_and_zero),
    UM_TEST(json_is_strict),
    UM_TEST(json_getters_check_kind_and_range),
    UM_TEST(json_files_name_the_file),
    UM_TEST(files_are_regular_whole_and_bounded),
    UM_TEST(log_lines_are_one_printable_line),
    UM_TEST(log_objects_are_json),
    UM_TEST(log_levels_parse),
    UM_TEST(mailbox_is_bounded_ordered_and_wakes_on_the_first),
    UM_TEST(mailbox_creation_survives_every_failed_allocation),
};
UM_TEST_MAIN(tests)
