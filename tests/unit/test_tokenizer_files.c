/* Which tokenizer a directory holds, and the older kinds of files: vocab.json + merges.txt with what
 * lies beside them. Real vocabularies are compared with the references in tests/text. */
#include "tests/test.h"

#include "core/base/mem.h"
#include "core/text/tokenizer.h"
#include "tests/support/small_tokenizer.h"
#include "tests/support/temp_dir.h"

#define CLASS(name) "\"tokenizer_class\":\"" name "\""

static void put(const char *dir, const char *name, const char *text)
{
    um_temp_dir_write(dir, name, text, strlen(text));
}

/* "a b" (256) and "Ġ x" (257), in the byte alphabet. */
static const um_document words = {.merges = {"a b", "\xC4\xA0 x"}};

static void put_vocab(const char *dir, const char *name, const char *more)
{
    um_document d = words;
    um_buf text = {0};

    d.vocab = more;
    um_document_vocab(&text, &d);
    um_temp_dir_write(dir, name, text.data, text.length);
    um_buf_deinit(&text);
}

/* A directory with the pair, and a tokenizer_config.json of `config`'s members (NULL: none). */
static void make_pair(char *dir, const char *more_vocab, const char *config)
{
    um_buf text = {0};

    um_temp_dir_make(dir);
    put_vocab(dir, "vocab.json", more_vocab);
    put(dir, "merges.txt", "#version: 0.2\na b\n\xC4\xA0 x\r\n\n");
    if (config) {
        um_buf_printf(&text, "{%s}", config);
        um_temp_dir_write(dir, "tokenizer_config.json", text.data, text.length);
    }
    um_buf_deinit(&text);
}

