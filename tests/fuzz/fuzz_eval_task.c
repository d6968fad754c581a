/*
 * Task file of `unmask eval` -> tasks, and every checker on an answer. What stands behind the first
 * NUL is the answer. Beside "does not crash": what was accepted lies within the documented bounds,
 * and white space around an answer changes nothing.
 */
#include <string.h>

#include "server/eval_task.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_task(const um_eval_tasks *tasks, const um_eval_task *task, const char *answer,
                       size_t length)
{
    um_span bare = um_span_strip(answer, length);

    UM_ASSERT(task->kind < tasks->kind_count);
    UM_ASSERT(task->line > 0 && task->prompt != NULL);
    UM_ASSERT(task->checker.kind != UM_CHECKER_LINES ||
              um_json_count(task->checker.value) <= UM_CHECKER_LINES_MAX);
    UM_ASSERT(um_checker_accepts(&task->checker, answer, length) ==
              um_checker_accepts(&task->checker, bare.text, bare.length));
    if (task->checker.kind == UM_CHECKER_EXACT || task->checker.kind == UM_CHECKER_PREFIX)
        UM_ASSERT(
            um_checker_accepts(&task->checker, task->checker.text, task->checker.text_length));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    size_t length = strnlen(text, size);
    const char *answer = length < size ? text + length + 1 : "";
    size_t answer_length = length < size ? size - length - 1 : 0;
    um_eval_tasks tasks;
    um_err err = {0};

    if (size == 0)
        return 0;
    if (um_eval_tasks_parse(text, length, &tasks, &err) != UM_OK) {
        UM_ASSERT(err.status < 0 && err.message[0] != '\0' && tasks.count == 0);
        return 0;
    }
    UM_ASSERT(tasks.count > 0 && tasks.kind_count <= UM_EVAL_KINDS_MAX);
    for (size_t i = 0; i < tasks.count; i++) {
        UM_ASSERT(strlen(tasks.kinds[tasks.items[i].kind]) <= UM_EVAL_KIND_BYTES_MAX);
        check_task(&tasks, &tasks.items[i], answer, answer_length);
    }
    um_eval_tasks_limit(&tasks, 1);
    UM_ASSERT(tasks.count == tasks.kind_count);
    um_eval_tasks_deinit(&tasks);
    return 0;
}
