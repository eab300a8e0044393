// A net from Python: its parameters as matrices.

// Names such as layers.0.neurons.3.w.1: the last two numbers are row and column, the rest identifies the matrix.
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