static void expect_ids(const char *dir, const char *text, unsigned flags, const int32_t *expected,
                       size_t count)
{
    um_tokenizer *tokenizer = NULL;
    um_ids ids = {0};
    um_err err = {0};

    UM_CHECK_OK(um_tokenizer_open(dir, &tokenizer, &err), err);
    UM_CHECK_STR(err.message, "");
    if (tokenizer)
        UM_CHECK_OK(um_tokenizer_encode(tokenizer, text, strlen(text), flags, 99, &ids, &err), err);
    UM_CHECK_INT(ids.count, count);
    for (size_t i = 0; i < count && i < ids.count; i++)
        UM_CHECK_INT(ids.data[i], expected[i]);
    um_ids_deinit(&ids);
    um_tokenizer_close(tokenizer);
}
#define EXPECT(dir, text, flags, ...)                                                              \
    expect_ids((dir), (text), (flags), (const int32_t[]){__VA_ARGS__},                             \
               sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void expect_failure(const char *dir, um_status status, const char *word)
{
    um_tokenizer *tokenizer = NULL;
    um_err err = {0};

    UM_CHECK_STATUS(um_tokenizer_open(dir, &tokenizer, &err), status);
    UM_CHECK(tokenizer == NULL);
    um_test_count();
    if (!strstr(err.message, word) || !strstr(err.message, dir))
        um_test_fail(__FILE__, __LINE__, "\"%s\" lacks \"%s\" or the directory", err.message, word);
}

/* ---- which files ---- */

static void the_first_kind_that_is_there_counts(void)
{
    char dir[UM_TEMP_PATH_BYTES];
    um_buf json = {0};

    um_temp_dir_make(dir);
    expect_failure(dir, UM_E_NOT_FOUND, "tokenizer.model");
    put(dir, "tokenizer.model", "x");
    expect_failure(dir, UM_E_FORMAT, "tokenizer.model");
    put_vocab(dir, "encoder.json", NULL);
    expect_failure(dir, UM_E_NOT_FOUND, "vocab.bpe");
    put(dir, "vocab.bpe", "#version: 0.2\na b\n");
    EXPECT(dir, "ab x", 0, 256, ' ', 'x');
    put_vocab(dir, "vocab.json", NULL);
    expect_failure(dir, UM_E_NOT_FOUND, "merges.txt");
    put(dir, "merges.txt", "\xC4\xA0 x\n");
    expect_failure(dir, UM_E_UNSUPPORTED, "vocab.json");
    put(dir, "config.json", "{\"model_type\":\"gpt2\"}");
    EXPECT(dir, "ab x", 0, 'a', 'b', 257);
    um_document_json(&json, &(um_document){0});
    um_temp_dir_write(dir, "tokenizer.json", json.data, json.length);
    EXPECT(dir, "ab x", 0, 'a', 'b', ' ', 'x');
    um_buf_deinit(&json);
    um_temp_dir_remove(dir);
}

static void the_class_says_how_text_is_split_and_normalised(void)
{
    static const struct {
        const char *config;
        bool digits_together, composes;
    } rows[] = {
        {CLASS("GPT2Tokenizer"), true, false},
        {CLASS("GPT2TokenizerFast"), true, false},
        {CLASS("Qwen2Tokenizer"), false, true},
        {CLASS("DreamTokenizer"), false, true},
    };

    for (size_t i = 0; i < UM_COUNT_OF(rows); i++) {
        char dir[UM_TEMP_PATH_BYTES];

        make_pair(dir, ",\"12\":300", rows[i].config);
        put(dir, "merges.txt", "1 2\n");
        if (rows[i].digits_together)
            EXPECT(dir, "12", 0, 300);
        else
            EXPECT(dir, "12", 0, '1', '2');
        if (rows[i].composes)
            EXPECT(dir, "e\xCC\x81", 0, 0xC3, 0xA9);
        else
            EXPECT(dir, "e\xCC\x81", 0, 'e', 0xCC, 0x81);
        um_temp_dir_remove(dir);
    }
}

static void bad_files_are_named(void)
{
    static const struct {
        const char *file, *text, *word;
        um_status status;
    } rows[] = {
        {"vocab.json", "{", "vocab.json", UM_E_FORMAT},
        {"vocab.json", "[]", "vocab.json", UM_E_FORMAT},
        {"vocab.json", "{\"a\":-1}", "-1", UM_E_FORMAT},
        {"vocab.json", "{\"a\":0}", "byte 0x", UM_E_UNSUPPORTED},
        {"merges.txt", "#version\nab\n", "merges.txt: line 2", UM_E_FORMAT},
        {"merges.txt", "a b\n\na b c\n", "merges.txt: line 3", UM_E_FORMAT},
        {"merges.txt", "a q\n", "merges.txt[0]", UM_E_FORMAT},
        {"merges.txt", "a b\nq zz\n", "merges.txt[1]", UM_E_FORMAT},
        {"tokenizer_config.json", "{\"tokenizer_class\":\"T5Tokenizer\"}", "T5Tokenizer",
         UM_E_UNSUPPORTED},
        {"tokenizer_config.json", "{\"tokenizer_class\":7}", "tokenizer_config.json", UM_E_FORMAT},
        {"tokenizer_config.json", "{" CLASS("GPT2Tokenizer") ",\"add_prefix_space\":true}",
         "add_prefix_space", UM_E_UNSUPPORTED},
        {"tokenizer_config.json", "{" CLASS("GPT2Tokenizer") ",\"add_bos_token\":true}",
         "add_bos_token", UM_E_FORMAT},
        {"tokenizer_config.json", "{" CLASS("GPT2Tokenizer") ",\"added_tokens_decoder\":[]}",
         "added_tokens_decoder", UM_E_FORMAT},
        {"tokenizer_config.json",
         "{" CLASS("GPT2Tokenizer") ",\"added_tokens_decoder\":{\"x\":{\"content\":\"<x>\"}}}",
         "\"x\" is no id", UM_E_FORMAT},
        {"tokenizer_config.json",
         "{" CLASS(
             "GPT2Tokenizer") ",\"added_tokens_decoder\":{\"9999999\":{\"content\":\"<x>\"}}}",
         "9999999", UM_E_FORMAT},
        {"tokenizer_config.json",
         "{" CLASS("GPT2Tokenizer") ",\"added_tokens_decoder\":{\"300\":{\"content\":7}}}",
         "content of id 300", UM_E_FORMAT},
        {"tokenizer_config.json",
         "{" CLASS("GPT2Tokenizer") ",\"added_tokens_decoder\":{\"300\":7}}", "an integer",
         UM_E_FORMAT},
        {"tokenizer_config.json",
         "{" CLASS("GPT2Tokenizer") ",\"added_tokens_decoder\":{\"300\":{\"content\":\"<x>\","
                                    "\"rstrip\":true}}}",
         "rstrip", UM_E_UNSUPPORTED},
        {"added_tokens.json", "{\"<x>\":\"300\"}", "added_tokens.json", UM_E_FORMAT},
        {"added_tokens.json", "{\"<x>\":65}", "id 65", UM_E_FORMAT},
        {"added_tokens.json", "[", "added_tokens.json", UM_E_FORMAT},
        {"special_tokens_map.json", "]", "special_tokens_map.json", UM_E_FORMAT},
    };

    for (size_t i = 0; i < UM_COUNT_OF(rows); i++) {
        char dir[UM_TEMP_PATH_BYTES];

        make_pair(dir, NULL, CLASS("GPT2Tokenizer"));
        put(dir, rows[i].file, rows[i].text);
        expect_failure(dir, rows[i].status, rows[i].word);
        um_temp_dir_remove(dir);
    }
}

/* ---- added and special tokens ---- */

static void added_tokens_come_with_their_flags(void)
{
    char dir[UM_TEMP_PATH_BYTES];

    make_pair(dir, NULL,
              CLASS("Qwen2Tokenizer") ",\"added_tokens_decoder\":{"
                                      "\"300\":{\"content\":\"<m>\",\"special\":true},"
                                      "\"301\":{\"content\":\"<t>\",\"special\":false}}");
    put(dir, "added_tokens.json", "{\"<u>\":302}"); /* not read where the other is */
    EXPECT(dir, "<m>", 0, '<', 'm', '>');
    EXPECT(dir, "<m>", UM_ENCODE_PARSE_SPECIAL, 300);
    EXPECT(dir, "<t>", 0, 301);
    EXPECT(dir, "<u>", 0, '<', 'u', '>');
    um_temp_dir_remove(dir);
}

static void names_tell_which_added_tokens_are_special(void)
{
    char dir[UM_TEMP_PATH_BYTES];

    make_pair(dir, NULL, CLASS("Qwen2Tokenizer") ",\"pad_token\":\"<p>\"");
    put(dir, "added_tokens.json", "{\"<m>\":300,\"<t>\":301,\"<p>\":302,\"<i>\":303}");
    put(dir, "special_tokens_map.json",
        "{\"mask_token\":{\"content\":\"<m>\"},\"additional_special_tokens\":[\"<i>\",\"<none>\"]"
        "}");
    EXPECT(dir, "<m><t><p><i>", UM_ENCODE_PARSE_SPECIAL, 300, 301, 302, 303);
    EXPECT(dir, "<m><t>", 0, '<', 'm', '>', 301);
    EXPECT(dir, "<p>", 0, '<', 'p', '>');
    EXPECT(dir, "<i>", 0, '<', 'i', '>');
    um_temp_dir_remove(dir);
}

/* DiffuGPT's mask is an ordinary entry, twelve hyphens; its texts may still hold them. */
static void ordinary_entries_lent_as_mask_or_padding_stay_words(void)
{
    char dir[UM_TEMP_PATH_BYTES];

    make_pair(dir, ",\"<|endoftext|>\":300", CLASS("GPT2Tokenizer"));
    put(dir, "special_tokens_map.json",
        "{\"mask_token\":\"ab\",\"pad_token\":\"\xC4\xA0x\",\"eos_token\":\"<|endoftext|>\"}");
    EXPECT(dir, "ab x", 0, 256, 257);
    EXPECT(dir, "<|endoftext|>", UM_ENCODE_PARSE_SPECIAL, 300);
    put(dir, "special_tokens_map.json", "{\"bos_token\":\"ab\"}"); /* this role is not lent */
    EXPECT(dir, "ab x", 0, 'a', 'b', 257);
    EXPECT(dir, "ab", UM_ENCODE_PARSE_SPECIAL, 256);
    EXPECT(dir, "<|endoftext|>", UM_ENCODE_PARSE_SPECIAL, 300); /* by the class alone */
    um_temp_dir_remove(dir);
}

static void a_bytes_own_token_is_never_special(void)
{
    char dir[UM_TEMP_PATH_BYTES];
    um_tokenizer *tokenizer = um_document_load(&(um_document){.added = ADDED("65", "A", "true")});
    um_tokenizer *pair = NULL;
    um_err err = {0};

    UM_CHECK(!um_tokenizer_is_special(tokenizer, 'A'));
    um_tokenizer_close(tokenizer);
    make_pair(dir, NULL, CLASS("GPT2Tokenizer") ",\"bos_token\":\"A\"");
    EXPECT(dir, "AB", UM_ENCODE_PARSE_SPECIAL, 'A', 'B');
    UM_CHECK_OK(um_tokenizer_open(dir, &pair, &err), err);
    UM_CHECK(!um_tokenizer_is_special(pair, 'A'));
    um_tokenizer_close(pair);
    um_temp_dir_remove(dir);
}

static void tokens_around_a_text_are_what_the_config_asks_for(void)
{
    char dir[UM_TEMP_PATH_BYTES];

    make_pair(dir, ",\"<s>\":300,\"<e>\":301",
              CLASS("GPT2Tokenizer") ",\"add_bos_token\":true,\"add_eos_token\":true,"
                                     "\"bos_token\":{\"content\":\"<s>\"}");
    put(dir, "special_tokens_map.json", "{\"eos_token\":\"<e>\"}");
    EXPECT(dir, "ab", UM_ENCODE_POST_PROCESS, 300, 256, 301);
    EXPECT(dir, "ab", 0, 256);
    um_temp_dir_remove(dir);
}

/* ---- running out of memory ---- */

static void opening_survives_every_failing_allocation(void)
{
    char dir[UM_TEMP_PATH_BYTES];
    long failures = 0, without_jit = 0;

    make_pair(dir, ",\"<s>\":300", CLASS("Qwen2Tokenizer") ",\"add_bos_token\":true");
    put(dir, "added_tokens.json", "{\"e\xCC\x81\":302,\"<m>\":303}");
    put(dir, "special_tokens_map.json", "{\"mask_token\":\"<m>\",\"bos_token\":\"<s>\"}");
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
        if (status == UM_OK)
            without_jit++; /* where only the JIT fails, the interpreter does the work */
        else
            UM_CHECK_STATUS(status, UM_E_NOMEM);
    }
    UM_CHECK(failures - without_jit > 20);
    um_temp_dir_remove(dir);
}

static const um_test tests[] = {
    UM_TEST(the_first_kind_that_is_there_counts),
    UM_TEST(the_class_says_how_text_is_split_and_normalised),
    UM_TEST(bad_files_are_named),
    UM_TEST(added_tokens_come_with_their_flags),
    UM_TEST(names_tell_which_added_tokens_are_special),
    UM_TEST(ordinary_entries_lent_as_mask_or_padding_stay_words),
    UM_TEST(a_bytes_own_token_is_never_special),
    UM_TEST(tokens_around_a_text_are_what_the_config_asks_for),
    UM_TEST(opening_survives_every_failing_allocation),
};

UM_TEST_MAIN(tests)
