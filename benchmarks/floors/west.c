// The recurrence of "Fastest Autograd in the West", float64, three ways.
//
// Operation k of the program is, for k mod 4 = 0, 1, 2, 3: softplus(n[-10]); the sum of n[-30:-10:5]; n[-20]·n[-10];
// softmax over n[-4:], which makes four new nodes. The gradient is that of the last node.

#include <math.h>
#include <string.h>

static inline double softplus(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }
static inline double sigmoid(double x) { return 1 / (1 + exp(-x)); }

// 1. A switch loop over operations that are data, as that post's C: what a generic tape can do.
typedef struct {
    int kind, count, in[8], out;
} operation;

void run_tape(const operation *restrict ops, int n_ops, int n_nodes, double *restrict v, double *restrict g, int times) {
    for (int t = 0; t < times; t++) {
        for (int k = 0; k < n_ops; k++) {
            const operation *o = ops + k;
            switch (o->kind) {
                case 0: v[o->out] = softplus(v[o->in[0]]); break;
                case 1: {
                    double total = 0;
                    for (int i = 0; i < o->count; i++) total += v[o->in[i]];
                    v[o->out] = total;
                    break;
                }
                case 2: v[o->out] = v[o->in[0]] * v[o->in[1]]; break;
                case 3: {
                    double largest = v[o->in[0]], total = 0, e[8];
                    for (int i = 1; i < o->count; i++) largest = fmax(largest, v[o->in[i]]);
                    for (int i = 0; i < o->count; i++) total += e[i] = exp(v[o->in[i]] - largest);
                    for (int i = 0; i < o->count; i++) v[o->out + i] = e[i] / total;
                    break;
                }
            }
        }
        memset(g, 0, sizeof(double) * n_nodes);
        g[n_nodes - 1] = 1;
        for (int k = n_ops - 1; k >= 0; k--) {
            const operation *o = ops + k;
            const double d = g[o->out];
            switch (o->kind) {
                case 0: g[o->in[0]] += d * sigmoid(v[o->in[0]]); break;
                case 1:
                    for (int i = 0; i < o->count; i++) g[o->in[i]] += d;
                    break;
                case 2:
                    g[o->in[0]] += d * v[o->in[1]];
                    g[o->in[1]] += d * v[o->in[0]];
                    break;
                case 3: {
                    double mean = 0;
                    for (int i = 0; i < o->count; i++) mean += v[o->out + i] * g[o->out + i];
                    for (int i = 0; i < o->count; i++) g[o->in[i]] += v[o->out + i] * (g[o->out + i] - mean);
                    break;
                }
            }
        }
    }
}

// 2. The program itself, written as the loop that it is: the floor. Nodes 0 … 99 hold the start values; a round of four
// operations makes seven nodes.
void run_loop(double *restrict v, double *restrict g, int rounds, int times) {
    const int n_nodes = 100 + 7 * rounds;
    for (int t = 0; t < times; t++) {
        for (int r = 0; r < rounds; r++) {
            double *o = v + 100 + 7 * r;
            o[0] = softplus(o[-10]);
            o[1] = o[-29] + o[-24] + o[-19] + o[-14];
            o[2] = o[-18] * o[-8];
            const double a = o[-1], b = o[0], c = o[1], d = o[2];
            const double largest = fmax(fmax(a, b), fmax(c, d));
            const double ea = exp(a - largest), eb = exp(b - largest), ec = exp(c - largest), ed = exp(d - largest);
            const double scale = 1 / (ea + eb + ec + ed);
            o[3] = ea * scale;
            o[4] = eb * scale;
            o[5] = ec * scale;
            o[6] = ed * scale;
        }
        memset(g, 0, sizeof(double) * n_nodes);
        g[n_nodes - 1] = 1;
        for (int r = rounds - 1; r >= 0; r--) {
            const double *o = v + 100 + 7 * r;
            double *d = g + 100 + 7 * r;
            const double mean = o[3] * d[3] + o[4] * d[4] + o[5] * d[5] + o[6] * d[6];
            d[-1] += o[3] * (d[3] - mean);
            d[0] += o[4] * (d[4] - mean);
            d[1] += o[5] * (d[5] - mean);
            d[2] += o[6] * (d[6] - mean);
            d[-18] += d[2] * o[-8];
            d[-8] += d[2] * o[-18];
            d[-29] += d[1];
            d[-24] += d[1];
            d[-19] += d[1];
            d[-14] += d[1];
            d[-10] += d[0] * sigmoid(o[-10]);
        }
    }
}

// 3. The same loop with the four exponentials of a softmax in one vector, in which that of the next round's softplus is, too,
// where it has room, and the slope of the softplus kept for the way back. What is left is the chain from each softmax to the
// next.
#ifdef __AVX512DQ__
enum { LANES = 8 };
typedef long rounded __attribute__((vector_size(64)));
#else
enum { LANES = 4 };
typedef int rounded __attribute__((vector_size(16)));  // nothing else makes 64 bits of a double
#endif
typedef double vec __attribute__((vector_size(8 * LANES)));
typedef long whole __attribute__((vector_size(8 * LANES)));
typedef double four __attribute__((vector_size(32), aligned(8)));
enum { ROUNDS = 2500 };
static double slope[ROUNDS];

