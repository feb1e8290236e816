// The explorer: makes the controls, draws a frame as SVG, and reads values back to its reader.
// One module for both lives: anywidget calls render() with its model; in plain HTML mountAll() gives
// render() a stand-in for the model. Every panel kind is a function that returns a drawing (paths,
// texts, perhaps pixels, and how to find and read its points); one class puts drawings on the page.

const SVG = "http://www.w3.org/2000/svg";
const GAP = 14;
const ORDER = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const FORMATS = { a: [2, 3, false], b: [2, 3, true], c: [3, 4, false], d: [3, 4, true] };

// ---- frames: the reader of frames.py's encode() ----

function unpack(text) {
  const [width, digits, signed] = FORMATS[text[0]];
  const colon = text.indexOf(":");
  const low = Number(text.slice(1, colon));
  const full = 10 ** digits, tenth = full / 10, missing = 64 ** width - 1;
  const numbers = [];
  for (let at = colon + 1; at < text.length; at += width) {
    let code = 0;
    for (let k = 0; k < width; k++) code = code * 64 + ORDER.indexOf(text[at + k]);
    if (code === missing) { numbers.push(null); continue; }
    const sign = signed && code & 1 ? "-" : "";
    if (signed) code >>= 1;
    const shift = code < full ? 0 : 1 + Math.floor((code - full) / (full - tenth));
    const mantissa = shift ? tenth + ((code - full) % (full - tenth)) : code;
    numbers.push(Number(sign + mantissa + "e" + (low + shift)));
  }
  return numbers;
}

function reader({ template, columns }) {
  const ready = columns.map((column) => {
    if (column.numbers) return unpack(column.numbers);
    return column.index ? column.index.map((k) => column.values[k]) : column.values;
  });
  const fill = (node, i) => {
    if (node === null || typeof node !== "object") return node;
    if (Array.isArray(node)) return node.map((value) => fill(value, i));
    if ("@" in node) return fill(ready[node["@"]][i], i);
    if ("#" in node) return unpack(node["#"]);
    return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, fill(value, i)]));
  };
  return { frame: (i) => fill(template, i), notes: (p, i) => fill(template.panels[p].note, i) };
}

// ---- numbers as people write them ----

const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const power = (k) => "10" + [...String(k)].map((c) => RAISED[c]).join("");
const decade = (k) => (k === 0 ? "1" : k === 1 ? "10" : power(k));
const minus = (text) => text.replace("-", "−");

function number(v, digits = 4) {
  if (v === null || v === undefined) return "not finite";
  const size = Math.abs(v);
  if (v === 0 || (size >= 1e-3 && size < 1e5)) {
    return minus(String(Number.isInteger(v) ? v : Number(v.toPrecision(digits))));
  }
  if (Number.isInteger(v) && size < 1e15) return minus(v.toLocaleString("en").replaceAll(",", "\u202f"));
  const [mantissa, exponent] = v.toExponential(digits - 1).split("e");
  const m = Number(mantissa), tail = power(Number(exponent));
  return m === 1 ? tail : m === -1 ? "−" + tail : minus(String(m)) + "×" + tail;
}

// ---- scales, ticks, text ----

// Room for text, as the page's own fonts write it. A canvas measures without making the page lay itself out.
// Figures of a chart are as wide as each other (tabular): each counts as a zero. Sizes as in explorer.css.
const FONTS = { tick: "11px", bar: "12px", name: "600 12px" };
const letters = typeof Intl !== "undefined" && Intl.Segmenter ? new Intl.Segmenter(undefined, { granularity: "grapheme" }) : null;
const split = (text) => (letters ? Array.from(letters.segment(text), (part) => part.segment) : [...text]);

class Type {
  constructor() {
    this.pen = document.createElement("canvas").getContext("2d");
    this.family = "";
    this.known = new Map();
  }

  // The fonts that a node inherits; what was measured is forgotten where they are others, or have been loaded since.
  of(node, loaded) {
    const { fontFamily } = getComputedStyle(node);
    if (loaded || fontFamily !== this.family) this.known.clear();
    this.family = fontFamily;
    return this;
  }

  wide(text, font = "tick") {
    const key = font + text;
    let width = this.known.get(key);
    if (width === undefined) {
      if (this.known.size > 5000) this.known.clear();
      this.pen.font = `${FONTS[font]} ${this.family}`;
      width = this.pen.measureText(text.replace(/\d/g, "0")).width;
      this.known.set(key, width);
    }
    return width;
  }

  widest(texts, font) {
    return Math.max(0, ...texts.map((text) => this.wide(text, font)));
  }

  // The text, or as many of its letters as there is room for, and an ellipsis.
  cut(text, room, font) {
    if (this.wide(text, font) <= room) return text;
    const parts = split(text);
    let low = 0, high = parts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.wide(parts.slice(0, middle).join("") + "…", font) <= room) low = middle;
      else high = middle - 1;
    }
    return parts.slice(0, low).join("") + "…";
  }
}

const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
const at = (v) => Math.round(v * 10) / 10;

function scale(low, high, from, to, log) {
  const f = log ? Math.log10 : (v) => v;
  const a = f(low), b = f(high);
  const slope = (to - from) / (b - a || 1);
  return (v) => from + (f(v) - a) * slope;
}

const unscale = (low, high, from, to, log) => (at) => {
  const share = (at - from) / (to - from);
  return log ? low * (high / low) ** share : low + share * (high - low);
};

// How a drawing's places and axis values belong together, for what is dragged on it.
const plane = (sx, sy, box, [xlow, xhigh, xlog], [ylow, yhigh, ylog]) => ({
  toX: sx, toY: sy,
  fromX: unscale(xlow, xhigh, box.left, box.right, xlog),
  fromY: unscale(ylow, yhigh, box.bottom, box.top, ylog),
});

// A few round values inside [low, high]: {values, labels, factor}; labels are to be multiplied by factor.
function ticks(low, high, most, log) {
  if (log) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    if (last > first) {
      // Whole multiples of the step, so that 1 is among them where it is on the axis.
      const inside = (step) => Math.floor(last / step) - Math.ceil(first / step) + 1;
      const step = [1, 2, 3, 4, 5, 6, 8, 10, 12, 20, 30, 50, 100].find((step) => inside(step) <= most) ?? 100;
      const values = [];
      for (let k = Math.ceil(first / step) * step; k <= last; k += step) values.push(k);
      return { values: values.map((k) => 10 ** k), labels: values.map(decade), factor: "" };
    }
  }
  // The largest round step that gives at least two ticks, the smallest that keeps to 'most'.
  const inside = (step) => Math.floor(high / step + 1e-6) - Math.ceil(low / step - 1e-6) + 1;
  const unit = 10 ** Math.floor(Math.log10((high - low) / most));
  const steps = [0.5, 1, 2, 5, 10].map((m) => m * unit);
  const step = steps.find((step, k) => inside(step) <= most || inside(steps[k + 1] ?? 1e99) < 2);
  const values = [];
  for (let k = Math.ceil(low / step - 1e-6); k * step <= high + step * 1e-6; k++) values.push(k * step);
  const top = Math.max(Math.abs(low), Math.abs(high));
  const e = top >= 1e4 || top < 1e-2 ? Math.floor(Math.log10(top)) : 0;
  const decimals = clamp(Math.ceil(-Math.log10(step / 10 ** e) - 1e-9), 0, 6);
  return {
    values,
    labels: values.map((v) => Math.abs(v) < step / 1e3 ? "0" : minus((v / 10 ** e).toFixed(decimals))),
    factor: e ? "×" + power(e) : "",
  };
}

