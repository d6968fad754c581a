/* tokenizer.json as hostile input: every field that a file can get wrong is refused and named, and
 * no failing allocation does harm. */
#include "tests/test.h"

#include "core/base/mem.h"
#include "core/text/tokenizer.h"
#include "tests/support/small_tokenizer.h"
#include "tests/support/temp_dir.h"

/* ---- files that are not what they should be ---- */

typedef struct bad_document {
    um_document d;
    um_status status;
    const char *message[2]; /* parts that it must hold */
} bad_document;

#define REFUSED UM_E_UNSUPPORTED
#define MALFORMED UM_E_FORMAT
static const bad_document bad_documents[] = {
    {{.normalizer = "{\"type\":\"NFKC\"}"}, REFUSED, {"normalizer", "NFKC"}},
    {{.normalizer = "[]"}, MALFORMED, {"normalizer", "an array"}},
    {{.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Strip\"}]}"},
     REFUSED,
     {"normalizer", "Strip"}},
    {{.pre_tokenizer = "null"}, MALFORMED, {"pre_tokenizer", "null"}},
    {{.pre_tokenizer = "{\"type\":\"Whitespace\"}"}, REFUSED, {"pre_tokenizer", "Whitespace"}},
    {{.pre_tokenizer = "{\"type\":\"Sequence\",\"pretokenizers\":[]}"}, REFUSED, {"ByteLevel"}},
    {{.pre_tokenizer = "{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL "," BYTE_LEVEL "]}"},
     REFUSED,
     {"behind ByteLevel"}},
    {{.pre_tokenizer = "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}"},
     REFUSED,
     {"add_prefix_space", "true"}},
    {{.pre_tokenizer = "{\"type\":\"ByteLevel\",\"use_regex\":1}"}, MALFORMED, {"use_regex"}},
    {{.pre_tokenizer = "{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},"
                       "\"behavior\":\"Isolated\",\"invert\":false}"},
     REFUSED,
     {"pattern"}},
    {{.pre_tokenizer = "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},"
                       "\"behavior\":\"Removed\",\"invert\":false}"},
     REFUSED,
     {"behavior", "Removed"}},
    {{.pre_tokenizer = "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},"
                       "\"behavior\":\"Isolated\",\"invert\":true}"},
     REFUSED,
     {"invert", "true"}},
    /* regexes: what PCRE2 and Oniguruma read differently, and what is broken */
    {{.pre_tokenizer = SPLIT("\\\\w+")}, REFUSED, {"escape"}},
    {{.pre_tokenizer = SPLIT("\\\\h")}, REFUSED, {"escape"}},
    {{.pre_tokenizer = SPLIT("\\\\p{Han}+")}, REFUSED, {"general category"}},
    {{.pre_tokenizer = SPLIT("\\\\p{L")}, REFUSED, {"general category"}},
    {{.pre_tokenizer = SPLIT("\\\\pL")}, REFUSED, {"general category"}},
    {{.pre_tokenizer = SPLIT("^a")}, REFUSED, {"anchor"}},
    {{.pre_tokenizer = SPLIT("a$")}, REFUSED, {"anchor"}},
    {{.pre_tokenizer = SPLIT("a|")}, REFUSED, {"empty text"}},
    {{.pre_tokenizer = SPLIT("a*")}, REFUSED, {"empty text"}},
    {{.pre_tokenizer = SPLIT("")}, REFUSED, {"0 bytes"}},
    {{.pre_tokenizer = SPLIT("(a")}, REFUSED, {"does not compile"}},
    {{.pre_tokenizer = SPLIT("a)")}, REFUSED, {"without its ("}},
    {{.pre_tokenizer = SPLIT("[a")}, REFUSED, {"without its ]"}},
    {{.pre_tokenizer = SPLIT("[]a]")}, REFUSED, {"starts with ]"}},
    {{.pre_tokenizer = SPLIT("[[:alpha:]]")}, REFUSED, {"class within a class"}},
    {{.pre_tokenizer = SPLIT("[a&&b]")}, REFUSED, {"intersection"}},
    {{.pre_tokenizer = SPLIT("(?i)a")}, REFUSED, {"kind of group"}},
    {{.pre_tokenizer = SPLIT("(?<n>a)")}, REFUSED, {"kind of group"}},
    {{.pre_tokenizer = SPLIT("(*UCP)a")}, REFUSED, {"kind of group"}},
    {{.pre_tokenizer = SPLIT("(?i:st)")}, REFUSED, {"folds with its neighbour"}},
    {{.pre_tokenizer = SPLIT("(?i:\xC3\xA9)")}, REFUSED, {"folds with its neighbour"}},
    {{.pre_tokenizer = SPLIT("(?i:\\\\p{Lu})")}, REFUSED, {"kind of letter"}},
    {{.pre_tokenizer = SPLIT("a{2}+")}, REFUSED, {"plain {n}"}},
    {{.pre_tokenizer = SPLIT("a{,2}")}, REFUSED, {"plain {n}"}},
    {{.pre_tokenizer = SPLIT("a+++")}, REFUSED, {"quantifier behind a quantifier"}},
    {{.pre_tokenizer = SPLIT("a\\u0000")}, REFUSED, {"NUL"}},
    {{.decoder = "null"}, MALFORMED, {"decoder", "null"}},
    {{.decoder = "{\"type\":\"Metaspace\"}"}, REFUSED, {"decoder", "Metaspace"}},
    {{.decoder = "{\"type\":\"Sequence\",\"decoders\":[]}"}, REFUSED, {"decoder"}},
    {{.model = "\"type\":\"Unigram\","}, REFUSED, {"model.type", "Unigram"}},
    {{.model = "\"type\":7,"}, MALFORMED, {"model"}},
    {{.model = "\"type\":\"BPE\",\"byte_fallback\":true,"}, REFUSED, {"byte_fallback", "true"}},
    {{.model = "\"type\":\"BPE\",\"dropout\":0.1,"}, MALFORMED, {"dropout"}},
    {{.model = "\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\","}, REFUSED, {"</w>"}},
    {{.model = "\"type\":\"BPE\",\"ignore_merges\":\"yes\","}, MALFORMED, {"ignore_merges"}},
    {{.vocab = ",\"ab\":-1"}, MALFORMED, {"model.vocab", "-1"}},
    {{.vocab = ",\"ab\":2097152"}, MALFORMED, {"model.vocab", "2097152"}},
    {{.vocab = ",\"ab\":1.5"}, MALFORMED, {"model.vocab", "a number"}},
    {{.vocab = ",\"ab\":65"}, MALFORMED, {"id 65", "twice"}},
    {{.vocab = ",\"\":256"}, MALFORMED, {"id 256", "0 bytes"}},
    {{.merges_json = "null"}, MALFORMED, {"model.merges", "null"}},
    {{.merges_json = "[\"ab\"]"}, MALFORMED, {"model.merges[0]"}},
    {{.merges_json = "[\"a b c\"]"}, MALFORMED, {"model.merges[0]"}},
    {{.merges_json = "[[\"a\"]]"}, MALFORMED, {"model.merges[0]"}},
    {{.merges_json = "[[\"a\",1]]"}, MALFORMED, {"model.merges[0]"}},
    {{.merges_json = "[\"a xx\"]"}, MALFORMED, {"model.merges[0]", "xx"}},
    {{.merges_json = "[\"a b\"]"}, MALFORMED, {"model.merges[0]", "ab"}},
    {{.added = "7"}, MALFORMED, {"added_tokens", "an integer"}},
    {{.added = "{\"content\":\"<s>\"}"}, MALFORMED, {"added_tokens", "null"}},
    {{.added = "{\"id\":300}"}, MALFORMED, {"content", "null"}},
    {{.added = ADDED("300", "", "true")}, MALFORMED, {"added_tokens", "0 bytes"}},
    {{.added = ADDED("65", "<s>", "true")}, MALFORMED, {"id 65", "twice"}},
    {{.added = ADDED("300", "A", "true")}, MALFORMED, {"id 300", "id 65"}},
    {{.added = "{\"id\":300,\"content\":\"<s>\",\"lstrip\":true}"}, REFUSED, {"id 300", "lstrip"}},
    {{.added = "{\"id\":300,\"content\":\"<s>\",\"rstrip\":true}"}, REFUSED, {"id 300", "rstrip"}},
    {{.added = "{\"id\":300,\"content\":\"<s>\",\"single_word\":true}"}, REFUSED, {"single_word"}},
    {{.added = "{\"id\":300,\"content\":\"<s>\",\"special\":1}"}, MALFORMED, {"special"}},
    {{.post_processor = "{\"type\":\"BertProcessing\"}"}, REFUSED, {"BertProcessing"}},
    {{.post_processor = "{\"type\":\"TemplateProcessing\",\"single\":[]}"},
     MALFORMED,
     {"post_processor", "text"}},
    {{.post_processor =
          "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}},"
          "{\"Sequence\":{\"id\":\"A\"}}]}"},
     REFUSED,
     {"post_processor", "[1]"}},
    {{.post_processor = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
                        "{\"id\":\"<s>\"}}]}"},
     MALFORMED,
     {"special_tokens", "<s>"}},
    {{.post_processor = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
                        "{\"id\":\"x\"}}],\"special_tokens\":{\"x\":{\"ids\":[999]}}}"},
     MALFORMED,
     {"post_processor", "999"}},
};

