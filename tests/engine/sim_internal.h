/*
 * Shared by the parts of the simulation: sim.c plays front end and step around the real engine,
 * sim_model.c says what the rules demand, and sim_draft.c what they demand of drafts,
 * log-probabilities and score rules.
 */
#ifndef UM_TESTS_ENGINE_SIM_INTERNAL_H
#define UM_TESTS_ENGINE_SIM_INTERNAL_H

#include "core/engine/engine.h"
#include "tests/engine/sim.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/fake_clock.h"

#define REQUESTS_MAX 48
#define CONTEXT 64
#define MASK UM_BYTE_MASK
#define SIM_LOGPROBS_MAX 4

/* What the model knows of one request. */
typedef struct sim_request {
    uint64_t id;
    um_submission submission; /* its arrays are in this struct */
    int32_t prompt[CONTEXT];
    int32_t suffix[CONTEXT];
    int32_t draft[CONTEXT];
    uint8_t pinned[CONTEXT];
    um_stop_string stops[UM_STOP_STRINGS_MAX];
    int32_t row[CONTEXT];  /* prompt, canvas as the script filled it, suffix */
    bool given[CONTEXT];   /* held a token from the start */
    int32_t extent;        /* of the canvas */
    bool hurries, hurried; /* the coming step is the last one; it was */
    bool done;             /* no block is left */
    int32_t block, block_step, block_masks, step;
    uint64_t arrived_ns;
    bool admitted;
    bool cancel_asked;
    bool over;        /* the model has ended it ... */
    um_status ending; /* ... like this */
    int done_events;  /* what the reader saw */
    um_event last;    /* the done event, without buffers */
    bool told_why;    /* it had a message */
    um_buf text;      /* all pieces */
    int32_t waited;   /* steps since its last turn */
    int32_t wait_bound;
    /* what the step said of it */
    int32_t stop_token;
    int32_t filled_in[CONTEXT];       /* step in which a canvas position was filled */
    um_draft_change guesses[CONTEXT]; /* of its last step */
    int32_t guess_count;
    int32_t last_block; /* that was active in it */
    int32_t ended_blocks;
    /* what the reader made of its events */
    int32_t replay[CONTEXT];
    int32_t told_step; /* -1: none */
    int32_t told_length;
    int32_t told_blocks;                             /* ended */
    um_alternative rows[CONTEXT * SIM_LOGPROBS_MAX]; /* of params.logprobs entries each */
    int32_t rows_read;
} sim_request;

typedef struct sim {
    um_sim_mode mode;
    um_sim_report *report;
    uint64_t seed, random;
    const um_tokenizer *tokenizer;
    um_fake_clock clock;
    um_engine_options options;
    um_engine *engine;
    sim_request requests[REQUESTS_MAX];
    int32_t request_count;
    sim_request *queue[REQUESTS_MAX]; /* the model's, oldest first */
    int32_t queue_count;
    sim_request *running[REQUESTS_MAX]; /* least recently served first */
    int32_t running_count;
    int32_t served;     /* expected participants of the coming step */
    bool stepped;       /* the step was called in this turn */
    bool fails, failed; /* the coming step loses the device; it has */
    int64_t step_ns;    /* running mean */
    bool draining;
    int wakes;    /* wake-ups since the reader emptied the list */
    bool spoiled; /* the one spoiling act of this run is done */
} sim;

static inline int32_t umi_sim_smaller(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

void umi_sim_fault(sim *s, const char *format, ...) UM_PRINTF(2, 3);

/* ---- schedule and text of one request ---- */
int32_t umi_sim_row_length(const sim_request *r);
/* Masks left in the active block. */
int32_t umi_sim_block_masks(const sim_request *r);
bool umi_sim_canvas_done(const sim_request *r);
/* All that a last step fills. */
int32_t umi_sim_all_masks(const sim_request *r);
/* Row and first block from the submission. */
void umi_sim_begin(const sim *s, sim_request *r);
/* A step has filled its tokens in: next step, next block. */
void umi_sim_move_schedule(const sim *s, sim_request *r);
/* Tokens of the draft that stand there now, and that do not. */
void umi_sim_count_draft(const sim_request *r, int32_t *accepted, int32_t *rejected);
/* Generated positions in front of the first mask. */
int32_t umi_sim_settled(const sim_request *r);
/* Is the answer decided by the first `count` positions alone? `text` gets it, cut. */
bool umi_sim_decided(const sim *s, const sim_request *r, int32_t count, um_buf *text,
                     um_finish *finish);
int32_t umi_sim_visible_tokens(const sim *s, const sim_request *r);

/* ---- drafts, log-probabilities, score rules ---- */
/* The step's commits are written: its alternatives beside them. */
void umi_sim_script_alternatives(const um_plan *plan, um_step_result *result, int32_t index,
                                 sim_request *r);
void umi_sim_check_rules(sim *s, const um_plan *plan, int32_t index, const sim_request *r);
void umi_sim_read_draft(sim *s, sim_request *r, const um_event *event);
/* Once it has ended. */
void umi_sim_check_rows(sim *s, const sim_request *r);

/* ---- queue and turns ---- */
void umi_sim_end(sim_request *r, um_status ending);
/* Who ends, who is admitted, and who takes part (s->served of s->running). */
void umi_sim_before_turn(sim *s);
/* The step has run: who was served goes behind the others, who is finished leaves. */
void umi_sim_after_turn(sim *s);

#endif
