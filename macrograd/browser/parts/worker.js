// The training: this worker only calls the page's module, which does all arithmetic. Drawing never waits for it.
"use strict";
let prepare = null, net = null, task = null, rate = 0.1, size = 0, playing = false, steps = 0, due = 0;
let draw = null, order = [], at = 0;
const SLICE = 8; // milliseconds of training between messages
const channel = new MessageChannel();
channel.port1.onmessage = slice;

let turn = Promise.resolve(); // loading a module takes time, and later messages wait for it

self.onmessage = ({ data: message }) => {
  turn = turn.then(() => handlers[message.kind](message)).catch((error) => {
    self.postMessage({ kind: "error", text: String((error && error.message) || error) });
  });
};

const handlers = {
  async begin({ wasm }) {
    prepare = await instance(wasm);
  },
  async net({ wasm, outputs }) {
    net = await instance(wasm);
    net.outputs = outputs;
    task = null;
  },
  // Points for training and testing, each [x, y, target], and a grid to display; without a scaling they are in the
  // module's own form.
  data({ train, test, grid, scaling, number, seed, run, rates }) {
    const place = reserve(net), width = net.inputs.value, own = !scaling;
    task = {
      train: own ? copied(place, train, width) : placed(place, train, scaling, number),
      test: own ? copied(place, test, width) : placed(place, test, scaling, number),
      grid: own ? copied(place, grid, width - 1) : seen(place, grid, scaling), run, own, rates: rates || [],
    };
    task.batch = place(Math.max(1, task.train.rows) * width, 8);
    task.field = place(task.grid.rows * net.outputs, 8);
    order = Array.from({ length: task.train.rows }, (_, k) => k);
    at = order.length;
    draw = generator(seed);
  },
  parameters({ parameters, on, l1, l2, at: step, init, kept }) {
    if (init) net.init();
    if (kept) restore(kept);
    if (parameters) view(net.parameters.value, parameters.length).set(parameters);
    [on, l1, l2].forEach((list, k) => list && view(net[`memory${k}`].value, list.length).set(list));
    if (step !== undefined) steps = step;
    shot();
  },
  set(message) {
    ({ rate = rate, size = size } = message);
    if (message.playing !== undefined && message.playing !== playing) {
      playing = message.playing;
      if (playing) {
        due = 0;
        slice();
      } else {
        shot(); // for the steps since the last frame
      }
    }
  },
  once({ count }) {
    for (let k = 0; k < count && step(); ++k);
    shot();
  },
  // The number of full-batch steps per second: for tests and the curious.
  measure({ milliseconds }) {
    const begin = performance.now(), before = steps;
    while (performance.now() - begin < milliseconds) for (let k = 0; k < 50; ++k) step();
    self.postMessage({ kind: "measured", speed: (steps - before) / (performance.now() - begin) * 1000 });
  },
};

async function instance(bytes) {
  return { ...(await WebAssembly.instantiate(bytes, {})).instance.exports };
}

function view(address, count) {
  return new Float64Array(net.memory.buffer, address, count);
}

// Allocates the module's free memory.
function reserve(module) {
  let end = module.heap.value;
  return (count, bytes) => {
    const address = end;
    end = (end + count * bytes + 63) & ~63;
    const missing = end + 65536 - module.memory.buffer.byteLength;
    if (missing > 0) module.memory.grow(Math.ceil(missing / 65536));
    return address;
  };
}

function copied(place, numbers, width) {
  const address = place(numbers.length, 8);
  view(address, numbers.length).set(numbers);
  return { address, rows: numbers.length / width };
}

// Has the feature module write the features of points where the net's module reads them.
function seen(place, points, scaling) {
  const rows = points.length / 2, features = prepare.outputs.value;
  const inside = reserve(prepare), x = inside(rows * 6, 8), y = inside(rows * features, 8);
  const input = new Float64Array(prepare.memory.buffer, x, rows * 6);
  for (let k = 0; k < rows; ++k) input.set([points[2 * k], points[2 * k + 1], ...scaling], 6 * k);
  prepare.predict(x, y, rows);
  const address = place(rows * features, 8);
  view(address, rows * features).set(new Float64Array(prepare.memory.buffer, y, rows * features));
  return { address, rows, features };
}

