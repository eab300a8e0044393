// The recurrence of "Fastest Autograd in the West", float64, two ways.
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
