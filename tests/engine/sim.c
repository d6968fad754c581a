/* The simulation: a scripted front end and step around a real engine. */
#include "tests/engine/sim_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "tests/support/random.h"

#define TURNS 120

void umi_sim_fault(sim *s, const char *format, ...)
{
    um_sim_report *report = s->report;
    va_list arguments;
    int used;

    if (report->faults++ > 0)
        return;
    used = snprintf(report->first_fault, sizeof(report->first_fault),
                    "seed %llu: ", (unsigned long long)s->seed);
    va_start(arguments, format);
    vsnprintf(report->first_fault + used, sizeof(report->first_fault) - (size_t)used, format,
              arguments);
    va_end(arguments);
}

static int32_t pick(sim *s, int32_t low, int32_t high)
{
    return um_test_pick(&s->random, low, high);
}

static bool chance(sim *s, int32_t one_in)
{
    return pick(s, 1, one_in) == 1;
}

/* True once per run, in the given mode. */
static bool spoil(sim *s, um_sim_mode mode)
{
    bool now = s->mode == mode && !s->spoiled;

    s->spoiled = s->spoiled || now;
    return now;
}

/* ---- the scripted step ------------------------------------------------------------------------ */

static int32_t draw_token(sim *s, const um_score_rule *rule)
{
    static const int32_t some[] = {'a',
                                   'b',
                                   'a',
                                   'b',
                                   'c',
                                   ' ',
                                   'x',
                                   0xC3,
                                   0xA9,
                                   0xE4,
                                   0xB8,
                                   0xAD,
                                   0xFF,
                                   UM_BYTE_TH,
                                   UM_BYTE_STOP,
                                   UM_BYTE_E_ACUTE,
                                   UM_BYTE_PARTIAL,
                                   UM_BYTE_OTHER};
    bool may_mask = rule->banned[0] != MASK && rule->banned[1] != MASK;

    if (may_mask && chance(s, 6))
        return MASK;
    if (chance(s, 40))
        return chance(s, 2) ? UM_BYTE_END : UM_BYTE_TURN;
    return some[pick(s, 0, (int32_t)UM_COUNT_OF(some) - 1)];
}

/* Which of `rows` rows to commit: exactly `count` marks. */
static void draw_marks(sim *s, bool *marks, int32_t rows, int32_t count)
{
    memset(marks, 0, (size_t)rows * sizeof(*marks));
    for (int32_t i = 0; i < count; i++) {
        int32_t at = pick(s, 0, rows - 1);

        while (marks[at])
            at = (at + 1) % rows;
        marks[at] = true;
    }
}

static void check_packed_row(sim *s, const um_plan *plan, const sim_request *r, int32_t sequence)
{
    bool guided = r->submission.params.cfg_scale > 0.0f;
    int32_t length = umi_sim_row_length(r);
    const int32_t *ids = plan->ids + plan->cu_seqlens[sequence];
    bool same =
        plan->cu_seqlens[sequence + 1] - plan->cu_seqlens[sequence] == length &&
        (!guided || plan->cu_seqlens[sequence + 2] - plan->cu_seqlens[sequence + 1] == length);

    for (int32_t i = 0; i < length && same; i++)
        same =
            ids[i] == r->row[i] && (!guided || ids[length + i] == (r->given[i] ? MASK : r->row[i]));
    if (!same)
        umi_sim_fault(s, "request %llu: the packed row is not its canvas",
                      (unsigned long long)r->id);
}

