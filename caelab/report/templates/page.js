/* The live parts of a report page: tables that sort and filter, charts, pages of single runs, light and dark.

The page is whole without this script. Every text of the page's author, as a model's name, is put in as text and never
as HTML. What is large (tables, runs, the chart library) lies packed in the page, and is unpacked when it is opened. */
"use strict";
(() => {
const INDEX = JSON.parse(document.getElementById("index").textContent);
const MOST_POINTS = 5000; // of one chart: more cannot be told apart, and take seconds to draw
const comparison = document.querySelector("main");
const runPage = document.getElementById("run-page");

/* ---- elements and texts ---- */

/** An element with attributes (those that start with "on" are listeners) and children, texts or elements. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A drop-down with a label; options are texts, or pairs of value and text. */
function choice(label, options, chosen, changed) {
  const pairs = options.map((each) => (Array.isArray(each) ? each : [each, each]));
  const select = make("select", { "aria-label": label, onchange: () => changed(select.value) });
  select.append(...pairs.map(([value, text]) => make("option", { value }, text)));
  select.value = chosen;
  return make("label", {}, `${label} `, select);
}

/** A box to tick with a label. */
function tick(label, changed) {
  const box = make("input", { type: "checkbox", onchange: () => changed(box.checked) });
  return make("label", {}, box, ` ${label}`);
}

/** A text for the chart library, which reads some HTML: what looks like it stays text. */
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/** Offer a text as a file. */
function save(name, text, type = "text/csv") {
  const address = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

/* ---- what lies packed in the page ---- */

const unpacked = new Map();

/** The text of a packed part of the page: gzip in base64; unpacked once. */
function unpack(id) {
  if (!unpacked.has(id)) {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    unpacked.set(id, new Response(stream).text());
  }
  return unpacked.get(id);
}

/** The rows of a CSV text, each an object of texts by column. */
function parse(csv) {
  const cells = /("(?:[^"]|"")*"|[^,\n]*)(,|\n|$)/g;
  const lines = [[]];
  for (let found; cells.lastIndex < csv.length && (found = cells.exec(csv)); ) {
    const [, cell, end] = found;
    lines.at(-1).push(cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell);
    if (end === "\n") lines.push([]);
  }
  if (lines.at(-1).length === 0) lines.pop();
  const [names, ...rows] = lines;
  return rows.map((row) => Object.fromEntries(names.map((name, place) => [name, row[place]])));
}

/** The chart library, which the page holds once; it runs when the first chart is opened. */
async function library() {
  if (!window.Plotly) document.head.append(make("script", {}, await unpack("packed-library")));
  return window.Plotly;
}

/* ---- light and dark ---- */

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const redraws = new Set(); // what draws each open chart again
const isDark = () => (document.documentElement.dataset.theme || (systemIsDark.matches ? "dark" : "light")) === "dark";
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function themeButton() {
  const button = make("button", { type: "button", class: "theme", onclick: () => set(isDark() ? "light" : "dark") });
  const told = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Show the page ${isDark() ? "light" : "dark"}`);
    redraws.forEach((redraw) => redraw());
  };
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
    told();
  };
  systemIsDark.addEventListener("change", told);
  told();
  document.body.prepend(button);
}

/** A model's colour; one that dark paper would hide (contrast below 3) becomes as light as it was dark. */
function shown(color) {
  const parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16) / 255);
  const luminance = parts.reduce((sum, part, place) => sum + [0.2126, 0.7152, 0.0722][place] * part ** 2.2, 0);
  const [low, high] = [Math.min(...parts), Math.max(...parts)];
  if (!isDark() || luminance > 0.13) return color;
  return `#${parts.map((p) => Math.round(255 * (p + 1 - low - high)).toString(16).padStart(2, "0")).join("")}`;
}

/* ---- tables ---- */

/** Let a table sort by its headings, be filtered, and be saved as it is shown. */
function enliven(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];
  const status = make("span", { role: "status" });
  const filter = make("input", { type: "search", placeholder: "filter rows", "aria-label": "filter rows" });
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    const left = rows.filter((row) => !row.hidden).length;
    status.textContent = words.length ? `${left} of ${rows.length} rows` : "";
  });
  const csv = make("button", { type: "button", onclick: () => save(`${table.dataset.name}.csv`, shownAsCsv(table)) }, "CSV");
  table.closest(".wide").before(make("div", { class: "tools" }, ...(rows.length > 3 ? [filter] : []), status, csv));
  headings.forEach((heading, place) => {
    const text = heading.textContent;
    const sort = () => {
      const next = { ascending: "descending", descending: "none" }[heading.ariaSort] || "ascending";
      for (const each of headings) each.ariaSort = each === heading ? next : "none";
      body.append(...(next === "none" ? rows : sorted(rows, place, next === "ascending" ? 1 : -1)));
    };
    heading.ariaSort = "none";
    heading.replaceChildren(make("button", { type: "button", onclick: sort, title: "sort" }, text));
  });
}

