/*
 * A simulated life of the engine: no model, a scripted step, a clock that the simulation moves.
 * One seed decides everything: arrivals, owners, parameters, stop strings, tokens, cancels,
 * timeouts, slow readers, draining, device loss. A second, independent model of the rules runs
 * beside the engine, and every difference is counted as a fault.
 *
 *     um_sim_report report = {0};
 *     um_sim_run(seed, UM_SIM_HONEST, tokenizer, &report);
 *     UM_CHECK_INT(report.faults, 0);
 */
#ifndef UM_TESTS_ENGINE_SIM_H
#define UM_TESTS_ENGINE_SIM_H

#include "core/text/tokenizer.h"

/* Ways to spoil a run, each of which the checks must notice. */
typedef enum um_sim_mode {
    UM_SIM_HONEST,
    UM_SIM_WRONG_TOKEN, /* the step commits something else than it says */
    UM_SIM_LOSE_TEXT,   /* the reader drops a piece of text */
    UM_SIM_DOUBLE_TEXT, /* the reader gets a piece of text twice */
    UM_SIM_LOSE_CHANGE, /* the reader drops a change of a draft */
    UM_SIM_LOSE_ROW,    /* the reader drops a row of log-probabilities */
    UM_SIM_DROP_CANCEL, /* a cancel never reaches the engine */
    UM_SIM_NO_PATIENCE, /* the wait bound is half a step */
    UM_SIM_UNFAIR,      /* the model expects owners to be ignored */
    UM_SIM_NO_GROWTH,   /* the model expects gaps to stay as they begin */
    UM_SIM_NO_DEADLINE, /* the model expects deadlines to be ignored */
    UM_SIM_NO_NOISE,    /* the model expects drafts to stay as they are */
} um_sim_mode;

typedef struct um_sim_report {
    long faults;
    char first_fault[256];
    /* what happened, so that tests can see that it did */
    long submitted, refused_full, refused_draining, refused_failed;
    long stopped, ran_out, cancelled, timed_out, queue_timed_out, failed, shut_down;
    long steps, shared_steps; /* shared: at least two requests */
    long waits;               /* turns that a running request was not served in */
    long bytes;               /* of text */
    long changes, guesses;    /* of drafts */
    long rows;                /* of log-probabilities */
    long masks_left;          /* requests that ended with a mask on the canvas */
    long grown, hurried;      /* requests whose gap grew; that a deadline ended early */
    long accepted, rejected;  /* tokens of drafts */
} um_sim_report;

/* Adds to the report. */
void um_sim_run(uint64_t seed, um_sim_mode mode, const um_tokenizer *tokenizer,
                um_sim_report *report);

#endif
