/*
 * `unmask inspect DIR`: what a checkpoint is, what it will need, and whether it can be served; as
 * text or, with --json, as one JSON object. Reads headers and the tokenizer, loads no weights. A
 * checkpoint that cannot be served is an error behind the report, so that scripts can ask.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/json.h"
#include "core/model/model.h"
#include "core/text/chat_template.h"
#include "server/commands.h"

typedef struct inspection {
    um_model_report model;
    int32_t tokenizer_ids;     /* largest id + 1; 0: not read */
    const char *chat_template; /* its name; NULL: no chat */
    um_err problem;            /* the first one; UM_OK: can be served */
} inspection;

/* Only asked when the model is fine: the first problem is the one reported. */
static void inspect_text(const um_config *config, const char *dir, inspection *out)
{
    const um_chat_template *chat = NULL;
    um_tokenizer *tokenizer = NULL;
    int32_t rows = out->model.config.vocab_rows;

    if (um_tokenizer_open(dir, &tokenizer, &out->problem) != UM_OK)
        return;
    out->tokenizer_ids = um_tokenizer_size(tokenizer);
    if (out->tokenizer_ids > rows)
        um_fail(&out->problem, UM_E_FORMAT,
                "%s: the tokenizer has ids up to %d; the embedding has %d rows", dir,
                out->tokenizer_ids - 1, rows);
    else if (um_chat_template_choose(dir, config->chat_template, &chat, &out->problem) == UM_OK &&
             chat)
        out->chat_template = um_chat_template_name(chat);
    um_tokenizer_close(tokenizer);
}

static um_status inspect(const um_config *config, inspection *out, um_err *err)
{
    const char *dir = config->arguments.items[0];
    const um_model_dir_options options = {.family = config->family,
                                          .context = (int32_t)config->context};
    um_status status;

    *out = (inspection){0};
    status = um_model_inspect(dir, &options, &out->model, err);
    if (status != UM_OK)
        return status;
    out->problem = out->model.problem;
    if (out->problem.status == UM_OK)
        inspect_text(config, dir, out);
    return UM_OK;
}

/* ---- text ----------------------------------------------------------------------------------- */

static void append_bytes(um_buf *out, size_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes / 1024.0;
    size_t unit = 0;

    for (; value >= 1024.0 && unit + 1 < UM_COUNT_OF(units); unit++)
        value /= 1024.0;
    um_buf_printf(out, "%.1f %s", value, units[unit]);
}

static void row(um_buf *out, const char *name)
{
    um_buf_printf(out, "%-14s ", name);
}

static void write_dimensions(const um_model_config *c, um_buf *out)
{
    row(out, "dimensions");
    um_buf_printf(out, "width %d, %d layers, %d heads of %d (%d key/value), MLP %d\n", c->width,
                  c->layers, c->heads, c->head_dim, c->kv_heads, c->mlp_width);
    row(out, "vocabulary");
    um_buf_printf(out, "%d ids in %d rows%s; mask %d, end %d\n", c->vocab, c->vocab_rows,
                  c->tied_head ? ", tied head" : "", c->mask_token, c->end_token);
    row(out, "context");
    um_buf_printf(out, "%d positions\n", c->context_max);
}

static void write_model_text(const um_model_report *report, um_buf *out)
{
    const um_model_defaults *defaults = &report->defaults;

    if (report->parameters > 0) { /* config.json was understood */
        write_dimensions(&report->config, out);
        row(out, "defaults");
        um_buf_printf(out, "%s, ", defaults->algorithm);
        if (defaults->block_length > 0)
            um_buf_printf(out, "blocks of %d", defaults->block_length);
        else
            um_buf_text(out, "one block");
        um_buf_printf(out, ", %d tokens, temperature %g", defaults->max_tokens,
                      (double)defaults->temperature);
        if (defaults->top_p < 1.0f)
            um_buf_printf(out, ", top_p %g", (double)defaults->top_p);
        um_buf_char(out, '\n');
        row(out, "parameters");
        um_buf_printf(out, "%llu\n", (unsigned long long)report->parameters);
        row(out, "memory");
        append_bytes(out, report->need_f32_bytes);
        um_buf_text(out, " of weights in f32, ");
        append_bytes(out, report->need_bf16_bytes);
        um_buf_text(out, " in bf16\n");
    }
    if (report->file_count > 0) {
        row(out, "files");
        um_buf_printf(out, "%zu of ", report->file_count);
        append_bytes(out, report->checkpoint_bytes);
        um_buf_printf(out, " in all, %zu tensors (%zu unused), stored as %s\n",
                      report->tensor_count, report->unknown_count, report->dtype_name);
    }
}

