/* SentencePiece's BPE on small vocabularies: tokenizer.model as hostile input, the same vocabulary as
 * tokenizer.json, and what is promised about blanks, bytes and special tokens. Real vocabularies and
 * trained models are compared with the references in tests/text. */
#include "tests/test.h"

#include <time.h>

#include "core/base/mem.h"
#include "core/text/tokenizer.h"
#include "tests/support/temp_dir.h"

#define MARK "\xE2\x96\x81"

/* ---- tokenizer.model by hand ---- */

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

typedef struct entry {
    const char *text;
    float score;
    int type;
} entry;

/* Piece ids: 0 to 2 are <unk>, <s>, </s>; 3 to 258 the bytes; from FIRST on these. */
#define FIRST 259
static const entry pieces[] = {
    {MARK, -20, NORMAL},          {"a", -21, NORMAL},
    {"b", -22, NORMAL},           {"c", -23, NORMAL},
    {"\xC3\xA9", -24, NORMAL},    {"ab", -1, NORMAL},
    {"bc", -2, NORMAL},           {"abc", -3, NORMAL},
    {MARK "a", -4, NORMAL},       {MARK MARK, -5, NORMAL},
    {"aa", -6, NORMAL},           {"aaaa", -7, NORMAL},
    {"<think>", 0, USER_DEFINED}, {"a" MARK "b", 0, USER_DEFINED},
    {"<m>", 0, CONTROL},
};
enum { SPACE = FIRST, A, B, C, E_ACUTE, AB, BC, ABC, SPACE_A, SPACES, AA, AAAA, THINK, A_B, MASK };

static void put_varint(um_buf *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        um_buf_char(out, (char)(value | 0x80));
    um_buf_char(out, (char)value);
}

static void put_number(um_buf *out, uint32_t field, uint64_t value)
{
    put_varint(out, (uint64_t)field << 3);
    put_varint(out, value);
}

static void put_bytes(um_buf *out, uint32_t field, const void *bytes, size_t count)
{
    put_varint(out, (uint64_t)field << 3 | 2);
    put_varint(out, count);
    um_buf_append(out, bytes, count);
}

static void put_piece(um_buf *out, const entry *e)
{
    um_buf piece = {0};

    put_bytes(&piece, 1, e->text, strlen(e->text));
    put_varint(&piece, 2 << 3 | 5);
    um_buf_append(&piece, &e->score, sizeof(e->score));
    put_number(&piece, 3, (uint64_t)e->type);
    put_bytes(out, 1, piece.data, piece.length);
    um_buf_deinit(&piece);
}

typedef struct model {
    const entry *more; /* [more_count]: pieces behind those above */
    size_t more_count;
    int model_type;           /* 0: BPE */
    bool no_fallback, suffix; /* of the trainer */
    bool no_prefix, extra_whitespaces, no_escape, charsmap, denormalizer;
    int bytes_left_out;
} model;

static void put_base(um_buf *out, const model *m)
{
    const entry first[] = {{"<unk>", 0, UNKNOWN}, {"<s>", 0, CONTROL}, {"</s>", 0, CONTROL}};

    for (size_t i = 0; i < UM_COUNT_OF(first); i++)
        put_piece(out, &first[i]);
    for (int byte = 0; byte < 256 - m->bytes_left_out; byte++) {
        char text[16];

        snprintf(text, sizeof(text), "<0x%02X>", (unsigned)byte);
        put_piece(out, &(entry){text, 0, BYTE});
    }
}

static void put_specs(um_buf *out, const model *m)
{
    um_buf spec = {0};

    put_number(&spec, 3, m->model_type ? (uint64_t)m->model_type : 2);
    put_number(&spec, 24, m->suffix);
    put_number(&spec, 35, !m->no_fallback);
    put_bytes(out, 2, spec.data, spec.length);
    um_buf_clear(&spec);
    put_bytes(&spec, 1, m->charsmap ? "nmt_nfkc" : "identity", 8);
    put_bytes(&spec, 2, "map", m->charsmap ? 3 : 0);
    put_number(&spec, 3, !m->no_prefix);
    put_number(&spec, 4, m->extra_whitespaces);
    put_number(&spec, 5, !m->no_escape);
    put_bytes(out, 3, spec.data, spec.length);
    um_buf_clear(&spec);
    put_bytes(&spec, 2, "map", m->denormalizer ? 3 : 0);
    put_bytes(out, 5, spec.data, spec.length);
    um_buf_deinit(&spec);
}

