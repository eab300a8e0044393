// The page: shows the worker's training, and controls it. Names from a table are only ever used as text.
"use strict";
const $ = (id) => document.getElementById(id);
const content = JSON.parse($("content").textContent);
const GRID = 50, EDGE = 1.15; // points across the field, and its size relative to the data
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#6a51a3", "#737373", "#b2182b"];
const DATA = {
  moons: "Moons", circles: "Circles", xor: "Exclusive or", spirals: "Spirals", three: "Three clusters", five: "Five clusters",
  plane: "A plane (numbers)", hills: "Hills (numbers)",
};
const RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3];
const state = {
  set: "moons", samples: 200, noise: 0.1, share: 0.5, seed: 1, widths: [8, 8], activation: "tanh",
  features: content.features.map((_, k) => k < 2), rate: 0.1, batch: 0, penalty: "none", strength: 0.001, chosen: null,
};
let worker = null, table = null, points = null, net = null, last = null, past = [], playing = false, dirty = false, lines = [], run = 0;
