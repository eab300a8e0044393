// The moons net with one sample a step: 2-16-16-1, ReLU, hinge, plain gradient descent, float64. The hidden units are the
// lanes. Parameters: W1[2][16] b1[16] W2[16][16] b2[16] w3[16] b3, weights as [in][out]; X[n][2]; y[n] in {-1, 1}.

typedef double real;
#define OWN_VECTORS
#include "dense.h"

enum { H = 16, W1 = 0, B1 = 32, W2 = 48, B2 = 304, W3 = 320, B3 = 336, V = H / LANES };

INLINE void load(vec *to, const double *from) {
    for (int v = 0; v < V; v++) to[v] = *(const vec *)(from + v * LANES);
}

INLINE void move(double *p, const vec *d, double rate) {
    for (int v = 0; v < V; v++) *(vec *)(p + v * LANES) -= rate * d[v];
}

INLINE double sum(vec a) {
    double s = 0;
    for (int i = 0; i < LANES; i++) s += a[i];
    return s;
}

// `steps` steps on the samples that `index` names; losses[k] is the loss before step k.
void train(double *restrict p, const double *restrict X, const double *restrict y, const long *restrict index, int steps,
           double rate, double *restrict losses) {
    // The second layer as [out][in] as well, so that neither way through it adds up lanes.
    double turned[H * H];
    for (int i = 0; i < H; i++)
        for (int j = 0; j < H; j++) turned[j * H + i] = p[W2 + i * H + j];
    for (int k = 0; k < steps; k++) {
        const double x0 = X[2 * index[k]], x1 = X[2 * index[k] + 1], target = y[index[k]];
        vec a[V], b[V], h1[V], h2[V], w3[V], d1[V], d2[V], score = {0};
        load(a, p + W1);
        load(b, p + W1 + H);
        load(h1, p + B1);
        double numbers[H], back[H];
        for (int v = 0; v < V; v++) {
            h1[v] += x0 * a[v] + x1 * b[v];
            h1[v] = WHERE(h1[v] > 0, h1[v]);
            *(vec *)(numbers + v * LANES) = h1[v];
        }
        // Two sums each, so that an addition does not wait for the one before.
        vec other[V] = {{0}};
        load(h2, p + B2);
#pragma GCC unroll 8
        for (int i = 0; i < H; i += 2)
            for (int v = 0; v < V; v++) {
                h2[v] += numbers[i] * *(vec *)(p + W2 + i * H + v * LANES);
                other[v] += numbers[i + 1] * *(vec *)(p + W2 + (i + 1) * H + v * LANES);
            }
        load(w3, p + W3);
        for (int v = 0; v < V; v++) {
            h2[v] += other[v];
            h2[v] = WHERE(h2[v] > 0, h2[v]);
            score += h2[v] * w3[v];
        }
        const double margin = 1 - target * (p[B3] + sum(score)), d = margin > 0 ? -target : 0;
        losses[k] = margin > 0 ? margin : 0;
        vec dw3[V], dw0[V], dw1[V];
        for (int v = 0; v < V; v++) {
            d2[v] = WHERE(h2[v] > 0, d * w3[v]);
            dw3[v] = d * h2[v];
            *(vec *)(back + v * LANES) = d2[v];
            d1[v] = other[v] = (vec){0};
        }
#pragma GCC unroll 8
        for (int j = 0; j < H; j += 2)
            for (int v = 0; v < V; v++) {
                d1[v] += back[j] * *(vec *)(turned + j * H + v * LANES);
                other[v] += back[j + 1] * *(vec *)(turned + (j + 1) * H + v * LANES);
            }
        for (int v = 0; v < V; v++) {
            d1[v] = WHERE(h1[v] > 0, d1[v] + other[v]);
            dw0[v] = x0 * d1[v];
            dw1[v] = x1 * d1[v];
        }
#pragma GCC unroll 16
        for (int i = 0; i < H; i++) {
            const double forward = rate * numbers[i], backward = rate * back[i];
            for (int v = 0; v < V; v++) {
                *(vec *)(p + W2 + i * H + v * LANES) -= forward * d2[v];
                *(vec *)(turned + i * H + v * LANES) -= backward * h1[v];
            }
        }
        move(p + W1, dw0, rate);
        move(p + W1 + H, dw1, rate);
        move(p + B1, d1, rate);
        move(p + B2, d2, rate);
        move(p + W3, dw3, rate);
        p[B3] -= rate * d;
    }
}
