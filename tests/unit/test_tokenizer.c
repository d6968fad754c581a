/* The tokenizer on small vocabularies, with a few merges that show where pieces end. Large ones are
 * compared with the reference in tests/text. */
#include "tests/test.h"

#include <pthread.h>
#include <time.h>

#include "core/base/mem.h"
#include "core/text/tokenizer.h"
#include "tests/support/small_tokenizer.h"

/* Ids as text: bytes as themselves where they are printable ASCII, others as numbers in <>. */
static void show(const um_ids *ids, um_buf *out)
{
    for (size_t i = 0; i < ids->count; i++)
        if (ids->data[i] > ' ' && ids->data[i] < 127)
            um_buf_char(out, (char)ids->data[i]);
        else
            um_buf_printf(out, "<%d>", ids->data[i]);
}

static void expect_ids(const um_tokenizer *tokenizer, const char *text, size_t length,
                       unsigned flags, const char *expected)
{
    um_ids ids = {0};
    um_buf shown = {0};
    um_err err = {0};

    UM_CHECK_OK(um_tokenizer_encode(tokenizer, text, length, flags, SIZE_MAX, &ids, &err), err);
    show(&ids, &shown);
    UM_CHECK_STR(um_buf_view(&shown), expected);
    um_buf_deinit(&shown);
    um_ids_deinit(&ids);
}
#define EXPECT(tokenizer, text, expected)                                                          \
    expect_ids((tokenizer), (text), sizeof(text) - 1, 0, (expected))
#define EXPECT_PARSED(tokenizer, text, expected)                                                   \
    expect_ids((tokenizer), (text), sizeof(text) - 1, UM_ENCODE_PARSE_SPECIAL, (expected))

/* ---- bytes and merges ---- */

static void every_byte_has_its_token(void)
{
    um_tokenizer *tokenizer = um_document_load(&(um_document){0});

    UM_CHECK_INT(um_tokenizer_size(tokenizer), 256);
    UM_CHECK_INT(um_tokenizer_bytes_max(tokenizer), 1);
    for (int byte = 0; byte < 256; byte++) {
        size_t length = 0;
        const uint8_t *bytes = um_tokenizer_bytes(tokenizer, byte, &length);

        UM_CHECK_INT(length, 1);
        UM_CHECK_INT(bytes[0], byte);
    }
    UM_CHECK_INT(um_tokenizer_find(tokenizer, "A"), 'A');
    UM_CHECK_INT(um_tokenizer_find(tokenizer, "\xC4\xA0"), ' '); /* U+0120 */
    UM_CHECK_INT(um_tokenizer_find(tokenizer, "AB"), -1);
    EXPECT(tokenizer, "aZ \xE4\xB8\xAD", "aZ<32><228><184><173>");
    EXPECT(tokenizer, "a\0b", "a<0>b");
    EXPECT(tokenizer, "", "");
    um_tokenizer_close(tokenizer);
}

