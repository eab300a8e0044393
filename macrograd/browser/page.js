// The page: shows what the worker trains, and tells it what to train. Names that came with a table are only ever texts.
"use strict";
const $ = (id) => document.getElementById(id);
const content = JSON.parse($("content").textContent);
const GRID = 50, EDGE = 1.15; // points across the field, and how far it reaches beyond the data
const COLOURS = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#6a51a3", "#737373", "#b2182b"];
const DATA = {
  moons: "Moons", circles: "Circles", xor: "Exclusive or", spirals: "Spirals", three: "Three clusters", five: "Five clusters",
  plane: "A plane (numbers)", hills: "Hills (numbers)",
};
const RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3];
const state = {
  set: "moons", samples: 200, noise: 0.1, share: 0.5, seed: 1, widths: [8, 8], activation: "tanh",
  features: content.features.map((_, k) => k < 2), rate: 0.1, batch: 0, penalty: "none", strength: 0.001, chosen: null,
};
let worker = null, table = null, points = null, net = null, last = null, past = [], playing = false, dirty = false, lines = [], run = 0;

// --- data -------------------------------------------------------------------------------------------------------------

function generator(seed) { // mulberry32, and normal numbers by Box and Muller
  let a = seed >>> 0;
  const uniform = () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return { uniform, normal };
}

const MAKERS = {
  moons(u, k) {
    const t = Math.PI * u();
    return k % 2 ? [1 - Math.cos(t) - 0.5, 0.5 - Math.sin(t) - 0.25, 1] : [Math.cos(t) - 0.5, Math.sin(t) - 0.25, 0];
  },
  circles(u, k) {
    const t = 2 * Math.PI * u(), r = k % 2 ? 0.4 : 1;
    return [r * Math.cos(t), r * Math.sin(t), k % 2];
  },
  xor(u) {
    const x = 2 * u() - 1, y = 2 * u() - 1;
    return [x, y, x * y > 0 ? 1 : 0];
  },
  spirals(u, k) {
    const r = 0.05 + 0.95 * u(), t = 4.2 * r + (k % 2) * Math.PI;
    return [r * Math.cos(t), r * Math.sin(t), k % 2];
  },
  three: (u, k) => cluster(k % 3, 3),
  five: (u, k) => cluster(k % 5, 5),
  plane(u) {
    const x = 2 * u() - 1, y = 2 * u() - 1;
    return [x, y, 0.7 * x - 0.5 * y];
  },
  hills(u) {
    const x = 2 * u() - 1, y = 2 * u() - 1, hill = (a, b) => Math.exp(-4 * ((x - a) ** 2 + (y - b) ** 2));
    return [x, y, hill(0.5, 0.4) - hill(-0.5, 0.3) + hill(-0.2, -0.6)];
  },
};

function cluster(k, n) {
  const t = (2 * Math.PI * k) / n;
  return [0.8 * Math.cos(t), 0.8 * Math.sin(t), k];
}

function made() {
  const { uniform, normal } = generator(state.seed), numbers = state.set === "plane" || state.set === "hills";
  const rows = Array.from({ length: state.samples }, (_, k) => {
    const [x, y, t] = MAKERS[state.set](uniform, k);
    return numbers ? [x, y, t + 0.5 * state.noise * normal()] : [x + state.noise * normal(), y + state.noise * normal(), t];
  });
  const count = numbers ? 0 : 1 + Math.max(...rows.map((row) => row[2]));
  const names = Array.from({ length: count }, (_, k) => `class ${k + 1}`);
  return { rows, names, axes: ["x₁", "x₂"], target: numbers ? "y" : "class", scaling: [0, 0, 1, 1], unit: [0, 1] };
}

// Comma, semicolon or tab; quotes as in RFC 4180.
function parsed(text) {
  const head = text.slice(0, 5000).split(/\r?\n/)[0];
  const comma = [",", ";", "\t"].sort((a, b) => head.split(b).length - head.split(a).length)[0];
  const rows = [[]];
  let cell = "", quoted = false, k = text.charCodeAt(0) === 0xfeff ? 1 : 0;
  const endCell = () => { rows.at(-1).push(cell.trim()); cell = ""; };
  for (; k < text.length; ++k) {
    const c = text[k];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[k + 1] === '"') { cell += c; ++k; } else quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === comma) endCell();
    else if (c === "\n") { endCell(); rows.push([]); } else if (c !== "\r") cell += c;
  }
  endCell();
  const full = rows.filter((row) => row.some((x) => x !== ""));
  const [names, ...body] = full;
  if (!names || body.length < 4) throw new Error("the table needs a line of names and at least four rows");
  const columns = names.map((name, at) => {
    const cells = body.map((row) => row[at] ?? "");
    const numbers = cells.map((x) => (x === "" ? NaN : Number(x)));
    return { name, cells, numbers, numeric: cells.every((x, i) => x === "" || Number.isFinite(numbers[i])) };
  });
  if (columns.filter((c) => c.numeric).length < 2) {
    throw new Error("the table needs two columns of numbers for the axes, and one for the target");
  }
  return columns;
}

