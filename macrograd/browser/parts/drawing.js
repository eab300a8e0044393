// Drawing.

const dark = matchMedia("(prefers-color-scheme: dark)");
const LOW = [0, 114, 178], HIGH = [213, 94, 0]; // as in the Python pictures

function rgb(hex) {
  return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
}

// A pixel between the background colour and another one.
function shade(colour, share) {
  const middle = dark.matches ? 28 : 250, [r, g, b] = colour.map((end) => Math.round(middle + (end - middle) * share));
  return (255 << 24) | (b << 16) | (g << 8) | r;
}

// The pixels of −1 to 1: from one colour through the background to the other.
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
  if (playing && now - thorough < 120) return; // the answer is redrawn in every frame, the rest a few times a second
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

// The samples, on a separate canvas, so that they are drawn only once.
function samples() {
  const canvas = $("points"), context = canvas.getContext("2d"), [[left, right], [bottom, top]] = points.box;
  context.clearRect(0, 0, canvas.width, canvas.height);
  points.rows.forEach(([x, y, t], k) => {
    const px = ((x - left) / (right - left)) * canvas.width, py = ((top - y) / (top - bottom)) * canvas.height;
    mark(context, px, py, points.names.length || !net.own ? t : (t - points.unit[0]) / points.unit[1], k >= points.cut);
  });
}

// Classes differ in shape as well as colour; test samples are hollow.
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
  for (const [what, colour, dash] of [["train", "--low", []], ["test", "--high", [7, 4]]]) {
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

function said(x) {
  if (net.own && content.own.strict) return x.toPrecision(12);
  return Math.abs(x) < 1e-3 && x ? x.toExponential(2) : x.toPrecision(4);
}

let spoken = 0;

function told() { // announced by screen readers now and then
  if (!last.steps || (playing && performance.now() - spoken < 2000)) return;
  spoken = performance.now();
  say(`Step ${last.steps.toLocaleString("en")}: training loss ${said(last.train)}, testing ${Number.isNaN(last.test) ? "–" : said(last.test)}.`);
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}
