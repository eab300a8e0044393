"""The two moons in native code: `python examples/moons_compiled.py`.

The net of `moons.py`, with the same losses. The loop over the samples is gone, because the compiled function describes
a single sample; everything else stays as it was.
"""

import time

import macrograd as mg
from macrograd import datasets, losses, nn

STEPS = 100


def main() -> None:
    X, y = datasets.make_moons(100, noise=0.1, seed=1337)
    targets = 2.0 * y - 1.0  # the hinge loss wants the classes as −1 and +1
    model = nn.MLP(2, [16, 16, 1], seed=1337)
    parameters = model.parameters()

    # One sample's loss, a plain function of scalars. Leaves that it closes over become parameters.
    def loss(x, target):
        return losses.hinge(model(x), target) + 1e-4 * mg.dot(parameters, parameters)

    def predict(x):
        return model(x)

    loss, predict = mg.compile(loss, batch=True), mg.compile(predict, batch=True)

    # Fixed buffers: a training step is now only a call of step() and an update of step.theta.
    start = time.perf_counter()
    step = loss.bind(X, targets)
    ready = time.perf_counter()
    for k in range(STEPS):
        value = step()
        if k % 10 == 0 or k == STEPS - 1:
            print(f"step {k} loss {value}")
        step.theta -= (1.0 - 0.9 * k / STEPS) * step.gradient
    done = time.perf_counter()

    # Write the learned numbers back into the Values, for everything else that uses them.
    loss.assign(step.theta)
    right = (predict(X) > 0) == (targets > 0)
    print(f"accuracy {100 * right.mean():.1f}%")
    print(f"ready in {1e3 * (ready - start):.0f} ms, {STEPS} steps in {1e3 * (done - ready):.2f} ms\n")
    print(loss.explain(names=model.named_parameters()))


if __name__ == "__main__":
    main()
