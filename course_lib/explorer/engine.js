// The engine: runs a graph that course_lib.graph traced from a torch function. No dependency.
//
// load(graph) reads the graph once: it decodes the constants, finds a place in memory for every value and
// makes one small function for each operation. run(values) then calls these functions in order and allocates
// nothing. A tensor is an array and how to walk it: {data, dtype, shape, strides, offset}, as in torch, so
// that transposing, slicing and broadcasting cost nothing.

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, int64: Float64Array, int32: Int32Array, int16: Int16Array,
  int8: Int8Array, uint8: Uint8Array, bool: Uint8Array,
};

export function load(graph) {
  const maker = new Maker(graph);
  const steps = maker.build();
  const { inputs, results } = maker;

  function run(values) {
    for (const { name, tensor } of inputs) fill(tensor, values[name], name);
    for (const step of steps) step();
    return results();
  }
  return { inputs: graph.inputs, run };
}

function fill(tensor, value, name) {
  if (value === undefined) throw new Error(`the graph needs the input "${name}"`);
  const { data, shape } = tensor;
  if (typeof value === "number" || typeof value === "boolean") {
    if (data.length !== 1) throw new Error(`input "${name}" is a number; the graph was traced for shape [${shape}]`);
    data[0] = value;
    return;
  }
  const given = value.data ?? value;
  if (given.length !== data.length || (value.shape && String(value.shape) !== String(shape)))
    throw new Error(`input "${name}" has shape [${value.shape ?? given.length}]; the graph was traced for [${shape}]`);
  data.set(given);
}

// ---- Reading the graph, and a place in memory for everything ----

class Maker {
  constructor(graph) {
    this.graph = graph;
    this.free = []; // buffers that nobody reads any more
    this.steps = [];
    this.values = [];
    this.now = 0;
  }

  build() {
    const { inputs, constants, nodes, outputs } = this.graph;
    this.inputs = inputs.map(({ name, dtype, shape }) => {
      const tensor = dense(new ARRAYS[dtype](count(shape)), dtype, shape);
      this.values.push(tensor);
      return { name, tensor };
    });
    constants.forEach((constant, k) => this.values.push(decode(constant, k)));
    this.findLastUses();
    nodes.forEach((node, k) => this.node(node, k));
    this.now = Infinity;
    this.results = this.result(outputs);
    return this.steps;
  }

  // The last node that reads each value; a buffer is free after the last use of all that look into it.
  findLastUses() {
    this.last = [];
    this.expiring = this.graph.nodes.map(() => []);
    const seen = (arg, k) => {
      if (Array.isArray(arg)) arg.forEach((a) => seen(a, k));
      else if (isRef(arg)) this.last[+arg.slice(1)] = k;
    };
    this.graph.nodes.forEach(([, args], k) => seen(args, k));
    everyLeaf(this.graph.outputs, (ref) => (this.last[+ref.slice(1)] = Infinity));
  }

  node([name, args, gives], k) {
    this.now = k;
    const at = this.values.length;
    const kinds = Array.isArray(gives) ? gives : [gives];
    const given = args.map((arg) => this.argument(arg));
    this.fixed = isFixed(given); // depends on constants alone: computed now, once
    const types = kinds.map((kind) => (kind === null ? null : this.graph.types[kind]));
    if (VIEWS[name]) {
      const made = VIEWS[name](this, types.map((t) => t && t[1]), ...given);
      this.values.push(...(Array.isArray(gives) ? made : [made]));
    } else if (KERNELS[name]) {
      const outs = types.map((type, j) => type && this.allocate(type[0], type[1], this.last[at + j] ?? k));
      this.do(KERNELS[name](this, Array.isArray(gives) ? outs : outs[0], ...given));
      this.values.push(...outs);
    } else {
      throw new Error(`the engine has no operation "${name}"; course_lib.graph.OPERATIONS says which it has`);
    }
    for (let j = 0; j < kinds.length; j++) this.keep(this.values[at + j], this.last[at + j]);
    for (const store of this.expiring[k]) if (store.until === k) this.free.push(store);
  }

  argument(arg) {
    if (Array.isArray(arg)) return arg.map((a) => this.argument(a));
    if (isRef(arg)) return this.values[+arg.slice(1)];
    return arg === "nan" ? NaN : arg === "inf" ? Infinity : arg === "-inf" ? -Infinity : arg;
  }

  do(step) {
    if (!step) return;
    if (this.fixed) step();
    else this.steps.push(step);
  }

  // A tensor of its own, in the smallest free buffer that it fits into, until node `until` has run.
  allocate(dtype, shape, until = this.now) {
    const size = count(shape), bytes = size * ARRAYS[dtype].BYTES_PER_ELEMENT;
    let best = -1;
    if (!this.fixed)
      this.free.forEach(({ buffer }, k) => {
        const fits = buffer.byteLength >= bytes && buffer.byteLength <= 4 * bytes + 1024;
        if (fits && (best < 0 || buffer.byteLength < this.free[best].buffer.byteLength)) best = k;
      });
    const buffer = best < 0 ? new ArrayBuffer(Math.ceil(bytes / 8) * 8) : this.free.splice(best, 1)[0].buffer;
    const tensor = dense(new ARRAYS[dtype](buffer, 0, size), dtype, shape);
    tensor.fixed = this.fixed;
    tensor.store = this.fixed ? null : { buffer, until: -1 };
    this.keep(tensor, until);
    return tensor;
  }

  keep(tensor, until = this.now) {
    const store = tensor?.store;
    if (!store || until <= store.until) return;
    store.until = until;
    this.expiring[until]?.push(store);
  }

  // The same numbers, one after another in memory. Of a constant that is done once.
  dense(tensor, dtype = tensor.dtype) {
    if (isDense(tensor) && dtype === tensor.dtype) return tensor;
    const fixed = this.fixed;
    this.fixed = tensor.fixed;
    const copy = this.allocate(dtype, tensor.shape);
    this.do(assign(copy, tensor));
    this.fixed = fixed;
    return copy;
  }

  // An array to work in, for the time of one step.
  scratch(size, dtype = "float32") {
    return this.allocate(dtype, [size]).data;
  }

