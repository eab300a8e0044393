// Tries a playground's page in Chromium: node check.mjs PAGE OWN-PAGE FOLDER CHROMIUM. Writes what it exported and its pictures
// into the folder, prints what it measured, and fails where something is not as it should be.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [file, own, folder, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(join(process.cwd(), "x.js"))("playwright-core");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const faults = [];

async function opened(options = {}, where = file) {
  const page = await browser.newPage({ viewport: { width: 1400, height: 950 }, ...options });
  page.setDefaultTimeout(600_000); // for machines that are busy
  page.on("console", (message) => faults.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => { faults.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => /^(file|blob|data):/.test(request.url()) || faults.push(`asks for ${request.url()}`));
  await page.goto(pathToFileURL(where).href);
  await page.waitForFunction(() => last && !playing);
  return page;
}

const shown = (page) => page.evaluate(() => ({ steps: last.steps, train: last.train, test: last.test }));
const ready = (page) => page.waitForFunction(() => last && last.steps === 0);

async function trained(page, steps) {
  await page.click("#play");
  await page.waitForFunction((least) => last && last.steps >= least, steps);
  await page.click("#play");
  await page.waitForFunction(() => !playing);
  await answered(page);
}

// What the worker had begun before is done, and shown: it answers in turn.
async function answered(page) {
  await page.evaluate(() => { delete document.documentElement.dataset.speed; worker.postMessage({ kind: "measure", milliseconds: 0 }); });
  await page.waitForFunction(() => document.documentElement.dataset.speed);
  await page.evaluate(() => { delete document.documentElement.dataset.speed; });
}

async function taken(page, button, name) {
  await page.click(button);
  await page.waitForFunction(() => $("text").open);
  writeFileSync(join(folder, name), await page.inputValue("#text textarea"));
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#text-save")]);
  assert.ok(download.suggestedFilename().startsWith("net."));
  await page.click("#text-close");
}

// It trains, waits, makes single steps, and goes back in time.
let page = await opened();
const begin = await shown(page);
await trained(page, 2000);
const later = await shown(page);
assert.ok(later.train < 0.5 * begin.train, `the loss went from ${begin.train} to ${later.train}`);
const stopped = (await shown(page)).steps;
await answered(page);
assert.equal((await shown(page)).steps, stopped, "a pause is one");
await page.click("#once");
await page.waitForFunction((count) => last.steps === count + 1, stopped);
await page.evaluate(() => { $("time").value = 0; $("time").dispatchEvent(new Event("input")); });
await page.waitForFunction((loss) => last.train === loss, begin.train);
await page.click("#again");
await ready(page);
assert.equal((await shown(page)).train, begin.train, "the same seed is the same start");

// Each data set, activation and depth.
for (const set of ["circles", "xor", "spirals", "three", "five", "plane", "hills"]) {
  await page.selectOption("#set", set);
  await ready(page);
  const first = await shown(page);
  await trained(page, 300);
  assert.ok((await shown(page)).train < first.train, `${set} is learned`);
}
for (const [activation, depth] of [["relu", "1"], ["sigmoid", "3"], ["tanh", "2"]]) {
  await page.selectOption("#set", "moons");
  await ready(page);
  await page.selectOption("#activation", activation);
  await ready(page);
  await page.selectOption("#depth", depth);
  await ready(page);
  const first = await shown(page);
  await trained(page, 300);
  assert.ok((await shown(page)).train < first.train, `${activation} in ${depth} layers learns`);
}
// A neuron fewer is a smaller net: what is switched off stays 0, and a feature more is one that learns.
await page.fill("#widths input", "3");
await page.locator("#widths input").first().blur();
await ready(page);
await page.check("#features input >> nth=4");
await ready(page);
await page.selectOption("#penalty", "l2");
await page.selectOption("#batch", "10");
await trained(page, 300);
const unused = await page.evaluate(() => {
  const { sizes } = net.shape, found = [];
  for (let j = 0; j < sizes[1]; ++j) for (let i = 0; i <= sizes[0]; ++i) {
    if (j >= 3 || (i < sizes[0] && !state.features[i])) found.push(last.parameters[place(0, j, i)]);
  }
  return found;
});
assert.ok(unused.length > 30 && unused.every((w) => w === 0));

// By keyboard alone: play and pause, and what a neuron is made of.
await page.focus("#play");
await page.keyboard.press("Space");
await page.waitForFunction(() => playing);
await page.keyboard.press("Space");
await page.waitForFunction(() => !playing);
await page.focus('[data-node="2-1"]');
await page.keyboard.press("Enter");
assert.match(await page.textContent("#detail"), /neuron 2 of layer 2.*tanh\(.*nets\.py:\d+.*gradient/s);
await page.evaluate(() => lines[0].line.onclick());
assert.equal(await page.locator("#detail tr.chosen").count(), 1);

await page.focus("#widths input");
await page.keyboard.press("ArrowUp");
await ready(page);
assert.equal(await page.evaluate(() => state.widths[0]), 4);
assert.ok(await page.evaluate(() => document.activeElement === document.querySelector("#widths input")), "the focus stays");

// Ten classes are learned, eleven are refused in words.
for (const count of [10, 11]) {
  const rows = Array.from({ length: 110 }, (_, k) => `${Math.cos(k % count)},${Math.sin(k % count) + 0.001 * k},c${k % count}`);
  await page.evaluate((text) => take("many.csv", text), ["a,b,c", ...rows].join("\n"));
  if (count === 11) break;
  await page.waitForFunction(() => state.set === "table" && last && last.steps === 0 && points.names.length === 10);
  const first = await shown(page);
  await trained(page, 500);
  assert.ok((await shown(page)).train < 0.8 * first.train);
}
await page.waitForFunction(() => /11 different texts, and there can be 10 classes/.test($("status").textContent));

// A table that is dropped, whose names are nothing but texts.
const table = ['"a <script>alert(1)</script>","b, <img src=x onerror=alert(2)>",kind'];
for (let k = 0; k < 60; ++k) {
  const x = Math.cos(k), y = Math.sin(1.7 * k);
  table.push(`${(100 + 5 * x).toFixed(3)},${(y / 10).toFixed(4)},"${x > 0.3 ? "<b>one</b>" : y > 0 ? 'two, ""quoted""' : "three"}"`);
}
await page.evaluate((text) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([text], "own <i>.csv", { type: "text/csv" }));
  window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
}, table.join("\n"));
await page.waitForFunction(() => state.set === "table" && last && last.steps === 0);
await trained(page, 3000);
assert.ok((await shown(page)).train < 0.5);
assert.match(await page.textContent("#legend"), /<script>alert\(1\)<\/script>.*<b>one<\/b>.*two, "quoted"/s);
assert.equal(await page.locator("main img, main script, main b, main i").count(), 0);
await taken(page, "#as-weights", "table.json");
await taken(page, "#as-python", "table.py");
await taken(page, "#as-c", "table.c");
writeFileSync(join(folder, "table-answers.json"), JSON.stringify(await page.evaluate(() => {
  const { sizes } = net.shape, all = sizes.slice(1).reduce((a, b) => a + b), first = all - sizes.at(-1);
  const points_ = grid(points.box), places = [0, 777, 1250, 2499];
  return places.map((p) => ({ x: [points_[2 * p], points_[2 * p + 1]], y: Array.from(last.fields.slice(p * all + first, p * all + first + points.names.length)) }));
})));
await page.screenshot({ path: join(folder, "table.png") });
await page.evaluate(() => take("bad.csv", "a,b\n1,2"));
assert.match(await page.textContent("#status"), /bad\.csv cannot be read: the table needs/);