static void put_model(um_buf *out, const model *m)
{
    put_base(out, m);
    for (size_t i = 0; i < UM_COUNT_OF(pieces); i++)
        put_piece(out, &pieces[i]);
    for (size_t i = 0; i < m->more_count; i++)
        put_piece(out, &m->more[i]);
    put_specs(out, m);
}

static um_status open_bytes(const void *bytes, size_t count, um_tokenizer **out, um_err *err)
{
    char dir[UM_TEMP_PATH_BYTES];
    um_status status;

    um_temp_dir_make(dir);
    um_temp_dir_write(dir, "tokenizer.model", bytes, count);
    status = um_tokenizer_open(dir, out, err);
    um_temp_dir_remove(dir);
    return status;
}

static um_tokenizer *load(const model *m)
{
    um_tokenizer *tokenizer = NULL;
    um_buf bytes = {0};
    um_err err = {0};

    put_model(&bytes, m);
    UM_CHECK_OK(open_bytes(bytes.data, bytes.length, &tokenizer, &err), err);
    UM_ASSERT(tokenizer != NULL);
    um_buf_deinit(&bytes);
    return tokenizer;
}

static int32_t byte_id(int byte)
{
    return 3 + byte;
}

static void expect_ids(const um_tokenizer *tokenizer, const char *text, unsigned flags,
                       const int32_t *expected, size_t count)
{
    um_ids ids = {0};
    um_err err = {0};

    UM_CHECK_OK(um_tokenizer_encode(tokenizer, text, strlen(text), flags, 999, &ids, &err), err);
    UM_CHECK_INT(ids.count, count);
    for (size_t i = 0; i < count && i < ids.count; i++)
        UM_CHECK_INT(ids.data[i], expected[i]);
    um_ids_deinit(&ids);
}
#define EXPECT(tokenizer, text, flags, ...)                                                        \
    expect_ids((tokenizer), (text), (flags), (const int32_t[]){__VA_ARGS__},                       \
               sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void expect_text(const um_tokenizer *tokenizer, const int32_t *ids, size_t count,
                        bool skip_special, const char *expected)
{
    um_buf out = {0};
    um_err err = {0};

    UM_CHECK_OK(um_tokenizer_decode(tokenizer, ids, count, skip_special, &out, &err), err);
    UM_CHECK_STR(um_buf_view(&out), expected);
    um_buf_deinit(&out);
}
#define DECODE(tokenizer, skip_special, expected, ...)                                             \
    expect_text((tokenizer), (const int32_t[]){__VA_ARGS__},                                       \
                sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t), (skip_special),          \
                (expected))

/* ---- what a text becomes ---- */

static void neighbours_join_by_score_then_from_the_left(void)
{
    um_tokenizer *tokenizer = load(&(model){0});

    EXPECT(tokenizer, "abc", 0, SPACE, ABC); /* ab, then abc: SPACE_A would be the last */
    EXPECT(tokenizer, "bc", 0, SPACE, BC);
    EXPECT(tokenizer, "aaaaa", 0, SPACE_A, AAAA); /* the mark's pair has the better score */
    EXPECT(tokenizer, "c a", 0, SPACE, C, SPACE_A);
    EXPECT(tokenizer, "c   c", 0, SPACE, C, SPACES, SPACE, C);
    EXPECT(tokenizer, " c", 0, SPACES, C);
    um_tokenizer_close(tokenizer);
}

static void pieces_of_one_score_go_from_the_left(void)
{
    static const entry more[] = {{"cb", -0.5F, NORMAL}, {"ba", -0.5F, NORMAL}};
    um_tokenizer *tokenizer = load(&(model){.more = more, .more_count = 2});

    EXPECT(tokenizer, "cba", 0, SPACE, MASK + 1, A);
    EXPECT(tokenizer, "bcba", 0, SPACE, B, MASK + 1, A);
    EXPECT(tokenizer, "bacb", 0, SPACE, MASK + 2, MASK + 1);
    um_tokenizer_close(tokenizer);
}