  // What run gives. Inputs, constants and views are copied, so that what comes out is never what went in.
  result(outputs) {
    if (Array.isArray(outputs)) {
      const parts = outputs.map((o) => this.result(o));
      return () => parts.map((part) => part());
    }
    if (typeof outputs === "object") {
      const parts = Object.entries(outputs).map(([key, o]) => [key, this.result(o)]);
      return () => Object.fromEntries(parts.map(([key, part]) => [key, part()]));
    }
    let tensor = this.values[+outputs.slice(1)];
    if (!tensor.store || !isDense(tensor)) {
      this.fixed = tensor.fixed;
      const copy = this.allocate(tensor.dtype, tensor.shape, Infinity);
      this.do(assign(copy, tensor));
      tensor = copy;
    }
    const { data, shape } = tensor;
    return () => ({ data, shape });
  }
}

const isRef = (arg) => typeof arg === "string" && arg[0] === "%";
const isFixed = (arg) => (Array.isArray(arg) ? arg.every(isFixed) : !arg?.data || arg.fixed === true);

function everyLeaf(tree, fn) {
  if (typeof tree === "object") Object.values(tree).forEach((part) => everyLeaf(part, fn));
  else fn(tree);
}

function decode(constant, k) {
  const { dtype, shape, packing } = constant, where = `constant ${k} (${packing}, shape [${shape}])`;
  const size = count(shape);
  let bytes;
  try {
    bytes = fromBase64(constant.data);
  } catch {
    throw new Error(`${where} is damaged: what it holds is not base64`);
  }
  if (!ARRAYS[dtype]) throw new Error(`${where} is of an unknown type, "${dtype}"`);
  const expect = (n, each) => {
    if (bytes.length !== n * each) throw new Error(`${where} is cut short or damaged: ${bytes.length} bytes for ${n * each}`);
  };
  if (packing === "fill") {
    const Type = ARRAYS[constant.of];
    expect(1, Type.BYTES_PER_ELEMENT);
    const data = new ARRAYS[dtype](new Type(bytes.buffer));
    return { data, dtype, shape, strides: shape.map(() => 0), offset: 0, fixed: true };
  }
  const data = new ARRAYS[dtype](size);
  if (packing === "float16") {
    expect(size, 2);
    data.set(Float32Array.from(new Uint16Array(bytes.buffer), half));
  } else if (packing === "int8" && constant.scale) {
    expect(size, 1);
    const steps = new Int8Array(bytes.buffer), each = size / shape[0];
    bytes = fromBase64(constant.scale);
    expect(shape[0], 4);
    const scale = new Float32Array(bytes.buffer);
    for (let i = 0; i < size; i++) data[i] = Math.fround(steps[i] * scale[Math.floor(i / each)]);
  } else {
    const Type = ARRAYS[packing];
    if (!Type) throw new Error(`${where} is packed in a way that this engine does not know`);
    expect(size, Type.BYTES_PER_ELEMENT);
    data.set(new Type(bytes.buffer));
  }
  return Object.assign(dense(data, dtype, shape), { fixed: true });
}

const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// A float of 16 bits: sign, 5 bits of exponent, 10 of fraction.
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

// ---- Tensors ----

const count = (shape) => shape.reduce((a, b) => a * b, 1);

function rowMajor(shape) {
  const strides = new Array(shape.length);
  for (let d = shape.length - 1, step = 1; d >= 0; d--) {
    strides[d] = step;
    step *= shape[d];
  }
  return strides;
}

const dense = (data, dtype, shape) => ({ data, dtype, shape, strides: rowMajor(shape), offset: 0 });

function isDense({ data, shape, strides, offset }) {
  if (offset !== 0 || count(shape) !== data.length) return false;
  const usual = rowMajor(shape);
  return shape.every((n, d) => n === 1 || strides[d] === usual[d]);
}

const look = (tensor, shape, strides, offset = tensor.offset) => ({ ...tensor, shape, strides, offset });
const axis = (d, n) => (d < 0 ? d + n : d);

// A number as a tensor that meets every element of a shape.
const number = (value, dtype) => ({ data: ARRAYS[dtype].of(Number(value)), dtype, shape: [], strides: [], offset: 0, fixed: true });

function broadcast(tensor, shape) {
  const ahead = shape.length - tensor.shape.length;
  return look(tensor, shape, shape.map((n, d) => (d < ahead || tensor.shape[d - ahead] === 1 ? 0 : tensor.strides[d - ahead])));
}

// Axes that can be walked as one are joined: mostly everything becomes one long row.
function joined(shape, strides) {
  const sizes = [], steps = strides.map(() => []);
  for (let d = 0; d < shape.length; d++) {
    if (shape[d] === 1) continue;
    const e = sizes.length - 1;
    if (e >= 0 && strides.every((s, t) => steps[t][e] === s[d] * shape[d])) {
      sizes[e] *= shape[d];
      strides.forEach((s, t) => (steps[t][e] = s[d]));
    } else {
      sizes.push(shape[d]);
      strides.forEach((s, t) => steps[t].push(s[d]));
    }
  }
  return { sizes, steps };
}

// Where each element of a shape is, in order.
function places(shape, strides, offset = 0) {
  let found = Int32Array.of(offset);
  for (let d = 0; d < shape.length; d++) {
    const next = new Int32Array(found.length * shape[d]);
    for (let i = 0, k = 0; i < found.length; i++) for (let j = 0; j < shape[d]; j++) next[k++] = found[i] + j * strides[d];
    found = next;
  }
  return found;
}

// How to walk several tensors of one shape together: where each of their rows starts, and the step inside it.
function walk(shape, tensors) {
  const { sizes, steps } = joined(shape, tensors.map((t) => t.strides));
  const n = sizes.pop() ?? 1;
  const step = steps.map((s) => s.pop() ?? 0);
  return { n: count(shape) ? n : 0, step, starts: steps.map((s, t) => places(sizes, s, tensors[t].offset)) };
}

// Copy source into target, of the same shape; types may differ.
function assign(target, source) {
  const { n, step: [ts, ss], starts: [to, from] } = walk(target.shape, [target, broadcast(source, target.shape)]);
  const y = target.data, x = source.data, kind = target.dtype;
  const whole = kind !== source.dtype && !kind.startsWith("float") && source.dtype.startsWith("float");
  const change = kind === "bool" ? (v) => (v !== 0 ? 1 : 0) : whole ? Math.trunc : null;
  return () => {
    for (let r = 0; r < to.length; r++) {
      let i = to[r], j = from[r];
      if (change) for (let k = 0; k < n; k++, i += ts, j += ss) y[i] = change(x[j]);
      else for (let k = 0; k < n; k++, i += ts, j += ss) y[i] = x[j];
    }
  };
}

function both(first, second) {
  return () => {
    first();
    second();
  };
}

// ---- Views: other looks at the same numbers ----

