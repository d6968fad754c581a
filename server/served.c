#include "server/served.h"

#include <stdio.h>
#include <string.h>

#include "core/base/log.h"
#include "server/version.h"

/* ---- fingerprint ---------------------------------------------------------------------------- */

/* FNV-1a: stable over processes and machines, which is all that a fingerprint needs. */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count)
{
    const unsigned char *at = bytes;

    for (size_t i = 0; i < count; i++)
        hash = (hash ^ at[i]) * 0x100000001b3u;
    return hash;
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    return hash_bytes(hash, text, strlen(text) + 1);
}

/* Everything that may change the bits of an answer: build, weights, precision, kernels. */
static void make_fingerprint(um_served *served)
{
    bool invariant = um_backend_is_batch_invariant(served->backend);
    uint64_t hash = 0xcbf29ce484222325u;

    hash = hash_text(hash, um_version());
    hash = hash_text(hash, um_version_commit());
    hash = hash_bytes(hash, &served->info->hash, sizeof(served->info->hash));
    hash = hash_bytes(hash, &served->info->precision, sizeof(served->info->precision));
    hash = hash_text(hash, um_backend_name(served->backend));
    hash = hash_bytes(hash, &invariant, sizeof(invariant));
    snprintf(served->fingerprint, sizeof(served->fingerprint), "fp_%010llx",
             (unsigned long long)(hash >> 24));
}

/* ---- parts ---------------------------------------------------------------------------------- */

um_status um_served_open_backend(const um_config *config, um_backend **out, um_err *err)
{
    um_backend_options options = {.name = config->backend,
                                  .isa = config->isa,
                                  .threads = (int32_t)config->threads,
                                  .plugin = config->cuda_plugin,
                                  .batch_invariant = config->batch_invariant};
    um_status status = um_backend_open(&options, out, err);

    if (status == UM_OK)
        um_log(UM_LOG_INFO, "backend", "%s", um_backend_describe(*out));
    return status;
}

int32_t um_served_step_rows(const um_config *config, const um_backend *backend)
{
    return config->rows_per_step ? (int32_t)config->rows_per_step : um_backend_step_rows(backend);
}

/* What a template needs is found out now, not by the first client. */
static um_status open_chat(const um_config *config, um_served *served, um_err *err)
{
    const um_message probe = {.role = "user", .content = "x", .content_length = 1};
    um_ids ids = {0};
    um_status status =
        um_chat_template_choose(config->model, config->chat_template, &served->chat, err);

    if (status == UM_OK && !served->chat)
        um_log(UM_LOG_WARN, "no_chat", "%s",
               config->chat_template ? "switched off" : "the checkpoint has no chat template");
    if (status == UM_OK && served->chat)
        status = um_chat_template_encode(served->chat, served->tokenizer, &probe, 1, UM_CHAT_ANSWER,
                                         SIZE_MAX, &ids, err);
    um_ids_deinit(&ids);
    return status;
}

static um_status open_tokenizer(const um_config *config, um_served *served, um_err *err)
{
    int32_t rows = served->info->config.vocab_rows;
    um_status status = um_tokenizer_open(config->model, &served->tokenizer, err);

    if (status == UM_OK && um_tokenizer_size(served->tokenizer) > rows)
        status = um_fail(err, UM_E_FORMAT,
                         "%s: the tokenizer has ids up to %d; the embedding has %d rows",
                         config->model, um_tokenizer_size(served->tokenizer) - 1, rows);
    return status == UM_OK ? open_chat(config, served, err) : status;
}

/* -1: the family has no such token, or this tokenizer does not. */
static int32_t find_token(const um_served *served, const char *text)
{
    return text ? um_tokenizer_find(served->tokenizer, text) : -1;
}

static void add_end_token(um_engine_options *engine, int32_t token)
{
    UM_ASSERT(engine->end_token_count < UM_MODEL_STOP_MAX);
    if (token >= 0)
        engine->end_tokens[engine->end_token_count++] = token;
}

static um_status gather_facts(um_served *served, um_err *err)
{
    const um_model_info *info = served->info;
    um_engine_options *engine = &served->engine;
    int32_t turn = find_token(served, info->family->turn_token_text);

    served->limits = (um_params_limits){.family = info->family,
                                        .defaults = info->defaults,
                                        .context_max = info->config.context_max};
    engine->tokenizer = served->tokenizer;
    engine->canvas = (um_canvas_facts){.mask_token = info->config.mask_token,
                                       .mask_is_text = info->config.mask_is_text,
                                       .has_first_token = info->config.has_first_token,
                                       .first_token = info->config.first_token};
    engine->logit_shift = info->config.logit_shift;
    engine->eos_token = info->config.end_token;
    engine->turn_token = turn >= 0 ? turn : info->config.turn_token;
    add_end_token(engine, info->config.end_token);
    add_end_token(engine, info->config.turn_token);
    add_end_token(engine, turn);
    add_end_token(engine, find_token(served, info->family->padding_text));
    engine->step = um_step_run;
    engine->step_context = served->step;
    return um_params_limits_check(&served->limits, err);
}

