/*
 * Kernels of the interpreter's self-test that are not plain arithmetic: memory, control flow,
 * exchange between lanes, barriers, atomics, asynchronous copies, tensor instructions.
 */
#include <stdint.h>

#include "selftest_cases.h"

static __device__ __forceinline__ uint32_t shared_address(const void *pointer)
{
    return uint32_t(__cvta_generic_to_shared(pointer));
}

/* ---- memory ---- */

struct Mixed {
    uint8_t byte;
    float array[3];
    const int *pointer;
    double wide;
};

__constant__ int constant_table[5] = {10, 20, 30, 40, 50};
__device__ int module_counter = 7;
__device__ int *module_pointer = &module_counter;

extern "C" __global__ void memory_params(Mixed mixed, int index, double *out)
{
    out[0] = mixed.byte;
    out[1] = double(mixed.array[index]); /* by an address that is computed */
    out[2] = mixed.pointer[index];
    out[3] = mixed.wide;
    out[4] = constant_table[index + 1];
    out[5] = *module_pointer;
    module_counter = 8;
}

/* Every width, loaded into registers wider than it where PTX allows that. */
extern "C" __global__ void memory_widths(const uint8_t *in, int64_t *out, uint8_t *bytes)
{
    const int i = int(threadIdx.x);
    int64_t s8, u8, s16, u16, s32, u32;
    const uint8_t *at = in + 16 * i;

    asm volatile("ld.global.s8 %0, [%1];" : "=l"(s8) : "l"(at));
    asm volatile("ld.global.u8 %0, [%1+1];" : "=l"(u8) : "l"(at));
    asm volatile("ld.global.s16 %0, [%1+2];" : "=l"(s16) : "l"(at));
    asm volatile("ld.global.u16 %0, [%1+4];" : "=l"(u16) : "l"(at));
    asm volatile("ld.global.s32 %0, [%1+8];" : "=l"(s32) : "l"(at));
    asm volatile("ld.global.u32 %0, [%1+12];" : "=l"(u32) : "l"(at));
    out[6 * i + 0] = s8;
    out[6 * i + 1] = u8;
    out[6 * i + 2] = s16;
    out[6 * i + 3] = u16;
    out[6 * i + 4] = s32;
    out[6 * i + 5] = u32;
    asm volatile("st.global.u8 [%0], %1;" ::"l"(bytes + 8 * i), "l"(u32) : "memory");
    asm volatile("st.global.u16 [%0+2], %1;" ::"l"(bytes + 8 * i), "r"(int(u32)) : "memory");
    asm volatile("st.global.v2.u16 [%0+4], {%1, %2};" ::"l"(bytes + 8 * i), "h"(uint16_t(u16)),
                 "h"(uint16_t(s16))
                 : "memory");
}

/* Vectors through static shared, dynamic shared and local memory, by generic pointers. */
extern "C" __global__ void memory_spaces(const float4 *in, float4 *out, int which)
{
    __shared__ float4 fixed[64];
    extern __shared__ float4 dynamic[];
    float4 local[4];
    const int i = int(threadIdx.x);

    for (int k = 0; k < 4; k++)
        local[k] = in[4 * i + k];
    fixed[i] = local[which & 3];
    dynamic[i] = make_float4(local[1].w, local[1].z, local[1].y, local[1].x);
    __syncthreads();

    const float4 *choice[3] = {fixed + (i ^ 1), dynamic + (i ^ 1), local + (i & 3)};

    out[i] = *choice[(i + which) % 3];
}

/* ---- control flow ---- */

extern "C" __global__ void control_flow(const int *in, int *out)
{
    const int i = int(threadIdx.x);
    int value = in[i], steps = 0;

    if (value < 0)
        return;
    while (value > 1) { /* as many rounds as the lane needs */
        if (value % 2)
            value = 3 * value + 1;
        else
            value /= 2;
        steps++;
        if (steps > 1000)
            break;
    }
    for (int k = 0; k < i % 5; k++) {
        if (k == 2)
            continue;
        steps += 100;
    }
    out[i] = steps;
}

