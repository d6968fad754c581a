/*
 * A small tokenizer for engine tests. Ids 0..255 are the single bytes, so that a test can write any
 * text, valid UTF-8 or not, as ids; then a few longer tokens, among them one that ends inside a
 * UTF-8 sequence; then special tokens. Problems end the test program.
 */
#ifndef UM_TESTS_SUPPORT_BYTE_TOKENIZER_H
#define UM_TESTS_SUPPORT_BYTE_TOKENIZER_H

#include "core/text/tokenizer.h"

enum {
    UM_BYTE_TH = 256,      /* "th" */
    UM_BYTE_STOP = 257,    /* " stop" */
    UM_BYTE_E_ACUTE = 258, /* C3 A9 */
    UM_BYTE_PARTIAL = 259, /* E4 B8: the first two bytes of U+4E2D and its neighbours */
    UM_BYTE_END = 260,     /* special: end of text */
    UM_BYTE_TURN = 261,    /* special: end of turn */
    UM_BYTE_MASK = 262,    /* special */
    UM_BYTE_OTHER = 263,   /* special, no end */
    UM_BYTE_VOCAB = 264,
};

um_tokenizer *um_byte_tokenizer_open(void);

#endif
