// The photo that is clicked on: gathers clicks and a box, sends them, draws what comes back.
const find = (selector) => element.querySelector(selector);
const stage = find(".rv-stage"), marks = find(".rv-marks"), cross = find(".rv-cross");
const status = find(".rv-status"), alarm = find(".rv-alert"), growth = find(".rv-growth");
const segmenter = find(".rv-segmenter select");
const INVITATION = "Click on a food.";
const FARTHEST_CLICK = 6; // pixels of the screen; a longer way is a box

let photo = null; // {key, width, height}
let steps = []; // in order: {point: [x, y], label} or {box: [left, top, right, bottom]}
let candidate = null, candidates = 0;
let context = null, lenders = [];
let cursor = null, corner = null, drag = null;
let waiting = false, next = null, started = 0, timer = null, patience = null;

const mode = () => find("input[name=rv-mode]:checked").value;
const currentBox = () => steps.filter((step) => step.box).map((step) => step.box).pop() ?? null;

function say(text, isAlarm = false) {
  status.textContent = isAlarm ? "" : text;
  alarm.textContent = isAlarm ? text : "";
  alarm.hidden = !isAlarm;
}

function payload() {
  const points = steps.filter((step) => step.point);
  return {
    key: photo.key,
    points: points.map((step) => step.point),
    labels: points.map((step) => step.label),
    box: currentBox(),
    candidate,
    growth: Number(growth.value) / 100,
    segmenter: segmenter.value,
    context,
  };
}

function ask() {
  draw();
  if (photo) request("ask");
}

// One question at a time; of those that come while one is open, the last is sent afterwards.
function request(event, data) {
  if (waiting) {
    if (next?.event !== "example") next = { event, data };
    return;
  }
  next = null;
  waiting = true;
  started = performance.now();
  element.dataset.state = "busy";
  clearTimeout(timer);
  clearTimeout(patience);
  patience = setTimeout(() => say("Still working…"), 2000);
  timer = setTimeout(() => {
    done();
    say("No answer came. Is the program still running? Click again, or load the page again.", true);
  }, 60000);
  trigger(event, data ?? payload());
}

function done() {
  clearTimeout(timer);
  clearTimeout(patience);
  waiting = false;
  element.dataset.state = "ready";
}

function add(step) {
  corner = null;
  if (step.box) steps = steps.filter((other) => !other.box);
  steps.push(step);
  candidate = null;
  ask();
}

function undo() {
  steps.pop();
  candidate = null;
  if (steps.length) ask();
  else clear();
}

function clear() {
  steps = [];
  corner = drag = null;
  candidate = null;
  candidates = 0;
  growth.value = 0;
  find(".rv-mask").hidden = true;
  say(photo ? INVITATION : "");
  ask();
}

function place(node, x, y) {
  node.style.left = `${(100 * x) / photo.width}%`;
  node.style.top = `${(100 * y) / photo.height}%`;
  return node;
}

function drawBox([left, top, right, bottom]) {
  const node = place(document.createElement("div"), left, top);
  node.className = "rv-box";
  node.style.width = `${(100 * (right - left)) / photo.width}%`;
  node.style.height = `${(100 * (bottom - top)) / photo.height}%`;
  marks.append(node);
}

function draw() {
  marks.replaceChildren();
  if (photo) {
    const box = drag?.box ?? (corner && cursor ? ordered(corner, cursor) : currentBox());
    if (box) drawBox(box);
    if (corner) {
      const node = place(document.createElement("div"), ...corner);
      node.className = "rv-corner";
      marks.append(node);
    }
    for (const { point, label } of steps.filter((step) => step.point)) {
      const node = place(document.createElement("div"), ...point);
      node.className = label ? "rv-mark rv-in" : "rv-mark rv-out";
      node.textContent = label ? "+" : "−";
      marks.append(node);
    }
    cross.hidden = cursor === null;
    if (cursor) place(cross, ...cursor);
    cross.classList.toggle("rv-cornered", corner !== null);
  }
  const clicks = steps.filter((step) => step.point).length;
  find(".rv-count").hidden = clicks < 2;
  find(".rv-count").textContent = clicks < 2 ? "" : `${clicks} clicks, one region; Clear starts another food.`;
  find(".rv-undo").disabled = find(".rv-clear").disabled = !steps.length;
  find(".rv-smaller").disabled = candidates < 2 || candidate === 0;
  find(".rv-larger").disabled = candidates < 2 || candidate === candidates - 1;
  find(".rv-which").textContent = candidates > 1 ? `${candidate + 1} of ${candidates}` : "";
  find(".rv-percent").textContent = `${growth.value > 0 ? "+" : ""}${growth.value} %`;
}