const VIEWS = {
  view(make, [shape], x) {
    const { sizes, steps } = joined(x.shape, [x.strides]);
    if (sizes.length > 1) return look(make.dense(x), shape, rowMajor(shape));
    return look(x, shape, rowMajor(shape).map((s) => s * (steps[0][0] ?? 0)));
  },
  permute: (make, [shape], x, order) => look(x, shape, order.map((d) => x.strides[axis(d, order.length)])),
  expand: (make, [shape], x) => broadcast(x, shape),
  slice(make, [shape], x, dim = 0, start = 0, end, step = 1) {
    const d = axis(dim, shape.length), n = x.shape[d];
    const first = Math.min(Math.max(axis(start ?? 0, n), 0), n);
    return look(x, shape, x.strides.map((s, e) => (e === d ? s * step : s)), x.offset + first * x.strides[d]);
  },
  select(make, [shape], x, dim, index) {
    const d = axis(dim, x.shape.length);
    const offset = x.offset + axis(index, x.shape[d]) * x.strides[d];
    return look(x, shape, x.strides.filter((s, e) => e !== d), offset);
  },
  unsqueeze(make, [shape], x, dim) {
    const strides = [...x.strides];
    strides.splice(axis(dim, shape.length), 0, 0);
    return look(x, shape, strides);
  },
  squeeze(make, [shape], x, dims) {
    const some = dims === undefined ? null : [dims].flat().map((d) => axis(d, x.shape.length));
    return look(x, shape, x.strides.filter((s, d) => x.shape[d] !== 1 || (some && !some.includes(d))));
  },
  as_strided: (make, [shape], x, size, strides, offset) => look(make.dense(x), shape, strides, offset ?? 0),
  diagonal(make, [shape], x, offset = 0, dim1 = 0, dim2 = 1) {
    const n = x.shape.length, [a, b] = [axis(dim1, n), axis(dim2, n)];
    const strides = x.strides.filter((s, d) => d !== a && d !== b).concat(x.strides[a] + x.strides[b]);
    return look(x, shape, strides, x.offset + (offset < 0 ? -offset * x.strides[a] : offset * x.strides[b]));
  },
  split(make, shapes, x, sizes, dim = 0) {
    const d = axis(dim, x.shape.length);
    let start = 0;
    return shapes.map((shape, k) => {
      const part = shape && look(x, shape, x.strides, x.offset + start * x.strides[d]);
      start += Array.isArray(sizes) ? sizes[k] : sizes;
      return part;
    });
  },
  unfold(make, [shape], x, dim, size, step) {
    const d = axis(dim, x.shape.length);
    return look(x, shape, [...x.strides.map((s, e) => (e === d ? s * step : s)), x.strides[d] ?? 1]);
  },
  flip(make, [shape], x, dims) {
    const turned = dims.map((d) => axis(d, shape.length));
    const offset = turned.reduce((at, d) => at + Math.max(shape[d] - 1, 0) * x.strides[d], x.offset);
    return look(x, shape, x.strides.map((s, d) => (turned.includes(d) ? -s : s)), offset);
  },
};

// ---- One element at a time ----

// A kernel that computes every element of the result from those that stand at the same place.
const elementwise = (f) => (make, out, ...args) => {
  // A plain number takes the type of the tensors that it meets, as it does in torch.
  const dtype = args.findLast((a) => a?.data)?.dtype ?? out.dtype;
  const tensors = args.map((a) => broadcast(a?.data ? a : number(a, dtype), out.shape));
  const { n, step, starts } = walk(out.shape, [out, ...tensors]);
  const y = out.data, rows = starts[0].length;
  const [a, b, c] = tensors.map((t) => t.data), [, sa, sb, sc] = step, [, at, bt, ct] = starts;
  if (args.length === 1)
    return () => {
      for (let r = 0, k = 0; r < rows; r++) for (let i = 0, p = at[r]; i < n; i++, p += sa) y[k++] = f(a[p]);
    };
  if (args.length === 2)
    return () => {
      for (let r = 0, k = 0; r < rows; r++) for (let i = 0, p = at[r], q = bt[r]; i < n; i++, p += sa, q += sb) y[k++] = f(a[p], b[q]);
    };
  return () => {
    for (let r = 0, k = 0; r < rows; r++)
      for (let i = 0, p = at[r], q = bt[r], s = ct[r]; i < n; i++, p += sa, q += sb, s += sc) y[k++] = f(a[p], b[q], c[s]);
  };
};

// Torch divides like this to round down: the remainder first, so that -0.5 // inf is -1.
function floorDivide(a, b) {
  if (b === 0) return a / b;
  const rest = a % b;
  let quotient = (a - rest) / b;
  if (rest !== 0 && b < 0 !== rest < 0) quotient -= 1;
  if (quotient === 0) return a / b < 0 || Object.is(a / b, -0) ? -0 : 0;
  const floor = Math.floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

function remainder(a, b) {
  const rest = a % b;
  return rest !== 0 && b < 0 !== rest < 0 ? rest + b : rest;
}

function roundHalfToEven(x) {
  const down = Math.floor(x), rest = x - down;
  if (rest < 0.5) return down;
  if (rest > 0.5 || down % 2 !== 0) return Math.ceil(x);
  return down;
}

// IEEE, and C: 1 to the power of anything is 1, and (-1) to the power of infinity too. JavaScript says NaN.
const power = (a, b) => (a === 1 || (a === -1 && (b === Infinity || b === -Infinity)) ? 1 : a ** b);

// The error function to the last digits: a series near 0, a continued fraction further out.
function erf(x) {
  const a = Math.abs(x);
  if (!(a < 6)) return Math.sign(x);
  if (a < 2) {
    // The series of erf, all terms positive.
    let term = a, sum = a;
    for (let n = 1; term > 1e-17 * sum; n++) {
      term *= (2 * a * a) / (2 * n + 1);
      sum += term;
    }
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * Math.exp(-a * a) * sum;
  }
  // The continued fraction of 1 - erf.
  let fraction = 0;
  for (let k = 60; k > 0; k--) fraction = k / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (a + fraction) / Math.sqrt(Math.PI));
}

const scaled = (plain, general) => (make, out, a, b, alpha = 1) =>
  elementwise(alpha === 1 ? plain : general(alpha))(make, out, a, b);

