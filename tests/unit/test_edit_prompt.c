/* server/edit_prompt: the sections of an edit request become text before, region, text after. */
#include "tests/test.h"

#include "core/base/mem.h"
#include "server/edit_prompt.h"

#define FILE_BEGIN "<|current_file_content|>\n"
#define FILE_END "<|/current_file_content|>\n"
#define EDIT_BEGIN "<|code_to_edit|>\n"
#define EDIT_END "<|/code_to_edit|>\n"
#define DIFFS "<|edit_diff_history|>\n-x\n+y\n<|/edit_diff_history|>\n"
#define SNIPPET(text)                                                                              \
    "<|recently_viewed_code_snippet|>\n" text "<|/recently_viewed_code_snippet|>\n"
#define SNIPPETS(text)                                                                             \
    "<|recently_viewed_code_snippets|>\n" text "<|/recently_viewed_code_snippets|>\n"

static void expect(const char *message, const char *before, const char *region, const char *after)
{
    um_edit_prompt parts;
    um_err err = {0};

    UM_CHECK_OK(um_edit_prompt_parse(message, strlen(message), &parts, &err), err);
    UM_CHECK_STR(um_buf_view(&parts.before), before);
    UM_CHECK_STR(um_buf_view(&parts.region), region);
    UM_CHECK_STR(um_buf_view(&parts.after), after);
    um_edit_prompt_deinit(&parts);
}

static void refuse(const char *message, const char *why)
{
    um_edit_prompt parts;
    um_err err = {0};

    UM_CHECK_STATUS(um_edit_prompt_parse(message, strlen(message), &parts, &err), UM_E_VALUE);
    UM_CHECK_STR(err.field, "messages[0].content");
    UM_CHECK(strstr(err.message, why) != NULL);
    UM_CHECK_INT(parts.before.length + parts.region.length + parts.after.length, 0);
}

static void a_file_is_split_around_its_region(void)
{
    expect(FILE_BEGIN "current_file_path: m.py\na\n" EDIT_BEGIN "b<|cursor|>c\nd\n" EDIT_END
                      "e\n" FILE_END,
           "current_file_path: m.py\na\n", "bc\nd", "\ne\n");
    expect(FILE_BEGIN EDIT_BEGIN EDIT_END FILE_END, "", "", "");
    expect(FILE_BEGIN "a\r\n" EDIT_BEGIN "b\r\n" EDIT_END FILE_END, "a\r\n", "b", "\r\n");
    expect("  <|code_to_edit|>\t\r\nb\n <|/code_to_edit|>", "", "b", "");
}

static void context_comes_first_whatever_its_order(void)
{
    static const char before[] = "Please.\n\npath: a\nx\npath: b\ny\n\n-x\n+y\n\nabove\n";
    static const char code[] = FILE_BEGIN "above\n" EDIT_BEGIN "old\n" EDIT_END "below\n" FILE_END;
    static const char snippets[] = SNIPPETS(SNIPPET("path: a\nx\n") SNIPPET("path: b\ny\n"));
    const char *const orders[][4] = {
        {"Please.\n", snippets, code, DIFFS},
        {code, DIFFS, snippets, "Please."},
        {DIFFS, "Please.\n", code, snippets},
    };

    for (size_t i = 0; i < UM_COUNT_OF(orders); i++) {
        um_buf message = {0};

        for (size_t k = 0; k < UM_COUNT_OF(orders[i]); k++)
            um_buf_text(&message, orders[i][k]);
        expect(um_buf_view(&message), before, "old", "\nbelow\n");
        um_buf_deinit(&message);
    }
}

static void a_region_behind_the_file_is_found_in_it(void)
{
    static const struct {
        const char *file, *region, *before, *bare, *after;
    } cases[] = {
        {"a\nb\nc\n", "b\n", "a\n", "b", "\nc\n"},
        {"ab\nb\nb\n", "b<|cursor|>\n", "ab\n", "b", "\nb\n"},     /* the first of whole lines */
        {"aab\naa\naab\n", "aa\naab\n", "aab\n", "aa\naab", "\n"}, /* after a false start */
        {"ababb\nabab\n", "abab\n", "ababb\n", "abab", "\n"},
        {"a\r\nb\r\n", "b\r\n", "a\r\n", "b", "\r\n"},
        {"a\nb\n", "x\n", "a\nb\n", "x", ""}, /* not there: the region follows */
        {"a\nb\n", "", "a\nb\n", "", ""},
    };

    for (size_t i = 0; i < UM_COUNT_OF(cases); i++) {
        um_buf message = {0};

        um_buf_printf(&message, FILE_BEGIN "%s" FILE_END EDIT_BEGIN "%s" EDIT_END, cases[i].file,
                      cases[i].region);
        expect(um_buf_view(&message), cases[i].before, cases[i].bare, cases[i].after);
        um_buf_deinit(&message);
    }
}

