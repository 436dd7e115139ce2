/* Linear algebra in double precision. A matrix is a flat Float64Array, row after row. */

/** The eigenvalues of a symmetric n × n matrix, descending: Householder's tridiagonal form, then the implicit QL method. */
function eigenvalues(matrix, n) {
  const [diagonal, beside] = tridiagonal(Float64Array.from(matrix), n);
  for (let first = 0; first < n; first++) {
    for (let turns = 0; turns < 60; turns++) {
      let last = first;
      while (last < n - 1 && Math.abs(beside[last]) > Number.EPSILON * (Math.abs(diagonal[last]) + Math.abs(diagonal[last + 1]))) last++;
      if (last === first) break;
      implicitStep(diagonal, beside, first, last);
    }
  }
  return diagonal.sort((a, b) => b - a);
}

/** Diagonal and subdiagonal of an orthogonally similar tridiagonal matrix; `a` is used up. Householder (1958). */
function tridiagonal(a, n) {
  const beside = new Float64Array(n);
  const v = new Float64Array(n);
  const p = new Float64Array(n);
  for (let k = 0; k < n - 2; k++) {
    let square = 0;
    for (let i = k + 1; i < n; i++) square += (v[i] = a[i * n + k]) ** 2;
    const length = v[k + 1] > 0 ? -Math.sqrt(square) : Math.sqrt(square);
    beside[k] = length;
    const half = square - v[k + 1] * length; // |v|² / 2 once v is the reflection's normal
    if (half === 0) continue;
    v[k + 1] -= length;
    let overlap = 0;
    for (let i = k + 1; i < n; i++) {
      let sum = 0;
      for (let j = k + 1; j < n; j++) sum += a[i * n + j] * v[j];
      overlap += v[i] * (p[i] = sum / half);
    }
    for (let i = k + 1; i < n; i++) p[i] -= (overlap / (2 * half)) * v[i];
    for (let i = k + 1; i < n; i++) for (let j = k + 1; j < n; j++) a[i * n + j] -= v[i] * p[j] + p[i] * v[j];
  }
  if (n > 1) beside[n - 2] = a[(n - 1) * n + n - 2];
  return [Float64Array.from({ length: n }, (_, i) => a[i * n + i]), beside];
}

/** One QL step with Wilkinson's shift on rows first..last of a tridiagonal matrix. Bowdler et al. (1968). */
function implicitStep(d, e, first, last) {
  let g = (d[first + 1] - d[first]) / (2 * e[first]);
  g = d[last] - d[first] + e[first] / (g + (g < 0 ? -1 : 1) * Math.hypot(g, 1));
  let [sine, cosine, moved] = [1, 1, 0];
  for (let i = last - 1; i >= first; i--) {
    const f = sine * e[i];
    const b = cosine * e[i];
    const r = (e[i + 1] = Math.hypot(f, g));
    if (r === 0) {
      d[i + 1] -= moved;
      e[last] = 0;
      return;
    }
    [sine, cosine] = [f / r, g / r];
    g = d[i + 1] - moved;
    const t = (d[i] - g) * sine + 2 * cosine * b;
    moved = sine * t;
    d[i + 1] = g + moved;
    g = cosine * t - b;
  }
  d[first] -= moved;
  e[first] = g;
  e[last] = 0;
}

/** Eigenvalues, descending, and eigenvectors (each a Float64Array) of a symmetric n × n matrix. Jacobi (1846). */
function eigenvectors(matrix, n) {
  const a = Float64Array.from(matrix);
  const v = Float64Array.from({ length: n * n }, (_, at) => (at % (n + 1) === 0 ? 1 : 0));
  for (let sweep = 0; sweep < 30 && offDiagonal(a, n) > 0; sweep++) {
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) rotate(a, v, n, p, q);
  }
  const order = [...Array(n).keys()].sort((i, j) => a[j * n + j] - a[i * n + i]);
  const vectors = order.map((column) => Float64Array.from({ length: n }, (_, row) => v[row * n + column]));
  return { values: order.map((i) => a[i * n + i]), vectors };
}

/** The sum of squares beside the diagonal; 0 once it is below rounding. */
function offDiagonal(a, n) {
  let [off, on] = [0, 0];
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) i === j ? (on += a[i * n + j] ** 2) : (off += a[i * n + j] ** 2);
  return off > on * 1e-30 ? off : 0;
}

/** Make entry (p, q) zero by a rotation, and turn the vectors with it. */
function rotate(a, v, n, p, q) {
  if (a[p * n + q] === 0) return;
  const theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
  const c = 1 / Math.hypot(t, 1);
  const s = t * c;
  for (let i = 0; i < n; i++) turn(a, i * n + p, i * n + q, c, s);
  for (let i = 0; i < n; i++) turn(a, p * n + i, q * n + i, c, s);
  for (let i = 0; i < n; i++) turn(v, i * n + p, i * n + q, c, s);
}

function turn(a, one, two, c, s) {
  const [x, y] = [a[one], a[two]];
  a[one] = c * x - s * y;
  a[two] = s * x + c * y;
}

/** Numbers between 0 and 1 from a seed (mulberry32), always the same ones. */
function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Standard normal numbers from a seed (Box and Muller 1958). */
function normals(seed, count) {
  const draw = uniform(seed);
  const found = new Float64Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - draw()));
    const angle = 2 * Math.PI * draw();
    found[i] = radius * Math.cos(angle);
    if (i + 1 < count) found[i + 1] = radius * Math.sin(angle);
  }
  return found;
}
