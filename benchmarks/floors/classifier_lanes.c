// The classifier of classifier.c with the samples as lanes from the logits to their gradient: the softmax then adds, and
// takes the largest, across vectors instead of inside them, and ten classes are not filled up to sixteen. Only the hidden
// layer is turned, in squares of a vector's lanes. Same parameters, arguments and results.

typedef float real;
#define OWN_VECTORS
#include "dense.h"
#include <math.h>

enum { N = BATCH, I = INPUTS, H = HIDDEN, C = 10, W1 = 0, B1 = I * H, W2 = B1 + H, B2 = W2 + C * H, P = B2 + C };
enum { V = (N + LANES - 1) / LANES, NP = V * LANES, PAIR = H / LANES % 2 ? 1 : 2, KB1 = I % 196 ? I : 196 };
typedef int whole __attribute__((vector_size(VECTOR), aligned(4), may_alias));

static float gathered[N * I], hidden[NP * H], d_hidden[N * H];
static vec turned[H][V], logits[C][V];

// e^x for x ≤ 0, to 1e-7 of the result; e^-80 stands for all that is less.
INLINE vec exponential(vec x) {
    x = (vec)((mask)x & (x > -80.0f)) + (vec)((mask)(-80.0f - (vec){0}) & ~(x > -80.0f));
    const vec t = x * 1.44269504f;
    const whole k = __builtin_convertvector(t - 0.5f, whole);
    const vec r = t - __builtin_convertvector(k, vec);
    vec y = 1.5403530e-4f * r + 1.3333558e-3f;
    y = y * r + 9.6181291e-3f;
    y = y * r + 5.5504109e-2f;
    y = y * r + 2.4022651e-1f;
    y = y * r + 6.9314718e-1f;
    y = y * r + 1.0f;
    return (vec)((whole)y + (k << 23));
}

INLINE vec larger(vec a, vec b) {
    const mask m = a > b;
    return (vec)(((mask)a & m) | ((mask)b & ~m));
}

INLINE float sum(vec a) {
    float s = 0;
    for (int i = 0; i < LANES; i++) s += a[i];
    return s;
}

// Rows i and i + 2^k exchange halves of 2^k lanes, for each k: as many rows as a vector has lanes become columns.
#define SWAP(k, low, high)                                 \
    for (int i = 0; i < LANES; i++)                        \
        if (!(i & k)) {                                    \
            const vec a = r[i], b = r[i + k];              \
            r[i] = __builtin_shufflevector(a, b, low);     \
            r[i + k] = __builtin_shufflevector(a, b, high); \
        }
#if VECTOR == 64
#define LOW1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define HIGH1 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
#define LOW2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HIGH2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define LOW4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define HIGH4 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define LOW8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define HIGH8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#elif VECTOR == 32
#define LOW1 0, 8, 2, 10, 4, 12, 6, 14
#define HIGH1 1, 9, 3, 11, 5, 13, 7, 15
#define LOW2 0, 1, 8, 9, 4, 5, 12, 13
#define HIGH2 2, 3, 10, 11, 6, 7, 14, 15
#define LOW4 0, 1, 2, 3, 8, 9, 10, 11
#define HIGH4 4, 5, 6, 7, 12, 13, 14, 15
#else
#define LOW1 0, 4, 2, 6
#define HIGH1 1, 5, 3, 7
#define LOW2 0, 1, 4, 5
#define HIGH2 2, 3, 6, 7
#endif

INLINE void turn(const float *from, const int stride, vec *to, const int to_stride) {
    vec r[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) r[i] = *(const vec *)(from + i * stride);
#pragma GCC unroll 16
    SWAP(1, LOW1, HIGH1)
#pragma GCC unroll 16
    SWAP(2, LOW2, HIGH2)
#if VECTOR >= 32
#pragma GCC unroll 16
    SWAP(4, LOW4, HIGH4)
#endif
#if VECTOR >= 64
#pragma GCC unroll 16
    SWAP(8, LOW8, HIGH8)
#endif
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) to[i * to_stride] = r[i];
}

static inline float loss_and_gradient(const float *restrict p, const float *restrict X, const int *restrict y,
                                      float *restrict g) {
    product(8, PAIR, N, H, I, KB1, X, I, 1, p + W1, hidden, p + B1);
    for (int i = 0; i < N * H; i += LANES) {
        vec *h = (vec *)(hidden + i);
        *h = WHERE(*h > 0, *h);
    }
    for (int v = 0; v < V; v++)
        for (int j = 0; j < H; j += LANES) turn(hidden + v * LANES * H + j, H, &turned[j][v], V);
    float loss = 0;
    vec db2[C] = {{0}};
    for (int v = 0; v < V; v++) {
        vec z[C], total = {0}, chosen = {0};
        for (int c = 0; c < C; c++) z[c] = p[B2 + c] - (vec){0};
#pragma GCC unroll 4
        for (int j = 0; j < H; j++)
#pragma GCC unroll 10
            for (int c = 0; c < C; c++) z[c] += p[W2 + c * H + j] * turned[j][v];
        whole label, real_lanes;
        for (int i = 0; i < LANES; i++) {
            real_lanes[i] = v * LANES + i < N ? -1 : 0;
            label[i] = v * LANES + i < N ? y[v * LANES + i] : -1;
        }
        vec most = z[0];
#pragma GCC unroll 10
        for (int c = 1; c < C; c++) most = larger(most, z[c]);
#pragma GCC unroll 10
        for (int c = 0; c < C; c++) {
            z[c] -= most;
            chosen += WHERE(label == c, z[c]);
            z[c] = exponential(z[c]);
            total += z[c];
        }
        const vec share = WHERE(real_lanes, 1.0f / N / total);
        for (int i = 0; i < LANES; i++) total[i] = logf(total[i]);
        loss += sum(WHERE(real_lanes, total - chosen));
#pragma GCC unroll 10
        for (int c = 0; c < C; c++) {
            const vec d = z[c] * share - WHERE(label == c, 1.0f / N - (vec){0});
            logits[c][v] = d;
            db2[c] += d;
        }
    }
    for (int c = 0; c < C; c++) g[B2 + c] = sum(db2[c]);
    const float *d_logits = (const float *)logits;
    product(10, PAIR, C, H, N, N, d_logits, NP, 1, hidden, g + W2, 0);
    product(8, PAIR, N, H, C, C, d_logits, 1, NP, p + W2, d_hidden, 0);
    for (int j = 0; j < H; j += LANES) {
        vec total = {0};
        for (int n = 0; n < N; n++) {
            vec *d = (vec *)(d_hidden + n * H + j);
            *d = WHERE(*(vec *)(hidden + n * H + j) > 0, *d);
            total += *d;
        }
        *(vec *)(g + B1 + j) = total;
    }
    product(8, PAIR, I, H, N, N, X, 1, I, d_hidden, g + W1, 0);
    return loss * (1.0f / N);
}

#include "classifier.h"
