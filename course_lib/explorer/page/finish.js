// ---- from a panel's tensors to what is drawn: finish.py in JavaScript ----
// A tensor is what the engine gives, {data, shape}; a panel's constant lists stand as they are.

const listed = (values) => Array.from(values.data ?? values);
const known = (v) => (Number.isFinite(v) ? v : null);
const noted = (remarks, missing) => [...remarks, missing ? `${formatted(missing, ",")} not finite` : ""].filter(Boolean).join(" · ");
const gapsIn = (values) => values.reduce((sum, v) => sum + !Number.isFinite(v), 0);

function percent(part, whole) {
  const share = (100 * part) / whole;
  return formatted(share, share >= 10 ? ".0f" : ".2g") + " %";
}

function ownRange(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) if (Number.isFinite(v)) { if (v < low) low = v; if (v > high) high = v; }
  if (low > high) return null;
  if (high - low > 1e-6 * Math.max(Math.abs(low), Math.abs(high)) && high - low > 1e-36) return [low, high];
  const half = 0.5 * Math.abs(low) || 0.5;
  return [low - half, high + half];
}

// The single precision of float32 values in which torch bins them.
const whole = (upto) => (upto && typeof upto === "object" ? upto.data[0] : upto);

const FINISH = {
  histogram(raw) {
    const all = raw.values.data ?? raw.values, total = all.length, bins = raw.bins;
    const single = all instanceof Float32Array, as = single ? Math.fround : (v) => v;
    const kept = [];
    let missing = 0, zeros = 0;
    for (const v of all) {
      if (!Number.isFinite(v)) missing++;
      else if (raw.log && v === 0) zeros++;
      else kept.push(raw.log ? as(Math.log10(Math.abs(v))) : v);
    }
    const [low, high] = raw.range || ownRange(kept) || [0, 1];
    const heights = new Array(bins).fill(0), a = as(low), b = as(high), width = as(b - a);
    let inside = 0;
    for (const v of kept) {
      if (v < a || v > b) continue;
      inside++;
      heights[Math.min(Math.floor(as(as(as(v - a) * bins) / width)), bins - 1)]++;
    }
    const remarks = [raw.note, zeros ? `${percent(zeros, total)} zero` : "", kept.length > inside ? `${percent(kept.length - inside, total)} beyond` : ""];
    return { ...raw, values: undefined, note: noted(remarks, missing), range: [low, high], heights: heights.map((n) => n / total), missing };
  },

  lines(raw) {
    const x = listed(raw.x), ys = raw.y.map(listed);
    const missing = ys.reduce((sum, y) => sum + gapsIn(y), 0);
    let below = 0;
    if (raw.ylog) for (const y of ys) y.forEach((v, k) => { if (v <= 0) { if (Number.isFinite(v)) below++; y[k] = NaN; } });
    const note = noted([raw.note, below ? `${formatted(below, ",")} not positive` : ""], missing);
    // A place that is no number cannot be drawn: the points there become gaps, at the end of the axis.
    const odd = (v) => !Number.isFinite(v) || (raw.xlog && v <= 0), first = x.find((v) => !odd(v)) ?? 1;
    x.forEach((v, k) => { if (odd(v)) { x[k] = first; for (const y of ys) y[k] = NaN; } });
    return { ...raw, note, x, y: ys.map((y) => y.map(known)), upto: whole(raw.upto), missing };
  },

  bars(raw) {
    const values = listed(raw.values), missing = gapsIn(values);
    return { ...raw, note: noted([raw.note], missing), values: values.map(known), missing };
  },

  scatter(raw) {
    const x = raw.x.map(listed), y = raw.y.map(listed);
    const good = (v, log) => Number.isFinite(v) && !(log && v <= 0);
    let missing = 0, values = null, limits = null;
    // A point without a place is left out and counted.
    const keep = x.map((xs, s) => xs.map((v, k) => good(v, raw.xlog) && good(y[s][k], raw.ylog)));
    for (const places of keep) for (const there of places) missing += !there;
    if (raw.values) {
      const all = listed(raw.values);
      missing += gapsIn(all);
      limits = raw.limits || ownRange(all) || [0, 1];
      values = all.filter((_, k) => keep[0][k]).map(known);
    }
    const placed = (series) => series.map((numbers, s) => numbers.filter((_, k) => keep[s][k]));
    return { ...raw, note: noted([raw.note], missing), x: placed(x), y: placed(y), values, limits, missing };
  },

  image(raw) {
    const { rows, columns, channels: c } = raw, all = raw.pixels.data, gaps = [];
    for (let k = 0; k < rows * columns; k++) for (let j = 0; j < c; j++) if (!Number.isFinite(all[k * c + j])) { gaps.push(k); break; }
    const lost = new Set(gaps), good = lost.size ? all.filter((_, i) => !lost.has(Math.floor(i / c))) : all;
    let limits = raw.limits;
    if (!limits) {
      let low = 0, high = 1;
      for (const v of good) { if (v < low) low = v; if (v > high) high = v; }
      limits = low === 0 && high === 1 ? [0, 1] : ownRange(good);
    }
    const [low, high] = limits, bytes = new Uint8ClampedArray(all.length);  // rounds half to even, as torch
    for (let i = 0; i < all.length; i++) bytes[i] = Number.isNaN(all[i]) ? 0 : ((clamp(all[i], low, high) - low) / (high - low)) * 255;
    return { ...raw, note: noted([raw.note], gaps.length), limits, pixels: bytes, gaps, missing: gaps.length };
  },

  heatmap(raw) {
    const values = listed(raw.values), missing = gapsIn(values);
    let limits = raw.limits;
    if (!limits && raw.colours === "diverging" && missing < values.length) {
      const high = Math.max(...values.filter(Number.isFinite).map(Math.abs)) || 1;
      limits = [-high, high];
    }
    return { ...raw, note: noted([raw.note], missing), values: values.map(known), limits: limits || ownRange(values) || [0, 1], missing };
  },

  landscape(raw) {
    let missing = 0;
    const upto = whole(raw.upto);
    const paths = raw.paths.map(({ label, x, y }) => {
      const [xs, ys] = [listed(x), listed(y)];
      xs.forEach((v, k) => { missing += k <= (upto ?? Infinity) && (!Number.isFinite(v) || !Number.isFinite(ys[k])); });
      return { label, x: xs.map(known), y: ys.map(known) };
    });
    return { ...raw, note: noted([raw.note], missing), paths, upto, missing };
  },
};

// A template with the outputs of its graph in place, ready to be drawn.
function finished(template, outputs) {
  const fill = (node) => {
    if (node === null || typeof node !== "object") return node;
    if (Array.isArray(node)) return node.length && typeof node[0] === "object" ? node.map(fill) : node;
    if ("$" in node) return outputs[node.$];
    if (node.text && Object.keys(node).length === 1) return sentence(node.text, outputs);
    return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, fill(value)]));
  };
  const filled = fill(template);
  return { ...filled, panels: filled.panels.map((panel) => FINISH[panel.kind](panel)) };
}
