/*
 * Draft frames: the specification's worked example, byte for byte, and hand-made canvases.
 */
#include "core/base/mem.h"
#include "server/draft.h"
#include "tests/support/draft_decoder.h"
#include "tests/support/small_tokenizer.h"
#include "tests/test.h"

/* ---- the worked example --------------------------------------------------------------------- */

enum { PA = 256, RIS, IN, THE, NORTH, END };

static um_tokenizer *example_tokenizer(void)
{
    const um_document document = {
        .normalizer = "null",
        .pre_tokenizer = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}",
        .vocab =
            ",\"Pa\":256,\"ris\":257,\"\\u0120in\":258,\"\\u0120the\":259,\"\\u0120north\":260",
        .added = ADDED("261", "<|end|>", "true"),
    };

    return um_document_load(&document);
}

static const um_params eight = {.canvas_tokens = 8, .max_tokens = 8, .block_length = 8};

static um_draft *open_draft(um_tokenizer *tokenizer, const um_params *params,
                            um_draft_options options)
{
    static const int32_t ends[] = {END};
    const um_draft_facts facts = {.tokenizer = tokenizer,
                                  .params = params,
                                  .mask_token = -1,
                                  .end_tokens = ends,
                                  .end_token_count = 1,
                                  .options = options};
    um_draft *draft = NULL;
    um_err err = {0};

    UM_CHECK_OK(um_draft_create(&facts, &draft, &err), err);
    return draft;
}

static void apply(um_draft *draft, int32_t step, const um_draft_change *changes, int32_t count)
{
    um_draft_apply(draft,
                   &(um_draft_step){.step = step, .block_end = 8, .length = 8, .changes = count},
                   changes);
}

static void expect_frame(um_draft *draft, um_draft_kind kind, const char *expected)
{
    um_buf out = {0};

    UM_CHECK(um_draft_has_news(draft));
    UM_CHECK_INT(um_draft_frame(draft, &out), kind);
    UM_CHECK(!um_draft_has_news(draft));
    UM_CHECK_STR(um_buf_view(&out), expected);
    um_buf_deinit(&out);
}

static void expect_end(um_draft *draft, const char *expected)
{
    um_buf out = {0};

    um_draft_end(draft, NULL, 0, &out);
    UM_CHECK_STR(um_buf_view(&out), expected);
    um_buf_deinit(&out);
}

static void the_worked_example_is_met_byte_for_byte(void)
{
    um_tokenizer *tokenizer = example_tokenizer();
    um_draft *draft = open_draft(tokenizer, &eight, (um_draft_options){.guess = true});

    apply(draft, 1, (um_draft_change[]){{2, IN, 0.9f, 0}, {5, '.', 0.9f, 0}}, 2);
    expect_frame(draft, UM_DRAFT_FULL,
                 "{\"frame\":\"full\",\"seq\":0,\"step\":1,\"block\":[0,8],\"len\":8,\"settled\":0,"
                 "\"t\":[null,null,\" in\",null,null,\".\"],\"s\":\"mmdmmd\"}");
    apply(draft, 2, (um_draft_change[]){{0, PA, 0.9f, 0}, {1, RIS, 0.9f, 0}, {3, THE, 0.9f, 0}}, 3);
    um_draft_guess(draft, (um_draft_change[]){{4, NORTH, 0.4f, 0}}, 1);
    expect_frame(draft, UM_DRAFT_PATCH,
                 "{\"frame\":\"patch\",\"seq\":1,\"step\":2,\"settled\":4,"
                 "\"ops\":[[0,2,[\"Pa\",\"ris\"],\"dd\"],[3,2,[\" the\",\" north\"],\"dg\"]]}");
    apply(draft, 3, (um_draft_change[]){{4, NORTH, 0.9f, 0}}, 1);
    expect_frame(draft, UM_DRAFT_PATCH,
                 "{\"frame\":\"patch\",\"seq\":2,\"step\":3,\"settled\":6,"
                 "\"ops\":[[4,1,[\" north\"],\"d\"]]}");
    apply(draft, 4, (um_draft_change[]){{6, END, 0.9f, 0}, {7, END, 0.9f, 0}}, 2);
    um_draft_finish(draft);
    expect_frame(draft, UM_DRAFT_PATCH,
                 "{\"frame\":\"patch\",\"seq\":3,\"step\":4,\"settled\":6,"
                 "\"ops\":[[6,2,[\"\",\"\"],\"ee\"]]}");
    expect_end(draft, "{\"frame\":\"end\",\"seq\":4,\"step\":4,\"len\":6}");
    um_draft_destroy(draft);
    um_tokenizer_close(tokenizer);
}

