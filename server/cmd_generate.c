/*
 * `unmask generate`: one prompt, one answer. In a terminal the draft is drawn over itself after
 * each step; into a pipe go the bytes of the answer and nothing else.
 */
#include <errno.h>
#include <locale.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/base/entropy.h"
#include "core/base/mem.h"
#include "server/commands.h"
#include "server/draft_view.h"
#include "server/served.h"

#define PROMPT_BYTES_MAX ((size_t)8 << 20)
#define COLUMNS_DEFAULT 80
#define ROWS_DEFAULT 24
#define COLUMNS_MIN 8

/* What the terminal shows now. */
typedef struct screen {
    um_draft_view view;
    bool live;    /* standard output is a terminal */
    int lines;    /* drawn and to be drawn over; 0: none */
    um_buf frame; /* scratch */
    um_buf text;  /* the answer so far */
} screen;

/* ---- prompt and parameters ------------------------------------------------------------------ */

static um_status read_prompt(const um_config *config, um_buf *prompt, um_err *err)
{
    char chunk[4096];
    size_t count;

    for (size_t i = 0; i < config->arguments.count; i++) {
        um_buf_text(prompt, i > 0 ? " " : "");
        um_buf_text(prompt, config->arguments.items[i]);
    }
    while (config->arguments.count == 0 && (count = fread(chunk, 1, sizeof(chunk), stdin)) > 0) {
        um_buf_append(prompt, chunk, count);
        if (prompt->length > PROMPT_BYTES_MAX)
            return um_fail(err, UM_E_STRING_ABOVE_MAX, "the prompt has over %zu bytes",
                           PROMPT_BYTES_MAX);
    }
    if (ferror(stdin))
        return um_fail(err, UM_E_IO, "standard input: %s", strerror(errno));
    return um_buf_failed(prompt) ? um_fail(err, UM_E_NOMEM, "no memory for the prompt") : UM_OK;
}

static um_status encode_prompt(const um_config *config, const um_served *served, um_ids *ids,
                               um_err *err)
{
    um_buf prompt = {0};
    um_status status = read_prompt(config, &prompt, err);

    if (status == UM_OK)
        status = um_served_encode_prompt(served, config->raw, um_buf_view(&prompt), prompt.length,
                                         ids, err);
    um_buf_deinit(&prompt);
    return status;
}

static um_status resolve(const um_config *config, const um_served *served, const um_ids *ids,
                         um_params *out, um_err *err)
{
    um_params_given given;
    uint64_t seed = config->seed < 0 ? um_entropy_seed() : (uint64_t)config->seed;
    um_status status = um_served_given(served, config, &given, err);

    if (status != UM_OK)
        return status;
    return um_params_resolve(
        &given, &served->limits,
        &(um_params_place){.prompt_tokens = (int32_t)ids->count, .field = "prompt"}, seed, out,
        err);
}

/* ---- drawing -------------------------------------------------------------------------------- */

static void measure(screen *s)
{
    struct winsize size = {0};
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    int columns = known ? size.ws_col : COLUMNS_DEFAULT;
    int rows = known && size.ws_row > 0 ? size.ws_row : ROWS_DEFAULT;

    s->view.columns = columns > COLUMNS_MIN ? columns : COLUMNS_MIN;
    s->view.rows_max = rows > 3 ? rows - 2 : 1; /* the line of figures, and one to spare */
}

/* Back to the first line of what was drawn, and everything from there on cleared. */
static void wipe(screen *s)
{
    um_buf_clear(&s->frame);
    if (s->lines > 1)
        um_buf_printf(&s->frame, "\x1b[%dA", s->lines - 1);
    if (s->lines > 0)
        um_buf_text(&s->frame, "\r\x1b[J");
    s->lines = 0;
}

static um_status flush(const um_buf *bytes, um_err *err)
{
    if (um_buf_failed(bytes))
        return um_fail(err, UM_E_NOMEM, "no memory for the output");
    if (fwrite(um_buf_view(bytes), 1, bytes->length, stdout) != bytes->length ||
        fflush(stdout) != 0)
        return um_fail(err, UM_E_IO, "standard output: %s", strerror(errno));
    return UM_OK;
}

static void figures(um_buf *out, const um_usage *usage, int32_t tokens, double seconds)
{
    double rate = seconds > 0 ? 1.0 / seconds : 0.0;

    um_buf_printf(out, "%d steps, %d tokens, %.1f s: %.1f steps/s, %.1f tokens/s", usage->steps,
                  tokens, seconds, usage->steps * rate, tokens * rate);
}

static um_status draw_draft(screen *s, const um_event *event, double seconds, um_err *err)
{
    int32_t committed = 0;

    for (int32_t i = 0; i < event->token_count; i++)
        committed += event->tokens[i] != s->view.mask_token;
    measure(s);
    wipe(s);
    s->lines = 1 + um_draft_render(&s->view, event->tokens, (size_t)event->token_count, &s->frame);
    um_buf_text(&s->frame, "\r\n\x1b[2m");
    figures(&s->frame, &event->usage, committed, seconds);
    um_buf_text(&s->frame, "\x1b[0m");
    return flush(&s->frame, err);
}

