/* Settled tokens -> text. Each case gives the tokens and the text expected by hand; every case runs
 * with all at once, one by one, and in random pieces, and must give the same. */
#include "tests/test.h"

#include "core/base/mem.h"
#include "core/engine/emit.h"
#include "tests/support/byte_tokenizer.h"

#define TOKENS_MAX 64

/* What a case asks for beyond its text. */
typedef struct emit_extras {
    int32_t stop_tokens[2];
    int32_t stop_token_count;
    bool keep_special;
    const int32_t *places; /* [tokens] expected; NULL: not wanted */
} emit_extras;

typedef struct emit_case {
    const char *stops[UM_STOP_STRINGS_MAX]; /* NULL behind the last */
    int32_t budget;
    const char *text;
    um_finish finish;
    int32_t tokens; /* completion_tokens */
    emit_extras extras;
} emit_case;

static const int32_t ends[] = {UM_BYTE_END, UM_BYTE_TURN};

static int32_t read_stops(const emit_case *expected, um_stop_string stops[UM_STOP_STRINGS_MAX])
{
    int32_t count = 0;

    while (count < UM_STOP_STRINGS_MAX && expected->stops[count]) {
        stops[count].length = (int32_t)strlen(expected->stops[count]);
        memcpy(stops[count].bytes, expected->stops[count], (size_t)stops[count].length);
        count++;
    }
    return count;
}

/* Feeds the tokens in pieces of `piece` (0: sizes from a counter), all of them in the end. */
static void run_pieces(const um_tokenizer *tokenizer, const int32_t *ids, int32_t count,
                       const emit_case *expected, int32_t piece)
{
    um_stop_string stops[UM_STOP_STRINGS_MAX] = {0};
    um_emit_options options = {
        .tokenizer = tokenizer,
        .stops = stops,
        .stop_count = read_stops(expected, stops),
        .end_tokens = ends,
        .end_token_count = 2,
        .mask_token = UM_BYTE_MASK,
        .stop_tokens = expected->extras.stop_tokens,
        .stop_token_count = expected->extras.stop_token_count,
        .keep_special = expected->extras.keep_special,
        .want_places = expected->extras.places != NULL,
        .budget = expected->budget,
    };
    um_buf text = {0};
    um_emit emit;
    um_err err = {0};
    int32_t settled = 0;

    UM_CHECK_OK(um_emit_init(&emit, &options, &err), err);
    um_buf_reserve(&text, um_emit_bytes_max(tokenizer, expected->budget));
    for (int32_t turn = 0; settled < count; turn++) {
        settled += piece ? piece : turn * 7 % 4;
        settled = settled < count ? settled : count;
        um_mem_fail_after(1);
        um_emit_advance(&emit, ids, settled, &text);
        UM_CHECK(um_mem_fail_pending()); /* nothing was allocated */
        um_mem_fail_after(0);
    }
    UM_CHECK_STR(um_buf_view(&text), expected->text);
    UM_CHECK_INT(emit.finish, expected->finish);
    UM_CHECK_INT(emit.tokens, expected->tokens);
    UM_CHECK((emit.places != NULL) == options.want_places);
    for (int32_t i = 0; emit.places && i < emit.tokens; i++)
        UM_CHECK_INT(emit.places[i], expected->extras.places[i]);
    um_buf_deinit(&text);
    um_emit_deinit(&emit);
}

static void expect_ids(const int32_t *ids, int32_t count, emit_case expected)
{
    um_tokenizer *tokenizer = um_byte_tokenizer_open();

    run_pieces(tokenizer, ids, count, &expected, count);
    run_pieces(tokenizer, ids, count, &expected, 1);
    run_pieces(tokenizer, ids, count, &expected, 0);
    um_tokenizer_close(tokenizer);
}

/* One id per byte of `bytes`. */
static void expect_bytes(const char *bytes, emit_case expected)
{
    int32_t ids[TOKENS_MAX], count = 0;

    for (; bytes[count]; count++)
        ids[count] = (uint8_t)bytes[count];
    if (expected.budget == 0)
        expected.budget = count;
    expect_ids(ids, count, expected);
}