static void merges_go_by_rank_then_from_the_left(void)
{
    um_tokenizer *tokenizer =
        um_document_load(&(um_document){.merges = {"b c", "a b", "x x", "xx xx", "c d", "bc d"}});

    EXPECT(tokenizer, "abc", "a<256>");      /* rank 0 before the one further left */
    EXPECT(tokenizer, "abab", "<257><257>"); /* */
    EXPECT(tokenizer, "xxxxx", "<259>x");    /* leftmost of equals */
    EXPECT(tokenizer, "xxxxxxx", "<259><258>x");
    EXPECT(tokenizer, "bcd", "<261>"); /* rank 0, then rank 5, never rank 4 */
    EXPECT(tokenizer, "acd", "a<260>");
    um_tokenizer_close(tokenizer);
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* The definition: again and again the lowest rank, the leftmost of equals. */
static size_t slow_merges(const um_tokenizer *tokenizer, const um_document *d, int32_t *ids,
                          size_t count)
{
    for (;;) {
        size_t best = MERGES_MAX, at = 0;

        for (size_t i = 0; i + 1 < count; i++)
            for (size_t rank = 0; rank < best && d->merges[rank]; rank++) {
                char left[64];
                const char *space = strchr(d->merges[rank], ' ');

                snprintf(left, sizeof(left), "%.*s", (int)(space - d->merges[rank]),
                         d->merges[rank]);
                if (um_tokenizer_find(tokenizer, left) == ids[i] &&
                    um_tokenizer_find(tokenizer, space + 1) == ids[i + 1]) {
                    best = rank;
                    at = i;
                }
            }
        if (best == MERGES_MAX)
            return count;
        ids[at] = FIRST_MERGE + (int32_t)best;
        memmove(ids + at + 1, ids + at + 2, (count - at - 2) * sizeof(*ids));
        count--;
    }
}

/* Merges of random earlier tokens over the letters a and b, so that candidates become stale in
 * every way; `texts` holds them. Tokens that two merges would make are left out. */
static um_document random_merges(uint64_t *state, char texts[MERGES_MAX][64])
{
    um_document d = {0};
    char tokens[MERGES_MAX + 2][32] = {"a", "b"};

    for (size_t count = 0; count < 12;) {
        const char *left = tokens[next_random(state) % (count + 2)];
        const char *right = tokens[next_random(state) % (count + 2)];
        char joined[32];
        bool known = strlen(left) + strlen(right) > 8;

        memcpy(joined, left, strlen(left));
        memcpy(joined + strlen(left), right, strlen(right) + 1);
        for (size_t i = 0; i < count + 2; i++)
            known = known || strcmp(tokens[i], joined) == 0;
        if (known)
            continue;
        memcpy(tokens[count + 2], joined, sizeof(joined));
        snprintf(texts[count], sizeof(texts[0]), "%s %s", left, right);
        d.merges[count] = texts[count];
        count++;
    }
    return d;
}

static void check_merges(const um_tokenizer *tokenizer, const um_document *d, uint64_t *state)
{
    char text[48];
    size_t length = 1 + next_random(state) % sizeof(text), count;
    int32_t expected[sizeof(text)];
    um_ids ids = {0};
    um_err err = {0};

    for (size_t i = 0; i < length; i++) {
        text[i] = (char)('a' + next_random(state) % 2);
        expected[i] = text[i];
    }
    count = slow_merges(tokenizer, d, expected, length);
    UM_CHECK_OK(um_tokenizer_encode(tokenizer, text, length, 0, SIZE_MAX, &ids, &err), err);
    UM_CHECK_INT(ids.count, count);
    UM_CHECK(ids.count == count && memcmp(ids.data, expected, count * sizeof(*expected)) == 0);
    um_ids_deinit(&ids);
}

static void merges_agree_with_the_definition(void)
{
    uint64_t state = 1;

    for (int round = 0; round < 50; round++) {
        char texts[MERGES_MAX][64];
        um_document d = random_merges(&state, texts);
        um_tokenizer *tokenizer = um_document_load(&d);

        for (int i = 0; i < 20; i++)
            check_merges(tokenizer, &d, &state);
        um_tokenizer_close(tokenizer);
    }
}

static void merges_may_be_pairs_and_the_last_of_equal_ones_counts(void)
{
    um_tokenizer *tokenizer = um_document_load(&(um_document){
        .vocab = ",\"ab\":256,\"bc\":257",
        .merges_json = "[[\"a\",\"b\"],[\"b\",\"c\"],[\"a\",\"b\"]]",
    });

    EXPECT(tokenizer, "ab", "<256>");
    EXPECT(tokenizer, "abc", "a<257>");
    um_tokenizer_close(tokenizer);
}

static void ignore_merges_takes_a_whole_piece(void)
{
    um_document d = {.model = "\"type\":\"BPE\",\"ignore_merges\":true,", .vocab = ",\"abc\":300"};
    um_tokenizer *tokenizer = um_document_load(&d);

    EXPECT(tokenizer, "abc", "<300>");
    EXPECT(tokenizer, "abcd", "abcd");
    um_tokenizer_close(tokenizer);
    d.model = "\"type\":\"BPE\",\"ignore_merges\":false,";
    tokenizer = um_document_load(&d);
    EXPECT(tokenizer, "abc", "abc");
    um_tokenizer_close(tokenizer);
}

/* ---- pieces: a merge works only inside one ---- */

static void check_pieces(const char *pre_tokenizer)
{
    um_tokenizer *tokenizer = um_document_load(&(um_document){
        .pre_tokenizer = pre_tokenizer,
        .merges =
            {
                "n '", "' t", "' T", /* 256 257 258 */
                "1 2",               /* 259 */
                "\xC4\x8D \xC4\x8A", /* 260: CR LF */
                "! \xC4\x8D",        /* 261: ! CR */
                "\xC4\xA0 \xC4\xA0", /* 262: two spaces */
                "\xC4\xA0 x",        /* 263: space x */
                "\xC4\x8A \xC4\xA0", /* 264: LF space */
                "\xC4\xA2 \xC3\xA3", /* 265: end of U+3000 and start of the next */
                "\xC4\xB0 !",        /* 266: end of U+180E and ! */
            },
    });

    EXPECT(tokenizer, "don't", "don<257>");
    EXPECT(tokenizer, "DON'T", "DON<258>");
    EXPECT(tokenizer, "n't n '", "n<257><32>n<32>'");
    EXPECT(tokenizer, "12", "12"); /* digits are always separate */
    EXPECT(tokenizer, "\r\n\r\n", "<260><260>");
    EXPECT(tokenizer, "!\r", "<261>");     /* line ends join the punctuation before them */
    EXPECT(tokenizer, "  x", "<32><263>"); /* the last space belongs to the word */
    EXPECT(tokenizer, "   x", "<262><263>");
    EXPECT(tokenizer, "x   ", "x<262><32>");
    EXPECT(tokenizer, "\n  x", "<10><32><263>"); /* the run ends at its last line end */
    EXPECT(tokenizer, " \n x", "<32><10><263>");
    /* U+3000 is white space, U+180E is not */
    EXPECT(tokenizer, "\xE3\x80\x80\xE3\x80\x80\xE3\x80\x80x",
           "<227><128><265><128><128><227><128>"
           "<128>x");
    EXPECT(tokenizer, "\xE1\xA0\x8E!", "<225><160><266>");
    um_tokenizer_close(tokenizer);
}

static void pieces_follow_dreams_regex(void)
{
    check_pieces(SPLIT(DREAM_REGEX));
}

static void pieces_follow_lladas_regex(void)
{
    check_pieces(SPLIT(LLADA_REGEX));
}

static void byte_level_alone_has_gpt2s_regex(void)
{
    um_tokenizer *tokenizer = um_document_load(&(um_document){
        .pre_tokenizer = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}",
        .merges = {"1 2", "\xC4\xA0 1", "' t", "' T"},
    });

    EXPECT(tokenizer, "12", "<256>"); /* digits stay together */
    EXPECT(tokenizer, "x 1", "x<257>");
    EXPECT(tokenizer, "n't", "n<258>");
    EXPECT(tokenizer, "N'T", "N'T"); /* contractions are lower case only */
    um_tokenizer_close(tokenizer);
}

