// Controls.

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
  const there = $("widths").querySelectorAll("input");
  if (there.length === state.widths.length) { // keep them, and with them the focus
    there.forEach((input, k) => { input.max = net.most; input.value = state.widths[k]; });
    return;
  }
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
  $("as-python").onclick = () => show("As Python", "A script that contains this net.", asPython(), "net.py");
  $("as-c").onclick = async () => show("As C", "C99 without dependencies; call net_predict(&state, x, y).", await asC(), "net.c");
  $("as-weights").onclick = () => show("Weights", "Read it in Python with mg.from_playground(\"net.json\").", JSON.stringify(kept(), null, 1), "net.json");
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
    return say("This browser is too old for the page, which needs WebAssembly with SIMD, and DecompressionStream.", true);
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
    if (content.own.rates.length) {
      $("rate").add(new Option("schedule", 0), 0);
      $("rate").value = state.rate = 0;
    }
    if (content.own.strict) $("share").value = state.share = 0; // all samples, as in Python
    $("set").value = state.set = "own";
    restart();
  } else if (content.table) take(content.table.name, content.table.text);
  else restart();
  requestAnimationFrame(paint);
}

begin();
