// ---- what is shown: series that the reader may hide, by name ----

function pickControl(parent, picked, change) {
  const node = make("fieldset", "ce-control ce-pick", parent), hidden = new Set();
  make("legend", "", node, "show");
  const group = make("div", "ce-choices", node);
  const boxes = Object.entries(picked).map(([name, shown]) => {
    const label = make("label", "", group), box = make("input", "", label);
    Object.assign(box, { type: "checkbox", checked: shown });
    if (!shown) hidden.add(name);
    make("span", "", label, name);
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(name); else hidden.add(name);
      change();
    });
    return { name, shown, box };
  });
  const reset = () => {
    hidden.clear();
    for (const { name, shown, box } of boxes) { box.checked = shown; if (!shown) hidden.add(name); }
  };
  const asAtFirst = () => boxes.every(({ shown, box }) => box.checked === shown);
  return { hidden, reset, asAtFirst };
}

// Hidden series keep their place, and with it their colour and mark.
function without(panel, hidden) {
  if (!hidden?.size) return panel;
  if (panel.kind === "lines") return { ...panel, y: panel.y.map((y, s) => (hidden.has(panel.labels[s]) ? y.map(() => null) : y)) };
  if (panel.kind === "landscape") return { ...panel, paths: panel.paths.map((path) => (hidden.has(path.label) ? { ...path, x: [], y: [] } : path)) };
  return panel;
}

// ---- play: a state that steps, by hand or by itself ----

const SPEEDS = [1, 5, 20, 60, 240]; // steps a second
const BUDGET = 12; // ms of a frame that may go into steps

// The state and its past. What the engine gives lives in its memory and is copied here.
class Player {
  constructor({ controls, play }) {
    Object.assign(this, { controls, play, graphs: new Graphs(play), state: null, past: null, done: 0, lost: false });
    this.template = reader(play.templates).frame;
    this.limit = play.steps;
  }

  graph(part, values) { return this.graphs.get(this.play[part][combination(this.controls, values)]); }

  inputs(values) {
    const given = inputsOf(this.controls.filter((c) => c.kind !== "noise"), values);
    for (const [name, { data, shape }] of Object.entries(this.state || {})) given[`state.${name}`] = { data, shape };
    return given;
  }

  // Random numbers come one tensor a use, from the seed on: first for the initial state, then for each step.
  noise(values, graph) {
    const given = {};
    for (const c of this.controls) {
      if (c.kind !== "noise" || !graph.inputs.some(({ name }) => name === c.name)) continue;
      this.streams[c.name] ||= stream(c, values[c.name]);
      given[c.name] = drawn(c, this.streams[c.name]);
    }
    return given;
  }

  reset(values) {
    this.state = null;
    this.streams = {};
    const graph = this.graph("initial", values);
    const given = run(graph, { ...this.inputs(values), ...this.noise(values, graph) });
    this.state = Object.fromEntries(Object.entries(given).map(([name, { data, shape }]) => [name, { data: data.slice(), shape: [...shape] }]));
    this.past = Object.fromEntries(this.play.keep.map((name) => {
      const { data, shape } = this.state[name];
      return [name, { data: new data.constructor((this.limit + 1) * data.length), shape: [this.limit + 1, ...shape], size: data.length }];
    }));
    this.done = 0;
    this.lost = false;
    this.remember();
  }

  step(values) {
    const graph = this.graph("step", values);
    const given = run(graph, { ...this.inputs(values), ...this.noise(values, graph) });
    for (const [name, { data }] of Object.entries(given)) this.state[name].data.set(data);
    this.done++;
    this.remember();
    // What is kept is what is seen; one of several that diverges does not stop the others.
    const seen = this.play.keep.length ? this.play.keep.map((name) => this.state[name]) : Object.values(this.state);
    this.lost = seen.some(({ data }) => /Float/.test(data.constructor.name) && data.length && !data.some(Number.isFinite));
  }

  // What comes after now is as now, until it comes.
  remember() {
    for (const name of this.play.keep) {
      const { data, size } = this.past[name], now = this.state[name].data;
      for (let k = this.done; k <= this.limit; k++) data.set(now, k * size);
    }
  }

  get over() { return this.lost || this.done >= this.limit; }

  // Steps until 'done' or until time is up; whether it got there.
  advance(values, done, until) {
    while (this.done < done && !this.over) {
      this.step(values);
      if (performance.now() > until) break;
    }
    return this.done >= done || this.over;
  }

  frame(values) {
    const graph = this.graph("view", values), given = this.inputs(values);
    for (const c of this.controls) if (c.kind === "noise") given[c.name] = asInput(c, values[c.name]);
    for (const [name, { data, shape }] of Object.entries(this.past)) given[`past.${name}`] = { data, shape };
    return finished(this.template(combination(this.controls, values)), run(graph, given));
  }
}