/* Batching options, and with the context of the checkpoint the largest step that they allow. The
 * backend is open. */
static um_status plan_limits(const um_config *config, um_served *served, um_plan_limits *out,
                             um_err *err)
{
    um_model_report report;
    const um_model_dir_options dir = {.family = config->family,
                                      .context = (int32_t)config->context};
    um_status status = um_model_inspect(config->model, &dir, &report, err);

    if (status != UM_OK)
        return status;
    status = report.problem.status;
    if (status != UM_OK && err)
        *err = report.problem;
    served->engine.batch_max = (int32_t)config->max_batch;
    served->engine.queue_max = (int32_t)config->max_queue;
    served->engine.rows_per_step = um_served_step_rows(config, served->backend);
    served->engine.queue_timeout_ms = (int32_t)config->queue_timeout * 1000;
    served->engine.slow_step_ms = (int32_t)config->slow_step;
    served->engine.request_timeout_ms = (int32_t)config->request_timeout * 1000;
    served->engine.context_max = report.config.context_max;
    if (status == UM_OK)
        *out = um_engine_plan_limits(&served->engine);
    um_model_report_deinit(&report);
    return status;
}

um_status um_served_open(const um_config *config, um_load_progress_fn progress, void *context,
                         um_served *out, um_err *err)
{
    um_model_options options = {
        .dir = {.family = config->family, .context = (int32_t)config->context},
        .progress = progress,
        .progress_context = context};
    um_plan_limits limits = {0};
    um_status status;

    *out = (um_served){0};
    if (!um_precision_parse(config->precision, &options.precision))
        return um_fail_field(err, UM_E_VALUE, "--precision",
                             "--precision is \"%.32s\"; expected auto, f32 or bf16",
                             config->precision);
    status = um_served_open_backend(config, &out->backend, err);
    if (status == UM_OK)
        status = plan_limits(config, out, &limits, err);
    options.rows_max = limits.rows_max;
    if (status == UM_OK)
        status = um_model_open(config->model, out->backend, &options, &out->model, err);
    if (status != UM_OK)
        goto done;
    out->info = um_model_get_info(out->model);
    status = open_tokenizer(config, out, err);
    if (status == UM_OK)
        status = um_step_create(out->model, &limits, &out->step, err);
    if (status != UM_OK)
        goto done;
    make_fingerprint(out);
    status = gather_facts(out, err);
done:
    if (status != UM_OK)
        um_served_close(out);
    return status;
}

void um_served_close(um_served *served)
{
    um_step_destroy(served->step);
    um_tokenizer_close(served->tokenizer);
    um_model_close(served->model);
    um_backend_close(served->backend);
    *served = (um_served){0};
}

/* ---- prompts -------------------------------------------------------------------------------- */

/* The encoder stopped at the context, so the true length is not known; the phrases are those that
 * clients look for. */
static um_status name_overflow(const um_served *served, um_status status, const char *field,
                               um_err *err)
{
    int32_t context = served->limits.context_max;

    if (status == UM_E_CONTEXT_LENGTH)
        um_fail_field(err, status, field,
                      "This model's maximum context length is %d tokens; the request needs more "
                      "(over %d prompt + at least 1 completion) and exceeds the context window.",
                      context, context);
    else if (err)
        snprintf(err->field, sizeof(err->field), "%s", field);
    return status;
}

/* Where a text can spell MASK although masked positions are known by its id, the position would be
 * filled in as if it were part of the answer. */
static um_status refuse_mask(const um_served *served, const um_ids *ids, const char *field,
                             um_err *err)
{
    int32_t mask = served->info->config.mask_token;

    for (size_t i = 0; i < ids->count && !served->info->config.mask_is_text; i++)
        if (ids->data[i] == mask)
            return um_fail_field(err, UM_E_VALUE, field,
                                 "%s holds the model's mask token (id %d at position %zu)", field,
                                 mask, i);
    return UM_OK;
}

static um_status check_prompt(const um_served *served, um_status status, const um_ids *ids,
                              const char *field, um_err *err)
{
    return status == UM_OK ? refuse_mask(served, ids, field, err)
                           : name_overflow(served, status, field, err);
}

static um_status need_chat(const um_served *served, const char *field, um_err *err)
{
    if (served->chat)
        return UM_OK;
    /* clients are not told the rest: paths are the machine's own business */
    return um_fail_field(err, UM_E_UNSUPPORTED_PARAM, field,
                         "chat is not possible: the model has no chat template; use completions");
}

um_status um_served_encode_chat(const um_served *served, const um_message *messages, size_t count,
                                um_chat_end end, const char *field, um_ids *ids, um_err *err)
{
    size_t ids_max = (size_t)served->limits.context_max;

    if (!served->chat)
        return need_chat(served, field, err);
    return check_prompt(served,
                        um_chat_template_encode(served->chat, served->tokenizer, messages, count,
                                                end, ids_max, ids, err),
                        ids, field, err);
}