/* A search that starts over at every byte would take hours here. */
static void a_hostile_file_is_searched_in_linear_time(void)
{
    enum { HALF = 1 << 22 };
    um_buf message = {0};
    um_edit_prompt parts;
    um_err err = {0};

    um_buf_text(&message, FILE_BEGIN);
    for (int i = 0; i < HALF; i++)
        um_buf_char(&message, i % 2 ? '\n' : 'a');
    um_buf_text(&message, FILE_END EDIT_BEGIN);
    for (int i = 0; i < HALF / 2; i++)
        um_buf_char(&message, i % 2 ? '\n' : 'a');
    um_buf_text(&message, "b\n" EDIT_END);
    UM_CHECK_OK(um_edit_prompt_parse(um_buf_view(&message), message.length, &parts, &err), err);
    UM_CHECK_INT(parts.before.length, HALF);
    um_edit_prompt_deinit(&parts);
    um_buf_deinit(&message);
}

static void what_is_no_tag_is_text(void)
{
    expect(EDIT_BEGIN "x <|/code_to_edit|>\n<|code_to_edit\n<||>\n</code_to_edit>\n" EDIT_END, "",
           "x <|/code_to_edit|>\n<|code_to_edit\n<||>\n</code_to_edit>", "");
}

static void broken_messages_are_refused(void)
{
    refuse("", "has no <|code_to_edit|>");
    refuse("code", "has no <|code_to_edit|>");
    refuse(FILE_BEGIN "x\n" FILE_END, "has no <|code_to_edit|>");
    refuse(EDIT_BEGIN EDIT_END EDIT_BEGIN EDIT_END, "more than one <|code_to_edit|>");
    refuse(EDIT_BEGIN EDIT_END FILE_BEGIN FILE_END FILE_BEGIN FILE_END, "more than one");
    refuse(EDIT_BEGIN "x\n", "<|/code_to_edit|> is missing");
    refuse(FILE_BEGIN EDIT_BEGIN EDIT_END, "<|/current_file_content|> is missing");
    refuse(EDIT_END, "has not begun");
    refuse(FILE_BEGIN EDIT_BEGIN FILE_END EDIT_END, "has not begun");
    refuse(EDIT_BEGIN FILE_BEGIN, "cannot stand inside <|code_to_edit|>");
    refuse(SNIPPET("x\n") EDIT_BEGIN EDIT_END, "cannot stand outside");
    refuse("<|edit_diff_history|>\n" EDIT_BEGIN, "cannot stand inside <|edit_diff_history|>");
}

static void running_out_of_memory_is_an_error(void)
{
    static const char message[] = "Hi\n" SNIPPETS(SNIPPET("x\n")) FILE_BEGIN
        "a\nb\n" FILE_END EDIT_BEGIN "b\n" EDIT_END DIFFS;
    long failures = 0;

    for (;; failures++) {
        um_edit_prompt parts;
        um_err err = {0};
        um_status status;

        um_mem_fail_after(failures + 1);
        status = um_edit_prompt_parse(message, strlen(message), &parts, &err);
        if (um_mem_fail_pending()) {
            um_mem_fail_after(0);
            UM_CHECK_OK(status, err);
            um_edit_prompt_deinit(&parts);
            break;
        }
        UM_CHECK_STATUS(status, UM_E_OVERLOADED);
    }
    UM_CHECK(failures >= 7);
}

static const um_test tests[] = {
    UM_TEST(a_file_is_split_around_its_region),
    UM_TEST(context_comes_first_whatever_its_order),
    UM_TEST(a_region_behind_the_file_is_found_in_it),
    UM_TEST(a_hostile_file_is_searched_in_linear_time),
    UM_TEST(what_is_no_tag_is_text),
    UM_TEST(broken_messages_are_refused),
    UM_TEST(running_out_of_memory_is_an_error),
};

UM_TEST_MAIN(tests)
