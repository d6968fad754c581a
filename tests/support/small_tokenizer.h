/*
 * A tokenizer.json for tests, small enough to reason about: byte b has id b, then come the tokens
 * of the merges; each field can be replaced by JSON text, right or wrong.
 */
#ifndef UM_TESTS_SUPPORT_SMALL_TOKENIZER_H
#define UM_TESTS_SUPPORT_SMALL_TOKENIZER_H

#include "core/base/buf.h"
#include "core/text/tokenizer.h"

#define DREAM_REGEX                                                                                \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}|"               \
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define LLADA_REGEX                                                                                \
    "'(?i:[sdmt]|ll|ve|re)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?+\\\\p{L}+|\\\\p{N}|"                     \
    " ?[^\\\\s\\\\p{L}\\\\p{N}]++[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]|\\\\s+(?!\\\\S)|\\\\s+"
#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define SPLIT(regex)                                                                               \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"        \
    "\"" regex "\"},\"behavior\":\"Isolated\",\"invert\":false}," BYTE_LEVEL "]}"
#define ADDED(id, content, special)                                                                \
    "{\"id\":" id ",\"content\":\"" content "\",\"single_word\":false,\"lstrip\":false,"           \
    "\"rstrip\":false,\"normalized\":false,\"special\":" special "}"

#define FIRST_MERGE 256 /* id of the token that the first merge makes */
#define MERGES_MAX 16

/* NULL members take defaults: NFC, Dream's regex, ByteLevel decoder, no merges, no added tokens. */
typedef struct um_document {
    const char *normalizer, *pre_tokenizer, *post_processor, *decoder;
    const char *added;              /* elements of added_tokens */
    const char *model;              /* members before vocab */
    const char *vocab;              /* more members of vocab, each with a comma in front */
    const char *merges_json;        /* instead of `merges` */
    const char *merges[MERGES_MAX]; /* "a b", in the byte alphabet; ids from FIRST_MERGE on */
} um_document;

/* Appends the vocabulary alone, as vocab.json has it. */
void um_document_vocab(um_buf *out, const um_document *d);
/* Appends the file's text. */
void um_document_json(um_buf *out, const um_document *d);
um_status um_document_parse(const um_document *d, um_tokenizer **out, um_err *err);
/* Ends the program if it does not load. */
um_tokenizer *um_document_load(const um_document *d);

#endif
