/* What the page shows of a model. Everything follows from J = diag(h (1 - h)) W, the Jacobian of h = s(W x + b). */

const DIRECTIONS = 4; // for each example
const RANDOM_SEED = 1;
const NOISE_SEED = 2;

/** Linear interpolation between sorted values, as numpy and torch have it. */
function quantile(values, share) {
  const sorted = Float64Array.from(values).sort();
  const place = share * (sorted.length - 1);
  const low = Math.floor(place);
  return sorted[low] + (place - low) * (sorted[Math.ceil(place)] - sorted[low]);
}

const mean = (values) => values.reduce((sum, each) => sum + each, 0) / values.length;

/** The examples, and everything that is drawn once: unit directions and noise. */
class Examples {
  constructor(inputs) {
    this.inputs = inputs;
    this.random = normals(RANDOM_SEED, EXAMPLES * DIRECTIONS * INPUTS);
    for (let at = 0; at < this.random.length; at += INPUTS) {
      const u = this.random.subarray(at, at + INPUTS);
      const length = Math.hypot(...u);
      for (let i = 0; i < INPUTS; i++) u[i] /= length;
    }
    const draw = uniform(RANDOM_SEED);
    this.others = Array.from({ length: EXAMPLES }, (_, one) => this.otherExamples(one, draw));
    this.redraw(NOISE_SEED);
  }

  redraw(seed) {
    this.noise = normals(seed, EXAMPLES * INPUTS);
    this.noiseSeed = seed;
  }

  one(at) {
    return this.inputs.subarray(at * INPUTS, (at + 1) * INPUTS);
  }

  /** Some other examples, each once, and how far they are: copies are left out. */
  otherExamples(one, draw) {
    const found = new Map();
    for (let trial = 0; trial < 50 && found.size < Math.min(DIRECTIONS, EXAMPLES - 1); trial++) {
      const other = Math.floor(draw() * EXAMPLES);
      let square = 0;
      for (let i = 0; i < INPUTS; i++) square += (this.inputs[other * INPUTS + i] - this.inputs[one * INPUTS + i]) ** 2;
      if (square > 1e-9) found.set(other, Math.sqrt(square));
    }
    return [...found];
  }

  /** x + s ε, not clipped, for every example. */
  corrupted(s) {
    return this.inputs.map((value, at) => value + s * this.noise[at]);
  }
}

/** What is known of one model on the examples; each part is computed when it is first asked for. */
class Measured {
  constructor(model, examples) {
    [this.model, this.examples, this.kept] = [model, examples, new Map()];
  }

  once(name, compute) {
    if (!this.kept.has(name)) this.kept.set(name, compute());
    return this.kept.get(name);
  }

  get preactivations() {
    return this.once("z", () => this.model.preactivations(this.examples.inputs));
  }

  get codes() {
    return this.once("h", () => this.preactivations.map(sigmoid));
  }

  /** h (1 - h) of one example. */
  slopes(at) {
    return this.codes.subarray(at * UNITS, (at + 1) * UNITS).map((h) => h * (1 - h));
  }

  /** J Jᵀ = D W Wᵀ D of one example, D = diag(h (1 - h)). */
  gram(at) {
    const slope = this.slopes(at);
    const found = new Float64Array(UNITS * UNITS);
    for (let j = 0, place = 0; j < UNITS; j++) {
      for (let k = 0; k < UNITS; k++, place++) found[place] = this.model.gram[place] * slope[j] * slope[k];
    }
    return found;
  }

  /** The singular values of J at one example, descending. */
  spectrum(at) {
    return this.once(`spectrum ${at}`, () => eigenvalues(this.gram(at), UNITS).subarray(0, Math.min(UNITS, INPUTS)).map(root));
  }

  /** By rank, the mean of the singular values over the examples and the quantiles 10 and 90 %. */
  get spectra() {
    return this.once("spectra", () => {
      const all = Array.from({ length: EXAMPLES }, (_, at) => this.spectrum(at));
      const ranks = [...all[0].keys()].map((k) => all.map((each) => each[k]));
      return { mean: ranks.map(mean), low: ranks.map((r) => quantile(r, 0.1)), high: ranks.map((r) => quantile(r, 0.9)) };
    });
  }

