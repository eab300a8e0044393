/* @TITLE@, as WebAssembly, written by macrograd.

   import { load } from "./@FILE@.js";
   const net = await load();          // or load(bytes), load(url), load(response), load(module)
@USE@

   Samples are arrays of numbers, one array for all of them (a typed array, too) or one for each.
   net.parameters and net.state can be read and written; net.init() puts back what was there at first.
*/
export const about = @ABOUT@;

const Real = about.real === "float32" ? Float32Array : Float64Array;

/* The net from its bytes or from where they are; "@FILE@.wasm" beside this file if nothing is said. */
export async function load(source = new URL(about.url, import.meta.url)) {
  const found = await content(await source);
  const made = await WebAssembly.instantiate(found, {});
  return new Net(made.instance ?? made);
}

async function content(source) {
  if (typeof source === "string" || source instanceof URL) {
    const url = new URL(source, import.meta.url);
    if (url.protocol === "file:" && globalThis.process?.versions?.node) {
      return (await import("node:fs/promises")).readFile(url);
    }
    source = await fetch(url);
  }
  if (typeof Response !== "undefined" && source instanceof Response) {
    if (!source.ok) throw new Error(`${source.url} cannot be read: ${source.status} ${source.statusText}`);
    return source.arrayBuffer();
  }
  return source;
}

export class Net {
  #wasm;
  #heap; // where memory that is nobody's begins

  constructor(instance) {
    this.#wasm = instance.exports;
    this.#heap = this.#number("heap");
  }