// The buttons, and what they say.
class PlayBar {
  constructor(root, player, spec) {
    Object.assign(this, { player, spec, playing: false, values: null, request: 0, target: null, owed: 0 });
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    const bar = make("div", "ce-play", root);
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "Play");
    this.button = this.add(bar, "", () => (this.playing ? this.pause("Paused") : this.start()));
    this.button.classList.add("ce-button-main");
    this.stepButton = this.add(bar, "Step", () => this.one());
    this.backButton = this.add(bar, "Back to the start", () => this.back());
    const id = `ce-${Math.random().toString(36).slice(2)}`;
    const label = make("label", "ce-speed", bar, "speed");
    label.htmlFor = id;
    this.speed = make("select", "", bar);
    this.speed.id = id;
    for (const speed of SPEEDS) make("option", "", this.speed, `${speed} a second`);
    this.speed.selectedIndex = SPEEDS.reduce((best, v, k) => (Math.abs(v - spec.play.speed) < Math.abs(SPEEDS[best] - spec.play.speed) ? k : best), 0);
    this.progress = make("span", "ce-progress", bar);
    this.gone = new IntersectionObserver(([{ isIntersecting }]) => { if (!isIntersecting && this.playing) this.pause("Paused"); });
    this.gone.observe(root);
    this.label();
  }

  add(bar, text, click) {
    const button = make("button", "ce-button", bar, text);
    button.type = "button";
    button.addEventListener("click", click);
    return button;
  }

  label() {
    const { done, limit, lost, over } = this.player;
    const text = this.playing ? "Pause" : over && done ? "Play again" : this.still.matches ? "Run to the end" : "Play";
    if (this.button.textContent !== text) this.button.textContent = text;
    this.stepButton.disabled = this.playing || over;
    this.backButton.disabled = done === 0;
    const shown = `step ${done} of ${limit}${lost ? ": not finite any more" : ""}`;
    if (this.progress.textContent !== shown) this.progress.textContent = shown;
  }

  start() {
    this.finishReplay();
    if (this.player.over) this.player.reset(this.values);
    Object.assign(this, { playing: true, owed: 1, before: performance.now() });
    this.say("Playing.");
    this.label();
    this.request = requestAnimationFrame((now) => this.tick(now));
  }

  pause(why) {
    this.playing = false;
    cancelAnimationFrame(this.request);
    this.draw();
    const { done, limit } = this.player;
    this.say(`${why} at step ${done} of ${limit}.`);
  }

  // One frame of the screen: as many steps as time has passed for, or as fit into it.
  tick(now) {
    if (!this.playing) return;
    const quiet = this.still.matches;
    this.owed = quiet ? Infinity : Math.min(this.owed + ((now - this.before) / 1000) * SPEEDS[this.speed.selectedIndex], 1000);
    this.before = now;
    const before = this.player.done;
    try {
      this.player.advance(this.values, before + Math.floor(this.owed), performance.now() + BUDGET);
    } catch (error) {
      console.error(error);
      this.pause("This cannot be computed here: stopped");
      return;
    }
    this.owed = Math.min(this.owed - (this.player.done - before), SPEEDS[this.speed.selectedIndex]);
    if (this.player.over) {
      this.pause(this.player.lost ? "It diverged: the numbers are not finite any more. Reset or go back to the start. Stopped" : "Finished");
      return;
    }
    if (this.player.done > before && !quiet) this.draw();
    this.label();
    this.request = requestAnimationFrame((next) => this.tick(next));
  }

  one() {
    this.finishReplay();
    this.player.advance(this.values, this.player.done + 1, Infinity);
    this.draw();
    this.say(`Step ${this.player.done}.`);
  }

  back() {
    this.stop();
    this.player.reset(this.values);
    this.draw();
    this.say("Back at the start.");
  }

  reset() {
    this.stop();
    this.target = null;
    this.player.reset(this.values);
    this.player.advance(this.values, this.spec.play.shown, Infinity);
    this.draw();
  }

  stop() {
    this.playing = false;
    cancelAnimationFrame(this.request);
    this.target = null;
  }

  draw() {
    this.show(this.player.frame(this.values));
    this.label();
  }

  // A control has moved. The frame to show: while it plays, the next steps are taken with the new values, and
  // a new start starts anew; where it stands, the same number of steps is taken again.
  moved(values, first) {
    const { player, spec } = this, before = this.values;
    this.values = values;
    const changed = before && spec.controls.filter((c) => !same2(before[c.name], values[c.name])).map((c) => c.name);
    const anew = first || changed.some((name) => spec.play.restarts.includes(name));
    if (first) {
      player.reset(values);
      player.advance(values, spec.play.shown, Infinity);
    } else if (this.playing) {
      if (anew) player.reset(values);
    } else if (spec.play.replay && (changed.length || this.target !== null)) {
      const target = this.target ?? player.done;
      player.reset(values);
      this.replay(target);
    } else if (anew) player.reset(values);
    this.label();
    return player.frame(values);
  }

  // Takes 'target' steps again, in this frame of the screen as many as fit, the others in the next ones.
  replay(target) {
    this.target = target;
    cancelAnimationFrame(this.request);
    if (this.player.advance(this.values, target, performance.now() + BUDGET / 2)) { this.target = null; return; }
    this.request = requestAnimationFrame(() => {
      if (this.target === null) return;
      this.replay(this.target);
      this.draw();
    });
  }

  finishReplay() {
    if (this.target === null) return;
    cancelAnimationFrame(this.request);
    this.player.advance(this.values, this.target, Infinity);
    this.target = null;
  }

  leave() {
    this.stop();
    this.gone.disconnect();
  }
}