static void text_ends_with_the_budget(void)
{
    expect_bytes("hello", (emit_case){.budget = 3, .text = "hel", UM_FINISH_LENGTH, 3});
    expect_bytes("hello", (emit_case){.text = "hello", UM_FINISH_LENGTH, 5});
}

static void text_ends_at_the_first_end_token(void)
{
    expect_ids((int32_t[]){'a', UM_BYTE_TURN, 'b', UM_BYTE_END}, 4,
               (emit_case){.budget = 4, .text = "a", UM_FINISH_STOP, 1});
    expect_ids((int32_t[]){UM_BYTE_END, 'b'}, 2,
               (emit_case){.budget = 2, .text = "", UM_FINISH_STOP, 0});
}

static void an_end_token_behind_the_budget_does_not_count(void)
{
    expect_ids((int32_t[]){'a', 'b', UM_BYTE_END}, 3,
               (emit_case){.budget = 2, .text = "ab", UM_FINISH_LENGTH, 2});
}

static void special_tokens_and_masks_are_never_text(void)
{
    expect_ids((int32_t[]){'a', UM_BYTE_OTHER, UM_BYTE_MASK, 'b'}, 4,
               (emit_case){.budget = 4, .text = "ab", UM_FINISH_LENGTH, 2});
}

static void a_requests_own_stop_tokens_end_its_text(void)
{
    const emit_extras extras = {.stop_tokens = {'b', UM_BYTE_OTHER}, .stop_token_count = 2};

    expect_ids((int32_t[]){'a', UM_BYTE_TH, 'b', 'c'}, 4,
               (emit_case){.budget = 4, .text = "ath", UM_FINISH_STOP, 2, extras});
    expect_ids((int32_t[]){'a', UM_BYTE_OTHER, 'c', 'b'}, 4,
               (emit_case){.budget = 4, .text = "a", UM_FINISH_STOP, 1, extras});
    expect_ids((int32_t[]){'a', UM_BYTE_TURN, 'b', 'c'}, 4,
               (emit_case){.budget = 4, .text = "a", UM_FINISH_STOP, 1, extras});
}

static void special_tokens_that_are_wanted_are_text_but_masks_and_ends(void)
{
    const emit_extras extras = {
        .stop_tokens = {UM_BYTE_OTHER}, .stop_token_count = 0, .keep_special = true};
    emit_extras stopped = extras;
    um_tokenizer *tokenizer = um_byte_tokenizer_open();
    size_t length;
    char text[64];
    const uint8_t *other = um_tokenizer_bytes(tokenizer, UM_BYTE_OTHER, &length);

    snprintf(text, sizeof(text), "a%.*sb", (int)length, (const char *)other);
    UM_CHECK(length > 0);
    expect_ids((int32_t[]){'a', UM_BYTE_OTHER, UM_BYTE_MASK, 'b', UM_BYTE_END, 'c'}, 6,
               (emit_case){.budget = 6, .text = text, UM_FINISH_STOP, 3, extras});
    stopped.stop_token_count = 1;
    expect_ids((int32_t[]){'a', UM_BYTE_OTHER, 'b'}, 3,
               (emit_case){.budget = 3, .text = "a", UM_FINISH_STOP, 1, stopped});
    um_tokenizer_close(tokenizer);
}

static void the_places_of_visible_tokens_are_known(void)
{
    const int32_t places[] = {0, 3, 4};

    expect_ids((int32_t[]){'a', UM_BYTE_OTHER, UM_BYTE_MASK, 'b', UM_BYTE_TH, UM_BYTE_END, 'c'}, 7,
               (emit_case){.budget = 7, .text = "abth", UM_FINISH_STOP, 3, {.places = places}});
    /* those behind a stop string's beginning count, as in completion_tokens */
    expect_ids((int32_t[]){UM_BYTE_OTHER, 'a', 'x', 'y', 'b'}, 5,
               (emit_case){.stops = {"xy"},
                           .budget = 5,
                           .text = "a",
                           UM_FINISH_STOP,
                           3,
                           {.places = (const int32_t[]){1, 2, 3}}});
}