/* Commits for participant `index`; the model's canvas gets the same tokens. */
static void fill_request(sim *s, const um_plan *plan, um_step_result *result, int32_t index,
                         sim_request *r)
{
    const um_select_rule *rule = &plan->select_rules[index];
    int32_t count = rule->count, block = r->block, written = 0;
    bool marks[CONTEXT];

    if (rule->count < 1 || rule->count > rule->rows || rule->rows > CONTEXT) {
        umi_sim_fault(s, "request %llu: %d of %d rows to commit", (unsigned long long)r->id,
                      rule->count, rule->rows);
        count = 1;
    }
    if (r->hurries && (rule->kind != UM_SELECT_COUNT || rule->count != umi_sim_all_masks(r) ||
                       rule->rows != rule->count))
        umi_sim_fault(s, "request %llu: its last step does not fill everything",
                      (unsigned long long)r->id);
    if (rule->kind != UM_SELECT_COUNT)
        count = pick(s, count, rule->rows);
    draw_marks(s, marks, rule->rows, count);
    for (int32_t i = 0; i < rule->rows; i++) {
        int32_t position = plan->score_rows[rule->first + i].position;
        um_commit *commit = &result->commits[rule->first + written];

        if (!marks[i])
            continue;
        *commit = (um_commit){.sequence = index,
                              .position = position,
                              .token = draw_token(s, &plan->score_rules[index]),
                              .confidence = (float)pick(s, 1, 1000) / 1000.0f};
        r->row[position] = commit->token;
        if (commit->token == 'a' && spoil(s, UM_SIM_WRONG_TOKEN))
            r->row[position] = 'b';
        written++;
    }
    result->counts[index] = written;
    umi_sim_script_alternatives(plan, result, index, r);
    r->last_block = block;
    umi_sim_move_schedule(s, r);
    r->ended_blocks += r->block != block || r->done;
}

static um_status scripted_step(void *context, const um_plan *plan, um_step_result *result,
                               um_err *err)
{
    sim *s = context;
    int32_t sequence = 0;
    int64_t took;

    s->stepped = true;
    took = pick(s, 0, 20);
    um_fake_clock_advance_ms(&s->clock, (uint64_t)took);
    took *= 1000000;
    if (s->fails) {
        s->failed = true;
        return um_fail(err, UM_E_DEVICE, "scripted loss of the device");
    }
    s->step_ns = s->step_ns == 0 ? took : s->step_ns + (took - s->step_ns) / 8;
    if (plan->request_count != s->served)
        umi_sim_fault(s, "%d requests take part, the model expected %d", plan->request_count,
                      s->served);
    for (int32_t i = 0; i < plan->request_count; i++) {
        uint64_t tag = plan->score_rules[i].seed; /* requests are told apart by their seeds */
        sim_request *r = &s->requests[tag];

        if (i < s->served && s->running[i] != r)
            umi_sim_fault(s, "participant %d is request %llu, the model expected %llu", i,
                          (unsigned long long)r->id, (unsigned long long)s->running[i]->id);
        check_packed_row(s, plan, r, sequence);
        umi_sim_check_rules(s, plan, i, r);
        sequence += r->submission.params.cfg_scale > 0.0f ? 2 : 1;
        fill_request(s, plan, result, i, r);
    }
    s->report->steps++;
    s->report->shared_steps += plan->request_count > 1;
    return UM_OK;
}

/* ---- the front end ----------------------------------------------------------------------------- */

static void draw_params(sim *s, sim_request *r)
{
    /* those whose every step commits what the model below can foresee */
    static const char *const policies[] = {"low_confidence", "random", "threshold", "factor"};
    um_params *p = &r->submission.params;
    bool gap = r->submission.suffix_tokens > 0 || chance(s, 4);

    *p = (um_params){
        .policy = um_policy_find(policies[pick(s, 0, 3)]),
        .top_p = 1.0f,
        .max_tokens = pick(s, 1, CONTEXT / 2),
        .block_length = pick(s, 1, 12),
        .cfg_scale = chance(s, 4) ? 1.0f : 0.0f,
        .early_stop = !chance(s, 4),
        .reference_quirks = chance(s, 4),
        .seed = (uint64_t)(r - s->requests),
        .deadline_ms = chance(s, 3) ? pick(s, 1, 300) : 0,
        .noise = (float)pick(s, 0, 4) / 4.0f,
        .exact_length = gap,
        .grows = gap && chance(s, 2),
    };
    p->count = um_policy_count(p->policy, false);
    p->block_count = (p->max_tokens + p->block_length - 1) / p->block_length;
    p->canvas_tokens = gap ? p->max_tokens
                           : umi_sim_smaller(p->block_count * p->block_length,
                                             CONTEXT - r->submission.prompt_tokens);
    p->steps_per_block = pick(s, 1, p->block_length);
    if (p->count != UM_COUNT_QUOTA && chance(s, 2))
        p->steps_per_block = 0;
}

