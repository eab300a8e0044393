// Σ 100(xᵢ − xᵢ₋₁²)² + (1 − xᵢ₋₁)² over n variables and its gradient, float64.

typedef double real;
#define OWN_VECTORS
#include "dense.h"

// The terms that begin at a vector of variables from i: their sums by lane, and these variables' gradients, each by itself:
// what comes from the term it ends, and what comes from the term it begins.
static inline vec several(const double *restrict x, double *restrict g, int i) {
    const vec before = *(const vec *)(x + i - 1), at = *(const vec *)(x + i), after = *(const vec *)(x + i + 1);
    const vec ends = at - before * before, begins = after - at * at, rest = 1 - at;
    *(vec *)(g + i) = 200 * ends - (400 * at * begins + 2 * rest);
    return 100 * begins * begins + rest * rest;
}

double gradient(const double *restrict x, double *restrict g, int n) {
    vec sums[4] = {{0}};
    int i = 1;
    for (; i + 4 * LANES < n; i += 4 * LANES)
        for (int k = 0; k < 4; k++) sums[k] += several(x, g, i + k * LANES);
    for (; i + LANES < n; i += LANES) sums[0] += several(x, g, i);
    const vec sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    const double first = x[1] - x[0] * x[0], rest = 1 - x[0];
    double total = 100 * first * first + rest * rest;
    for (int k = 0; k < LANES; k++) total += sum[k];
    for (; i < n - 1; i++) {
        const double ends = x[i] - x[i - 1] * x[i - 1], begins = x[i + 1] - x[i] * x[i], rest = 1 - x[i];
        total += 100 * begins * begins + rest * rest;
        g[i] = 200 * ends - 400 * x[i] * begins - 2 * rest;
    }
    g[0] = -400 * x[0] * first - 2 * rest;
    g[n - 1] = 200 * (x[n - 1] - x[n - 2] * x[n - 2]);
    return total;
}

double gradients(const double *restrict x, double *restrict g, int n, int times) {
    double last = 0;
    for (int t = 0; t < times; t++) {
        last = gradient(x, g, n);
        __asm__ volatile("" ::: "memory");  // each is computed
    }
    return last;
}