/* ---- cases ---------------------------------------------------------------------------------- */

static void confidence_and_ids_stand_beside_every_text(void)
{
    um_tokenizer *tokenizer = example_tokenizer();
    um_draft *draft =
        open_draft(tokenizer, &eight,
                   (um_draft_options){.guess = true, .confidence = true, .token_ids = true});

    apply(draft, 0, (um_draft_change[]){{0, 'a', 0, 1}}, 1);
    UM_CHECK(!um_draft_has_news(draft)); /* frames begin with the first step */
    apply(draft, 1, (um_draft_change[]){{2, IN, 0.456f, 0}}, 1);
    um_draft_guess(draft, (um_draft_change[]){{1, PA, 0.1f, 0}}, 1);
    expect_frame(
        draft, UM_DRAFT_FULL,
        "{\"frame\":\"full\",\"seq\":0,\"step\":1,\"block\":[0,8],\"len\":8,\"settled\":1,"
        "\"t\":[\"a\",\"Pa\",\" in\"],\"s\":\"pgd\",\"c\":[0,10,46],\"ids\":[97,256,258]}");
    /* The guess is gone: a later step evaluated something else. The end token takes all behind. */
    apply(draft, 2, (um_draft_change[]){{6, END, 1, 0}}, 1);
    expect_frame(draft, UM_DRAFT_PATCH,
                 "{\"frame\":\"patch\",\"seq\":1,\"step\":2,\"settled\":1,\"ops\":["
                 "[1,1,[null],\"m\",[0],[null]],"
                 "[6,2,[\"\",\"\"],\"ee\",[100,0],[261,null]]]}");
    um_draft_destroy(draft);

    draft = open_draft(tokenizer, &eight, (um_draft_options){.token_ids = true});
    apply(draft, 1, NULL, 0);
    expect_frame(draft, UM_DRAFT_FULL,
                 "{\"frame\":\"full\",\"seq\":0,\"step\":1,\"block\":[0,8],\"len\":8,\"settled\":0,"
                 "\"t\":[],\"s\":\"\",\"ids\":[]}");
    apply(draft, 2, (um_draft_change[]){{1, 'b', 1, 0}}, 1);
    expect_frame(draft, UM_DRAFT_PATCH,
                 "{\"frame\":\"patch\",\"seq\":1,\"step\":2,\"settled\":0,"
                 "\"ops\":[[1,1,[\"b\"],\"d\",null,[98]]]}");
    um_draft_destroy(draft);
    um_tokenizer_close(tokenizer);
}

/* The cells of a canvas of eight, as full frames show them: "t|t|.. states settled". */
static const char *looks(um_draft *draft, um_buf *out)
{
    um_buf frame = {0};
    um_decoder d = {0};

    um_draft_skip(draft);
    UM_CHECK_INT(um_draft_frame(draft, &frame), UM_DRAFT_FULL);
    for (char *digit = strstr(frame.data, "\"seq\":") + 6; *digit != ','; digit++)
        *digit = '0'; /* each frame is decoded as a first one */
    um_decoder_apply(&d, frame.data, frame.length);
    um_buf_clear(out);
    for (int i = 0; i < 8; i++)
        um_buf_printf(out, "%s|", um_buf_view(&d.texts[i]));
    um_buf_printf(out, " %.8s %d", d.states, (int)d.settled);
    um_decoder_close(&d);
    um_buf_deinit(&frame);
    return um_buf_view(out);
}