// A number line in decades for values that are logarithms already.
function decades(low, high, most) {
  const t = ticks(low, high, most, false);
  const step = Math.max(1, Math.round(t.values[1] - t.values[0]) || 1);
  const values = [];
  for (let k = Math.ceil(low / step) * step; k <= high; k += step) values.push(k);
  if (values.length < 2) return { ...t, labels: t.values.map((v) => number(10 ** v, 2)), factor: "" };
  return { values, labels: values.map(decade), factor: "" };
}

// Ticks of a horizontal axis, as many as stand apart: make(most) gives them, 'across' places them.
function spaced(type, make, most, across) {
  for (let n = Math.max(2, most); ; n--) {
    const t = make(n), apart = t.values.length > 1 ? Math.abs(across(t.values[1]) - across(t.values[0])) : Infinity;
    if (type.widest(t.labels) + 8 <= apart) return t;
    if (n === 2) return { ...t, values: t.values.slice(0, 1), labels: t.labels.slice(0, 1) };
  }
}

// Room left of an upright axis for its labels, and never less than 'least', so that panels stand in line.
const margin = (type, { labels }, least) => Math.max(least, Math.ceil(type.widest(labels)) + 7);

// Axes of a plot box {left, right, top, bottom}: grid, base line, tick labels, names.
function axes(drawing, box, sx, sy, tx, ty, xlabel, ylabel) {
  const { left, right, top, bottom } = box;
  let grid = "";
  ty.values.forEach((v, k) => {
    const y = at(sy(v));
    grid += `M${left} ${y}H${right}`;
    drawing.texts.push([left - 6, y + 4, "end", "ce-tick", ty.labels[k]]);
  });
  let marks = `M${left} ${bottom}H${right}`;
  tx.values.forEach((v, k) => {
    const label = drawing.type.cut(tx.labels[k], drawing.width), x = at(sx(v)), half = drawing.type.wide(label) / 2;
    marks += `M${x} ${bottom}v4`;
    const shift = Math.min(0, drawing.width - x - half) + Math.max(0, half - x);
    drawing.texts.push([x + shift, bottom + 16, "middle", "ce-tick", label]);
  });
  drawing.paths.unshift(["ce-grid", grid]);
  drawing.paths.push(["ce-axis", marks]);
  if (ylabel || ty.factor) {
    const text = [ylabel, ty.factor && `(${ty.factor})`].filter(Boolean).join(" ");
    drawing.texts.push([0, 11, "start", "ce-axis-name", drawing.type.cut(text, drawing.width)]);
  }
  const name = [xlabel, tx.factor && `(${tx.factor})`].filter(Boolean).join(" ");
  drawing.texts.push([right, bottom + 31, "end", "ce-axis-name", drawing.type.cut(name, right)]);
}

const empty = (type, width, height) => ({ type, width, height, paths: [], texts: [], points: 0, row: 0 });

function nothing(drawing, box) {
  const x = (box.left + box.right) / 2, text = drawing.type.cut("no finite values", 2 * Math.min(x, drawing.width - x));
  drawing.texts.push([x, (box.top + box.bottom) / 2, "middle", "ce-none", text]);
}

// ---- the seven kinds of panel ----

function histogram(type, p, width) {
  const height = clamp(Math.round(width * 0.72), 112, 200);
  const drawing = empty(type, width, height + (p.ylabel ? 6 : 0));
  const box = { left: 0, right: width - 4, top: p.ylabel ? 22 : 8, bottom: drawing.height - 36 };
  const n = p.heights.length, top = Math.max(...p.heights) || 1;
  const ty = ticks(0, top * 1.04, Math.max(2, Math.floor((box.bottom - box.top) / 40)));
  box.left = margin(type, ty, 36);
  const [low, high] = p.range;
  const sx = scale(low, high, box.left, box.right), sy = scale(0, top * 1.04, box.bottom, box.top);
  const w = (box.right - box.left) / n, gap = w > 5 ? 1 : 0;
  const bar = (k) => {
    const h = Math.max(box.bottom - sy(p.heights[k]), p.heights[k] > 0 ? 1 : 0);
    return `M${at(box.left + k * w)} ${box.bottom}v${at(-h)}h${at(w - gap)}v${at(h)}z`;
  };
  let d = "";
  for (let k = 0; k < n; k++) if (p.heights[k] > 0) d += bar(k);
  drawing.paths.push([`ce-fill ce-s${p.series}`, d]);
  if (!p.log && low < 0 && high > 0) drawing.paths.push(["ce-zero", `M${at(sx(0))} ${box.bottom}V${box.top}`]);
  const make = (most) => (p.log ? decades(low, high, most) : ticks(low, high, most));
  const tx = spaced(type, make, Math.floor((box.right - box.left) / 52), sx);
  axes(drawing, box, sx, sy, tx, ty, p.xlabel, p.ylabel);
  if (!d) nothing(drawing, box);
  const edge = (k) => {
    const v = low + (k / n) * (high - low);
    return number(p.log ? 10 ** v : Math.abs(v) < (high - low) * 1e-9 ? 0 : v, 3);
  };
  return Object.assign(drawing, {
    points: n,
    find: (x) => clamp(Math.floor((x - box.left) / w), 0, n - 1),
    read: (k) => ({
      x: box.left + (k + 0.5) * w,
      y: sy(p.heights[k]),
      d: bar(k) || "",
      text: `${p.log ? "|" + (p.xlabel || "value") + "| " : ""}${edge(k)} to ${edge(k + 1)}\n${number(100 * p.heights[k], 3)} % of values`,
    }),
  });
}