function placed(place, points, scaling, number) {
  const rows = points.length / 3, plain = new Float64Array(rows * 2);
  for (let k = 0; k < rows; ++k) plain.set([points[3 * k], points[3 * k + 1]], 2 * k);
  const { address: from, features } = seen(place, plain, scaling), width = net.inputs.value;
  const address = place(rows * width, 8), source = view(from, rows * features), target = view(address, rows * width);
  for (let k = 0; k < rows; ++k) {
    target.set(source.subarray(k * features, (k + 1) * features), k * width);
    target.set([points[3 * k + 2], number ? 1 : 0], k * width + features);
  }
  return { address, rows };
}

// Numbers from 0 to 1 (mulberry32).
function generator(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// One step of the optimiser, on all samples or on the next batch in shuffled order; false if it could not be made.
function step() {
  const { train, rates } = task, now = rate || rates[Math.min(steps, rates.length - 1)]; // 0 stands for the schedule
  if (!train.rows) return false;
  let loss;
  if (!size || size >= train.rows) {
    loss = net.step(train.address, train.rows, now);
  } else {
    const width = net.inputs.value, all = view(train.address, train.rows * width);
    const batch = view(task.batch, size * width);
    for (let k = 0; k < size; ++k) {
      if (at >= order.length) shuffle();
      const row = order[at++];
      batch.set(all.subarray(row * width, (row + 1) * width), k * width);
    }
    loss = net.step(task.batch, size, now);
  }
  if (Number.isNaN(loss)) {
    playing = false;
    self.postMessage({ kind: "error", text: "The loss is no longer finite: lower the rate and reset." });
    return false;
  }
  ++steps;
  return true;
}

function shuffle() {
  at = 0;
  for (let k = order.length - 1; k > 0; --k) {
    const j = Math.floor(draw() * (k + 1));
    [order[k], order[j]] = [order[j], order[k]];
  }
}

function slice() {
  if (!playing || !task) return;
  const begin = performance.now();
  do {
    for (let k = 0; k < 20; ++k) if (!step()) return void shot();
  } while (performance.now() - begin < SLICE);
  if (performance.now() >= due) {
    due = performance.now() + 16;
    shot();
  }
  channel.port2.postMessage(0);
}

// Everything that a step changes.
function state() {
  const count = net.parameter_count.value, memory = [];
  for (let k = 0; net[`memory${k}`]; ++k) memory.push(view(net[`memory${k}`].value, count).slice());
  const steps_ = new Int32Array(net.memory.buffer, net.steps.value, 1)[0];
  return { parameters: view(net.parameters.value, count).slice(), memory, steps: steps_ };
}

function restore({ parameters, memory, steps: count }) {
  view(net.parameters.value, parameters.length).set(parameters);
  memory.forEach((kept, k) => view(net[`memory${k}`].value, kept.length).set(kept));
  new Int32Array(net.memory.buffer, net.steps.value, 1)[0] = count;
}

// The loss of samples, and with it their gradient: a step at rate 0, whose changes are undone.
function looked({ address, rows }) {
  if (!rows) return NaN;
  const before = state(), loss = net.step(address, rows, 0);
  restore(before);
  return loss;
}

// The data that the page draws.
function shot() {
  if (!task) return;
  const test = looked(task.test), train = looked(task.train);
  const count = net.parameter_count.value, { grid } = task;
  net.look(grid.address, task.field, grid.rows);
  const fields = Float32Array.from(view(task.field, grid.rows * net.outputs));
  const parameters = view(net.parameters.value, count).slice();
  const gradient = view(net.gradient_of_step.value, count).slice();
  const kept = task.own ? state() : null; // the optimiser of the menu's nets has no changing state
  self.postMessage({ kind: "shot", run: task.run, steps, train, test, parameters, gradient, fields, kept },
    [fields.buffer, parameters.buffer, gradient.buffer]);
}
