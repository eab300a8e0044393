// The worker.

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).arrayBuffer();
}

let turn = Promise.resolve(); // messages are sent in the order of the requests

function restart() {
  turn = turn.then(build).catch((error) => say(`${error.message || error}.`, true));
  return turn;
}

async function build() {
  setPlaying(false);
  ++run; // messages still to come from the worker are about the previous net
  last = null;
  document.body.classList.toggle("own", state.set === "own");
  points = state.set === "own" ? ofOwn() : state.set === "table" ? ofTable() : made();
  if (state.set === "own") return buildOwn();
  const next = chosen(), same = net && net.key === next.key;
  net = same ? Object.assign(net, next) : next;
  net.shape = shape();
  if (!same) worker.postMessage({ kind: "net", wasm: await unpacked(net.wasm), outputs: net.shape.sizes.slice(1).reduce((a, b) => a + b) });
  const cut = Math.round(points.rows.length * (1 - state.share)), classes = points.names.length;
  const coded = points.rows.map(([x, y, t]) => [x, y, classes === 2 ? 2 * t - 1 : t]);
  points.cut = cut;
  points.box = box(points);
  worker.postMessage({
    kind: "data", train: Float64Array.from(coded.slice(0, cut).flat()), test: Float64Array.from(coded.slice(cut).flat()),
    grid: grid(points.box), scaling: points.scaling, number: classes === 0, seed: state.seed, run,
  });
  past = [];
  controls();
  diagram();
  samples();
  worker.postMessage({ kind: "parameters", ...start(), ...penalties(), at: 0 });
  settings();
  say("Ready.");
}

function settings() {
  worker.postMessage({ kind: "set", rate: state.rate, size: state.batch, playing });
}

function box({ rows, scaling, axes }) {
  return [0, 1].map((k) => {
    const all = rows.map((row) => row[k]).filter(Number.isFinite);
    let low = Math.min(...all), high = Math.max(...all);
    if (state.set !== "table" && state.set !== "own") [low, high] = [Math.min(low, -1), Math.max(high, 1)];
    const half = ((high - low) / 2 || 1) * EDGE, middle = (low + high) / 2;
    return [middle - half, middle + half];
  });
}

function grid([[left, right], [bottom, top]]) {
  const found = new Float64Array(GRID * GRID * 2);
  for (let r = 0; r < GRID; ++r)
    for (let c = 0; c < GRID; ++c)
      found.set([left + ((right - left) * (c + 0.5)) / GRID, top - ((top - bottom) * (r + 0.5)) / GRID], 2 * (r * GRID + c));
  return found;
}

function hear({ data: message }) {
  if (message.kind === "error") {
    setPlaying(false);
    say(message.text, true);
  } else if (message.kind === "measured") {
    document.documentElement.dataset.speed = Math.round(message.speed);
  } else if (message.kind === "shot" && message.run === run) {
    last = message;
    if (!past.length || past.at(-1).steps < message.steps) {
      const { steps, train, test, parameters, kept } = message;
      past.push({ steps, train, test, parameters, kept });
      const most = Math.max(20, Math.min(600, 3e6 / (parameters.length * (kept ? 1 + kept.memory.length : 1))));
      if (past.length > most) past = past.filter((_, k) => k % 2 === 0 || k === past.length - 1);
      $("time").max = $("time").value = past.length - 1;
    }
    dirty = true;
  }
}

function setPlaying(on) {
  playing = on;
  $("play").textContent = on ? "Pause" : "Play";
  $("play").setAttribute("aria-pressed", String(on));
  if (on && past.length) { // the steps after the one shown are discarded
    past.length = Number($("time").value) + 1;
    $("time").max = past.length - 1;
  }
  dirty = true;
  if (worker && net) settings();
}
