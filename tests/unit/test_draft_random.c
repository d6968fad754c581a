/*
 * Ten thousand random generations, told in draft frames, which a decoder written from the
 * specification puts together again. It must end at the text that the engine's own emitter makes of
 * the tokens, and what it saw on the way must keep every promise of the frames.
 */
#include "core/engine/emit.h"
#include "server/draft.h"
#include "tests/support/draft_decoder.h"
#include "tests/support/random.h"
#include "tests/support/small_tokenizer.h"
#include "tests/test.h"

#define GENERATIONS 10000

/* As the byte tokenizer of the engine's tests, and a token that ends inside a character. */
enum { TH = 256, E_ACUTE, PARTIAL, TAILED, LAST, TURN, MASK, OTHER };

static um_tokenizer *random_tokenizer(void)
{
    const um_document document = {
        .normalizer = "null",
        .pre_tokenizer = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}",
        .vocab =
            ",\"th\":256,\"\\u00c3\\u00a9\":257,\"\\u00e4\\u00b8\":258,\"a\\u00f0\\u0141\":259",
        .added = ADDED("260", "<|end|>", "true") "," ADDED("261", "<|turn|>", "true") "," ADDED(
            "262", "<|mask|>", "true") "," ADDED("263", "<|other|>", "true"),
    };

    return um_document_load(&document);
}

static bool begins_with(const um_buf *text, const um_buf *prefix)
{
    return text->length >= prefix->length &&
           memcmp(um_buf_view(text), um_buf_view(prefix), prefix->length) == 0;
}

typedef struct generation {
    uint64_t random;
    um_tokenizer *tokenizer;
    um_params params;
    int32_t plan[UM_DECODER_CELLS];   /* what each position will hold */
    int32_t tokens[UM_DECODER_CELLS]; /* what it holds; MASK */
    bool pinned[UM_DECODER_CELLS];
    int32_t guesses[UM_DECODER_CELLS]; /* -1: none */
    int32_t percents[UM_DECODER_CELLS];
    int32_t length, step, block;
    um_emit emit;
    um_buf text; /* all deltas so far */
    um_draft_options options;
    um_draft *drafts[2]; /* as asked for; full frames only */
    um_decoder decoders[2];
    char before[UM_DECODER_CELLS];
    um_buf joined[UM_DECODER_CELLS + 8]; /* of the settled cells, frame by frame */
    size_t frames;
} generation;

/* Text with whole and broken characters, special tokens and, now and then, an end. */
static void plan_tokens(generation *g)
{
    static const char *const characters[] = {"\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x99\x82"};
    int32_t ends = um_test_pick(&g->random, 0, 3);

    for (int32_t i = 0; i < UM_DECODER_CELLS;) {
        int32_t kind = um_test_pick(&g->random, 0, 99);
        const char *c = characters[um_test_pick(&g->random, 0, 2)];

        if (kind < 40)
            g->plan[i++] = um_test_pick(&g->random, 0, 127);
        else if (kind < 65)
            for (; *c && i < UM_DECODER_CELLS; c++)
                g->plan[i++] = (uint8_t)*c;
        else if (kind < 75)
            g->plan[i++] = um_test_pick(&g->random, 128, 255);
        else if (kind < 96)
            g->plan[i++] = um_test_pick(&g->random, TH, TAILED);
        else if (kind == 96 && ends == 0)
            g->plan[i++] = um_test_pick(&g->random, LAST, TURN);
        else
            g->plan[i++] = OTHER;
    }
}

static um_draft *open_random_draft(generation *g, um_draft_options options)
{
    static const int32_t ends[] = {LAST}, stops[] = {TURN};
    const um_draft_facts facts = {.tokenizer = g->tokenizer,
                                  .params = &g->params,
                                  .mask_token = MASK,
                                  .end_tokens = ends,
                                  .end_token_count = 1,
                                  .stop_tokens = stops,
                                  .stop_token_count = 1,
                                  .options = options};
    um_draft *draft = NULL;
    um_err err = {0};

    UM_CHECK_OK(um_draft_create(&facts, &draft, &err), err);
    return draft;
}

static void open_generation(generation *g, um_tokenizer *tokenizer, uint64_t seed)
{
    static const int32_t ends[] = {LAST, TURN};
    um_draft_options full;
    um_err err = {0};

    *g = (generation){.random = seed, .tokenizer = tokenizer};
    g->params.block_length = um_test_pick(&g->random, 1, 24);
    g->params.canvas_tokens =
        g->params.block_length *
        um_test_pick(&g->random, 1, UM_DECODER_CELLS / g->params.block_length);
    g->params.max_tokens =
        g->params.canvas_tokens - um_test_pick(&g->random, 0, g->params.block_length - 1);
    g->params.grows = um_test_pick(&g->random, 0, 3) == 0;
    g->length = g->params.grows ? g->params.block_length : g->params.canvas_tokens;
    g->options = (um_draft_options){.full_only = um_test_pick(&g->random, 0, 9) == 0,
                                    .confidence = um_test_pick(&g->random, 0, 1) == 0,
                                    .token_ids = um_test_pick(&g->random, 0, 1) == 0};
    full = g->options;
    full.full_only = true;
    plan_tokens(g);
    for (int32_t i = 0; i < UM_DECODER_CELLS; i++)
        g->tokens[i] = MASK;
    UM_CHECK_OK(um_emit_init(&g->emit,
                             &(um_emit_options){.tokenizer = tokenizer,
                                                .end_tokens = ends,
                                                .end_token_count = 2,
                                                .mask_token = MASK,
                                                .budget = g->params.max_tokens},
                             &err),
                err);
    um_buf_reserve(&g->text, um_emit_bytes_max(tokenizer, g->params.max_tokens));
    g->drafts[0] = open_random_draft(g, g->options);
    g->drafts[1] = open_random_draft(g, full);
}