// e^x for x ≤ 0, to 1e-15; e^-700 stands for all that is less.
static inline vec exponential(vec x) {
    const whole m = x > -700.0;
    x = (vec)((whole)x & m) - (vec)((whole)(700.0 - (vec){0}) & ~m);
    const rounded k = __builtin_convertvector(x * 1.4426950408889634 - 0.5, rounded);
    const vec r = x - __builtin_convertvector(k, vec) * 0.6931471805599453, r2 = r * r, r4 = r2 * r2;
    const vec low = (1.0 + r) + r2 * (0.5 + r * (1.0 / 6));
    const vec middle = (1.0 / 24 + r * (1.0 / 120)) + r2 * (1.0 / 720 + r * (1.0 / 5040));
    const vec high = (1.0 / 40320 + r * (1.0 / 362880)) + r2 * (1.0 / 3628800 + r * (1.0 / 39916800));
    return (vec)((whole)(low + r4 * (middle + r4 * high)) + (__builtin_convertvector(k, whole) << 52));
}

// log(1 + e) for 0 ≤ e ≤ 1, to 1e-15: the polynomial in 2e - 1 through its 24 Chebyshev nodes. It has no division, and its
// pairs of terms, pairs of these and so on wait for each other as little as can be.
static const double LOGARITHM[24] = {
    0.40546510810816438, 0.33333333333333331, -0.055555555555555566, 0.012345679012345682, -0.003086419753085962,
    0.00082304526748956512, -0.00022862368542232533, 6.5321052978104549e-05, -1.9051973702783388e-05,
    5.6450292432819371e-06, -1.6935092422061308e-06, 5.1318462696221931e-07, -1.5680472205740446e-07,
    4.8247585528340142e-08, -1.4937791378012253e-08, 4.6473493819925923e-09, -1.4459406671382386e-09,
    4.5358757476984236e-10, -1.494420341778741e-10, 4.7220943606949566e-11, -1.0546509095364592e-11,
    3.3365940723351843e-12, -2.7402394331975922e-12, 8.757026338407841e-13,
};

static inline double logarithm(double e) {
    const double u = 2 * e - 1, u2 = u * u, u4 = u2 * u2, u8 = u4 * u4, u16 = u8 * u8, *c = LOGARITHM;
    double four[6];
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) four[i] = (c[4 * i] + u * c[4 * i + 1]) + u2 * (c[4 * i + 2] + u * c[4 * i + 3]);
    return (four[0] + u4 * four[1]) + u8 * (four[2] + u4 * four[3]) + u16 * (four[4] + u4 * four[5]);
}

void run_vectors(double *restrict v, double *restrict g, int rounds, int times) {
    const int n_nodes = 100 + 7 * rounds;
    for (int t = 0; t < times; t++) {
        double e = exp(-fabs(v[90]));
        vec p = {v[96], v[97], v[98], v[99]};  // and again, if it has eight lanes
        for (int r = 0; r < rounds; r++) {
            double *o = v + 100 + 7 * r;
            const double x = o[-10], part = 1 / (1 + e);
            slope[r] = x > 0 ? part : e * part;
            o[0] = (x > 0 ? x : 0) + logarithm(e);
            o[1] = o[-29] + o[-24] + o[-19] + o[-14];
            o[2] = o[-18] * o[-8];
            const double some = fmax(o[0], fmax(o[1], o[2]));
#ifdef __AVX512DQ__
            const vec known = {0, o[0], o[1], o[2], -fabs(o[-3]), 0, 0, 0}, largest = {some, some, some, some};
            const vec last = __builtin_shufflevector(p, (vec){0}, 3, 3, 3, 3, 8, 8, 8, 8);
#else
            const vec known = {0, o[0], o[1], o[2]}, largest = {some, some, some, some};
            const vec last = __builtin_shufflevector(p, p, 3, 3, 3, 3);
#endif
            const whole m = last > largest;
            const vec most = (vec)(((whole)last & m) | ((whole)largest & ~m));
#ifdef __AVX512DQ__
            const vec y = exponential(__builtin_shufflevector(p, known, 3, 9, 10, 11, 12, 13, 14, 15) - most);
            const four q = __builtin_shufflevector(y, y, 0, 1, 2, 3);
#else
            const four q = exponential(__builtin_shufflevector(p, known, 3, 5, 6, 7) - most);
            e = exponential((vec){-fabs(o[-3])})[0];
#endif
            const four two = q + __builtin_shufflevector(q, q, 1, 0, 3, 2);
            const four share = q / (two + __builtin_shufflevector(two, two, 2, 3, 0, 1));
            *(four *)(o + 3) = share;
#ifdef __AVX512DQ__
            p = __builtin_shufflevector(share, share, 0, 1, 2, 3, 0, 1, 2, 3);
            e = y[4];
#else
            p = share;
#endif
        }
        memset(g, 0, sizeof(double) * n_nodes);
        double last = 1;  // the gradient of a round's last node by the round after it
        for (int r = rounds - 1; r >= 0; r--) {
            const double *o = v + 100 + 7 * r;
            double *d = g + 100 + 7 * r;
            const double mean = (o[3] * d[3] + o[4] * d[4]) + (o[5] * d[5] + o[6] * (d[6] + last));
            const double first = d[0] + o[4] * (d[4] - mean), second = d[1] + o[5] * (d[5] - mean);
            const double third = d[2] + o[6] * (d[6] + last - mean);
            last = o[3] * (d[3] - mean);
            d[-18] += third * o[-8];
            d[-8] += third * o[-18];
            d[-29] += second;
            d[-24] += second;
            d[-19] += second;
            d[-14] += second;
            d[-10] += first * slope[r];
        }
        g[99] += last;
    }
}
