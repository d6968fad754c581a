/*
 * What stands at each position of one choice's canvas, and how that looks to a client (draft.h says
 * what the states mean). Fed with the engine's steps; knows nothing of frames.
 *
 * A look follows from the cells around a position: a character may be spread over several tokens,
 * and an end token takes all behind it. So looks are read left to right, by a scan.
 *
 * HTTP thread only.
 */
#ifndef UM_SERVER_DRAFT_CELLS_H
#define UM_SERVER_DRAFT_CELLS_H

#include "server/draft.h"

#define UM_PARTIAL_MAX 3 /* bytes of an unfinished character */

typedef struct um_cell {
    int32_t token; /* UM_DRAFT_MASKED: none */
    int32_t guess; /* UM_DRAFT_MASKED: none */
    uint8_t percent, guess_percent;
    bool pinned;
} um_cell;

typedef struct um_cells {
    um_draft_facts facts; /* its token lists are not used any more */
    int32_t *ends;        /* [end_count], owned: tokens that end the answer */
    int32_t end_count;
    um_cell *cells;   /* [capacity], owned */
    int32_t capacity; /* positions that the canvas can have */
    int32_t length;
    int32_t first_end;   /* position of the first end token; capacity: none */
    int32_t used_end;    /* nothing is filled from here on */
    int32_t guess_end;   /* nothing is guessed from here on */
    int32_t changed_low; /* the first position that changed since a user of it set it to capacity */
    bool finished;
    um_buf bytes, text; /* owned scratch of um_cells_text */
    bool failed;        /* memory was out for a text */
} um_cells;

/* What becomes of a character that a token leaves unfinished. */
typedef enum um_tail {
    UM_TAIL_NONE,
    UM_TAIL_GOES_ON, /* the next token has more of it */
    UM_TAIL_BROKEN,  /* never: U+FFFD */
    UM_TAIL_OPEN,    /* the next token is not known */
} um_tail;

/* All that a cell's part of a frame follows from. No padding: compared bytewise. */
typedef struct um_look {
    int32_t token;
    uint8_t carry[UM_PARTIAL_MAX]; /* what the cells in front left unfinished */
    uint8_t carried;
    char state;
    uint8_t tail;    /* um_tail */
    uint8_t percent; /* 0 where not asked for */
    uint8_t unused;
} um_look;

typedef struct um_scan {
    int32_t position; /* the next */
    uint8_t carry[UM_PARTIAL_MAX];
    uint8_t carried;
    uint8_t open;    /* bytes that a masked cell in front may still claim from the next token */
    bool leading;    /* nothing masked yet */
    int32_t settled; /* so far */
    int32_t frozen;  /* so far: nothing in front of it changes any more, no character crosses it */
} um_scan;

/* UM_E_OVERLOADED. */
um_status um_cells_init(um_cells *cells, const um_draft_facts *facts, um_err *err);
void um_cells_deinit(um_cells *cells);

void um_cells_apply(um_cells *cells, const um_draft_step *step, const um_draft_change *changes);
void um_cells_guess(um_cells *cells, const um_draft_change *guesses, int32_t count);
/* True where cells may look different now. */
bool um_cells_finish(um_cells *cells);

/* In front of it lies the answer; behind it everything is masked or not part of it. */
int32_t um_cells_answer_end(const um_cells *cells);
/* Positions that a client sees: up to a text behind the first end token. */
int32_t um_cells_length(const um_cells *cells);
/* From here on everything that a client sees is masked. */
int32_t um_cells_masked_from(const um_cells *cells);

/* From the first position, or from a frozen one. */
um_scan um_scan_from(int32_t position);
um_look um_scan_next(const um_cells *cells, um_scan *scan);
/* The text of a cell, "" where it has none; borrowed until the next call. */
const char *um_cells_text(um_cells *cells, const um_look *look, size_t *length);

#endif
