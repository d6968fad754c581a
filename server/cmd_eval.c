/*
 * `unmask eval`: how often a model's answers to the prompts of a task file are right, and how fast
 * it gives them, with one set of sampler settings or, with --curve, over a sweep of them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/mem.h"
#include "server/commands.h"
#include "server/eval_run.h"
#include "server/eval_task.h"
#include "server/served.h"

#define PROGRESS_TERMINAL_NS ((uint64_t)200000000)
#define PROGRESS_LINES_NS ((uint64_t)5000000000)

typedef struct evaluation {
    um_config config; /* the caller's, with the model in its place; borrowed */
    um_buf file;      /* path of the task file */
    um_eval_tasks tasks;
    um_served served;
    um_eval_job *jobs; /* [tasks.count], owned */
    um_eval *eval;     /* owned */
} evaluation;

typedef struct answer {
    um_buf text;
    bool right;
    um_usage usage;
} answer;

typedef struct score {
    size_t right, total;
    size_t kind_right[UM_EVAL_KINDS_MAX]; /* [kind_count] */
    size_t kind_total[UM_EVAL_KINDS_MAX];
    um_eval_totals totals;
} score;

/* One pass over the tasks. */
typedef struct pass {
    const evaluation *e;
    const char *title; /* before its progress */
    bool terminal;     /* standard error is one: the progress is drawn over itself */
    uint64_t next_progress_ns;
    score *score;
    answer *answers; /* [tasks.count]; NULL: nobody wants them */
} pass;

/* ---- preparing ------------------------------------------------------------------------------ */

static um_status read_arguments(const um_config *config, evaluation *e, um_err *err)
{
    const um_strings *words = &config->arguments;

    if (words->count > 2)
        return um_fail(err, UM_E_VALUE, "eval takes a model and a task file, not \"%.64s\"",
                       words->items[2]);
    if (config->curve && config->json)
        return um_fail_field(err, UM_E_CONFLICT, "--curve",
                             "--curve and --json exclude each other");
    if (config->curve && (config->algorithm || config->threshold >= 0 || config->factor > 0 ||
                          config->steps > 0 || config->tokens_per_step > 0))
        return um_fail_field(err, UM_E_CONFLICT, "--curve",
                             "--curve sweeps over --algorithm, --threshold, --factor and "
                             "--tokens-per-step; none of them, nor --steps, can be given");
    e->config = *config;
    if (words->count > 0)
        e->config.model = words->items[0];
    if (words->count > 1)
        um_buf_text(&e->file, words->items[1]);
    else
        um_buf_printf(&e->file, "%s/eval.jsonl", e->config.model);
    return um_buf_failed(&e->file) ? um_fail(err, UM_E_NOMEM, "no memory for a path") : UM_OK;
}

static um_status task_fault(const evaluation *e, size_t index, um_status status, um_err *err)
{
    if (status == UM_OK)
        return UM_OK;
    return um_err_prefix(err, status, "%s: line %zu", um_buf_view(&e->file),
                         e->tasks.items[index].line);
}

static um_status encode_prompts(evaluation *e, um_err *err)
{
    um_status status = UM_OK;

    e->jobs = um_mem_calloc(e->tasks.count, sizeof(*e->jobs));
    if (!e->jobs)
        return um_fail(err, UM_E_NOMEM, "no memory for %zu prompts", e->tasks.count);
    for (size_t i = 0; i < e->tasks.count && status == UM_OK; i++) {
        const um_eval_task *task = &e->tasks.items[i];

        status = um_served_encode_prompt(&e->served, e->config.raw, task->prompt,
                                         task->prompt_length, &e->jobs[i].prompt, err);
        status = task_fault(e, i, status, err);
    }
    return status;
}

/* Draws of different tasks are independent, and a task's are the same wherever it stands. */
static um_status resolve(evaluation *e, const um_params_given *given, um_err *err)
{
    uint64_t seed = e->config.seed < 0 ? 0 : (uint64_t)e->config.seed;
    um_status status = UM_OK;

    for (size_t i = 0; i < e->tasks.count && status == UM_OK; i++) {
        um_eval_job *job = &e->jobs[i];

        status = um_params_resolve(
            given, &e->served.limits,
            &(um_params_place){.prompt_tokens = (int32_t)job->prompt.count, .field = "prompt"},
            seed + e->tasks.items[i].line, &job->params, err);
        status = task_fault(e, i, status, err);
    }
    return status;
}

static void close_evaluation(evaluation *e)
{
    um_eval_destroy(e->eval);
    for (size_t i = 0; e->jobs && i < e->tasks.count; i++)
        um_ids_deinit(&e->jobs[i].prompt);
    um_mem_free(e->jobs);
    um_served_close(&e->served);
    um_eval_tasks_deinit(&e->tasks);
    um_buf_deinit(&e->file);
}

