// How clicks, boxes and keys reach the photo; runs in one scope with desk.js.
// Mouse and touch.
function position(event) {
  const frame = stage.getBoundingClientRect();
  const within = (value, most) => Math.min(Math.max(value, 0), most);
  return [
    within(((event.clientX - frame.left) / frame.width) * photo.width, photo.width),
    within(((event.clientY - frame.top) / frame.height) * photo.height, photo.height),
  ];
}

const ordered = ([a, b], [c, d]) => [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)];

stage.addEventListener("contextmenu", (event) => event.preventDefault());
stage.addEventListener("pointerdown", (event) => {
  if (!photo || event.button === 1) return;
  cursor = corner = null;
  drag = { from: position(event), x: event.clientX, y: event.clientY, box: null, boxes: event.pointerType === "mouse" || mode() === "box" };
  if (drag.boxes) stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", (event) => {
  if (!drag || !drag.boxes) return;
  const far = Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > FARTHEST_CLICK;
  if (!far && !drag.box) return;
  drag.box = ordered(drag.from, position(event));
  draw();
});
stage.addEventListener("pointerup", (event) => {
  if (!drag) return;
  const { box, from } = drag;
  drag = null;
  if (box) return add({ box });
  if (mode() === "box") {
    draw();
    return say("For a box, drag from one corner to the other.");
  }
  const out = event.button === 2 || event.shiftKey || mode() === "out";
  add({ point: from, label: out ? 0 : 1 });
});
stage.addEventListener("pointercancel", () => {
  drag = null;
  draw();
});

// Keyboard.
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function move([dx, dy], small) {
  const step = Math.max(photo.width, photo.height) * (small ? 0.004 : 0.02);
  const within = (value, most) => Math.min(Math.max(value, 0), most);
  cursor ??= [photo.width / 2, photo.height / 2];
  cursor = [within(cursor[0] + dx * step, photo.width), within(cursor[1] + dy * step, photo.height)];
  draw();
}

function setCorner() {
  cursor ??= [photo.width / 2, photo.height / 2];
  if (!corner) {
    corner = cursor;
    say("First corner set; move to the other one and press B.");
    return draw();
  }
  const box = ordered(corner, cursor);
  corner = null;
  add({ box });
}

stage.addEventListener("keydown", (event) => {
  if (!photo || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (ARROWS[key]) move(ARROWS[key], event.shiftKey);
  else if (key === "Enter" || key === " ") {
    cursor ??= [photo.width / 2, photo.height / 2];
    add({ point: cursor, label: event.shiftKey || mode() === "out" ? 0 : 1 });
  } else if (key === "b") setCorner();
  else if (key === "Backspace") undo();
  else if (key === "Delete") clear();
  else if (key === "Escape" && corner) {
    corner = null;
    draw();
  } else return;
  event.preventDefault();
});
