// ---- sentences with gaps: template.py's parts(), filled and formatted as Python formats ----

// v · 10^places as a whole number, exactly, ties to even as in Python; v is not negative.
function scaled(v, places) {
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, v);
  const raw = bits.getBigUint64(0), e = Number(raw >> 52n), mantissa = (raw & 0xfffffffffffffn) | (e ? 1n << 52n : 0n);
  const two = (e || 1) - 1075;
  const over = mantissa * (places > 0 ? 10n ** BigInt(places) : 1n) * (two > 0 ? 1n << BigInt(two) : 1n);
  const under = (places < 0 ? 10n ** BigInt(-places) : 1n) * (two < 0 ? 1n << BigInt(-two) : 1n);
  const floor = over / under, twice = 2n * (over % under);
  return twice > under || (twice === under && floor & 1n) ? floor + 1n : floor;
}

// So many digits of v, which is not negative, and the power of ten of the first.
function decimal(v, digits) {
  const e = v ? Number(v.toExponential().split("e")[1]) : 0;
  const text = String(scaled(v, digits - 1 - e)).padEnd(digits, "0");
  return text.length > digits ? [text.slice(0, digits), e + 1] : [text, e];
}

function fixed(v, digits) {
  const text = String(scaled(Math.abs(v), digits)).padStart(digits + 1, "0"), point = text.length - digits;
  return digits ? `${text.slice(0, point)}.${text.slice(point)}` : text;
}

function exponential(v, digits) {
  const [kept, e] = decimal(Math.abs(v), digits + 1);
  const sign = e < 0 ? "-" : "+", power = String(Math.abs(e)).padStart(2, "0");
  return `${kept[0]}${digits ? "." + kept.slice(1) : ""}e${sign}${power}`;
}

function general(v, digits) {
  digits = Math.max(1, digits);
  const bare = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  if (v === 0) return "0";
  const [, e] = decimal(Math.abs(v), digits);
  if (e < -4 || e >= digits) {
    const [mantissa, power] = exponential(v, digits - 1).split("e");
    return `${bare(mantissa)}e${power}`;
  }
  return bare(fixed(v, digits - 1 - e));
}

function formatted(v, spec) {
  const [, plus, comma, precision, kind] = /^([+]?)(,?)(?:\.(\d+))?([dgfe%]?)$/.exec(spec);
  const digits = precision === undefined ? 6 : Number(precision);
  const sign = v < 0 || Object.is(v, -0) ? "-" : plus;
  if (!Number.isFinite(v)) return (Number.isNaN(v) ? plus : sign) + (Number.isNaN(v) ? "nan" : "inf") + (kind === "%" ? "%" : "");
  let text;
  if (kind === "f") text = fixed(v, digits);
  else if (kind === "e") text = exponential(v, digits);
  else if (kind === "%") text = fixed(v * 100, digits) + "%";
  else if (kind === "g" || precision !== undefined) text = general(v, digits);
  else text = String(Math.abs(v));
  if (comma) text = text.replace(/^\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
  return sign + text;
}

function sentence(pieces, outputs) {
  return pieces.map((piece) => {
    if (typeof piece === "string") return piece;
    const v = outputs[piece[0].$].data[0];
    if (piece.length === 2) return formatted(v, piece[1]);
    return sentence(piece[v ? 1 : 2], outputs);
  }).join("");
}
