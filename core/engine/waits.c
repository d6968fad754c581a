#include "core/engine/waits.h"

#include <stdlib.h>

#include "core/base/mem.h"

/* Seconds that a request runs, until anything is known. */
#define SERVICE_GUESS 1.0
/* Weight of the newest request in the running mean. */
#define SERVICE_WEIGHT 0.2
/* What a request that runs longer than usual is taken to need still, as a share of the usual. */
#define OVERDUE_SHARE 0.25

um_status um_waits_init(um_waits *waits, int32_t places, um_err *err)
{
    *waits =
        (um_waits){.places = places, .ages = um_mem_calloc((size_t)places, sizeof(*waits->ages))};
    return waits->ages ? UM_OK : um_fail(err, UM_E_NOMEM, "no memory for %d places", places);
}

void um_waits_deinit(um_waits *waits)
{
    um_mem_free(waits->ages);
    *waits = (um_waits){0};
}

void um_waits_count(um_waits *waits, double seconds)
{
    if (waits->service_seconds == 0.0)
        waits->service_seconds = seconds;
    else
        waits->service_seconds += SERVICE_WEIGHT * (seconds - waits->service_seconds);
}

void um_waits_clear(um_waits *waits)
{
    waits->running = 0;
}

void um_waits_add(um_waits *waits, double seconds)
{
    UM_ASSERT(waits->running < waits->places);
    waits->ages[waits->running++] = seconds;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* While none has ended: what runs will run for as long again as it has. */
static double usual_service(const um_waits *waits)
{
    double oldest = 0.0;

    if (waits->service_seconds > 0.0)
        return waits->service_seconds;
    for (int32_t i = 0; i < waits->running; i++)
        oldest = waits->ages[i] > oldest ? waits->ages[i] : oldest;
    return oldest > 0.0 ? 2.0 * oldest : SERVICE_GUESS;
}

double um_waits_estimate(um_waits *waits, int32_t ahead)
{
    double service = usual_service(waits), *free_in = waits->ages;
    int32_t rounds = ahead / waits->places;

    for (int32_t i = 0; i < waits->running; i++) {
        double left = service - waits->ages[i];

        free_in[i] = left > 0.0 ? left : OVERDUE_SHARE * service;
    }
    for (int32_t i = waits->running; i < waits->places; i++)
        free_in[i] = 0.0;
    waits->running = 0;
    qsort(free_in, (size_t)waits->places, sizeof(*free_in), compare);
    return free_in[ahead % waits->places] + rounds * service;
}
