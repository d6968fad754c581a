/*
 * What the files of the tokenizer share. tokenizer_open.c picks what a directory holds and one of
 * three loaders: tokenizer_json.c (with pipeline_json.c), vocab_merges.c, sentencepiece_model.c.
 * They fill the tables through vocabulary.c. encode.c is the way of a text through bpe.c,
 * normalize.c and pretokenize.c, which do not know each other; tokenizer.c is life, look-ups and
 * decoding.
 */
#ifndef UM_TEXT_TOKENIZER_INTERNAL_H
#define UM_TEXT_TOKENIZER_INTERNAL_H

#include "core/base/json.h"
#include "core/text/tokenizer.h"

#define UMI_TOKENS_MAX ((int32_t)1 << 21)     /* ids of a tokenizer */
#define UMI_MERGES_MAX ((size_t)1 << 22)      /* merges of a tokenizer */
#define UMI_TOKEN_TEXT_MAX 8192               /* bytes of an entry's text */
#define UMI_ADDED_TEXT_MAX 1024               /* bytes of an added token's text */
#define UMI_REGEX_TEXT_MAX 4096               /* bytes of a pre-tokeniser's pattern */
#define UMI_SPLITS_MAX 8                      /* regexes in a row */
#define UMI_NORMAL_STEPS_MAX 4                /* normalisers in a row */
#define UMI_MARK_MAX 8                        /* bytes of what a normaliser looks for or puts in */
#define UMI_TEXT_MAX ((size_t)1 << 30)        /* bytes of one text; positions are 32-bit */
#define UMI_FILE_MAX ((size_t)256 << 20)      /* bytes of tokenizer.json, vocab.json, merges.txt */
#define UMI_MODEL_FILE_MAX ((size_t)32 << 20) /* bytes of tokenizer.model */

#define UMI_METASPACE "\xE2\x96\x81" /* U+2581, SentencePiece's visible space */

/* GPT-2's and Qwen2's pre-tokenisers, where no file says which one it is. */
#define UMI_GPT2_REGEX                                                                             \
    "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define UMI_QWEN2_REGEX                                                                            \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+"      \
    "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* ---- bpe.c: merges ---- */

typedef struct umi_merge {
    int32_t left, right;
    int32_t result;
    uint32_t rank; /* UINT32_MAX: free slot */
} umi_merge;

typedef struct umi_bpe {
    umi_merge *table; /* [mask + 1], owned: open addressing by (left, right) */
    size_t mask;
} umi_bpe;

/* One symbol of the piece at work: a doubly linked list over its positions. */
typedef struct umi_symbol {
    int32_t id;
    uint32_t previous, next; /* UINT32_MAX: none */
    uint32_t merge;          /* slot of the merge with the next symbol; UINT32_MAX: none */
} umi_symbol;

typedef struct umi_bpe_scratch {
    umi_symbol *symbols; /* owned */
    size_t symbol_capacity;
    uint64_t *heap; /* owned: rank << 32 | position, smallest first */
    size_t heap_count, heap_capacity;
} umi_bpe_scratch;

UM_MUST_USE bool umi_bpe_init(umi_bpe *bpe, size_t merge_count);
void umi_bpe_deinit(umi_bpe *bpe);
/* At most merge_count times. A pair given twice keeps its last rank, as in the reference. */
void umi_bpe_add(umi_bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t result);
/* Room for the symbols of a piece, whose ids the caller fills in; NULL: no memory. */
umi_symbol *umi_bpe_begin(umi_bpe_scratch *scratch, size_t count_max);
/* Merges symbols[0..count), count > 0, and appends their ids. UM_E_NOMEM, UM_E_CONTEXT_LENGTH. */
um_status umi_bpe_finish(const umi_bpe *bpe, umi_bpe_scratch *scratch, size_t count, size_t ids_max,
                         um_ids *ids, um_err *err);
void umi_bpe_scratch_deinit(umi_bpe_scratch *scratch);

/* ---- normalize.c ---- */

/* A few bytes of UTF-8, in place. */
typedef struct umi_mark {
    char text[UMI_MARK_MAX];
    size_t length;
} umi_mark;
/* False when it is empty or too long. */
UM_MUST_USE bool umi_mark_set(umi_mark *mark, const char *text, size_t length);

typedef enum umi_normal_kind {
    UMI_NORMAL_NFC,
    UMI_NORMAL_PREPEND, /* `to`, unless the text is empty */
    UMI_NORMAL_REPLACE, /* every `from` by `to`, from the left */
} umi_normal_kind;

typedef struct umi_normal_step {
    umi_normal_kind kind;
    umi_mark from, to;
} umi_normal_step;