const SHAPES = {
  o: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
  s: (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
  "^": (x, y, r) => `M${x} ${y - r * 1.2}l${r * 1.2} ${r * 2.1}h${-r * 2.4}z`,
  v: (x, y, r) => `M${x} ${y + r * 1.2}l${r * 1.2} ${-r * 2.1}h${-r * 2.4}z`,
  D: (x, y, r) => `M${x} ${y - r * 1.3}l${r * 1.3} ${r * 1.3}l${-r * 1.3} ${r * 1.3}l${-r * 1.3} ${-r * 1.3}z`,
  P: (x, y, r) => `M${x - r} ${y}h${2 * r}M${x} ${y - r}v${2 * r}`,
};

function extent(values, log) {
  let low = Infinity, high = -Infinity;
  for (const v of values) if (v !== null) { low = Math.min(low, v); high = Math.max(high, v); }
  if (low > high) return log ? [0.1, 1, true] : [0, 1, true];
  if (log) return low === high ? [low / 2, high * 2] : [low / 1.08, high * 1.08];
  const room = high - low || Math.abs(high) || 1;
  return [low >= 0 && low < 0.3 * room ? 0 : low - 0.04 * room, high + 0.04 * room];
}

function lines(type, p, width, spec) {
  const names = type.widest(p.labels, "name");
  const direct = width >= 440 && p.labels.length > 1 && names < width / 4;
  const height = clamp(Math.round(width * 0.62), 190, 300);
  const drawing = empty(type, width, height);
  const box = { left: 0, right: width - (direct ? names + 20 : 8), top: p.ylabel || !p.ylog ? 24 : 10, bottom: height - 38 };
  const [xlow, xhigh] = p.xlim || (p.x.length > 1 ? [Math.min(...p.x), Math.max(...p.x)] : [p.x[0] - 0.5, p.x[0] + 0.5]);
  const auto = extent(p.y.flat(), p.ylog);
  const [ylow, yhigh] = p.ylim || auto;
  const ty = ticks(ylow, yhigh, Math.max(3, Math.floor((box.bottom - box.top) / 30)), p.ylog);
  box.left = margin(type, ty, 42);
  const sx = scale(xlow, xhigh, box.left, box.right, p.xlog), sy = scale(ylow, yhigh, box.bottom, box.top, p.ylog);
  const upto = p.upto ?? Infinity;
  const inside = (i) => i <= upto && p.x[i] >= xlow && p.x[i] <= xhigh;
  const ends = [];
  p.y.forEach((ys, s) => {
    let d = "", dots = "", pen = "M", alone = "";
    const every = Math.max(1, Math.round(ys.length / 6)), mark = spec.markers[s];
    ys.forEach((v, i) => {
      if (v === null || !inside(i)) { pen = "M"; return; }
      const x = at(sx(p.x[i])), y = at(clamp(sy(v), box.top - 2, box.bottom + 2));
      d += `${pen}${x} ${y}`;
      pen = "L";
      const lonely = (i === 0 || ys[i - 1] === null) && (i === ys.length - 1 || ys[i + 1] === null);
      if (p.labels.length > 1 || lonely) if (i % every === Math.round((s * every) / 6) % every || lonely) dots += SHAPES[mark](x, y, 3);
      ends[s] = [x, y];
    });
    drawing.paths.push([`ce-line ce-s${s + 1}`, d, spec.dashes[s].join(" ")]);
    drawing.paths.push([`ce-dot ce-s${s + 1}`, dots]);
  });
  const tx = spaced(type, (most) => ticks(xlow, xhigh, most, p.xlog), Math.floor((box.right - box.left) / 64), sx);
  axes(drawing, box, sx, sy, tx, ty, p.xlabel, p.ylabel);
  if (auto[2]) nothing(drawing, box);
  if (direct) {
    // Names stand where their lines end, pushed apart until none covers another.
    const named = p.labels.map((label, s) => ({ label, s, y: ends[s] ? ends[s][1] : null })).filter((e) => e.y !== null);
    named.sort((a, b) => a.y - b.y);
    named.forEach((e, k) => { if (k) e.y = Math.max(e.y, named[k - 1].y + 14); });
    for (let k = named.length - 1, floor = box.bottom; k >= 0; k--, floor -= 14) named[k].y = Math.min(named[k].y, floor);
    for (const e of named) drawing.texts.push([box.right + 8, e.y + 4, "start", `ce-name ce-s${e.s + 1}`, e.label]);
  }
  const px = p.x.map(sx);
  return Object.assign(drawing, {
    plane: plane(sx, sy, box, [xlow, xhigh, p.xlog], [ylow, yhigh, p.ylog]),
    legend: direct || p.labels.length < 2 ? null : p.labels,
    points: Math.min(p.x.length, upto + 1),
    find: (x) => px.slice(0, upto + 1).reduce((best, v, i) => (Math.abs(v - x) < Math.abs(px[best] - x) ? i : best), 0),
    read: (i) => {
      const ys = p.y.map((y) => y[i]).filter((v) => v !== null).map((v) => clamp(sy(v), box.top, box.bottom));
      return {
        x: clamp(px[i], box.left, box.right),
        y: ys.length ? Math.min(...ys) : box.top,
        d: `M${at(px[i])} ${box.top}V${box.bottom}` + ys.map((y) => SHAPES.o(at(px[i]), at(y), 4)).join(""),
        text: `${p.xlabel || "x"} ${number(p.x[i])}\n` + p.labels.map((l, s) => `${l}: ${number(p.y[s][i])}`).join("\n"),
      };
    },
  });
}

function bars(type, p, width) {
  const row = 26, n = p.labels.length;
  const drawing = empty(type, width, n * row + 42);
  const values = p.values.map((v) => v ?? 0);
  const low = p.xlim ? p.xlim[0] : Math.min(0, ...values), high = p.xlim ? p.xlim[1] : Math.max(0, ...values) || (low < 0 ? 0 : 1);
  const room = type.widest(p.values.map((v) => number(v, 3)), "bar") + 8, taken = 80 + room * ((low < 0) + (high > 0));
  const labels = p.labels.map((label) => type.cut(label, clamp(width - taken, 0.15 * width, 0.4 * width), "bar"));
  const left = type.widest(labels, "bar") + 8, box = { left, right: width - 12, top: 4, bottom: n * row + 6 };
  // Beyond its limits a bar ends at the edge, where its number still has room.
  const from = box.left + (low < 0 ? room : 0), to = box.right - (high > 0 ? room : 0), line = scale(low, high, from, to);
  const sx = (v) => clamp(line(v), from, to), zero = sx(0);
  const rect = (k) => {
    const x = sx(values[k]), a = Math.min(zero, x), w = Math.max(Math.abs(x - zero), 1);
    return `M${at(a)} ${box.top + k * row + 4}h${at(w)}v${row - 8}h${at(-w)}z`;
  };
  drawing.paths.push([`ce-fill ce-s${p.series}`, p.values.map((v, k) => (v === null ? "" : rect(k))).join("")]);
  axes(drawing, box, sx, (y) => y, spaced(type, (most) => ticks(low, high, most), Math.floor((box.right - left) / 80), sx), { values: [], labels: [] }, p.xlabel, "");
  drawing.paths.push(["ce-axis", `M${at(zero)} ${box.top}V${box.bottom}`]);
  p.values.forEach((v, k) => {
    const y = box.top + k * row + row / 2 + 4, x = sx(values[k]);
    drawing.texts.push([left - 8, y, "end", "ce-bar-name", labels[k]]);
    drawing.texts.push([v < 0 ? x - 5 : x + 5, y, v < 0 ? "end" : "start", "ce-value", number(v, 3)]);
  });
  return Object.assign(drawing, {
    points: n,
    row: 1,
    find: (x, y) => clamp(Math.floor((y - box.top) / row), 0, n - 1),
    read: (k) => ({ x: sx(values[k]), y: box.top + k * row + 4, d: p.values[k] === null ? "" : rect(k), text: `${p.labels[k]}: ${number(p.values[k])}` }),
  });
}

function scatter(type, p, width, spec) {
  const height = clamp(Math.round(width * 0.7), 220, 380);
  const drawing = empty(type, width, height);
  const box = { left: 0, right: width - 12, top: p.ylabel || !p.ylog ? 24 : 10, bottom: height - 38 };
  const [xlow, xhigh] = p.xlim || extent(p.x.flat(), p.xlog), [ylow, yhigh] = p.ylim || extent(p.y.flat(), p.ylog);
  const ty = ticks(ylow, yhigh, Math.max(3, Math.floor((box.bottom - box.top) / 36)), p.ylog);
  box.left = margin(type, ty, 48);
  const sx = scale(xlow, xhigh, box.left, box.right, p.xlog), sy = scale(ylow, yhigh, box.bottom, box.top, p.ylog);
  const tx = spaced(type, (most) => ticks(xlow, xhigh, most, p.xlog), Math.floor((box.right - box.left) / 64), sx);
  axes(drawing, box, sx, sy, tx, ty, p.xlabel, p.ylabel);
  if (p.box) {
    const [left, right, low, high] = p.box, x = at(clamp(sx(left), box.left, box.right)), y = at(clamp(sy(high), box.top, box.bottom));
    drawing.paths.push(["ce-box", `M${x} ${y}H${at(clamp(sx(right), box.left, box.right))}V${at(clamp(sy(low), box.top, box.bottom))}H${x}z`]);
  }
  const points = [], stops = spec.maps[p.colours], [low, high] = p.limits || [0, 1];
  const layers = stops.map(() => "");
  let lost = "";
  p.x.forEach((xs, s) => {
    let dots = "";
    xs.forEach((v, i) => {
      if (v < xlow || v > xhigh || p.y[s][i] < ylow || p.y[s][i] > yhigh) return;
      const x = at(sx(v)), y = at(sy(p.y[s][i])), z = p.values ? p.values[i] : undefined;
      // A value is seen twice, as colour and as size, so that it can be read without colour.
      const share = z === undefined || z === null ? 0.2 : clamp((z - low) / (high - low), 0, 1), r = at(2.4 + 3.6 * share);
      if (z === undefined) dots += SHAPES[spec.markers[s]](x, y, 3.2);
      else if (z === null) lost += `M${at(x - 3)} ${at(y - 3)}l6 6m0 -6l-6 6`;
      else layers[Math.round(share * (stops.length - 1))] += SHAPES.o(x, y, r);
      const name = p.labels.length > 1 ? p.labels[s] + "\n" : "", value = z === undefined ? "" : `\n${p.zlabel || "value"} ${number(z)}`;
      points.push({ x, y, text: `${name}${p.xlabel || "x"} ${number(v)}, ${p.ylabel || "y"} ${number(p.y[s][i])}${value}` });
    });
    if (!p.values) drawing.paths.push([`ce-dot ce-s${s + 1}`, dots]);
  });
  if (p.values) {
    drawing.paths.push(["ce-lost", lost]);
    layers.forEach((d, k) => drawing.paths.push(["ce-point", d, "", stops[k]]));
  }
  return Object.assign(drawing, {
    plane: plane(sx, sy, box, [xlow, xhigh, p.xlog], [ylow, yhigh, p.ylog]),
    legend: p.labels.length > 1 ? p.labels : null,
    dots: true,
    bar: p.values ? { low: `${p.zlabel} ${number(low, 3)}`, high: number(high, 3), stops } : null,
    points: points.length,
    find: (x, y) => points.reduce((best, q, k) => (Math.hypot(q.x - x, q.y - y) < Math.hypot(points[best].x - x, points[best].y - y) ? k : best), 0),
    read: (k) => ({ ...points[k], d: SHAPES.o(points[k].x, points[k].y, 7) }),
  });
}

// Pixels of an image or a heat map in a plot box, with the cell under the pointer outlined.
function cells(drawing, box, p, rgba, text) {
  const w = (box.right - box.left) / p.columns, h = (box.bottom - box.top) / p.rows;
  const frame = (row, column, high, wide) => `M${at(box.left + column * w)} ${at(box.top + row * h)}h${at(wide * w)}v${at(high * h)}h${at(-wide * w)}z`;
  for (const [row, column, high, wide, series] of p.marks) {
    drawing.paths.push(["ce-halo", frame(row, column, high, wide)], [`ce-frame ce-s${series}`, frame(row, column, high, wide)]);
  }
  return Object.assign(drawing, {
    pixels: { ...box, rows: p.rows, columns: p.columns, rgba },
    points: p.rows * p.columns,
    row: p.columns,
    find: (x, y) => clamp(Math.floor((y - box.top) / h), 0, p.rows - 1) * p.columns + clamp(Math.floor((x - box.left) / w), 0, p.columns - 1),
    read: (k) => {
      const row = Math.floor(k / p.columns), column = k % p.columns;
      return { x: box.left + (column + 0.5) * w, y: box.top + row * h, d: frame(row, column, 1, 1), text: text(k) };
    },
  });
}

function image(type, p, width) {
  const fit = Math.min(width, 280, (280 * p.columns) / p.rows);
  const shown = fit >= 2 * p.columns ? p.columns * Math.floor(fit / p.columns) : fit;
  const tall = (shown * p.rows) / p.columns;
  const drawing = empty(type, width, tall + (p.xlabel ? 20 : 2));
  const box = { left: 0, right: shown, top: 0, bottom: tall };
  if (p.xlabel) drawing.texts.push([0, tall + 15, "start", "ce-axis-name", type.cut(p.xlabel, width)]);
  const bytes = typeof p.pixels === "string" ? Uint8Array.from(atob(p.pixels), (byte) => byte.charCodeAt(0)) : p.pixels;
  const c = p.channels, gaps = new Set(p.gaps), [low, high] = p.limits;
  const rgba = new Uint8ClampedArray(p.rows * p.columns * 4);
  for (let k = 0; k < p.rows * p.columns; k++) {
    for (let j = 0; j < 3; j++) rgba[4 * k + j] = bytes[k * c + (c === 3 ? j : 0)];
    rgba[4 * k + 3] = gaps.has(k) ? 0 : 255;
  }
  return cells(drawing, box, p, rgba, (k) => {
    const parts = Array.from({ length: c }, (_, j) => number(low + (bytes[k * c + j] / 255) * (high - low), 3));
    return `row ${Math.floor(k / p.columns)}, column ${k % p.columns}\n${gaps.has(k) ? "not finite" : parts.join(", ")}`;
  });
}

const channels = (colour) => [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));

