// Matrix products for the floors: C = A·B with C and B in rows of vectors and A read one number at a time, broadcast.
// All sizes are compile-time constants, so gcc unrolls a tile of ROWS × VECTORS accumulators into registers.
//
// The caller defines `real` (double or float) first. A is addressed as A[m * stride_m + k * stride_k], so that the same
// kernel reads it transposed.

#include <string.h>

#define LANES ((int)(64 / sizeof(real)))  // of one 512-bit vector; gcc splits it where the machine's are shorter
typedef real vec __attribute__((vector_size(64), aligned(sizeof(real)), may_alias));
typedef __typeof__((vec){0} > (vec){0}) mask;
#define WHERE(condition, x) ((vec)((condition) & (mask)(x)))  // x where the condition holds, 0 elsewhere
enum { MAX_ROWS = 16, MAX_VECTORS = 8 };
#define INLINE static inline __attribute__((always_inline))

// The vectors of the machine. A `vec` of several of them is fine for what passes over numbers once, but its sums would be
// in memory; so a tile of vectors is then computed in blocks whose sums fit into sixteen registers.
#ifdef __AVX512F__
enum { PART = 64 };
#elif defined(__AVX__)
enum { PART = 32 };
#else
enum { PART = 16 };
#endif
typedef real part __attribute__((vector_size(PART), aligned(sizeof(real)), may_alias));
enum { PART_LANES = PART / (int)sizeof(real), PARTS = 64 / PART };

// ROWS rows and COUNT parts of C, over K terms.
INLINE void block(const int ROWS, const int COUNT, const int K, const real *A, const int stride_m, const int stride_k,
                  const real *B, const int stride_b, real *C, const int stride_c, const real *start,
                  const int start_stride) {
    part sum[MAX_ROWS][MAX_VECTORS];  // fixed sizes: gcc keeps a variable-length array in memory
#pragma GCC unroll 16
    for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 8
        for (int v = 0; v < COUNT; v++)
            sum[m][v] = start ? *(const part *)(start + m * start_stride + v * PART_LANES) : (part){0};
#pragma GCC unroll 2
    for (int k = 0; k < K; k++) {
        part b[MAX_VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < COUNT; v++) b[v] = *(const part *)(B + k * stride_b + v * PART_LANES);
#pragma GCC unroll 16
        for (int m = 0; m < ROWS; m++) {
            const real a = A[m * stride_m + k * stride_k];
#pragma GCC unroll 8
            for (int v = 0; v < COUNT; v++) sum[m][v] += a * b[v];
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 8
        for (int v = 0; v < COUNT; v++) *(part *)(C + m * stride_c + v * PART_LANES) = sum[m][v];
}

// One tile: ROWS rows and VECTORS vectors of C, over K terms. `start` is added when it is not null: a bias row when
// start_stride is 0, C's own old content when it is C.
INLINE void tile(const int ROWS, const int VECTORS, const int K, const real *A, const int stride_m, const int stride_k,
                 const real *B, const int stride_b, real *C, const int stride_c, const real *start,
                 const int start_stride) {
    if (PARTS == 1) {
        block(ROWS, VECTORS, K, A, stride_m, stride_k, B, stride_b, C, stride_c, start, start_stride);
        return;
    }
    const int rows = ROWS % 4 ? ROWS % 5 ? 1 : 5 : 4, count = 2;
    for (int v = 0; v < VECTORS * PARTS; v += count)
        for (int m = 0; m < ROWS; m += rows)
            block(rows, count, K, A + m * stride_m, stride_m, stride_k, B + v * PART_LANES, stride_b,
                  C + m * stride_c + v * PART_LANES, stride_c, start ? start + m * start_stride + v * PART_LANES : 0,
                  start_stride);
}

// C[M][N] = A·B (+ start). N is a multiple of VECTORS·LANES, M of ROWS. K is cut into blocks of KB so that a panel of B
// stays in the first cache while all of A passes by.
INLINE void product(const int ROWS, const int VECTORS, const int M, const int N, const int K, const int KB, const real *A,
                    const int stride_m, const int stride_k, const real *B, real *C, const real *bias) {
    for (int n = 0; n < N; n += VECTORS * LANES)
        for (int k = 0; k < K; k += KB)
            for (int m = 0; m < M; m += ROWS) {
                real *c = C + m * N + n;
                const real *a = A + m * stride_m + k * stride_k;
                if (k)
                    tile(ROWS, VECTORS, KB, a, stride_m, stride_k, B + k * N + n, N, c, N, c, N);
                else
                    tile(ROWS, VECTORS, KB, a, stride_m, stride_k, B + k * N + n, N, c, N, bias ? bias + n : 0, 0);
            }
}