function shuffled(rows) {
  const found = [...rows], { uniform } = generator(state.seed);
  for (let k = found.length - 1; k > 0; --k) {
    const j = Math.floor(uniform() * (k + 1));
    [found[k], found[j]] = [found[j], found[k]];
  }
  return found;
}

function ofTable() {
  const [a, b, t] = ["x", "y", "t"].map((axis) => table.columns[$(`column-${axis}`).value]);
  const levels = [...new Set(t.cells.filter((x) => x !== ""))].sort();
  const numbers = t.numeric && levels.length > content.classes;
  if (!numbers && levels.length > content.classes) {
    throw new Error(`${t.name} has ${levels.length} different texts, and there can be ${content.classes} classes`);
  }
  if (!numbers && levels.length < 2) throw new Error(`${t.name} is the same in all rows`);
  let rows = t.cells.map((cell, k) => [a.numbers[k], b.numbers[k], numbers ? t.numbers[k] : levels.indexOf(cell)]);
  rows = rows.filter((row, k) => row.every(Number.isFinite) && t.cells[k] !== "");
  if (rows.length < 4) throw new Error("fewer than four rows have all three numbers");
  rows = shuffled(rows);
  const middle = (k) => rows.reduce((sum, row) => sum + row[k], 0) / rows.length;
  const spread = (k, m) => Math.sqrt(rows.reduce((sum, row) => sum + (row[k] - m) ** 2, 0) / rows.length) || 1;
  const m = [0, 1, 2].map(middle), s = m.map((x, k) => spread(k, x));
  const unit = numbers ? [m[2], s[2]] : [0, 1];
  rows = rows.map(([x, y, target]) => [x, y, (target - unit[0]) / unit[1]]);
  return {
    rows, names: numbers ? [] : levels, axes: [a.name, b.name], target: t.name, unit,
    scaling: [m[0], m[1], 1 / (1.5 * s[0]), 1 / (1.5 * s[1])],
  };
}

// The samples of the net that Python brought along; the page shows two of its inputs.
function ofOwn() {
  const { classes, inputs, unit } = content.own, axes = ["x", "y"].map((axis) => Number($(`column-${axis}`).value));
  const rows = shuffled(content.own.rows);
  return {
    full: rows, rows: rows.map((row) => [row[axes[0]], row[axes[1]], row.at(-1)]), names: classes, at: axes,
    axes: axes.map((k) => inputs[k]), target: "", unit,
  };
}

// What the module takes: every point of the field with the other inputs in their middle.
function ownGrid() {
  const n = content.own.inputs.length, plain = grid(points.box), found = new Float64Array((plain.length / 2) * n);
  const middle = Array.from({ length: n }, (_, k) => points.full.reduce((sum, row) => sum + row[k], 0) / points.full.length);
  for (let p = 0; 2 * p < plain.length; ++p) {
    found.set(middle, p * n);
    points.at.forEach((k, i) => { found[p * n + k] = plain[2 * p + i]; });
  }
  return found;
}

async function buildOwn() {
  const { own } = content;
  net = { own: true, key: -1, shape: { sizes: [0, own.outputs] } };
  worker.postMessage({ kind: "net", wasm: await unpacked(own.wasm), outputs: own.outputs });
  points.cut = Math.round(points.full.length * (1 - state.share));
  points.box = box(points);
  worker.postMessage({
    kind: "data", train: Float64Array.from(points.full.slice(0, points.cut).flat()), grid: ownGrid(), seed: state.seed, run,
    test: Float64Array.from(points.full.slice(points.cut).flat()),
  });
  past = [];
  controls();
  matrices();
  samples();
  worker.postMessage({ kind: "parameters", init: true, at: 0 });
  settings();
  say("Ready.");
}

function take(name, text) {
  try {
    table = { name, columns: parsed(text) };
  } catch (error) {
    return say(`${name} cannot be read: ${error.message}.`, true);
  }
  const numeric = table.columns.map((c, k) => [c, k]).filter(([c]) => c.numeric).map(([, k]) => k);
  const target = table.columns.findLastIndex((c, k) => !c.numeric || !numeric.slice(0, 2).includes(k));
  const start = { x: numeric[0], y: numeric[1], t: target };
  for (const axis of ["x", "y", "t"]) {
    const known = axis === "t" ? table.columns.map((_, k) => k) : numeric;
    fill($(`column-${axis}`), known.map((k) => [k, table.columns[k].name || `column ${k + 1}`]), start[axis]);
  }
  $("columns").hidden = false;
  if (![...$("set").options].some((o) => o.value === "table")) $("set").add(new Option("", "table"));
  [...$("set").options].find((o) => o.value === "table").text = name;
  $("set").value = state.set = "table";
  restart();
}