/** The rows in the order of one column: by the true numbers where there are any, which stand before what has none. */
function sorted(rows, place, sign) {
  const key = (row) => row.cells[place].dataset.value;
  const numbers = rows.some((row) => key(row) !== undefined);
  if (!numbers) {
    return [...rows].sort((a, b) => sign * a.cells[place].textContent.localeCompare(b.cells[place].textContent));
  }
  const [there, missing] = [rows.filter((r) => key(r) !== undefined), rows.filter((r) => key(r) === undefined)];
  return [...there.sort((a, b) => sign * (Number(key(a)) - Number(key(b)))), ...missing];
}

/** A text as a cell of CSV. */
const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** A table as CSV, the rows that are shown in the order in which they are; numbers with all their digits. */
function shownAsCsv(table) {
  const line = (cells) => [...cells].map((cell) => quoted(cell.dataset.value ?? cell.textContent)).join(",");
  return [...table.rows].filter((row) => !row.hidden).map((row) => `${line(row.cells)}\n`).join("");
}

/* ---- charts ---- */

/** A column's value as a reader sees it: models have names of their own. */
const named = (column, value) => (column === "model" && INDEX.looks[value] ? INDEX.looks[value].name : value);

/** The rows in groups by the value of a column, in the order in which the values come. */
function grouped(rows, column) {
  const groups = new Map();
  for (const row of rows) {
    const key = column ? row[column] : "";
    if (groups.has(key)) groups.get(key).push(row);
    else groups.set(key, [row]);
  }
  return groups;
}

/** How the line or the dots of a group look; those of a model as in the figures of the paper. */
function look(column, value) {
  const own = column === "model" && INDEX.looks[value];
  if (!own) return {};
  const color = shown(own.color);
  return { marker: { color, symbol: own.symbol, size: 7 }, line: { color, dash: own.dash, width: 1.5 } };
}

const FRAME = { margin: { l: 60, r: 15, t: 35, b: 50 }, hovermode: "closest", dragmode: "zoom" };
const CONFIG = { // nothing that could send a chart anywhere
  displaylogo: false, responsive: true, showSendToCloud: false, plotlyServerURL: "", modeBarButtonsToRemove: ["select2d", "lasso2d"],
};