static void write_text(const inspection *found, um_buf *out)
{
    const um_model_report *report = &found->model;

    row(out, "architecture");
    um_buf_printf(out, "%s (%s)\n", report->architecture[0] ? report->architecture : "none given",
                  report->family ? report->family->name : "unknown family");
    write_model_text(report, out);
    if (found->tokenizer_ids > 0) {
        row(out, "tokenizer");
        um_buf_printf(out, "%d ids; chat template: %s\n", found->tokenizer_ids,
                      found->chat_template ? found->chat_template : "none");
    }
    row(out, "can be served");
    um_buf_text(out, found->problem.status == UM_OK ? "yes\n" : "no\n");
    if (report->tensor_problems)
        um_buf_printf(out, "\n%s\n", report->tensor_problems);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void member_text(um_buf *out, const char *key, const char *value)
{
    um_buf_printf(out, ",\"%s\":", key);
    if (value)
        um_json_append_string(out, value, strlen(value));
    else
        um_buf_text(out, "null");
}

static void member_int(um_buf *out, const char *key, long long value)
{
    um_buf_printf(out, ",\"%s\":%lld", key, value);
}

static void write_config_json(const um_model_config *c, um_buf *out)
{
    const struct {
        const char *key;
        int32_t value;
    } members[] = {
        {"width", c->width},         {"layers", c->layers},
        {"heads", c->heads},         {"kv_heads", c->kv_heads},
        {"head_dim", c->head_dim},   {"mlp_width", c->mlp_width},
        {"vocabulary", c->vocab},    {"vocabulary_rows", c->vocab_rows},
        {"context", c->context_max}, {"mask_token", c->mask_token},
        {"end_token", c->end_token},
    };

    for (size_t i = 0; i < UM_COUNT_OF(members); i++)
        member_int(out, members[i].key, members[i].value);
}

static void write_defaults_json(const um_model_defaults *defaults, um_buf *out)
{
    um_buf_text(out, ",\"defaults\":{\"algorithm\":");
    um_json_append_string(out, defaults->algorithm, strlen(defaults->algorithm));
    member_int(out, "block_length", defaults->block_length);
    member_int(out, "steps_per_block", defaults->steps_per_block);
    member_int(out, "max_tokens", defaults->max_tokens);
    um_buf_printf(out, ",\"temperature\":%g}", (double)defaults->temperature);
}

/* One JSON array of the lines of `text`. */
static void write_lines_json(const char *text, um_buf *out)
{
    um_buf_char(out, '[');
    for (const char *line = text; line && *line;) {
        size_t length = strcspn(line, "\n");

        um_buf_text(out, line == text ? "" : ",");
        um_json_append_string(out, line, length);
        line += length + (line[length] == '\n');
    }
    um_buf_char(out, ']');
}

static void write_json(const inspection *found, um_buf *out)
{
    const um_model_report *report = &found->model;

    um_buf_printf(out, "{\"servable\":%s", found->problem.status == UM_OK ? "true" : "false");
    member_text(out, "problem", found->problem.status == UM_OK ? NULL : found->problem.message);
    member_text(out, "architecture", report->architecture[0] ? report->architecture : NULL);
    member_text(out, "family", report->family ? report->family->name : NULL);
    if (report->parameters > 0) {
        write_config_json(&report->config, out);
        write_defaults_json(&report->defaults, out);
        member_int(out, "parameters", (long long)report->parameters);
        member_int(out, "weight_bytes_f32", (long long)report->need_f32_bytes);
        member_int(out, "weight_bytes_bf16", (long long)report->need_bf16_bytes);
    }
    member_int(out, "files", (long long)report->file_count);
    member_int(out, "file_bytes", (long long)report->checkpoint_bytes);
    member_int(out, "tensors", (long long)report->tensor_count);
    member_int(out, "unused_tensors", (long long)report->unknown_count);
    member_text(out, "dtype", report->dtype_name[0] ? report->dtype_name : NULL);
    um_buf_text(out, ",\"tensor_problems\":");
    write_lines_json(report->tensor_problems, out);
    member_int(out, "tokenizer_ids", found->tokenizer_ids);
    member_text(out, "chat_template", found->chat_template);
    um_buf_text(out, "}\n");
}

um_status um_cmd_inspect(const um_config *config, um_err *err)
{
    um_buf out = {0};
    inspection found;
    um_status status;

    if (config->arguments.count != 1)
        return um_fail(err, UM_E_MISSING, "inspect takes one checkpoint directory, not %zu",
                       config->arguments.count);
    status = inspect(config, &found, err);
    if (status != UM_OK)
        return status;
    if (config->json)
        write_json(&found, &out);
    else
        write_text(&found, &out);
    if (um_buf_failed(&out)) {
        status = um_fail(err, UM_E_NOMEM, "no memory for the report");
    } else {
        fputs(um_buf_view(&out), stdout);
        status = found.problem.status;
        if (status != UM_OK && err)
            *err = found.problem;
    }
    um_buf_deinit(&out);
    um_model_report_deinit(&found.model);
    return status;
}
