/*
 * What an event of a stream costs the HTTP thread, from the engine's event to the bytes that the
 * transport is given: CPU time, so that other programs disturb little. Not a test; prints a table.
 *
 *     build/release/tests/unit/measure_frames
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "server/stream.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/stream_rig.h"
#include "tests/test.h"

#define CANVAS_MAX 4096

typedef struct load {
    const char *name;
    um_stream_mode mode;
    bool full_only, guess;
    int32_t canvas, block;
    int32_t filled; /* positions a step */
} load;

static const load loads[] = {
    {"settled", UM_STREAM_SETTLED, false, false, 256, 32, 1},
    {"draft", UM_STREAM_DRAFT, false, false, 256, 32, 1},
    {"draft, one block", UM_STREAM_DRAFT, false, false, 256, 256, 1},
    {"draft, guesses", UM_STREAM_DRAFT, false, true, 256, 256, 1},
    {"draft, full frames", UM_STREAM_DRAFT, true, false, 256, 256, 1},
    {"replace, guesses", UM_STREAM_REPLACE, false, true, 256, 256, 1},
    {"draft", UM_STREAM_DRAFT, false, false, 1024, 32, 1},
    {"draft, one block", UM_STREAM_DRAFT, false, false, 1024, 1024, 1},
    {"draft, guesses", UM_STREAM_DRAFT, false, true, 1024, 1024, 4},
    {"draft, full frames", UM_STREAM_DRAFT, true, false, 1024, 1024, 1},
    {"draft, one block", UM_STREAM_DRAFT, false, false, 4096, 4096, 4},
    {"draft, full frames", UM_STREAM_DRAFT, true, false, 4096, 4096, 4},
};

static double cpu_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Any sequence will do, as long as it is the same each time. */
static int32_t draw(int32_t below)
{
    static uint64_t state = 1;

    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int32_t)((state >> 33) % (uint64_t)below);
}

static void shuffle(int32_t *order, int32_t count)
{
    for (int32_t i = count - 1; i > 0; i--) {
        int32_t j = draw(i + 1), other = order[i];

        order[i] = order[j];
        order[j] = other;
    }
}

/* One step: `changed` positions are filled, the rest of the block is guessed. Its time. */
static double send_step(um_rig *rig, const load *l, um_draft_step step, const int32_t *changed,
                        int32_t left)
{
    static um_draft_change changes[CANVAS_MAX];
    um_event event = {.steps = &step, .step_count = 1, .changes = changes};
    double begin;

    step.changes = left < l->filled ? left : l->filled;
    for (int32_t i = 0; i < left; i++)
        changes[i] = (um_draft_change){changed[i], i < step.changes ? UM_BYTE_TH : 'a' + draw(26),
                                       0.5f, false};
    if (l->guess) {
        event.guesses = changes + step.changes;
        event.guess_count = left - step.changes;
    }
    begin = cpu_us();
    um_rig_send(rig, 0, event, step.step % 2 ? "this" : "that"); /* equal texts are joined */
    return cpu_us() - begin;
}

static void measure(const load *l)
{
    const um_submission submission = {
        .want_draft = l->mode != UM_STREAM_SETTLED,
        .params = {.block_length = l->block, .max_tokens = l->canvas, .canvas_tokens = l->canvas}};
    const um_stream_options options = {.endpoint = UM_ENDPOINT_CHAT,
                                       .mode = l->mode,
                                       .streamed = true,
                                       .early_headers = true,
                                       .draft = {.full_only = l->full_only, .guess = l->guess}};
    static double times[CANVAS_MAX];
    static int32_t order[CANVAS_MAX];
    int32_t count = 0;
    size_t bytes = 0;
    um_err err = {0};
    um_rig rig;

    if (um_rig_open(&rig, options, &submission, NULL, 1, &err) != UM_OK)
        UM_FATAL(err.message);
    for (int32_t begin = 0; begin < l->canvas; begin += l->block) {
        um_draft_step step = {.block_begin = begin, .block_end = begin + l->block};

        step.length = l->canvas;
        for (int32_t i = 0; i < l->block; i++)
            order[i] = begin + i;
        shuffle(order, l->block);
        for (int32_t i = 0; i < l->block; i += l->filled) {
            step.step = count + 1;
            um_buf_clear(&rig.exchange.out);
            times[count++] = send_step(&rig, l, step, order + i, l->block - i);
            bytes += rig.exchange.out.length;
        }
    }
    qsort(times, (size_t)count, sizeof(*times), ascending);
    printf("%-20s %6d %6d %10.1f %10.1f %10.0f\n", l->name, l->canvas, l->block, times[count / 2],
           times[count * 99 / 100], (double)bytes / count);
    um_rig_close(&rig);
}

int main(void)
{
    printf("%-20s %6s %6s %10s %10s %10s\n", "events", "canvas", "block", "median us", "p99 us",
           "bytes");
    for (size_t i = 0; i < UM_COUNT_OF(loads); i++)
        measure(&loads[i]);
    return 0;
}
