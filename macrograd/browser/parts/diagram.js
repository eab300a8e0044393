// The diagram of the net.

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