const ELEMENTS = {
  neg: (x) => -x, abs: Math.abs, sign: (x) => (x > 0 ? 1 : x < 0 ? -1 : 0),
  exp: Math.exp, exp2: (x) => 2 ** x, expm1: Math.expm1, log: Math.log, log2: Math.log2, log10: Math.log10, log1p: Math.log1p,
  sqrt: Math.sqrt, rsqrt: (x) => 1 / Math.sqrt(x), reciprocal: (x) => 1 / x,
  sin: Math.sin, cos: Math.cos, tan: Math.tan, asin: Math.asin, acos: Math.acos, atan: Math.atan,
  sinh: Math.sinh, cosh: Math.cosh, tanh: Math.tanh, sigmoid: (x) => 1 / (1 + Math.exp(-x)), erf,
  relu: (x) => (x < 0 ? 0 : x), floor: Math.floor, ceil: Math.ceil, trunc: Math.trunc,
  mul: (a, b) => a * b, pow: power, maximum: Math.max, minimum: Math.min, atan2: Math.atan2,
  fmod: (a, b) => a % b, remainder, where: (c, a, b) => (c ? a : b),
  eq: (a, b) => +(a === b), ne: (a, b) => +(a !== b), lt: (a, b) => +(a < b), le: (a, b) => +(a <= b),
  gt: (a, b) => +(a > b), ge: (a, b) => +(a >= b),
  logical_and: (a, b) => +(a != 0 && b != 0), logical_or: (a, b) => +(a != 0 || b != 0),
  logical_xor: (a, b) => +((a != 0) !== (b != 0)), logical_not: (x) => +(x == 0),
  bitwise_and: (a, b) => a & b, bitwise_or: (a, b) => a | b, bitwise_xor: (a, b) => a ^ b,
  isnan: (x) => +(x !== x), isinf: (x) => +(x === Infinity || x === -Infinity),
};

// ---- Many elements to one ----

// Which axes go: where the results' first elements are, and from there all that belong to one.
function grouped(x, dims) {
  const n = x.shape.length;
  const gone = dims === undefined || dims === null || dims.length === 0 ? x.shape.map((_, d) => d) : [dims].flat().map((d) => axis(d, n));
  const pick = (list, away) => list.filter((_, d) => gone.includes(d) === away);
  const part = (away) => {
    const { sizes, steps } = joined(pick(x.shape, away), [pick(x.strides, away)]);
    return [sizes, steps[0]];
  };
  const empty = count(x.shape) === 0;
  const kept = empty ? new Int32Array(count(pick(x.shape, false))) : places(...part(false), x.offset);
  return { kept, inside: empty ? new Int32Array(count(pick(x.shape, true))) : places(...part(true)) };
}

const reduction = (start, f, finish) => (make, out, x, dims) => {
  const { kept, inside } = grouped(x, dims), data = x.data, y = out.data, n = inside.length;
  return () => {
    for (let r = 0; r < kept.length; r++) {
      let sum = start;
      for (let i = 0, at = kept[r]; i < n; i++) sum = f(sum, data[at + inside[i]]);
      y[r] = finish ? finish(sum, n) : sum;
    }
  };
};

// The place of the largest (or smallest) of each row; NaN counts as larger and smaller than all.
const extreme = (better) => (make, [values, indices], x, dim) => {
  const { kept, inside } = grouped(x, dim === undefined || dim === null ? null : [dim]), data = x.data, n = inside.length;
  return () => {
    for (let r = 0; r < kept.length; r++) {
      let best = data[kept[r]], which = 0;
      for (let i = 1; i < n && best === best; i++) {
        const value = data[kept[r] + inside[i]];
        if (better(value, best) || value !== value) [best, which] = [value, i];
      }
      if (values) values.data[r] = best;
      if (indices) indices.data[r] = which;
    }
  };
};
const largest = extreme((a, b) => a > b), smallest = extreme((a, b) => a < b);

// A row of one axis at a time: f(x, from, y, to, n, step) for each.
const alongAxis = (f) => (make, out, x, dim) => {
  const source = make.dense(x), d = axis(dim, x.shape.length);
  const n = x.shape[d] ?? 1, step = count(x.shape.slice(d + 1)), rows = n ? count(x.shape) / n : 0;
  return () => {
    for (let r = 0; r < rows; r++) f(source.data, out.data, Math.floor(r / step) * step * n + (r % step), n, step);
  };
};

function largestOf(x, at, n, step) {
  let top = -Infinity;
  for (let i = 0; i < n; i++) top = Math.max(top, x[at + i * step]);
  return top;
}

const softmax = alongAxis((x, y, at, n, step) => {
  const top = largestOf(x, at, n, step);
  let sum = 0;
  for (let i = 0; i < n; i++) sum += Math.exp(x[at + i * step] - top);
  for (let i = 0; i < n; i++) y[at + i * step] = Math.exp(x[at + i * step] - top) / sum;
});

const logSoftmax = alongAxis((x, y, at, n, step) => {
  const top = largestOf(x, at, n, step);
  let sum = 0;
  for (let i = 0; i < n; i++) sum += Math.exp(x[at + i * step] - top);
  const log = Math.log(sum);
  for (let i = 0; i < n; i++) y[at + i * step] = x[at + i * step] - top - log;
});

const cumulativeSum = alongAxis((x, y, at, n, step) => {
  let sum = 0;
  for (let i = 0; i < n; i++) y[at + i * step] = sum += x[at + i * step];
});

function sorted(make, [values, indices], x, dim, descending, keep) {
  const source = make.dense(x), d = axis(dim, x.shape.length);
  const n = x.shape[d] ?? 1, step = count(x.shape.slice(d + 1)), rows = n ? count(x.shape) / n : 0, m = keep ?? n;
  const order = new Int32Array(n), data = source.data;
  return () => {
    for (let r = 0; r < rows; r++) {
      const outer = Math.floor(r / step), inner = r % step, at = outer * step * n + inner, to = outer * step * m + inner;
      for (let i = 0; i < n; i++) order[i] = i;
      order.sort((i, j) => {
        const a = data[at + i * step], b = data[at + j * step];
        const up = a !== a ? (b !== b ? 0 : 1) : b !== b ? -1 : a - b || 0; // NaN is the largest
        return (descending ? -up : up) || i - j;
      });
      for (let i = 0; i < m; i++) {
        if (values) values.data[to + i * step] = data[at + order[i] * step];
        if (indices) indices.data[to + i * step] = order[i];
      }
    }
  };
}

// ---- Sums of products: matrix products and convolutions are these two loops ----