static void close_generation(generation *g)
{
    for (int i = 0; i < 2; i++) {
        um_draft_destroy(g->drafts[i]);
        um_decoder_close(&g->decoders[i]);
    }
    for (size_t i = 0; i < g->frames; i++)
        um_buf_deinit(&g->joined[i]);
    um_buf_deinit(&g->text);
    um_emit_deinit(&g->emit);
}

static int32_t first_end(const generation *g)
{
    int32_t i = 0;

    while (i < g->length && g->tokens[i] != LAST && g->tokens[i] != TURN)
        i++;
    return i;
}

static char expected_state(const generation *g, int32_t i)
{
    if (i >= first_end(g) || (g->tokens[i] != MASK && i >= g->params.max_tokens))
        return 'e';
    if (g->tokens[i] == MASK)
        return g->guesses[i] >= 0 && i < g->params.max_tokens ? 'g' : 'm';
    return g->pinned[i] ? 'p' : 'd';
}

/* Behind the first end, nothing that stands for text is shown. */
static int32_t shown_length(const generation *g)
{
    int32_t i = first_end(g);

    while (i < g->length && (g->tokens[i] == MASK || g->tokens[i] == LAST || g->tokens[i] == TURN))
        i++;
    return i;
}

static void check_cells(const generation *g, const um_decoder *d)
{
    int32_t leading = 0, end = first_end(g);

    UM_CHECK_INT(d->len, shown_length(g));
    for (int32_t i = 0; i < d->len; i++) {
        char expected = expected_state(g, i);
        int32_t id = g->tokens[i] != MASK ? g->tokens[i] : expected == 'g' ? g->guesses[i] : -1;

        /* Only what does not begin or end with ASCII can be loose. */
        if (d->states[i] != expected)
            UM_CHECK(d->states[i] == 'f' && expected == 'd' && g->tokens[i] >= 128);
        UM_CHECK_INT(d->ids[i], g->options.token_ids ? id : -1);
        UM_CHECK_INT(d->percents[i], g->options.confidence && id >= 0 ? g->percents[i] : 0);
    }
    while (leading < end && leading < g->params.max_tokens && g->tokens[leading] != MASK)
        leading++;
    UM_CHECK(d->settled <= leading);
    if (d->settled < leading)
        UM_CHECK(strchr("fp", d->states[d->settled]) ||
                 (d->settled > 0 && strchr("fp", d->states[d->settled - 1])));
}

/* A frame of both drafts. */
static void take_frame(generation *g)
{
    um_buf texts[2] = {{0}, {0}};
    const um_decoder *d = &g->decoders[0];
    um_buf before[UM_DECODER_CELLS];

    for (int32_t i = 0; i < UM_DECODER_CELLS; i++) {
        before[i] = (um_buf){0};
        um_buf_append(&before[i], um_buf_view(&d->texts[i]), d->texts[i].length);
        g->before[i] = d->states[i];
    }
    for (int i = 0; i < 2; i++) {
        um_buf frame = {0};
        um_draft_kind kind = um_draft_frame(g->drafts[i], &frame);

        UM_CHECK(um_decoder_apply(&g->decoders[i], frame.data, frame.length) ==
                 (kind == UM_DRAFT_FULL ? 'f' : 'p'));
        if (i == 1 || g->options.full_only)
            UM_CHECK_INT(kind, UM_DRAFT_FULL);
        check_cells(g, &g->decoders[i]);
        um_decoder_join(&g->decoders[i], UM_DECODER_CELLS, &texts[i]);
        um_buf_deinit(&frame);
    }
    UM_CHECK(um_buf_failed(&texts[0]) ||
             strcmp(um_buf_view(&texts[0]), um_buf_view(&texts[1])) == 0);
    UM_CHECK(memcmp(d->states, g->decoders[1].states, UM_DECODER_CELLS) == 0);
    UM_CHECK_INT(d->settled, g->decoders[1].settled);
    for (int32_t i = 0; i < UM_DECODER_CELLS; i++) {
        if (g->before[i] == 'd' && i < d->len) {
            UM_CHECK_INT(d->states[i], 'd');
            UM_CHECK_INT(d->texts[i].length, before[i].length);
            UM_CHECK(begins_with(&d->texts[i], &before[i]));
        }
        um_buf_deinit(&before[i]);
    }
    UM_CHECK(g->frames < UM_COUNT_OF(g->joined));
    um_decoder_join(d, d->settled, &g->joined[g->frames]);
    UM_CHECK(begins_with(&g->joined[g->frames], &g->text));
    g->frames++;
    for (int i = 0; i < 2; i++)
        um_buf_deinit(&texts[i]);
}