extern "C" __global__ void jump_table(const int *in, int *out)
{
    const int i = int(threadIdx.x);
    int r;

    asm volatile("{\n"
                 ".reg .u32 index;\n"
                 "min.u32 index, %1, 3;\n"
                 "targets: .branchtargets a, b, c, d;\n"
                 "brx.idx index, targets;\n"
                 "a: mov.u32 %0, 11; bra.uni done;\n"
                 "b: add.u32 %0, %1, 20; bra.uni done;\n"
                 "c: mul.lo.u32 %0, %1, 30;\n"
                 "d: mov.u32 %0, 44;\n"
                 "done:\n"
                 "}"
                 : "=r"(r)
                 : "r"(in[i]));
    out[i] = r;
}

/* ---- lanes ---- */

extern "C" __global__ void exchange(const int *in, int *out)
{
    const uint32_t all = 0xffffffffu;
    const int lane = int(threadIdx.x), value = in[lane], n = 32;
    int k = 0, equal, equal_parts;

    out[k++ * n + lane] = __shfl_sync(all, value, 5);
    out[k++ * n + lane] = __shfl_sync(all, value, lane + 3, 8);
    out[k++ * n + lane] = __shfl_up_sync(all, value, 3);
    out[k++ * n + lane] = __shfl_up_sync(all, value, 2, 8);
    out[k++ * n + lane] = __shfl_down_sync(all, value, 4);
    out[k++ * n + lane] = __shfl_down_sync(all, value, 1, 16);
    out[k++ * n + lane] = __shfl_xor_sync(all, value, 7);
    out[k++ * n + lane] = __any_sync(all, value > 90);
    out[k++ * n + lane] = __all_sync(all, value >= 0);
    out[k++ * n + lane] = int(__ballot_sync(all, value % 2));
    out[k++ * n + lane] = int(__match_any_sync(all, value % 4));
    out[k++ * n + lane] = int(__match_all_sync(all, value / 1000, &equal));
    __match_all_sync(all, value, &equal_parts);
    out[k++ * n + lane] = equal * 2 + equal_parts;
    out[k++ * n + lane] = int(__reduce_add_sync(all, value));
    out[k++ * n + lane] = __reduce_min_sync(all, -value);
    out[k++ * n + lane] = int(__reduce_max_sync(all, uint32_t(value)));
    out[k++ * n + lane] = int(__reduce_xor_sync(all, uint32_t(value)));
    /* Two halves with a mask each at one instruction, and a divergent part. */
    const uint32_t half = lane < 16 ? 0xffffu : 0xffff0000u;
    out[k++ * n + lane] = __shfl_xor_sync(half, value, 1);
    out[k++ * n + lane] = int(__ballot_sync(half, value > 50));
    int inside = -1;
    if (lane % 3 == 0)
        inside = int(__activemask()) + __shfl_sync(0x49249249u, value, 9);
    __syncwarp();
    out[k++ * n + lane] = inside;
}

/* ---- the block ---- */

extern "C" __global__ void block_votes(const int *in, int *out)
{
    const int i = int(threadIdx.y * blockDim.x + threadIdx.x);
    const int count = __syncthreads_count(in[i] % 2), all = __syncthreads_and(in[i] < 1000),
              any = __syncthreads_or(in[i] > 1000);

    out[i] = count * 4 + all * 2 + any;
}

/* Two pairs of warps pass values on by named barriers: 1 full, 2 empty for the first pair, ... */
extern "C" __global__ void named_barriers(const int *in, int *out, int rounds)
{
    __shared__ int box[2][32];
    const int warp = int(threadIdx.x / 32), pair = warp / 2, lane = int(threadIdx.x % 32);
    const int full = 1 + 2 * pair, empty = 2 + 2 * pair;
    int sum = 0;

    for (int round = 0; round < rounds; round++) {
        if (warp % 2 == 0) {
            if (round > 0)
                asm volatile("bar.sync %0, 64;" ::"r"(empty) : "memory");
            box[pair][lane] = in[lane] + round + 1000 * pair;
            asm volatile("bar.arrive %0, 64;" ::"r"(full) : "memory");
        } else {
            asm volatile("bar.sync %0, 64;" ::"r"(full) : "memory");
            sum += box[pair][31 - lane];
            if (round + 1 < rounds)
                asm volatile("bar.arrive %0, 64;" ::"r"(empty) : "memory");
        }
    }
    __syncthreads();
    out[threadIdx.x] = sum;
}