static void a_mark_goes_in_front_and_comes_off_again(void)
{
    um_tokenizer *tokenizer = load(&(model){0}), *without = load(&(model){.no_prefix = true});
    size_t length = 0;
    const uint8_t *bytes;

    EXPECT(tokenizer, "a", 0, SPACE_A);
    EXPECT(without, "a", 0, A);
    EXPECT(tokenizer, "a", UM_ENCODE_POST_PROCESS, 1, SPACE_A); /* <s> */
    EXPECT(tokenizer, "a", UM_ENCODE_CONTINUE,
           SPACE_A); /* SentencePiece's mark is not only first */
    expect_ids(tokenizer, "", 0, NULL, 0);
    DECODE(tokenizer, false, "a", SPACE_A);
    DECODE(without, false, " a", SPACE_A);
    DECODE(tokenizer, false, " a", SPACES, A); /* one of them only */
    DECODE(tokenizer, true, "a c", 1, SPACE_A, SPACE, C, 2);
    DECODE(tokenizer, false, "c a", C, SPACE_A); /* and only at the start */
    DECODE(tokenizer, false, "a", byte_id(' '), A);
    /* Inside a text that goes on the blank is part of the token. */
    bytes = um_tokenizer_bytes(tokenizer, SPACE_A, &length);
    UM_CHECK_INT(length, 2);
    UM_CHECK(memcmp(bytes, " a", 2) == 0);
    um_tokenizer_close(tokenizer);
    um_tokenizer_close(without);
}

static void unknown_characters_are_bytes(void)
{
    um_tokenizer *tokenizer = load(&(model){0});

    EXPECT(tokenizer, "a\xC3\xA9", 0, SPACE_A, E_ACUTE);
    EXPECT(tokenizer, "\xE4\xB8\xAD", 0, SPACE, byte_id(0xE4), byte_id(0xB8), byte_id(0xAD));
    EXPECT(tokenizer, "x\n", 0, SPACE, byte_id('x'), byte_id('\n'));
    EXPECT(tokenizer, "<0x41>", 0, SPACE, byte_id('<'), byte_id('0'), byte_id('x'), byte_id('4'),
           byte_id('1'), byte_id('>'));
    DECODE(tokenizer, false, "\xE4\xB8\xAD", byte_id(0xE4), byte_id(0xB8), byte_id(0xAD));
    DECODE(tokenizer, false,
           "a\xEF\xBF\xBD"
           "a",
           A, byte_id(0xE4), byte_id(0xB8), A);
    um_tokenizer_close(tokenizer);
}

static void no_text_becomes_a_special_token(void)
{
    static const entry more[] = {
        {"<", -30, NORMAL}, {"m", -31, NORMAL}, {">", -32, NORMAL}, {"<m", -0.1F, NORMAL}};
    um_tokenizer *tokenizer = load(&(model){.more = more, .more_count = 4});

    EXPECT(tokenizer, "<m>", 0, SPACE, MASK + 4, MASK + 3);
    EXPECT(tokenizer, "<m>a", UM_ENCODE_PARSE_SPECIAL, MASK, SPACE_A);
    EXPECT(tokenizer, "</s>", 0, SPACE, MASK + 1, byte_id('/'), byte_id('s'), MASK + 3);
    EXPECT(tokenizer, "</s>", UM_ENCODE_PARSE_SPECIAL, 2);
    UM_CHECK(um_tokenizer_is_special(tokenizer, 0) && um_tokenizer_is_special(tokenizer, MASK));
    UM_CHECK(!um_tokenizer_is_special(tokenizer, THINK));
    um_tokenizer_close(tokenizer);
}

static void user_defined_pieces_are_cut_out_of_the_marked_text(void)
{
    um_tokenizer *tokenizer = load(&(model){0});

    EXPECT(tokenizer, "a<think>a", 0, SPACE_A, THINK, A);
    EXPECT(tokenizer, "ca bc", 0, SPACE, C, A_B, C);
    um_tokenizer_close(tokenizer);
}

/* ---- the same as tokenizer.json ---- */

static void put_json_vocab(um_buf *out)
{
    um_buf_text(out, "\"vocab\":{\"<unk>\":0,\"<s>\":1,\"</s>\":2");
    for (int byte = 0; byte < 256; byte++)
        um_buf_printf(out, ",\"<0x%02X>\":%d", (unsigned)byte, byte_id(byte));
    for (int i = SPACE; i <= AAAA; i++)
        um_buf_printf(out, ",\"%s\":%d", pieces[i - FIRST].text, i);
    um_buf_text(out, "},\"merges\":[\"a b\",\"b c\",\"a bc\",\"ab c\",\"" MARK " a\",\"" MARK
                     " " MARK "\",\"a a\",\"aa aa\"]");
}

