// Any graph of sums, differences, products and tanh, float64: a switch loop over operations that are data.

#include <math.h>
#include <string.h>

typedef struct {
    int kind, a, b;  // operands' nodes; the result's node is `inputs` plus the operation's number
} operation;

// The value of the last node; g gets the gradient by every node.
double gradient(const operation *restrict ops, int n_ops, int inputs, double *restrict v, double *restrict g) {
    for (int k = 0; k < n_ops; k++) {
        const operation o = ops[k];
        double *out = v + inputs + k;
        switch (o.kind) {
            case 0: *out = v[o.a] + v[o.b]; break;
            case 1: *out = v[o.a] - v[o.b]; break;
            case 2: *out = v[o.a] * v[o.b]; break;
            case 3: *out = tanh(v[o.a]); break;
        }
    }
    const int n = inputs + n_ops;
    memset(g, 0, sizeof(double) * n);
    g[n - 1] = 1;
    for (int k = n_ops - 1; k >= 0; k--) {
        const operation o = ops[k];
        const double d = g[inputs + k], out = v[inputs + k];
        switch (o.kind) {
            case 0:
                g[o.a] += d;
                g[o.b] += d;
                break;
            case 1:
                g[o.a] += d;
                g[o.b] -= d;
                break;
            case 2: {
                const double to_a = d * v[o.b], to_b = d * v[o.a];
                g[o.a] += to_a;
                g[o.b] += to_b;
                break;
            }
            case 3: g[o.a] += d * (1 - out * out); break;
        }
    }
    return v[n - 1];
}