extern "C" __global__ void special_registers(uint32_t *out)
{
    const uint32_t block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const uint32_t thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const uint32_t count = blockDim.x * blockDim.y * blockDim.z;
    uint32_t *to = out + 6 * (block * count + thread), lane, warp, less, more;
    const long long before = clock64();

    asm("mov.u32 %0, %%laneid;" : "=r"(lane));
    asm("mov.u32 %0, %%warpid;" : "=r"(warp));
    asm("mov.u32 %0, %%lanemask_lt;" : "=r"(less));
    asm("mov.u32 %0, %%lanemask_ge;" : "=r"(more));
    to[0] = block * 1000 + thread;
    to[1] = lane;
    to[2] = warp;
    to[3] = less;
    to[4] = more;
    to[5] = clock64() > before;
}

extern "C" __global__ void atomics(const int *in, int *out, unsigned long long *wide, float *floats)
{
    __shared__ int shared[4];
    const int i = int(blockIdx.x * blockDim.x + threadIdx.x), value = in[i];

    if (threadIdx.x < 4)
        shared[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&shared[value & 3], value);
    atomicAdd(out, value);
    atomicMin(out + 1, -value);
    atomicMax(out + 2, value);
    atomicMax(reinterpret_cast<unsigned *>(out + 3), unsigned(-value));
    atomicAnd(out + 4, ~(1 << (value & 15)));
    atomicOr(out + 5, 1 << (value & 31));
    atomicXor(out + 6, value);
    atomicInc(reinterpret_cast<unsigned *>(out + 7), 9);
    if (value == 17)
        out[16 + atomicExch(out + 8, 5)] = atomicCAS(out + 9, 3, 4) + atomicCAS(out + 9, 3, 9);
    atomicAdd(wide, 1ull << 40);
    atomicMax(wide + 1, 0xffull << (value & 31));
    atomicAdd(floats, 0.5f);
    __syncthreads();
    if (threadIdx.x < 4)
        atomicAdd(out + 10 + threadIdx.x, shared[threadIdx.x]);
}

/* ---- asynchronous copies and matrices ---- */

/* Three sizes, the source shortened by lane, waited group by group. */
extern "C" __global__ void async_copies(const uint8_t *in, uint8_t *out)
{
    __shared__ __align__(16) uint8_t box[32 * 28];
    const uint32_t lane = threadIdx.x, to = shared_address(box);
    const uint8_t *from = in + 28 * 4 * lane;

    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to + 16 * lane),
                 "l"(in + 16 * lane), "r"(lane % 17)
                 : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.ca.shared.global.L2::128B [%0], [%1], 8, %2;" ::"r"(to + 512 + 8 * lane),
                 "l"(in + 8 * lane), "r"(lane % 9)
                 : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    for (uint32_t i = 0; i < 16; i++)
        out[16 * lane + i] = box[16 * lane + i];
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to + 768 + 4 * lane), "l"(from)
                 : "memory");
    asm volatile("cp.async.wait_all;" ::: "memory");
    for (uint32_t i = 0; i < 8; i++)
        out[512 + 8 * lane + i] = box[512 + 8 * lane + i];
    for (uint32_t i = 0; i < 4; i++)
        out[768 + 4 * lane + i] = box[768 + 4 * lane + i];
}

/* 32 rows of 8 half words; each form's registers one behind the other. */
extern "C" __global__ void load_matrices(const uint16_t *in, uint32_t *out)
{
    __shared__ __align__(16) uint16_t rows[32 * 8];
    const int lane = int(threadIdx.x), n = 32;
    const uint32_t row = shared_address(rows + 8 * lane);
    uint32_t r[4], moved;
    int k = 0;

    for (int i = 0; i < 8; i++)
        rows[8 * lane + i] = in[8 * lane + i];
    __syncwarp();
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(row));
    out[k++ * n + lane] = r[0];
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(moved) : "r"(r[0]));
    out[k++ * n + lane] = moved;
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(row));
    out[k++ * n + lane] = r[0];
    out[k++ * n + lane] = r[1];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row));
    for (int i = 0; i < 4; i++)
        out[k++ * n + lane] = r[i];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row));
    for (int i = 0; i < 4; i++)
        out[k++ * n + lane] = r[i];
}