#define PREPEND "{\"type\":\"Prepend\",\"prepend\":\"" MARK "\"}"
#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" MARK "\"}"
#define DECODERS                                                                                   \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\"" MARK "\"},\"content\":\" \"},"              \
    "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}"
#define STRIP ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}"
#define SEQUENCE(list, parts) "{\"type\":\"Sequence\",\"" list "\":[" parts "]}"
#define METASPACE(scheme, split)                                                                   \
    "{\"type\":\"Metaspace\",\"replacement\":\"" MARK "\",\"prepend_scheme\":\"" scheme            \
    "\",\"split\":" split "}"

/* NULL members take defaults: Prepend and Replace, no pre-tokeniser, the whole decoder. */
typedef struct document {
    const char *normalizer, *pre_tokenizer, *decoder, *model, *added;
} document;

static um_status parse(const document *d, um_tokenizer **out, um_err *err)
{
    um_buf json = {0};
    um_status status;

    um_buf_printf(&json, "{\"added_tokens\":[%s],",
                  d->added ? d->added : "{\"id\":1,\"content\":\"<s>\",\"special\":true}");
    um_buf_printf(&json, "\"normalizer\":%s,",
                  d->normalizer ? d->normalizer : SEQUENCE("normalizers", PREPEND "," REPLACE));
    um_buf_printf(&json, "\"pre_tokenizer\":%s,", d->pre_tokenizer ? d->pre_tokenizer : "null");
    um_buf_printf(&json, "\"decoder\":%s,",
                  d->decoder ? d->decoder : SEQUENCE("decoders", DECODERS STRIP));
    um_buf_printf(&json, "\"model\":{\"type\":\"BPE\",%s,",
                  d->model ? d->model : "\"byte_fallback\":true,\"unk_token\":\"<unk>\"");
    put_json_vocab(&json);
    um_buf_text(&json, "}}");
    status = um_tokenizer_parse(um_buf_view(&json), json.length, out, err);
    um_buf_deinit(&json);
    return status;
}

static um_tokenizer *parse_good(const document *d)
{
    um_tokenizer *tokenizer = NULL;
    um_err err = {0};

    UM_CHECK_OK(parse(d, &tokenizer, &err), err);
    UM_ASSERT(tokenizer != NULL);
    return tokenizer;
}

static void a_json_file_of_it_gives_the_same(void)
{
    um_tokenizer *tokenizer = parse_good(&(document){0});

    EXPECT(tokenizer, "abc", 0, SPACE, ABC);
    EXPECT(tokenizer, "aaaaa", 0, SPACE_A, AAAA);
    EXPECT(tokenizer, "c   c", 0, SPACE, C, SPACES, SPACE, C);
    EXPECT(tokenizer, "x", 0, SPACE, byte_id('x'));
    EXPECT(tokenizer, "a<s>a", UM_ENCODE_PARSE_SPECIAL, SPACE_A, 1, SPACE_A);
    DECODE(tokenizer, true, "a c", 1, SPACE_A, SPACE, C);
    um_tokenizer_close(tokenizer);
    /* A character that is special elsewhere is no longer one here: DiffuLLaMA's padding. */
    tokenizer = parse_good(&(document){.added = "{\"id\":262,\"content\":\"c\",\"special\":true}"});
    EXPECT(tokenizer, "ac", 0, SPACE_A, byte_id('c'));
    EXPECT(tokenizer, "abc", 0, SPACE, AB, byte_id('c'));
    um_tokenizer_close(tokenizer);
}

