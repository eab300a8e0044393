// Σ 100(xᵢ − xᵢ₋₁²)² + (1 − xᵢ₋₁)² over n variables and its gradient, float64.

double gradient(const double *restrict x, double *restrict g, int n) {
    double total = 0;
    // Each g[i] by itself: what comes from the term it ends, and what comes from the term it begins.
    for (int i = 1; i < n - 1; i++) {
        const double ends = x[i] - x[i - 1] * x[i - 1], begins = x[i + 1] - x[i] * x[i], rest = 1 - x[i];
        total += 100 * begins * begins + rest * rest;
        g[i] = 200 * ends - 400 * x[i] * begins - 2 * rest;
    }
    const double first = x[1] - x[0] * x[0], rest = 1 - x[0];
    total += 100 * first * first + rest * rest;
    g[0] = -400 * x[0] * first - 2 * rest;
    g[n - 1] = 200 * (x[n - 1] - x[n - 2] * x[n - 2]);
    return total;
}