/** A layout in the page's colours; axes have a title, and a type: "linear", "log" or "category". */
function layout(x, y) {
  const axis = ({ title, type }) => ({
    title: { text: plain(title) }, type, automargin: true, gridcolor: css("--line"), zeroline: false, exponentformat: "power",
  });
  return {
    ...FRAME, xaxis: axis(x), yaxis: axis(y), showlegend: true, paper_bgcolor: css("--paper"), plot_bgcolor: css("--paper"),
    font: { color: css("--ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
    legend: innerWidth < 600 ? { orientation: "h", y: -0.25 } : {},
    hoverlabel: { namelength: -1 },
  };
}

async function draw(place, traces, x, y) {
  const Plotly = await library();
  if (!place.isConnected) return;
  await Plotly.react(place, traces, layout(x, y), CONFIG);
}

/** The mean of y over the rows of each x, from left to right, with how many rows there were. */
function means(rows, x, y, numeric) {
  const found = [...grouped(rows, x)].map(([at, those]) => {
    const values = those.map((row) => row[y]).filter((text) => text !== "").map(Number);
    return { at, count: values.length, mean: values.reduce((sum, value) => sum + value, 0) / values.length };
  });
  const kept = found.filter((each) => each.count && each.at !== "");
  return numeric ? kept.sort((a, b) => Number(a.at) - Number(b.at)) : kept;
}

/** The traces of a chart: a group of rows each, as lines of means, as points, or as boxes. */
function traces(rows, chosen, numeric) {
  return [...grouped(rows, chosen.colour)].map(([value, those]) => {
    const about = { name: plain(named(chosen.colour, value)) || "all", ...look(chosen.colour, value) };
    const told = (x, y, more) => [plain(named(chosen.x, x)), plain(y), plain(more)];
    const at = (text) => (numeric(chosen.x) ? Number(text) : plain(named(chosen.x, text)));
    const template = `${plain(chosen.x)}: %{customdata[0]}<br>${plain(chosen.y)}: %{customdata[1]}%{customdata[2]}`;
    if (chosen.kind === "line") {
      const points = means(those, chosen.x, chosen.y, numeric(chosen.x));
      return {
        ...about, type: "scatter", mode: points.length > 40 ? "lines" : "lines+markers", hovertemplate: template,
        x: points.map((each) => at(each.at)), y: points.map((each) => each.mean),
        customdata: points.map((p) => told(p.at, p.mean, p.count > 1 ? ` (mean of ${p.count})` : "")),
      };
    }
    const kept = those.filter((row) => row[chosen.x] !== "" && row[chosen.y] !== "");
    const some = chosen.kind === "box" ? kept : kept.filter((_, place) => place % Math.ceil(rows.length / MOST_POINTS) === 0);
    const kind = chosen.kind === "box"
      ? { type: "box", boxpoints: kept.length > 300 ? "outliers" : "all", jitter: 0.4, hoverinfo: "y+name" }
      : { type: "scatter", mode: "markers", hovertemplate: template };
    return {
      ...about, ...kind, x: some.map((row) => at(row[chosen.x])), y: some.map((row) => Number(row[chosen.y])),
      customdata: some.map((row) => told(row[chosen.x], row[chosen.y], "seed" in row ? `, seed ${row.seed}` : "")),
    };
  });
}

/** Fill an explorer: what is drawn is chosen by drop-downs that are made from the table's columns. */
async function explore(details) {
  const { name, columns, x, y, kind, selectors, first } = INDEX.explorers[details.dataset.table];
  const headings = new Map(columns.map(([column, heading]) => [column, heading]));
  const numbers = new Set(columns.filter(([, , number]) => number).map(([column]) => column));
  const text = await unpack(`packed-table-${name}`);
  const rows = parse(text);
  const colours = [...headings.keys()].filter((column) => column === "model" || selectors[column]);
  const chosen = { x, y, kind, colour: headings.has("model") ? "model" : colours[0] || "", logs: {}, only: { ...first } };
  const [place, status] = [make("div", { class: "chart" }), make("p", { role: "status", class: "caption" })];
  const redraw = () => {
    const only = Object.entries(chosen.only).filter(([, value]) => value !== "");
    const kept = rows.filter((row) => only.every(([column, value]) => row[column] === value));
    const numeric = (column) => numbers.has(column);
    const type = (column) => (numeric(column) ? (chosen.logs[column] ? "log" : "linear") : "category");
    const axis = (column) => ({ title: headings.get(column), type: type(column) });
    const few = chosen.kind === "points" && kept.length > MOST_POINTS;
    status.textContent = `${kept.length} of ${rows.length} rows${few ? `; about ${MOST_POINTS} of them drawn` : ""}`;
    return draw(place, traces(kept, chosen, numeric), axis(chosen.x), axis(chosen.y));
  };
  const set = (key) => (value) => { chosen[key] = value; redraw(); };
  const log = (key) => (value) => { chosen.logs[chosen[key]] = value; redraw(); };
  const pairs = [...headings];
  const kinds = [["line", "lines of means"], ["points", "points"], ["box", "boxes"]];
  const tools = make("div", { class: "tools" },
    choice("x", pairs, x, set("x")), choice("y", pairs.filter(([column]) => numbers.has(column)), y, set("y")),
    choice("colour", [...colours, ["", "none"]], chosen.colour, set("colour")), choice("draw", kinds, kind, set("kind")),
    ...Object.entries(selectors).map(([column, values]) => choice(
      headings.get(column), [["", "all"], ...values.map((value) => [value, named(column, value)])], first[column] || "",
      (value) => { chosen.only[column] = value; redraw(); })),
    tick("log x", log("x")), tick("log y", log("y")),
    make("button", { type: "button", onclick: () => save(`${name}.csv`, text) }, "CSV"));
  details.append(tools, place, status);
  redraws.add(redraw);
  await redraw();
}

/* ---- pages of single runs ---- */

const RUN = "#run-";
const linkTo = (name, text) => make("a", { href: RUN + encodeURIComponent(name) }, text);

/** A list of names and values. */
const facts = (pairs) => make("dl", {}, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))]));

/** A config's leaves by dotted key. */
function leaves(config, before = "") {
  return Object.entries(config).flatMap(([key, value]) =>
    value && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length
      ? leaves(value, `${before}${key}.`) : [[before + key, typeof value === "string" ? value : JSON.stringify(value)]]);
}

/** The page of the run that the address names, or the comparison. */
async function navigate() {
  const named_ = location.hash.startsWith(RUN);
  redraws.delete(runPage.redraw);
  if (named_) await showRun(decodeURIComponent(location.hash.slice(RUN.length)));
  comparison.hidden = named_;
  runPage.hidden = !named_;
  document.title = named_ ? `${runPage.querySelector("h2").textContent} – ${INDEX.title}` : INDEX.title;
  if (named_) runPage.querySelector("h2").focus();
  else if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
  if (named_) await runPage.redraw?.();
}