static void a_character_stands_in_the_last_cell_of_its_bytes(void)
{
    um_tokenizer *tokenizer = example_tokenizer();
    um_draft *draft = open_draft(tokenizer, &eight, (um_draft_options){0});
    um_buf out = {0};

    /* U+20AC is E2 82 AC. Its beginning is not settled while nothing but it stands there. */
    apply(draft, 1, (um_draft_change[]){{0, 'a', 1, 0}, {1, 0xE2, 1, 0}, {3, 0xAC, 1, 0}}, 3);
    UM_CHECK_STR(looks(draft, &out), "a|\xEF\xBF\xBD||\xEF\xBF\xBD||||| dfmfmmmm 1");
    apply(draft, 2, (um_draft_change[]){{2, 0x82, 1, 0}}, 1);
    UM_CHECK_STR(looks(draft, &out), "a|||\xE2\x82\xAC||||| ddddmmmm 4");
    /* A character that breaks off is U+FFFD where it began; what follows is as it was. */
    apply(draft, 3, (um_draft_change[]){{5, 'x', 1, 0}, {6, 0xAC, 1, 0}}, 2);
    UM_CHECK_STR(looks(draft, &out), "a|||\xE2\x82\xAC||x|\xEF\xBF\xBD|| ddddmddm 4");
    apply(draft, 4, (um_draft_change[]){{4, 0xE2, 1, 0}, {7, 0xE2, 1, 0}}, 2);
    UM_CHECK_STR(looks(draft, &out),
                 "a|||\xE2\x82\xAC|\xEF\xBF\xBD|x|\xEF\xBF\xBD|\xEF\xBF\xBD| dddddddd 8");
    um_buf_deinit(&out);
    um_draft_destroy(draft);
    um_tokenizer_close(tokenizer);
}

static void every_kind_of_cell_and_growth(void)
{
    static const um_params params = {.canvas_tokens = 8, .max_tokens = 6, .grows = true};
    um_tokenizer *tokenizer = example_tokenizer();
    um_draft *draft = open_draft(tokenizer, &params, (um_draft_options){0});
    um_draft_step step = {.step = 1, .block_end = 4, .length = 4, .changes = 2};
    um_buf out = {0};

    /* The canvas ends inside a character, but may grow. */
    um_draft_apply(draft, &step, (um_draft_change[]){{0, 'a', 1, 1}, {3, 0xE2, 1, 0}});
    UM_CHECK_STR(looks(draft, &out), "a|||\xEF\xBF\xBD||||| pmmfmmmm 1");
    step.step = 2;
    step.length = 8;
    step.changes = 0;
    um_draft_apply(draft, &step, NULL);
    expect_frame(draft, UM_DRAFT_PATCH,
                 "{\"frame\":\"patch\",\"seq\":1,\"step\":2,\"settled\":1,\"ops\":[],\"len\":8}");
    /* What lies behind the budget is no answer once it is filled, and no character goes over it. */
    step.step = 3;
    step.changes = 4;
    um_draft_apply(
        draft, &step,
        (um_draft_change[]){{1, 'b', 1, 0}, {5, 0xE2, 1, 0}, {6, 0x82, 1, 0}, {4, 'c', 1, 0}});
    UM_CHECK_STR(looks(draft, &out), "a|b||\xEF\xBF\xBD|c|\xEF\xBF\xBD||| pdmdddem 2");
    um_buf_deinit(&out);
    um_draft_destroy(draft);
    um_tokenizer_close(tokenizer);
}

/* Done cells stay as they are; those that an end token takes are cut off. */
static void an_end_token_in_front_of_text_cuts_the_draft(void)
{
    um_tokenizer *tokenizer = example_tokenizer();
    um_draft *draft = open_draft(tokenizer, &eight, (um_draft_options){0});

    apply(draft, 1, (um_draft_change[]){{0, PA, 1, 0}, {5, IN, 1, 0}, {7, END, 1, 0}}, 3);
    expect_frame(draft, UM_DRAFT_FULL,
                 "{\"frame\":\"full\",\"seq\":0,\"step\":1,\"block\":[0,8],\"len\":8,\"settled\":1,"
                 "\"t\":[\"Pa\",null,null,null,null,\" in\",null,\"\"],\"s\":\"dmmmmdme\"}");
    apply(draft, 2, (um_draft_change[]){{2, END, 1, 0}}, 1);
    expect_frame(draft, UM_DRAFT_PATCH,
                 "{\"frame\":\"patch\",\"seq\":1,\"step\":2,\"settled\":1,"
                 "\"ops\":[[2,3,[\"\",\"\",\"\"],\"eee\"]],\"len\":5,\"block\":[0,5]}");
    apply(draft, 3, (um_draft_change[]){{3, RIS, 1, 0}, {1, RIS, 1, 0}}, 2);
    expect_frame(draft, UM_DRAFT_PATCH,
                 "{\"frame\":\"patch\",\"seq\":2,\"step\":3,\"settled\":2,"
                 "\"ops\":[[1,1,[\"ris\"],\"d\"]],\"len\":3,\"block\":[0,3]}");
    expect_end(draft, "{\"frame\":\"end\",\"seq\":3,\"step\":3,\"len\":2}");
    um_draft_destroy(draft);
    um_tokenizer_close(tokenizer);
}