static um_status open_evaluation(const um_config *config, evaluation *e, um_err *err)
{
    um_status status = read_arguments(config, e, err);

    if (status == UM_OK)
        status = um_eval_tasks_load(um_buf_view(&e->file), &e->tasks, err);
    if (status == UM_OK && config->limit > 0)
        um_eval_tasks_limit(&e->tasks, (size_t)config->limit);
    if (status == UM_OK)
        status = um_served_open(&e->config, NULL, NULL, &e->served, err);
    if (status == UM_OK)
        status = encode_prompts(e, err);
    return status == UM_OK ? um_eval_create(&e->served.engine, &e->eval, err) : status;
}

/* ---- running -------------------------------------------------------------------------------- */

static void show_progress(pass *p)
{
    uint64_t now = um_clock_now_ns(um_clock_system());
    bool last = p->score->total == p->e->tasks.count;

    if (p->terminal && last) {
        fputs("\r\x1b[K", stderr);
        return;
    }
    if (now < p->next_progress_ns)
        return;
    p->next_progress_ns = now + (p->terminal ? PROGRESS_TERMINAL_NS : PROGRESS_LINES_NS);
    fprintf(stderr, "%s%s%zu of %zu answered, %zu right%s", p->terminal ? "\r\x1b[K" : "", p->title,
            p->score->total, p->e->tasks.count, p->score->right, p->terminal ? "" : "\n");
}

static void on_answer(void *context, size_t index, const um_buf *text, const um_usage *usage)
{
    pass *p = context;
    const um_eval_task *task = &p->e->tasks.items[index];
    bool right = um_checker_accepts(&task->checker, um_buf_view(text), text->length);

    p->score->total++;
    p->score->kind_total[task->kind]++;
    p->score->right += right;
    p->score->kind_right[task->kind] += right;
    if (p->answers) {
        answer *kept = &p->answers[index];

        kept->right = right;
        kept->usage = *usage;
        um_buf_append(&kept->text, um_buf_view(text), text->length);
    }
    show_progress(p);
}

static um_status run_pass(evaluation *e, const um_params_given *given, const char *title,
                          score *out, answer *answers, um_err *err)
{
    bool terminal = isatty(STDERR_FILENO) == 1;
    pass p = {.e = e,
              .title = title,
              .terminal = terminal,
              .next_progress_ns = um_clock_now_ns(um_clock_system()) +
                                  (terminal ? PROGRESS_TERMINAL_NS : PROGRESS_LINES_NS),
              .score = out,
              .answers = answers};
    um_status status = resolve(e, given, err);

    *out = (score){0};
    if (status != UM_OK)
        return status;
    return um_eval_run(e->eval, e->jobs, e->tasks.count, on_answer, &p, &out->totals, err);
}

static double accuracy(size_t right, size_t total)
{
    return (double)right / (double)total;
}

static double tokens_per_second(const um_eval_totals *totals)
{
    return (double)totals->tokens / totals->seconds;
}

static double tokens_per_step(const um_eval_totals *totals)
{
    return (double)totals->tokens / (double)totals->steps;
}

/* ---- one setting: text ---------------------------------------------------------------------- */

/* The settings of the first task; only a cut at the end of the context can differ. */
static void write_settings_text(const um_params *params, um_buf *out)
{
    um_buf_printf(out, "settings   %s", params->policy->name);
    if (params->count == UM_COUNT_THRESHOLD)
        um_buf_printf(out, " %g", (double)params->threshold);
    if (params->count == UM_COUNT_FACTOR)
        um_buf_printf(out, " %g", (double)params->factor);
    um_buf_printf(out, ", blocks of %d", params->block_length);
    if (params->steps_per_block > 0)
        um_buf_printf(out, " in %d steps", params->steps_per_block);
    um_buf_printf(out, ", at most %d tokens, temperature %g\n\n", params->max_tokens,
                  (double)params->temperature);
}

static void write_score_text(const evaluation *e, const score *s, um_buf *out)
{
    um_buf_printf(out, "%-20s %7s %7s %9s\n", "kind", "right", "of", "accuracy");
    for (size_t i = 0; i < e->tasks.kind_count; i++)
        um_buf_printf(out, "%-20s %7zu %7zu %8.1f%%\n", e->tasks.kinds[i], s->kind_right[i],
                      s->kind_total[i], 100 * accuracy(s->kind_right[i], s->kind_total[i]));
    um_buf_printf(out, "%-20s %7zu %7zu %8.1f%%\n\n", "all", s->right, s->total,
                  100 * accuracy(s->right, s->total));
    um_buf_printf(out, "%.1f s: %" PRId64 " tokens, %.0f tokens/s, %.2f tokens per step\n",
                  s->totals.seconds, s->totals.tokens, tokens_per_second(&s->totals),
                  tokens_per_step(&s->totals));
}

