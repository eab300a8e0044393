// Draws the lines of a folded graph: between boxes that can be seen, for those inside closed ones from the outermost.
for (const root of document.querySelectorAll(".mg-folded:not([data-ready])")) {
  root.dataset.ready = "yes";
  const sheet = root.firstElementChild, canvas = sheet.querySelector("svg"), edges = JSON.parse(root.dataset.edges);
  const boxes = new Map([...root.querySelectorAll("[data-box]")].map((element) => [+element.dataset.box, element]));
  const seen = (element) => {
    for (let up = element.parentElement; up && up !== root; up = up.parentElement)
      if (up.tagName === "DETAILS" && !up.open) element = up;
    return element;
  };
  const draw = () => {
    const counts = new Map(), at = sheet.getBoundingClientRect();
    for (const [a, b] of edges) {
      const from = seen(boxes.get(a)), to = seen(boxes.get(b));
      if (from === to || from.contains(to) || to.contains(from)) continue;
      const key = `${from.dataset.box} ${to.dataset.box}`, known = counts.get(key);
      counts.set(key, { from, to, count: (known ? known.count : 0) + 1 });
    }
    const lines = [];
    for (const { from, to, count } of counts.values()) {
      const a = from.getBoundingClientRect(), b = to.getBoundingClientRect();
      const x0 = a.right - at.left, y0 = (a.top + a.bottom) / 2 - at.top, x1 = b.left - at.left, y1 = (b.top + b.bottom) / 2 - at.top;
      const bend = Math.max(12, (x1 - x0) / 2);
      lines.push(`<path d="M${x0} ${y0}C${x0 + bend} ${y0} ${x1 - bend} ${y1} ${x1} ${y1}" fill="none" stroke="#6b7884" `
        + `stroke-opacity="0.6" stroke-width="${Math.min(4, 1 + Math.log2(count) / 2)}"/>`);
    }
    canvas.setAttribute("width", sheet.offsetWidth);
    canvas.setAttribute("height", sheet.offsetHeight);
    canvas.innerHTML = lines.join("");
  };
  root.addEventListener("toggle", draw, true);
  new ResizeObserver(draw).observe(sheet);
  draw();
}