static void metaspace_marks_as_its_scheme_says(void)
{
    document d = {.normalizer = "null", .pre_tokenizer = METASPACE("first", "false")};
    um_tokenizer *tokenizer = parse_good(&d);

    EXPECT(tokenizer, "c  c", 0, SPACE, C, SPACES, C);
    EXPECT(tokenizer, " a", 0, SPACE_A); /* one is there already */
    EXPECT(tokenizer, "a<s>a", UM_ENCODE_PARSE_SPECIAL, SPACE_A, 1, A);
    EXPECT(tokenizer, "<s>a", UM_ENCODE_PARSE_SPECIAL, 1, A);
    EXPECT(tokenizer, "a", UM_ENCODE_CONTINUE, A);
    um_tokenizer_close(tokenizer);
    d.pre_tokenizer = METASPACE("always", "true");
    tokenizer = parse_good(&d);
    EXPECT(tokenizer, "c  c", 0, SPACE, C, SPACE, SPACE, C); /* every mark begins a piece */
    EXPECT(tokenizer, "a<s>a", UM_ENCODE_PARSE_SPECIAL, SPACE_A, 1, SPACE_A);
    um_tokenizer_close(tokenizer);
    d.pre_tokenizer = METASPACE("never", "true");
    tokenizer = parse_good(&d);
    EXPECT(tokenizer, "a a", 0, A, SPACE_A);
    um_tokenizer_close(tokenizer);
}

typedef struct bad_document {
    document d;
    um_status status;
    const char *word;
} bad_document;

static const bad_document bad_documents[] = {
    {{.normalizer = "{\"type\":\"Lowercase\"}"}, UM_E_UNSUPPORTED, "Lowercase"},
    {{.normalizer = "{\"type\":\"Prepend\"}"}, UM_E_UNSUPPORTED, "normalizer.prepend"},
    {{.normalizer = "{\"type\":\"Prepend\",\"prepend\":\"123456789\"}"},
     UM_E_UNSUPPORTED,
     "normalizer.prepend"},
    {{.normalizer = "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" \"},\"content\":\"x\"}"},
     UM_E_UNSUPPORTED,
     "normalizer.Replace"},
    {{.normalizer = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"x\"}"},
     UM_E_UNSUPPORTED,
     "normalizer.Replace"},
    {{.normalizer =
          SEQUENCE("normalizers", PREPEND "," PREPEND "," PREPEND "," PREPEND "," PREPEND)},
     UM_E_UNSUPPORTED,
     "more than 4"},
    {{.pre_tokenizer = "{\"type\":\"ByteLevel\"}"}, UM_E_UNSUPPORTED, "ByteLevel"},
    {{.pre_tokenizer = "{\"type\":\"Metaspace\"}"}, UM_E_UNSUPPORTED, "pre_tokenizer.replacement"},
    {{.pre_tokenizer = METASPACE("often", "true")}, UM_E_UNSUPPORTED, "often"},
    {{.pre_tokenizer = METASPACE("first", "1")}, UM_E_FORMAT, "split"},
    {{.decoder = SEQUENCE("decoders", DECODERS STRIP STRIP)}, UM_E_UNSUPPORTED, "Strip"},
    {{.decoder = SEQUENCE("decoders", "{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}")},
     UM_E_UNSUPPORTED,
     "Fuse"},
    {{.decoder = SEQUENCE("decoders", DECODERS ",{\"type\":\"Strip\",\"content\":\" \",\"start\":2,"
                                               "\"stop\":0}")},
     UM_E_FORMAT,
     "decoder.Strip"},
    {{.decoder = SEQUENCE("decoders", DECODERS ",{\"type\":\"Strip\",\"content\":\"x\"}")},
     UM_E_UNSUPPORTED,
     "decoder.Strip"},
    {{.decoder = SEQUENCE("decoders", "{\"type\":\"Metaspace\"},{\"type\":\"Fuse\"}")},
     UM_E_UNSUPPORTED,
     "Metaspace"},
    {{.decoder = SEQUENCE(
          "decoders", "{\"type\":\"Replace\",\"pattern\":{\"String\":\"ab\"},\"content\":\" \"},"
                      "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}")},
     UM_E_UNSUPPORTED,
     "one character"},
    {{.decoder = "{\"type\":\"Metaspace\"}"}, UM_E_UNSUPPORTED, "Metaspace"},
    {{.model = "\"byte_fallback\":false"}, UM_E_UNSUPPORTED, "byte_fallback"},
    {{.model = "\"byte_fallback\":1"}, UM_E_FORMAT, "byte_fallback"},
};

static void every_bad_field_is_named(void)
{
    for (size_t i = 0; i < UM_COUNT_OF(bad_documents); i++) {
        um_tokenizer *tokenizer = NULL;
        um_err err = {0};
        um_status status = parse(&bad_documents[i].d, &tokenizer, &err);

        um_test_count();
        if (status != bad_documents[i].status || !strstr(err.message, bad_documents[i].word))
            um_test_fail(__FILE__, __LINE__, "document %zu: %s: %s", i, um_status_name(status),
                         err.message);
        um_tokenizer_close(tokenizer);
    }
}