// y[to + i] += Σ_k w[at + k·ws] · x[from[k] + shift + i·step] for i < n: scaled rows, added up, four at a time.
function addRows(y, to, n, w, at, ws, x, from, shift, step) {
  const K = from.length;
  let k = 0;
  for (; k + 3 < K; k += 4) {
    const w0 = w[at + k * ws], w1 = w[at + (k + 1) * ws], w2 = w[at + (k + 2) * ws], w3 = w[at + (k + 3) * ws];
    let p = from[k] + shift, q = from[k + 1] + shift, r = from[k + 2] + shift, s = from[k + 3] + shift;
    if (step === 1)
      for (let i = to, end = to + n; i < end; i++) y[i] += w0 * x[p++] + w1 * x[q++] + w2 * x[r++] + w3 * x[s++];
    else
      for (let i = to, end = to + n; i < end; i++, p += step, q += step, r += step, s += step)
        y[i] += w0 * x[p] + w1 * x[q] + w2 * x[r] + w3 * x[s];
  }
  for (; k < K; k++) {
    const w0 = w[at + k * ws];
    for (let i = to, end = to + n, p = from[k] + shift; i < end; i++, p += step) y[i] += w0 * x[p];
  }
}

// Σ_i a[p + i] · b[q + i·step]
function dot(a, p, b, q, n, step) {
  let sum = 0;
  for (let i = 0; i < n; i++, q += step) sum += a[p + i] * b[q];
  return sum;
}

const ramp = (n, step) => Int32Array.from({ length: n }, (_, k) => k * step);

// (B, M, K) times (B, K, N).
function matrixProduct(make, out, a, b) {
  const [M, K] = a.shape.slice(-2), N = b.shape.at(-1), B = a.shape.length === 3 ? a.shape[0] : 1;
  const right = make.dense(b), y = out.data, rows = ramp(K, N);
  const [sb, sm, sk] = a.shape.length === 3 ? a.strides : [0, ...a.strides];
  return () => {
    y.fill(0);
    for (let n = 0; n < B; n++)
      for (let m = 0; m < M; m++) addRows(y, (n * M + m) * N, N, a.data, a.offset + n * sb + m * sm, sk, right.data, rows, n * K * N, 1);
  };
}

// Copy images (planes of h × w) into a frame of height × width, `top` and `left` from its corner, their pixels
// `gap` apart; zero around them. What lies outside of the frame is cut off.
function framed(source, target, planes, [h, w], [height, width], [top, left], [gapY, gapX]) {
  return () => {
    target.fill(0);
    for (let c = 0; c < planes; c++)
      for (let i = 0, y = top; i < h; i++, y += gapY) {
        if (y < 0 || y >= height) continue;
        const from = (c * h + i) * w, to = (c * height + y) * width;
        for (let j = 0, x = left; j < w; j++, x += gapX) if (x >= 0 && x < width) target[to + x] = source[from + j];
      }
  };
}

// A convolution of images that already stand in their frames: (N, C, H, W) and filters, given by the place of
// each tap in the frame and a table of weights, to (N, O, OH, OW). With a stride of 1 the rows of an image are
// one long row: what is computed over the edge, between them, is left out when the result is copied.
function correlate(make, y, frame, { N, G, C, O, H, W, OH, OW, kernel, stride, dilation, weights, bias }) {
  const plane = H * W, taps = C * kernel[0] * kernel[1];
  const from = new Int32Array(taps);
  for (let c = 0, k = 0; c < C; c++)
    for (let i = 0; i < kernel[0]; i++) for (let j = 0; j < kernel[1]; j++) from[k++] = c * plane + i * dilation[0] * W + j * dilation[1];
  const long = stride[0] === 1 && stride[1] === 1, span = (OH - 1) * W + OW;
  const line = make.scratch(long ? span : OW, y instanceof Float64Array ? "float64" : "float32");
  return () => {
    for (let n = 0; n < N; n++)
      for (let g = 0; g < G; g++)
        for (let o = 0; o < O; o++) {
          const shift = (n * G + g) * C * plane, filter = g * O + o, to = (n * G * O + filter) * OH * OW;
          const start = bias ? bias[filter] : 0;
          if (long) {
            line.fill(start);
            addRows(line, 0, span, weights, filter * taps, 1, frame, from, shift, 1);
            for (let i = 0; i < OH; i++) for (let j = 0; j < OW; j++) y[to + i * OW + j] = line[i * W + j];
          } else {
            for (let i = 0; i < OH; i++) {
              y.fill(start, to + i * OW, to + (i + 1) * OW);
              addRows(y, to + i * OW, OW, weights, filter * taps, 1, frame, from, shift + i * stride[0] * W, stride[1]);
            }
          }
        }
  };
}

// One dimension is two, of which the first has one place.
function asImages(x) {
  if (x.shape.length > 4) throw new Error("the engine has no convolution in three dimensions");
  return x.shape.length === 4 ? x : look(x, [...x.shape.slice(0, 2), 1, x.shape[2]], [...x.strides.slice(0, 2), 0, x.strides[2]]);
}
const two = (list, fill) => (list.length === 2 ? list : [fill, list[0]]);

// The filters of a transposed convolution: in and out exchanged, and turned by 180°.
function turned(make, weight, groups) {
  const [a, b, kh, kw] = weight.shape, [sa, sb, sh, sw] = weight.strides, o = a / groups;
  const shape = [groups, b, o, kh, kw];
  const view = look(weight, shape, [sa * o, sb, sa, -sh, -sw], weight.offset + (kh - 1) * sh + (kw - 1) * sw);
  return make.dense(view).data;
}

function convolution(make, out, input, filters, bias, stride, padding, dilation, transposed, outputPadding, groups) {
  const x = make.dense(asImages(input)), w = asImages(filters), [N, channels, h, width] = x.shape;
  const [OH, OW] = asImages(out).shape.slice(2), kernel = w.shape.slice(2);
  [stride, padding, dilation] = [two(stride, 1), two(padding, 0), two(dilation, 1)];
  const reach = kernel.map((k, d) => dilation[d] * (k - 1));
  const step = transposed ? [1, 1] : stride, gap = transposed ? stride : [1, 1];
  const edge = transposed ? reach.map((r, d) => r - padding[d]) : padding;
  const H = (OH - 1) * step[0] + reach[0] + 1, W = (OW - 1) * step[1] + reach[1] + 1;
  const inPlace = H === h && W === width && edge[0] === 0 && edge[1] === 0 && gap[0] === 1 && gap[1] === 1;
  const frame = inPlace ? x.data : make.scratch(N * channels * H * W, x.dtype);
  const weights = transposed ? turned(make, w, groups) : make.dense(w).data;
  const O = out.shape[1] / groups, C = channels / groups;
  const sum = correlate(make, out.data, frame, {
    N, G: groups, C, O, H, W, OH, OW, kernel, stride: step, dilation, weights, bias: bias && make.dense(bias).data,
  });
  return inPlace ? sum : both(framed(x.data, frame, N * channels, [h, width], [H, W], edge, gap), sum);
}

