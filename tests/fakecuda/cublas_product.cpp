/*
 * Both operands are packed as rows of floats along k, cut into the product's parts, each padded
 * with zeros to whole vectors. Then every element of D is one dot product of packed rows: lanes of
 * a vector are partial sums, added pairwise at the end of a part. So an element's bits depend on
 * its own row and column and on `parts` alone.
 */
#include "tests/fakecuda/cublas_product.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace fakecuda
{

namespace
{

constexpr int64_t LANES_PER_VECTOR = 8;
typedef float Vector __attribute__((vector_size(LANES_PER_VECTOR * sizeof(float))));

constexpr int64_t TILE_ROWS = 4, TILE_COLS = 2; /* what fits the registers of plain x86-64 */
constexpr int64_t PANEL_ROWS = 64;              /* of A packed at a time */

float read_element(const void *data, Element element, int64_t index)
{
    float value;

    if (element == Element::f32) {
        memcpy(&value, static_cast<const char *>(data) + index * 4, 4);
        return value;
    }
    uint16_t half;
    memcpy(&half, static_cast<const char *>(data) + index * 2, 2);
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    memcpy(&value, &bits, 4);
    return value;
}

void write_element(void *data, Element element, int64_t index, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, 4);
    if (element == Element::f32) {
        memcpy(static_cast<char *>(data) + index * 4, &bits, 4);
        return;
    }
    /* to nearest, ties to even; NaN stays NaN */
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    const uint32_t rounded = nan ? bits | 0x400000u : bits + 0x7fffu + ((bits >> 16) & 1u);
    const uint16_t half = static_cast<uint16_t>(rounded >> 16);
    memcpy(static_cast<char *>(data) + index * 2, &half, 2);
}

/* How k is cut: parts of `length` (the last may be shorter), each `vectors` long when packed. */
struct Cut {
    int64_t parts, length, vectors;

    Cut(int64_t k, int32_t wanted)
        : parts(std::max<int64_t>(1, std::min<int64_t>(wanted, k))),
          length((k + parts - 1) / parts),
          vectors((length + LANES_PER_VECTOR - 1) / LANES_PER_VECTOR)
    {
    }
    int64_t row_vectors() const
    {
        return parts * vectors;
    }
};

class Packed
{
  public:
    Packed(const Cut &cut, int64_t rows)
        : cut_(cut), data_(static_cast<size_t>(cut.row_vectors() * rows))
    {
    }
    /* `along_k`: steps between neighbours in k; row i begins at element i * across. */
    void fill(const Matrix &matrix, int64_t first, int64_t rows, int64_t k, int64_t across,
              int64_t along_k)
    {
        std::fill(data_.begin(), data_.end(), Vector{});
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t at = 0; at < k; at++) {
                const int64_t part = at / cut_.length, inside = at % cut_.length;
                const int64_t lane = part * cut_.vectors * LANES_PER_VECTOR + inside;

                floats(i)[lane] =
                    read_element(matrix.data, matrix.element, (first + i) * across + at * along_k);
            }
        }
    }
    const Vector *row(int64_t i) const
    {
        return &data_[static_cast<size_t>(i * cut_.row_vectors())];
    }

  private:
    float *floats(int64_t i)
    {
        return reinterpret_cast<float *>(&data_[static_cast<size_t>(i * cut_.row_vectors())]);
    }
    Cut cut_;
    std::vector<Vector> data_;
};

float add_lanes(const Vector &v)
{
    return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

/* out[i][j] = row i of A times row j of B, for one tile of packed rows. */
void multiply_tile(const Cut &cut, const Packed &a, int64_t row, const Packed &b, int64_t col,
                   float out[TILE_ROWS][TILE_COLS])
{
    const Vector *a_rows[TILE_ROWS], *b_rows[TILE_COLS];

    for (int64_t i = 0; i < TILE_ROWS; i++)
        a_rows[i] = a.row(row + i);
    for (int64_t j = 0; j < TILE_COLS; j++)
        b_rows[j] = b.row(col + j);
    for (int64_t part = 0; part < cut.parts; part++) {
        Vector sums[TILE_ROWS][TILE_COLS] = {};

        for (int64_t at = part * cut.vectors; at < (part + 1) * cut.vectors; at++)
            for (int64_t i = 0; i < TILE_ROWS; i++)
                for (int64_t j = 0; j < TILE_COLS; j++)
                    sums[i][j] += a_rows[i][at] * b_rows[j][at];
        for (int64_t i = 0; i < TILE_ROWS; i++)
            for (int64_t j = 0; j < TILE_COLS; j++)
                out[i][j] = part ? out[i][j] + add_lanes(sums[i][j]) : add_lanes(sums[i][j]);
    }
}

void finish(const Product &p, int64_t row, int64_t col, float sum)
{
    float value = p.alpha * sum;

    if (p.beta != 0.0f)
        value += p.beta * read_element(p.c.data, p.c.element, row + col * p.c.ld);
    if (p.bias)
        value += read_element(p.bias, p.c.element, row);
    if (p.relu && value < 0.0f)
        value = 0.0f;
    write_element(p.d, p.c.element, row + col * p.d_ld, value);
}

int64_t round_up(int64_t count, int64_t unit)
{
    return (count + unit - 1) / unit * unit;
}

} // namespace

void multiply(const Product &p)
{
    const Cut cut(p.k, p.parts);
    Packed a(cut, PANEL_ROWS), b(cut, round_up(p.n, TILE_COLS));

    b.fill(p.b, 0, p.n, p.k, p.b.transposed ? 1 : p.b.ld, p.b.transposed ? p.b.ld : 1);
    for (int64_t first = 0; first < p.m; first += PANEL_ROWS) {
        const int64_t rows = std::min(PANEL_ROWS, p.m - first);

        a.fill(p.a, first, rows, p.k, p.a.transposed ? p.a.ld : 1, p.a.transposed ? 1 : p.a.ld);
        for (int64_t row = 0; row < rows; row += TILE_ROWS)
            for (int64_t col = 0; col < p.n; col += TILE_COLS) {
                float out[TILE_ROWS][TILE_COLS];

                multiply_tile(cut, a, row, b, col, out);
                for (int64_t i = 0; i < std::min(TILE_ROWS, rows - row); i++)
                    for (int64_t j = 0; j < std::min(TILE_COLS, p.n - col); j++)
                        finish(p, first + row + i, col + j, out[i][j]);
            }
    }
}

} // namespace fakecuda
