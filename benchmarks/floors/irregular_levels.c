// The graph of irregular.c, sorted by hand: operations of one depth do not need each other, so all of one depth and kind are
// a loop without branches, a vector at a time. The sum of loose ends, a chain in the graph, is a sum here.

typedef double real;
#define OWN_VECTORS
#include "dense.h"

typedef struct {
    int kind, first, count;  // of the operations of one depth, padded to whole vectors
} run;
typedef long whole __attribute__((vector_size(VECTOR), aligned(8), may_alias));
#ifdef __AVX512DQ__
typedef whole rounded;
#else
typedef int rounded __attribute__((vector_size(VECTOR / 2), aligned(4)));  // nothing else makes 64 bits of a double
#endif

// The vectors that runs are padded to.
int lanes(void) { return LANES; }

// e^x for x ≤ 0, to 1e-15; e^-700 stands for all that is less.
INLINE vec exponential(vec x) {
    const mask m = x > -700.0;
    x = WHERE(m, x) - WHERE(~m, 700.0 - (vec){0});
    const rounded k = __builtin_convertvector(x * 1.4426950408889634 - 0.5, rounded);
    const vec n = __builtin_convertvector(k, vec);
    const vec r = x - n * 0.6931471805599453;
    vec y = r * (1.0 / 39916800) + 1.0 / 3628800;
    y = y * r + 1.0 / 362880;
    y = y * r + 1.0 / 40320;
    y = y * r + 1.0 / 5040;
    y = y * r + 1.0 / 720;
    y = y * r + 1.0 / 120;
    y = y * r + 1.0 / 24;
    y = y * r + 1.0 / 6;
    y = y * r + 0.5;
    y = y * r + 1.0;
    y = y * r + 1.0;
    return (vec)((whole)y + (__builtin_convertvector(k, whole) << 52));
}

INLINE vec hyperbolic(vec x) {
    const mask negative = x < 0;
    const vec size = WHERE(negative, -x) + WHERE(~negative, x), e = exponential(-2.0 * size), t = (1.0 - e) / (1.0 + e);
    return WHERE(negative, -t) + WHERE(~negative, t);
}

INLINE vec gathered(const double *v, const int *at) {
    vec x;
    for (int i = 0; i < LANES; i++) x[i] = v[at[i]];
    return x;
}

// The value; a and b are the operands' nodes, operation k makes node inputs + k, and `loose` are the nodes of the sum.
double gradient(const run *restrict runs, int n_runs, const int *restrict a, const int *restrict b, int inputs, int n_ops,
                const int *restrict loose, int n_loose, double *restrict v, double *restrict g) {
    for (const run *r = runs; r < runs + n_runs; r++)
        for (int k = r->first; k < r->first + r->count; k += LANES) {
            vec *out = (vec *)(v + inputs + k);
            const vec x = gathered(v, a + k);
            switch (r->kind) {
                case 0: *out = x + gathered(v, b + k); break;
                case 1: *out = x - gathered(v, b + k); break;
                case 2: *out = x * gathered(v, b + k); break;
                case 3: *out = hyperbolic(x); break;
            }
        }
    double total = 0;
    memset(g, 0, sizeof(double) * (inputs + n_ops));
    for (int i = 0; i < n_loose; i++) {
        total += v[loose[i]];
        g[loose[i]] += 1;
    }
    for (const run *r = runs + n_runs - 1; r >= runs; r--)
        for (int k = r->first; k < r->first + r->count; k += LANES) {
            const vec d = *(vec *)(g + inputs + k), out = *(vec *)(v + inputs + k);
            vec to_a = d, to_b = d;
            if (r->kind == 1) to_b = -d;
            if (r->kind == 2) {
                to_a = d * gathered(v, b + k);
                to_b = d * gathered(v, a + k);
            }
            if (r->kind == 3) to_a = d * (1.0 - out * out);
            for (int i = 0; i < LANES; i++) g[a[k + i]] += to_a[i];
            if (r->kind != 3)
                for (int i = 0; i < LANES; i++) g[b[k + i]] += to_b[i];
        }
    return total;
}