function convolutionBackward(make, [toInput, toFilters, toBias], grad, input, filters, biasSizes, stride, padding, dilation, transposed, outputPadding, groups) {
  const steps = [];
  if (toInput) {
    // The way back through a convolution is the transposed one, and the other way round.
    steps.push(convolution(make, toInput, grad, filters, null, stride, padding, dilation, !transposed, null, groups));
  }
  if (toFilters) {
    const [small, large] = transposed ? [input, grad] : [grad, input];
    steps.push(filterGradient(make, toFilters, small, large, two(stride, 1), two(padding, 0), two(dilation, 1), groups));
  }
  if (toBias) steps.push(reduction(0, (a, b) => a + b)(make, toBias, grad, grad.shape.map((_, d) => d).filter((d) => d !== 1)));
  return () => steps.forEach((step) => step());
}

// ∂L/∂w[o, c, i, j]: the gradient above, row by row, times the pixels that stood at tap (i, j).
function filterGradient(make, out, above, below, stride, padding, dilation, groups) {
  const g = make.dense(asImages(above)), x = make.dense(asImages(below)), y = out.data;
  const [N, A, OH, OW] = g.shape, [, B, h, w] = x.shape, [, per, kh, kw] = asImages(out).shape;
  const H = Math.max(h + padding[0], (OH - 1) * stride[0] + dilation[0] * (kh - 1) + 1 ), W = Math.max(w + padding[1], (OW - 1) * stride[1] + dilation[1] * (kw - 1) + 1);
  const frame = make.scratch(N * B * H * W, x.dtype);
  const place = framed(x.data, frame, N * B, [h, w], [H, W], padding, [1, 1]);
  const long = stride[0] === 1 && stride[1] === 1, span = (OH - 1) * W + OW;
  // With a stride of 1 the gradient is laid out as wide as the frame, zeros between, and one long row as well.
  const wide = long ? make.scratch(N * A * OH * W, g.dtype) : g.data;
  const spread = long ? framed(g.data, wide, N * A, [OH, OW], [OH, W], [0, 0], [1, 1]) : () => {};
  const each = A / groups;
  return () => {
    place();
    spread();
    for (let o = 0, k = 0; o < A; o++)
      for (let c = 0; c < per; c++)
        for (let i = 0; i < kh; i++)
          for (let j = 0; j < kw; j++, k++) {
            let sum = 0;
            for (let n = 0; n < N; n++) {
              const at = (n * B + Math.floor(o / each) * per + c) * H * W + i * dilation[0] * W + j * dilation[1];
              if (long) sum += dot(wide, (n * A + o) * OH * W, frame, at, span, 1);
              else for (let r = 0; r < OH; r++) sum += dot(wide, ((n * A + o) * OH + r) * OW, frame, at + r * stride[0] * W, OW, stride[1]);
            }
            y[k] = sum;
          }
  };
}

// ---- Layers ----

function batchNorm(make, [out], x, weight, bias, mean, variance, momentum, eps) {
  const source = make.dense(x), C = x.shape[1], inner = count(x.shape.slice(2)), rows = x.shape[0] * C;
  const [w, b, m, v] = [weight, bias, mean, variance].map((t) => t && make.dense(t).data);
  return () => {
    for (let r = 0; r < rows; r++) {
      const c = r % C, scale = (w ? w[c] : 1) / Math.sqrt(v[c] + eps), shift = (b ? b[c] : 0) - m[c] * scale;
      for (let i = r * inner, end = i + inner; i < end; i++) out.data[i] = source.data[i] * scale + shift;
    }
  };
}

// Calls visit(window, plane, top, bottom, left, right) for every window of every plane, its part of the image.
function overWindows([planes, h, w, OH, OW], bounds, visit) {
  for (let c = 0, k = 0; c < planes; c++) for (let i = 0; i < OH; i++) for (let j = 0; j < OW; j++, k++) visit(k, c * h * w, ...bounds(i, j));
}

const imageSizes = (x, out) => [count(x.shape.slice(0, -2)), ...x.shape.slice(-2), ...out.shape.slice(-2)];
const pairOf = (value, otherwise) => {
  const list = [value ?? []].flat();
  return list.length === 0 ? otherwise : list.length === 1 ? [list[0], list[0]] : list;
};

function maxPool(make, [out, indices], x, size, step, pad = 0, dilate = 1) {
  const kernel = pairOf(size), stride = pairOf(step, kernel), padding = pairOf(pad), dilation = pairOf(dilate);
  const source = make.dense(x), data = source.data, y = out?.data, places = indices?.data;
  const [planes, h, w, OH, OW] = imageSizes(x, out ?? indices);
  return () => {
    for (let c = 0, k = 0; c < planes; c++)
      for (let i = 0; i < OH; i++)
        for (let j = 0; j < OW; j++, k++) {
          let best = -Infinity, which = -1;
          for (let u = 0, r = i * stride[0] - padding[0]; u < kernel[0]; u++, r += dilation[0]) {
            if (r < 0 || r >= h) continue;
            for (let v = 0, q = j * stride[1] - padding[1]; v < kernel[1]; v++, q += dilation[1]) {
              if (q < 0 || q >= w) continue;
              const value = data[(c * h + r) * w + q];
              if (which < 0 || value > best || value !== value) [best, which] = [value, r * w + q];
            }
          }
          if (y) y[k] = best;
          if (places) places[k] = which;
        }
  };
}

function maxPoolBackward(make, out, grad, x, kernel, stride, padding, dilation, ceil, indices) {
  const above = make.dense(grad).data, where = make.dense(indices).data, y = out.data;
  const [planes, h, w, OH, OW] = imageSizes(x, grad);
  return () => {
    y.fill(0);
    for (let k = 0; k < planes * OH * OW; k++) y[Math.floor(k / (OH * OW)) * h * w + where[k]] += above[k];
  };
}