typedef struct umi_normalizer {
    umi_normal_step steps[UMI_NORMAL_STEPS_MAX];
    size_t count;
} umi_normalizer;

/* Appends the NFC form of `text` (valid UTF-8). O(n) for any text. */
um_status umi_nfc_append(um_buf *out, const char *text, size_t length, um_err *err);
void umi_replace_append(um_buf *out, const umi_mark *from, const umi_mark *to, const char *text,
                        size_t length);
/* All steps, or with `inside` those that put nothing in front. The result is `text` itself or lies in
 * one of the buffers. */
um_status umi_normalize(const umi_normalizer *normalizer, bool inside, um_buf buffers[2],
                        const char **text, size_t *length, um_err *err);

/* ---- pretokenize.c: one regex of the file ---- */

typedef struct umi_regex umi_regex;
typedef struct umi_matcher umi_matcher; /* scratch of one encode call, for any regex */

um_status umi_regex_create(const char *pattern, size_t length, umi_regex **out, um_err *err);
void umi_regex_destroy(umi_regex *regex);
umi_matcher *umi_matcher_create(void); /* NULL: out of memory */
void umi_matcher_destroy(umi_matcher *matcher);
/* First match at or behind `from`. UM_EMPTY when there is none; a match is never empty. UM_E_VALUE
 * when the regex needs more work than its limits allow. */
um_status umi_regex_find(const umi_regex *regex, umi_matcher *matcher, const char *text,
                         size_t length, size_t from, size_t *begin, size_t *end, um_err *err);

/* ---- the tokenizer ---- */

typedef struct umi_token {
    uint32_t text_at, text_length;   /* in the pool: as in the file */
    uint32_t bytes_at, bytes_length; /* in the pool: what it stands for */
    bool present;
    bool special;
} umi_token;

/* Added tokens of one kind, sorted by text, so that the longest one at a place is found by
 * narrowing the range byte by byte. */
typedef struct umi_added_entry {
    char *text; /* owned */
    size_t length;
    int32_t id;
} umi_added_entry;

typedef struct umi_added {
    umi_added_entry *entries; /* [count], owned */
    size_t count, capacity;
    bool starts[256]; /* first bytes that occur */
} umi_added;

/* The Metaspace pre-tokeniser; off where mark.length is 0. */
typedef struct umi_metaspace {
    umi_mark mark;            /* for every blank */
    bool prepend, only_first; /* also in front of a text; only of one that nothing precedes */
    bool split;               /* every mark begins a piece */
} umi_metaspace;

struct um_tokenizer {
    int32_t size;
    umi_token *tokens; /* [size], owned */
    size_t token_bytes_max;
    um_buf pool;   /* texts and bytes of all tokens */
    uint32_t *map; /* [map_mask + 1], owned: id + 1 by text, 0 = free */
    size_t map_mask;
    umi_bpe bpe;
    /* Byte-level: a piece is its bytes, and texts are written in GPT-2's alphabet. Otherwise it is
     * its characters, those without an entry as bytes ("<0xE4>"), and the text of a token is what
     * it stands for once `mark` is put back to a blank. */
    bool byte_level;
    int32_t byte_id[256]; /* -1: no entry; only for bytes that valid UTF-8 cannot hold */
    umi_mark mark, blank;
    bool strip_blank;   /* a whole text loses one blank at its start when decoded */
    bool ignore_merges; /* a piece that is an entry becomes it whatever the merges say */
    bool joins_words;   /* some merge puts U+2581 behind another character */
    umi_normalizer normalizer;
    umi_added added_raw;               /* split before normalisation */
    umi_added added_normalized;        /* and after it */
    umi_metaspace metaspace;           /* the pre-tokeniser is this */
    umi_regex *splits[UMI_SPLITS_MAX]; /* or these, owned */
    size_t split_count;
    um_ids prefix, suffix; /* of the post-processor */
};

/* Appends one id; UM_E_CONTEXT_LENGTH when ids_max are there already. */
um_status umi_ids_push(um_ids *ids, size_t ids_max, int32_t id, um_err *err);
int32_t umi_tokenizer_find(const um_tokenizer *tokenizer, const char *text, size_t length);
/* Where `text` stands in the map, or the free slot where it belongs. */
uint32_t *umi_tokenizer_slot(const um_tokenizer *tokenizer, const char *text, size_t length);

/* ---- vocabulary.c: filling the tables; `where` names the place in the file for messages ---- */

um_status umi_vocab_no_memory(um_err *err);
um_status umi_vocab_check_id(const um_json *value, const char *where, const char *text, int32_t *id,
                             um_err *err);