// Tools.
find(".rv-undo").addEventListener("click", undo);
find(".rv-clear").addEventListener("click", clear);
find(".rv-smaller").addEventListener("click", () => {
  candidate -= 1;
  ask();
});
find(".rv-larger").addEventListener("click", () => {
  candidate += 1;
  ask();
});
growth.addEventListener("input", draw);
growth.addEventListener("change", ask);
segmenter.addEventListener("change", () => {
  candidate = null;
  ask();
});
for (const input of element.querySelectorAll("input[name=rv-mode]")) {
  input.addEventListener("change", () => stage.classList.toggle("rv-boxing", mode() === "box"));
}

find(".rv-copy").addEventListener("click", async () => {
  const field = find(".rv-row input");
  find(".rv-row").hidden = false;
  field.focus();
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    find(".rv-copied").textContent = "Copied.";
  } catch { // a browser that does not let pages copy, or a page over http from another computer
    find(".rv-copied").textContent = "Copy the marked text.";
  }
});

// Photos: examples, lent surroundings, drops.
function thumb({ name, picture }, label) {
  const frame = document.createElement("span");
  frame.className = "rv-thumb";
  frame.title = name;
  const image = Object.assign(document.createElement("img"), { src: picture, alt: label });
  const tag = document.createElement("span");
  tag.className = "rv-tag";
  tag.textContent = name.replace(/^photo (?=\d+$)/, "");
  tag.setAttribute("aria-hidden", "true");
  frame.append(image, tag);
  return frame;
}

function listExamples() {
  props.examples.forEach((example, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(thumb(example, `open example ${example.name}`));
    button.addEventListener("click", () => request("example", { number }));
    find(".rv-examples").append(button);
  });
}

function listLenders() {
  if (!lenders.some((lender) => lender.key === context)) context = lenders[0]?.key ?? null;
  find(".rv-lend").hidden = !lenders.length;
  find(".rv-contexts").replaceChildren(
    ...lenders.map((lender) => {
      const label = document.createElement("label");
      const input = Object.assign(document.createElement("input"), { type: "radio", name: "rv-context", checked: lender.key === context });
      input.addEventListener("change", () => {
        context = lender.key;
        ask();
      });
      label.append(input, thumb(lender, `surroundings of ${lender.name}`));
      return label;
    }),
  );
}

// Telephones offer camera and gallery; what is chosen all the same is told by the program.
const chooser = () => document.querySelector("#rv-upload")?.parentElement.querySelector("input[type=file]");

function acceptPhotos() {
  if (chooser()) chooser().accept = "image/*";
  else setTimeout(acceptPhotos, 100);
}
setTimeout(acceptPhotos, 100); // once the button is there

element.addEventListener("dragover", (event) => event.preventDefault());
element.addEventListener("drop", (event) => {
  event.preventDefault();
  const input = chooser();
  if (!event.dataTransfer.files.length || !input) return;
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});

// What the program sends.
function show(value) {
  if (!value || (!value.photo && value.key !== photo?.key)) return; // of a photo that is no longer open
  const seconds = (performance.now() - started) / 1000;
  done();
  if (next) return request(next.event, next.data);
  if (value.photo) open(value);
  if (value.answered) showMask(value, seconds);
  if (value.alarm) say(value.alarm, true);
  draw();
  element.dataset.replies = Number(element.dataset.replies ?? 0) + 1;
}

function showMask(value, seconds) {
  find(".rv-mask").hidden = !value.mask;
  find(".rv-keep").hidden = !value.row;
  find(".rv-row").hidden = true;
  find(".rv-copied").textContent = "";
  find(".rv-row input").value = value.row ?? "";
  candidates = value.candidates ?? 0;
  candidate = value.candidate ?? null;
  if (!value.mask) return;
  find(".rv-mask").src = value.mask;
  element.dataset.seconds = seconds.toFixed(3);
  if (value.text) say(`${value.text} (${seconds.toFixed(1)} s)`);
}

function open(value) {
  photo = { key: value.key, width: value.width, height: value.height };
  steps = [];
  corner = cursor = drag = null;
  candidate = null;
  candidates = 0;
  growth.value = 0;
  lenders = value.lenders;
  find(".rv-photo").src = value.photo;
  find(".rv-photo").alt = `photo ${value.name}`;
  find(".rv-mask").hidden = find(".rv-keep").hidden = true;
  stage.style.setProperty("--shape", `${value.width} / ${value.height}`);
  stage.style.setProperty("--aspect", value.width / value.height);
  stage.hidden = false;
  find(".rv-empty").hidden = true;
  [...find(".rv-examples").children].forEach((button, number) => {
    button.setAttribute("aria-pressed", String(value.key === `example ${number}`));
  });
  listLenders();
  say(INVITATION);
}

for (const name of props.segmenters) segmenter.add(new Option(name.label, name.value));
find(".rv-segmenter").hidden = props.segmenters.length < 2;
listExamples();
draw();
element.dataset.state = "ready";
show(props.value);
watch("value", () => show(props.value));