// The part of the image under window (i, j) of a mean, and what its sum is divided by.
function meanWindows([, h, w], size, step, pad, countPad, divisor) {
  const [kh, kw] = pairOf(size), [sh, sw] = pairOf(step, [kh, kw]), [ph, pw] = pairOf(pad ?? 0);
  return (i, j) => {
    const top = i * sh - ph, left = j * sw - pw;
    const bottom = Math.min(top + kh, h + ph), right = Math.min(left + kw, w + pw), all = (bottom - top) * (right - left);
    const [t, b, l, r] = [Math.max(top, 0), Math.min(bottom, h), Math.max(left, 0), Math.min(right, w)];
    return [t, b, l, r, divisor ?? (countPad ? all : (b - t) * (r - l))];
  };
}

const adaptiveWindows = ([, h, w, OH, OW]) => (i, j) => {
  const [t, b] = [Math.floor((i * h) / OH), Math.ceil(((i + 1) * h) / OH)], [l, r] = [Math.floor((j * w) / OW), Math.ceil(((j + 1) * w) / OW)];
  return [t, b, l, r, (b - t) * (r - l)];
};

function meanPool(make, out, x, sizes, bounds) {
  const data = make.dense(x).data, w = sizes[2];
  return () =>
    overWindows(sizes, bounds, (k, base, top, bottom, left, right, divisor) => {
      let sum = 0;
      for (let r = top; r < bottom; r++) for (let q = left; q < right; q++) sum += data[base + r * w + q];
      out.data[k] = sum / divisor;
    });
}

function meanPoolBackward(make, out, grad, sizes, bounds) {
  const above = make.dense(grad).data, y = out.data, w = sizes[2];
  return () => {
    y.fill(0);
    overWindows(sizes, bounds, (k, base, top, bottom, left, right, divisor) => {
      for (let r = top; r < bottom; r++) for (let q = left; q < right; q++) y[base + r * w + q] += above[k] / divisor;
    });
  };
}

// ---- Picking and placing ----

// For gather and scatter: where in x each element of index points to, its other coordinates kept.
function pointed(make, x, dim, index) {
  const d = axis(dim, x.shape.length);
  if (x.shape.length === 0) return { to: new Int32Array(count(index.shape)), stride: 0, index: make.dense(index), n: 1 };
  const strides = rowMajor(x.shape), stride = strides[d];
  return { to: places(index.shape, strides.map((s, e) => (e === d ? 0 : s))), stride, index: make.dense(index), n: x.shape[d] };
}

function gather(make, out, x, dim, index) {
  const source = make.dense(x).data, { to, stride, index: which, n } = pointed(make, x, dim, index), y = out.data;
  return () => {
    for (let k = 0; k < to.length; k++) y[k] = source[to[k] + inRange(which.data[k], n) * stride];
  };
}

const scatter = (add) => (make, out, x, dim, index, value) => {
  const start = assign(out, x), { to, stride, index: which, n } = pointed(make, out, dim, index), y = out.data;
  const from = value?.data ? make.dense(look(value, index.shape, value.strides)).data : null;
  return () => {
    start();
    for (let k = 0; k < to.length; k++) {
      const at = to[k] + inRange(which.data[k], n) * stride, v = from ? from[k] : value;
      y[at] = add ? y[at] + v : v;
    }
  };
};

function inRange(index, n) {
  if (index < -n || index >= n) throw new Error(`index ${index} is out of range for ${n} places`);
  return index < 0 ? index + n : index;
}

function indexSelect(make, out, x, dim, index) {
  const d = axis(dim, x.shape.length), which = make.dense(index);
  const data = x.data, n = x.shape[d] ?? 1, stride = x.strides[d] ?? 0, inner = count(out.shape.slice(d + 1)), m = which.data.length;
  const from = places(out.shape, x.strides.map((s, e) => (e === d ? 0 : s)), x.offset), y = out.data;
  return () => {
    for (let k = 0; k < y.length; k++) y[k] = data[from[k] + inRange(which.data[Math.floor(k / inner) % m], n) * stride];
  };
}

// x[i, :, j] with tensors of places: the axes before, those that are looked up together, those after.
function lookup(make, x, indices) {
  const used = indices.flatMap((index, d) => (index ? [d] : [])), first = used[0];
  const plain = x.shape.map((_, d) => d).filter((d) => !used.includes(d));
  const adjacent = used.every((d, k) => d === first + k);
  const before = adjacent ? plain.filter((d) => d < first) : [], after = plain.filter((d) => !before.includes(d));
  const rank = Math.max(...used.map((d) => indices[d].shape.length)), met = new Array(rank).fill(1);
  for (const d of used) indices[d].shape.forEach((n, e) => n !== 1 && (met[rank - indices[d].shape.length + e] = n));
  const sizes = (axes) => axes.map((d) => x.shape[d]);
  const pick = (axes) => places(sizes(axes), axes.map((d) => x.strides[d]));
  const which = used.map((d) => make.dense(broadcast(indices[d], met)).data);
  const outer = pick(before), inner = pick(after), looked = count(met);
  const each = (visit) => {
    for (let o = 0, k = 0; o < outer.length; o++)
      for (let b = 0; b < looked; b++) {
        let at = x.offset + outer[o];
        for (let u = 0; u < used.length; u++) at += inRange(which[u][b], x.shape[used[u]]) * x.strides[used[u]];
        for (let i = 0; i < inner.length; i++) visit(k++, at + inner[i]);
      }
  };
  return { each, shape: [...sizes(before), ...met, ...sizes(after)] };
}

function index(make, out, x, indices) {
  const { each } = lookup(make, x, indices), y = out.data;
  return () => each((k, at) => (y[k] = x.data[at]));
}

function indexPut(make, out, x, indices, values, accumulate) {
  const start = assign(out, x), { each, shape } = lookup(make, out, indices), y = out.data;
  const v = make.dense(broadcast(values, shape)).data;
  return () => {
    start();
    each((k, at) => (y[at] = accumulate ? y[at] + v[k] : v[k]));
  };
}

function concatenate(make, out, tensors, dim = 0) {
  const d = axis(dim, out.shape.length), steps = [];
  let at = 0;
  for (const x of tensors) {
    if (x.shape.length !== out.shape.length) continue; // torch lets an empty tensor of one dimension pass
    steps.push(assign(look(out, x.shape, out.strides, at * out.strides[d]), x));
    at += x.shape[d];
  }
  return () => steps.forEach((step) => step());
}

