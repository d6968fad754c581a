/* Task files of `unmask eval`: what is read, and that every fault names line and field. */
#include "core/base/mem.h"
#include "server/eval_task.h"
#include "tests/support/temp_dir.h"
#include "tests/test.h"

#define TASK(kind, prompt, checker)                                                                \
    "{\"kind\": \"" kind "\", \"prompt\": \"" prompt "\", \"checker\": {" checker "}}"
#define EXACT "\"type\": \"exact\", \"text\": \"x\""

static um_status parse(const char *text, um_eval_tasks *out, um_err *err)
{
    *err = (um_err){0};
    return um_eval_tasks_parse(text, strlen(text), out, err);
}

static void every_checker_is_read(void)
{
    static const char text[] =
        TASK("b", "one", "\"type\": \"exact\", \"text\": \" T \"") "\n\n  \r\n" TASK("a", "two", "\"type\": \"prefix\", \"text\": \"P\"") "\r\n" TASK(
            "b", "three",
            "\"type\": \"number\", \"value\": -7") "\n" TASK("b", "four",
                                                             "\"type\": \"lines\", \"lines\": "
                                                             "[\"u\", \"v\"]") "\n" TASK("c.1",
                                                                                         "five",
                                                                                         "\"type\":"
                                                                                         " \"json\""
                                                                                         ", "
                                                                                         "\"value\""
                                                                                         ": "
                                                                                         "{\"k\": "
                                                                                         "[1]}") "\n" TASK("a",
                                                                                                           "s\\u0000x",
                                                                                                           "\"type\": \"sudoku\", \"puzzle\": \"1000020000300004\"");
    um_eval_tasks tasks;
    um_err err;

    UM_CHECK_OK(parse(text, &tasks, &err), err);
    UM_CHECK_INT(tasks.count, 6);
    UM_CHECK_INT(tasks.kind_count, 3);
    UM_CHECK_STR(tasks.kinds[0], "b");
    UM_CHECK_STR(tasks.kinds[1], "a");
    UM_CHECK_STR(tasks.kinds[2], "c.1");
    UM_CHECK_INT(tasks.items[0].line, 1);
    UM_CHECK_INT(tasks.items[1].line, 4);
    UM_CHECK_INT(tasks.items[1].kind, 1);
    UM_CHECK_STR(tasks.items[1].prompt, "two");
    UM_CHECK_INT(tasks.items[5].prompt_length, 3); /* with its NUL */
    UM_CHECK_INT(tasks.items[0].checker.kind, UM_CHECKER_EXACT);
    UM_CHECK_STR(tasks.items[0].checker.text, " T ");
    UM_CHECK_INT(tasks.items[1].checker.kind, UM_CHECKER_PREFIX);
    UM_CHECK_INT(tasks.items[2].checker.number, -7);
    UM_CHECK_INT(um_json_count(tasks.items[3].checker.value), 2);
    UM_CHECK(um_checker_accepts(&tasks.items[4].checker, "{\"k\":[1]}", 9));
    UM_CHECK_INT(tasks.items[5].checker.puzzle[0], 1);
    UM_CHECK_INT(tasks.items[5].checker.puzzle[15], 4);
    um_eval_tasks_deinit(&tasks);
}

