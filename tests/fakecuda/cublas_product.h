/*
 * The arithmetic behind the fake cublasLtMatmul: D = epilogue(alpha op(A) op(B) + beta C), all
 * matrices column-major, accumulated in float32.
 */
#ifndef FAKECUDA_CUBLAS_PRODUCT_H
#define FAKECUDA_CUBLAS_PRODUCT_H

#include <cstddef>
#include <cstdint>

namespace fakecuda
{

enum class Element { f32, bf16 };

constexpr size_t bytes_of(Element element)
{
    return element == Element::f32 ? 4 : 2;
}

/* Element (row, col) lies at data + row + col * ld. */
struct Matrix {
    const void *data;
    Element element;
    int64_t ld;
    bool transposed; /* op(A) is the transpose of what is stored */
};

struct Product {
    int64_t m, n, k;
    Matrix a, b;
    Matrix c; /* read where beta is not 0; never transposed */
    void *d;  /* element type of c */
    int64_t d_ld;
    float alpha, beta;
    const void *bias; /* [m], element type of c, or NULL */
    bool relu;
    /* The sum over k is taken in that many parts of equal length, added in order. Every element of
     * D has the same order, whatever m and n are. */
    int32_t parts;
};

void multiply(const Product &product);

} // namespace fakecuda

#endif