static void draw_stops(sim *s, sim_request *r)
{
    static const char *const some[] = {"ab",       "b a",   "aba",          "x",   "bb",
                                       "\xC3\xA9", " stop", "\xE4\xB8\xAD", "abc", "caab"};

    r->submission.stops = r->stops;
    r->submission.stop_count = chance(s, 2) ? 0 : pick(s, 1, UM_STOP_STRINGS_MAX);
    for (int32_t i = 0; i < r->submission.stop_count; i++) {
        const char *text = some[pick(s, 0, (int32_t)UM_COUNT_OF(some) - 1)];

        r->stops[i].length = (int32_t)strlen(text);
        memcpy(r->stops[i].bytes, text, strlen(text));
    }
}

/* Some of its tokens are pinned, but never the whole canvas. */
static void draw_draft(sim *s, sim_request *r)
{
    um_submission *to = &r->submission;

    to->draft = r->draft;
    to->pinned = r->pinned;
    to->draft_tokens = chance(s, 2) ? 0 : pick(s, 1, to->params.max_tokens);
    for (int32_t i = 0; i < to->draft_tokens; i++) {
        r->draft[i] = chance(s, 4)    ? UM_DRAFT_MASKED
                      : chance(s, 30) ? UM_BYTE_END
                                      : 'a' + pick(s, 0, 3);
        r->pinned[i] = i > 0 && r->draft[i] != UM_DRAFT_MASKED && chance(s, 3);
    }
}

/* What the answer may hold and what the reader wants to know. */
static void draw_wishes(sim *s, sim_request *r)
{
    um_submission *submission = &r->submission;
    um_params *p = &submission->params;

    submission->want_draft = chance(s, 3);
    submission->want_guess = submission->want_draft && chance(s, 2);
    p->logprobs = submission->draft_tokens == 0 && chance(s, 2) ? pick(s, 1, SIM_LOGPROBS_MAX) : 0;
    p->min_tokens = chance(s, 4) ? pick(s, 1, p->max_tokens) : 0;
    p->ignore_eos = chance(s, 8);
    p->presence_penalty = chance(s, 4) ? 1.0f : 0.0f;
    p->repetition_penalty = chance(s, 4) ? 1.5f : 0.0f;
    r->stop_token = chance(s, 2) ? 'x' : UM_BYTE_TH;
    submission->stop_tokens = &r->stop_token;
    submission->stop_token_count = chance(s, 4);
    for (int32_t i = 0; i < p->canvas_tokens; i++)
        r->replay[i] = MASK;
    r->told_step = -1;
}

static void draw_request(sim *s, sim_request *r)
{
    *r = (sim_request){0};
    r->submission.prompt = r->prompt;
    r->submission.prompt_tokens = pick(s, 0, CONTEXT / 2);
    r->submission.suffix = r->suffix;
    if (chance(s, 3))
        r->submission.suffix_tokens = pick(s, 0, CONTEXT / 2 - r->submission.prompt_tokens);
    for (int32_t i = 0; i < r->submission.suffix_tokens; i++)
        r->suffix[i] = chance(s, 60) ? MASK : 's';
    r->submission.owner = (uint64_t)pick(s, 0, 3);
    r->submission.want_tokens = chance(s, 3);
    for (int32_t i = 0; i < r->submission.prompt_tokens; i++)
        r->prompt[i] = chance(s, 60) ? MASK : 'p';
    draw_params(s, r);
    draw_stops(s, r);
    draw_draft(s, r);
    draw_wishes(s, r);
    umi_sim_begin(s, r);
    r->last_block = r->block;
}

