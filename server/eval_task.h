/*
 * Task files of `unmask eval`: one JSON object a line,
 *
 *     {"kind": "add", "prompt": "What is 2 + 3?", "checker": {"type": "number", "value": 5}}
 *
 * docs/eval.md describes them for users. Every error names line and field. Read-only after load.
 */
#ifndef UM_SERVER_EVAL_TASK_H
#define UM_SERVER_EVAL_TASK_H

#include "server/eval_check.h"

#define UM_EVAL_FILE_BYTES_MAX ((size_t)64 << 20)
#define UM_EVAL_TASKS_MAX 100000
#define UM_EVAL_KINDS_MAX 256
#define UM_EVAL_KIND_BYTES_MAX 64

typedef struct um_eval_task {
    um_json *document; /* the line; owned, what follows borrows from it */
    size_t line;       /* from 1 */
    size_t kind;       /* index in um_eval_tasks.kinds */
    const char *prompt;
    size_t prompt_length;
    um_checker checker;
} um_eval_task;

typedef struct um_eval_tasks {
    um_eval_task *items; /* [count], owned */
    size_t count;
    const char *kinds[UM_EVAL_KINDS_MAX]; /* [kind_count] names in order of appearance; borrowed
                                             from each kind's first task */
    size_t kind_count;
} um_eval_tasks;

/* Blank lines are skipped; a file without tasks is an error. On failure `out` is empty. UM_E_JSON,
 * UM_E_MISSING, UM_E_TYPE, UM_E_VALUE, UM_E_UNKNOWN_PARAM, UM_E_ARRAY_ABOVE_MAX, UM_E_NOMEM; when
 * loading also UM_E_NOT_FOUND and UM_E_IO. */
um_status um_eval_tasks_load(const char *path, um_eval_tasks *out, um_err *err);
um_status um_eval_tasks_parse(const char *text, size_t length, um_eval_tasks *out, um_err *err);
/* Keeps the first `count_max` (at least 1) tasks of each kind. */
void um_eval_tasks_limit(um_eval_tasks *tasks, size_t count_max);
void um_eval_tasks_deinit(um_eval_tasks *tasks);

#endif