static void faults_name_line_and_field(void)
{
    static const struct {
        const char *line;
        um_status status;
        const char *field;
    } cases[] = {
        {"{", UM_E_JSON, ""},
        {"[1]", UM_E_TYPE, ""},
        {"{\"kind\": \"a\", \"kind\": \"a\"}", UM_E_JSON, ""},
        {"{\"prompt\": \"p\", \"checker\": {" EXACT "}}", UM_E_MISSING, "kind"},
        {"{\"kind\": 1, \"prompt\": \"p\", \"checker\": {" EXACT "}}", UM_E_TYPE, "kind"},
        {TASK("", "p", EXACT), UM_E_VALUE, "kind"},
        {TASK("a,b", "p", EXACT), UM_E_VALUE, "kind"},
        {TASK("a\\u0000", "p", EXACT), UM_E_VALUE, "kind"},
        {TASK("a123456789a123456789a123456789a123456789a123456789a123456789abcde", "p", EXACT),
         UM_E_VALUE, "kind"},
        {"{\"kind\": \"a\", \"checker\": {" EXACT "}}", UM_E_MISSING, "prompt"},
        {"{\"kind\": \"a\", \"prompt\": null, \"checker\": {" EXACT "}}", UM_E_TYPE, "prompt"},
        {"{\"kind\": \"a\", \"prompt\": \"p\"}", UM_E_MISSING, "checker"},
        {"{\"kind\": \"a\", \"prompt\": \"p\", \"checker\": \"exact\"}", UM_E_TYPE, "checker"},
        {"{\"kind\": \"a\", \"promt\": \"p\", \"checker\": {" EXACT "}}", UM_E_UNKNOWN_PARAM,
         "promt"},
        {TASK("a", "p", "\"text\": \"x\""), UM_E_MISSING, "checker.type"},
        {TASK("a", "p", "\"type\": \"regex\", \"text\": \"x\""), UM_E_VALUE, "checker.type"},
        {TASK("a", "p", "\"type\": \"exact\\u0000\", \"text\": \"x\""), UM_E_VALUE, "checker.type"},
        {TASK("a", "p", "\"type\": \"exact\""), UM_E_MISSING, "checker.text"},
        {TASK("a", "p", "\"type\": \"exact\", \"text\": 5"), UM_E_TYPE, "checker.text"},
        {TASK("a", "p", "\"type\": \"exact\", \"text\": \"x\", \"case\": 1"), UM_E_UNKNOWN_PARAM,
         "checker.case"},
        {TASK("a", "p", "\"type\": \"prefix\", \"text\": \" \""), UM_E_VALUE, "checker.text"},
        {TASK("a", "p", "\"type\": \"number\", \"text\": \"5\""), UM_E_UNKNOWN_PARAM,
         "checker.text"},
        {TASK("a", "p", "\"type\": \"number\", \"value\": 1.5"), UM_E_TYPE, "checker.value"},
        {TASK("a", "p", "\"type\": \"lines\", \"lines\": \"x\""), UM_E_TYPE, "checker.lines"},
        {TASK("a", "p", "\"type\": \"lines\", \"lines\": [\"x\", 1]"), UM_E_TYPE, "checker.lines"},
        {TASK("a", "p", "\"type\": \"lines\", \"lines\": [\" \"]"), UM_E_VALUE, "checker.lines"},
        {TASK("a", "p", "\"type\": \"lines\", \"lines\": [\"x\\ny\"]"), UM_E_VALUE,
         "checker.lines"},
        {TASK("a", "p", "\"type\": \"json\""), UM_E_MISSING, "checker.value"},
        {TASK("a", "p", "\"type\": \"json\", \"value\": 5"), UM_E_TYPE, "checker.value"},
        {TASK("a", "p", "\"type\": \"sudoku\", \"puzzle\": \"123\""), UM_E_VALUE, "checker.puzzle"},
        {TASK("a", "p", "\"type\": \"sudoku\", \"puzzle\": \"1234123412341235\""), UM_E_VALUE,
         "checker.puzzle"},
    };

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        char text[1024];
        um_eval_tasks tasks;
        um_err err;
        um_status status;

        snprintf(text, sizeof(text), "%s\n\n%s\n", TASK("a", "p", EXACT), cases[i].line);
        status = parse(text, &tasks, &err);
        um_test_count();
        if (status != cases[i].status || strcmp(err.field, cases[i].field) != 0 ||
            strncmp(err.message, "line 3: ", 8) != 0 || !strstr(err.message, cases[i].field))
            um_test_fail(__FILE__, __LINE__, "%s: %s, field \"%s\": %s", cases[i].line,
                         um_status_name(status), err.field, err.message);
        UM_CHECK_INT(tasks.count, 0);
    }
}

static void what_would_not_end_is_bounded(void)
{
    um_buf text = {0};
    um_eval_tasks tasks;
    um_err err;

    for (int i = 0; i <= UM_EVAL_KINDS_MAX; i++)
        um_buf_printf(&text, TASK("kind%d", "p", EXACT) "\n", i);
    UM_CHECK_STATUS(parse(um_buf_view(&text), &tasks, &err), UM_E_ARRAY_ABOVE_MAX);
    UM_CHECK_STR(err.field, "kind");
    um_buf_clear(&text);
    for (int i = 0; i <= UM_EVAL_TASKS_MAX; i++)
        um_buf_text(&text, "{}\n");
    UM_CHECK_STATUS(parse(um_buf_view(&text), &tasks, &err), UM_E_ARRAY_ABOVE_MAX);
    um_buf_clear(&text);
    um_buf_text(&text, "{\"kind\": \"a\", \"prompt\": \"\", \"checker\": {\"type\": \"lines\", "
                       "\"lines\": [\"x\"");
    for (int i = 0; i < UM_CHECKER_LINES_MAX; i++)
        um_buf_text(&text, ", \"x\"");
    um_buf_text(&text, "]}}");
    UM_CHECK_STATUS(parse(um_buf_view(&text), &tasks, &err), UM_E_ARRAY_ABOVE_MAX);
    UM_CHECK_STR(err.field, "checker.lines");
    um_buf_deinit(&text);
}

