// The net.

// The module that has these layers; widths missing from the menu are reduced.
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

// The place of a weight among the parameters; the bias of a neuron follows its weights.
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
      if (!lives(l + 1, j) && l + 2 === sizes.length) parameters[place(l, j, sizes[l])] = -1000; // an unused class
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