static void write_text(const evaluation *e, const score *s, um_buf *out)
{
    um_buf_printf(out, "model      %s, %s\n", e->config.model,
                  um_dtype_name(e->served.info->precision));
    um_buf_printf(out, "backend    %s\n", um_backend_describe(e->served.backend));
    um_buf_printf(out, "tasks      %s\n", um_buf_view(&e->file));
    write_settings_text(&e->jobs[0].params, out);
    write_score_text(e, s, out);
}

/* ---- one setting: JSON ---------------------------------------------------------------------- */

static void write_settings_json(const um_params *params, um_buf *out)
{
    um_buf_printf(out, ",\"settings\":{\"algorithm\":\"%s\"", params->policy->name);
    if (params->count == UM_COUNT_THRESHOLD)
        um_buf_printf(out, ",\"threshold\":%g", (double)params->threshold);
    if (params->count == UM_COUNT_FACTOR)
        um_buf_printf(out, ",\"factor\":%g", (double)params->factor);
    um_buf_printf(out,
                  ",\"block_length\":%d,\"steps_per_block\":%d,\"max_tokens\":%d,"
                  "\"temperature\":%g}",
                  params->block_length, params->steps_per_block, params->max_tokens,
                  (double)params->temperature);
}

static void write_score_json(const evaluation *e, const score *s, um_buf *out)
{
    um_buf_printf(out, ",\"right\":%zu,\"total\":%zu,\"accuracy\":%.6f,\"kinds\":{", s->right,
                  s->total, accuracy(s->right, s->total));
    for (size_t i = 0; i < e->tasks.kind_count; i++)
        um_buf_printf(out, "%s\"%s\":{\"right\":%zu,\"total\":%zu}", i ? "," : "",
                      e->tasks.kinds[i], s->kind_right[i], s->kind_total[i]);
    um_buf_printf(out,
                  "},\"seconds\":%.6f,\"tokens\":%" PRId64 ",\"steps\":%" PRId64
                  ",\"tokens_per_second\":%.3f,\"tokens_per_step\":%.6f",
                  s->totals.seconds, s->totals.tokens, s->totals.steps,
                  tokens_per_second(&s->totals), tokens_per_step(&s->totals));
}

static void write_json(const evaluation *e, const score *s, const answer *answers, um_buf *out)
{
    um_buf_text(out, "{\"model\":");
    um_json_append_string(out, e->config.model, strlen(e->config.model));
    um_buf_text(out, ",\"file\":");
    um_json_append_string(out, um_buf_view(&e->file), e->file.length);
    um_buf_printf(out, ",\"backend\":\"%s\",\"precision\":\"%s\"",
                  um_backend_name(e->served.backend), um_dtype_name(e->served.info->precision));
    write_settings_json(&e->jobs[0].params, out);
    write_score_json(e, s, out);
    um_buf_text(out, ",\"answers\":[");
    for (size_t i = 0; i < e->tasks.count; i++) {
        const um_eval_task *task = &e->tasks.items[i];

        um_buf_printf(out,
                      "%s\n{\"line\":%zu,\"kind\":\"%s\",\"right\":%s,\"answer\":", i ? "," : "",
                      task->line, e->tasks.kinds[task->kind], answers[i].right ? "true" : "false");
        um_json_append_string(out, um_buf_view(&answers[i].text), answers[i].text.length);
        um_buf_printf(out, ",\"tokens\":%d,\"steps\":%d}", answers[i].usage.completion_tokens,
                      answers[i].usage.steps);
        out->failed |= answers[i].text.failed;
    }
    um_buf_text(out, "\n]}\n");
}

static um_status evaluate_once(evaluation *e, um_err *err)
{
    answer *answers = um_mem_calloc(e->tasks.count, sizeof(*answers));
    um_params_given given;
    um_buf out = {0};
    score result;
    um_status status;

    if (!answers)
        return um_fail(err, UM_E_NOMEM, "no memory for %zu answers", e->tasks.count);
    status = um_served_given(&e->served, &e->config, &given, err);
    if (status == UM_OK)
        status = run_pass(e, &given, "", &result, answers, err);
    if (status != UM_OK)
        goto done;
    if (e->config.json)
        write_json(e, &result, answers, &out);
    else
        write_text(e, &result, &out);
    if (um_buf_failed(&out))
        status = um_fail(err, UM_E_NOMEM, "no memory for the report");
    else
        fputs(um_buf_view(&out), stdout);
done:
    for (size_t i = 0; i < e->tasks.count; i++)
        um_buf_deinit(&answers[i].text);
    um_mem_free(answers);
    um_buf_deinit(&out);
    return status;
}

/* ---- the curve ------------------------------------------------------------------------------ */

typedef struct point {
    const char *algorithm;
    int32_t tokens_per_step; /* 0: does not apply, as below */
    double threshold, factor;
} point;

