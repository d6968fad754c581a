#include "tests/support/tiny_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/byte_tokenizer.h"
#include "tests/support/temp_dir.h"

#define CONTEXT 64

static void must(um_status status, const um_err *err)
{
    if (status == UM_OK)
        return;
    fprintf(stderr, "tiny engine: %s: %s\n", um_status_name(status), err->message);
    exit(1);
}

/* Runs the real step, and notes who took part. */
static um_status noting_step(void *context, const um_plan *plan, um_step_result *result,
                             um_err *err)
{
    um_tiny_engine *tiny = context;
    bool seen[CONTEXT + 1] = {false};
    um_status status;

    tiny->step_requests = plan->request_count;
    tiny->step_lengths = 0;
    tiny->step_alternatives = plan->alternative_count;
    for (int32_t i = 0; i < plan->sequence_count; i++) {
        int32_t length = plan->cu_seqlens[i + 1] - plan->cu_seqlens[i];

        tiny->step_lengths += !seen[length];
        seen[length] = true;
    }
    status = um_step_run(tiny->step, plan, result, err);
    if (status == UM_OK && tiny->watch)
        tiny->watch(tiny->watch_context, plan, result);
    return status;
}

static void open_model(um_tiny_engine *tiny, const um_tiny_engine_options *options,
                       int32_t rows_max)
{
    um_tiny_options checkpoint = options->checkpoint;
    um_model_options model = {.precision = options->precision, .rows_max = rows_max};
    char dir[UM_TEMP_PATH_BYTES];
    um_err err = {0};

    if (options->dir) {
        model.dir.context = CONTEXT;
        must(um_model_open(options->dir, tiny->backend, &model, &tiny->model, &err), &err);
        return;
    }
    checkpoint.context = checkpoint.context ? checkpoint.context : CONTEXT;
    um_temp_dir_make(dir);
    must(um_tiny_checkpoint_write(dir, &checkpoint, &err), &err);
    must(um_model_open(dir, tiny->backend, &model, &tiny->model, &err), &err);
    um_temp_dir_remove(dir);
}

static void take_facts(const um_model_config *config, const um_tiny_engine_options *options,
                       um_engine_options *engine)
{
    engine->canvas = (um_canvas_facts){.mask_token = config->mask_token,
                                       .mask_is_text = config->mask_is_text && !options->mask_by_id,
                                       .has_first_token = config->has_first_token,
                                       .first_token = config->first_token};
    engine->logit_shift = config->logit_shift;
    engine->end_tokens[0] = engine->eos_token = config->end_token;
    engine->end_token_count = 1;
    engine->turn_token = -1;
}

bool um_tiny_engine_open(um_tiny_engine *tiny, const um_tiny_engine_options *options)
{
    um_engine_options engine;
    um_err err = {0};
    um_status status;

    memset(tiny, 0, sizeof(*tiny));
    status = um_backend_open(&options->backend, &tiny->backend, &err);
    if (status == UM_E_UNSUPPORTED)
        return false;
    must(status, &err);
    tiny->tokenizer = um_byte_tokenizer_open();
    engine = (um_engine_options){
        .batch_max = options->batch_max,
        .queue_max = UM_TINY_RESULTS,
        .rows_per_step = options->rows_per_step,
        .tokenizer = tiny->tokenizer,
        .context_max = CONTEXT,
        .canvas = {.mask_token = UM_TINY_MASK},
        .end_tokens = {UM_TINY_END, UM_TINY_TURN},
        .end_token_count = 2,
        .eos_token = UM_TINY_END,
        .turn_token = UM_TINY_TURN,
        .step = noting_step,
        .step_context = tiny,
    };
    tiny->plan_limits = um_engine_plan_limits(&engine);
    open_model(tiny, options, tiny->plan_limits.rows_max);
    if (options->dir)
        take_facts(&um_model_get_info(tiny->model)->config, options, &engine);
    tiny->limits = (um_params_limits){
        .family = um_model_get_info(tiny->model)->family,
        .defaults = um_model_get_info(tiny->model)->defaults,
        .context_max = CONTEXT,
    };
    must(um_params_limits_check(&tiny->limits, &err), &err);
    must(um_step_create(tiny->model, &tiny->plan_limits, &tiny->step, &err), &err);
    must(um_engine_create(&engine, &tiny->engine, &err), &err);
    return true;
}

void um_tiny_engine_close(um_tiny_engine *tiny)
{
    um_engine_destroy(tiny->engine);
    um_step_destroy(tiny->step);
    um_model_close(tiny->model);
    um_backend_close(tiny->backend);
    um_tokenizer_close(tiny->tokenizer);
}

um_params um_tiny_engine_params(const um_tiny_engine *tiny, const um_tiny_request *request)
{
    um_params params;
    um_err err = {0};

    must(um_params_resolve(
             &request->given, &tiny->limits,
             &(um_params_place){.prompt_tokens = request->prompt_tokens + request->suffix_tokens,
                                .draft_tokens = request->draft_tokens,
                                .infill = request->suffix_tokens > 0,
                                .field = "prompt",
                                .draft_field = "prediction"},
             1, &params, &err),
         &err);
    return params;
}