function heatmap(type, p, width, spec) {
  const [a, b] = p.ylim || [0, p.rows - 1], most = Math.max(2, Math.floor(320 / 30));
  const left = p.rowNames ? Math.min(type.widest(p.rowNames) + 10, width * 0.35) : margin(type, ticks(Math.min(a, b), Math.max(a, b), most), 38);
  const across = width - left - 10;
  const tall = clamp((across / p.columns) * p.rows, Math.min(p.rows * 14, 90), Math.min(across, 320));
  const top = p.ylabel ? 22 : 6;
  const drawing = empty(type, width, top + tall + 38);
  const box = { left, right: width - 10, top, bottom: top + tall };
  const [low, high] = p.limits, stops = spec.maps[p.colours].map(channels);
  const rgba = new Uint8ClampedArray(p.rows * p.columns * 4);
  p.values.forEach((v, k) => {
    if (v === null) return;
    const t = clamp((v - low) / (high - low), 0, 1) * (stops.length - 1), s = Math.min(Math.floor(t), stops.length - 2);
    for (let j = 0; j < 3; j++) rgba[4 * k + j] = stops[s][j] + (t - s) * (stops[s + 1][j] - stops[s][j]);
    rgba[4 * k + 3] = 255;
  });
  // Names stand in the middle of their cells; numbers at round values between the edges.
  const axis = (names, limits, n, from, to, room, upright) => {
    if (names) {
      const step = Math.ceil(n / Math.max(1, Math.floor(Math.abs(to - from) / room)));
      const shown = names.map((_, k) => k).filter((k) => k % step === 0);
      return [(k) => from + ((k + 0.5) / n) * (to - from), { values: shown, labels: shown.map((k) => names[k]) }];
    }
    const whole = !limits, [a, b] = limits || [-0.5, n - 0.5];
    const place = scale(a, b, from, to), most = Math.max(2, Math.floor(Math.abs(to - from) / room));
    const make = (most) => ticks(Math.min(a, b), Math.max(a, b), most), t = upright ? make(most) : spaced(type, make, most, place);
    const keep = t.values.map((v, k) => k).filter((k) => !whole || Number.isInteger(Number(t.values[k].toFixed(6))));
    const labels = keep.map((k) => (whole ? String(Math.round(t.values[k])) : t.labels[k]));
    return [place, { values: keep.map((k) => t.values[k]), labels, factor: whole ? "" : t.factor }];
  };
  const longest = p.columnNames ? type.widest(p.columnNames) + 8 : 52;
  const [sx, tx] = axis(p.columnNames, p.xlim, p.columns, box.left, box.right, longest);
  const [sy, ty] = axis(p.rowNames, p.ylim, p.rows, box.top, box.bottom, p.rowNames ? 15 : 30, true);
  if (p.rowNames) ty.labels = ty.labels.map((label) => type.cut(label, left - 8));
  axes(drawing, box, sx, sy, tx, ty, p.xlabel, p.ylabel);
  drawing.paths.shift();
  if (p.written) write(drawing, box, p, rgba);
  drawing.bar = { low: number(low, 3), high: number(high, 3), stops: spec.maps[p.colours] };
  const place = (names, limits, n, k, word) =>
    names ? names[k] : `${word} ${number(limits ? limits[0] + ((k + 0.5) / n) * (limits[1] - limits[0]) : k, 3)}`;
  return cells(drawing, box, p, rgba, (k) => {
    const i = Math.floor(k / p.columns), j = k % p.columns;
    return `${place(p.rowNames, p.ylim, p.rows, i, p.ylabel || "row")}, ${place(p.columnNames, p.xlim, p.columns, j, p.xlabel || "column")}\n${number(p.values[k])}`;
  });
}

