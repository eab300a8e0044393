// Draws the frames of macrograd.show.live: the field with the samples, the loss, the gradients of the layers.
// All numbers come from Python; nothing is computed here but places on the screen.

const INK = "#1b242d", FAINT = "#6b7884", PAPER = "#ffffff";
const HEIGHT = 240, LOG_FROM = 30;

/** A canvas of this width in CSS pixels, sharp on every screen; returns its context. */
function canvas(parent, width, label) {
  const element = document.createElement("canvas"), scale = window.devicePixelRatio || 1;
  element.width = width * scale;
  element.height = HEIGHT * scale;
  element.style.cssText = `width:${width}px;height:${HEIGHT}px;max-width:100%`;
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", label);
  parent.append(element);
  const context = element.getContext("2d");
  context.scale(scale, scale);
  context.font = "11px sans-serif";
  return context;
}

const channels = (colour) => [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
const mixed = (from, to, share) => from.map((v, k) => Math.round(v + (to[k] - v) * share));

/** A number on a scale, linear or logarithmic, as a place from 0 to 1. */
function scaled(low, high, logarithmic) {
  const f = logarithmic ? Math.log : (v) => v;
  const span = f(high) - f(low) || 1;
  return (v) => (f(v) - f(low)) / span;
}

const short = (v) => (v === 0 ? "0" : Math.abs(v) >= 0.01 && Math.abs(v) < 1e4 ? String(+v.toPrecision(3)) : v.toExponential(1));

function clear(context, width) {
  context.fillStyle = PAPER;
  context.fillRect(0, 0, width, HEIGHT);
}

function drawField(context, width, model) {
  clear(context, width);
  const { kind } = model.get("frame"), side = model.get("side"), colours = model.get("colours").map(channels);
  const bytes = model.get("field"), field = bytes.buffer ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) : new Uint8Array(bytes);
  const white = [255, 255, 255];
  if (kind && field.length === side * side) {
    const image = new ImageData(side, side);
    for (let k = 0; k < field.length; k++) {
      const row = side - 1 - Math.floor(k / side), at = 4 * (row * side + (k % side)), v = field[k];
      const share = kind === "class" ? 0.3 : 0.6 * Math.abs(v - 127.5) / 127.5;
      const colour = kind === "class" ? colours[v % colours.length] : v < 127.5 ? colours[0] : colours[1];
      image.data.set([...mixed(white, colour, share), 255], at);
    }
    const small = document.createElement("canvas");
    small.width = small.height = side;
    small.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingEnabled = kind !== "class";
    context.drawImage(small, 0, 0, width, HEIGHT);
  }
  const [left, right, bottom, top] = model.get("box");
  for (const [x, y, label] of model.get("points")) {
    const px = ((x - left) / (right - left)) * width, py = HEIGHT - ((y - bottom) / (top - bottom)) * HEIGHT;
    context.beginPath();
    if (label % 2) context.rect(px - 3, py - 3, 6, 6);
    else context.arc(px, py, 3.4, 0, 7);
    context.fillStyle = model.get("colours")[label % colours.length];
    context.strokeStyle = PAPER;
    context.fill();
    context.stroke();
  }
}

function drawLoss(context, width, model) {
  clear(context, width);
  const { losses = [], held = [] } = model.get("frame"), colours = model.get("colours");
  const values = [...losses, ...held].map(([, v]) => v);
  if (!values.length) return;
  const low = Math.min(...values), high = Math.max(...values), logarithmic = low > 0 && high > LOG_FROM * low;
  const place = scaled(low, high, logarithmic), last = Math.max(...[...losses, ...held].map(([s]) => s), 2);
  const left = 54, top = 24, bottom = HEIGHT - 22;
  const curve = (points, colour, dash) => {
    context.setLineDash(dash);
    context.strokeStyle = colour;
    context.lineWidth = 1.6;
    context.beginPath();
    points.forEach(([s, v], k) => {
      const x = left + ((s - 1) / (last - 1)) * (width - left - 8), y = bottom - place(v) * (bottom - top);
      if (k) context.lineTo(x, y);
      else context.moveTo(x, y);
    });
    context.stroke();
    context.setLineDash([]);
  };
  curve(losses, colours[0], []);
  curve(held, INK, [5, 3]);
  context.fillStyle = INK;
  context.textAlign = "left";
  context.fillText(held.length ? "loss (dashed: validation)" : "loss", 4, 12);
  context.fillStyle = FAINT;
  context.textAlign = "right";
  context.fillText(short(high), left - 5, top + 4);
  context.fillText(short(low), left - 5, bottom + 3);
  context.fillText(`step ${Math.round(last)}`, width - 8, HEIGHT - 6);
}

function drawGradients(context, width, model) {
  clear(context, width);
  const layers = model.get("frame").layers || [], norms = layers.map(([, norm]) => norm).filter((v) => v > 0);
  context.fillStyle = INK;
  context.textAlign = "left";
  context.fillText("gradient norm of each layer", 4, 12);
  if (!norms.length) return;
  // Whole decades, so that bars do not jump from frame to frame.
  const low = 10 ** Math.floor(Math.log10(Math.min(...norms)) - 0.01), high = 10 ** Math.ceil(Math.log10(Math.max(...norms)) + 0.01);
  const place = scaled(low, high, true), row = Math.min(26, (HEIGHT - 44) / layers.length), left = 92;
  layers.forEach(([name, norm], k) => {
    const y = 24 + k * row;
    context.fillStyle = INK;
    context.textAlign = "right";
    context.fillText(name.length > 14 ? "…" + name.slice(-13) : name, left - 6, y + row / 2 + 4);
    context.fillStyle = model.get("colours")[0];
    if (norm > 0) context.fillRect(left, y + 3, Math.max(1, place(norm) * (width - left - 60)), row - 6);
    context.fillStyle = FAINT;
    context.textAlign = "left";
    context.fillText(short(norm), left + (norm > 0 ? place(norm) : 0) * (width - left - 60) + 5, y + row / 2 + 4);
  });
  context.fillStyle = FAINT;
  context.fillText(short(low), left, HEIGHT - 6);
  context.textAlign = "right";
  context.fillText(short(high), width - 60, HEIGHT - 6);
}

function render({ model, el }) {
  const status = document.createElement("div"), panels = document.createElement("div");
  status.setAttribute("role", "status");
  status.style.cssText = "font:12px sans-serif;margin:2px 0 6px";
  panels.style.cssText = "display:flex;flex-wrap:wrap;gap:10px";
  el.append(status, panels);
  let shown = null;
  const prepare = () => {
    const plane = model.get("box").length === 4;
    if (shown && shown.plane === plane) return;
    panels.replaceChildren();
    shown = {
      plane,
      field: plane ? canvas(panels, 280, "the scores between the samples") : null,
      loss: canvas(panels, 340, "the loss, step by step"),
      gradients: canvas(panels, 320, "the norm of the gradient of each layer"),
    };
  };
  const draw = () => {
    prepare();
    status.textContent = model.get("status");
    if (!model.get("frame").step) return;
    if (shown.field) drawField(shown.field, 280, model);
    drawLoss(shown.loss, 340, model);
    drawGradients(shown.gradients, 320, model);
  };
  let due = false; // frames that come faster than the screen is drawn are skipped
  const later = () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      draw();
    });
  };
  model.on("change:frame", later);
  draw();
  return () => model.off("change:frame", later);
}

export default { render };