static um_status expected_admission(const sim *s, int32_t count)
{
    int32_t room = s->options.batch_max + s->options.queue_max - s->running_count - s->queue_count;

    if (s->failed)
        return UM_E_ENGINE;
    if (s->draining)
        return UM_E_DRAINING;
    return count > room ? UM_E_QUEUE_FULL : UM_OK;
}

static void submit(sim *s)
{
    int32_t count = chance(s, 5) ? pick(s, 2, 3) : 1;
    sim_request *first = &s->requests[s->request_count];
    um_submission submissions[3];
    uint64_t ids[3] = {0};
    um_err err = {0};
    um_status status, expected;

    if (count > REQUESTS_MAX - s->request_count)
        return;
    for (int32_t i = 0; i < count; i++) {
        draw_request(s, &first[i]);
        submissions[i] = first[i].submission;
    }
    expected = expected_admission(s, count);
    status = um_engine_submit_many(s->engine, submissions, (size_t)count, ids, &err);
    if (status != expected)
        umi_sim_fault(s, "%d submissions gave %s, expected %s", count, um_status_name(status),
                      um_status_name(expected));
    s->report->refused_full += status == UM_E_QUEUE_FULL;
    s->report->refused_draining += status == UM_E_DRAINING;
    s->report->refused_failed += status == UM_E_ENGINE;
    if (status != UM_OK)
        return;
    for (int32_t i = 0; i < count; i++) {
        first[i].id = ids[i];
        first[i].arrived_ns = s->clock.now_ns;
        s->queue[s->queue_count++] = &first[i];
    }
    s->request_count += count;
    s->report->submitted += count;
}

static void cancel_some(sim *s)
{
    sim_request *r;

    if (s->request_count == 0)
        return;
    r = &s->requests[pick(s, 0, s->request_count - 1)];
    if (!r->over)
        r->cancel_asked = true;
    if (r->over || !spoil(s, UM_SIM_DROP_CANCEL))
        um_engine_cancel(s->engine, r->id); /* dead ids too: they must do nothing */
    um_engine_cancel(s->engine, 1000000);   /* never given out */
}

static sim_request *find(sim *s, uint64_t id)
{
    for (int32_t i = 0; i < s->request_count; i++)
        if (s->requests[i].id == id)
            return &s->requests[i];
    return NULL;
}

/* Positions that a gap has yet to gain hold MASK. */
static bool is_canvas(const sim_request *r, const int32_t *tokens)
{
    bool same = true;

    for (int32_t i = 0; i < r->submission.params.canvas_tokens; i++)
        same =
            same && tokens[i] == (i < r->extent ? r->row[r->submission.prompt_tokens + i] : MASK);
    return same;
}

static void check_tokens(sim *s, const sim_request *r, const um_event *event)
{
    const um_params *p = &r->submission.params;

    if (!r->submission.want_tokens) {
        if (event->tokens)
            umi_sim_fault(s, "request %llu: tokens that nobody wanted", (unsigned long long)r->id);
        return;
    }
    if (!event->tokens || event->token_count != p->canvas_tokens)
        umi_sim_fault(s, "request %llu: no canvas in the event", (unsigned long long)r->id);
    else if (!is_canvas(r, event->tokens))
        umi_sim_fault(s, "request %llu: the event's canvas differs", (unsigned long long)r->id);
}

