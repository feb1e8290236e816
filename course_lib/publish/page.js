// The page of a published network: pixels in, every layer's maps and the answer out.
const MOST = 64; // maps of a layer that are drawn
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const [, channels, height, width] = data.shape;
const plane = height * width;
const pad = $("pad"), paper = pad.getContext("2d", { willReadFrequently: true });
pad.width = width;
pad.height = height;
let network, pixels = new Float32Array(channels * plane), waiting = false;

const toPixel = (v, c) => v * data.std[c] + data.mean[c];
const toInput = (v, c) => (v - data.mean[c]) / data.std[c];
const say = (text) => ($("status").textContent = text);

// Show numbers from low to high as grey, or three planes as colours.
function paint(context, values, w, h, low, high, planes = 1) {
  const image = context.createImageData(w, h);
  for (let i = 0; i < w * h; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = (255 * (values[planes === 3 ? c * w * h + i : i] - low)) / (high - low || 1);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

// What is on the paper, as pixels from 0 to 1.
function readPaper() {
  const seen = paper.getImageData(0, 0, width, height).data;
  for (let i = 0; i < plane; i++) {
    const rgb = [seen[4 * i] / 255, seen[4 * i + 1] / 255, seen[4 * i + 2] / 255];
    if (channels === 3) rgb.forEach((v, c) => (pixels[c * plane + i] = v));
    else pixels[i] = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
  }
  later();
}

function later() {
  if (waiting || !network) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    compute();
  });
}

function compute(input = pixels.map((v, k) => toInput(v, Math.floor(k / plane)))) {
  const began = performance.now();
  const result = network.run({ image: { data: input, shape: data.shape } });
  const took = performance.now() - began;
  globalThis.published = { result, took };
  answer(result.answer.data);
  result.maps.forEach(showMaps);
  say(`${took.toFixed(0)} ms`);
  return result;
}

function answer(probabilities) {
  const order = Array.from(probabilities.keys()).sort((a, b) => probabilities[b] - probabilities[a]).slice(0, 10);
  $("answer").replaceChildren(...order.map((k) => {
    const row = document.createElement("li"), bar = document.createElement("i");
    bar.style.width = `${100 * probabilities[k]}%`;
    row.append(data.names[k], bar, `${(100 * probabilities[k]).toFixed(1)} %`);
    return row;
  }));
}

function showMaps({ data: values, shape }, layer) {
  const box = $("layers").children[layer], flat = shape.length === 2;
  const [count, h, w] = flat ? [1, 1, shape[1]] : shape.slice(1);
  let low = Infinity, high = -Infinity;
  for (const v of values) [low, high] = [Math.min(low, v), Math.max(high, v)];
  box.querySelector("small").textContent =
    `${flat ? `${w} numbers` : `${count} maps of ${h} × ${w}`}${count > MOST ? `, the first ${MOST}` : ""}; black is ${low.toPrecision(3)}, white ${high.toPrecision(3)}`;
  const shown = box.querySelector(".maps"), most = Math.min(count, MOST);
  while (shown.children.length < most) {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: w, height: h, className: flat ? "row" : "" });
    shown.append(canvas);
  }
  for (let k = 0; k < most; k++) paint(shown.children[k].getContext("2d"), values.subarray(k * h * w, (k + 1) * h * w), w, h, low, high);
}

function showExample() {
  pixels = Float32Array.from(data.example, (v, k) => toPixel(v, Math.floor(k / plane)));
  paint(paper, pixels, width, height, 0, 1, channels);
  if (network) compute(Float32Array.from(data.example));
}

function clear() {
  paper.fillStyle = "#000";
  paper.fillRect(0, 0, width, height);
  readPaper();
}

let last = null;
function draw(event) {
  if (!last) return;
  const box = pad.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * width, y = ((event.clientY - box.top) / box.height) * height;
  Object.assign(paper, { strokeStyle: "#fff", lineWidth: Math.max(1, width / 12), lineCap: "round" });
  paper.beginPath();
  paper.moveTo(...(last.length ? last : [x, y]));
  paper.lineTo(x, y);
  paper.stroke();
  last = [x, y];
  readPaper();
}
pad.addEventListener("pointerdown", (event) => {
  last = [];
  pad.setPointerCapture(event.pointerId);
  draw(event);
});
pad.addEventListener("pointermove", draw);
for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => (last = null));

// An image of any size: its middle, as large as fits, on black.
async function open(file) {
  if (!file) return;
  try {
    const image = await createImageBitmap(file);
    const side = Math.min(image.width / width, image.height / height);
    const [w, h] = [side * width, side * height];
    paper.fillStyle = "#000";
    paper.fillRect(0, 0, width, height);
    paper.imageSmoothingQuality = "high";
    paper.drawImage(image, (image.width - w) / 2, (image.height - h) / 2, w, h, 0, 0, width, height);
    readPaper();
  } catch {
    say(`${file.name} is not an image that this browser can read.`);
  }
}
$("file").addEventListener("change", (event) => open(event.target.files[0]));
addEventListener("paste", (event) => open(event.clipboardData.files[0]));
$("clear").addEventListener("click", clear);
$("first").addEventListener("click", showExample);

for (const name of data.layers) {
  const section = document.createElement("section"), heading = document.createElement("h2");
  const small = document.createElement("small"), maps = document.createElement("div");
  heading.textContent = name;
  maps.className = "maps";
  section.append(heading, small, maps);
  $("layers").append(section);
}
showExample();
setTimeout(() => {
  try {
    network = globalThis.courseEngine.load(data.graph);
    showExample();
  } catch (error) {
    say(`The network cannot run here: ${error.message}`);
    console.error(error);
  }
});