static void every_bad_field_is_named(void)
{
    for (size_t i = 0; i < UM_COUNT_OF(bad_documents); i++) {
        const bad_document *bad = &bad_documents[i];
        um_tokenizer *tokenizer = NULL;
        um_err err = {0};
        um_status status = um_document_parse(&bad->d, &tokenizer, &err);
        bool named = true;

        for (size_t k = 0; k < UM_COUNT_OF(bad->message) && bad->message[k]; k++)
            named = named && strstr(err.message, bad->message[k]);
        um_test_count();
        if (status != bad->status || !named || tokenizer)
            um_test_fail(__FILE__, __LINE__, "document %zu (%s): %s: %s", i, bad->message[0],
                         um_status_name(status), err.message);
        um_tokenizer_close(tokenizer);
    }
}

static void a_missing_byte_is_named(void)
{
    static const char json[] = "{\"pre_tokenizer\":" BYTE_LEVEL ",\"decoder\":" BYTE_LEVEL
                               ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"!\":0},\"merges\":[]}}";
    um_tokenizer *tokenizer = NULL;
    um_err err = {0};

    UM_CHECK_STATUS(um_tokenizer_parse(json, sizeof(json) - 1, &tokenizer, &err), REFUSED);
    UM_CHECK(strstr(err.message, "byte 0x") != NULL);
    UM_CHECK_STATUS(um_tokenizer_parse("[", 1, &tokenizer, &err), MALFORMED);
    UM_CHECK_STATUS(um_tokenizer_parse("[]", 2, &tokenizer, &err), MALFORMED);
    UM_CHECK_STATUS(um_tokenizer_parse("{}", 2, &tokenizer, &err), MALFORMED);
    UM_CHECK(tokenizer == NULL);
}