static void a_file_without_tasks_is_refused(void)
{
    um_eval_tasks tasks;
    um_err err;

    UM_CHECK_STATUS(parse("", &tasks, &err), UM_E_VALUE);
    UM_CHECK_STATUS(parse("\n \n", &tasks, &err), UM_E_VALUE);
}

static void a_limit_keeps_the_first_of_each_kind(void)
{
    static const char text[] = TASK("a", "1", EXACT) "\n" TASK("a", "2", EXACT) "\n" TASK(
        "b", "3", EXACT) "\n" TASK("a", "4", EXACT) "\n" TASK("b", "5", EXACT);
    um_eval_tasks tasks;
    um_err err;

    UM_CHECK_OK(parse(text, &tasks, &err), err);
    um_eval_tasks_limit(&tasks, 2);
    UM_CHECK_INT(tasks.count, 4);
    UM_CHECK_STR(tasks.items[2].prompt, "3");
    UM_CHECK_STR(tasks.items[3].prompt, "5");
    um_eval_tasks_limit(&tasks, 1);
    UM_CHECK_INT(tasks.count, 2);
    UM_CHECK_STR(tasks.items[1].prompt, "3");
    UM_CHECK_STR(tasks.kinds[1], "b");
    um_eval_tasks_deinit(&tasks);
}

static void files_are_loaded_and_named_in_errors(void)
{
    static const char good[] = TASK("a", "p", EXACT) "\n", bad[] = "{}\n";
    char dir[UM_TEMP_PATH_BYTES], path[UM_TEMP_PATH_BYTES + 16];
    um_eval_tasks tasks;
    um_err err = {0};

    um_temp_dir_make(dir);
    um_temp_dir_write(dir, "good", good, sizeof(good) - 1);
    um_temp_dir_write(dir, "bad", bad, sizeof(bad) - 1);
    snprintf(path, sizeof(path), "%s/good", dir);
    UM_CHECK_OK(um_eval_tasks_load(path, &tasks, &err), err);
    UM_CHECK_INT(tasks.count, 1);
    um_eval_tasks_deinit(&tasks);
    snprintf(path, sizeof(path), "%s/bad", dir);
    UM_CHECK_STATUS(um_eval_tasks_load(path, &tasks, &err), UM_E_MISSING);
    UM_CHECK(strstr(err.message, "/bad: line 1: kind is missing") != NULL);
    snprintf(path, sizeof(path), "%s/none", dir);
    UM_CHECK_STATUS(um_eval_tasks_load(path, &tasks, &err), UM_E_NOT_FOUND);
    UM_CHECK(strstr(err.message, "/none: ") != NULL);
    UM_CHECK_STATUS(um_eval_tasks_load(dir, &tasks, &err), UM_E_FORMAT);
    um_temp_dir_remove(dir);
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void)
{
    static const char good[] = TASK("a", "p", EXACT) "\n";
    char dir[UM_TEMP_PATH_BYTES], path[UM_TEMP_PATH_BYTES + 16];
    um_status status = UM_E_NOMEM;
    um_eval_tasks tasks;
    int failures = 0;

    um_temp_dir_make(dir);
    um_temp_dir_write(dir, "good", good, sizeof(good) - 1);
    snprintf(path, sizeof(path), "%s/good", dir);
    for (long n = 1; status != UM_OK; n++) {
        um_mem_fail_after(n);
        status = um_eval_tasks_load(path, &tasks, NULL);
        if (status != UM_OK) {
            UM_CHECK_STATUS(status, UM_E_NOMEM);
            UM_CHECK_INT(tasks.count, 0);
            failures++;
        }
    }
    um_mem_fail_after(0);
    UM_CHECK(failures >= 2);
    um_eval_tasks_deinit(&tasks);
    um_temp_dir_remove(dir);
}

static const um_test tests[] = {
    UM_TEST(every_checker_is_read),
    UM_TEST(faults_name_line_and_field),
    UM_TEST(what_would_not_end_is_bounded),
    UM_TEST(a_file_without_tasks_is_refused),
    UM_TEST(a_limit_keeps_the_first_of_each_kind),
    UM_TEST(files_are_loaded_and_named_in_errors),
    UM_TEST(every_failed_allocation_is_reported_and_leaks_nothing),
};
UM_TEST_MAIN(tests)
