// A two-layer classifier in plain C: INPUTS-HIDDEN-10, ReLU, softmax cross-entropy, batches of BATCH, float32, Adam.
// The sizes come from the command line: -DINPUTS=64 -DHIDDEN=128 -DBATCH=32.
// Parameters: W1[INPUTS][HIDDEN] b1[HIDDEN] W2[10][HIDDEN] b2[10]; note that W1 is [in][out] and W2 is [out][in], so
// that the hidden units are the vectors' lanes in both. X[n][INPUTS], y[n] in 0 … 9.

typedef float real;
#include "dense.h"
#include <math.h>

enum { N = BATCH, I = INPUTS, H = HIDDEN, C = 10, CP = 16, W1 = 0, B1 = I * H, W2 = B1 + H, B2 = W2 + C * H, P = B2 + C };
enum { PAIR = H / LANES % 2 ? 1 : 2, KB1 = I % 196 ? I : 196 };

static float gathered[N * I], hidden[N * H], d_hidden[N * H], logits[N * CP], w2t[H * CP], w2_gradient[CP * H];

// The mean loss of a batch and its gradient.
static inline float loss_and_gradient(const float *restrict p, const float *restrict X, const int *restrict y,
                                      float *restrict g) {
    float loss = 0;
    product(8, PAIR, N, H, I, KB1, X, I, 1, p + W1, hidden, p + B1);
    for (int i = 0; i < N * H; i++) hidden[i] = hidden[i] > 0 ? hidden[i] : 0;
    for (int j = 0; j < H; j++)
        for (int c = 0; c < C; c++) w2t[j * CP + c] = p[W2 + c * H + j];
    float bias[CP];
    for (int c = 0; c < CP; c++) bias[c] = c < C ? p[B2 + c] : -1e30f;
    product(8, 1, N, CP, H, H, hidden, H, 1, w2t, logits, bias);
    float db2[CP] = {0};
    for (int n = 0; n < N; n++) {
        float *z = logits + n * CP, largest = z[0], total = 0;
        for (int c = 1; c < CP; c++) largest = z[c] > largest ? z[c] : largest;
        const float chosen = z[y[n]] - largest;
        // 1e-13 is 0 beside the largest, which is 1. Of 0 gcc's vector expf does one lane at a time, and gradients that are
        // almost 0 (below 1e-38) take Intel's processors a hundred cycles each.
        for (int c = 0; c < CP; c++) z[c] = z[c] - largest > -30 ? z[c] - largest : -30;
        for (int c = 0; c < CP; c++) total += z[c] = expf(z[c]);
        loss += logf(total) - chosen;
        const float scale = 1.0f / N / total;
        for (int c = 0; c < CP; c++) z[c] *= scale;
        z[y[n]] -= 1.0f / N;
        for (int c = 0; c < CP; c++) db2[c] += z[c];
    }
    for (int c = 0; c < C; c++) g[B2 + c] = db2[c];
    product(8, PAIR, CP, H, N, N, logits, 1, CP, hidden, w2_gradient, 0);
    memcpy(g + W2, w2_gradient, sizeof(float) * C * H);
    product(8, PAIR, N, H, C, C, logits, CP, 1, p + W2, d_hidden, 0);
    float *db1 = g + B1;
    for (int j = 0; j < H; j++) db1[j] = 0;
    for (int n = 0; n < N; n++)
        for (int j = 0; j < H; j++) {
            const float d = hidden[n * H + j] > 0 ? d_hidden[n * H + j] : 0;
            d_hidden[n * H + j] = d;
            db1[j] += d;
        }
    product(8, PAIR, I, H, N, N, X, 1, I, d_hidden, g + W1, 0);
    return loss * (1.0f / N);
}

#include "classifier.h"