static void open_reads_a_directory_and_names_the_file(void)
{
    char path[UM_TEMP_PATH_BYTES];
    um_tokenizer *tokenizer = NULL;
    um_buf json = {0};
    um_err err = {0};

    um_temp_dir_make(path);
    UM_CHECK_STATUS(um_tokenizer_open(path, &tokenizer, &err), UM_E_NOT_FOUND);
    UM_CHECK(strstr(err.message, "tokenizer.json") != NULL);
    um_temp_dir_write(path, "tokenizer.json", "{}", 2);
    UM_CHECK_STATUS(um_tokenizer_open(path, &tokenizer, &err), MALFORMED);
    UM_CHECK(strstr(err.message, path) != NULL && strstr(err.message, "decoder") != NULL);
    um_document_json(&json, &(um_document){0});
    um_temp_dir_write(path, "tokenizer.json", json.data, json.length);
    UM_CHECK_OK(um_tokenizer_open(path, &tokenizer, &err), err);
    UM_CHECK_INT(um_tokenizer_size(tokenizer), 256);
    um_tokenizer_close(tokenizer);
    um_buf_deinit(&json);
    um_temp_dir_remove(path);
}

/* ---- running out of memory ---- */

static const um_document rich = {
    .added =
        ADDED("300", "<s>", "true") ",{\"id\":301,\"content\":\"e\xCC\x81\",\"normalized\":true}",
    .merges = {"a a", "aa aa"},
    .model = "\"type\":\"BPE\",\"ignore_merges\":true,",
    .post_processor = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
                      "\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":"
                      "{\"<s>\":{\"ids\":[300]}}}",
};

