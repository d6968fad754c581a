#include "server/test_step.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/mem.h"

#define SLOW_MS_MAX 86400000
#define STEP_NUMBER_MAX 1000000000

typedef enum step_kind {
    SLOW,
    FAIL,
    INSTANT,
    HANG,
} step_kind;

struct um_test_step {
    step_kind kind;
    int64_t number; /* milliseconds, or which step */
    um_step_fn inner;
    void *inner_context;
    /* engine thread */
    int64_t begun; /* steps */
    int32_t letter;
    /* slow steps wait on it */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool released;
};

/* ---- what a step does ------------------------------------------------------------------------ */

static void wait_a_while(um_test_step *step)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(step->number / 1000);
    until.tv_nsec += (long)(step->number % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&step->lock);
    while (!step->released &&
           pthread_cond_timedwait(&step->wake, &step->lock, &until) != ETIMEDOUT) {
    }
    pthread_mutex_unlock(&step->lock);
}

static bool commits_all(const um_select_rule *rule)
{
    return rule->kind == UM_SELECT_INDEPENDENT || rule->kind == UM_SELECT_COMPETING;
}

/* The first masked rows, as many as the rule asks for. */
static void commit_letters(const um_test_step *step, const um_plan *plan, um_step_result *result)
{
    for (int32_t i = 0; i < plan->request_count; i++) {
        const um_select_rule *rule = &plan->select_rules[i];
        int32_t wanted = commits_all(rule) ? rule->rows : rule->count, count = 0;

        if (wanted < 1)
            wanted = 1;
        for (int32_t r = rule->first; r < rule->first + rule->rows && count < wanted; r++)
            if (plan->score_rows[r].masked)
                result->commits[rule->first + count++] =
                    (um_commit){.sequence = rule->sequence,
                                .position = plan->score_rows[r].position,
                                .token = step->letter,
                                .confidence = 1.0f};
        result->counts[i] = count;
    }
    for (int32_t r = 0; r < plan->score_count; r++)
        for (int32_t a = 0; a < plan->alternative_count; a++)
            um_step_result_alternatives(result, plan, r)[a] =
                (um_alternative){.token = step->letter, .logprob = 0.0f};
}

static um_status run(void *context, const um_plan *plan, um_step_result *result, um_err *err)
{
    um_test_step *step = context;

    step->begun++;
    switch (step->kind) {
    case SLOW:
        wait_a_while(step);
        break;
    case FAIL:
        if (step->begun == step->number)
            return um_fail(err, UM_E_DEVICE, "step %lld fails: --test-step asked for it",
                           (long long)step->number);
        break;
    case INSTANT:
        commit_letters(step, plan, result);
        return UM_OK;
    case HANG: /* whatever happens: the thread is lost */
        for (;;)
            pause();
    }
    return step->inner(step->inner_context, plan, result, err);
}

/* ---- life ----------------------------------------------------------------------------------- */

static bool read_number(const char *text, const char *word, int64_t max, int64_t *out)
{
    size_t length = strlen(word);
    char *end;

    if (strncmp(text, word, length) != 0 || text[length] < '0' || text[length] > '9')
        return false;
    errno = 0;
    *out = strtoll(text + length, &end, 10);
    return errno == 0 && *end == '\0' && *out >= 1 && *out <= max;
}

um_status um_test_step_open(const char *text, um_test_step **out, um_err *err)
{
    um_test_step parsed = {0}, *step;
    pthread_condattr_t monotonic;

    *out = NULL;
    if (!text)
        return UM_OK;
    if (read_number(text, "slow:", SLOW_MS_MAX, &parsed.number))
        parsed.kind = SLOW;
    else if (read_number(text, "fail:", STEP_NUMBER_MAX, &parsed.number))
        parsed.kind = FAIL;
    else if (strcmp(text, "instant") == 0)
        parsed.kind = INSTANT;
    else if (strcmp(text, "hang") == 0)
        parsed.kind = HANG;
    else
        return um_fail_field(err, UM_E_VALUE, "--test-step",
                             "--test-step is \"%.32s\"; expected slow:MS (1 to %d), fail:N (1 to "
                             "%d), instant or hang",
                             text, SLOW_MS_MAX, STEP_NUMBER_MAX);
    step = um_mem_zalloc(sizeof(*step));
    if (!step)
        return um_fail(err, UM_E_NOMEM, "no memory for --test-step");
    *step = parsed;
    pthread_mutex_init(&step->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&step->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out = step;
    return UM_OK;
}

void um_test_step_close(um_test_step *step)
{
    if (!step)
        return;
    pthread_cond_destroy(&step->wake);
    pthread_mutex_destroy(&step->lock);
    um_mem_free(step);
}

/* A token that is one letter; every vocabulary of text has some. */
static int32_t find_letter(const um_tokenizer *tokenizer)
{
    for (int32_t id = 0; id < um_tokenizer_size(tokenizer); id++) {
        size_t length;
        const uint8_t *bytes = um_tokenizer_bytes(tokenizer, id, &length);

        if (length == 1 && bytes[0] >= 'a' && bytes[0] <= 'z')
            return id;
    }
    return 0;
}

void um_test_step_wrap(um_test_step *step, um_engine_options *options)
{
    if (!step)
        return;
    step->inner = options->step;
    step->inner_context = options->step_context;
    step->letter = find_letter(options->tokenizer);
    options->step = run;
    options->step_context = step;
}

void um_test_step_release(um_test_step *step)
{
    if (!step)
        return;
    pthread_mutex_lock(&step->lock);
    step->released = true;
    pthread_cond_broadcast(&step->wake);
    pthread_mutex_unlock(&step->lock);
}