// --- the net ----------------------------------------------------------------------------------------------------------

// The module that has these layers; what the menu has not is made smaller.
function chosen() {
  const outputs = points.names.length > 2 ? content.classes : 1;
  let pool = content.nets.filter((n) => n.outputs === outputs);
  const depths = [...new Set(pool.map((n) => n.widths.length))].sort();
  if (!depths.includes(state.widths.length)) {
    while (state.widths.length > Math.max(...depths)) state.widths.pop();
    while (state.widths.length < Math.min(...depths)) state.widths.push(4);
  }
  pool = pool.filter((n) => n.widths.length === state.widths.length);
  const activations = [...new Set(pool.map((n) => n.activation))];
  if (!activations.includes(state.activation)) state.activation = activations[0];
  pool = pool.filter((n) => n.activation === state.activation);
  const most = Math.max(...pool.map((n) => n.widths[0]));
  state.widths = state.widths.map((w) => Math.max(1, Math.min(w, most)));
  const fits = pool.filter((n) => n.widths.every((w, k) => state.widths[k] <= w));
  fits.sort((a, b) => a.widths[0] - b.widths[0]);
  return { ...fits[0], depths, activations, most, key: content.nets.indexOf(fits[0]) };
}

function shape() {
  const outputs = net.outputs === 1 ? 1 : points.names.length;
  const sizes = [content.features.length, ...net.widths, net.outputs], offsets = [0];
  for (let l = 1; l < sizes.length; ++l) offsets.push(offsets[l - 1] + sizes[l] * (sizes[l - 1] + 1));
  return { sizes, offsets, alive: [content.features.length, ...state.widths, outputs] };
}

// Where a weight stands among the parameters; its bias is behind the weights of a neuron.
function place(l, j, i) {
  const { sizes, offsets } = net.shape;
  return offsets[l] + j * (sizes[l] + 1) + i;
}

const lives = (l, k) => (l === 0 ? state.features[k] : k < net.shape.alive[l]);

function start() {
  const { sizes, offsets } = net.shape, count = offsets.at(-1), { uniform } = generator(state.seed + 1000);
  const parameters = new Float64Array(count), on = new Float64Array(count);
  for (let l = 0; l + 1 < sizes.length; ++l) {
    const living = (layer) => Array.from({ length: sizes[layer] }, (_, k) => lives(layer, k)).filter(Boolean).length;
    const limit = Math.sqrt(6 / Math.max(1, living(l) + living(l + 1)));
    for (let j = 0; j < sizes[l + 1]; ++j) {
      for (let i = 0; i < sizes[l]; ++i) {
        if (!lives(l, i) || !lives(l + 1, j)) continue;
        parameters[place(l, j, i)] = limit * (2 * uniform() - 1);
        on[place(l, j, i)] = 1;
      }
      on[place(l, j, sizes[l])] = lives(l + 1, j) ? 1 : 0;
      if (!lives(l + 1, j) && l + 2 === sizes.length) parameters[place(l, j, sizes[l])] = -1000; // a class that there is not
    }
  }
  return { parameters, on };
}

function penalties() {
  const { sizes, offsets } = net.shape, count = offsets.at(-1);
  const found = { l1: new Float64Array(count), l2: new Float64Array(count) };
  if (state.penalty === "none") return found;
  for (let l = 0; l + 1 < sizes.length; ++l)
    for (let j = 0; j < sizes[l + 1]; ++j)
      for (let i = 0; i < sizes[l]; ++i) found[state.penalty][place(l, j, i)] = state.strength;
  return found;
}

// --- the worker -------------------------------------------------------------------------------------------------------

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).arrayBuffer();
}

let turn = Promise.resolve(); // what is sent is sent in the order in which it was asked for

function restart() {
  turn = turn.then(build).catch((error) => say(`${error.message || error}.`, true));
  return turn;
}

async function build() {
  setPlaying(false);
  ++run; // what the worker still says is of the net before
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
    const all = rows.map((row) => row[k]);
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
  if (on && past.length) { // what came after the moment that is shown is given up
    past.length = Number($("time").value) + 1;
    $("time").max = past.length - 1;
  }
  dirty = true;
  if (worker && net) settings();
}

// --- drawing ----------------------------------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
const LOW = [213, 94, 0], HIGH = [0, 114, 178];

function rgb(hex) {
  return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
}

// A pixel between the paper's colour and another one.
function shade(colour, share) {
  const middle = dark.matches ? 28 : 250, [r, g, b] = colour.map((end) => Math.round(middle + (end - middle) * share));
  return (255 << 24) | (b << 16) | (g << 8) | r;
}

// From one colour by that of the paper to the other: the pixels of −1 to 1.
let shades = null;

