// ---- a point that is dragged on a panel: two sliders, and a handle over the drawing ----

const same2 = (a, b) => a === b || (Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((v, k) => v === b[k]));

function pointControl(control, node, change) {
  make("legend", "", node, control.label);
  const axes = make("div", "ce-axes", node);
  let now = control.values[0];
  const sliders = ["x", "y"].map((name, k) => {
    const [low, high] = k ? control.ylim : control.xlim, id = `ce-${Math.random().toString(36).slice(2)}`;
    const row = make("div", "ce-axis-row", axes);
    make("label", "", row, name).htmlFor = id;
    const input = make("input", "", row), output = make("output", "", row);
    output.htmlFor = id;
    Object.assign(input, { type: "range", id, min: low, max: high, step: "any" });
    const move = (v) => change(now.map((old, j) => (j === k ? clamp(Number(v.toPrecision(4)), low, high) : old)));
    input.addEventListener("input", () => move(Number(input.value)));
    input.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
      if (!step) return;
      event.preventDefault();
      move(now[k] + (step * (high - low)) / 100);
    });
    return { input, output, low, high };
  });
  const text = (v) => `(${number(v[0], 3)}, ${number(v[1], 3)})`;
  return {
    control,
    text,
    update(value) {
      now = value;
      sliders.forEach(({ input, output, low, high }, k) => {
        if (Number(input.value) !== value[k]) input.value = value[k];
        input.setAttribute("aria-valuetext", number(value[k], 3));
        input.style.setProperty("--fill", `${(100 * (value[k] - low)) / (high - low)}%`);
        output.value = number(value[k], 3);
      });
      this.handle?.place(value);
    },
    // For the pointer alone, so hidden from others, who have the sliders.
    attach(panel) { this.handle = new Handle(panel, control, change); },
  };
}

class Handle {
  constructor(panel, control, change) {
    Object.assign(this, { panel, control, change, value: null });
    this.node = make("div", "ce-handle", panel.plot);
    this.node.setAttribute("aria-hidden", "true");
    this.node.title = `drag the ${control.label}`;
    panel.drawn = () => this.place(this.value);
    const move = (event) => {
      if (!this.node.hasPointerCapture(event.pointerId)) return;
      event.stopPropagation();
      panel.hide();
      const box = panel.plot.getBoundingClientRect(), { plane, width } = panel.drawing, ratio = width / box.width;
      const x = plane.fromX((event.clientX - box.left) * ratio), y = plane.fromY((event.clientY - box.top) * ratio);
      change([[x, control.xlim], [y, control.ylim]].map(([v, [low, high]]) => clamp(Number(v.toPrecision(4)), low, high)));
    };
    this.node.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      event.preventDefault();
      this.node.setPointerCapture(event.pointerId);
      panel.hide();
    });
    this.node.addEventListener("pointermove", move);
  }

  place(value) {
    this.value = value;
    const { plane, width, height } = this.panel.drawing || {};
    if (!plane || !value) return;
    this.node.style.left = `${(100 * plane.toX(value[0])) / width}%`;
    this.node.style.top = `${(100 * plane.toY(value[1])) / height}%`;
  }
}

// A button that takes the next seed.
function noiseControl(control, node, change) {
  let now = control.values[0];
  const button = make("button", "ce-button", node, control.label);
  button.type = "button";
  button.addEventListener("click", () => change((now + 1) % 2 ** 31));
  return { control, text: (v) => `draw ${v + 1}`, update(value) { now = value; } };
}