static void read_event(sim *s, um_event *event)
{
    sim_request *r = find(s, event->id);

    if (!r) {
        umi_sim_fault(s, "event of unknown request %llu", (unsigned long long)event->id);
        return;
    }
    if (r->done_events > 0)
        umi_sim_fault(s, "request %llu: an event after its end", (unsigned long long)r->id);
    if (event->started != (r->step > 0))
        umi_sim_fault(s, "request %llu: started is wrong", (unsigned long long)r->id);
    check_tokens(s, r, event);
    if (event->change_count > 0 && spoil(s, UM_SIM_LOSE_CHANGE))
        event->changes[0].position = event->changes[event->change_count - 1].position;
    if (event->logprob_rows > 0 && spoil(s, UM_SIM_LOSE_ROW))
        event->logprob_rows--;
    umi_sim_read_draft(s, r, event);
    if (event->text.length > 0 && spoil(s, UM_SIM_LOSE_TEXT))
        um_buf_clear(&event->text);
    um_buf_append(&r->text, event->text.data, event->text.length);
    if (event->text.length > 0 && spoil(s, UM_SIM_DOUBLE_TEXT))
        um_buf_append(&r->text, event->text.data, event->text.length);
    if (!event->done)
        return;
    r->done_events++;
    r->last = *event;
    r->told_why = event->error && event->error->message[0];
    if (!r->over)
        umi_sim_fault(s, "request %llu ended with %s, the model has it alive",
                      (unsigned long long)r->id, um_status_name(event->status));
}

static void read_events(sim *s)
{
    um_event event;

    while (um_engine_next(s->engine, &event) == UM_OK) {
        if (s->wakes == 0)
            umi_sim_fault(s, "news of request %llu without a wake-up",
                          (unsigned long long)event.id);
        read_event(s, &event);
        um_event_deinit(&event);
    }
    s->wakes = 0;
}

static void wake(void *context)
{
    ((sim *)context)->wakes++;
}

/* ---- one run ------------------------------------------------------------------------------------ */

static void check_counts(sim *s)
{
    um_stats stats;

    um_engine_stats(s->engine, &stats);
    if (stats.running != s->running_count || stats.waiting != s->queue_count)
        umi_sim_fault(s, "%d running, %d waiting; the model has %d and %d", stats.running,
                      stats.waiting, s->running_count, s->queue_count);
    if (stats.running > s->options.batch_max ||
        stats.running + stats.waiting > s->options.batch_max + s->options.queue_max)
        umi_sim_fault(s, "%d running, %d waiting: above the bounds", stats.running, stats.waiting);
}

static void turn(sim *s)
{
    um_status status, expected;

    umi_sim_before_turn(s);
    s->stepped = false;
    um_mem_fail_after(1);
    status = um_engine_turn(s->engine);
    if (!um_mem_fail_pending())
        umi_sim_fault(s, "a turn allocated memory");
    um_mem_fail_after(0);
    expected = s->served == 0 ? UM_EMPTY : s->fails ? UM_E_ENGINE : UM_OK;
    if (status != expected || s->stepped != (s->served > 0))
        umi_sim_fault(s, "a turn gave %s, expected %s", um_status_name(status),
                      um_status_name(expected));
    if (s->stepped)
        umi_sim_after_turn(s);
    s->fails = false;
    check_counts(s);
}

static void check_text(sim *s, const sim_request *r)
{
    um_buf expected = {0};
    um_finish finish;
    int32_t known = umi_sim_canvas_done(r) ? r->extent : umi_sim_settled(r);
    const char *text = um_buf_view(&r->text);

    umi_sim_decided(s, r, known, &expected, &finish);
    if (r->ending == UM_OK) {
        if (strcmp(um_buf_view(&expected), text) != 0 || r->text.length != expected.length)
            umi_sim_fault(s, "request %llu: text \"%s\", expected \"%s\"",
                          (unsigned long long)r->id, text, um_buf_view(&expected));
        if (r->last.finish != finish)
            umi_sim_fault(s, "request %llu: finish %d, expected %d", (unsigned long long)r->id,
                          r->last.finish, finish);
    } else if (r->text.length > expected.length ||
               memcmp(um_buf_view(&expected), text, r->text.length) != 0) {
        umi_sim_fault(s, "request %llu: text \"%s\" is not the start of \"%s\"",
                      (unsigned long long)r->id, text, um_buf_view(&expected));
    }
    um_buf_deinit(&expected);
}