// Each cell's number in its middle, dark on light cells and light on dark ones, if all of them have room.
function write(drawing, box, p, rgba) {
  const w = (box.right - box.left) / p.columns, h = (box.bottom - box.top) / p.rows;
  const room = (texts) => drawing.type.widest(texts) <= w - 2;
  // As many decimals everywhere as the largest number needs, as in a printed matrix.
  const known = p.values.filter((v) => v !== null), top = Math.max(...known.map(Math.abs), 1e-9);
  const whole = known.every(Number.isInteger), decimals = (digits) => clamp(digits - 1 - Math.floor(Math.log10(top)), 0, 9);
  const text = (v, digits) => (v === null ? "" : minus(v.toFixed(whole ? 0 : decimals(digits)).replace(/^-(0\.?0*)$/, "$1")));
  const texts = [3, 2].map((digits) => p.values.map((v) => text(v, digits))).find(room);
  if (!texts || h < 13) return;
  texts.forEach((text, k) => {
    const bright = 0.3 * rgba[4 * k] + 0.59 * rgba[4 * k + 1] + 0.11 * rgba[4 * k + 2] > 140;
    const x = box.left + ((k % p.columns) + 0.5) * w, y = box.top + (Math.floor(k / p.columns) + 0.5) * h + 4;
    drawing.texts.push([x, y, "middle", bright ? "ce-on-light" : "ce-on-dark", text]);
  });
}

// The part of a segment inside a box (Liang and Barsky): [x1, y1, x2, y2], or null.
function clipped(x1, y1, x2, y2, { left, right, top, bottom }) {
  let from = 0, to = 1;
  for (const [step, room] of [[x1 - x2, x1 - left], [x2 - x1, right - x1], [y1 - y2, y1 - top], [y2 - y1, bottom - y1]]) {
    if (step === 0 && room < 0) return null;
    if (step < 0) from = Math.max(from, room / step);
    if (step > 0) to = Math.min(to, room / step);
  }
  return from > to ? null : [x1 + from * (x2 - x1), y1 + from * (y2 - y1), x1 + to * (x2 - x1), y1 + to * (y2 - y1)];
}

function landscape(type, p, width, spec) {
  const [xlow, xhigh] = p.xlim, [ylow, yhigh] = p.ylim, top = p.ylabel ? 24 : 10;
  // One scale for both axes, in the width that there is or, where that were too tall, in 420 pixels of height.
  const tallest = Math.min(420, ((width - 48) / (xhigh - xlow)) * (yhigh - ylow));
  const ty = ticks(ylow, yhigh, Math.max(2, Math.floor(tallest / 36))), left = margin(type, ty, 38);
  const unit = Math.min((width - left - 10) / (xhigh - xlow), 420 / (yhigh - ylow));
  const tall = unit * (yhigh - ylow), across = unit * (xhigh - xlow);
  const drawing = empty(type, width, top + tall + 38);
  const box = { left, right: left + across, top, bottom: top + tall };
  const sx = scale(xlow, xhigh, box.left, box.right), sy = scale(ylow, yhigh, box.bottom, box.top);
  const within = (x, y) => x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
  const tx = spaced(type, (most) => ticks(xlow, xhigh, most), Math.floor(across / 64), sx);
  axes(drawing, box, sx, sy, tx, ty, p.xlabel, p.ylabel);
  drawing.paths.shift();
  drawing.paths.push(["ce-axis", `M${box.left} ${box.bottom}V${box.top}H${box.right}V${box.bottom}`]);
  // A level is written on its line, right of the middle and in the upper half, where the line passes there.
  const column = box.left + 0.62 * across;
  let ceiling = Infinity;
  for (const { level, x: xs, y: ys } of p.contours) {
    let d = "", pen = "M", best = null;
    xs.forEach((v, i) => {
      if (v === null) { pen = "M"; return; }
      const x = at(sx(v)), y = at(sy(ys[i])), off = Math.abs(x - column);
      d += `${pen}${x} ${y}`;
      pen = "L";
      if (off < 0.05 * across && y > box.top + 8 && y < box.top + tall / 2 && (!best || off < best[2])) best = [x, y, off];
    });
    drawing.paths.push(["ce-contour", d]);
    if (best && Math.abs(best[1] - ceiling) > 13) {
      drawing.texts.push([best[0], best[1] + 4, "middle", "ce-tick ce-level", number(level, 3)]);
      ceiling = best[1];
    }
  }
  const points = [];
  p.paths.forEach((path, s) => {
    const last = Math.min(p.upto ?? Infinity, path.x.length - 1), mark = spec.markers[s];
    let d = "", dots = "", before = null, end = null;
    for (let i = 0; i <= last; i++) {
      if (path.x[i] === null || path.y[i] === null) { before = null; continue; }
      const x = sx(path.x[i]), y = sy(path.y[i]), part = before && clipped(...before, x, y, box);
      if (part) d += `M${at(part[0])} ${at(part[1])}L${at(part[2])} ${at(part[3])}`;
      before = [x, y];
      if (!within(x, y)) continue;
      end = [at(x), at(y)];
      if (i === 0) dots += SHAPES.o(...end, 7);
      else if (i < last) dots += SHAPES[mark](...end, 1.6);
      points.push({ x, y, text: `${path.label}, ${i ? `step ${i}` : "start"}\n${p.xlabel || "x"} ${number(path.x[i])}, ${p.ylabel || "y"} ${number(path.y[i])}` });
    }
    drawing.paths.push([`ce-line ce-path ce-s${s + 1}`, d, spec.dashes[s].join(" ")]);
    drawing.paths.push([`ce-line ce-path ce-s${s + 1}`, dots]);
    drawing.paths.push([`ce-dot ce-s${s + 1}`, end && last ? SHAPES[mark](...end, 4.5) : ""]);
  });
  return Object.assign(drawing, {
    plane: plane(sx, sy, box, [xlow, xhigh], [ylow, yhigh]),
    legend: p.paths.length > 1 ? p.paths.map((path) => path.label) : null,
    points: points.length,
    find: (x, y) => points.reduce((best, q, k) => (Math.hypot(q.x - x, q.y - y) < Math.hypot(points[best].x - x, points[best].y - y) ? k : best), 0),
    read: (k) => ({ ...points[k], d: SHAPES.o(at(points[k].x), at(points[k].y), 6) }),
  });
}

