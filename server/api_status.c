#include "server/api_status.h"

#include <string.h>

#include "server/app.h"
#include "server/http_error.h"
#include "server/version.h"

#define JSON "application/json"

static void reply(um_exchange *exchange, um_buf *body)
{
    um_err err = {0};

    if (um_buf_failed(body)) {
        um_fail(&err, UM_E_OVERLOADED, "no memory for the answer");
        um_exchange_reply_error(exchange, &err);
    } else {
        um_exchange_reply(exchange, 200, JSON, um_buf_view(body), body->length);
    }
    um_buf_deinit(body);
}

static void write_text(um_buf *out, const char *text)
{
    um_json_append_string(out, text, strlen(text));
}

/* ---- models --------------------------------------------------------------------------------- */

/* What this build does with this model. Every family here sees the whole canvas, so that a gap may
 * have text behind it. */
static void write_features(const um_app *app, um_buf *out)
{
    um_buf_text(out, ",\"supported_features\":[\"infill\",\"edit\",\"draft_stream\"");
    if (um_backend_is_batch_invariant(app->served.backend))
        um_buf_text(out, ",\"batch_invariant\"");
    um_buf_char(out, ']');
}

/* What a request gets that asks for the preset and nothing else. */
static void write_preset(const um_app *app, um_preset preset, um_buf *out)
{
    um_params params;

    um_params_preset(&app->served.limits, preset, &params);
    um_buf_printf(out, "{\"algorithm\":\"%s\",\"block_length\":%d,\"steps_per_block\":",
                  params.policy->name, params.block_length);
    if (params.steps_per_block > 0)
        um_buf_printf(out, "%d", params.steps_per_block);
    else
        um_buf_text(out, "null"); /* no bound */
    if (params.count == UM_COUNT_THRESHOLD)
        um_buf_printf(out, ",\"threshold\":%g", (double)params.threshold);
    if (params.count == UM_COUNT_FACTOR)
        um_buf_printf(out, ",\"factor\":%g", (double)params.factor);
    um_buf_printf(out, ",\"temperature\":%g}", (double)params.temperature);
}

static void write_diffusion(const um_app *app, um_buf *out)
{
    static const struct {
        const char *name;
        um_preset preset;
    } presets[] = {
        {"fast", UM_PRESET_FAST}, {"balanced", UM_PRESET_BALANCED}, {"max", UM_PRESET_MAX}};
    const um_model_info *info = app->served.info;

    um_buf_printf(out,
                  ",\"diffusion\":{\"family\":\"%s\",\"mask_token_id\":%d,\"revises\":false,"
                  "\"recommended\":",
                  info->family->name, info->config.mask_token);
    write_preset(app, UM_PRESET_RECOMMENDED, out);
    um_buf_text(out, ",\"presets\":{");
    for (size_t i = 0; i < UM_COUNT_OF(presets); i++) {
        um_buf_printf(out, "%s\"%s\":", i > 0 ? "," : "", presets[i].name);
        write_preset(app, presets[i].preset, out);
    }
    um_buf_text(out, "}}");
}

/* OpenAI's four keys; ours follow once the checkpoint is open. */
static void write_model(const um_app *app, um_buf *out)
{
    const um_model_info *info = app->served.info;
    const um_strings *aliases = &app->config->model_alias;

    um_buf_text(out, "{\"id\":");
    write_text(out, app->model_id);
    um_buf_printf(out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"unmask\"",
                  (long long)um_app_model_time(app));
    um_buf_text(out, ",\"aliases\":[");
    for (size_t i = 0; i < aliases->count; i++) {
        um_buf_text(out, i > 0 ? "," : "");
        write_text(out, aliases->items[i]);
    }
    um_buf_text(out, "],\"input_modalities\":[\"text\"],\"output_modalities\":[\"text\"]");
    if (app->engine) {
        um_buf_printf(out, ",\"max_model_len\":%d,\"context_length\":%d,\"max_output_length\":%d",
                      info->config.context_max, info->config.context_max,
                      info->config.context_max - 1);
        write_features(app, out);
        write_diffusion(app, out);
    }
    um_buf_char(out, '}');
}

void um_api_models(void *context, um_exchange *exchange)
{
    um_buf body = {0};

    um_buf_text(&body, "{\"object\":\"list\",\"data\":[");
    write_model(context, &body);
    um_buf_text(&body, "]}");
    reply(exchange, &body);
}

void um_api_model(void *context, um_exchange *exchange)
{
    const um_app *app = context;
    const char *id = um_exchange_tail(exchange);
    bool known = strcmp(id, app->model_id) == 0;
    um_buf body = {0};
    um_err err = {0};

    for (size_t i = 0; i < app->config->model_alias.count; i++)
        known = known || strcmp(id, app->config->model_alias.items[i]) == 0;
    if (!known) {
        um_fail_field(&err, UM_E_MODEL_NOT_FOUND, "model",
                      "The model `%.128s` does not exist; this server has `%.128s`", id,
                      app->model_id);
        um_exchange_reply_error(exchange, &err);
        return;
    }
    write_model(app, &body);
    reply(exchange, &body);
}

/* ---- health and version --------------------------------------------------------------------- */

void um_api_health(void *context, um_exchange *exchange)
{
    static const char ok[] = "{\"status\":\"ok\"}";
    um_err err = {0};
    um_status status = um_app_gate(context, &err);

    if (status == UM_OK)
        um_exchange_reply(exchange, 200, JSON, ok, sizeof(ok) - 1);
    else
        um_exchange_reply_error(exchange, &err);
}

void um_api_live(void *context, um_exchange *exchange)
{
    static const char alive[] = "{\"status\":\"alive\"}";

    (void)context;
    um_exchange_reply(exchange, 200, JSON, alive, sizeof(alive) - 1);
}

void um_api_version(void *context, um_exchange *exchange)
{
    const um_app *app = context;
    um_buf body = {0};

    um_buf_printf(&body,
                  "{\"version\":\"%s\",\"commit\":\"%s\",\"backend\":\"%s\",\"api\":\"2026-1\"}",
                  um_version(), um_version_commit(), um_app_backend_name(app));
    reply(exchange, &body);
}