static void a_token_that_is_replaced_shows(void)
{
    um_tokenizer *tokenizer = example_tokenizer();
    um_draft *draft = open_draft(tokenizer, &eight, (um_draft_options){0});
    um_buf out = {0};

    apply(draft, 1, (um_draft_change[]){{0, PA, 1, 0}, {1, END, 1, 0}}, 2);
    UM_CHECK_STR(looks(draft, &out), "Pa|||||||| deeeeeee 1");
    apply(draft, 2, (um_draft_change[]){{0, IN, 1, 0}, {1, RIS, 1, 0}}, 2);
    UM_CHECK_STR(looks(draft, &out), " in|ris||||||| ddmmmmmm 2");
    um_buf_deinit(&out);
    um_draft_destroy(draft);
    um_tokenizer_close(tokenizer);
}

static um_draft_kind next_kind(um_draft *draft, int32_t step, int32_t block)
{
    um_buf out = {0};
    um_draft_kind kind;

    um_draft_apply(
        draft,
        &(um_draft_step){.step = step, .block_begin = block, .block_end = block + 4, .length = 8},
        NULL);
    um_draft_guess(draft, (um_draft_change[]){{block, 'a' + step % 2, 0.5f, 0}}, 1);
    kind = um_draft_frame(draft, &out);
    um_buf_deinit(&out);
    return kind;
}

static void full_frames_come_when_they_must(void)
{
    um_tokenizer *tokenizer = example_tokenizer();
    um_draft *draft = open_draft(tokenizer, &eight, (um_draft_options){0});
    int32_t step = 1;

    UM_CHECK_INT(next_kind(draft, step++, 0), UM_DRAFT_FULL); /* first */
    for (int i = 0; i < UM_DRAFT_PATCHES_MAX; i++)
        UM_CHECK_INT(next_kind(draft, step++, 0), UM_DRAFT_PATCH);
    UM_CHECK_INT(next_kind(draft, step++, 0), UM_DRAFT_FULL); /* after so many patches */
    UM_CHECK_INT(next_kind(draft, step++, 0), UM_DRAFT_PATCH);
    UM_CHECK_INT(next_kind(draft, step++, 4), UM_DRAFT_FULL); /* another block */
    UM_CHECK_INT(next_kind(draft, step++, 4), UM_DRAFT_PATCH);
    um_draft_skip(draft);
    UM_CHECK_INT(next_kind(draft, step++, 4), UM_DRAFT_FULL); /* after dropped ones */
    um_draft_destroy(draft);

    /* Or where the patch would be larger: every second cell changes. */
    static const um_params wide = {.canvas_tokens = 64, .max_tokens = 64, .block_length = 64};
    um_draft_change changes[32];

    draft = open_draft(tokenizer, &wide, (um_draft_options){0});
    for (int32_t i = 0; i < 32; i++)
        changes[i] = (um_draft_change){.position = 2 * i, .token = 'x'};
    um_draft_apply(draft, &(um_draft_step){.step = 1, .block_end = 64, .length = 64}, NULL);
    um_buf out = {0};
    UM_CHECK_INT(um_draft_frame(draft, &out), UM_DRAFT_FULL);
    um_draft_apply(draft, &(um_draft_step){.step = 2, .block_end = 64, .length = 64, .changes = 32},
                   changes);
    um_buf_clear(&out);
    UM_CHECK_INT(um_draft_frame(draft, &out), UM_DRAFT_FULL);
    UM_CHECK(strncmp(um_buf_view(&out), "{\"frame\":\"full\",\"seq\":1,", 24) == 0);
    um_buf_deinit(&out);
    um_draft_destroy(draft);
    um_tokenizer_close(tokenizer);
}

