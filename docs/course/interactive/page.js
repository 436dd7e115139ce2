/* The page: one state, which every control changes, and panels that are drawn from it. */

const SHOWN_TANGENTS = Math.min(6, UNITS, INPUTS);
const STATIONS = [-1, -0.5, 0, 0.5, 1];
const OPENING = { lambda: FACTS.lambdas.length > 1 ? FACTS.lambdas.at(-3) ?? FACTS.lambdas.at(-1) : 0, pin: `${FACTS.lambdas[0]},${FACTS.sigmas[0]}` };
const at = (id) => document.getElementById(id);
const named = ({ lambda, sigma }) => `λ = ${FACTS.lambdas[lambda]}, σ = ${FACTS.sigmas[sigma]}`;

let parts, examples, reach, distance;
let state;
const measuredModels = new Map();

/** Everything that is known of one setting; the model is unpacked when it is first asked for. */
function measured({ lambda, sigma }) {
  const place = sigma * FACTS.lambdas.length + lambda;
  if (!measuredModels.has(place)) measuredModels.set(place, new Measured(new Model(parts, place), examples));
  return measuredModels.get(place);
}

/* ---- panels ---- */

function drawControls() {
  for (const [name, values] of [["lambda", FACTS.lambdas], ["sigma", FACTS.sigmas]]) {
    at(name).value = state[name];
    at(name).setAttribute("aria-valuetext", String(values[state[name]]));
    at(`${name}-value`).textContent = values[state[name]];
  }
  at("noise").value = state.noise;
  at("noise").setAttribute("aria-valuetext", String(state.noise));
  at("noise-value").textContent = state.noise;
  at("relative").checked = Boolean(state.relative);
  at("own").checked = Boolean(state.own);
  at("map-measure").value = state.map;
  at("unpin").hidden = !state.pin;
  for (const each of document.querySelectorAll("[data-pinned]")) each.hidden = !state.pin;
  for (const each of document.querySelectorAll(".pinned-name")) each.textContent = state.pin ? `pinned: ${named(state.pin)}` : "";
  for (const each of document.querySelectorAll(".current-name")) each.textContent = named(state);
}

function drawExamples() {
  const first = state.example - (state.example % FACTS.row);
  const shown = [...Array(Math.min(FACTS.row, EXAMPLES - first)).keys()].map((each) => first + each);
  const buttons = shown.map((one) => {
    const canvas = element("canvas", { "aria-hidden": "true" });
    sheet(canvas, [examples.one(one)], 1, [0, 1]);
    const label = FACTS.labels[one] ? `example ${one}, class ${FACTS.labels[one]}` : `example ${one}`;
    const pressed = String(one === state.example);
    return element("button", { type: "button", "aria-pressed": pressed, "aria-label": label, "data-example": one, onclick: () => change({ example: one }) }, canvas);
  });
  const focused = document.activeElement?.dataset?.example;
  at("examples").replaceChildren(...buttons);
  if (focused !== undefined) (buttons.find((each) => each.dataset.example === focused) ?? buttons[0]).focus();
}

function drawSpectrum(now, pinned) {
  const { mean: means, low, high } = now.spectra;
  const ranks = means.map((_, k) => k + 1);
  const lines = [{ x: ranks, y: [...now.spectrum(state.example)], kind: "one" }];
  if (pinned) lines.push({ x: ranks, y: pinned.spectra.mean, kind: "pinned" });
  lines.push({ x: ranks, y: means, kind: "current" });
  const last = Math.max(2, ranks.length);
  const ticks = [1, ...linearTicks([1, last]).filter((each) => each > last / 10)];
  chart(at("spectrum"), {
    x: { scale: "linear", ends: [1, last], ticks, label: "rank k" },
    y: { scale: "log", ends: FACTS.scales.spectrum, label: "singular value sₖ" },
    bands: [{ x: ranks, low, high, kind: "current" }],
    lines,
  });
  at("spectrum").setAttribute("aria-label", `Mean singular values, ${named(state)}: ${means.slice(0, 5).map((each) => short(each)).join(", ")} and so on to ${short(means.at(-1))}`);
  listed("spectrum-table", ["rank", "mean", "this example", "pinned mean"], ranks.map((k, i) => [k, means[i], now.spectrum(state.example)[i], pinned?.spectra.mean[i]]));
}

