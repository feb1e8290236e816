// Questions in the page: fills every form.course-ask that has no fields yet.

function element(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// Numbers as readers type them, read as course_lib/teaching/numbers.py reads them; what it says holds here.
const SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻";
const PLAIN = /^(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)$/;
const FACTOR = /^([+-]?) ?([0-9.,'_ ]*[0-9][.,]?)(?:e([+-]?[0-9]+))?(?: ?\^ ?([+-]?) ?([0-9.,]+))?$/;
const GROUPED = [
  [/,/g, /^[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?$/],
  [/[ '_]/g, /^[1-9][0-9]{0,2}(?:([ '_])[0-9]{3})(?:\1[0-9]{3})*(?:[.,][0-9]*)?$/],
  [/\./g, /^[1-9][0-9]{0,2}(?:(?:\.[0-9]{3})+,[0-9]*|(?:\.[0-9]{3}){2,})$/],
];

export function readNumber(text, percent = 0.01) {
  text = text.trim().toLowerCase();
  text = text.replace(/[⁰¹²³⁴-⁹⁺⁻]+/g, (found) => "^" + Array.from(found, (c) => "0123456789+-"[SUPERSCRIPT.indexOf(c)]).join(""));
  text = text.replace(/\s/g, " ").replace(/[−–]/g, "-").replaceAll("’", "'").replaceAll("**", "^");
  text = text.replace(/^[≈~=] ?/, "");
  if (/^[+-]?0x/.test(text)) return NaN;
  text = text.replace(/[÷∕⁄]/g, "/").replace(/[×·⋅x]/g, "*");
  const found = text.match(/^(.*?) ?(?:%|per ?cent)$/);
  let value = found ? percent : 1;
  let operation = "*";
  for (const part of (found ? found[1] : text).split(/ ?([*/]) ?/)) {
    if (part === "*" || part === "/") operation = part;
    else value = operation === "*" ? value * factor(part) : value / factor(part);
  }
  return Number.isFinite(value) ? value : NaN;
}

function factor(text) {
  const found = text.match(FACTOR);
  if (!found) return NaN;
  const [, sign, base, exponent, powerSign, power] = found;
  let value = decimal(base, exponent ?? "0");
  if (power !== undefined) value **= Number(powerSign + "1") * decimal(power, "0");
  if (!Number.isFinite(value)) return NaN;
  return sign === "-" ? -value : value;
}

function decimal(text, exponent) {
  const grouped = GROUPED.find(([, pattern]) => pattern.test(text));
  if (grouped) text = text.replace(grouped[0], "");
  else if (!PLAIN.test(text)) return NaN;
  return Number(`${text.replace(",", ".")}e${exponent}`);
}

// How far a number is from one of the author's, as a share of how far it may be; above 1 is another number.
function distance(value, target, tolerance) {
  const off = Math.abs(value - target);
  return off === 0 ? 0 : off / (Math.max(tolerance, 1e-9) * Math.abs(target));
}

export function judgeNumber(data, text) {
  const value = readNumber(text, data.percent ? 1 : 0.01);
  if (!Number.isFinite(value)) return [null, "Type a number, such as 0.05, 5e-2, 1/20 or 5 %."];
  if (distance(value, data.answer, data.tolerance) <= 1) return [true, data.explanation];
  const expected = data.mistakes
    .map(([wrong, why, tolerance]) => [distance(value, wrong, tolerance), why])
    .filter(([away]) => away <= 1)
    .sort((one, other) => one[0] - other[0]);
  if (expected.length) return [false, expected[0][1]];
  const asked = text.includes(",") ? `You typed ${text.trim()}, which is ${value} here. ` : "";
  return [false, `${asked}That is too ${value > data.answer ? "large" : "small"}.`];
}

// A message that begins with a verdict of its own keeps it: "✓ Right. Half the arithmetic, but …".
export function spoken(right, why) {
  const said = right ? /^(?:right|yes|correct|exactly)\b/i : /^(?:not yet|not quite|no|wrong)\b[.,:;!]/i;
  return [right ? "✓" : "✗", said.test(why) ? "" : right ? "Right." : "Not yet.", why].filter(Boolean).join(" ");
}

function mount(form, index) {
  const data = JSON.parse(form.querySelector(".course-ask-data").textContent);
  const verdict = element("p", { className: "course-ask-verdict" });
  verdict.setAttribute("role", "status");
  const fields = element("div", { className: "course-ask-fields" });
  let judge;
  if (data.choices) {
    fields.setAttribute("role", "radiogroup");
    fields.setAttribute("aria-label", data.question);
    for (const choice of Object.keys(data.choices)) {
      const input = element("input", { type: "radio", name: `course-ask-${index}`, value: choice });
      fields.append(element("label", {}, input, " ", choice));
    }
    judge = () => {
      const picked = fields.querySelector("input:checked");
      if (!picked) return [null, "Pick one first."];
      return [picked.value === data.answer, data.choices[picked.value]];
    };
  } else {
    const input = element("input", { type: "text", size: 10 });
    input.setAttribute("aria-label", `${data.question} Your answer`);
    fields.append(input, data.unit ? ` ${data.unit}` : "");
    judge = () => judgeNumber(data, input.value);
  }
  fields.append(element("button", { type: "submit" }, "Check"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const [right, why] = judge();
    form.dataset.verdict = right === null ? "unanswered" : right ? "right" : "wrong";
    verdict.textContent = right === null ? why : spoken(right, why);
  });
  form.append(fields, verdict);
}

const forms = [...document.querySelectorAll("form.course-ask")];
for (const form of forms) {
  if (!form.dataset.mounted) {
    form.dataset.mounted = "true";
    mount(form, forms.indexOf(form));
  }
}