static void check_usage(sim *s, const sim_request *r)
{
    const um_usage *usage = &r->last.usage;
    const um_submission *from = &r->submission;
    int32_t accepted, rejected;

    umi_sim_count_draft(r, &accepted, &rejected);
    if (usage->steps != r->step ||
        usage->prompt_tokens != from->prompt_tokens + from->suffix_tokens ||
        usage->canvas_tokens != r->extent || usage->ended_by_deadline != r->hurried)
        umi_sim_fault(s, "request %llu: its usage is wrong", (unsigned long long)r->id);
    if (usage->accepted_tokens != accepted || usage->rejected_tokens != rejected)
        umi_sim_fault(s, "request %llu: %d tokens accepted and %d rejected, expected %d and %d",
                      (unsigned long long)r->id, usage->accepted_tokens, usage->rejected_tokens,
                      accepted, rejected);
}

static void check_ending(sim *s, const sim_request *r)
{
    const um_usage *usage = &r->last.usage;

    if (r->done_events != 1 || !r->over) {
        umi_sim_fault(s, "request %llu: %d ends", (unsigned long long)r->id, r->done_events);
        return;
    }
    if (r->last.status != r->ending)
        umi_sim_fault(s, "request %llu ended with %s, expected %s", (unsigned long long)r->id,
                      um_status_name(r->last.status), um_status_name(r->ending));
    if (r->ending != UM_OK && !r->told_why)
        umi_sim_fault(s, "request %llu ended without a message", (unsigned long long)r->id);
    check_usage(s, r);
    if (r->ending == UM_OK && usage->completion_tokens != umi_sim_visible_tokens(s, r))
        umi_sim_fault(s, "request %llu: %d completion tokens, expected %d",
                      (unsigned long long)r->id, usage->completion_tokens,
                      umi_sim_visible_tokens(s, r));
    check_text(s, r);
    umi_sim_check_rows(s, r);
}

static void count_ending(um_sim_report *report, const sim_request *r)
{
    report->stopped += r->ending == UM_OK && r->last.finish == UM_FINISH_STOP;
    report->ran_out += r->ending == UM_OK && r->last.finish == UM_FINISH_LENGTH;
    report->cancelled += r->ending == UM_E_CANCELLED;
    report->timed_out += r->ending == UM_E_TIMEOUT;
    report->queue_timed_out += r->ending == UM_E_QUEUE_TIMEOUT;
    report->failed += r->ending == UM_E_ENGINE;
    report->shut_down += r->ending == UM_E_SHUTDOWN;
    report->bytes += (long)r->text.length;
    report->masks_left += umi_sim_canvas_done(r) && umi_sim_settled(r) < r->extent;
    report->grown += r->submission.params.grows &&
                     r->block * r->submission.params.block_length >= r->submission.draft_tokens &&
                     r->block > 0;
    report->hurried += r->last.usage.ended_by_deadline;
    report->accepted += r->last.usage.accepted_tokens;
    report->rejected += r->last.usage.rejected_tokens;
}

static void check_totals(sim *s)
{
    uint64_t endings[UM_ENDING_COUNT] = {0}, queue_timeouts = 0;
    um_stats stats;

    um_engine_stats(s->engine, &stats);
    for (int32_t i = 0; i < s->request_count; i++) {
        const sim_request *r = &s->requests[i];

        if (r->ending == UM_E_QUEUE_TIMEOUT)
            queue_timeouts++;
        else if (r->ending == UM_OK)
            endings[r->last.finish == UM_FINISH_STOP ? UM_ENDING_STOP : UM_ENDING_LENGTH]++;
        else
            endings[r->ending == UM_E_CANCELLED ? UM_ENDING_ABORT : UM_ENDING_ERROR]++;
    }
    if (memcmp(endings, stats.endings, sizeof(endings)) != 0 ||
        queue_timeouts != stats.queue_timeouts ||
        stats.requests_submitted != (uint64_t)s->request_count)
        umi_sim_fault(s, "the engine's counters of endings are wrong");
    if (stats.running || stats.waiting || stats.canvas_tokens)
        umi_sim_fault(s, "%d running, %d waiting at the end: a leak", stats.running, stats.waiting);
}

