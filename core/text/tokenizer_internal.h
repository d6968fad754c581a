/*
 * What the files of the tokenizer share. Control flow is in tokenizer.c; bpe.c, normalize.c and
 * pretokenize.c are leaves that do not know each other; tokenizer_json.c fills the structs.
 */
#ifndef UM_TEXT_TOKENIZER_INTERNAL_H
#define UM_TEXT_TOKENIZER_INTERNAL_H

#include "core/base/json.h"
#include "core/text/tokenizer.h"

#define UMI_TOKENS_MAX ((int32_t)1 << 21) /* ids of a tokenizer */
#define UMI_TOKEN_TEXT_MAX 8192           /* bytes of an entry's text */
#define UMI_ADDED_TEXT_MAX 1024           /* bytes of an added token's text */
#define UMI_REGEX_TEXT_MAX 4096           /* bytes of a pre-tokeniser's pattern */
#define UMI_SPLITS_MAX 8                  /* regexes in a row */
#define UMI_TEXT_MAX ((size_t)1 << 30)    /* bytes of one text; positions are 32-bit */
#define UMI_FILE_MAX ((size_t)256 << 20)  /* bytes of tokenizer.json */

/* ---- bpe.c: merges ---- */

typedef struct umi_merge {
    int32_t left, right;
    uint32_t rank; /* UINT32_MAX: free slot */
} umi_merge;

typedef struct umi_bpe {
    umi_merge *table; /* [mask + 1], owned: open addressing by (left, right) */
    size_t mask;
    int32_t *result; /* [rank_count], owned: the id that the merge of a rank makes */
    size_t rank_count;
    int32_t byte_id[256]; /* -1: no entry; only for bytes that valid UTF-8 cannot hold */
    size_t token_bytes_max;
} umi_bpe;

/* One symbol of the piece at work: a doubly linked list over its byte positions. */
typedef struct umi_symbol {
    int32_t id;
    uint32_t previous, next; /* UINT32_MAX: none */
    uint32_t rank;           /* of the merge with the next symbol; UINT32_MAX: none */
} umi_symbol;

typedef struct umi_bpe_scratch {
    umi_symbol *symbols; /* owned */
    size_t symbol_capacity;
    uint64_t *heap; /* owned: rank << 32 | position, smallest first */
    size_t heap_count, heap_capacity;
} umi_bpe_scratch;

UM_MUST_USE bool umi_bpe_init(umi_bpe *bpe, size_t merge_count);
void umi_bpe_deinit(umi_bpe *bpe);
/* A pair given twice keeps its last rank, as in the reference. */
void umi_bpe_add(umi_bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t result);
/* Appends the ids of one piece (length > 0). UM_E_NOMEM, UM_E_CONTEXT_LENGTH. */
um_status umi_bpe_encode(const umi_bpe *bpe, umi_bpe_scratch *scratch, const uint8_t *piece,
                         size_t length, size_t ids_max, um_ids *ids, um_err *err);
void umi_bpe_scratch_deinit(umi_bpe_scratch *scratch);

/* ---- normalize.c ---- */

/* Appends the NFC form of `text` (valid UTF-8). O(n) for any text. */
um_status umi_nfc_append(um_buf *out, const char *text, size_t length, um_err *err);
/* Cheap and one-sided: true only if `text` is its own NFC form. */
bool umi_nfc_is_plain(const char *text, size_t length);

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

/* ---- tokenizer.c ---- */

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
    size_t count;
    bool starts[256]; /* first bytes that occur */
} umi_added;

struct um_tokenizer {
    int32_t size;
    umi_token *tokens; /* [size], owned */
    um_buf pool;       /* texts and bytes of all tokens */
    uint32_t *map;     /* [map_mask + 1], owned: id + 1 by text, 0 = free */
    size_t map_mask;
    umi_bpe bpe;
    bool ignore_merges;
    bool nfc;
    umi_added added_raw;               /* split before normalisation */
    umi_added added_normalized;        /* and after it */
    umi_regex *splits[UMI_SPLITS_MAX]; /* owned */
    size_t split_count;
    um_ids prefix, suffix; /* of the post-processor */
};

/* Appends one id; UM_E_CONTEXT_LENGTH when ids_max are there already. */
um_status umi_ids_push(um_ids *ids, size_t ids_max, int32_t id, um_err *err);
int32_t umi_tokenizer_find(const um_tokenizer *tokenizer, const char *text, size_t length);
/* Where `text` stands in the map, or the free slot where it belongs. */
uint32_t *umi_tokenizer_slot(const um_tokenizer *tokenizer, const char *text, size_t length);
/* Makes the tokens searchable once all are there. */
void umi_added_finish(umi_added *added);

/* ---- tokenizer_json.c ---- */

/* Fills `tokenizer` (zeroed; the caller closes it, also on failure) from a tokenizer.json. */
um_status umi_tokenizer_load(um_tokenizer *tokenizer, const um_json *root, um_err *err);

#endif
