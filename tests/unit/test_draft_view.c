/* The draft as terminal text: every line fits, masks are shaded, nothing drives the terminal. */
#include <locale.h>

#include "server/draft_view.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/test.h"

typedef struct drawn {
    um_buf text;
    int lines;
} drawn;

static drawn draw(int columns, int rows_max, const int32_t *tokens, size_t count)
{
    um_tokenizer *tokenizer = um_byte_tokenizer_open();
    um_draft_view view = {.tokenizer = tokenizer,
                          .mask_token = UM_BYTE_MASK,
                          .columns = columns,
                          .rows_max = rows_max};
    drawn result = {0};

    setlocale(LC_CTYPE, "C.UTF-8");
    result.lines = um_draft_render(&view, tokens, count, &result.text);
    um_tokenizer_close(tokenizer);
    return result;
}

#define CHECK_DRAWN(columns, rows_max, lines_expected, text_expected, ...)                         \
    do {                                                                                           \
        const int32_t um_tokens[] = {__VA_ARGS__};                                                 \
        drawn um_d = draw(columns, rows_max, um_tokens, UM_COUNT_OF(um_tokens));                   \
        UM_CHECK_STR(um_buf_view(&um_d.text), text_expected);                                      \
        UM_CHECK_INT(um_d.lines, lines_expected);                                                  \
        um_buf_deinit(&um_d.text);                                                                 \
    } while (0)

static void masks_are_shaded_between_text(void)
{
    CHECK_DRAWN(20, 5, 1, "a\x1b[2m\u2591\u2591\x1b[0mth", 'a', UM_BYTE_MASK, UM_BYTE_MASK,
                UM_BYTE_TH);
    CHECK_DRAWN(20, 5, 1, "ab", 'a', UM_BYTE_END, 'b'); /* special tokens are not shown */
}

static void a_character_may_be_spread_over_tokens(void)
{
    CHECK_DRAWN(20, 5, 1, "\u4e2d", UM_BYTE_PARTIAL, 0xad);
    CHECK_DRAWN(20, 5, 1, "\ufffd\x1b[2m\u2591\x1b[0m", UM_BYTE_PARTIAL, UM_BYTE_MASK);
}

static void lines_break_at_the_width_and_at_newlines(void)
{
    CHECK_DRAWN(5, 5, 2, "abcde\r\nf", 'a', 'b', 'c', 'd', 'e', 'f');
    CHECK_DRAWN(5, 5, 2, "a\r\nb", 'a', '\n', 'b');
    /* a wide character that does not fit goes to the next line */
    CHECK_DRAWN(5, 5, 2, "abcd\r\n\u4e2d", 'a', 'b', 'c', 'd', UM_BYTE_PARTIAL, 0xad);
    /* each line of a shaded run has a style of its own */
    CHECK_DRAWN(5, 5, 2, "\x1b[2m\u2591\u2591\u2591\u2591\u2591\x1b[0m\r\n\x1b[2m\u2591\x1b[0m",
                UM_BYTE_MASK, UM_BYTE_MASK, UM_BYTE_MASK, UM_BYTE_MASK, UM_BYTE_MASK, UM_BYTE_MASK);
}

static void the_last_lines_are_kept(void)
{
    CHECK_DRAWN(5, 2, 2, "c\r\nd", 'a', '\n', 'b', '\n', 'c', '\n', 'd');
    CHECK_DRAWN(5, 1, 1, "d", 'a', '\n', 'b', '\n', 'c', '\n', 'd');
}

static void control_characters_do_not_reach_the_terminal(void)
{
    static const char text[] = "a\x1b[2Jb\r\x07\tc\n\xc2\x9b";
    um_buf safe = {0};

    CHECK_DRAWN(20, 5, 1, "?[2J?    x", 0x1b, '[', '2', 'J', '\r', '\t', 'x');
    um_draft_safe_text(&safe, text, sizeof(text) - 1);
    UM_CHECK_STR(um_buf_view(&safe), "a?[2Jb?? c\n?");
    um_buf_deinit(&safe);
}

static const um_test tests[] = {
    UM_TEST(masks_are_shaded_between_text),
    UM_TEST(a_character_may_be_spread_over_tokens),
    UM_TEST(lines_break_at_the_width_and_at_newlines),
    UM_TEST(the_last_lines_are_kept),
    UM_TEST(control_characters_do_not_reach_the_terminal),
};
UM_TEST_MAIN(tests)