static const point points[] = {
    {.algorithm = "low_confidence", .tokens_per_step = 1},
    {.algorithm = "low_confidence", .tokens_per_step = 2},
    {.algorithm = "low_confidence", .tokens_per_step = 4},
    {.algorithm = "random", .tokens_per_step = 1},
    {.algorithm = "random", .tokens_per_step = 2},
    {.algorithm = "random", .tokens_per_step = 4},
    {.algorithm = "threshold", .threshold = 0.5},
    {.algorithm = "threshold", .threshold = 0.6},
    {.algorithm = "threshold", .threshold = 0.7},
    {.algorithm = "threshold", .threshold = 0.8},
    {.algorithm = "threshold", .threshold = 0.9},
    {.algorithm = "threshold", .threshold = 0.95},
    {.algorithm = "factor", .factor = 0.5},
    {.algorithm = "factor", .factor = 1},
    {.algorithm = "factor", .factor = 2},
};

static um_status run_point(evaluation *e, const point *p, score *out, um_err *err)
{
    um_config config = e->config;
    um_params_given given;
    char title[64];
    um_status status;

    config.tokens_per_step = p->tokens_per_step;
    config.threshold = p->threshold > 0 ? p->threshold : -1;
    config.factor = p->factor;
    status = um_served_given(&e->served, &config, &given, err);
    if (status != UM_OK)
        return status;
    given.algorithm = p->algorithm;
    snprintf(title, sizeof(title), "%zu of %zu, %s: ", (size_t)(p - points) + 1,
             UM_COUNT_OF(points), p->algorithm);
    return run_pass(e, &given, title, out, NULL, err);
}

static void write_number_or_nothing(FILE *file, double value)
{
    if (value > 0)
        fprintf(file, "%g", value);
    fputc(',', file);
}

static void write_csv_row(FILE *file, const evaluation *e, const point *p, const score *s)
{
    fprintf(file, "%s,", p->algorithm);
    write_number_or_nothing(file, p->tokens_per_step);
    write_number_or_nothing(file, p->threshold);
    write_number_or_nothing(file, p->factor);
    fprintf(file, "%zu,%zu,%.6f,%" PRId64 ",%" PRId64 ",%.6f,%.3f,%.6f", s->right, s->total,
            accuracy(s->right, s->total), s->totals.tokens, s->totals.steps, s->totals.seconds,
            tokens_per_second(&s->totals), tokens_per_step(&s->totals));
    for (size_t i = 0; i < e->tasks.kind_count; i++)
        fprintf(file, ",%.6f", accuracy(s->kind_right[i], s->kind_total[i]));
    fputc('\n', file);
    fflush(file); /* whoever stops a long sweep keeps what was measured */
}

static void print_point(const point *p, const score *s)
{
    double setting = p->tokens_per_step + p->threshold + p->factor; /* one of them */

    printf("%-16s %7g %9.1f%% %10.0f %10.2f\n", p->algorithm, setting,
           100 * accuracy(s->right, s->total), tokens_per_second(&s->totals),
           tokens_per_step(&s->totals));
    fflush(stdout);
}

static um_status sweep(evaluation *e, um_err *err)
{
    const char *path = e->config.curve;
    FILE *file = fopen(path, "w");
    um_status status = UM_OK;
    bool written;

    if (!file)
        return um_fail_field(err, UM_E_IO, "--curve", "%s: %s", path, strerror(errno));
    fputs("algorithm,per_step,threshold,factor,right,total,accuracy,tokens,steps,seconds,"
          "tokens_per_second,tokens_per_step",
          file);
    for (size_t i = 0; i < e->tasks.kind_count; i++)
        fprintf(file, ",accuracy_%s", e->tasks.kinds[i]);
    fputc('\n', file);
    printf("%-16s %7s %10s %10s %10s\n", "algorithm", "setting", "accuracy", "tokens/s",
           "per step");
    for (size_t i = 0; i < UM_COUNT_OF(points) && status == UM_OK; i++) {
        score result;

        status = run_point(e, &points[i], &result, err);
        if (status != UM_OK)
            break;
        write_csv_row(file, e, &points[i], &result);
        print_point(&points[i], &result);
    }
    written = !ferror(file);
    written &= fclose(file) == 0;
    if (status == UM_OK && !written)
        status = um_fail_field(err, UM_E_IO, "--curve", "%s: cannot be written", path);
    return status;
}

/* ---- the command ---------------------------------------------------------------------------- */

um_status um_cmd_eval(const um_config *config, um_err *err)
{
    evaluation e = {0};
    um_status status = open_evaluation(config, &e, err);

    if (status == UM_OK)
        status = config->curve ? sweep(&e, err) : evaluate_once(&e, err);
    close_evaluation(&e);
    return status;
}
