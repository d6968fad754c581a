/*
 * Tokenizers of checkpoints, from the files they ship: tokenizer.json (Hugging Face), the older
 * pairs vocab.json + merges.txt and encoder.json + vocab.bpe, or SentencePiece's tokenizer.model.
 * Same ids and text as the `tokenizers` and `sentencepiece` libraries. Added tokens are split first,
 * then come normaliser, pre-tokeniser and BPE. Two shapes of BPE:
 *
 *   byte-level (GPT-2, Qwen2, LLaDA): normaliser none or NFC, pre-tokeniser Split(Regex, Isolated) +
 *   ByteLevel in any of the usual spellings, decoder ByteLevel;
 *
 *   SentencePiece's (Llama-2): characters with byte fallback, U+2581 for blanks and in front of a
 *   text (Prepend and Replace, or Metaspace), decoder Replace, ByteFallback, Fuse, Strip.
 *
 * Anything else is refused at load with the file, the key and the value.
 *
 * Read-only after load, and every call keeps its scratch to itself: any threads at once.
 */
#ifndef UM_TEXT_TOKENIZER_H
#define UM_TEXT_TOKENIZER_H

#include "core/base/buf.h"
#include "core/base/status.h"

typedef struct um_tokenizer um_tokenizer;

typedef struct um_ids {
    int32_t *data; /* owned */
    size_t count;
    size_t capacity;
} um_ids;
void um_ids_deinit(um_ids *ids);
UM_MUST_USE bool um_ids_push(um_ids *ids, int32_t id);

/* Reads the first of these that DIR has: tokenizer.json, vocab.json (with merges.txt), encoder.json
 * (with vocab.bpe), tokenizer.model. The older kinds take added and special tokens and the class
 * from tokenizer_config.json, added_tokens.json and special_tokens_map.json. UM_E_NOT_FOUND. */
um_status um_tokenizer_open(const char *dir, um_tokenizer **out, um_err *err);
/* A tokenizer.json in memory; for tests and fuzzing. */
um_status um_tokenizer_parse(const char *json, size_t length, um_tokenizer **out, um_err *err);
void um_tokenizer_close(um_tokenizer *tokenizer);

enum {
    /* Text that spells a special token becomes that token. Off for anything a user wrote: user
     * text can never become a special token, the mask included. Added tokens that the file does
     * not call special ("<think>") are ordinary vocabulary and parsed either way, as in the
     * reference with encode_special_tokens. */
    UM_ENCODE_PARSE_SPECIAL = 1,
    /* Add what the files want around a text (a beginning-of-text token, or nothing). */
    UM_ENCODE_POST_PROCESS = 2,
    /* Other tokens precede: a mark that only the start of a text gets is left out. */
    UM_ENCODE_CONTINUE = 4,
    /* The text stands in the middle of another: no mark is put in front of it, also where the file
     * wants one in front of every text. The bytes of its tokens are its own. */
    UM_ENCODE_INSIDE = 8,
};

/* Appends the ids of `text` (UTF-8, may hold NUL) to `ids`. Invalid UTF-8 is UM_E_VALUE. Stops with
 * UM_E_CONTEXT_LENGTH once more than ids_max ids are in `ids`. On failure `ids` is as before.
 * O(n log n) for any text under the regexes of the supported models.
 *
 * A byte's own token stays ordinary, even if a file calls it special. */
um_status um_tokenizer_encode(const um_tokenizer *tokenizer, const char *text, size_t length,
                              unsigned flags, size_t ids_max, um_ids *ids, um_err *err);

int32_t um_tokenizer_size(const um_tokenizer *tokenizer); /* largest id + 1 */
/* Id of an entry by its text as in the file ("<|eot_id|>"); -1 when there is none. */
int32_t um_tokenizer_find(const um_tokenizer *tokenizer, const char *text);
bool um_tokenizer_is_special(const um_tokenizer *tokenizer, int32_t id);
/* The bytes that a token stands for inside a text, a blank for U+2581 included; empty for ids without
 * an entry. Borrowed. A special token's bytes are its text. They are what a text that goes on is
 * made of: text so far + bytes of the next tokens. */
const uint8_t *um_tokenizer_bytes(const um_tokenizer *tokenizer, int32_t id, size_t *length);
size_t um_tokenizer_bytes_max(const um_tokenizer *tokenizer); /* longest token */

/* A whole text: bytes of all tokens joined, then invalid UTF-8 replaced by U+FFFD as Rust's
 * from_utf8_lossy does, and for SentencePiece's without the one blank that encoding put in front.
 * (For byte tokens that are no UTF-8 the libraries differ: `tokenizers` gives one U+FFFD for every
 * byte of the run, `sentencepiece` for every byte that is wrong.) */
um_status um_tokenizer_decode(const um_tokenizer *tokenizer, const int32_t *ids, size_t count,
                              bool skip_special, um_buf *out, um_err *err);

#endif
