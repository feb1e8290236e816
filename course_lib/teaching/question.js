// Questions in the page: fills every form.course-ask that has no fields yet.

function element(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// "0,1", "1e-3" and "1/10" are numbers to a reader; "" and words are not.
function toNumber(text) {
  const parts = text.trim().replace(",", ".").split("/");
  if (parts.length > 2 || parts.some((part) => part.trim() === "")) return NaN;
  return parts.map(Number).reduce((above, below) => above / below);
}

function near(value, target, tolerance) {
  return Math.abs(value - target) <= tolerance * Math.abs(target) + 1e-12;
}

function judgeNumber(data, text) {
  const value = toNumber(text);
  if (!Number.isFinite(value)) return [null, "Type a number, such as 0.05, 5e-2 or 1/20."];
  if (near(value, data.answer, data.tolerance)) return [true, data.explanation];
  for (const [wrong, why] of data.mistakes) {
    if (near(value, wrong, data.tolerance)) return [false, why];
  }
  return [false, value > data.answer ? "That is too large." : "That is too small."];
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
    const input = element("input", { type: "text", inputMode: "decimal", size: 10 });
    input.setAttribute("aria-label", `${data.question} Your answer`);
    fields.append(input, data.unit ? ` ${data.unit}` : "");
    judge = () => judgeNumber(data, input.value);
  }
  fields.append(element("button", { type: "submit" }, "Check"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const [right, why] = judge();
    form.dataset.verdict = right === null ? "unanswered" : right ? "right" : "wrong";
    verdict.textContent = right === null ? why : `${right ? "✓ Right." : "✗ Not yet."} ${why}`;
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