static void open_engine(sim *s)
{
    um_err err = {0};

    um_fake_clock_init(&s->clock);
    s->options = (um_engine_options){
        .batch_max = pick(s, 1, 6),
        .queue_max = pick(s, 0, 6),
        .rows_per_step = pick(s, 8, 200),
        .queue_timeout_ms = chance(s, 2) ? 0 : pick(s, 1, 300),
        .request_timeout_ms = chance(s, 2) ? 0 : pick(s, 1, 900),
        .clock = &s->clock.clock,
        .wake = wake,
        .wake_context = s,
        .tokenizer = s->tokenizer,
        .context_max = CONTEXT,
        .canvas = {.mask_token = MASK},
        .end_tokens = {UM_BYTE_END, UM_BYTE_TURN},
        .end_token_count = 2,
        .eos_token = UM_BYTE_END,
        .turn_token = UM_BYTE_TURN,
        .step = scripted_step,
        .step_context = s,
    };
    if (um_engine_create(&s->options, &s->engine, &err) != UM_OK)
        abort();
}

/* Ends what is left: by working it off, by losing the device, or by an abort. */
static void finish(sim *s)
{
    int way = pick(s, 1, 4);

    if (way == 1 || way == 2) {
        um_engine_drain(s->engine);
        s->draining = true;
        submit(s); /* refused */
        s->fails = way == 2;
        for (int32_t i = 0; i < 10000 && s->running_count + s->queue_count > 0; i++) {
            um_fake_clock_advance_ms(&s->clock, 1);
            turn(s);
        }
    } else if (way == 3) {
        um_engine_abort(s->engine, UM_E_SHUTDOWN);
        s->draining = true;
        submit(s);
        for (int32_t i = 0; i < s->request_count; i++)
            if (!s->requests[i].over)
                umi_sim_end(&s->requests[i], UM_E_SHUTDOWN);
        s->running_count = 0;
        s->queue_count = 0;
        turn(s);
    } else {
        for (int32_t i = 0; i < 10000 && s->running_count + s->queue_count > 0; i++)
            turn(s);
    }
    if (s->failed)
        submit(s); /* refused */
    turn(s);
    read_events(s);
}

void um_sim_run(uint64_t seed, um_sim_mode mode, const um_tokenizer *tokenizer,
                um_sim_report *report)
{
    sim *s = um_mem_zalloc(sizeof(*s));
    bool slow;

    if (!s)
        abort();
    *s =
        (sim){.mode = mode, .report = report, .seed = seed, .random = seed, .tokenizer = tokenizer};
    open_engine(s);
    slow = chance(s, 3);
    for (int32_t i = 0; i < TURNS; i++) {
        for (int32_t arrivals = pick(s, 0, 3); arrivals > 2; arrivals--)
            submit(s);
        if (chance(s, 3))
            submit(s);
        if (chance(s, 12))
            cancel_some(s);
        um_fake_clock_advance_ms(&s->clock, (uint64_t)pick(s, 0, 5));
        turn(s);
        if (!slow || chance(s, 9))
            read_events(s);
    }
    finish(s);
    for (int32_t i = 0; i < s->request_count; i++) {
        check_ending(s, &s->requests[i]);
        count_ending(report, &s->requests[i]);
        um_buf_deinit(&s->requests[i].text);
    }
    check_totals(s);
    um_engine_destroy(s->engine);
    um_mem_free(s);
}
