/*
 * How long a new request would wait for its turn: guessed from how long those that ended lately had
 * their place in the batch, how long those that run have had theirs, and how many wait. Requests
 * take the places in the order in which these come free and have each for the usual time, so that
 * the order repeats itself, later by that time.
 *
 * Not locked: the engine's lock guards it.
 */
#ifndef UM_ENGINE_WAITS_H
#define UM_ENGINE_WAITS_H

#include "core/base/status.h"

typedef struct um_waits {
    int32_t places;         /* of the batch */
    double service_seconds; /* that a request has its place, running mean; 0: none has ended */
    double *ages;           /* [places] owned: scratch of an estimate */
    int32_t running;        /* of ages in use */
} um_waits;

/* UM_E_NOMEM. */
um_status um_waits_init(um_waits *waits, int32_t places, um_err *err);
void um_waits_deinit(um_waits *waits);

/* A request has given up its place after so many seconds. */
void um_waits_count(um_waits *waits, double seconds);

/* An estimate: clear, add each running request's seconds so far (at most `places`), then ask how
 * long one waits that has `ahead` others in front of it. */
void um_waits_clear(um_waits *waits);
void um_waits_add(um_waits *waits, double seconds);
double um_waits_estimate(um_waits *waits, int32_t ahead);

#endif