static void characters_are_never_split(void)
{
    um_tokenizer *tokenizer = um_byte_tokenizer_open();
    um_emit_options options = {.tokenizer = tokenizer, .mask_token = UM_BYTE_MASK, .budget = 3};
    int32_t ids[] = {UM_BYTE_PARTIAL, 0xAD, UM_BYTE_E_ACUTE};
    um_buf text = {0};
    um_emit emit;
    um_err err = {0};

    UM_CHECK_OK(um_emit_init(&emit, &options, &err), err);
    um_emit_advance(&emit, ids, 1, &text);
    UM_CHECK_STR(um_buf_view(&text), "");
    um_emit_advance(&emit, ids, 2, &text);
    UM_CHECK_STR(um_buf_view(&text), "\xE4\xB8\xAD");
    um_emit_advance(&emit, ids, 3, &text);
    UM_CHECK_STR(um_buf_view(&text), "\xE4\xB8\xAD\xC3\xA9");
    um_buf_deinit(&text);
    um_emit_deinit(&emit);
    um_tokenizer_close(tokenizer);
}

static void invalid_utf8_becomes_replacement_characters(void)
{
    expect_bytes("a\xE4\xB8", (emit_case){.text = "a\xEF\xBF\xBD", UM_FINISH_LENGTH, 3});
    expect_bytes("\xE4\xB8z\xFF",
                 (emit_case){.text = "\xEF\xBF\xBDz\xEF\xBF\xBD", UM_FINISH_LENGTH, 4});
    expect_ids((int32_t[]){UM_BYTE_PARTIAL, UM_BYTE_END}, 2,
               (emit_case){.budget = 2, .text = "\xEF\xBF\xBD", UM_FINISH_STOP, 1});
}

static void text_is_cut_before_a_stop_string(void)
{
    expect_bytes("one two three", (emit_case){.stops = {"two"}, .text = "one ", UM_FINISH_STOP, 7});
    expect_bytes("aXb", (emit_case){.stops = {"a"}, .text = "", UM_FINISH_STOP, 1});
    expect_ids((int32_t[]){'a', UM_BYTE_STOP, 'b'}, 3,
               (emit_case){.stops = {"st"}, .budget = 3, .text = "a ", UM_FINISH_STOP, 2});
}

static void what_only_began_like_a_stop_string_is_text(void)
{
    expect_bytes("one twice",
                 (emit_case){.stops = {"two"}, .text = "one twice", UM_FINISH_LENGTH, 9});
    expect_bytes("one tw", (emit_case){.stops = {"two"}, .text = "one tw", UM_FINISH_LENGTH, 6});
    expect_bytes("aaab", (emit_case){.stops = {"aab"}, .text = "a", UM_FINISH_STOP, 4});
    expect_bytes("ababac", (emit_case){.stops = {"abac"}, .text = "ab", UM_FINISH_STOP, 6});
}

static void the_earliest_stop_string_cuts_even_if_a_later_one_is_complete_first(void)
{
    /* "c" is complete while "bcd", which begins before it, is not */
    expect_bytes("abcd", (emit_case){.stops = {"c", "bcd"}, .text = "a", UM_FINISH_STOP, 4});
    expect_bytes("abce", (emit_case){.stops = {"c", "bcd"}, .text = "ab", UM_FINISH_STOP, 4});
    expect_bytes("abc", (emit_case){.stops = {"bcd", "c"}, .text = "ab", UM_FINISH_STOP, 3});
}

static void a_stop_string_may_span_characters_of_several_bytes(void)
{
    expect_bytes("x\xC3\xA9\xE4\xB8\xADy",
                 (emit_case){.stops = {"\xC3\xA9\xE4\xB8\xAD"}, .text = "x", UM_FINISH_STOP, 6});
    expect_bytes(
        "x\xC3\xA9z",
        (emit_case){.stops = {"\xC3\xA9\xE4\xB8\xAD"}, .text = "x\xC3\xA9z", UM_FINISH_LENGTH, 4});
    /* matched in the text as it is shown, replacement characters included */
    expect_bytes("x\xFFy", (emit_case){.stops = {"\xEF\xBF\xBDy"}, .text = "x", UM_FINISH_STOP, 3});
}

