/*
 * A client's side of draft frames, written from the specification alone. Every frame is checked on
 * the way: sequence numbers without a gap, a full one first, known states, as many texts as states,
 * a block inside the draft, `settled` that never falls. Failed checks count for the running test.
 */
#ifndef UM_TESTS_SUPPORT_DRAFT_DECODER_H
#define UM_TESTS_SUPPORT_DRAFT_DECODER_H

#include "core/base/buf.h"

#define UM_DECODER_CELLS 64

/* Zero-initialise. Cells behind `len` are masked. */
typedef struct um_decoder {
    bool begun;
    int64_t seq, step, settled, len;
    int64_t block_begin, block_end;
    um_buf texts[UM_DECODER_CELLS];
    char states[UM_DECODER_CELLS];
    int64_t percents[UM_DECODER_CELLS];
    int64_t ids[UM_DECODER_CELLS]; /* -1: null */
} um_decoder;

void um_decoder_close(um_decoder *d);
/* Applies a frame; its kind: 'f', 'p' or 'e'. */
char um_decoder_apply(um_decoder *d, const char *text, size_t length);
/* The text of the cells in front of `end`. */
void um_decoder_join(const um_decoder *d, int64_t end, um_buf *out);

#endif
