// ---- computing in the page: graphs of the choices, run by the engine ----

// Controls whose value the graphs take as an input; of the others each combination has its own graph.
const CONTINUOUS = { range: true, point: true, noise: true };

function asInput(control, value) {
  if (control.kind === "point") return { data: Float64Array.from(value), shape: [2] };
  if (control.kind === "noise") return drawn(control, stream(control, value));
  return value;
}

// The random numbers of a seed, one tensor after another.
const stream = (control, seed) => globalThis.courseEngine.generator(seed);

const drawn = (control, generator) => generator.normal(control.shape);

const inputsOf = (controls, values) =>
  Object.fromEntries(controls.filter((c) => CONTINUOUS[c.kind]).map((c) => [c.name, asInput(c, values[c.name])]));

// Which combination of the choices, the last one changing fastest.
const combination = (controls, values) =>
  controls.filter((c) => !CONTINUOUS[c.kind]).reduce((index, c) => index * c.values.length + c.values.indexOf(values[c.name]), 0);

// The graphs of an explorer, each read when it is first needed.
class Graphs {
  constructor({ graphs, constants }) {
    if (!globalThis.courseEngine) throw new Error("the explorer's engine is not in the page");
    Object.assign(this, { graphs, constants, ready: [] });
  }

  get(k) {
    const graph = this.graphs[k];
    return (this.ready[k] ||= globalThis.courseEngine.load({ ...graph, constants: graph.constants.map((c) => this.constants[c]) }));
  }
}

// Only what the graph asks for: functions take the controls that they name.
const run = (graph, inputs) => graph.run(Object.fromEntries(graph.inputs.map(({ name }) => [name, inputs[name]])));

class Computer {
  constructor({ controls, live }) {
    this.controls = controls;
    this.which = live.which;
    this.graphs = new Graphs(live);
    this.template = reader(live.templates).frame;
  }

  frame(values) {
    const k = combination(this.controls, values);
    return finished(this.template(k), run(this.graphs.get(this.which[k]), inputsOf(this.controls, values)));
  }
}
