/* UTF-8: validation, safe prefixes and lossy decoding, against an independent slow decoder and
 * vectors of the Unicode standard. */
#include "tests/test.h"

#include "core/base/utf8.h"

/* Independent of the tables under test: decode by arithmetic, then check what RFC 3629 says about
 * the value. Returns the length of the code point at `p`, 0 when there is no valid one. */
static size_t slow_decode(const uint8_t *p, size_t n)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = p[0] < 0x80             ? 1
                    : (p[0] & 0xE0) == 0xC0 ? 2
                    : (p[0] & 0xF0) == 0xE0 ? 3
                    : (p[0] & 0xF8) == 0xF0 ? 4
                                            : 0;
    uint32_t point;

    if (length == 0 || length > n)
        return 0;
    point = length == 1 ? p[0] : p[0] & (0xFFu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        point = point << 6 | (p[i] & 0x3Fu);
    }
    if (point < smallest[length] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
        return 0;
    return length;
}

static size_t slow_valid_prefix(const uint8_t *p, size_t n)
{
    size_t at = 0, length;

    while (at < n && (length = slow_decode(p + at, n - at)) > 0)
        at += length;
    return at;
}

static const uint8_t interesting[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF,
                                      0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE,
                                      0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF};
#define INTERESTING UM_COUNT_OF(interesting)

/* Calls `check` with every string of four interesting bytes (all the borders of table 3-7). */
static void each_quad(void (*check)(const uint8_t *p, size_t n))
{
    for (size_t i = 0; i < INTERESTING * INTERESTING * INTERESTING * INTERESTING; i++) {
        uint8_t p[4];

        for (size_t k = 0, rest = i; k < 4; k++, rest /= INTERESTING)
            p[k] = interesting[rest % INTERESTING];
        for (size_t n = 1; n <= 4; n++)
            check(p, n);
    }
}

static void check_valid(const uint8_t *p, size_t n)
{
    size_t got = um_utf8_valid_prefix((const char *)p, n), expected = slow_valid_prefix(p, n);

    if (got != expected)
        um_test_fail(__FILE__, __LINE__, "%02X %02X %02X %02X (%zu): %zu, expected %zu", p[0], p[1],
                     p[2], p[3], n, got, expected);
}

static void valid_prefix_agrees_with_arithmetic(void)
{
    each_quad(check_valid);
    UM_CHECK_INT(um_utf8_valid_prefix("", 0), 0);
    /* An error behind whole words of ASCII, at each place of a word. */
    for (size_t at = 0; at < 40; at++) {
        char text[41];

        memset(text, 'a', sizeof(text));
        text[at] = (char)0xFF;
        UM_CHECK_INT(um_utf8_valid_prefix(text, sizeof(text)), at);
    }
}

/* What can still be completed, by definition: a tail that is no valid text, and that some one to
 * three continuation bytes make valid. */
static bool completable(const uint8_t *tail, size_t n)
{
    uint8_t p[4];
    static const uint8_t followers[] = {0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF};

    memcpy(p, tail, n);
    if (slow_decode(p, n) == n)
        return false;
    for (size_t i = 0; i < UM_COUNT_OF(followers); i++) {
        p[n] = followers[i];
        for (size_t k = n + 1; k < 4; k++)
            p[k] = 0x80;
        for (size_t length = n + 1; length <= 4; length++)
            if (slow_decode(p, length) == length)
                return true;
    }
    return false;
}

static void check_complete(const uint8_t *p, size_t n)
{
    size_t expected = n, got = um_utf8_complete_prefix((const char *)p, n);

    for (size_t tail = 1; tail <= 3 && tail <= n; tail++)
        if (completable(p + n - tail, tail))
            expected = n - tail;
    if (got != expected)
        um_test_fail(__FILE__, __LINE__, "%02X %02X %02X %02X (%zu): %zu, expected %zu", p[0], p[1],
                     p[2], p[3], n, got, expected);
}

static void complete_prefix_holds_back_only_what_can_be_completed(void)
{
    each_quad(check_complete);
    UM_CHECK_INT(um_utf8_complete_prefix("", 0), 0);
}