  /** ‖J‖_F² = Σ_j (h_j (1 - h_j))² Σ_i W_ji² of every example. */
  get squaredNorms() {
    return this.once("norms", () =>
      Array.from({ length: EXAMPLES }, (_, at) =>
        this.slopes(at).reduce((sum, slope, j) => sum + slope ** 2 * this.model.gram[j * UNITS + j], 0)));
  }

  get meanNorm() {
    return mean(this.squaredNorms.map(Math.sqrt));
  }

  /** exp of the entropy of s_k / Σ s, a number of directions (Roy and Vetterli 2007); the mean over examples. */
  get effectiveRank() {
    return this.once("rank", () => mean(Array.from({ length: EXAMPLES }, (_, at) => {
      const values = this.spectrum(at);
      const sum = values.reduce((a, b) => a + b, 0);
      return Math.exp(values.reduce((total, s) => total - (s > 0 ? (s / sum) * Math.log(s / sum) : 0), 0));
    })));
  }

  /** The share of all units and examples with h < 0.05 or h > 0.95. */
  get saturated() {
    return this.codes.filter((h) => h < 0.05 || h > 0.95).length / this.codes.length;
  }

  /** L(x, r(x + s ε)), cross-entropy summed over pixels, the mean over examples. */
  error(s) {
    return this.once(`error ${s} ${this.examples.noiseSeed}`, () => {
      const logits = this.model.logits(s ? this.model.encode(this.examples.corrupted(s)) : this.codes);
      return logits.reduce((sum, a, at) => sum + softplus(a) - this.examples.inputs[at] * a, 0) / EXAMPLES;
    });
  }

  /** ‖f(x + r u) - f(x)‖ / r by radius, means over examples and directions: u toward other examples, or random. */
  get curve() {
    return this.once("curve", () => {
      const random = this.model.along(this.examples.random);
      const z = this.preactivations;
      const sums = { others: FACTS.radii.map(() => 0), random: FACTS.radii.map(() => 0) };
      for (let one = 0; one < EXAMPLES; one++) {
        const here = z.subarray(one * UNITS, (one + 1) * UNITS);
        const others = this.examples.others[one].map(([other, distance]) =>
          here.map((value, j) => (z[other * UNITS + j] - value) / distance)); // W u, since W (x' - x) = z' - z
        const drawn = [...Array(DIRECTIONS).keys()].map((k) => random.subarray((one * DIRECTIONS + k) * UNITS, (one * DIRECTIONS + k + 1) * UNITS));
        this.add(sums.others, here, others);
        this.add(sums.random, here, drawn);
      }
      const pairs = { others: this.examples.others.flat().length, random: EXAMPLES * DIRECTIONS };
      return Object.fromEntries(Object.entries(sums).map(([kind, each]) => [kind, each.map((sum) => sum / pairs[kind])]));
    });
  }

  /** Add the ratios of one example along W u, at every radius. */
  add(sums, here, directions) {
    const h = here.map(sigmoid);
    for (const along of directions) {
      FACTS.radii.forEach((radius, place) => {
        let square = 0;
        for (let j = 0; j < UNITS; j++) {
          square += (radius ? (sigmoid(here[j] + radius * along[j]) - h[j]) / radius : h[j] * (1 - h[j]) * along[j]) ** 2;
        }
        sums[place] += Math.sqrt(square);
      });
    }
  }

  /** The leading right singular vectors of J at one example, v_k = Jᵀ u_k / s_k; the entry of largest size is positive. */
  tangents(at, count) {
    return this.once(`tangents ${at}`, () => {
      const { values, vectors } = eigenvectors(this.gram(at), UNITS);
      const slope = this.slopes(at);
      return vectors.slice(0, Math.min(count, INPUTS)).map((u, k) => ({ value: root(values[k]), picture: this.rightVector(u, slope) }));
    });
  }

  rightVector(u, slope) {
    const v = new Float64Array(INPUTS);
    for (let i = 0; i < INPUTS; i++) for (let j = 0; j < UNITS; j++) v[i] += this.model.weight[i * UNITS + j] * slope[j] * u[j];
    const length = Math.hypot(...v);
    const largest = v.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
    return length ? v.map((value) => value / (Math.sign(largest) * length)) : v;
  }
}

/** The square root; what rounding made negative is 0. */
const root = (value) => Math.sqrt(Math.max(value, 0));