function tinted() {
  const steps = Array.from({ length: 513 }, (_, k) => k / 256 - 1);
  shades = Int32Array.from(steps, (v) => shade(v < 0 ? LOW : HIGH, 0.8 * Math.abs(v)));
}

const pixel = (v) => shades[256 + ((256 * v) / (0.35 + Math.abs(v)) || 0) | 0];

const small = document.createElement("canvas");
small.width = small.height = GRID;

function picture(write) {
  const image = new ImageData(GRID, GRID), pixels = new Int32Array(image.data.buffer);
  for (let p = 0; p < GRID * GRID; ++p) pixels[p] = write(p);
  return image;
}

let thorough = 0;

function paint(now) {
  requestAnimationFrame(paint);
  if (!dirty || !last || !net) return;
  dirty = false;
  const { sizes } = net.shape, all = sizes.slice(1).reduce((a, b) => a + b);
  answer(last.fields, all, all - sizes.at(-1));
  if (playing && now - thorough < 120) return; // the answer moves in every picture, the rest a few times a second
  thorough = now;
  curve();
  told();
  if (net.own) return tiles();
  neurons(last.fields, all);
  weights();
}

function neurons(fields, all) {
  const { sizes } = net.shape;
  let first = 0;
  for (let l = 1; l + 1 < sizes.length; ++l) {
    for (let j = 0; j < state.widths[l - 1]; ++j) {
      const canvas = document.querySelector(`canvas[data-l="${l}"][data-j="${j}"]`), at = first + j;
      canvas?.getContext("2d").putImageData(picture((p) => pixel(fields[p * all + at])), 0, 0);
    }
    first += sizes[l];
  }
}