const DRAW = { histogram, lines, bars, scatter, image, heatmap, landscape };
const LEAST = { histogram: 116, lines: 250, bars: 230, scatter: 250, image: 110, heatmap: 220, landscape: 300 };
const NOUN = { histogram: "Histogram", lines: "Line chart", bars: "Bar chart", scatter: "Scatter plot", image: "Image", heatmap: "Heat map", landscape: "Contour map" };

// ---- the page ----

function make(tag, className, parent, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

// Attributes and text are written only where they changed: that is most of what a repaint saves.
function put(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

function svgNodes(parent, tag, wanted) {
  while (parent.children.length > wanted) parent.lastChild.remove();
  while (parent.children.length < wanted) parent.append(document.createElementNS(SVG, tag));
  return parent.children;
}

class Panel {
  constructor(parent, spec, tip, type) {
    Object.assign(this, { spec, tip, type });
    this.point = null;
    this.root = make("div", "ce-panel", parent);
    this.root.tabIndex = 0;
    this.root.setAttribute("role", "img");
    const head = make("div", "ce-head", this.root);
    this.title = make("div", "ce-panel-title", head);
    this.note = make("div", "ce-note", head);
    this.legend = make("div", "ce-legend", head);
    this.plot = make("div", "ce-plot", this.root);
    this.canvas = make("canvas", "ce-pixels", this.plot);
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("aria-hidden", "true");
    [this.paths, this.mark, this.texts] = ["g", "path", "g"].map((tag) => this.svg.appendChild(document.createElementNS(SVG, tag)));
    this.mark.setAttribute("class", "ce-mark");
    this.plot.append(this.svg);
    this.listen();
  }

  listen() {
    const follow = (event) => {
      const box = this.plot.getBoundingClientRect();
      const ratio = this.drawing.width / box.width;
      this.show(this.drawing.find((event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio), false);
    };
    this.plot.addEventListener("pointermove", follow);
    this.plot.addEventListener("pointerdown", follow);
    // A finger that lifts leaves the value standing; the next touch elsewhere takes it away.
    this.plot.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.hide());
    this.root.addEventListener("blur", () => this.hide());
    this.root.addEventListener("keydown", (event) => {
      const { points, row } = this.drawing, now = this.point;
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row }[event.key];
      if (event.key === "Escape" && now !== null) this.hide();
      else if (event.key === "Home" && now !== null) this.show(0, true);
      else if (event.key === "End" && now !== null) this.show(points - 1, true);
      else if (step && points) this.show(now === null ? 0 : now + step >= 0 && now + step < points ? now + step : now, true);
      else return;
      event.preventDefault();
    });
  }

  draw(panel, width, longest) {
    this.panel = panel;
    const drawing = (this.drawing = DRAW[panel.kind](this.type, panel, width, this.spec));
    if (this.title.textContent !== panel.title) this.title.textContent = panel.title;
    if (this.note.firstChild?.data !== panel.note) this.note.textContent = panel.note;
    // The longest note of all frames keeps its room, so that nothing jumps when a control moves.
    if (this.note.dataset.room !== longest) this.note.dataset.room = longest;
    put(this.root, "aria-label", [panel.title, `${NOUN[panel.kind]}${panel.xlabel ? " of " + panel.xlabel : ""}`, panel.note].filter(Boolean).join(". "));
    put(this.svg, "viewBox", `0 0 ${at(drawing.width)} ${at(drawing.height)}`);
    this.plot.style.aspectRatio = `${at(drawing.width)} / ${at(drawing.height)}`;
    const paths = svgNodes(this.paths, "path", drawing.paths.length);
    drawing.paths.forEach(([name, d, dash, fill], k) => {
      put(paths[k], "class", name);
      put(paths[k], "fill", fill || "none");
      put(paths[k], "d", d);
      put(paths[k], "stroke-dasharray", dash || "none");
    });
    const texts = svgNodes(this.texts, "text", drawing.texts.length);
    drawing.texts.forEach(([x, y, anchor, name, text], k) => {
      put(texts[k], "x", at(x));
      put(texts[k], "y", at(y));
      put(texts[k], "text-anchor", anchor);
      put(texts[k], "class", name);
      if (texts[k].textContent !== text) texts[k].textContent = text;
    });
    this.paint(drawing);
    this.drawLegend(drawing);
    this.drawn?.();
    if (this.point !== null) this.show(Math.min(this.point, drawing.points - 1), false);
  }

  paint({ pixels, width, height }) {
    this.canvas.hidden = !pixels;
    if (!pixels) return;
    if (this.canvas.width !== pixels.columns || this.canvas.height !== pixels.rows) {
      this.canvas.width = pixels.columns;
      this.canvas.height = pixels.rows;
    }
    this.canvas.getContext("2d").putImageData(new ImageData(pixels.rgba, pixels.columns, pixels.rows), 0, 0);
    const percent = (part, whole) => `${(100 * part) / whole}%`;
    Object.assign(this.canvas.style, {
      left: percent(pixels.left, width),
      top: percent(pixels.top, height),
      width: percent(pixels.right - pixels.left, width),
      height: percent(pixels.bottom - pixels.top, height),
    });
  }

  drawLegend({ legend, bar, dots }) {
    const key = JSON.stringify(legend || bar || "");
    if (this.legendKey === key) return;
    this.legendKey = key;
    this.legend.replaceChildren();
    (legend || []).forEach((label, s) => {
      const item = make("span", "ce-key", this.legend);
      const swatch = item.appendChild(document.createElementNS(SVG, "svg"));
      put(swatch, "viewBox", "0 0 28 12");
      const [line, dot] = svgNodes(swatch, "path", 2);
      put(line, "class", `ce-line ce-s${s + 1}`);
      put(line, "d", dots ? "" : "M0 6H28");
      put(line, "stroke-dasharray", this.spec.dashes[s].join(" ") || "none");
      put(dot, "class", `ce-dot ce-s${s + 1}`);
      put(dot, "d", SHAPES[this.spec.markers[s]](14, 6, 3));
      item.append(label);
    });
    if (bar) {
      make("span", "", this.legend, bar.low);
      make("span", "ce-colours", this.legend).style.background = `linear-gradient(90deg, ${bar.stops.join(", ")})`;
      make("span", "", this.legend, bar.high);
    }
  }

  show(point, spoken) {
    if (!this.drawing.points) return;
    this.point = point;
    const { x, y, d, text } = this.drawing.read(point);
    put(this.mark, "d", d);
    const box = this.plot.getBoundingClientRect(), ratio = box.width / this.drawing.width;
    this.tip.show(this, box.left + x * ratio, box.top + y * ratio, text, spoken);
  }

  hide() {
    if (this.point === null) return;
    this.point = null;
    put(this.mark, "d", "");
    this.tip.hide(this);
  }
}

// One floating label for the whole explorer, above the point that it reads, inside the explorer's width.
class Tip {
  constructor(root, say) {
    this.root = root;
    this.say = say;
    this.node = make("div", "ce-tip", root);
    this.node.hidden = true;
    this.node.setAttribute("aria-hidden", "true");
    this.elsewhere = (event) => this.owner && !this.owner.plot.contains(event.target) && this.owner.hide();
    document.addEventListener("pointerdown", this.elsewhere);
  }

  show(owner, x, y, text, spoken) {
    if (this.owner && this.owner !== owner) this.owner.hide();
    this.owner = owner;
    if (this.node.textContent !== text) this.node.textContent = text;
    this.node.hidden = false;
    const box = this.root.getBoundingClientRect(), { offsetWidth: w, offsetHeight: h } = this.node;
    const left = clamp(x - box.left - w / 2, 4, Math.max(4, box.width - w - 4));
    const above = y - box.top - h - 8;
    this.node.style.transform = `translate(${Math.round(left)}px, ${Math.round(above < 4 ? y - box.top + 14 : above)}px)`;
    if (spoken) this.say(text.replaceAll("\n", ", "));
  }

  hide(owner) {
    if (this.owner !== owner) return;
    this.owner = null;
    this.node.hidden = true;
  }
}

// ---- controls ----

// A slider stops at the grid's values; with a kernel also between them, in even steps of the position.
const FINE = 20;

function between(control, position) {
  const i = Math.floor(position), share = position - i, [a, b] = [control.values[i], control.values[i + 1] ?? control.values[i]];
  if (share < 1e-9) return a;
  const v = control.log ? a * (b / a) ** share : a + share * (b - a);
  return control.integer ? Math.round(v) : Number(v.toPrecision(4));
}

function positionOf(control, value) {
  const { values, log } = control, last = values.length - 1;
  if (value <= values[0]) return 0;
  if (value >= values[last]) return last;
  const i = values.findIndex((v) => v > value) - 1, [a, b] = [values[i], values[i + 1]];
  const share = log ? Math.log(value / a) / Math.log(b / a) : (value - a) / (b - a);
  return share < 1e-6 ? i : share > 1 - 1e-6 ? i + 1 : i + share;
}

class Controls {
  constructor(parent, spec, model, live, computes) {
    this.computes = computes;
    this.root = make("div", "ce-controls", parent);
    this.items = spec.controls.map((control) => {
      const tag = control.kind === "radio" || control.kind === "point" ? "fieldset" : "div";
      const node = make(tag, `ce-control ce-${control.kind}`, this.root);
      const change = (value) => {
        model.set(control.name, value);
        model.save_changes();
      };
      return this[control.kind](control, node, change, live);
    });
  }

  point(control, node, change) { return pointControl(control, node, change); }

  noise(control, node, change) { return noiseControl(control, node, change); }

  range(control, node, change, live) {
    const id = `ce-${Math.random().toString(36).slice(2)}`, last = control.values.length - 1;
    const row = make("div", "ce-row", node);
    make("label", "", row, control.label).htmlFor = id;
    const output = make("output", "", row);
    output.htmlFor = id;
    const input = make("input", "", node);
    Object.assign(input, { type: "range", id, min: 0, max: last, step: this.computes ? (control.between ? "any" : 1) : live && control.between ? 1 / FINE : 1, disabled: last === 0 });
    const ends = make("div", "ce-ends", node);
    ends.setAttribute("aria-hidden", "true");
    for (const v of [control.values[0], control.values[last]]) make("span", "", ends, number(v, 3));
    const shown = (v) => number(v, 3) + (control.unit ? "\u202f" + control.unit : "");
    output.style.minWidth = Math.max(...control.values.map((v) => shown(v).length)) + "ch";
    // From the keyboard a press is a step of the grid, also where a kernel has finer ones; a page that
    // computes has a grid of few values, so there it is a quarter.
    const unit = this.computes && control.between && !control.integer ? 0.25 : 1;
    input.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[event.key];
      if (!step) return;
      event.preventDefault();
      const now = Number(input.value), next = unit * (step > 0 ? Math.floor(now / unit + 1e-9) + step : Math.ceil(now / unit - 1e-9) + step);
      input.value = clamp(next, 0, last);
      input.dispatchEvent(new Event("input", { bubbles: true }));
    });
    input.addEventListener("input", () => change(between(control, Number(input.value))));
    return {
      control,
      node: input,
      text: shown,
      update(value) {
        const position = positionOf(control, value);
        const held = document.activeElement === input && Math.abs(Number(input.value) - position) <= 0.5;
        if (!held) input.value = position;
        input.setAttribute("aria-valuetext", shown(value));
        input.style.setProperty("--fill", `${last ? (100 * position) / last : 0}%`);
        output.value = shown(value);
      },
    };
  }

  choice(control, update) {
    const text = (v) => control.labels[control.values.indexOf(v)] + (control.unit ? " " + control.unit : "");
    return { control, text, update };
  }

  radio(control, node, change) {
    make("legend", "", node, control.label);
    const group = make("div", "ce-choices", node), name = `ce-${Math.random().toString(36).slice(2)}`;
    const inputs = control.values.map((value, k) => {
      const label = make("label", "", group);
      const input = make("input", "", label);
      Object.assign(input, { type: "radio", name });
      input.addEventListener("change", () => input.checked && change(value));
      make("span", "", label, control.labels[k]);
      return input;
    });
    return this.choice(control, (value) => inputs.forEach((input, k) => { input.checked = control.values[k] === value; }));
  }

  select(control, node, change) {
    const id = `ce-${Math.random().toString(36).slice(2)}`;
    make("label", "", make("div", "ce-row", node), control.label).htmlFor = id;
    const select = make("select", "", node);
    select.id = id;
    for (const label of control.labels) make("option", "", select, label);
    select.addEventListener("change", () => change(control.values[select.selectedIndex]));
    return this.choice(control, (value) => { select.selectedIndex = control.values.indexOf(value); });
  }
}

