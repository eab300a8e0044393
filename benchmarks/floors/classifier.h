// What the classifiers of this folder have in common: the functions to call, around the `loss_and_gradient` before it.
// It needs N, I and P, the numbers of samples, inputs and parameters, and room for a batch in `gathered`.

float gradient(const float *p, const float *X, const int *y, float *g) { return loss_and_gradient(p, X, y, g); }

// `steps` steps of Adam (rate, 0.9, 0.999, 1e-8) on the batches that `index[steps][BATCH]` names, starting at step
// `done`; m and v are its state.
void train(float *restrict p, float *restrict m, float *restrict v, const float *restrict X, const int *restrict y,
           const int *restrict index, int steps, int done, float rate, float *restrict losses) {
    static float g[P];
    int label[N];
    for (int k = 0; k < steps; k++) {
        for (int n = 0; n < N; n++) {
            memcpy(gathered + n * I, X + (long)index[k * N + n] * I, sizeof(float) * I);
            label[n] = y[index[k * N + n]];
        }
        losses[k] = loss_and_gradient(p, gathered, label, g);
        const double t = done + k + 1;
        const float now = (float)(rate / (1 - pow(0.9, t))), scale = (float)(1 / sqrt(1 - pow(0.999, t)));
        for (int i = 0; i < P; i++) {
            m[i] = 0.9f * m[i] + 0.1f * g[i];
            v[i] = 0.999f * v[i] + 0.001f * g[i] * g[i];
            p[i] -= now * m[i] / (sqrtf(v[i]) * scale + 1e-8f);
        }
    }
}
