/* The runner of `unmask eval` on an engine whose step commits each request's own first prompt token. */
#include "tests/test.h"

#include "core/base/log.h"
#include "core/base/mem.h"
#include "server/eval_run.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/fake_step.h"

#define JOBS 100
#define CONTEXT 32

typedef struct fixture {
    um_engine_options options;
    int32_t steps_left; /* until the step fails; below 0: never. Engine thread */
    um_eval_job jobs[JOBS];
    um_buf texts[JOBS];
    um_usage usages[JOBS];
    int32_t times[JOBS]; /* answered */
} fixture;

static um_status echo_step(void *context, const um_plan *plan, um_step_result *result, um_err *err)
{
    fixture *f = context;

    if (f->steps_left == 0)
        return um_fail(err, UM_E_DEVICE, "no device");
    f->steps_left -= f->steps_left > 0;
    um_fake_step(plan, UM_FAKE_ECHO, result);
    return UM_OK;
}

static int32_t length_of(int32_t job)
{
    return 1 + job % 7;
}

static char letter_of(int32_t job)
{
    return (char)('a' + job % 26);
}

static void prepare(fixture *f, int32_t batch_max)
{
    memset(f, 0, sizeof(*f));
    f->steps_left = -1;
    f->options = (um_engine_options){
        .batch_max = batch_max,
        .rows_per_step = 64,
        .tokenizer = um_byte_tokenizer_open(),
        .context_max = CONTEXT,
        .canvas = {.mask_token = UM_BYTE_MASK},
        .end_tokens = {UM_BYTE_END},
        .end_token_count = 1,
        .eos_token = UM_BYTE_END,
        .turn_token = -1,
        .queue_timeout_ms = 1, /* both replaced by the runner */
        .request_timeout_ms = 1,
        .step = echo_step,
        .step_context = f,
    };
    for (int32_t i = 0; i < JOBS; i++) {
        int32_t length = length_of(i);

        UM_CHECK(um_ids_push(&f->jobs[i].prompt, letter_of(i)));
        f->jobs[i].params = (um_params){.policy = um_policy_find("low_confidence"),
                                        .count = UM_COUNT_QUOTA,
                                        .top_p = 1.0f,
                                        .max_tokens = length,
                                        .canvas_tokens = length,
                                        .block_length = length,
                                        .block_count = 1,
                                        .steps_per_block = length,
                                        .early_stop = true};
    }
}

static void clean(fixture *f)
{
    for (int32_t i = 0; i < JOBS; i++) {
        um_ids_deinit(&f->jobs[i].prompt);
        um_buf_deinit(&f->texts[i]);
    }
    um_tokenizer_close((um_tokenizer *)f->options.tokenizer);
}

static void on_answer(void *context, size_t index, const um_buf *text, const um_usage *usage)
{
    fixture *f = context;

    UM_ASSERT(index < JOBS);
    f->times[index]++;
    f->usages[index] = *usage;
    um_buf_append(&f->texts[index], um_buf_view(text), text->length);
}

static void check_answers(fixture *f, const um_eval_totals *totals)
{
    int64_t tokens = 0;

    for (int32_t i = 0; i < JOBS; i++) {
        char expected[8] = {0};

        memset(expected, letter_of(i), (size_t)length_of(i));
        UM_CHECK_INT(f->times[i], 1);
        UM_CHECK_STR(um_buf_view(&f->texts[i]), expected);
        UM_CHECK_INT(f->usages[i].steps, length_of(i));
        tokens += length_of(i);
        f->times[i] = 0;
        um_buf_clear(&f->texts[i]);
    }
    UM_CHECK_INT(totals->tokens, tokens);
    UM_CHECK_INT(totals->steps, tokens);
    UM_CHECK(totals->seconds > 0);
}

static void every_job_gets_its_own_answer_once(void)
{
    static const int32_t batches[] = {1, 2, 7, 64, 200};
    fixture f;
    um_eval_totals totals;
    um_eval *eval;
    um_err err = {0};

    for (size_t i = 0; i < UM_COUNT_OF(batches); i++) {
        prepare(&f, batches[i]);
        UM_CHECK_OK(um_eval_create(&f.options, &eval, &err), err);
        for (int times = 0; times < 2; times++) { /* one um_eval runs many times */
            UM_CHECK_OK(um_eval_run(eval, f.jobs, JOBS, on_answer, &f, &totals, &err), err);
            check_answers(&f, &totals);
        }
        um_eval_destroy(eval);
        clean(&f);
    }
}

static void a_failed_step_ends_the_run(void)
{
    fixture f;
    um_eval_totals totals;
    um_eval *eval;
    um_err err = {0};

    um_log_set_level(UM_LOG_OFF); /* the engine says it too */
    prepare(&f, 4);
    f.steps_left = 10;
    UM_CHECK_OK(um_eval_create(&f.options, &eval, &err), err);
    UM_CHECK_STATUS(um_eval_run(eval, f.jobs, JOBS, on_answer, &f, &totals, &err), UM_E_ENGINE);
    UM_CHECK(strstr(err.message, "no device") != NULL);
    um_eval_destroy(eval);
    clean(&f);
}

/* Until creation succeeds, then until a run does: what happens in between allocates as well, on
 * either thread. */
static void every_failed_allocation_is_reported_and_leaks_nothing(void)
{
    fixture f;
    um_eval_totals totals;
    um_status status = UM_E_NOMEM;
    int created = 0, ran = 0;

    prepare(&f, 4);
    for (long n = 1; status != UM_OK; n++) {
        um_eval *eval = NULL;

        um_mem_fail_after(n);
        status = um_eval_create(&f.options, &eval, NULL);
        created += status != UM_OK;
        if (status == UM_OK) {
            status = um_eval_run(eval, f.jobs, 1, on_answer, &f, &totals, NULL);
            ran += status != UM_OK;
        } else {
            UM_CHECK_STATUS(status, UM_E_NOMEM);
        }
        UM_CHECK(status == UM_OK || status == UM_E_NOMEM || status == UM_E_OVERLOADED);
        um_mem_fail_after(0);
        um_eval_destroy(eval);
        um_buf_clear(&f.texts[0]);
    }
    UM_CHECK(created > 10 && ran > 1);
    clean(&f);
}

static const um_test tests[] = {
    UM_TEST(every_job_gets_its_own_answer_once),
    UM_TEST(a_failed_step_ends_the_run),
    UM_TEST(every_failed_allocation_is_reported_and_leaks_nothing),
};
UM_TEST_MAIN(tests)