static void a_stop_string_ends_the_answer_before_its_end_token(void)
{
    expect_ids((int32_t[]){'a', 'b', UM_BYTE_END}, 3,
               (emit_case){.stops = {"b"}, .budget = 3, .text = "a", UM_FINISH_STOP, 2});
}

/* A gap of fixed length, and a canvas that ends below its budget. */
static void what_a_full_budget_and_an_early_end_mean_is_up_to_the_request(void)
{
    um_tokenizer *tokenizer = um_byte_tokenizer_open();
    const um_stop_string stop = {.bytes = "bc", .length = 2};
    um_emit_options options = {.tokenizer = tokenizer,
                               .stops = &stop,
                               .stop_count = 1,
                               .mask_token = UM_BYTE_MASK,
                               .budget = 2,
                               .full_is_stop = true};
    um_buf text = {0};
    um_emit emit;
    um_err err = {0};

    UM_CHECK_OK(um_emit_init(&emit, &options, &err), err);
    um_emit_advance(&emit, (int32_t[]){'a', 'b'}, 2, &text);
    UM_CHECK(emit.finish == UM_FINISH_STOP);
    um_emit_end(&emit, UM_FINISH_LENGTH, &text);
    UM_CHECK(emit.finish == UM_FINISH_STOP);
    UM_CHECK_STR(um_buf_view(&text), "ab");
    um_emit_deinit(&emit);
    um_buf_clear(&text);
    options.budget = 9;
    UM_CHECK_OK(um_emit_init(&emit, &options, &err), err);
    um_emit_advance(&emit, (int32_t[]){'a', 'b'}, 2, &text);
    UM_CHECK_STR(um_buf_view(&text), "a"); /* "b" may begin a stop string */
    um_emit_end(&emit, UM_FINISH_LENGTH, &text);
    UM_CHECK(emit.finish == UM_FINISH_LENGTH);
    UM_CHECK_STR(um_buf_view(&text), "ab");
    um_emit_deinit(&emit);
    um_buf_deinit(&text);
    um_tokenizer_close(tokenizer);
}

static void running_out_of_memory_is_an_error_without_leaks(void)
{
    um_tokenizer *tokenizer = um_byte_tokenizer_open();
    um_emit_options options = {.tokenizer = tokenizer, .budget = 3, .want_places = true};
    um_status status = UM_E_NOMEM;
    um_emit emit;
    int failures = 0;

    for (long n = 1; status != UM_OK; n++) {
        um_mem_fail_after(n);
        status = um_emit_init(&emit, &options, NULL);
        if (status != UM_OK) {
            UM_CHECK_STATUS(status, UM_E_NOMEM);
            failures++;
        }
    }
    um_mem_fail_after(0);
    UM_CHECK_INT(failures, 3);
    um_emit_deinit(&emit);
    um_tokenizer_close(tokenizer);
}

static const um_test tests[] = {
    UM_TEST(text_ends_with_the_budget),
    UM_TEST(text_ends_at_the_first_end_token),
    UM_TEST(an_end_token_behind_the_budget_does_not_count),
    UM_TEST(special_tokens_and_masks_are_never_text),
    UM_TEST(a_requests_own_stop_tokens_end_its_text),
    UM_TEST(special_tokens_that_are_wanted_are_text_but_masks_and_ends),
    UM_TEST(the_places_of_visible_tokens_are_known),
    UM_TEST(characters_are_never_split),
    UM_TEST(invalid_utf8_becomes_replacement_characters),
    UM_TEST(text_is_cut_before_a_stop_string),
    UM_TEST(what_only_began_like_a_stop_string_is_text),
    UM_TEST(the_earliest_stop_string_cuts_even_if_a_later_one_is_complete_first),
    UM_TEST(a_stop_string_may_span_characters_of_several_bytes),
    UM_TEST(a_stop_string_ends_the_answer_before_its_end_token),
    UM_TEST(what_a_full_budget_and_an_early_end_mean_is_up_to_the_request),
    UM_TEST(running_out_of_memory_is_an_error_without_leaks),
};
UM_TEST_MAIN(tests)