/* Fills some of the block's positions; true when it was its last step. */
static bool run_step(generation *g, bool begin)
{
    um_draft_change changes[UM_DECODER_CELLS], guesses[UM_DECODER_CELLS];
    um_draft_step step = {.step = g->step++, .block_begin = g->block, .length = g->length};
    int32_t guess_count = 0, masks = 0, share = um_test_pick(&g->random, 0, 3);

    step.block_end = g->block + g->params.block_length;
    for (int32_t i = 0; i < UM_DECODER_CELLS; i++)
        g->guesses[i] = -1;
    for (int32_t i = begin ? 0 : step.block_begin; i < (begin ? g->length : step.block_end); i++) {
        if (g->tokens[i] != MASK)
            continue;
        if (begin ? um_test_pick(&g->random, 0, 9) > 0 : um_test_pick(&g->random, 0, share) > 0) {
            masks++;
            if (!begin && um_test_pick(&g->random, 0, 2) == 0) {
                g->guesses[i] = um_test_pick(&g->random, 0, PARTIAL);
                g->percents[i] = um_test_pick(&g->random, 0, 100);
                guesses[guess_count++] =
                    (um_draft_change){i, g->guesses[i], (float)g->percents[i] / 100.0f, false};
            }
            continue;
        }
        g->tokens[i] = g->plan[i];
        g->pinned[i] = begin && um_test_pick(&g->random, 0, 1) == 0;
        g->percents[i] = um_test_pick(&g->random, 0, 100);
        changes[step.changes++] =
            (um_draft_change){i, g->plan[i], (float)g->percents[i] / 100.0f, g->pinned[i]};
    }
    step.block_ended = !begin && masks == 0;
    for (int i = 0; i < 2; i++) {
        um_draft_apply(g->drafts[i], &step, changes);
        um_draft_guess(g->drafts[i], guesses, guess_count);
    }
    return step.block_ended;
}

static void emit_text(generation *g)
{
    int32_t settled = 0;

    while (settled < g->length && g->tokens[settled] != MASK)
        settled++;
    um_emit_advance(&g->emit, g->tokens, settled, &g->text);
}

static void check_end(generation *g)
{
    um_decoder *d = &g->decoders[0];
    um_buf last = {0}, frame = {0};

    um_decoder_join(d, UM_DECODER_CELLS, &last);
    UM_CHECK_STR(um_buf_view(&last), um_buf_view(&g->text));
    UM_CHECK_INT(last.length, g->text.length);
    for (size_t i = 0; i < g->frames; i++)
        UM_CHECK(begins_with(&last, &g->joined[i]));
    um_draft_end(g->drafts[0], NULL, 0, &frame);
    UM_CHECK_INT(um_decoder_apply(d, frame.data, frame.length), 'e');
    UM_CHECK_INT(d->len, d->settled);
    um_decoder_join(d, d->len, &last);
    UM_CHECK_STR(um_buf_view(&last), um_buf_view(&g->text));
    um_buf_deinit(&last);
    um_buf_deinit(&frame);
}

static void finish(generation *g)
{
    for (int i = 0; i < 2; i++)
        um_draft_finish(g->drafts[i]);
    for (int32_t i = 0; i < UM_DECODER_CELLS; i++)
        g->guesses[i] = -1;
}

static void run_generation(um_tokenizer *tokenizer, uint64_t seed)
{
    generation g;
    bool ended = false;

    open_generation(&g, tokenizer, seed);
    run_step(&g, true);
    for (int steps = 0; !ended && steps < UM_DECODER_CELLS; steps++) {
        bool block_ended = run_step(&g, false);

        emit_text(&g);
        ended = g.emit.finish != UM_FINISH_NONE ||
                (block_ended && g.block + g.params.block_length >= g.params.canvas_tokens);
        if (ended)
            finish(&g);
        if (ended || um_test_pick(&g.random, 0, 2) > 0)
            take_frame(&g);
        else if (um_test_pick(&g.random, 0, 1))
            um_draft_skip(g.drafts[0]);
        if (block_ended && !ended) {
            g.block += g.params.block_length;
            if (g.params.grows)
                g.length += g.params.block_length;
        }
    }
    if (ended)
        check_end(&g);
    close_generation(&g);
}

static void the_frames_of_any_generation_end_at_its_text(void)
{
    um_tokenizer *tokenizer = random_tokenizer();

    for (uint64_t seed = 1; seed <= GENERATIONS; seed++)
        run_generation(tokenizer, seed * 0x9E3779B97F4A7C15u);
    um_tokenizer_close(tokenizer);
}

static const um_test tests[] = {
    {.name = "the_frames_of_any_generation_end_at_its_text",
     .run = the_frames_of_any_generation_end_at_its_text,
     .limit_s = 600},
};
UM_TEST_MAIN(tests)
