/* Kernels whose machine code is known in advance: should a new toolkit spell an instruction in a
 * way that sass_check.py does not count, it is these that show it. */
#include <cuda_runtime.h>

extern "C" __global__ void __launch_bounds__(32) loads_32(const float *in, float *out)
{
    out[threadIdx.x] = in[threadIdx.x * 7];
}

extern "C" __global__ void __launch_bounds__(32) loads_64(const float2 *in, float *out)
{
    float2 value = in[threadIdx.x * 7];

    out[threadIdx.x] = value.x + value.y;
}

extern "C" __global__ void __launch_bounds__(32) loads_128(const float4 *in, float *out)
{
    float4 value = in[threadIdx.x * 7];

    out[threadIdx.x] = value.x + value.y + value.z + value.w;
}

extern "C" __global__ void __launch_bounds__(32) copies_128_to_shared(const float4 *in, float *out)
{
    __shared__ float4 shared[32];
    unsigned to = (unsigned)__cvta_generic_to_shared(&shared[threadIdx.x]);

    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n"
                 "cp.async.wait_all;" ::"r"(to),
                 "l"(in + threadIdx.x)
                 : "memory");
    __syncthreads();
    out[threadIdx.x] = shared[31 - threadIdx.x].x;
}

/* An array that is indexed by data cannot live in registers. */
extern "C" __global__ void __launch_bounds__(32) uses_local_memory(const int *in, int *out)
{
    int values[64];

    for (int i = 0; i < 64; i++)
        values[i] = in[i];
    for (int i = 0; i < 64; i++)
        values[values[i] & 63] += i;
    out[threadIdx.x] = values[threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(32) multiplies_bf16(const unsigned *in, float *out)
{
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};

    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(in[0]), "r"(in[1]), "r"(in[2]), "r"(in[3]), "r"(in[4]), "r"(in[5]));
    out[threadIdx.x] = sum[0] + sum[1] + sum[2] + sum[3];
}

extern "C" __global__ void __launch_bounds__(32) multiplies_tf32(const unsigned *in, float *out)
{
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};

    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(in[0]), "r"(in[1]), "r"(in[2]), "r"(in[3]), "r"(in[4]), "r"(in[5]));
    out[threadIdx.x] = sum[0] + sum[1] + sum[2] + sum[3];
}
