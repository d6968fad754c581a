/*
 * mma and ldmatrix. A fragment's elements lie over the lanes as the PTX ISA lays them out; they are
 * gathered into plain matrices, multiplied, and scattered back. Sums run over k upwards in fp32.
 */
#include "tests/fakecuda/ptx_block.h"
#include "tests/fakecuda/ptx_half.h"
#include "tests/fakecuda/ptx_statistics.h"

namespace fakecuda
{

namespace
{

constexpr int M = 16, N = 8;

/* Row (or column, for B) of a lane's elements, and where its run of elements begins. */
int group_of(int lane)
{
    return lane / 4;
}
int place_of(int lane)
{
    return lane % 4;
}

/*
 * A: register r of a lane holds `per` elements of row group + 8 * (r odd), from column
 * place * per + 4 * per * (r / 2) on. B: register r holds rows of k from place * per + 4 * per * r
 * on, of column group. T is the element, W what it is widened to.
 */
template <class T, class W, int K, W (*WIDEN)(T)>
void gather_a(Warp &warp, const uint32_t *registers, W (*a)[K])
{
    constexpr int PER = 4 / int(sizeof(T)), COUNT = M * K / LANES / PER;

    for (int r = 0; r < COUNT; r++)
        for (int i = 0; i < LANES; i++)
            for (int e = 0; e < PER; e++)
                a[group_of(i) + 8 * (r % 2)][place_of(i) * PER + 4 * PER * (r / 2) + e] =
                    WIDEN(lane_get<T>(warp.reg(registers[r]), i * PER + e));
}

template <class T, class W, int K, W (*WIDEN)(T)>
void gather_b(Warp &warp, const uint32_t *registers, W (*b)[N])
{
    constexpr int PER = 4 / int(sizeof(T)), COUNT = K * N / LANES / PER;

    for (int r = 0; r < COUNT; r++)
        for (int i = 0; i < LANES; i++)
            for (int e = 0; e < PER; e++)
                b[place_of(i) * PER + 4 * PER * r + e][group_of(i)] =
                    WIDEN(lane_get<T>(warp.reg(registers[r]), i * PER + e));
}

/* C and D: registers 0 and 1 in row group, 2 and 3 in row group + 8, columns place * 2 and + 1. */
template <class W> void gather_c(Warp &warp, const uint32_t *registers, W (*c)[N])
{
    for (int r = 0; r < 4; r++)
        for (int i = 0; i < LANES; i++)
            c[group_of(i) + 8 * (r / 2)][place_of(i) * 2 + r % 2] =
                lane_get<W>(warp.reg(registers[r]), i);
}

template <class W> void scatter_d(Warp &warp, const uint32_t *registers, const W (*c)[N])
{
    for (int r = 0; r < 4; r++)
        for (int i = 0; i < LANES; i++)
            lane_set(warp.reg(registers[r]), i,
                     c[group_of(i) + 8 * (r / 2)][place_of(i) * 2 + r % 2]);
}

template <class W, int K> void multiply(const W (*a)[K], const W (*b)[N], W (*c)[N])
{
    for (int i = 0; i < M; i++) {
        W row[N];

        memcpy(row, c[i], sizeof row);
        for (int k = 0; k < K; k++)
            for (int j = 0; j < N; j++)
                row[j] += a[i][k] * b[k][j];
        memcpy(c[i], row, sizeof row);
    }
}

template <class H> float widen(H a)
{
    return a.wide();
}
/* TF32 is a float whose last 13 bits are ignored. */
float widen_tf32(uint32_t a)
{
    return bits_float(a & ~0x1fffu);
}
/* Products of bytes wrap nowhere; sums are kept unsigned so that they may. */
template <class T> uint32_t widen_byte(T a)
{
    return uint32_t(int32_t(a));
}

template <class A, class B, class W, int K, W (*WIDEN_A)(A), W (*WIDEN_B)(B)>
void exec_mma(Warp &warp, const Inst &inst)
{
    constexpr int A_COUNT = M * K * int(sizeof(A)) / 4 / LANES;
    constexpr int B_COUNT = K * N * int(sizeof(B)) / 4 / LANES;
    const uint32_t *d = inst.op, *a = d + 4, *b = a + A_COUNT, *c = b + B_COUNT;
    W left[M][K], right[K][N], sum[M][N];

    if (!gather_all(warp))
        return;
    gather_a<A, W, K, WIDEN_A>(warp, a, left);
    gather_b<B, W, K, WIDEN_B>(warp, b, right);
    gather_c(warp, c, sum);
    multiply<W, K>(left, right, sum);
    scatter_d(warp, d, sum);
    warp.block->stats->mma++;
}

template <class A, class B, class W, int K, W (*WIDEN_A)(A), W (*WIDEN_B)(B)>
void mma_row(OpTable &t, const char *key)
{
    OpRow row;

    row.exec = exec_mma<A, B, W, K, WIDEN_A, WIDEN_B>;
    row.operands = uint8_t(8 + (M * K * sizeof(A) + K * N * sizeof(B)) / 4 / LANES);
    for (uint8_t &width : row.width)
        width = 4;
    t[key] = row;
}

template <class H> void float_rows(OpTable &t, const std::string &type)
{
    const std::string rest = ".row.col.f32." + type + "." + type + ".f32";

    mma_row<H, H, float, 16, widen<H>, widen<H>>(t, ("mma.m16n8k16" + rest).c_str());
    mma_row<H, H, float, 8, widen<H>, widen<H>>(t, ("mma.m16n8k8" + rest).c_str());
}

template <class A, class B> void byte_rows(OpTable &t, const std::string &types)
{
    const std::string rest = ".row.col.s32." + types + ".s32";

    mma_row<A, B, uint32_t, 32, widen_byte<A>, widen_byte<B>>(t, ("mma.m16n8k32" + rest).c_str());
    mma_row<A, B, uint32_t, 16, widen_byte<A>, widen_byte<B>>(t, ("mma.m16n8k16" + rest).c_str());
}

/*
 * ldmatrix: lanes 8 m to 8 m + 7 give the addresses of the 16-byte rows of matrix m. Operands:
 * inst.elements results, the address. inst.flag: transposed.
 */
void read_rows(Warp &warp, const Inst &inst, uint16_t (*rows)[8])
{
    uint64_t addresses[LANES];
    uint32_t offsets[LANES];
    const int lanes = 8 * inst.elements;

    lane_addresses(warp, inst.op[inst.elements], inst.address_bytes, inst.imm, addresses);
    for (int i = 0; i < lanes; i++) {
        offsets[i] = shared_offset(warp, i, addresses[i], 16);
        stamp_shared(warp, i, Actor::warp, Touch::read, offsets[i], 16);
        check_valid(warp, i, offsets[i], 16);
        memcpy(rows[i], warp.block->shared.at(offsets[i]), 16);
    }
    count_shared(warp, lanes == LANES ? ALL_LANES : (1u << lanes) - 1, offsets, 16);
}

/* A lane holds elements (group, place * 2) and the next in the row; transposed, in the column. */
uint32_t matrix_element(const uint16_t (*rows)[8], int lane, bool transposed)
{
    const int g = group_of(lane), p = place_of(lane) * 2;
    const uint16_t low = transposed ? rows[p][g] : rows[g][p];
    const uint16_t high = transposed ? rows[p + 1][g] : rows[g][p + 1];

    return uint32_t{high} << 16 | low;
}

void exec_move_matrix(Warp &warp, const Inst &inst)
{
    uint16_t rows[8][8];

    if (!gather_all(warp))
        return;
    for (int i = 0; i < LANES; i++)
        for (int e = 0; e < 2; e++)
            rows[group_of(i)][place_of(i) * 2 + e] =
                lane_get<uint16_t>(warp.reg(inst.op[1]), 2 * i + e);
    for (int i = 0; i < LANES; i++)
        lane_set(warp.reg(inst.op[0]), i, matrix_element(rows, i, true));
}

} // namespace

void exec_load_matrix(Warp &warp, const Inst &inst)
{
    uint16_t rows[LANES][8];

    if (!gather_all(warp))
        return;
    read_rows(warp, inst, rows);
    for (int m = 0; m < inst.elements; m++)
        for (int i = 0; i < LANES; i++)
            lane_set(warp.reg(inst.op[m]), i, matrix_element(rows + 8 * m, i, inst.flag != 0));
}

void add_tensor_rows(OpTable &t)
{
    float_rows<Half>(t, "f16");
    float_rows<Bf16>(t, "bf16");
    mma_row<uint32_t, uint32_t, float, 8, widen_tf32, widen_tf32>(
        t, "mma.m16n8k8.row.col.f32.tf32.tf32.f32");
    mma_row<uint32_t, uint32_t, float, 4, widen_tf32, widen_tf32>(
        t, "mma.m16n8k4.row.col.f32.tf32.tf32.f32");
    byte_rows<int8_t, int8_t>(t, "s8.s8");
    byte_rows<uint8_t, uint8_t>(t, "u8.u8");
    byte_rows<int8_t, uint8_t>(t, "s8.u8");
    byte_rows<uint8_t, int8_t>(t, "u8.s8");
    add_row(t, "movmatrix.m8n8.trans.b16", exec_move_matrix, {4, 4});
}

} // namespace fakecuda