/* ---- normalisation ---- */

static void text_is_put_in_normal_form_c(void)
{
    um_tokenizer *tokenizer = um_document_load(&(um_document){0});
    um_tokenizer *plain = um_document_load(&(um_document){.normalizer = "null"});
    um_tokenizer *sequence = um_document_load(&(um_document){
        .normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]}"});

    EXPECT(tokenizer, "e\xCC\x81", "<195><169>");
    EXPECT(sequence, "e\xCC\x81", "<195><169>");
    EXPECT(plain, "e\xCC\x81", "e<204><129>");
    EXPECT(tokenizer, "a\xCC\xA3\xCC\x82", "<225><186><173>"); /* both marks compose */
    EXPECT(tokenizer, "a\xCC\x82\xCC\xA3", "<225><186><173>"); /* and are put in order first */
    EXPECT(tokenizer, "\xE2\x84\xAB", "<195><133>");           /* U+212B is U+00C5 */
    EXPECT(tokenizer, "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "<237><149><156>");
    um_tokenizer_close(tokenizer);
    um_tokenizer_close(plain);
    um_tokenizer_close(sequence);
}

/* ---- added tokens ---- */

static void added_tokens_split_the_text_longest_first(void)
{
    um_tokenizer *tokenizer = um_document_load(&(um_document){
        .added = ADDED("300", "<a>", "false") "," ADDED("301", "<a><b>",
                                                        "false") "," ADDED("302", "<b>", "true"),
        .merges = {"x <"},
    });

    EXPECT(tokenizer, "<a>", "<300>");
    EXPECT(tokenizer, "<a><b>", "<301>");
    EXPECT(tokenizer, "x<a>y", "x<300>y");
    EXPECT(tokenizer, "x<ay", "x<ay");
    EXPECT(tokenizer, "<<a>>", "<<300>>");
    EXPECT(tokenizer, "<a><a><b>", "<300><301>");
    EXPECT(tokenizer, "<a", "<a");
    /* The special one stays text unless parsing is asked for. */
    EXPECT(tokenizer, "<b><a>", "<b><300>");
    EXPECT_PARSED(tokenizer, "<b><a>", "<302><300>");
    EXPECT_PARSED(tokenizer, "e<b>\xCC\x81", "e<302><204><129>"); /* a mark does not reach over */
    UM_CHECK(um_tokenizer_is_special(tokenizer, 302));
    UM_CHECK(!um_tokenizer_is_special(tokenizer, 301));
    UM_CHECK(!um_tokenizer_is_special(tokenizer, 299));
    UM_CHECK(!um_tokenizer_is_special(tokenizer, -1));
    UM_CHECK(!um_tokenizer_is_special(tokenizer, 303));
    UM_CHECK_INT(um_tokenizer_size(tokenizer), 303);
    um_tokenizer_close(tokenizer);
}

static void no_text_becomes_a_special_token(void)
{
    /* The file has merges that lead to the special token, and its whole text is an entry. */
    um_document d = {
        .added = ADDED("258", "<s>", "true"),
        .merges = {"< s", "s >", "<s >", "< s>"},
    };
    um_tokenizer *tokenizer;

    d.merges[2] = NULL;
    d.vocab = ",\"<s>\":258";
    d.merges_json = "[\"< s\",\"s >\",\"<s >\",\"< s>\"]";
    tokenizer = um_document_load(&d);
    EXPECT(tokenizer, "<s>", "<256>>");
    EXPECT_PARSED(tokenizer, "<s>", "<258>");
    um_tokenizer_close(tokenizer);
    d.model = "\"type\":\"BPE\",\"ignore_merges\":true,";
    d.pre_tokenizer = BYTE_LEVEL;
    tokenizer = um_document_load(&d);
    EXPECT(tokenizer, "<s>", "<256>>");
    EXPECT_PARSED(tokenizer, "<s>", "<258>");
    um_tokenizer_close(tokenizer);
}

static void the_post_processor_runs_only_when_asked(void)
{
    um_tokenizer *tokenizer = um_document_load(&(um_document){
        .added = ADDED("300", "<s>", "true") "," ADDED("301", "</s>", "true"),
        .post_processor =
            "{\"type\":\"Sequence\",\"processors\":[" BYTE_LEVEL
            ",{\"type\":\"TemplateProcessing\",\"single\":["
            "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\"}},"
            "{\"SpecialToken\":{\"id\":\"</s>\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{"
            "\"<s>\":{\"id\":\"<s>\",\"ids\":[300],\"tokens\":[\"<s>\"]},"
            "\"</s>\":{\"id\":\"</s>\",\"ids\":[301,301],\"tokens\":[\"</s>\",\"</s>\"]}}}]}",
    });

    EXPECT(tokenizer, "x", "x");
    expect_ids(tokenizer, "x", 1, UM_ENCODE_POST_PROCESS, "<300>x<301><301>");
    expect_ids(tokenizer, "", 0, UM_ENCODE_POST_PROCESS, "<300><301><301>");
    um_tokenizer_close(tokenizer);
}

/* ---- bounds ---- */

static void a_text_with_too_many_tokens_leaves_the_ids_alone(void)
{
    um_tokenizer *tokenizer =
        um_document_load(&(um_document){.merges = {"a a"}, .added = ADDED("300", "<x>", "false")});
    um_ids ids = {0};
    um_err err = {0};

    UM_CHECK(um_ids_push(&ids, 7));
    UM_CHECK_OK(um_tokenizer_encode(tokenizer, "aaaa", 4, 0, 3, &ids, &err), err);
    UM_CHECK_INT(ids.count, 3);
    UM_CHECK_STATUS(um_tokenizer_encode(tokenizer, "b", 1, 0, 3, &ids, &err), UM_E_CONTEXT_LENGTH);
    UM_CHECK_STATUS(um_tokenizer_encode(tokenizer, "aaaa", 4, 0, 4, &ids, &err),
                    UM_E_CONTEXT_LENGTH);
    UM_CHECK_STATUS(um_tokenizer_encode(tokenizer, "<x><x>", 6, 0, 4, &ids, &err),
                    UM_E_CONTEXT_LENGTH);
    UM_CHECK_STATUS(um_tokenizer_encode(tokenizer, "a", 1, 0, 1, &ids, &err), UM_E_CONTEXT_LENGTH);
    UM_CHECK_INT(ids.count, 3);
    UM_CHECK_INT(ids.data[0], 7);
    UM_CHECK_OK(um_tokenizer_encode(tokenizer, "", 0, 0, 3, &ids, &err), err);
    um_ids_deinit(&ids);
    um_tokenizer_close(tokenizer);
}

static void invalid_utf8_is_refused(void)
{
    um_tokenizer *tokenizer = um_document_load(&(um_document){0});
    um_ids ids = {0};
    um_err err = {0};

    UM_CHECK_STATUS(um_tokenizer_encode(tokenizer, "ab\xC3", 3, 0, 99, &ids, &err), UM_E_VALUE);
    UM_CHECK(strstr(err.message, "byte 2") != NULL);
    UM_CHECK_STATUS(um_tokenizer_encode(tokenizer, "\xED\xA0\x80", 3, 0, 99, &ids, &err),
                    UM_E_VALUE);
    UM_CHECK_INT(ids.count, 0);
    um_ids_deinit(&ids);
    um_tokenizer_close(tokenizer);
}

/* ---- decoding ---- */

static void expect_text(const um_tokenizer *tokenizer, const int32_t *ids, size_t count,
                        bool skip_special, const char *expected)
{
    um_buf out = {0};
    um_err err = {0};

    UM_CHECK_OK(um_tokenizer_decode(tokenizer, ids, count, skip_special, &out, &err), err);
    UM_CHECK_STR(um_buf_view(&out), expected);
    um_buf_deinit(&out);
}

static void decoding_joins_bytes_before_it_reads_them(void)
{
    um_tokenizer *tokenizer = um_document_load(&(um_document){
        .added = ADDED("300", "<s>", "true") "," ADDED("301", "\\u00e9 ", "false"),
        .merges = {"\xC4\xA0 x"},
    });
    const int32_t split[] = {0xE4, 0xB8, 0xAD, 'a', FIRST_MERGE};
    const int32_t broken[] = {0xE4, 300, 0xB8, 301};
    const int32_t strange[] = {-1, 'a', 299, 1 << 30, 'b', INT32_MIN};

    expect_text(tokenizer, split, UM_COUNT_OF(split), false,
                "\xE4\xB8\xAD"
                "a x");
    expect_text(tokenizer, broken, UM_COUNT_OF(broken), false,
                "\xEF\xBF\xBD<s>\xEF\xBF\xBD\xC3\xA9 ");
    expect_text(tokenizer, broken, UM_COUNT_OF(broken), true, "\xEF\xBF\xBD\xC3\xA9 ");
    expect_text(tokenizer, strange, UM_COUNT_OF(strange), false, "ab"); /* no entry, no bytes */
    expect_text(tokenizer, NULL, 0, false, "");
    um_tokenizer_close(tokenizer);
}

/* ---- threads ---- */

#define THREADS 4

static void *encode_often(void *argument)
{
    const um_tokenizer *tokenizer = argument;

    for (int i = 0; i < 200; i++)
        EXPECT(tokenizer, "aaaaa e\xCC\x81 x", "<257>a<32><195><169><32>x");
    return NULL;
}

static void threads_share_one_tokenizer(void)
{
    um_tokenizer *tokenizer = um_document_load(&(um_document){.merges = {"a a", "aa aa"}});
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        UM_ASSERT(pthread_create(&threads[i], NULL, encode_often, tokenizer) == 0);
    for (int i = 0; i < THREADS; i++)
        UM_ASSERT(pthread_join(threads[i], NULL) == 0);
    um_tokenizer_close(tokenizer);
}

/* ---- hostile texts ---- */

#define MEBIBYTE ((size_t)1 << 20)

static char *repeated(const char *unit, size_t bytes)
{
    size_t length = strlen(unit);
    char *text = um_mem_zalloc(bytes + 1);

    UM_ASSERT(text);
    for (size_t i = 0; i + length <= bytes; i += length)
        memcpy(text + i, unit, length);
    return text;
}

/* Processor seconds that one call took, so that a busy machine does not count. */
static double encode_seconds(const um_tokenizer *tokenizer, const char *unit, size_t bytes,
                             size_t *count)
{
    char *text = repeated(unit, bytes);
    um_ids ids = {0};
    um_err err = {0};
    clock_t start = clock();

    UM_CHECK_OK(um_tokenizer_encode(tokenizer, text, strlen(text), 0, SIZE_MAX, &ids, &err), err);
    *count = ids.count;
    um_ids_deinit(&ids);
    um_mem_free(text);
    return (double)(clock() - start) / CLOCKS_PER_SEC;
}

static const um_document runs = {
    .merges = {"a a", "aa aa", "aaaa aaaa", "\xC4\xA0 \xC4\xA0", "\xC4\x8A \xC4\x8A",
               "\xC4\xA0\xC4\xA0 \xC4\xA0\xC4\xA0"},
};

static void a_piece_of_eight_mebibytes_is_encoded(void)
{
    um_tokenizer *tokenizer = um_document_load(&runs);
    size_t count = 0;

    encode_seconds(tokenizer, "a", 8 * MEBIBYTE, &count);
    UM_CHECK_INT(count, MEBIBYTE);
    um_tokenizer_close(tokenizer);
}

/* Four times the text takes about four times as long, not sixteen times. What else the machine does
 * can spoil a measurement, so there are a few. */
static bool grows_linearly(const um_tokenizer *tokenizer, const char *unit, size_t bytes)
{
    for (int attempt = 0; attempt < 4; attempt++) {
        size_t count = 0, count_of_more = 0;
        double seconds = encode_seconds(tokenizer, unit, bytes, &count);

        if (encode_seconds(tokenizer, unit, 4 * bytes, &count_of_more) < 8 * seconds)
            return count > 0 && count_of_more > count;
    }
    return false;
}

static void no_repetition_takes_quadratic_time(void)
{
    /* the last: marks that normalisation must put in order */
    static const char *const units[] = {
        "a",  " ",  "\n", " \n",          "  x",          "!\r\n", "7",     "'s",
        "\t", "ab", "<|", "\xE3\x80\x80", "\xE1\xA0\x8E", "' '",   "\r\n ", "\xCC\xA3\xCC\x81"};
    const size_t bytes = UM_TEST_SANITIZED ? MEBIBYTE / 32 : MEBIBYTE / 4;
    um_tokenizer *tokenizers[] = {um_document_load(&runs), NULL, NULL};
    um_document other = runs;

    other.pre_tokenizer = SPLIT(LLADA_REGEX);
    tokenizers[1] = um_document_load(&other);
    other.pre_tokenizer = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}";
    tokenizers[2] = um_document_load(&other);
    for (size_t k = 0; k < UM_COUNT_OF(tokenizers); k++) {
        for (size_t i = 0; i < UM_COUNT_OF(units); i++)
            UM_CHECK(grows_linearly(tokenizers[k], units[i], bytes));
        um_tokenizer_close(tokenizers[k]);
    }
}

