// Data.

function generator(seed) { // mulberry32, with normal numbers by Box and Muller
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
  if (!names || body.length < 4) throw new Error("the table needs a header line and at least four rows");
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

// The samples of a net from Python; the page shows two of its inputs.
function ofOwn() {
  const { classes, inputs, unit } = content.own, axes = ["x", "y"].map((axis) => Number($(`column-${axis}`).value));
  const whole = content.own.rows.map((row) => row.map((x) => x ?? NaN)); // a missing number
  const rows = content.own.strict ? whole : shuffled(whole); // sums depend on the order
  return {
    full: rows, rows: rows.map((row) => [row[axes[0]], row[axes[1]], row.at(-1)]), names: classes, at: axes,
    axes: axes.map((k) => inputs[k] + categoriesOf(k)), target: "", unit,
  };
}

// What the numbers of a column of texts stand for.
function categoriesOf(k) {
  const names = content.own.categories[k];
  return names ? ` (${names.slice(0, 8).map((name, at) => `${at} ${name}`).join(", ")}${names.length > 8 ? ", …" : ""})` : "";
}

// A usual number of a column: the mean, or of texts the most frequent.
function usual(k) {
  const known = points.full.map((row) => row[k]).filter(Number.isFinite);
  if (!content.own.categories[k]) return known.reduce((sum, x) => sum + x, 0) / (known.length || 1);
  const counts = new Map();
  for (const x of known) counts.set(x, (counts.get(x) || 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0][0];
}

// The module's inputs: every point of the field, with the other inputs as usual. Between two texts there is nothing.
function ownGrid() {
  const n = content.own.inputs.length, plain = grid(points.box), found = new Float64Array((plain.length / 2) * n);
  const others = Array.from({ length: n }, (_, k) => usual(k));
  for (let p = 0; 2 * p < plain.length; ++p) {
    found.set(others, p * n);
    points.at.forEach((k, i) => {
      const x = plain[2 * p + i], names = content.own.categories[k];
      found[p * n + k] = names ? Math.max(0, Math.min(names.length - 1, Math.round(x))) : x;
    });
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
    rates: own.rates, test: Float64Array.from(points.full.slice(points.cut).flat()),
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
