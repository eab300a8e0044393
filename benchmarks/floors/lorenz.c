// The Lorenz system by explicit Euler steps, and the gradient of the end state's x with respect to σ, ρ, β and the
// start, by reverse accumulation over the stored states, float64.

enum { LONGEST = 100000 };
static double trace[LONGEST][3];

double gradient(const double *restrict p, int steps, double dt, double *restrict g) {
    const double sigma = p[0], rho = p[1], beta = p[2];
    double x = p[3], y = p[4], z = p[5];
    for (int k = 0; k < steps; k++) {
        trace[k][0] = x;
        trace[k][1] = y;
        trace[k][2] = z;
        const double dx = sigma * (y - x), dy = x * (rho - z) - y, dz = x * y - beta * z;
        x += dt * dx;
        y += dt * dy;
        z += dt * dz;
    }
    double ax = 1, ay = 0, az = 0, gs = 0, gr = 0, gb = 0;
    for (int k = steps - 1; k >= 0; k--) {
        const double u = trace[k][0], v = trace[k][1], w = trace[k][2];
        const double ex = dt * ax, ey = dt * ay, ez = dt * az;
        gs += ex * (v - u);
        gr += ey * u;
        gb -= ez * w;
        ax += -sigma * ex + (rho - w) * ey + v * ez;
        ay += sigma * ex - ey + u * ez;
        az += -u * ey - beta * ez;
    }
    g[0] = gs;
    g[1] = gr;
    g[2] = gb;
    g[3] = ax;
    g[4] = ay;
    g[5] = az;
    return x;
}