static void complete_prefix_never_splits_a_character(void)
{
    static const char text[] = "a\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x99\x82"
                               "b\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB!";

    for (size_t end = 0; end < sizeof(text); end++) {
        size_t complete = um_utf8_complete_prefix(text, end);

        UM_CHECK_INT(complete, slow_valid_prefix((const uint8_t *)text, end));
        UM_CHECK_INT(um_utf8_valid_prefix(text, complete), complete);
    }
}

static void lossy(const char *bytes, size_t length, const char *expected)
{
    um_buf out = {0};

    um_utf8_append_lossy(&out, bytes, length);
    UM_CHECK_STR(um_buf_view(&out), expected);
    UM_CHECK_INT(out.length, strlen(expected));
    um_buf_deinit(&out);
}
#define LOSSY(bytes, expected) lossy((bytes), sizeof(bytes) - 1, (expected))

#define R "\xEF\xBF\xBD"

static void lossy_replaces_maximal_subparts(void)
{
    LOSSY("", "");
    LOSSY("plain \xC3\xA9 \xF0\x9F\x99\x82", "plain \xC3\xA9 \xF0\x9F\x99\x82");
    /* Unicode 15, tables 3-8 to 3-11 */
    LOSSY("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", R R R R R R R R "A");
    LOSSY("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", R R R R R R R R "A");
    LOSSY("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", R R R R R "A" R R "B");
    LOSSY("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", R R R R "A");
    /* Rust's documentation of from_utf8_lossy */
    LOSSY("Hello \xF0\x90\x80World", "Hello " R "World");
    /* cut at the end: one replacement for what is there */
    LOSSY("x\xF0\x9F\x99", "x" R);
    LOSSY("x\xE4\xB8", "x" R);
    LOSSY("x\xC3", "x" R);
}

static void lossy_output_is_always_valid(void)
{
    char bytes[64];
    uint64_t state = 1;

    for (int round = 0; round < 2000; round++) {
        um_buf out = {0};

        for (size_t i = 0; i < sizeof(bytes); i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = (char)interesting[(state >> 33) % INTERESTING];
        }
        um_utf8_append_lossy(&out, bytes, sizeof(bytes));
        UM_CHECK_INT(um_utf8_valid_prefix(um_buf_view(&out), out.length), out.length);
        um_buf_deinit(&out);
    }
}

static void printable(const char *text, const char *expected)
{
    char copy[64];

    snprintf(copy, sizeof(copy), "%s", text);
    um_utf8_make_printable(copy);
    UM_CHECK_STR(copy, expected);
}

static void printable_text_keeps_characters_and_loses_controls(void)
{
    printable("", "");
    printable("plain \xC3\xA9 \xF0\x9F\x99\x82\xC2\xA0!",
              "plain \xC3\xA9 \xF0\x9F\x99\x82\xC2\xA0!");
    printable("a\nb\tc\rd", "a b c d");
    printable("\x1b[31mred\x7f", "?[31mred?");
    printable("\xC2\x9B"
              "31m",
              "?31m"); /* U+009B: the one-character form of ESC [ */
    printable("cut \xE4\xB8", "cut ?");
    printable("\xFF\xC0\x80", "???");
}

static void check_printable(const uint8_t *p, size_t n)
{
    char text[5] = "";

    memcpy(text, p, n);
    um_utf8_make_printable(text);
    n = strlen(text);
    UM_CHECK_INT(um_utf8_valid_prefix(text, n), n);
    for (size_t i = 0; i < n; i++)
        UM_CHECK((uint8_t)text[i] >= 0x20 && text[i] != 0x7F);
}

static void printable_text_is_always_valid(void)
{
    each_quad(check_printable);
}

static const um_test tests[] = {
    UM_TEST(valid_prefix_agrees_with_arithmetic),
    UM_TEST(complete_prefix_holds_back_only_what_can_be_completed),
    UM_TEST(complete_prefix_never_splits_a_character),
    UM_TEST(lossy_replaces_maximal_subparts),
    UM_TEST(lossy_output_is_always_valid),
    UM_TEST(printable_text_keeps_characters_and_loses_controls),
    UM_TEST(printable_text_is_always_valid),
};

UM_TEST_MAIN(tests)