static void begin_result(um_tiny_result *result, const um_params *params)
{
    *result = (um_tiny_result){.logprob_width = params->logprobs};
    for (int32_t i = 0; i < UM_TINY_CANVAS_MAX; i++)
        result->draft[i] = UM_TINY_MASK;
}

uint64_t um_tiny_engine_submit(um_tiny_engine *tiny, const um_tiny_request *request)
{
    um_submission submission = {
        .prompt = request->prompt,
        .prompt_tokens = request->prompt_tokens,
        .suffix = request->suffix,
        .suffix_tokens = request->suffix_tokens,
        .draft = request->draft,
        .pinned = request->pinned,
        .draft_tokens = request->draft_tokens,
        .params = um_tiny_engine_params(tiny, request),
        .stops = &request->stop,
        .stop_count = request->stop.length > 0,
        .stop_tokens = &request->stop_token,
        .stop_token_count = request->stop_token != 0,
        .biases = request->biases,
        .bias_count = request->bias_count,
        .want_tokens = true,
        .want_draft = request->want_draft,
        .want_guess = request->want_draft,
    };
    uint64_t id = 0;
    um_err err = {0};

    must(um_engine_submit(tiny->engine, &submission, &id, &err), &err);
    begin_result(&tiny->results[id % UM_TINY_RESULTS], &submission.params);
    return id;
}

/* FNV-1a */
static uint64_t hash(uint64_t so_far, const void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        so_far = (so_far ^ ((const uint8_t *)bytes)[i]) * 0x100000001B3u;
    return so_far;
}

static uint64_t hash_changes(uint64_t so_far, const um_draft_change *changes, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        so_far = hash(so_far, &changes[i].position, sizeof(changes[i].position));
        so_far = hash(so_far, &changes[i].token, sizeof(changes[i].token));
        so_far = hash(so_far, &changes[i].confidence, sizeof(changes[i].confidence));
    }
    return so_far;
}

static void keep_draft(um_tiny_result *result, const um_event *event)
{
    for (int32_t i = 0; i < event->step_count; i++) {
        const um_draft_step *step = &event->steps[i];
        const int32_t said[] = {step->step,   step->block_begin, step->block_end,
                                step->length, step->changes,     step->block_ended};

        result->journal = hash(result->journal, said, sizeof(said));
        result->last_step = step->step;
    }
    result->journal = hash_changes(result->journal, event->changes, event->change_count);
    result->journal = hash_changes(result->journal, event->guesses, event->guess_count);
    for (int32_t i = 0; i < event->change_count; i++)
        result->draft[event->changes[i].position] = event->changes[i].token;
    if (event->step_count > 0 && memcmp(result->draft, event->tokens,
                                        (size_t)event->token_count * sizeof(*event->tokens)) != 0)
        result->draft_differs = true;
    result->guess_count = event->guess_count;
    if (event->guess_count > 0)
        memcpy(result->guesses, event->guesses,
               (size_t)event->guess_count * sizeof(*event->guesses));
}

static void keep_event(um_tiny_engine *tiny, const um_event *event)
{
    um_tiny_result *result = &tiny->results[event->id % UM_TINY_RESULTS];

    strncat(result->text, um_buf_view(&event->text),
            sizeof(result->text) - strlen(result->text) - 1);
    result->status = event->status;
    result->finish = event->finish;
    result->usage = event->usage;
    memcpy(result->tokens, event->tokens, (size_t)event->token_count * sizeof(*event->tokens));
    memcpy(result->confidences, event->confidences,
           (size_t)event->token_count * sizeof(*event->confidences));
    if (event->logprob_rows > 0)
        memcpy(result->logprobs + result->logprob_rows * result->logprob_width, event->logprobs,
               (size_t)(event->logprob_rows * result->logprob_width) * sizeof(*event->logprobs));
    result->logprob_rows += event->logprob_rows;
    keep_draft(result, event);
    if (event->done)
        result->id = event->id;
}

bool um_tiny_engine_turn(um_tiny_engine *tiny)
{
    um_status status = um_engine_turn(tiny->engine);
    um_event event;

    while (um_engine_next(tiny->engine, &event) == UM_OK) {
        keep_event(tiny, &event);
        um_event_deinit(&event);
    }
    return status != UM_EMPTY;
}

const um_tiny_result *um_tiny_engine_progress(const um_tiny_engine *tiny, uint64_t id)
{
    return &tiny->results[id % UM_TINY_RESULTS];
}

const um_tiny_result *um_tiny_engine_result(const um_tiny_engine *tiny, uint64_t id)
{
    const um_tiny_result *result = &tiny->results[id % UM_TINY_RESULTS];

    return result->id == id ? result : NULL;
}
