/* Checkers of `unmask eval`: which answers count as right. docs/eval.md promises the same. */
#include "server/eval_check.h"
#include "tests/test.h"

typedef struct answer {
    const char *text;
    bool right;
} answer;

static void check_answers(const um_checker *checker, const answer *answers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool right = um_checker_accepts(checker, answers[i].text, strlen(answers[i].text));

        um_test_count();
        if (right != answers[i].right)
            um_test_fail(__FILE__, __LINE__, "\"%s\" is %s", answers[i].text,
                         right ? "accepted" : "refused");
    }
}
#define CHECK_ANSWERS(checker, ...)                                                                \
    check_answers(&(checker), (const answer[]){__VA_ARGS__},                                       \
                  sizeof((const answer[]){__VA_ARGS__}) / sizeof(answer))

static um_checker with_text(um_checker_kind kind, const char *text)
{
    return (um_checker){.kind = kind, .text = text, .text_length = strlen(text)};
}

static void an_exact_answer_may_have_white_space_around_it(void)
{
    um_checker checker = with_text(UM_CHECKER_EXACT, " Paris \n");
    um_checker nothing = with_text(UM_CHECKER_EXACT, "");

    CHECK_ANSWERS(checker, {"Paris", true}, {"\n\tParis\r\n ", true}, {"paris", false},
                  {"Paris.", false}, {"P aris", false}, {"", false});
    CHECK_ANSWERS(nothing, {"", true}, {" \n", true}, {"x", false});
}

static void bytes_behind_a_nul_count(void)
{
    um_checker checker = {.kind = UM_CHECKER_EXACT, .text = "a\0b", .text_length = 3};

    UM_CHECK(um_checker_accepts(&checker, "a\0b", 3));
    UM_CHECK(!um_checker_accepts(&checker, "a\0c", 3));
    UM_CHECK(!um_checker_accepts(&checker, "a", 1));
}

static void a_prefix_is_where_the_answer_begins(void)
{
    um_checker checker = with_text(UM_CHECKER_PREFIX, "One day ");

    CHECK_ANSWERS(checker, {"One day Tom went home.", true}, {"  One day", true}, {"One da", false},
                  {"Then, One day", false}, {"", false});
}

static void the_last_number_counts(void)
{
    um_checker checker = {.kind = UM_CHECKER_NUMBER, .number = 18};
    um_checker negative = {.kind = UM_CHECKER_NUMBER, .number = -5};
    um_checker zero = {.kind = UM_CHECKER_NUMBER, .number = 0};
    um_checker least = {.kind = UM_CHECKER_NUMBER, .number = INT64_MIN};

    CHECK_ANSWERS(checker, {"18", true}, {"30 - 12 = 18.", true}, {"18 of 20", false},
                  {"018", true}, {"-18", false}, {"none", false}, {"", false}, {"18\n", true},
                  {"1 8", false}, {"18446744073709551634", false}, /* 2^64 + 18 */
                  {"x18y", true});
    CHECK_ANSWERS(negative, {"-5", true}, {"3-5", true}, {"--5", true}, {"- 5", false},
                  {"5", false});
    CHECK_ANSWERS(zero, {"0", true}, {"-0", true}, {"000", true}, {"18446744073709551616", false});
    CHECK_ANSWERS(least, {"-9223372036854775808", true}, {"9223372036854775808", false});
}

static um_json *parse(const char *text)
{
    um_json *root;
    um_err err = {0};

    UM_CHECK_OK(um_json_parse(text, strlen(text), &root, &err), err);
    return root;
}

static void lines_may_come_in_any_order(void)
{
    um_json *root = parse("[\"b\", \" a \", \"a\"]"), *none = parse("[]");
    um_checker checker = {.kind = UM_CHECKER_LINES, .value = root};
    um_checker nothing = {.kind = UM_CHECKER_LINES, .value = none};

    CHECK_ANSWERS(checker, {"a\nb\na", true}, {"\n a\r\n\n a\n  b \n", true}, {"a\nb", false},
                  {"a\nb\nb", false}, {"a\na\nb\nb", false}, {"a\na\nb\nc", false},
                  {"a b a", false}, {"a\na\nB", false}, {"", false});
    CHECK_ANSWERS(nothing, {"", true}, {" \n\n", true}, {"x", false});
    um_json_free(root);
    um_json_free(none);
}

