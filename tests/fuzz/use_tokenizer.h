/* What every target that loads a tokenizer does with it: encode a text, decode the ids again. */
#ifndef UM_TESTS_FUZZ_USE_TOKENIZER_H
#define UM_TESTS_FUZZ_USE_TOKENIZER_H

#include "core/text/tokenizer.h"

void um_fuzz_use_tokenizer(const um_tokenizer *tokenizer);

#endif