static void the_text_as_it_stands_and_its_gaps(void)
{
    static const int32_t gaps[][2] = {{1, 3}, {4, 5}, {6, 8}};
    um_tokenizer *tokenizer = example_tokenizer();
    um_draft *draft = open_draft(tokenizer, &eight, (um_draft_options){0});
    um_buf out = {0};
    um_draft_share share;

    apply(draft, 1, (um_draft_change[]){{0, PA, 1, 1}, {1, RIS, 1, 0}, {3, IN, 1, 1}}, 3);
    um_draft_guess(draft, (um_draft_change[]){{2, '"', 0.5f, 0}, {4, 0xE2, 0.5f, 0}}, 2);
    share = um_draft_show(draft, &out);
    UM_CHECK_STR(um_buf_view(&out), "Paris\" in\xEF\xBF\xBD\xe2\x96\x91\xe2\x96\x91\xe2\x96\x91");
    UM_CHECK(share.filled == 3 && share.visible == 8 && share.blank == 3);
    apply(draft, 2,
          (um_draft_change[]){
              {2, '"', 1, 0}, {4, THE, 1, 0}, {5, NORTH, 1, 1}, {6, '.', 1, 0}, {7, END, 1, 0}},
          5);
    um_draft_finish(draft);
    um_buf_clear(&out);
    share = um_draft_show(draft, &out);
    UM_CHECK_STR(um_buf_view(&out), "Paris\" in the north.");
    UM_CHECK(share.filled == 7 && share.visible == 7 && share.blank == 0);
    um_buf_clear(&out);
    um_draft_gaps(draft, gaps, 3, &out);
    UM_CHECK_STR(um_buf_view(&out), "\"gaps\":[\"ris\\\"\",\" the\",\".\"]");
    um_buf_deinit(&out);
    um_draft_destroy(draft);
    um_tokenizer_close(tokenizer);
}

static void out_of_memory_shows_in_the_frame(void)
{
    um_tokenizer *tokenizer = example_tokenizer();
    um_draft *draft = NULL;
    um_err err = {0};
    bool pending = false;

    for (long n = 1; !pending; n++) {
        const um_draft_facts facts = {.tokenizer = tokenizer, .params = &eight, .mask_token = -1};
        um_buf out = {0};
        um_status status;

        um_mem_fail_after(n);
        status = um_draft_create(&facts, &draft, &err);
        if (status == UM_OK) {
            for (int32_t step = 1; step <= 3; step++) {
                apply(draft, step, (um_draft_change[]){{step, 0xE2, 1, 0}, {step + 4, 0xE2, 1, 0}},
                      2);
                um_draft_frame(draft, &out);
            }
            um_draft_end(draft, NULL, 0, &out);
        }
        pending = um_mem_fail_pending();
        um_mem_fail_after(0);
        UM_CHECK(status == UM_OK || status == UM_E_OVERLOADED);
        UM_CHECK_INT(status == UM_OK && !um_buf_failed(&out), pending);
        um_draft_destroy(status == UM_OK ? draft : NULL);
        um_buf_deinit(&out);
        UM_CHECK(n < 50);
    }
    um_tokenizer_close(tokenizer);
}

static const um_test tests[] = {
    UM_TEST(the_worked_example_is_met_byte_for_byte),
    UM_TEST(confidence_and_ids_stand_beside_every_text),
    UM_TEST(a_character_stands_in_the_last_cell_of_its_bytes),
    UM_TEST(every_kind_of_cell_and_growth),
    UM_TEST(an_end_token_in_front_of_text_cuts_the_draft),
    UM_TEST(a_token_that_is_replaced_shows),
    UM_TEST(full_frames_come_when_they_must),
    UM_TEST(the_text_as_it_stands_and_its_gaps),
    UM_TEST(out_of_memory_shows_in_the_frame),
};
UM_TEST_MAIN(tests)