// How fast: full batches of 100 samples through 16 and 16 neurons, and pictures while it trains.
await page.selectOption("#set", "moons");
await ready(page);
await page.evaluate(async () => {
  Object.assign(state, { widths: [16, 16], activation: "relu", samples: 200, share: 0.5, batch: 0, penalty: "none" });
  state.features = state.features.map((_, k) => k < 2);
  await restart();
});
await ready(page);
assert.equal(await page.evaluate(() => net.widths.join()), "16,16");
await page.evaluate(() => worker.postMessage({ kind: "measure", milliseconds: 1000 }));
await page.waitForFunction(() => document.documentElement.dataset.speed);
const speed = Number(await page.evaluate(() => document.documentElement.dataset.speed));
await page.click("#play");
const frames = await page.evaluate(() => new Promise((done) => {
  let count = 0;
  const end = performance.now() + 2000, next = () => { ++count; performance.now() < end ? requestAnimationFrame(next) : done(count / 2); };
  requestAnimationFrame(next);
}));
console.log(`${speed} steps a second of 16 and 16 neurons on 100 samples; ${frames} pictures a second while it trains`);
await page.screenshot({ path: join(folder, "light.png") });
await page.close();

// A net that Python brought along goes on where it stopped.
page = await opened({}, own);
const brought = await shown(page);
await trained(page, 200);
assert.ok((await shown(page)).train < brought.train);
await page.selectOption('[aria-label="Parameter"]', "3");
assert.match(await page.textContent("#detail"), /neurons.*__call__.*number .*, gradient/s);
await page.locator("figure canvas").first().click({ position: { x: 3, y: 3 } });
await page.click("#as-weights");
writeFileSync(join(folder, "own.json"), await page.inputValue("#text textarea"));
await page.click("#text-close");
const [outputs, at] = await page.evaluate(() => [Array.from(last.fields.slice(0, 3)), Array.from(ownGrid().slice(0, 3 * content.own.inputs.length))]);
writeFileSync(join(folder, "own-answers.json"), JSON.stringify({ outputs, at }));
// Back in time its optimiser is as it was, too: the same steps again make the same losses.
await page.click("#again");
await page.waitForFunction((loss) => last && last.train === loss, brought.train);
const onward = async () => {
  const found = [];
  for (let k = 1; k <= 3; ++k) {
    await page.click("#once");
    await page.waitForFunction((count) => last.steps === count, k);
    found.push((await shown(page)).train);
  }
  return found;
};
const once = await onward();
await page.evaluate(() => { $("time").value = 0; $("time").dispatchEvent(new Event("input")); });
await page.waitForFunction(() => last.steps === 0);
assert.deepEqual(await onward(), once);
await page.close();

// A strict net shows the losses of the published run, with its falling rate.
page = await opened({}, join(folder, "strict.html"));
const losses = [await page.textContent("#train-loss")];
for (let k = 1; k <= 2; ++k) {
  await page.click("#once");
  await page.waitForFunction((count) => last.steps === count && !dirty, k);
  losses.push(await page.textContent("#train-loss"));
}
assert.deepEqual(losses, ["0.895844102868", "1.72359053370", "0.742900631385"]);
await page.close();

// Dark, and as narrow as a phone.
page = await opened({ colorScheme: "dark" });
await page.selectOption("#set", "five");
await ready(page);
await trained(page, 1000);
await page.screenshot({ path: join(folder, "dark.png") });
await page.close();
page = await opened({ viewport: { width: 360, height: 740 } });
await trained(page, 500);
assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing stands beyond the edge");
await page.screenshot({ path: join(folder, "phone.png"), fullPage: true });
await browser.close();
assert.deepEqual(faults, []);