/* ---- files that are not what they should be ---- */

typedef struct bad_model {
    model m;
    entry more;
    um_status status;
    const char *word;
} bad_model;

static const bad_model bad_models[] = {
    {{.model_type = 1}, {0}, UM_E_UNSUPPORTED, "unigram"},
    {{.model_type = 3}, {0}, UM_E_UNSUPPORTED, "word"},
    {{.model_type = 4}, {0}, UM_E_UNSUPPORTED, "char"},
    {{.model_type = 99}, {0}, UM_E_UNSUPPORTED, "unknown"},
    {{.no_fallback = true}, {0}, UM_E_UNSUPPORTED, "byte fallback"},
    {{.suffix = true}, {0}, UM_E_UNSUPPORTED, "behind words"},
    {{.extra_whitespaces = true}, {0}, UM_E_UNSUPPORTED, "extra white space"},
    {{.no_escape = true}, {0}, UM_E_UNSUPPORTED, "escape"},
    {{.charsmap = true}, {0}, UM_E_UNSUPPORTED, "nmt_nfkc"},
    {{.denormalizer = true}, {0}, UM_E_UNSUPPORTED, "identity"},
    {{.bytes_left_out = 200}, {0}, UM_E_UNSUPPORTED, "byte 0x"},
    {{0}, {"a", 0, NORMAL}, UM_E_FORMAT, "twice"},
    {{0}, {"<s>", 0, NORMAL}, UM_E_FORMAT, "twice"},
    {{0}, {"", 0, NORMAL}, UM_E_FORMAT, "0 bytes"},
    {{0}, {"\xC3", 0, NORMAL}, UM_E_FORMAT, "UTF-8"},
    {{0}, {"x", 0, UNUSED}, UM_E_UNSUPPORTED, "type 5"},
    {{0}, {"x", 0, 0}, UM_E_UNSUPPORTED, "type 0"},
    {{0}, {"x", 0, 7}, UM_E_UNSUPPORTED, "type 7"},
    {{0}, {"x", NAN, NORMAL}, UM_E_FORMAT, "not finite"},
    {{0}, {"x", INFINITY, NORMAL}, UM_E_FORMAT, "not finite"},
    {{0}, {"ax", 0, NORMAL}, UM_E_UNSUPPORTED, "no piece by itself"},
};

static void every_bad_model_is_named(void)
{
    for (size_t i = 0; i < UM_COUNT_OF(bad_models); i++) {
        const bad_model *bad = &bad_models[i];
        model m = bad->m;
        um_tokenizer *tokenizer = NULL;
        um_buf bytes = {0};
        um_err err = {0};
        um_status status;

        m.more = &bad->more;
        m.more_count = bad->more.text ? 1 : 0;
        put_model(&bytes, &m);
        status = open_bytes(bytes.data, bytes.length, &tokenizer, &err);
        um_test_count();
        if (status != bad->status || !strstr(err.message, bad->word) ||
            !strstr(err.message, "tokenizer.model") || tokenizer)
            um_test_fail(__FILE__, __LINE__, "model %zu (%s): %s: %s", i, bad->word,
                         um_status_name(status), err.message);
        um_buf_deinit(&bytes);
        um_tokenizer_close(tokenizer);
    }
}

static void a_config_that_asks_for_other_marks_is_refused(void)
{
    static const char *const configs[] = {"{\"legacy\":false}", "{\"add_prefix_space\":false}",
                                          "{\"tokenizer_class\":\"GemmaTokenizer\"}"};
    char dir[UM_TEMP_PATH_BYTES];
    um_tokenizer *tokenizer = NULL;
    um_buf bytes = {0};
    um_err err = {0};

    um_temp_dir_make(dir);
    put_model(&bytes, &(model){0});
    um_temp_dir_write(dir, "tokenizer.model", bytes.data, bytes.length);
    for (size_t i = 0; i < UM_COUNT_OF(configs); i++) {
        um_temp_dir_write(dir, "tokenizer_config.json", configs[i], strlen(configs[i]));
        UM_CHECK_STATUS(um_tokenizer_open(dir, &tokenizer, &err), UM_E_UNSUPPORTED);
        UM_CHECK(strstr(err.message, "tokenizer_config.json") != NULL);
    }
    um_buf_deinit(&bytes);
    um_temp_dir_remove(dir);
}