/* Families whose authors begin every raw prompt with a begin token, unless the tokenizer did. */
static um_status put_bos_first(const um_served *served, um_ids *ids, um_err *err)
{
    int32_t bos = served->info->config.prompt_bos;

    if (bos < 0 || (ids->count > 0 && ids->data[0] == bos))
        return UM_OK;
    if (!um_ids_push(ids, bos))
        return um_fail(err, UM_E_NOMEM, "no memory for %zu ids", ids->count + 1);
    memmove(ids->data + 1, ids->data, (ids->count - 1) * sizeof(*ids->data));
    ids->data[0] = bos;
    return UM_OK;
}

/* A raw prompt with what tokenizer and family put around it. */
static um_status encode_raw(const um_served *served, const char *text, size_t length,
                            size_t ids_max, um_ids *ids, um_err *err)
{
    um_status status = um_tokenizer_encode(served->tokenizer, text, length, UM_ENCODE_POST_PROCESS,
                                           ids_max, ids, err);

    return status == UM_OK ? put_bos_first(served, ids, err) : status;
}

um_status um_served_encode_text(const um_served *served, const char *text, size_t length,
                                const char *field, um_ids *ids, um_err *err)
{
    um_status status =
        encode_raw(served, text, length, (size_t)served->limits.context_max, ids, err);

    return check_prompt(served, status, ids, field, err);
}

um_status um_served_tokenize_text(const um_served *served, const char *text, size_t length,
                                  bool around, um_ids *ids, um_err *err)
{
    um_status status =
        around ? encode_raw(served, text, length, SIZE_MAX, ids, err)
               : um_tokenizer_encode(served->tokenizer, text, length, 0, SIZE_MAX, ids, err);

    return status == UM_OK ? status : name_overflow(served, status, "prompt", err);
}

um_status um_served_tokenize_chat(const um_served *served, const um_message *messages, size_t count,
                                  um_chat_end end, bool around, um_ids *ids, um_err *err)
{
    um_status status = need_chat(served, "messages", err);

    if (status == UM_OK && around)
        status = encode_raw(served, "", 0, SIZE_MAX, ids, err);
    if (status == UM_OK)
        status = um_chat_template_encode(served->chat, served->tokenizer, messages, count, end,
                                         SIZE_MAX, ids, err);
    return status == UM_OK ? status : name_overflow(served, status, "messages", err);
}

um_status um_served_encode_more(const um_served *served, const char *text, size_t length,
                                const char *field, um_ids *ids, um_err *err)
{
    return check_prompt(served,
                        um_tokenizer_encode(served->tokenizer, text, length, UM_ENCODE_INSIDE,
                                            (size_t)served->limits.context_max, ids, err),
                        ids, field, err);
}

um_status um_served_encode_prompt(const um_served *served, bool raw, const char *text,
                                  size_t length, um_ids *ids, um_err *err)
{
    um_message message = {.role = "user", .content = text, .content_length = length};

    if (raw || !served->chat)
        return um_served_encode_text(served, text, length, "prompt", ids, err);
    return um_served_encode_chat(served, &message, 1, UM_CHAT_ANSWER, "prompt", ids, err);
}

/* ---- sampler options ------------------------------------------------------------------------- */

um_status um_served_given(const um_served *served, const um_config *config, um_params_given *out,
                          um_err *err)
{
    int64_t block =
        config->block_length > 0 ? config->block_length : served->limits.defaults.block_length;
    int64_t per_step = config->tokens_per_step, paced = 0;
    bool whole = block == 0; /* one block, which may have more steps than others may */

    if (whole)
        block = config->max_tokens > 0 ? config->max_tokens : served->limits.defaults.max_tokens;
    if (per_step > 0)
        paced = (block + per_step - 1) / per_step;
    if (config->steps > 0 && per_step > 0)
        return um_fail_field(err, UM_E_CONFLICT, "--tokens-per-step",
                             "--steps and --tokens-per-step exclude each other");
    *out = (um_params_given){
        .has_max_tokens = config->max_tokens > 0,
        .max_tokens = config->max_tokens,
        .has_steps = config->steps > 0 || (whole && paced > 0),
        .steps = whole && paced > 0 ? paced : config->steps,
        .has_steps_per_block = !whole && paced > 0,
        .steps_per_block = paced,
        .has_block_length = config->block_length > 0,
        .block_length = config->block_length,
        .has_threshold = config->threshold >= 0,
        .threshold = config->threshold,
        .has_top_p = config->top_p >= 0,
        .top_p = config->top_p,
        .has_order_temperature = config->order_temperature >= 0,
        .order_temperature = config->order_temperature,
        .has_factor = config->factor > 0,
        .factor = config->factor,
        .has_temperature = config->temperature >= 0,
        .temperature = config->temperature,
        .algorithm = config->algorithm,
    };
    return UM_OK;
}