  #number(name) {
    return this.#wasm[name].value;
  }

  /* The address of room for some numbers, behind all that is placed. */
  #room(numbers) {
    const memory = this.#wasm.memory, end = this.#heap + numbers * Real.BYTES_PER_ELEMENT + 64;
    if (end > memory.buffer.byteLength) memory.grow(Math.ceil((end - memory.buffer.byteLength) / 65536));
    return this.#heap;
  }

  #view(address, count) {
    return new Real(this.#wasm.memory.buffer, address, count);
  }

  #has(name) {
    if (!this.#wasm[name]) {
      throw new Error(`this file has no ${name}(): it was exported with kind='${about.kind}'`);
    }
  }

  /* Samples, flat, of a number of numbers each. */
  static #flat(rows, size, what) {
    const flat = Array.isArray(rows) ? rows.flat(Infinity) : rows;
    if (flat.length === 0 || (size && flat.length % size !== 0)) {
      throw new RangeError(`${what} has ${flat.length} numbers; every sample has ${size}`);
    }
    return flat;
  }

  /* The outputs of samples, one sample behind the other. */
  predict(rows) {
    this.#has("predict");
    const size = about.inputs_count;
    const placed = rows instanceof Placed ? rows : null;
    const flat = placed || !size ? null : Net.#flat(rows, size, "predict(rows)");
    const count = placed ? placed.count : size ? flat.length / size : 1;
    const x = this.#room((placed ? 0 : count * size) + count * about.outputs);
    const y = x + (placed ? 0 : count * size * Real.BYTES_PER_ELEMENT);
    if (flat) this.#view(x, count * size).set(flat);
    if (this.#wasm.predict(placed ? placed.address : x, y, count)) {
      throw new RangeError("predict(rows): an index is out of range");
    }
    return this.#view(y, count * about.outputs).slice();
  }

  /* What the outputs of one sample mean: a class by its name, yes or no for each label, or the outputs themselves. */
  answer(outputs) {
    if (about.answers === "labels") return Array.from(outputs, (y) => y > 0);
    if (about.answers === "sign") return about.classes[outputs[0] > 0 ? 1 : 0];
    if (about.answers !== "largest") return Array.from(outputs);
    let best = 0;
    for (let k = 1; k < about.classes.length; ++k) {
      const unknown = Number.isNaN(outputs[k]) && !Number.isNaN(outputs[best]);
      if (outputs[k] > outputs[best] || unknown) best = k;
    }
    return about.classes[best];
  }

  /* The value of one sample, and its derivatives by the parameters, at these parameters or at the net's own. */
  gradient(sample = [], theta = null) {
    this.#has("gradient");
    const size = about.inputs_count, count = about.parameters_count, bytes = Real.BYTES_PER_ELEMENT;
    const flat = size ? Net.#flat(sample, size, "gradient(sample)") : [];
    if (flat.length !== size) throw new RangeError(`gradient(sample) takes one sample, ${size} numbers`);
    if (theta && theta.length !== count) {
      throw new RangeError(`gradient(sample, theta): theta has ${theta.length} numbers, and there are ${count} parameters`);
    }
    const x = this.#room(size + 2 * count), at = x + size * bytes, out = at + count * bytes;
    this.#view(x, size).set(flat);
    if (theta) this.#view(at, count).set(theta);
    const value = this.#wasm.gradient(theta ? at : 0, x, out);
    return { value, gradient: this.#view(out, count).slice() };
  }

  /* Put samples into the net's memory for good, so that steps and predictions on them copy nothing. Of samples that
     are trained on, each has its target behind its inputs. */
  place(rows, size = this.#wasm.step ? about.sample_count : about.inputs_count) {
    const flat = Net.#flat(rows, size, "place(rows)");
    const address = this.#room(flat.length);
    this.#view(address, flat.length).set(flat);
    this.#heap = (address + flat.length * Real.BYTES_PER_ELEMENT + 63) & ~63;
    return new Placed(address, flat.length / size, size);
  }

  /* One step of the optimiser on samples, each with its target behind its inputs; returns the mean loss before it.
     NaN says that the loss or its gradient is not finite, or an index out of range; nothing is changed then. */
  step(batch, rate = about.rate) {
    this.#has("step");
    if (batch instanceof Placed) return this.#wasm.step(batch.address, batch.count, rate);
    const flat = Net.#flat(batch, about.sample_count, "step(batch)");
    const x = this.#room(flat.length);
    this.#view(x, flat.length).set(flat);
    return this.#wasm.step(x, flat.length / about.sample_count, rate);
  }

  get parameters() {
    return this.#view(this.#number("parameters"), about.parameters_count).slice();
  }

  set parameters(numbers) {
    if (numbers.length !== about.parameters_count) {
      throw new RangeError(`got ${numbers.length} numbers for ${about.parameters_count} parameters`);
    }
    this.#view(this.#number("parameters"), about.parameters_count).set(numbers);
  }

  /* All that training changes, to be kept and given back: parameters, what the optimiser keeps, and its steps. */
  get state() {
    this.#has("step");
    const memory = Array.from({ length: about.memory }, (_, k) =>
      this.#view(this.#number(`memory${k}`), about.parameters_count).slice());
    return { parameters: this.parameters, memory, steps: this.#steps()[0] };
  }

  set state({ parameters, memory, steps }) {
    this.#has("step");
    if (memory.length !== about.memory || memory.some((kept) => kept.length !== about.parameters_count)) {
      throw new RangeError(`a state has ${about.memory} arrays of ${about.parameters_count} numbers in its memory`);
    }
    this.parameters = parameters;
    memory.forEach((kept, k) => this.#view(this.#number(`memory${k}`), about.parameters_count).set(kept));
    this.#steps()[0] = steps;
  }

  #steps() {
    return new Int32Array(this.#wasm.memory.buffer, this.#number("steps"), 1);
  }

  /* The gradient of the latest step. */
  get gradientOfStep() {
    this.#has("step");
    return this.#view(this.#number("gradient_of_step"), about.parameters_count).slice();
  }

  /* Parameters and optimiser as they were in the file. */
  init() {
    this.#wasm.init();
  }

  /* The numbers of a sample from a record by the names of its columns: texts are looked up, dates taken apart, and what
     is missing (null, undefined, "") is marked so. */
  encode(record) {
    const found = [];
    for (const [name, width] of about.inputs) {
      const cell = record[name], at = found.length, missing = cell === undefined || cell === null || cell === "";
      const texts = about.categories.find((column) => column.at === at);
      const date = about.dates.find((column) => column.at === at);
      if (texts) {
        const k = missing ? -1 : texts.texts.indexOf(String(cell));
        found.push(missing ? -1 : k < 0 ? texts.texts.length : k);
      } else if (date) {
        found.push(...(missing ? date.parts.map(() => NaN) : parts(date, cell)));
      } else if (width === 1) {
        found.push(missing ? NaN : number(cell, name));
      } else {
        found.push(...Array.from(cell, (x) => number(x, name)));
      }
    }
    return found;
  }
}

/* Samples in the net's memory. */
class Placed {
  constructor(address, count, size) {
    Object.assign(this, { address, count, size });
    Object.freeze(this);
  }
}

function number(cell, name) {
  const said = /^(?:(true|yes|y|t)|false|no|n|f)$/i.exec(cell);
  if (said) return said[1] ? 1 : 0;
  const found = Number(cell);
  if (Number.isNaN(found) && !(typeof cell === "number")) {
    throw new TypeError(`column ${JSON.stringify(name)} holds numbers, got ${JSON.stringify(cell)}`);
  }
  return found;
}

/* A date's numbers, from a Date (its time in UTC) or a text such as 2024-05-31 or 2024-05-31T18:30. */
function parts(date, cell) {
  const text = cell instanceof Date ? cell.toISOString() : String(cell);
  const match = /^([+-]?\d{4,6})-(\d\d)-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d(?:\.\d*)?))?)?)?/.exec(text);
  if (!match) throw new TypeError(`${JSON.stringify(text)} is not a date as in 2024-05-31`);
  const [year, month, day, hours, minutes, seconds] = match.slice(1).map((x) => Number(x ?? 0));
  const midnight = new Date(0).setUTCFullYear(year, month - 1, day);
  const days = Math.floor(midnight / 864e5), hour = hours + minutes / 60 + seconds / 3600;
  const says = {
    year, month, hour,
    weekday: (((days + 3) % 7) + 7) % 7,
    elapsed: days - date.day + (hour - date.hour) / 24,
  };
  return date.parts.map((part) => says[part]);
}