static void broken_messages_are_refused(void)
{
    static const struct {
        const char *bytes;
        size_t count;
    } rows[] = {
        {"", 0},
        {"\x0A", 1}, /* a piece without its length */
        {"\x0A\x05"
         "ab",
         4},                                                      /* longer than the file */
        {"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 11},     /* 2^64 - 1 bytes */
        {"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 12}, /* a varint of 11 bytes */
        {"\x0B", 1},                                              /* a group */
        {"\x0F", 1},                                              /* no wire type */
        {"\x00\x00", 2},                                          /* field 0 */
        {"\x0D\x01\x02", 3},     /* four bytes, of which two are there */
        {"\x09\x01\x02\x03", 4}, /* eight bytes, of which three are */
        {"\x0A\x02\x0A\x05", 4}, /* a piece that goes over its end */
        {"\x12\x02\x1A\x05", 4}, /* the same of the trainer */
        {"\x1A\x02\x0A\x05", 4}, /* and of the normaliser */
        {"\x80", 1},
    };

    for (size_t i = 0; i < UM_COUNT_OF(rows); i++) {
        um_tokenizer *tokenizer = NULL;
        um_err err = {0};
        um_status status = open_bytes(rows[i].bytes, rows[i].count, &tokenizer, &err);

        UM_CHECK(status == UM_E_FORMAT || (i == 0 && status == UM_E_UNSUPPORTED));
        UM_CHECK(tokenizer == NULL);
    }
}

static void no_beginning_of_a_file_is_a_file(void)
{
    um_buf bytes = {0};

    put_model(&bytes, &(model){0});
    for (size_t count = 0; count < bytes.length - 8; count += count < bytes.length - 200 ? 7 : 1) {
        um_tokenizer *tokenizer = NULL;
        um_err err = {0};

        UM_CHECK(open_bytes(bytes.data, count, &tokenizer, &err) != UM_OK);
        um_tokenizer_close(tokenizer);
    }
    um_buf_deinit(&bytes);
}

/* ---- running out of memory, and long texts ---- */

static void loading_survives_every_failing_allocation(void)
{
    char dir[UM_TEMP_PATH_BYTES];
    um_buf bytes = {0};
    long failures = 0;

    um_temp_dir_make(dir);
    put_model(&bytes, &(model){0});
    um_temp_dir_write(dir, "tokenizer.model", bytes.data, bytes.length);
    um_buf_deinit(&bytes);
    for (;; failures++) {
        um_tokenizer *tokenizer = NULL;
        um_err err = {0};
        um_status status;

        um_mem_fail_after(failures + 1);
        status = um_tokenizer_open(dir, &tokenizer, &err);
        UM_CHECK((status == UM_OK) == (tokenizer != NULL));
        um_tokenizer_close(tokenizer);
        if (um_mem_fail_pending()) {
            um_mem_fail_after(0);
            UM_CHECK_OK(status, err);
            break;
        }
        UM_CHECK_STATUS(status, UM_E_NOMEM);
    }
    UM_CHECK(failures > 20);
    um_temp_dir_remove(dir);
}

static void encoding_survives_every_failing_allocation(void)
{
    static const char text[] = "a <s>  ab \xE4\xB8\xAD aaaaaaaa";
    um_tokenizer *tokenizers[] = {
        load(&(model){0}),
        parse_good(&(document){.normalizer = "{\"type\":\"NFC\"}",
                               .pre_tokenizer = METASPACE("first", "false")}),
    };

    for (size_t i = 0; i < UM_COUNT_OF(tokenizers); i++) {
        long failures = 0;

        for (;; failures++) {
            um_ids ids = {0};
            um_err err = {0};
            um_status status;

            um_mem_fail_after(failures + 1);
            status = um_tokenizer_encode(tokenizers[i], text, sizeof(text) - 1,
                                         UM_ENCODE_PARSE_SPECIAL | UM_ENCODE_POST_PROCESS, 99, &ids,
                                         &err);
            um_ids_deinit(&ids);
            if (um_mem_fail_pending()) {
                um_mem_fail_after(0);
                UM_CHECK_OK(status, err);
                break;
            }
            UM_CHECK_STATUS(status, UM_E_NOMEM);
        }
        UM_CHECK(failures >= 5);
        um_tokenizer_close(tokenizers[i]);
    }
}

/* Processor seconds that one call took, so that a busy machine does not count. */
static double seconds_for(const um_tokenizer *tokenizer, const char *unit, size_t bytes)
{
    size_t length = strlen(unit), count = bytes / length;
    char *text = um_mem_zalloc(bytes + 1);
    um_ids ids = {0};
    um_err err = {0};
    clock_t start;

    UM_ASSERT(text);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * length, unit, length);
    start = clock();
    UM_CHECK_OK(um_tokenizer_encode(tokenizer, text, count * length, 0, SIZE_MAX, &ids, &err), err);
    UM_CHECK(ids.count > 0);
    um_ids_deinit(&ids);
    um_mem_free(text);
    return (double)(clock() - start) / CLOCKS_PER_SEC;
}

/* Four times the text takes about four times as long, not sixteen times. */
static bool grows_linearly(const um_tokenizer *tokenizer, const char *unit, size_t bytes)
{
    for (int attempt = 0; attempt < 4; attempt++) {
        double seconds = seconds_for(tokenizer, unit, bytes);

        if (seconds_for(tokenizer, unit, 4 * bytes) < 8 * seconds)
            return true;
    }
    return false;
}

static void no_repetition_takes_quadratic_time(void)
{
    static const char *const units[] = {"a",   " ",       MARK, "ab", " a", "\xE4\xB8\xAD",
                                        "<s>", "<think>", "  c"};
    const size_t bytes = UM_TEST_SANITIZED ? (size_t)1 << 15 : (size_t)1 << 18;
    static const entry over_words[] = {{"c" MARK, -40, NORMAL}, {"c" MARK "c", -41, NORMAL}};
    um_tokenizer *tokenizers[] = {
        load(&(model){0}),
        load(&(model){.more = over_words, .more_count = 2}), /* one piece from end to end */
        parse_good(&(document){.normalizer = "null", .pre_tokenizer = METASPACE("first", "true")}),
    };

    for (size_t k = 0; k < UM_COUNT_OF(tokenizers); k++) {
        for (size_t i = 0; i < UM_COUNT_OF(units); i++)
            UM_CHECK(grows_linearly(tokenizers[k], units[i], bytes));
        um_tokenizer_close(tokenizers[k]);
    }
}

static void a_hopelessly_long_text_is_refused_at_once(void)
{
    um_tokenizer *tokenizer = load(&(model){0});
    const size_t bytes = (size_t)8 << 20;
    char *text = um_mem_zalloc(bytes);
    um_ids ids = {0};
    um_err err = {0};

    UM_ASSERT(text);
    memset(text, 'a', bytes);
    um_mem_fail_after(16); /* scratch for the merges would be far behind the first few blocks */
    UM_CHECK_STATUS(um_tokenizer_encode(tokenizer, text, bytes, 0, 4096, &ids, &err),
                    UM_E_CONTEXT_LENGTH);
    um_mem_fail_after(0);
    UM_CHECK_INT(ids.count, 0);
    um_ids_deinit(&ids);
    um_mem_free(text);
    um_tokenizer_close(tokenizer);
}

static const um_test tests[] = {
    UM_TEST(neighbours_join_by_score_then_from_the_left),
    UM_TEST(pieces_of_one_score_go_from_the_left),
    UM_TEST(a_mark_goes_in_front_and_comes_off_again),
    UM_TEST(unknown_characters_are_bytes),
    UM_TEST(no_text_becomes_a_special_token),
    UM_TEST(user_defined_pieces_are_cut_out_of_the_marked_text),
    UM_TEST(a_json_file_of_it_gives_the_same),
    UM_TEST(metaspace_marks_as_its_scheme_says),
    UM_TEST(every_bad_field_is_named),
    UM_TEST(every_bad_model_is_named),
    UM_TEST(a_config_that_asks_for_other_marks_is_refused),
    UM_TEST(broken_messages_are_refused),
    UM_TEST(no_beginning_of_a_file_is_a_file),
    UM_TEST(loading_survives_every_failing_allocation),
    UM_TEST(encoding_survives_every_failing_allocation),
    UM_TEST(no_repetition_takes_quadratic_time),
    UM_TEST(a_hopelessly_long_text_is_refused_at_once),
};

UM_TEST_MAIN(tests)