function answer(fields, all, first) {
  const canvas = $("field"), context = canvas.getContext("2d"), classes = points.names.length;
  let image;
  if (classes <= 2) {
    const [middle, spread] = points.names.length ? [0, 1] : points.unit;
    image = picture((p) => pixel(net.own ? (fields[p * all + first] - middle) / spread : fields[p * all + first]));
  } else {
    const palette = COLOURS.map((hex) => Array.from({ length: 64 }, (_, k) => shade(rgb(hex), 0.15 + (0.6 * k) / 63)));
    image = picture((p) => {
      let best = 0, second = -Infinity;
      for (let c = 1; c < classes; ++c) if (fields[p * all + first + c] > fields[p * all + first + best]) best = c;
      for (let c = 0; c < classes; ++c) if (c !== best) second = Math.max(second, fields[p * all + first + c]);
      return palette[best][Math.round(63 * Math.min(1, fields[p * all + first + best] - second)) || 0];
    });
  }
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

// The samples, on a canvas of their own, so that they are drawn once.
function samples() {
  const canvas = $("points"), context = canvas.getContext("2d"), [[left, right], [bottom, top]] = points.box;
  context.clearRect(0, 0, canvas.width, canvas.height);
  points.rows.forEach(([x, y, t], k) => {
    const px = ((x - left) / (right - left)) * canvas.width, py = ((top - y) / (top - bottom)) * canvas.height;
    mark(context, px, py, points.names.length || !net.own ? t : (t - points.unit[0]) / points.unit[1], k >= points.cut);
  });
}

// Classes have shapes as well as colours; what is for testing is hollow.
function mark(context, x, y, t, hollow) {
  const classes = points.names.length, r = points.rows.length > 250 ? 3 : 4;
  const colour = classes ? COLOURS[t] : t < 0 ? COLOURS[0] : COLOURS[1];
  const corners = classes ? [0, 4, 3, -4, 5, 6, -3, 0, 4, 3][t] : 0;
  context.beginPath();
  if (!corners) context.arc(x, y, classes ? r : r * (0.5 + Math.min(1, Math.abs(t))), 0, 7);
  for (let k = 0; k < Math.abs(corners); ++k) {
    const a = (2 * Math.PI * k) / Math.abs(corners) + (corners > 0 ? Math.PI / 4 : 0);
    context.lineTo(x + 1.3 * r * Math.cos(a), y + 1.3 * r * Math.sin(a));
  }
  context.closePath();
  const paper = dark.matches ? "#000" : "#fff";
  context.lineWidth = hollow ? 4 : 3;
  context.strokeStyle = paper;
  context.stroke();
  context.fillStyle = hollow ? paper : colour;
  context.fill();
  if (!hollow) return;
  context.lineWidth = 1.7;
  context.strokeStyle = colour;
  context.stroke();
}

function curve() {
  const canvas = $("curve"), context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  context.clearRect(0, 0, canvas.width, canvas.height);
  const upto = past.slice(0, Number($("time").value) + 1), most = upto.at(-1)?.steps || 1;
  const known = upto.flatMap((p) => [p.train, p.test]).filter((x) => x > 0 && x < Infinity).map(Math.log10);
  const top = Math.max(...known, -1) + 0.1, floor = Math.min(...known, top - 1) - 0.1;
  for (const [what, colour, dash] of [["train", "--high", []], ["test", "--low", [7, 4]]]) {
    context.beginPath();
    context.setLineDash(dash);
    context.lineWidth = 2;
    context.strokeStyle = style.getPropertyValue(colour);
    for (const p of upto) {
      if (p[what] > 0 && p[what] < Infinity) {
        context.lineTo((p.steps / most) * canvas.width, (canvas.height * (top - Math.log10(p[what]))) / (top - floor));
      }
    }
    context.stroke();
  }
  $("train-loss").value = said(last.train);
  $("test-loss").value = Number.isNaN(last.test) ? "–" : said(last.test);
  $("time-said").value = `step ${last.steps.toLocaleString("en")}`;
}

const said = (x) => (Math.abs(x) < 1e-3 && x ? x.toExponential(2) : x.toPrecision(4));
let spoken = 0;

function told() { // a screen reader hears it now and then
  if (!last.steps || (playing && performance.now() - spoken < 2000)) return;
  spoken = performance.now();
  say(`Step ${last.steps.toLocaleString("en")}: training loss ${said(last.train)}, testing ${Number.isNaN(last.test) ? "–" : said(last.test)}.`);
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

// --- the diagram ------------------------------------------------------------------------------------------------------

function element(tag, attributes = {}, text = "") {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

const nameOf = (l, k) => (l === 0 ? content.features[k] : l === net.shape.sizes.length - 1
  ? (net.outputs === 1 ? "output" : points.names[k]) : `neuron ${k + 1} of layer ${l}`);

function diagram() {
  const { sizes } = net.shape, root = $("diagram");
  root.replaceChildren(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
  for (let l = 0; l < sizes.length; ++l) {
    const layer = element("div", { class: "layer" });
    layer.append(element("span", {}, l === 0 ? "features" : l === sizes.length - 1 ? "output" : `layer ${l}`));
    for (let k = 0; k < sizes[l]; ++k) {
      if (!lives(l, k)) continue;
      const hidden = l > 0 && l < sizes.length - 1;
      const node = element("button", { class: hidden ? "neuron" : "neuron feature", "data-node": `${l}-${k}`, "aria-pressed": "false",
        "aria-label": nameOf(l, k) }, hidden ? "" : nameOf(l, k));
      if (hidden) {
        const canvas = element("canvas", { "data-l": l, "data-j": k, "aria-hidden": "true" });
        canvas.width = canvas.height = GRID;
        node.append(canvas);
      }
      if (l > 0) node.onclick = () => choose(l, k, null);
      else node.disabled = true;
      layer.append(node);
    }
    root.append(layer);
  }
  if (!state.chosen || !lives(state.chosen.l, state.chosen.j)) state.chosen = { l: 1, j: 0, i: null };
  requestAnimationFrame(wires);
}

function wires() {
  const root = $("diagram"), svg = root.querySelector("svg"), { sizes } = net.shape, from = root.getBoundingClientRect();
  svg.setAttribute("width", root.scrollWidth);
  svg.setAttribute("height", root.scrollHeight);
  svg.replaceChildren();
  lines = [];
  const node = (l, k) => root.querySelector(`[data-node="${l}-${k}"]`)?.getBoundingClientRect();
  for (let l = 0; l + 1 < sizes.length; ++l)
    for (let j = 0; j < sizes[l + 1]; ++j)
      for (let i = 0; i < sizes[l]; ++i) {
        const a = lives(l, i) && node(l, i), b = lives(l + 1, j) && node(l + 1, j);
        if (!a || !b) continue;
        const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
        const at = { x1: a.right, y1: a.top + a.height / 2, x2: b.left, y2: b.top + b.height / 2 };
        for (const key in at) line.setAttribute(key, at[key] - (key[0] === "x" ? from.left - root.scrollLeft : from.top));
        line.onclick = () => choose(l + 1, j, i);
        svg.append(line);
        lines.push({ line, at: place(l, j, i) });
      }
  dirty = true;
}

function weights() {
  for (const { line, at } of lines) {
    const w = last.parameters[at];
    line.setAttribute("stroke", w < 0 ? "var(--low)" : "var(--high)");
    line.setAttribute("stroke-width", Math.min(7, 0.6 + 2 * Math.abs(w)).toFixed(2));
    line.setAttribute("stroke-dasharray", w < 0 ? "6 3" : "none");
    line.setAttribute("stroke-opacity", Math.min(0.9, 0.15 + Math.abs(w)).toFixed(2));
  }
  detail();
}

function choose(l, j, i) {
  state.chosen = { l, j, i };
  detail();
}

function detail() {
  const { l, j, i: marked } = state.chosen, { sizes } = net.shape, root = $("detail");
  document.querySelectorAll(".neuron").forEach((n) => n.setAttribute("aria-pressed", String(n.dataset.node === `${l}-${j}`)));
  if (!last) return;
  const sources = Array.from({ length: sizes[l - 1] }, (_, i) => i).filter((i) => lives(l - 1, i));
  const short = (layer, k) => (layer === 0 ? content.features[k] : `h${layer}[${k}]`);
  const terms = sources.map((i) => `${last.parameters[place(l - 1, j, i)].toFixed(3)}·${short(l - 1, i)}`);
  const bias = place(l - 1, j, sizes[l - 1]), sum = [...terms, last.parameters[bias].toFixed(3)].join(" + ").replaceAll("+ -", "− ");
  const hidden = l < sizes.length - 1, head = element("h3", {}, nameOf(l, j));
  const formula = element("p");
  formula.append(element("code", {}, `${hidden ? short(l, j) : "y"} = ${hidden ? `${net.activation}(${sum})` : sum}`));
  const line = element("p", {}, `${content.source.where}: `);
  line.append(element("code", {}, content.source.text));
  const rows = element("table"), top = element("tr");
  for (const title of ["from", "weight", "gradient"]) top.append(element("th", { scope: "col" }, title));
  rows.append(top);
  for (const i of [...sources, sizes[l - 1]]) {
    const at = place(l - 1, j, i), row = element("tr", i === marked ? { class: "chosen" } : {});
    row.append(element("td", {}, i === sizes[l - 1] ? "bias" : nameOf(l - 1, i)),
      element("td", {}, last.parameters[at].toFixed(5)), element("td", {}, last.gradient[at].toExponential(2)));
    rows.append(row);
  }
  root.replaceChildren(head, formula, line, rows);
}

// --- a net that Python brought along: its parameters as matrices --------------------------------------------------------

// Names such as layers.0.neurons.3.w.1: the last two numbers are row and column, the rest says which matrix.
function gathered(names) {
  const found = new Map();
  names.forEach((name, at) => {
    const parts = name.split("."), numbers = parts.map((part, k) => (/^\d+$/.test(part) ? k : -1)).filter((k) => k >= 0);
    const [row, column] = [numbers.at(-2), numbers.at(-1)].map((k) => (k === undefined ? 0 : Number(parts[k])));
    for (const k of numbers.slice(-2)) parts[k] = "·";
    const key = parts.join(".");
    if (!found.has(key)) found.set(key, []);
    found.get(key).push({ at, row: numbers.length > 1 ? row : 0, column });
  });
  return found;
}

let matrix = [];

function matrices() {
  const root = $("diagram"), pick = element("select", { "aria-label": "Parameter" });
  root.replaceChildren();
  lines = matrix = [];
  fill(pick, content.own.parameters.slice(0, 5000).map((name, k) => [k, name]), 0);
  pick.onchange = () => { state.chosen = { parameter: Number(pick.value) }; tiles(); };
  const label = element("label", {}, "Parameter ");
  label.append(pick);
  root.append(label);
  for (const [name, cells] of gathered(content.own.parameters)) {
    const rows = 1 + Math.max(...cells.map((c) => c.row)), columns = 1 + Math.max(...cells.map((c) => c.column));
    const size = Math.max(3, Math.min(14, Math.floor(420 / Math.max(rows, columns))));
    const figure = element("figure"), canvas = element("canvas", { role: "img", "aria-label": `${name}: ${cells.length} parameters` });
    canvas.width = columns * size;
    canvas.height = rows * size;
    canvas.onclick = (event) => {
      const cell = cells.find((c) => c.row === Math.floor(event.offsetY / size) && c.column === Math.floor(event.offsetX / size));
      if (!cell) return;
      pick.value = cell.at;
      state.chosen = { parameter: cell.at };
      tiles();
    };
    figure.append(canvas, element("figcaption", {}, `${name} (${rows} × ${columns})`));
    root.append(figure);
    matrix = [...matrix, { canvas, cells, size }];
  }
  state.chosen = { parameter: 0 };
}

function tiles() {
  if (!last) return;
  const { parameter: marked } = state.chosen, root = $("detail");
  for (const { canvas, cells, size } of matrix) {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (const { at, row, column } of cells) {
      const v = last.parameters[at];
      context.globalAlpha = Math.min(1, Math.abs(v) / (0.35 + Math.abs(v)) + 0.05);
      context.fillStyle = v < 0 ? COLOURS[0] : COLOURS[1];
      context.fillRect(column * size, row * size, size - 1, size - 1);
      if (at !== marked) continue;
      context.globalAlpha = 1;
      context.strokeStyle = dark.matches ? "#fff" : "#000";
      context.strokeRect(column * size + 0.5, row * size + 0.5, size - 2, size - 2);
    }
    context.globalAlpha = 1;
  }
  const line = element("p", {}, `${content.own.source.where}: `);
  line.append(element("code", {}, content.own.source.text));
  root.replaceChildren(element("h3", {}, content.own.parameters[marked]), line,
    element("p", {}, `number ${last.parameters[marked].toFixed(6)}, gradient ${last.gradient[marked].toExponential(3)}`));
}

// --- taking it along --------------------------------------------------------------------------------------------------

function kept() {
  if (net.own) {
    const numbers = Object.fromEntries(content.own.parameters.map((name, k) => [name, last.parameters[k]]));
    return { format: "macrograd parameters 1", steps: last.steps, parameters: numbers };
  }
  const { sizes } = net.shape, number = points.names.length === 0;
  const layers = [];
  for (let l = 0; l + 1 < sizes.length; ++l) {
    const rows = [];
    for (let j = 0; j < sizes[l + 1]; ++j) {
      if (!lives(l + 1, j)) continue;
      const from = Array.from({ length: sizes[l] }, (_, i) => i).filter((i) => lives(l, i));
      rows.push([...from, sizes[l]].map((i) => last.parameters[place(l, j, i)]));
    }
    layers.push(rows);
  }
  return {
    format: "macrograd playground 1", activation: net.activation, features: state.features, layers, steps: last.steps,
    scaling: points.scaling, columns: points.axes, target: points.target, classes: points.names,
    unit: number ? points.unit : [0, 1],
  };
}

function asPython() {
  if (net.own) {
    return `# What the playground made of the parameters, after ${last.steps} steps: for the model that the page was made of.
import json

model.load_parameters(json.loads(
    ${JSON.stringify(JSON.stringify(kept().parameters))}
))
`;
  }
  const all = kept(), name = JSON.stringify(JSON.stringify(all));
  return `# A net of macrograd's playground, after ${all.steps} steps. Needs: pip install macrograd
import json

import macrograd as mg

net = mg.from_playground(json.loads(
    ${name}
))
point = [${points.rows[0].slice(0, 2).join(", ")}]
print(net(point))  # ${all.classes.length === 0 ? "the answer" : all.classes.length === 2 ? "above 0: the second class" : "one number for each class, the largest is the answer"}
print(net.answer(point))

# The same as a C file without dependencies:
mg.export(net, "net.c", [0.0, 0.0])
`;
}

// The compiler's C file of the net, with the numbers of now.
async function asC() {
  const text = await new Response(await unpacked(net.c)).text(), { names, unit, scaling } = points;
  const numbers = [...last.parameters, ...scaling, ...(names.length ? [1, 0] : [unit[1], unit[0]])];
  const said = names.length > 2 ? `The class is the largest of y[0] to y[${names.length - 1}].`
    : names.length ? "The class is the second where y[0] is above 0." : "y[0] is the answer.";
  const literal = (x) => (/^-?\d+$/.test(String(x)) ? `${x}.0` : String(x));
  return `/* After ${last.steps} steps. ${said} */\n` + text.replace(/@(\d+)@/g, (_, k) => literal(numbers[k]));
}

function show(title, note, text, file) {
  $("text-title").textContent = title;
  $("text-note").textContent = note;
  const area = document.querySelector("#text textarea");
  area.value = text;
  const save = $("text-save");
  URL.revokeObjectURL(save.href);
  save.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  save.download = file;
  save.textContent = `Save as ${file}`;
  $("text-copy").onclick = async () => {
    area.select();
    try { await navigator.clipboard.writeText(text); } catch { document.execCommand("copy"); }
    $("text-copy").textContent = "Copied";
  };
  $("text-copy").textContent = "Copy";
  $("text").showModal();
}

// --- controls ---------------------------------------------------------------------------------------------------------

function fill(select, options, value) {
  select.replaceChildren(...options.map(([key, text]) => new Option(text, key)));
  select.value = value;
}

function controls() {
  if (!net.own) menus();
  for (const key of ["samples", "noise"]) $(key).disabled = state.set === "table" || net.own;
  $("samples-said").value = state.set === "table" || net.own ? points.rows.length : state.samples;
  $("noise-said").value = net.own ? "–" : state.noise.toFixed(2);
  $("share-said").value = `${Math.round(100 * state.share)} %`;
  const key = $("legend");
  key.replaceChildren(`${points.axes[1]} over ${points.axes[0]}. `);
  (points.names.length ? points.names : ["below the middle", "above"]).forEach((name, k) => {
    const swatch = element("span", { class: "swatch" });
    swatch.style.background = COLOURS[k];
    key.append(swatch, name);
  });
  key.append(" (hollow: for testing)");
}

function menus() {
  fill($("activation"), net.activations.map((a) => [a, a]), state.activation);
  fill($("depth"), net.depths.map((d) => [d, d]), state.widths.length);
  $("widths").replaceChildren(...state.widths.map((width, k) => {
    const label = element("label", {}, `Layer ${k + 1} `);
    const input = element("input", { type: "number", min: 1, max: net.most, value: width });
    input.style.display = "inline-block";
    input.style.width = "4rem";
    input.onchange = () => {
      state.widths[k] = Math.max(1, Math.min(net.most, Math.round(Number(input.value)) || 1));
      restart();
    };
    label.append(input);
    return label;
  }));
}

function begin() {
  worker = new Worker(URL.createObjectURL(new Blob([$("worker").textContent], { type: "text/javascript" })));
  worker.onmessage = hear;
  worker.onerror = (event) => say(`The training stopped: ${event.message}`, true);
  fill($("set"), Object.entries(DATA), state.set);
  fill($("rate"), RATES.map((r) => [r, r]), state.rate);
  fill($("batch"), [[0, "all"], [1, 1], [10, 10], [30, 30], [100, 100]], state.batch);
  fill($("strength"), [0.0001, 0.001, 0.003, 0.01, 0.03, 0.1].map((s) => [s, s]), state.strength);
  content.features.forEach((name, k) => {
    const label = element("label"), tick = element("input", { type: "checkbox" });
    tick.checked = state.features[k];
    tick.onchange = () => {
      state.features[k] = tick.checked;
      if (!state.features.some(Boolean)) state.features[k] = tick.checked = true;
      restart();
    };
    label.append(tick, name);
    $("features").append(label);
  });
  $("set").onchange = () => { state.set = $("set").value; $("columns").hidden = !["table", "own"].includes(state.set); restart(); };
  for (const axis of ["x", "y", "t"]) $(`column-${axis}`).onchange = restart;
  for (const key of ["samples", "noise", "share", "seed"]) $(key).onchange = () => { state[key] = Number($(key).value) || 0; restart(); };
  $("activation").onchange = () => { state.activation = $("activation").value; restart(); };
  $("depth").onchange = () => {
    const depth = Number($("depth").value);
    while (state.widths.length < depth) state.widths.push(state.widths.at(-1));
    state.widths.length = depth;
    restart();
  };
  for (const [key, name] of [["rate", "rate"], ["batch", "batch"]]) $(key).onchange = () => { state[name] = Number($(key).value); settings(); };
  for (const key of ["penalty", "strength"]) $(key).onchange = () => {
    state.penalty = $("penalty").value;
    state.strength = Number($("strength").value);
    worker.postMessage({ kind: "parameters", ...penalties() });
  };
  $("play").onclick = () => setPlaying(!playing);
  $("once").onclick = () => { setPlaying(false); worker.postMessage({ kind: "once", count: 1 }); };
  $("again").onclick = restart;
  $("time").oninput = () => {
    const moment = past[Number($("time").value)];
    if (!moment) return;
    if (playing) setPlaying(false);
    worker.postMessage({ kind: "parameters", parameters: moment.parameters, kept: moment.kept, at: moment.steps });
  };
  $("as-python").onclick = () => show("As Python", "A script that has this net.", asPython(), "net.py");
  $("as-c").onclick = async () => show("As C", "C99 without dependencies; net_predict(&state, x, y) is its function.", await asC(), "net.c");
  $("as-weights").onclick = () => show("Weights", "What mg.from_playground(\"net.json\") reads.", JSON.stringify(kept(), null, 1), "net.json");
  $("text-close").onclick = () => $("text").close();
  $("file").onchange = async () => { const [file] = $("file").files; if (file) take(file.name, await file.text()); };
  const drop = $("drop");
  addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  addEventListener("dragleave", () => drop.classList.remove("over"));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) take(file.name, await file.text());
  });
  addEventListener("resize", () => net && requestAnimationFrame(wires));
  dark.addEventListener("change", () => { tinted(); dirty = true; if (points) samples(); });
  tinted();
  if (!globalThis.WebAssembly || !globalThis.DecompressionStream) {
    return say("This browser is too old for the page: it needs WebAssembly with SIMD, and DecompressionStream.", true);
  }
  turn = turn.then(async () => worker.postMessage({ kind: "begin", wasm: await unpacked(content.prepare.wasm) }));
  if (content.own) {
    const { inputs } = content.own;
    $("set").add(new Option(content.own.name, "own"), 0);
    fill($("column-x"), inputs.map((name, k) => [k, name]), 0);
    fill($("column-y"), inputs.map((name, k) => [k, name]), Math.min(1, inputs.length - 1));
    $("columns").hidden = false;
    $("rate").add(new Option(content.own.rate, content.own.rate), 0);
    $("rate").value = state.rate = content.own.rate;
    $("set").value = state.set = "own";
    restart();
  } else if (content.table) take(content.table.name, content.table.text);
  else restart();
  requestAnimationFrame(paint);
}

begin();
