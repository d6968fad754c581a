#include "core/engine/schedule.h"

int32_t um_schedule_quota(int32_t masks, int32_t step, int32_t steps)
{
    return masks / steps + (step < masks % steps);
}

/* torch.linspace(1, eps, steps + 1)[i] in float32: from either end, towards the middle. */
static float time_at(int32_t i, int32_t steps, float eps)
{
    int32_t count = steps + 1;
    float step = (eps - 1.0f) / (float)steps;

    return i < count / 2 ? 1.0f + step * (float)i : eps - step * (float)(count - 1 - i);
}

float um_schedule_time_share(int32_t step, int32_t steps, float eps)
{
    if (step >= steps - 1)
        return 1.0f;
    return 1.0f - time_at(step + 1, steps, eps) / time_at(step, steps, eps);
}

int32_t um_schedule_time(int32_t masks_left, int32_t step, int32_t steps, float eps)
{
    if (step >= steps - 1)
        return masks_left;
    return (int32_t)((float)masks_left * um_schedule_time_share(step, steps, eps));
}

int32_t um_schedule_competing(int32_t rows, int32_t step, int32_t steps)
{
    int32_t t = steps - 1 - step;

    return t > 0 ? (int32_t)((float)rows * (float)((double)t / steps)) : 0;
}