// ---- live: one question at a time to the kernel, and the latest wins ----

class Kernel {
  constructor(model, use, wait) {
    Object.assign(this, { model, use, wait, waiting: null, next: null, count: Math.random() });
    this.hear = (message) => {
      if (!message || message.id !== this.waiting?.id) return;
      const asked = this.waiting;
      this.waiting = null;
      use(asked.values, message);
      if (this.next) { const values = this.next; this.next = null; this.ask(values); }
    };
    model.on("msg:custom", this.hear);
  }

  ask(values) {
    // A kernel that died never answers: after half a minute it may be asked anew.
    if (this.waiting && Date.now() - this.waiting.since < 30000) { this.next = values; return; }
    this.waiting = { id: ++this.count, values, since: Date.now() };
    this.model.send({ kind: "compute", id: this.waiting.id, values });
  }
}

// ---- render ----

function render({ model, el }) {
  const spec = model.get("_spec"), live = !model.standin;
  const { frame, notes } = reader(spec.frames);
  const root = make("div", "ce-body", el);
  el.classList.add("course-explorer");
  const head = make("div", "ce-top", root);
  if (spec.title) make("p", "ce-title", head, spec.title);
  const reset = make("button", "ce-reset", head, "Reset");
  reset.type = "button";
  const computer = spec.live ? new Computer(spec) : spec.play ? new Player(spec) : null;
  const controls = new Controls(root, spec, model, live, !!computer);
  const pick = spec.pick && pickControl(controls.root, spec.pick, () => { draw(); resettable(); });
  const player = spec.play && new PlayBar(root, computer, spec);
  const printed = make("p", "ce-values", root);
  const trouble = make("p", "ce-trouble", root);
  trouble.setAttribute("role", "alert");
  const grid = make("div", "ce-grid-of-panels", root);
  const summary = make("p", "ce-summary", root);
  const status = make("p", "ce-status", root);
  status.setAttribute("role", "status");
  if (live && model.get("_caption")) make("p", "ce-caption", root, model.get("_caption"));

  let timer = 0;
  const say = (text) => {
    clearTimeout(timer);
    timer = setTimeout(() => { status.textContent = text; }, 300);
  };
  const tip = new Tip(root, say);
  const start = frame(computer ? 0 : startIndex(spec.controls));
  // Panels of one kind stand on one base line, whatever the length of their notes.
  grid.classList.toggle("ce-even", start.panels.every((p) => p.kind === start.panels[0].kind));
  const type = new Type(), panels = start.panels.map(() => new Panel(grid, spec, tip, type));
  for (const item of controls.items) item.attach?.(panels[item.control.panel]);
  const longest = spec.room || panels.map((_, p) => {
    let text = "";
    for (let i = 0; i < spec.frames.count; i++) { const note = notes(p, i); if (note.length > text.length) text = note; }
    return text;
  });
  let width = 0, fresh = null, frameNow = null, late = 0;

  const current = () => Object.fromEntries(spec.controls.map((c) => [c.name, model.get(c.name)]));
  const same = (a, b) => spec.controls.every((c) => same2(a[c.name], b[c.name]));

  function layout() {
    const style = getComputedStyle(grid);
    width = grid.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const least = Math.max(...start.panels.map((p) => LEAST[p.kind]));
    const fit = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
    const wanted = start.columns || Math.min(start.panels.length, fit, start.panels.length === 4 ? 2 : 3);
    const rows = Math.ceil(start.panels.length / wanted);
    let columns = Math.min(wanted, fit), flow = "row";
    // A grid too wide for the page is turned: its rows become columns, so that what stood below each other stays a pair.
    if (columns < wanted && rows > 1 && rows <= fit && rows * wanted === start.panels.length) [columns, flow] = [rows, "column"];
    grid.style.gridAutoFlow = flow;
    grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    grid.style.gridTemplateRows = flow === "column" ? `repeat(${wanted}, auto)` : "";
    return Math.floor((width - (columns - 1) * GAP) / columns);
  }

  let panelWidth = 0;
  function draw(loaded) {
    if (!panelWidth) return;
    type.of(grid, loaded);
    frameNow.panels.forEach((panel, p) => panels[p].draw(without(panel, pick?.hidden), panelWidth, longest[p].length > panel.note.length ? longest[p] : panel.note));
    if (summary.textContent !== frameNow.summary) summary.textContent = frameNow.summary;
  }

  const kernel = live && !computer && new Kernel(model, (values, message) => {
    if (message.frame) fresh = { values, frame: message.frame };
    if (!same(values, current())) return;
    clearTimeout(late);
    trouble.textContent = message.error ? `${message.error}. The nearest frame is shown.` : "";
    if (message.frame) { frameNow = message.frame; draw(); speak(); }
  });

  function speak() {
    const parts = [controls.items.map((item) => `${item.control.label} ${item.text(model.get(item.control.name))}`).join(", ")];
    parts.push(frameNow.summary || frameNow.panels.filter((p) => p.note).map((p) => [p.title, p.note].filter(Boolean).join(": ")).join("; "));
    const missing = frameNow.panels.reduce((sum, p) => sum + p.missing, 0);
    if (missing) parts.push(`${missing} ${missing === 1 ? "value is" : "values are"} not finite and ${missing === 1 ? "is" : "are"} drawn as ${missing === 1 ? "a gap" : "gaps"}`);
    say(parts.filter(Boolean).map((part) => part.replace(/\.$/, "")).join(". ") + ".");
  }

  // The figure at these values, computed here. What fails at first leaves the picture; later, what stood there.
  function compute(values, first) {
    try {
      frameNow = player ? player.moved(values, first) : computer.frame(values);
    } catch (error) {
      if (first) throw error;
      console.error(error);
      trouble.textContent = "This cannot be computed here. What was shown last stays.";
    }
  }

  if (player) {
    player.show = (frame) => { frameNow = frame; draw(); };
    player.say = (text) => say([text, frameNow.summary].filter(Boolean).join(" "));
  }

  function resettable() {
    const asAtFirst = spec.controls.every((c) => same2(model.get(c.name), c.values[c.start])) && (!pick || pick.asAtFirst());
    reset.style.visibility = asAtFirst ? "hidden" : "visible";
  }

  function update(quiet) {
    const values = current();
    let index = 0, exact = true;
    for (const item of controls.items) {
      const c = item.control, value = values[c.name];
      item.update(value);
      if (computer) continue;
      const position = c.kind === "range" ? positionOf(c, value) : Math.max(0, c.values.indexOf(value));
      const nearest = Math.round(position);
      if (c.kind === "range" && Math.abs(position - nearest) > 1e-6) exact = false;
      index = index * c.values.length + nearest;
    }
    printed.textContent = controls.items.map((item) => `${item.control.label}: ${item.text(values[item.control.name])}`).join(" · ");
    resettable();
    clearTimeout(late);
    trouble.textContent = "";
    if (computer) compute(values, quiet === true);
    else if (!exact && fresh && same(fresh.values, values)) frameNow = fresh.frame;
    else {
      frameNow = frame(index);
      if (!exact && kernel) {
        kernel.ask(values);
        late = setTimeout(() => { trouble.textContent = "Computing… the nearest frame is shown."; }, 400);
      }
    }
    draw();
    if (quiet !== true) speak();
  }

  reset.addEventListener("click", () => {
    for (const c of spec.controls) model.set(c.name, c.values[c.start]);
    model.save_changes();
    pick?.reset();
    player?.reset();
    resettable();
    controls.root.querySelector("input, select").focus();
  });
  for (const c of spec.controls) model.on(`change:${c.name}`, update);
  const resized = new ResizeObserver(() => {
    const next = layout();
    if (next > 0 && next !== panelWidth) { panelWidth = next; draw(); }
  });
  panelWidth = Math.max(0, layout());
  update(true);
  resized.observe(grid);
  const retype = () => draw(true);
  document.fonts.addEventListener("loadingdone", retype);
  return () => {
    resized.disconnect();
    document.fonts.removeEventListener("loadingdone", retype);
    player?.leave();
    clearTimeout(timer);
    clearTimeout(late);
    document.removeEventListener("pointerdown", tip.elsewhere);
    for (const c of spec.controls) model.off(`change:${c.name}`, update);
    if (kernel) model.off("msg:custom", kernel.hear);
  };
}

