/*
 * Checkers of `unmask eval`: is this answer right? A checker is data out of a task file; docs/eval.md
 * tells users what each kind means. White space around the answer never counts. Pure; any thread.
 */
#ifndef UM_SERVER_EVAL_CHECK_H
#define UM_SERVER_EVAL_CHECK_H

#include "core/base/json.h"

#define UM_CHECKER_LINES_MAX 256
#define UM_SUDOKU_CELLS 16

typedef enum um_checker_kind {
    UM_CHECKER_EXACT,  /* the answer is `text` */
    UM_CHECKER_PREFIX, /* the answer begins with `text` */
    UM_CHECKER_NUMBER, /* the last whole number in the answer is `number` */
    UM_CHECKER_LINES,  /* the answer's lines are those of `value`, in any order */
    UM_CHECKER_JSON,   /* the answer is JSON and equals `value` */
    UM_CHECKER_SUDOKU, /* the answer is a valid 4x4 grid that keeps the clues of `puzzle` */
} um_checker_kind;

typedef struct um_checker {
    um_checker_kind kind;
    const char *text; /* EXACT, PREFIX: borrowed, as is `value` */
    size_t text_length;
    int64_t number;       /* NUMBER */
    const um_json *value; /* LINES: array of at most UM_CHECKER_LINES_MAX strings, none of them
                             blank; JSON: object or array */
    uint8_t puzzle[UM_SUDOKU_CELLS]; /* SUDOKU: row by row, 1 to 4; 0: a hole */
} um_checker;

bool um_checker_accepts(const um_checker *checker, const char *answer, size_t length);

/* Text without the white space (ASCII) around it. */
typedef struct um_span {
    const char *text; /* borrowed */
    size_t length;
} um_span;
um_span um_span_strip(const char *text, size_t length);

#endif
