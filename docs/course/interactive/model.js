/* The models: h = s(W x + b), y = s(Wᵀ h + c), from the weights that the page holds. */

const FACTS = JSON.parse(document.getElementById("facts").textContent);
const UNITS = FACTS.hidden;
const [HEIGHT, WIDTH] = FACTS.shape;
const INPUTS = HEIGHT * WIDTH;
const EXAMPLES = FACTS.labels.length;
const MODELS = FACTS.lambdas.length * FACTS.sigmas.length;

const sigmoid = (t) => 1 / (1 + Math.exp(-t));
const softplus = (t) => Math.max(t, 0) + Math.log1p(Math.exp(-Math.abs(t)));

/** The packed arrays of the page: gzip in base64, floats in 32 bits, then the levels of all weights in 8. */
async function unpacked() {
  const bytes = Uint8Array.from(atob(document.getElementById("weights").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  let at = 0;
  const take = (count) => {
    const found = Float64Array.from(new Float32Array(buffer, at, count));
    at += 4 * count;
    return found;
  };
  return {
    scale: take(MODELS * UNITS),
    bias: take(MODELS * UNITS),
    visible: take(MODELS * INPUTS),
    examples: take(EXAMPLES * INPUTS),
    levels: new Int8Array(buffer, at),
  };
}

/** One model, which computes what it is asked for and no more. */
class Model {
  constructor(parts, at) {
    this.weight = new Float64Array(INPUTS * UNITS); // Wᵀ: the weights of a pixel side by side
    for (let j = 0; j < UNITS; j++) {
      const start = (at * UNITS + j) * INPUTS;
      for (let i = 0; i < INPUTS; i++) this.weight[i * UNITS + j] = parts.scale[at * UNITS + j] * parts.levels[start + i];
    }
    this.bias = parts.bias.subarray(at * UNITS, (at + 1) * UNITS);
    this.visible = parts.visible.subarray(at * INPUTS, (at + 1) * INPUTS);
    this.gram = this.products();
  }

  /** W Wᵀ, units × units. */
  products() {
    const found = new Float64Array(UNITS * UNITS);
    for (let i = 0; i < INPUTS; i++) {
      const row = this.weight.subarray(i * UNITS, (i + 1) * UNITS);
      for (let j = 0; j < UNITS; j++) for (let k = 0; k <= j; k++) found[j * UNITS + k] += row[j] * row[k];
    }
    for (let j = 0; j < UNITS; j++) for (let k = 0; k < j; k++) found[k * UNITS + j] = found[j * UNITS + k];
    return found;
  }

  /** W x of every row of x, without the bias. */
  along(x) {
    const rows = x.length / INPUTS;
    const found = new Float64Array(rows * UNITS);
    const weight = this.weight;
    for (let row = 0; row < rows; row++) {
      const z = found.subarray(row * UNITS, (row + 1) * UNITS);
      for (let i = 0; i < INPUTS; i++) {
        const value = x[row * INPUTS + i];
        if (value === 0) continue;
        for (let j = 0, w = i * UNITS; j < UNITS; j++, w++) z[j] += value * weight[w];
      }
    }
    return found;
  }

  /** W x + b of every row of x. */
  preactivations(x) {
    const z = this.along(x);
    for (let at = 0; at < z.length; at++) z[at] += this.bias[at % UNITS];
    return z;
  }

  encode(x) {
    return this.preactivations(x).map(sigmoid);
  }

  /** The logits Wᵀ h + c of every row of h. */
  logits(h) {
    const rows = h.length / UNITS;
    const found = new Float64Array(rows * INPUTS);
    const { weight, visible } = this;
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < INPUTS; i++) {
        let sum = visible[i];
        for (let j = 0, w = i * UNITS, c = row * UNITS; j < UNITS; j++, w++, c++) sum += weight[w] * h[c];
        found[row * INPUTS + i] = sum;
      }
    }
    return found;
  }

  reconstruct(x) {
    return this.logits(this.encode(x)).map(sigmoid);
  }

  /** The weights of unit j as a picture. */
  filter(j) {
    return Float64Array.from({ length: INPUTS }, (_, i) => this.weight[i * UNITS + j]);
  }
}