/* The canvas before its first step: all masked. Also when the answer comes at once, there was a
 * draft to see. */
static um_status draw_blank(screen *s, int32_t canvas_tokens, um_err *err)
{
    um_event blank = {.tokens = um_mem_calloc((size_t)canvas_tokens, sizeof(*blank.tokens)),
                      .token_count = canvas_tokens};
    um_status status;

    if (!blank.tokens)
        return um_fail(err, UM_E_NOMEM, "no memory for a draft of %d positions", canvas_tokens);
    for (int32_t i = 0; i < canvas_tokens; i++)
        blank.tokens[i] = s->view.mask_token;
    status = draw_draft(s, &blank, 0.0, err);
    um_event_deinit(&blank);
    return status;
}

static um_status draw_answer(screen *s, const um_usage *usage, double seconds, um_err *err)
{
    wipe(s);
    um_draft_safe_text(&s->frame, um_buf_view(&s->text), s->text.length);
    um_buf_text(&s->frame, "\n\x1b[2m");
    figures(&s->frame, usage, usage->completion_tokens, seconds);
    um_buf_text(&s->frame, "\x1b[0m\n");
    return flush(&s->frame, err);
}

/* ---- running -------------------------------------------------------------------------------- */

static void wake(void *context)
{
    sem_post(context);
}

static um_status show(screen *s, const um_event *event, double seconds, um_err *err)
{
    if (event->done && event->status != UM_OK) {
        *err = um_event_error(event);
        return event->status;
    }
    um_buf_clear(&s->frame);
    um_buf_append(s->live ? &s->text : &s->frame, um_buf_view(&event->text), event->text.length);
    if (!s->live) {
        um_buf_text(&s->frame, event->done ? "\n" : "");
        return flush(&s->frame, err);
    }
    if (event->done)
        return draw_answer(s, &event->usage, seconds, err);
    return event->tokens ? draw_draft(s, event, seconds, err) : UM_OK;
}

static um_status follow(um_engine *engine, sem_t *news, screen *s, um_err *err)
{
    uint64_t begun = um_clock_now_ns(um_clock_system());
    um_status status = UM_OK;
    bool done = false;

    while (status == UM_OK && !done) {
        um_event event;

        while (sem_wait(news) != 0)
            UM_ASSERT(errno == EINTR);
        while (status == UM_OK && !done && um_engine_next(engine, &event) == UM_OK) {
            double seconds = (double)(um_clock_now_ns(um_clock_system()) - begun) / 1e9;

            done = event.done;
            status = show(s, &event, seconds, err);
            um_event_deinit(&event);
        }
    }
    return status;
}

static um_status run(const um_config *config, um_served *served, screen *s, um_err *err)
{
    um_submission submission = {.want_tokens = s->live};
    um_engine *engine = NULL;
    um_ids ids = {0};
    uint64_t id;
    sem_t news;
    um_status status;

    sem_init(&news, 0, 0);
    status = encode_prompt(config, served, &ids, err);
    if (status == UM_OK)
        status = resolve(config, served, &ids, &submission.params, err);
    if (status != UM_OK)
        goto done;
    submission.prompt = ids.data;
    submission.prompt_tokens = (int32_t)ids.count;
    served->engine.request_timeout_ms = 0; /* whoever waits can press Ctrl-C */
    served->engine.wake = wake;
    served->engine.wake_context = &news;
    status = um_engine_create(&served->engine, &engine, err);
    if (status == UM_OK)
        status = um_engine_start(engine, err);
    if (status == UM_OK && s->live)
        status = draw_blank(s, submission.params.canvas_tokens, err);
    if (status == UM_OK)
        status = um_engine_submit(engine, &submission, &id, err);
    if (status == UM_OK)
        status = follow(engine, &news, s, err);
done:
    um_engine_destroy(engine);
    um_ids_deinit(&ids);
    sem_destroy(&news);
    return status;
}

um_status um_cmd_generate(const um_config *config, um_err *err)
{
    screen s = {.live = isatty(STDOUT_FILENO) == 1};
    um_served served;
    um_status status;

    setlocale(LC_CTYPE, "C.UTF-8"); /* for wcwidth; without it wide characters count as one */
    status = um_served_open(config, NULL, NULL, &served, err);
    if (status != UM_OK)
        return status;
    s.view.tokenizer = served.tokenizer;
    s.view.mask_token = served.engine.canvas.mask_token;
    status = run(config, &served, &s, err);
    um_served_close(&served);
    um_buf_deinit(&s.frame);
    um_buf_deinit(&s.text);
    return status;
}