async function showRun(name) {
  const runs = JSON.parse(await unpack("packed-runs"));
  const at = runs.findIndex((each) => each.name === name);
  const run = runs[at];
  const back = make("a", { href: "#runs" }, "All runs");
  const beside = [[-1, "previous run"], [1, "next run"]].filter(([step]) => at >= 0 && runs[at + step]);
  const heading = make("h2", { tabindex: "-1" }, run ? run.title : "There is no run of this name on this page");
  const nav = make("nav", { "aria-label": "runs" }, back, ...beside.map(([step, text]) => linkTo(runs[at + step].name, text)));
  runPage.redraw = null;
  runPage.replaceChildren(nav, heading, ...(run ? await partsOf(run) : [make("p", {}, name)]));
}

/** What the page of a run shows, each part where there is something to show. */
async function partsOf(run) {
  const parts = [make("p", {}, "Folder ", make("code", {}, `runs/${run.name}`))];
  const part = (title, ...content) => parts.push(make("h3", {}, title), ...content);
  if (run.problems.length) part("What is missing", make("ul", {}, ...run.problems.map((text) => make("li", {}, text))));
  if (run.losses) part("Losses", ...lossChart(run));
  const pictures = Object.entries(run.pictures);
  const coarse = run.reduced > 1 ? " Made coarser, since the page has many runs; figures/ holds those of the first seed in full." : "";
  if (pictures.length) part("Pictures", ...pictures.map(([title, png]) => make("figure", { class: "small" },
    make("img", { alt: `${title} of ${run.title}`, src: `data:image/png;base64,${png}` }), make("figcaption", {}, title + "." + coarse))));
  const numbers = INDEX.explorers.runs ? parse(await unpack("packed-table-runs")).find((row) => row.run === run.name) : null;
  if (numbers) part("Numbers", facts(Object.entries(numbers).map(([name, value]) => [name, value === "" ? "–" : value])));
  if (run.config) {
    const file = `${run.name}.yaml`;
    part("Settings", facts(leaves(run.config)));
    part("How to repeat it", make("p", {}, make("button", {
      type: "button", onclick: () => save(file, JSON.stringify(run.config, null, 2) + "\n", "text/plain") }, "config"),
      " saves its config; then: ", make("code", {}, `caelab train ${file}`)), facts([...Object.entries(run.versions), ...Object.entries(run.facts)]));
  }
  return parts;
}

/** The losses of every epoch as lines; the legend hides and shows them. */
function lossChart(run) {
  const { epoch, ...losses } = run.losses;
  const place = make("div", { class: "chart" });
  let type = "linear";
  runPage.redraw = () => draw(place, Object.entries(losses).map(([name, values]) => ({
    name: plain(name), x: epoch || values.map((_, at) => at + 1), y: values, type: "scatter", mode: "lines+markers",
    customdata: values.map((value) => [value]), hovertemplate: "epoch %{x}: %{customdata[0]}",
  })), { title: "epoch", type: "linear" }, { title: "mean over the epoch", type });
  redraws.add(runPage.redraw);
  const csv = () => save(`${run.name}-losses.csv`, [Object.keys(run.losses).map(quoted).join(","), ...Object.values(run.losses)[0].map(
    (_, at) => Object.values(run.losses).map((values) => values[at] ?? "").join(","))].join("\n") + "\n");
  const tools = make("div", { class: "tools" }, tick("log y", (on) => { type = on ? "log" : "linear"; runPage.redraw(); }),
    make("button", { type: "button", onclick: csv }, "CSV"));
  const fewer = run.losses.epoch?.length < run.epochs ? ` ${run.losses.epoch.length} of ${run.epochs} epochs.` : "";
  return [tools, place, make("p", { class: "caption" }, `Six digits of each number; history.parquet has all.${fewer}`)];
}

/* ---- start ---- */

themeButton();
for (const table of document.querySelectorAll("table[data-name]")) {
  const closed = table.closest("details:not([open])"); // the table of all runs may be long
  if (closed) closed.addEventListener("toggle", () => enliven(table), { once: true });
  else enliven(table);
}
for (const details of document.querySelectorAll("details.explorer")) {
  details.hidden = false;
  details.addEventListener("toggle", () => explore(details), { once: true });
}
if (runPage) {
  for (const cell of document.querySelectorAll("th[data-run]")) cell.replaceChildren(linkTo(cell.dataset.run, cell.textContent));
  addEventListener("hashchange", navigate);
  if (location.hash.startsWith(RUN)) navigate();
}
})();