function drawCurve(now, pinned) {
  const scaled = (values) => (state.relative ? values.map((each) => each / values[0]) : values);
  const pair = (from, kind) => [
    { x: FACTS.radii, y: scaled(from.curve.others), kind: `${kind} others`, marker: "circle" },
    { x: FACTS.radii, y: scaled(from.curve.random), kind: `${kind} random`, marker: "square" },
  ];
  const far = FACTS.radii.at(-1);
  chart(at("curve"), {
    x: { scale: "asinh", ends: [0, far], ticks: [0, 1, 2, 5, 10, 20, 50].filter((each) => each <= far), label: "radius r (input units)" },
    y: state.relative
      ? { scale: "linear", ends: FACTS.scales.relative, label: "ratio / ratio at r → 0" }
      : { scale: "log", ends: FACTS.scales.curve, label: "‖f(x + r u) − f(x)‖ / r" },
    lines: [...(pinned ? pair(pinned, "pinned") : []), ...pair(now, "current")],
    marks: distance < far ? [{ x: distance, text: "mean distance" }] : [],
  });
  const { others, random } = now.curve;
  at("curve").setAttribute("aria-label", `Contraction curve, ${named(state)}: at radius 0 ${short(others[0])} toward other examples and ${short(random[0])} in random directions, at radius ${far} ${short(others.at(-1))} and ${short(random.at(-1))}`);
  listed("curve-table", ["radius", "toward others", "random", "pinned toward others", "pinned random"], FACTS.radii.map((r, i) => [r, others[i], random[i], pinned?.curve.others[i], pinned?.curve.random[i]]));
}

/** A table of a chart's numbers, for who wants them and who cannot see the chart; filled only while it is open. */
function listed(id, heads, rows) {
  const details = at(id);
  const kept = heads.length - (state.pin ? 0 : heads.filter((each) => each.startsWith("pinned")).length);
  details.fill = () => details.querySelector("table").replaceChildren(
    element("thead", {}, element("tr", {}, ...heads.slice(0, kept).map((each) => element("th", { scope: "col" }, each)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.slice(0, kept).map((each) => element("td", {}, Number.isInteger(each) ? String(each) : each.toPrecision(5)))))),
  );
  if (details.open) details.fill();
}

function drawTangents(now, pinned) {
  const found = now.tangents(state.example, SHOWN_TANGENTS);
  const cells = found.map(({ value, picture }, k) => {
    const canvas = element("canvas", { "aria-hidden": "true" });
    sheet(canvas, [picture], 1, null);
    const label = `tangent ${k + 1}, singular value ${short(value)}`;
    return element("button", { type: "button", "aria-pressed": String(k + 1 === state.tangent), "aria-label": label, "data-tangent": k + 1, onclick: () => change({ tangent: k + 1 }) },
      canvas, element("span", {}, `s${"₁₂₃₄₅₆"[k]} ${short(value, 2)}`));
  });
  const focused = document.activeElement?.dataset?.tangent;
  at("tangents").replaceChildren(...cells);
  if (focused !== undefined) cells[focused - 1]?.focus();
  const held = pinned ? pinned.tangents(state.example, SHOWN_TANGENTS) : [];
  pictures(at("tangents-pinned"), held.map((each) => each.picture), null, (k) => `pinned tangent ${k + 1}, singular value ${short(held[k].value)}`);
  const [x, v] = [examples.one(state.example), found[state.tangent - 1].picture];
  pictures(at("walk"), STATIONS.map((t) => x.map((value, i) => value + t * reach * v[i])), [0, 1], (k) => `the example moved by ${STATIONS[k] * reach} along tangent ${state.tangent}`);
  at("walk-name").textContent = `x + t v${"₁₂₃₄₅₆"[state.tangent - 1]}, t = ${STATIONS.map((t) => t * reach).join(", ").replaceAll("-", "−")}`;
}

function drawFilters(now, pinned) {
  const limits = state.own ? null : FACTS.scales.filter;
  for (const [id, of, name] of [["filters", now, named(state)], ["filters-pinned", pinned, state.pin && named(state.pin)]]) {
    if (!of) continue;
    sheet(at(id), [...Array(UNITS).keys()].map((j) => of.model.filter(j)), Math.min(10, UNITS), limits);
    at(id).setAttribute("aria-label", `The weights of all ${UNITS} units as pictures, ${name}`);
  }
}

