/* What is chosen. It is kept in the fragment of the page's address, so that a link leads to a setting. */

const START = { lambda: 0, sigma: 0, noise: 0.5, example: 0, tangent: 1, pin: "", relative: 0, own: 0, draw: 1, map: "norm" };
const MEASURES = ["norm", "rank", "error", "noisy"];

/** The place of the nearest value. */
function nearest(values, wanted) {
  return values.reduce((best, each, at) => (Math.abs(each - wanted) < Math.abs(values[best] - wanted) ? at : best), 0);
}

/** A number of the fragment within its ends, or the one to start with where none can be read. */
function number(text, start, low, high) {
  const value = Number.parseFloat(text);
  return Number.isFinite(value) ? Math.min(Math.max(value, low), high) : start;
}

/** What a fragment says; what it leaves out is as at the start, and what it says wrongly is as near as can be. */
function stateOf(fragment) {
  const said = new URLSearchParams(fragment.replace(/^#/, ""));
  const whole = (name, low, high) => Math.round(number(said.get(name), START[name], low, high));
  const pinned = /^([\d.eE+-]+),([\d.eE+-]+)$/.exec(said.get("pin") ?? "");
  const at = (values, text) => nearest(values, number(text, 0, 0, Infinity));
  return {
    lambda: at(FACTS.lambdas, said.get("lambda")),
    sigma: at(FACTS.sigmas, said.get("sigma")),
    noise: Math.round(20 * number(said.get("noise"), START.noise, 0, 1)) / 20,
    example: whole("example", 0, EXAMPLES - 1),
    tangent: whole("tangent", 1, SHOWN_TANGENTS),
    pin: pinned ? { lambda: at(FACTS.lambdas, pinned[1]), sigma: at(FACTS.sigmas, pinned[2]) } : null,
    relative: whole("relative", 0, 1),
    own: whole("own", 0, 1),
    draw: whole("draw", 1, 9999),
    map: MEASURES.includes(said.get("map")) ? said.get("map") : START.map,
  };
}

/** The fragment of a state: the two values always, and what differs from the start. */
function fragmentOf(state) {
  const pin = state.pin ? `${FACTS.lambdas[state.pin.lambda]},${FACTS.sigmas[state.pin.sigma]}` : "";
  const parts = { ...state, lambda: FACTS.lambdas[state.lambda], sigma: FACTS.sigmas[state.sigma], pin };
  const said = Object.entries(parts).filter(([name, value]) => name === "lambda" || name === "sigma" || value !== START[name]);
  return `#${said.map(([name, value]) => `${name}=${value}`).join("&")}`;
}
