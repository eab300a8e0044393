// The moons net in plain C: 2-16-16-1, ReLU, hinge loss + 1e-4·Σp², batches of -DBATCH=32, float64.
// Parameters: W1[2][16] b1[16] W2[16][16] b2[16] w3[16] b3, weights as [in][out]; X[n][2]; y[n] in {-1, 1}.

typedef double real;
#define OWN_VECTORS
#include "dense.h"

enum { N = BATCH, ROWS = N % 8 ? 4 : 8, I = 2, H = 16, W1 = 0, B1 = 32, W2 = 48, B2 = 304, W3 = 320, B3 = 336, P = 337, V = H / LANES };

// The mean loss of a batch and its gradient.
static inline double loss_and_gradient(const double *restrict p, const double *restrict X, const double *restrict y,
                                       double *restrict g) {
    double h1[N * H], h2[N * H], d1[N * H], d2[N * H], wt[H * H], ds[N], loss = 0, l2 = 0;
    product(ROWS, V, N, H, I, I, X, I, 1, p + W1, h1, p + B1);
    for (int i = 0; i < N * H; i++) h1[i] = h1[i] > 0 ? h1[i] : 0;
    product(ROWS, V, N, H, H, H, h1, H, 1, p + W2, h2, p + B2);
    for (int i = 0; i < N * H; i++) h2[i] = h2[i] > 0 ? h2[i] : 0;
    vec dw[V] = {{0}}, db2[V] = {{0}}, db1[V] = {{0}}, w[V];
    for (int v = 0; v < V; v++) w[v] = *(const vec *)(p + W3 + v * LANES);
    double db3 = 0;
    for (int n = 0; n < N; n++) {
        double s = p[B3];
        for (int j = 0; j < H; j++) s += p[W3 + j] * h2[n * H + j];
        const double margin = 1 - y[n] * s;
        loss += margin > 0 ? margin : 0;
        ds[n] = margin > 0 ? -y[n] * (1.0 / N) : 0;
    }
    for (int n = 0; n < N; n++) {
        const double d = ds[n];
        db3 += d;
        for (int v = 0; v < V; v++) {
            const vec a = *(vec *)(h2 + n * H + v * LANES), e = WHERE(a > 0, d * w[v]);
            dw[v] += d * a;
            *(vec *)(d2 + n * H + v * LANES) = e;
            db2[v] += e;
        }
    }
    for (int i = 0; i < H; i++)
        for (int j = 0; j < H; j++) wt[j * H + i] = p[W2 + i * H + j];
    product(8, V, H, H, N, N, h1, 1, H, d2, g + W2, 0);
    product(ROWS, V, N, H, H, H, d2, H, 1, wt, d1, 0);
    for (int n = 0; n < N; n++)
        for (int v = 0; v < V; v++) {
            vec *a = (vec *)(d1 + n * H + v * LANES);
            *a = WHERE(*(const vec *)(h1 + n * H + v * LANES) > 0, *a);
            db1[v] += *a;
        }
    product(2, V, I, H, N, N, X, 1, I, d1, g + W1, 0);
    for (int v = 0; v < V; v++) {
        *(vec *)(g + B1 + v * LANES) = db1[v];
        *(vec *)(g + B2 + v * LANES) = db2[v];
        *(vec *)(g + W3 + v * LANES) = dw[v];
    }
    g[B3] = db3;
    for (int i = 0; i < P; i++) {
        l2 += p[i] * p[i];
        g[i] += 2e-4 * p[i];
    }
    return loss * (1.0 / N) + 1e-4 * l2;
}

double gradient(const double *p, const double *X, const double *y, double *g) { return loss_and_gradient(p, X, y, g); }

// The same `times` times, without a call from Python for each; p moves by nothing, but the compiler cannot know that.
void gradients(double *p, const double *X, const double *y, double *g, int times, double nothing) {
    for (int t = 0; t < times; t++) p[t % P] += nothing * loss_and_gradient(p, X, y, g);
}

// `steps` steps of gradient descent with learning rate 1 − 0.9·k/steps on the batches that `index[steps][BATCH]` names.
void train(double *restrict p, const double *restrict X, const double *restrict y, const int *restrict index, int steps,
           double *restrict losses) {
    double x[N * I], t[N], g[P];
    for (int k = 0; k < steps; k++) {
        for (int n = 0; n < N; n++) {
            const int s = index[k * N + n];
            x[2 * n] = X[2 * s];
            x[2 * n + 1] = X[2 * s + 1];
            t[n] = y[s];
        }
        losses[k] = loss_and_gradient(p, x, t, g);
        const double rate = 1 - 0.9 * k / steps;
        for (int i = 0; i < P; i++) p[i] -= rate * g[i];
    }
}

// The score of one sample.
double predict(const double *restrict p, const double *restrict x) {
    double h1[H], h2[H], s = p[B3];
    for (int j = 0; j < H; j++) {
        const double z = p[B1 + j] + x[0] * p[W1 + j] + x[1] * p[W1 + H + j];
        h1[j] = z > 0 ? z : 0;
    }
    tile(1, V, H, h1, 0, 1, p + W2, H, h2, H, p + B2, 0);
    for (int j = 0; j < H; j++) s += p[W3 + j] * (h2[j] > 0 ? h2[j] : 0);
    return s;
}

// The scores of n samples, a multiple of eight.
void predict_all(const double *restrict p, const double *restrict x, int n, double *restrict out) {
    double h1[8 * H], h2[8 * H];
    vec w[V];
    for (int v = 0; v < V; v++) w[v] = *(const vec *)(p + W3 + v * LANES);
    for (int k = 0; k < n; k += 8) {
        tile(8, V, I, x + k * I, I, 1, p + W1, H, h1, H, p + B1, 0);
        for (int i = 0; i < 8 * H; i++) h1[i] = h1[i] > 0 ? h1[i] : 0;
        tile(8, V, H, h1, H, 1, p + W2, H, h2, H, p + B2, 0);
        for (int i = 0; i < 8; i++) {
            vec s = {0};
            for (int v = 0; v < V; v++) {
                const vec a = *(vec *)(h2 + i * H + v * LANES);
                s += WHERE(a > 0, a * w[v]);
            }
            double total = p[B3];
            for (int j = 0; j < LANES; j++) total += s[j];
            out[k + i] = total;
        }
    }
}