function drawReconstructions(now, pinned) {
  const first = state.example - (state.example % FACTS.row);
  const count = Math.min(FACTS.row, EXAMPLES - first);
  const cut = (values) => values.subarray(first * INPUTS, (first + count) * INPUTS);
  const clean = cut(examples.inputs);
  const noisy = cut(examples.corrupted(state.noise));
  const rows = { "row-clean": clean, "row-noisy": noisy, "row-r-clean": now.model.reconstruct(clean), "row-r-noisy": now.model.reconstruct(noisy) };
  if (pinned) Object.assign(rows, { "row-p-clean": pinned.model.reconstruct(clean), "row-p-noisy": pinned.model.reconstruct(noisy) });
  for (const [id, values] of Object.entries(rows)) {
    const tiles = [...Array(count).keys()].map((one) => values.subarray(one * INPUTS, (one + 1) * INPUTS));
    pictures(at(id), tiles, [0, 1], (one) => `${at(id).dataset.name}, example ${first + one}`);
    [...at(id).children].forEach((canvas, one) => canvas.classList.toggle("chosen", first + one === state.example));
  }
}

/** The numbers of the table: what they are called, how they are computed, how they are written. */
const NUMBERS = [
  ["mean-norm", (of) => of.meanNorm],
  ["mean-squared-norm", (of) => mean(of.squaredNorms)],
  ["mean-squared-entry", (of) => mean(of.squaredNorms) / (UNITS * INPUTS)],
  ["effective-rank", (of) => of.effectiveRank],
  ["saturated", (of) => 100 * of.saturated],
  ["error", (of) => of.error(0)],
  ["noisy-error", (of) => of.error(state.noise)],
];

function drawNumbers(now, pinned) {
  for (const [name, compute] of NUMBERS) {
    const value = compute(now);
    at(name).textContent = wide(value);
    at(name).dataset.value = value;
    at(`${name}-pinned`).textContent = pinned ? wide(compute(pinned)) : "";
    at(`${name}-ratio`).textContent = pinned ? ratio(value, compute(pinned)) : "";
  }
  at("noise-named").textContent = state.noise;
  at("said").textContent = `${named(state)}: mean norm of the Jacobian ${short(now.meanNorm)}, reconstruction error ${short(now.error(0))}`;
}

/** A number with three or four digits. */
const wide = (value) => (value && Math.abs(value) < 1e-2 ? value.toExponential(2) : value.toPrecision(4));

const ratio = (value, by) => (by ? `×${short(value / by)}` : "–");

/* ---- the map of all settings ---- */

const MAPPED = { norm: (of) => of.meanNorm, rank: (of) => of.effectiveRank, error: (of) => of.error(0), noisy: (of) => of.error(state.noise) };

function makeMap() {
  const head = element("tr", {}, element("th", { scope: "col" }, "σ \\ λ"), ...FACTS.lambdas.map((each) => element("th", { scope: "col" }, String(each))));
  const rows = FACTS.sigmas.map((sigma, s) => element("tr", {}, element("th", { scope: "row" }, String(sigma)), ...FACTS.lambdas.map((lambda, l) =>
    element("td", {}, element("button", { type: "button", "data-cell": `${l},${s}`, onclick: () => change({ lambda: l, sigma: s }) }, "…")))));
  at("map").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
}

/** Write what is known into the map; the rest is computed while nothing else happens. */
function drawMap() {
  const cells = [...document.querySelectorAll("[data-cell]")];
  const values = new Map();
  let missing = null;
  for (const cell of cells) {
    const [lambda, sigma] = cell.dataset.cell.split(",").map(Number);
    const known = measuredModels.get(sigma * FACTS.lambdas.length + lambda);
    const key = `map ${state.map} ${state.map === "noisy" ? `${state.noise} ${state.draw}` : ""}`;
    if (known?.kept.has(key)) values.set(cell, known.kept.get(key));
    else missing ??= () => measured({ lambda, sigma }).once(key, () => MAPPED[state.map](measured({ lambda, sigma })));
  }
  paintMap(cells, values);
  missing ??= ahead();
  if (missing) later(missing);
}

/** What a step of a slider will ask for and is not known yet, the nearest setting first. */
function ahead() {
  const settings = FACTS.sigmas.flatMap((_, sigma) => FACTS.lambdas.map((_, lambda) => ({ lambda, sigma })));
  const steps = (one) => Math.abs(one.lambda - state.lambda) + Math.abs(one.sigma - state.sigma);
  for (const one of settings.sort((a, b) => steps(a) - steps(b))) {
    const part = ["spectra", "curve"].find((each) => !measured(one).kept.has(each));
    if (part) return () => measured(one)[part];
  }
  return null;
}