const startIndex = (controls) => controls.reduce((index, c) => index * c.values.length + c.start, 0);

// ---- without a kernel ----

function standin(spec) {
  const state = { _spec: spec }, heard = {};
  for (const c of spec.controls) state[c.name] = c.values[c.start];
  return {
    standin: true,
    get: (name) => state[name],
    set: (name, value) => {
      if (state[name] === value) return;
      state[name] = value;
      for (const listener of heard[`change:${name}`] || []) listener();
    },
    on: (event, listener) => { (heard[event] ||= []).push(listener); },
    off: (event, listener) => { heard[event] = (heard[event] || []).filter((other) => other !== listener); },
    save_changes: () => {},
    send: () => {},
  };
}

function mountAll(page) {
  for (const figure of page.querySelectorAll("figure.course-explorer:not([data-mounted])")) {
    const data = figure.querySelector("script.course-frames"), still = figure.querySelector(".ce-still");
    // The engine's script may come after this one, and then calls again.
    if (!data || (figure.querySelector("script.course-frames[data-computes]") && !globalThis.courseEngine)) continue;
    figure.dataset.mounted = "";
    const el = document.createElement("div");
    still.before(el);
    try {
      render({ model: standin(JSON.parse(data.textContent)), el });
      el.classList.remove("course-explorer");
      still.remove();
    } catch (error) {
      // The picture stays: a reader sees a figure, and the console says why it does not move.
      el.remove();
      console.error(error);
    }
  }
}

globalThis.courseExplorers = () => mountAll(document);

export { mountAll };
export default { render };
