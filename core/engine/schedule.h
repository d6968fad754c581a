/*
 * How many positions a denoising step commits: the arithmetic of the published schedules, as pure
 * functions of counts. Steps count from 0. What is stated as float32 is float32 in the authors'
 * code, and another rounding gives another schedule.
 */
#ifndef UM_ENGINE_SCHEDULE_H
#define UM_ENGINE_SCHEDULE_H

#include <stdint.h>

/* LLaDA (generate.py: get_num_transfer_tokens): `masks` shared over `steps`, the first ones one
 * more. */
int32_t um_schedule_quota(int32_t masks, int32_t step, int32_t steps);

/* Dream (generation_utils.py: diffusion_generate): times t fall linearly from 1 to eps. The share
 * of what is still masked that a step commits, 1 - t[step+1]/t[step]; 1 in the last step. */
float um_schedule_time_share(int32_t step, int32_t steps, float eps);
/* trunc(masks left * share); everything in the last step. */
int32_t um_schedule_time(int32_t masks_left, int32_t step, int32_t steps, float eps);

/* DiffuLLaMA (LLaMA-Factory ddm trainer: generate_samples): how many of `rows` competing positions
 * stay behind, trunc(rows * t/steps) with t = steps - 1 - step. */
int32_t um_schedule_competing(int32_t rows, int32_t step, int32_t steps);

#endif