// pad is (before, after) for the last axis, then for the one before it; negative cuts off.
function constantPad(make, out, x, pad, value = 0) {
  const n = out.shape.length, shape = [...x.shape];
  let to = 0, from = x.offset;
  for (let k = 0; 2 * k < pad.length; k++) {
    const d = n - 1 - k, [before, after] = [pad[2 * k], pad[2 * k + 1]];
    shape[d] += Math.min(before, 0) + Math.min(after, 0);
    to += Math.max(before, 0) * out.strides[d];
    from -= Math.min(before, 0) * x.strides[d];
  }
  const copy = count(shape) > 0 ? assign(look(out, shape, out.strides, to), look(x, shape, x.strides, from)) : () => {};
  return both(() => out.data.fill(value), copy);
}

const KERNELS = {
  ...Object.fromEntries(Object.entries(ELEMENTS).map(([name, f]) => [name, elementwise(f)])),
  add: scaled((a, b) => a + b, (alpha) => (a, b) => a + alpha * b),
  sub: scaled((a, b) => a - b, (alpha) => (a, b) => a - alpha * b),
  div: (make, out, a, b, mode) =>
    elementwise(mode === "floor" ? floorDivide : mode === "trunc" ? (x, y) => Math.trunc(x / y) : (x, y) => x / y)(make, out, a, b),
  round(make, out, x, decimals = 0) {
    const scale = 10 ** decimals;
    return elementwise(decimals ? (v) => roundHalfToEven(v * scale) / scale : roundHalfToEven)(make, out, x);
  },
  // A bound that is not there is no number: of whole numbers there is no infinite one.
  clamp(make, out, x, low, high) {
    if (high == null) return elementwise((v, l) => (v !== v || l !== l ? NaN : Math.max(v, l)))(make, out, x, low);
    if (low == null) return elementwise((v, h) => (v !== v || h !== h ? NaN : Math.min(v, h)))(make, out, x, high);
    return elementwise((v, l, h) => (v !== v ? v : Math.min(Math.max(v, l), h)))(make, out, x, low, high);
  },
  bitwise_not: (make, out, x) => elementwise(x.dtype === "bool" ? (v) => +(v === 0) : (v) => ~v)(make, out, x),
  to: (make, out, x) => assign(out, x),
  sum: reduction(0, (a, b) => a + b),
  mean: reduction(0, (a, b) => a + b, (sum, n) => sum / n),
  prod: (make, out, x, dim) => reduction(1, (a, b) => a * b)(make, out, x, dim ?? null),
  amax: reduction(-Infinity, Math.max),
  amin: reduction(Infinity, Math.min),
  any: reduction(0, (a, b) => +(a || b !== 0)),
  all: reduction(1, (a, b) => +(a && b !== 0)),
  argmax: (make, out, x, dim) => largest(make, [null, out], x, dim),
  argmin: (make, out, x, dim) => smallest(make, [null, out], x, dim),
  max: largest,
  min: smallest,
  var(make, out, x, dims, correction = 1) {
    const { kept, inside } = grouped(x, dims), data = x.data, n = inside.length;
    return () => {
      for (let r = 0; r < kept.length; r++) {
        let sum = 0, squares = 0;
        for (let i = 0; i < n; i++) sum += data[kept[r] + inside[i]];
        const mean = sum / n;
        for (let i = 0; i < n; i++) squares += (data[kept[r] + inside[i]] - mean) ** 2;
        out.data[r] = squares / Math.max(n - (correction ?? 1), 0);
      }
    };
  },
  cumsum: cumulativeSum, softmax, log_softmax: logSoftmax,
  sort: (make, outs, x, dim = -1, descending = false) => sorted(make, outs, x, dim, descending),
  topk: (make, outs, x, k, dim = -1, largest = true) => sorted(make, outs, x, dim, largest, k),
  mm: matrixProduct,
  bmm: matrixProduct,
  addmm(make, out, bias, a, b, beta = 1, alpha = 1) {
    const product = matrixProduct(make, out, a, b), start = broadcast(bias, out.shape);
    const f = beta === 1 && alpha === 1 ? (y, c) => y + c : (y, c) => alpha * y + beta * c;
    return both(product, elementwise(f)(make, out, out, start));
  },
  convolution,
  convolution_backward: convolutionBackward,
  batch_norm: batchNorm,
  max_pool2d: maxPool,
  max_pool2d_backward: maxPoolBackward,
  avg_pool2d(make, out, x, kernel, stride, padding, ceil, countPad = true, divisor) {
    const sizes = imageSizes(x, out);
    return meanPool(make, out, x, sizes, meanWindows(sizes, kernel, stride, padding, countPad, divisor));
  },
  avg_pool2d_backward(make, out, grad, x, kernel, stride, padding, ceil, countPad, divisor) {
    const sizes = imageSizes(x, grad);
    return meanPoolBackward(make, out, grad, sizes, meanWindows(sizes, kernel, stride, padding, countPad, divisor));
  },
  adaptive_avg_pool2d: (make, out, x) => meanPool(make, out, x, imageSizes(x, out), adaptiveWindows(imageSizes(x, out))),
  adaptive_avg_pool2d_backward(make, out, grad) {
    const sizes = imageSizes(out, grad);
    return meanPoolBackward(make, out, grad, sizes, adaptiveWindows(sizes));
  },
  cat: concatenate,
  constant_pad: constantPad,
  slice_scatter(make, out, x, source, dim = 0, start = 0, end, step = 1) {
    return both(assign(out, x), assign(VIEWS.slice(make, [source.shape], out, dim, start, end, step), source));
  },
  select_scatter(make, out, x, source, dim, at) {
    return both(assign(out, x), assign(VIEWS.select(make, [source.shape], out, dim, at), source));
  },
  gather,
  scatter: scatter(false),
  scatter_add: scatter(true),
  index_select: indexSelect,
  embedding: (make, out, weight, which) => index(make, out, weight, [which]),
  index,
  index_put: indexPut,
};

export const OPERATIONS = [...Object.keys(VIEWS), ...Object.keys(KERNELS)];

// ---- Random numbers, the same as course_lib.graph.random.Generator ----

function stirred(x) {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

export function generator(seed) {
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff) throw new Error(`seed is ${seed}; it must be a whole number from 0 to 2³² − 1`);
  let state = stirred(seed);

  function integer() {
    state = (state + 0x9e3779b9) >>> 0;
    return stirred(state);
  }
  function uniform() {
    const high = integer() >>> 5, low = integer() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }
  function normal() {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    return radius * Math.cos(2 * Math.PI * uniform());
  }
  const drawn = (draw) => (shape) => (shape ? { data: Float64Array.from({ length: count(shape) }, draw), shape } : draw());
  return { integer, uniform: drawn(uniform), normal: drawn(normal) };
}