static void loading_survives_every_failing_allocation(void)
{
    um_buf json = {0};
    long failures = 0,
         without_jit = 0; /* where only the JIT fails, the interpreter does the work */

    um_document_json(&json, &rich);
    for (;; failures++) {
        um_tokenizer *tokenizer = NULL;
        um_err err = {0};
        um_status status;

        um_mem_fail_after(failures + 1);
        status = um_tokenizer_parse(json.data, json.length, &tokenizer, &err);
        if (um_mem_fail_pending()) {
            um_mem_fail_after(0);
            UM_CHECK_OK(status, err);
            um_tokenizer_close(tokenizer);
            break;
        }
        UM_CHECK((status == UM_OK) == (tokenizer != NULL));
        if (status == UM_OK)
            without_jit++;
        else
            UM_CHECK_STATUS(status, UM_E_NOMEM);
        um_tokenizer_close(tokenizer);
    }
    UM_CHECK(failures - without_jit > 15);
    um_buf_deinit(&json);
}

static void encoding_survives_every_failing_allocation(void)
{
    um_tokenizer *tokenizer = um_document_load(&rich);
    static const char text[] = "aaaaa <s> e\xCC\x81\xCC\xA3\xCC\x81 x\xCC\x82\xCC\xA3 aaaaaaaa";
    long failures = 0;

    for (;; failures++) {
        um_ids ids = {0};
        um_err err = {0};
        um_status status;

        um_mem_fail_after(failures + 1);
        status =
            um_tokenizer_encode(tokenizer, text, sizeof(text) - 1,
                                UM_ENCODE_PARSE_SPECIAL | UM_ENCODE_POST_PROCESS, 99, &ids, &err);
        if (um_mem_fail_pending()) {
            um_mem_fail_after(0);
            UM_CHECK_OK(status, err);
            um_ids_deinit(&ids);
            break;
        }
        UM_CHECK_STATUS(status, UM_E_NOMEM);
        UM_CHECK_INT(ids.count, 0);
        um_ids_deinit(&ids);
    }
    UM_CHECK(failures >= 8);
    um_tokenizer_close(tokenizer);
}

static void decoding_survives_every_failing_allocation(void)
{
    um_tokenizer *tokenizer = um_document_load(&rich);
    const int32_t ids[] = {'a', 0xE4, 300};
    long failures = 0;

    for (;; failures++) {
        um_buf out = {0};
        um_err err = {0};
        um_status status;

        um_mem_fail_after(failures + 1);
        status = um_tokenizer_decode(tokenizer, ids, UM_COUNT_OF(ids), false, &out, &err);
        um_buf_deinit(&out);
        if (um_mem_fail_pending()) {
            um_mem_fail_after(0);
            UM_CHECK_OK(status, err);
            break;
        }
        UM_CHECK_STATUS(status, UM_E_NOMEM);
    }
    UM_CHECK_INT(failures, 2);
    um_tokenizer_close(tokenizer);
}

static const um_test tests[] = {
    UM_TEST(every_bad_field_is_named),
    UM_TEST(a_missing_byte_is_named),
    UM_TEST(open_reads_a_directory_and_names_the_file),
    UM_TEST(loading_survives_every_failing_allocation),
    UM_TEST(encoding_survives_every_failing_allocation),
    UM_TEST(decoding_survives_every_failing_allocation),
};

UM_TEST_MAIN(tests)