/*
 * D = A B + C with A 16 x K and B K x 8 row by row, T an element. The fragments are filled element
 * by element as the ISA numbers them.
 */
template <class T, int K> struct Fragments {
    static const int A = 16 * K / 32, B = K * 8 / 32, PER = 4 / int(sizeof(T));
    uint32_t a[A / PER], b[B / PER];

    __device__ Fragments(const T *left, const T *right)
    {
        const int lane = int(threadIdx.x), group = lane >> 2, in_group = lane & 3;
        T pieces[A > B ? A : B];

        for (int i = 0; i < A; i++) {
            const int row = (i / PER) % 2 == 0 ? group : group + 8;
            const int column = in_group * PER + i % PER + (i >= 2 * PER ? 4 * PER : 0);

            pieces[i] = left[row * K + column];
        }
        memcpy(a, pieces, sizeof a);
        for (int i = 0; i < B; i++) {
            const int row = in_group * PER + i % PER + (i >= PER ? 4 * PER : 0);

            pieces[i] = right[row * 8 + group];
        }
        memcpy(b, pieces, sizeof b);
    }
};

/* Shorter fragments repeat their registers: the asm names fewer. */
#define MMA_KERNEL(name, T, K, W, constraint, text, a_registers, b_registers)                      \
    extern "C" __global__ void name(const T *left, const T *right, const W *add, W *out)           \
    {                                                                                              \
        const Fragments<T, K> f(left, right);                                                      \
        const int row = int(threadIdx.x) >> 2, column = (int(threadIdx.x) & 3) * 2;                \
        W c[4], d[4];                                                                              \
        for (int i = 0; i < 4; i++)                                                                \
            c[i] = add[(row + (i < 2 ? 0 : 8)) * 8 + column + (i & 1)];                            \
        asm volatile(                                                                              \
            text " {%0, %1, %2, %3}, " a_registers ", " b_registers ", {%10, %11, %12, %13};"      \
            : "=" constraint(d[0]), "=" constraint(d[1]), "=" constraint(d[2]),                    \
              "=" constraint(d[3])                                                                 \
            : "r"(f.a[0]), "r"(f.a[1]), "r"(f.a[2 % (sizeof f.a / 4)]),                            \
              "r"(f.a[3 % (sizeof f.a / 4)]), "r"(f.b[0]), "r"(f.b[1 % (sizeof f.b / 4)]),         \
              constraint(c[0]), constraint(c[1]), constraint(c[2]), constraint(c[3]));             \
        for (int i = 0; i < 4; i++)                                                                \
            out[(row + (i < 2 ? 0 : 8)) * 8 + column + (i & 1)] = d[i];                            \
    }
#define MMA(name, T, K, W, constraint, text)                                                       \
    MMA_KERNEL(name, T, K, W, constraint, text, "{%4, %5, %6, %7}", "{%8, %9}")
#define MMA_HALF(name, T, K, W, constraint, text)                                                  \
    MMA_KERNEL(name, T, K, W, constraint, text, "{%4, %5}", "{%8}")

MMA(mma_bf16, uint16_t, 16, float, "f", "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32")
MMA(mma_f16, uint16_t, 16, float, "f", "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32")
MMA_HALF(mma_bf16_k8, uint16_t, 8, float, "f", "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32")
MMA(mma_tf32, uint32_t, 8, float, "f", "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32")
MMA(mma_s8, int8_t, 32, int, "r", "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32")
MMA(mma_u8, uint8_t, 32, int, "r", "mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32")
MMA_HALF(mma_s8_k16, int8_t, 16, int, "r", "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32")

/* ---- what statistics count ---- */

/* Lane i touches word i * stride of shared and of global memory. */
extern "C" __global__ void strides(const float *in, float *out, int shared_stride,
                                   int global_stride)
{
    extern __shared__ float words[];

    words[threadIdx.x * shared_stride] = in[threadIdx.x * global_stride];
    __syncwarp();
    out[threadIdx.x] = words[threadIdx.x * shared_stride];
}