static void a_hopelessly_long_text_is_refused_at_once(void)
{
    um_tokenizer *tokenizer = um_document_load(&runs);
    char *text = repeated("a", 8 * MEBIBYTE);
    um_ids ids = {0};
    um_err err = {0};

    um_mem_fail_after(16); /* scratch for the merges would be far behind the first few blocks */
    UM_CHECK_STATUS(um_tokenizer_encode(tokenizer, text, 8 * MEBIBYTE, 0, 4096, &ids, &err),
                    UM_E_CONTEXT_LENGTH);
    um_mem_fail_after(0);
    UM_CHECK_INT(ids.count, 0);
    um_ids_deinit(&ids);
    um_mem_free(text);
    um_tokenizer_close(tokenizer);
}

static void a_regex_out_of_its_depth_is_an_error_not_a_crash(void)
{
    um_tokenizer *tokenizer =
        um_document_load(&(um_document){.pre_tokenizer = SPLIT("(?:(a|b)+c|d)+|[^d]")});
    char *text = repeated("ab", 4 * MEBIBYTE);
    um_ids ids = {0};
    um_err err = {0};

    UM_CHECK_STATUS(um_tokenizer_encode(tokenizer, text, 4 * MEBIBYTE, 0, SIZE_MAX, &ids, &err),
                    UM_E_VALUE);
    UM_CHECK(strstr(err.message, "regex gave up") != NULL);
    UM_CHECK_INT(ids.count, 0);
    /* Too much for the JIT's stack alone is not an error: the interpreter takes over. */
    UM_CHECK_OK(um_tokenizer_encode(tokenizer, text, 5000, 0, SIZE_MAX, &ids, &err), err);
    UM_CHECK_INT(ids.count, 5000);
    um_ids_deinit(&ids);
    um_mem_free(text);
    um_tokenizer_close(tokenizer);
}

