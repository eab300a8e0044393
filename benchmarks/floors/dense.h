// Matrix products for the floors: C = A·B with C and B in rows of vectors and A read one number at a time, broadcast.
// All sizes are compile-time constants, so gcc unrolls a tile of ROWS × VECTORS accumulators into registers.
//
// The caller defines `real` (double or float) first. A is addressed as A[m * stride_m + k * stride_k], so that the same
// kernel reads it transposed.

#include <string.h>

// The vectors of the machine, in bytes. The sums of a tile are in these, since gcc keeps longer ones in memory.
#ifdef __AVX512F__
#define PART 64
#elif defined(__AVX__)
#define PART 32
#else
#define PART 16
#endif
// A `vec` is of the same length where the caller asks for it (OWN_VECTORS), and otherwise of 512 bits, which gcc splits:
// that is fine for what passes over numbers once.
#ifdef OWN_VECTORS
#define VECTOR PART
#else
#define VECTOR 64
#endif
#define LANES ((int)(VECTOR / sizeof(real)))
typedef real vec __attribute__((vector_size(VECTOR), aligned(sizeof(real)), may_alias));
typedef __typeof__((vec){0} > (vec){0}) mask;
#define WHERE(condition, x) ((vec)((condition) & (mask)(x)))  // x where the condition holds, 0 elsewhere
enum { MAX_ROWS = 16, MAX_VECTORS = 8 };
#define INLINE static inline __attribute__((always_inline))
typedef real part __attribute__((vector_size(PART), aligned(sizeof(real)), may_alias));
enum { PART_LANES = PART / (int)sizeof(real), PARTS = VECTOR / PART };

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
    if (PART == 64) {
        block(ROWS, VECTORS, K, A, stride_m, stride_k, B, stride_b, C, stride_c, start, start_stride);
        return;
    }
    // Blocks whose sums fit into sixteen registers.
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