/* Room for ids below `size` and `count` entries, of which `added` may be added tokens. */
um_status umi_vocab_begin(um_tokenizer *tokenizer, int32_t size, size_t count, size_t added,
                          um_err *err);
/* Enters a new id. An ordinary entry stands for the bytes that its text spells. */
um_status umi_vocab_enter(um_tokenizer *tokenizer, const char *where, const char *text,
                          size_t length, int32_t id, um_err *err);
/* The same for a JSON object of text -> id; ids were checked. */
um_status umi_vocab_enter_all(um_tokenizer *tokenizer, const char *where, const um_json *vocab,
                              um_err *err);
/* An added token, known already or new, which stands for its text. */
um_status umi_vocab_add(um_tokenizer *tokenizer, const char *where, const char *text, size_t length,
                        int32_t id, bool special, bool normalized, um_err *err);
/* The same from an object with content and flags, as tokenizer.json and added_tokens_decoder have
 * them. */
um_status umi_vocab_add_json(um_tokenizer *tokenizer, const char *where, const um_json *entry,
                             int32_t id, um_err *err);
/* Once all entries are there: the tokens of the 256 bytes, and the added tokens made searchable. */
um_status umi_vocab_finish(um_tokenizer *tokenizer, const char *where, um_err *err);
um_status umi_merges_begin(um_tokenizer *tokenizer, const char *where, size_t count, um_err *err);
typedef struct umi_pair {
    const char *left, *right; /* borrowed */
    size_t left_length, right_length;
} umi_pair;
/* False when `line` is not two parts with one blank between them. */
UM_MUST_USE bool umi_pair_parse(const char *line, size_t length, umi_pair *out);
um_status umi_merges_add(um_tokenizer *tokenizer, const char *where, const umi_pair *pair,
                         uint32_t rank, um_err *err);
um_status umi_tokenizer_add_split(um_tokenizer *tokenizer, const char *where, const char *pattern,
                                  size_t length, um_err *err);

/* ---- typed access to members of tokenizer files (pipeline_json.c) ---- */

/* A typed getter's complaint, with the place it happened and the class that a file has. */
um_status umi_json_malformed(um_err *err, const char *where);
um_status umi_json_expect(const um_json *value, um_json_kind kind, const char *key, um_err *err);
/* `type` of the object `value`, borrowed. */
um_status umi_json_type(const um_json *value, const char *key, const char **type, um_err *err);
um_status umi_json_refuse_type(const char *key, const char *type, const char *supported,
                               um_err *err);
/* Fails unless the boolean `key` is `wanted`, which is also what its absence means. */
um_status umi_json_require(const um_json *object, const char *where, const char *key, bool wanted,
                           um_err *err);

/* ---- loaders: each fills `tokenizer` (zeroed; the caller closes it, also on failure) ---- */

/* What tokenizer_config.json, added_tokens.json and special_tokens_map.json of a directory say
 * beside the vocabulary; NULL where a file is not there. */
typedef struct umi_beside {
    um_json *config, *added, *special; /* owned */
} umi_beside;

/* tokenizer_json.c */
um_status umi_tokenizer_load(um_tokenizer *tokenizer, const um_json *root, um_err *err);
/* pipeline_json.c: normaliser, pre-tokeniser and decoder before the vocabulary, the post-processor
 * behind it */
um_status umi_pipeline_load(um_tokenizer *tokenizer, const um_json *root, um_err *err);
um_status umi_post_processor_load(um_tokenizer *tokenizer, const um_json *value, um_err *err);
/* vocab_merges.c */
typedef struct umi_vocab_files {
    const char *vocab_name, *merges_name; /* for messages */
    const um_json *vocab;
    const um_buf *merges;
    const char *regex; /* what the tokenizer's class splits by */
    bool nfc;          /* and whether it normalises */
} umi_vocab_files;
um_status umi_vocab_merges_load(um_tokenizer *tokenizer, const umi_vocab_files *files,
                                const umi_beside *beside, um_err *err);
/* sentencepiece_model.c */
um_status umi_sentencepiece_load(um_tokenizer *tokenizer, const uint8_t *model, size_t length,
                                 const umi_beside *beside, um_err *err);
/* beside.c: raises *largest to the largest id of the added tokens and gives room for them; enters
 * them (`end_text` is special too, if it is an entry); the ids around a text */
um_status umi_beside_measure(const umi_beside *beside, int32_t *largest, size_t *count,
                             um_err *err);
um_status umi_beside_add(const umi_beside *beside, um_tokenizer *tokenizer, const char *end_text,
                         um_err *err);
um_status umi_beside_affixes(const umi_beside *beside, um_tokenizer *tokenizer, bool bos_default,
                             um_err *err);

#endif