static void json_is_compared_by_value(void)
{
    um_json *root = parse("{\"a\": 1, \"b\": [true, null, \"x\"], \"c\": {\"d\": 2.5}}");
    um_json *array = parse("[1, 2]"), *null = parse("{\"a\": null}");
    um_checker checker = {.kind = UM_CHECKER_JSON, .value = root};
    um_checker list = {.kind = UM_CHECKER_JSON, .value = array};
    um_checker empty = {.kind = UM_CHECKER_JSON, .value = null};

    CHECK_ANSWERS(checker, {"{\"c\":{\"d\":2.5},\"a\":1.0,\"b\":[true,null,\"x\"]}", true},
                  {" {\"a\": 1, \"b\": [true, null, \"\\u0078\"], \"c\": {\"d\": 2.50}}\n", true},
                  {"{\"a\": 1, \"b\": [null, true, \"x\"], \"c\": {\"d\": 2.5}}", false},
                  {"{\"a\": true, \"b\": [true, null, \"x\"], \"c\": {\"d\": 2.5}}", false},
                  {"{\"a\": \"1\", \"b\": [true, null, \"x\"], \"c\": {\"d\": 2.5}}", false},
                  {"{\"a\": 1, \"b\": [true, null, \"x\"], \"c\": {\"d\": 2.5}, \"e\": 0}", false},
                  {"{\"a\": 1, \"b\": [true, null, \"x\"]}", false},
                  {"{\"a\": 1, \"b\": [true, null, \"x\"], \"c\": {\"d\": 2.5}} done", false},
                  {"{\"a\": 2, \"a\": 1, \"b\": [true, null, \"x\"], \"c\": {\"d\": 2.5}}", false},
                  {"{\"a\": 1, \"b\": [true, null, \"x\"], \"c\": {\"d\": 2.5}", false},
                  {"", false});
    CHECK_ANSWERS(list, {"[1,2]", true}, {"[2,1]", false}, {"[1,2,2]", false}, {"1,2", false});
    CHECK_ANSWERS(empty, {"{\"a\":null}", true}, {"{\"b\":1}", false}, {"{}", false});
    um_json_free(root);
    um_json_free(array);
    um_json_free(null);
}

static void a_sudoku_keeps_its_clues(void)
{
    um_checker checker = {.kind = UM_CHECKER_SUDOKU,
                          .puzzle = {1, 0, 0, 4, 0, 4, 0, 0, 2, 0, 4, 0, 0, 3, 0, 0}};

    CHECK_ANSWERS(checker, {"1234\n3412\n2143\n4321", true},
                  {"Here: 1 2 3 4 / 3 4 1 2 / 2 1 4 3 / 4 3 2 1.", true},
                  {"1234341221434321", true},
                  {"1324\n3412\n2143\n4231", false}, /* a column holds 3 twice */
                  {"4321\n2143\n3412\n1234", false}, /* valid, but other clues */
                  {"1234\n3412\n2143\n432", false}, {"1234\n3412\n2143\n43211", false},
                  {"1034\n3412\n2143\n4321", false}, {"", false});
}

/* The number of 4x4 Sudoku grids is known: 288. */
static void of_all_grids_of_permuted_rows_288_are_valid(void)
{
    static const char *const rows[24] = {"1234", "1243", "1324", "1342", "1423", "1432",
                                         "2134", "2143", "2314", "2341", "2413", "2431",
                                         "3124", "3142", "3214", "3241", "3412", "3421",
                                         "4123", "4132", "4213", "4231", "4312", "4321"};
    um_checker checker = {.kind = UM_CHECKER_SUDOKU};
    int valid = 0;

    for (int i = 0; i < 24 * 24 * 24 * 24; i++) {
        char grid[UM_SUDOKU_CELLS + 1];

        snprintf(grid, sizeof(grid), "%s%s%s%s", rows[i % 24], rows[i / 24 % 24],
                 rows[i / 576 % 24], rows[i / 13824]);
        valid += um_checker_accepts(&checker, grid, UM_SUDOKU_CELLS);
    }
    UM_CHECK_INT(valid, 288);
}

static const um_test tests[] = {
    UM_TEST(an_exact_answer_may_have_white_space_around_it),
    UM_TEST(bytes_behind_a_nul_count),
    UM_TEST(a_prefix_is_where_the_answer_begins),
    UM_TEST(the_last_number_counts),
    UM_TEST(lines_may_come_in_any_order),
    UM_TEST(json_is_compared_by_value),
    UM_TEST(a_sudoku_keeps_its_clues),
    UM_TEST(of_all_grids_of_permuted_rows_288_are_valid),
};
UM_TEST_MAIN(tests)