static const um_test tests[] = {
    UM_TEST(every_byte_has_its_token),
    UM_TEST(merges_go_by_rank_then_from_the_left),
    UM_TEST(merges_agree_with_the_definition),
    UM_TEST(merges_may_be_pairs_and_the_last_of_equal_ones_counts),
    UM_TEST(ignore_merges_takes_a_whole_piece),
    UM_TEST(pieces_follow_dreams_regex),
    UM_TEST(pieces_follow_lladas_regex),
    UM_TEST(byte_level_alone_has_gpt2s_regex),
    UM_TEST(text_is_put_in_normal_form_c),
    UM_TEST(added_tokens_split_the_text_longest_first),
    UM_TEST(no_text_becomes_a_special_token),
    UM_TEST(the_post_processor_runs_only_when_asked),
    UM_TEST(a_text_with_too_many_tokens_leaves_the_ids_alone),
    UM_TEST(invalid_utf8_is_refused),
    UM_TEST(decoding_joins_bytes_before_it_reads_them),
    UM_TEST(threads_share_one_tokenizer),
    UM_TEST(a_piece_of_eight_mebibytes_is_encoded),
    UM_TEST(no_repetition_takes_quadratic_time),
    UM_TEST(a_hopelessly_long_text_is_refused_at_once),
    UM_TEST(a_regex_out_of_its_depth_is_an_error_not_a_crash),
};

UM_TEST_MAIN(tests)
