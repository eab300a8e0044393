// The likelihood of n observations by a scalar Kalman filter, and its gradient by the variances q and r, by reverse
// accumulation over the stored states, float64.

#include <math.h>

enum { LONGEST = 100000 };
static double states[LONGEST][4];

double gradient(const double *restrict y, int n, const double *restrict theta, double *restrict g) {
    const double q = theta[0], r = theta[1];
    double m = 0, v = 1, total = 0;
    for (int t = 0; t < n; t++) {
        const double p = v + q, e = y[t] - m, inverse = 1 / (p + r), k = p * inverse;
        states[t][0] = p;
        states[t][1] = e;
        states[t][2] = inverse;
        states[t][3] = k;
        total += log(p + r) + e * e * inverse;
        m += k * e;
        v = (1 - k) * p;
    }
    double am = 0, av = 0, gq = 0, gr = 0;  // adjoints of the mean and the variance behind the round
    for (int t = n - 1; t >= 0; t--) {
        const double p = states[t][0], e = states[t][1], inverse = states[t][2], k = states[t][3];
        const double scaled = e * inverse;
        const double ak = am * e - av * p;
        const double as = inverse - scaled * scaled - ak * k * inverse;  // of p + r
        const double ap = av * (1 - k) + ak * inverse + as;
        gr += as;
        gq += ap;
        am -= am * k + 2 * scaled;  // e = y - m
        av = ap;
    }
    g[0] = gq;
    g[1] = gr;
    return total;
}