function paintMap(cells, values) {
  const [low, high] = [Math.min(...values.values()), Math.max(...values.values())];
  for (const cell of cells) {
    const [lambda, sigma] = cell.dataset.cell.split(",").map(Number);
    const value = values.get(cell);
    const share = value === undefined ? 0 : (value - low) / (high - low || 1);
    cell.style.setProperty("--share", share.toFixed(3));
    cell.textContent = value === undefined ? "…" : value.toPrecision(value < 1 ? 2 : 3);
    cell.setAttribute("aria-label", `${named({ lambda, sigma })}: ${value === undefined ? "not yet computed" : short(value)}`);
    cell.setAttribute("aria-pressed", String(lambda === state.lambda && sigma === state.sigma));
    cell.classList.toggle("is-pinned", Boolean(state.pin) && lambda === state.pin.lambda && sigma === state.pin.sigma);
  }
}

let waiting = false;

/** Do one thing and draw the map again, when the browser has nothing else to do. */
function later(compute) {
  if (waiting) return;
  waiting = true;
  const idle = window.requestIdleCallback ?? ((call) => setTimeout(call, 30));
  idle(() => {
    waiting = false;
    compute();
    drawMap();
  });
}

/* ---- one change, one drawing ---- */

function draw() {
  if (examples.noiseSeed !== NOISE_SEED + state.draw - 1) examples.redraw(NOISE_SEED + state.draw - 1);
  const now = measured(state);
  const pinned = state.pin ? measured(state.pin) : null;
  drawControls();
  drawExamples();
  for (const panel of [drawSpectrum, drawCurve, drawTangents, drawFilters, drawReconstructions, drawNumbers]) panel(now, pinned);
  drawMap();
}

function change(part) {
  Object.assign(state, part);
  history.replaceState(null, "", fragmentOf(state));
  draw();
}

/** The state of the address; without one, a comparison to begin with. */
function read() {
  state = stateOf(location.hash || `#lambda=${OPENING.lambda}&pin=${OPENING.pin}`);
  draw();
}

function listen() {
  for (const name of ["lambda", "sigma"]) at(name).addEventListener("input", () => change({ [name]: Number(at(name).value) }));
  at("noise").addEventListener("input", () => change({ noise: Number(at("noise").value) }));
  at("relative").addEventListener("change", () => change({ relative: Number(at("relative").checked) }));
  at("own").addEventListener("change", () => change({ own: Number(at("own").checked) }));
  at("map-measure").addEventListener("change", () => change({ map: at("map-measure").value }));
  at("pin").addEventListener("click", () => change({ pin: { lambda: state.lambda, sigma: state.sigma } }));
  at("unpin").addEventListener("click", () => { change({ pin: null }); at("pin").focus(); });
  at("redraw").addEventListener("click", () => change({ draw: state.draw + 1 }));
  at("more").addEventListener("click", () => change({ example: (state.example + FACTS.row) % EXAMPLES }));
  at("theme").addEventListener("change", () => { document.documentElement.dataset.theme = at("theme").value; });
  for (const each of document.querySelectorAll("details.numbers")) each.addEventListener("toggle", () => each.open && each.fill());
  window.addEventListener("hashchange", read);
  let width = window.innerWidth; // on a phone the height changes with every scroll
  window.addEventListener("resize", () => {
    if (width !== window.innerWidth) requestAnimationFrame(draw);
    width = window.innerWidth;
  });
}

async function start() {
  parts = await unpacked();
  examples = new Examples(parts.examples);
  distance = mean(examples.others.flat().map(([, each]) => each));
  reach = Number((0.6 * distance).toPrecision(1));
  makeMap();
  listen();
  read();
  document.body.dataset.ready = "yes";
}

/** For the console: everything that the page shows, and the classes that compute it. */
window.lab = { facts: FACTS, measured: (lambda, sigma) => measured({ lambda: nearest(FACTS.lambdas, lambda), sigma: nearest(FACTS.sigmas, sigma) }), get state() { return state; }, get examples() { return examples; }, eigenvalues, eigenvectors };

start().catch((error) => {
  document.body.dataset.ready = "no";
  at("said").classList.remove("unseen");
  at("said").textContent = `This page cannot be shown: ${error.message}. It needs a browser of 2023 or later.`;
  throw error;
});
