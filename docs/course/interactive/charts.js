/* Line charts in SVG; colours and dashes come from the style sheet, so that they follow light and dark. */

const MARGIN = { left: 56, right: 12, top: 10, bottom: 42 };

const SCALES = {
  linear: { to: (value) => value },
  log: { to: (value) => Math.log(value) },
  asinh: { to: (value) => Math.asinh(value) }, // linear near 0, logarithmic beyond 1
};

/** Round numbers 1 and 3 times a power of ten within the ends of an axis. */
function logTicks([low, high]) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    found.push(...[1, 3].map((digit) => Number(`${digit}e${power}`)));
  }
  return found.filter((each) => each >= low * 0.999 && each <= high * 1.001);
}

/** Some five round numbers within the ends of an axis. */
function linearTicks([low, high]) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  return Array.from({ length: Math.floor(high / step) + 1 }, (_, at) => Number((at * step).toPrecision(6))).filter((each) => each >= low);
}

const svgElement = (tag, attributes, text = "") => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
};

/** An axis: where its values stand in pixels. */
function placed({ scale, ends, ticks, label }, from, to) {
  const [low, high] = ends.map(SCALES[scale].to);
  const at = (value) => {
    const share = (SCALES[scale].to(scale === "log" ? Math.max(value, 1e-300) : value) - low) / (high - low);
    return from + Math.max(share, -9) * (to - from); // a value of 0 has a place on a logarithmic axis, far below it
  };
  return { at, ticks: ticks ?? (scale === "log" ? logTicks(ends) : linearTicks(ends)), label };
}

/**
 * Draw a chart anew.
 *
 * lines: {x, y, kind} with kind a class of the style sheet; bands: {x, low, high}; marks: {x, text}, vertical lines.
 */
function chart(svg, { x, y, lines, bands = [], marks = [] }) {
  const [width, height] = [svg.clientWidth || 400, svg.clientHeight || 260];
  const across = placed(x, MARGIN.left, width - MARGIN.right);
  const up = placed(y, height - MARGIN.bottom, MARGIN.top);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(clip(svg.id, width, height), ...axes(across, up, width, height));
  const path = (xs, ys) => xs.map((value, at) => `${across.at(value).toFixed(1)},${up.at(ys[at]).toFixed(1)}`).join(" ");
  for (const mark of marks) svg.append(...vertical(mark, across, height));
  const plot = svg.appendChild(svgElement("g", { "clip-path": `url(#${svg.id}-clip)` }));
  for (const band of bands) {
    const back = path([...band.x].reverse(), [...band.low].reverse());
    plot.append(svgElement("polygon", { class: `band ${band.kind}`, points: `${path(band.x, band.high)} ${back}` }));
  }
  for (const line of lines) {
    plot.append(svgElement("polyline", { class: `line ${line.kind}`, points: path(line.x, line.y) }));
    if (line.marker) plot.append(...markers(line, across, up));
  }
}

/** What lies outside the axes is cut off, but for half a marker. */
function clip(id, width, height) {
  const made = svgElement("clipPath", { id: `${id}-clip` });
  const [x, y] = [MARGIN.left - 4, MARGIN.top - 4];
  made.append(svgElement("rect", { x, y, width: width - MARGIN.right + 4 - x, height: height - MARGIN.bottom - y }));
  return made;
}

function axes(across, up, width, height) {
  const [left, right, low, high] = [MARGIN.left, width - MARGIN.right, height - MARGIN.bottom, MARGIN.top];
  const made = [];
  for (const tick of up.ticks) {
    made.push(svgElement("line", { class: "grid", x1: left, x2: right, y1: up.at(tick), y2: up.at(tick) }));
    made.push(svgElement("text", { class: "tick", x: left - 6, y: up.at(tick) + 4, "text-anchor": "end" }, short(tick)));
  }
  for (const tick of across.ticks) {
    made.push(svgElement("line", { class: "grid", y1: low, y2: low + 4, x1: across.at(tick), x2: across.at(tick) }));
    made.push(svgElement("text", { class: "tick", x: across.at(tick), y: low + 17, "text-anchor": "middle" }, short(tick)));
  }
  made.push(svgElement("path", { class: "frame", d: `M${left},${high}V${low}H${right}` }));
  made.push(svgElement("text", { class: "name", x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, across.label));
  const turned = `rotate(-90 13 ${(low + high) / 2})`;
  made.push(svgElement("text", { class: "name", x: 13, y: (low + high) / 2, transform: turned, "text-anchor": "middle" }, up.label));
  return made;
}

function vertical({ x, text }, across, height) {
  const at = across.at(x);
  const label = { class: "tick", x: at - 4, y: height - MARGIN.bottom - 6, "text-anchor": "end" };
  return [
    svgElement("line", { class: "mark", x1: at, x2: at, y1: MARGIN.top, y2: height - MARGIN.bottom }),
    svgElement("text", label, text),
  ];
}

function markers(line, across, up) {
  return line.x.map((value, at) => {
    const [cx, cy] = [across.at(value), up.at(line.y[at])];
    return line.marker === "square"
      ? svgElement("rect", { class: `point ${line.kind}`, x: cx - 2.5, y: cy - 2.5, width: 5, height: 5 })
      : svgElement("circle", { class: `point ${line.kind}`, cx, cy, r: 3 });
  });
}

/** A number with three digits, or as many as are asked for, without needless zeros. */
function short(value, digits = 3) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000 || size < 1e-3) return value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}
