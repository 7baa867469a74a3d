"use strict";
// Shared by the report and the demo: elements without markup, captions word by word, and attention
// drawn over a picture.

const DIM = 0.75; // fraction by which pixels without attention are darkened; as attention_overlay.py

// An element with properties and children; a string becomes text, whatever it holds.
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// Darken `canvas`, which covers a picture, where the attention `weights` (side * side, row by row) are
// low. `view.seen` is the crop and `view.grid` the area of the regions: left, top, width and height as
// fractions of the picture. With `view.boxes` there is a weight for each box instead. The same heat
// maps as in attention_overlay.py and box_attention.py, with FINE * FINE cells.
const FINE = 64;
function drawAttention(canvas, weights, view) {
  const heatmap = view.boxes ? boxHeatmap(weights, view.boxes) : gridHeatmap(weights, view.grid);
  const within = (i, axis) => (i + 0.5) / FINE > view.seen[axis] &&
    (i + 0.5) / FINE < view.seen[axis] + view.seen[axis + 2];
  const greatest = heatmap.filter((_, y) => within(y, 1)).reduce(
    (most, line) => Math.max(most, ...line.filter((_, x) => within(x, 0))), 1e-12);
  const small = element("canvas", { width: FINE, height: FINE });
  const pixels = new ImageData(FINE, FINE);
  heatmap.flat().forEach((value, cell) => {
    pixels.data[4 * cell + 3] = Math.round(255 * DIM * (1 - Math.min(value / greatest, 1)));
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  const width = canvas.width = canvas.clientWidth || 320;
  const height = canvas.height = canvas.clientHeight || 320;
  const context = canvas.getContext("2d");
  context.fillStyle = `rgba(0, 0, 0, ${DIM})`;
  context.fillRect(0, 0, width, height);
  const [x, y, w, h] = view.seen.map((fraction, i) => Math.round(fraction * (i % 2 ? height : width)));
  context.save();
  context.beginPath();
  context.rect(x, y, w, h);
  context.clip();
  context.clearRect(x, y, w, h);
  context.drawImage(small, 0, 0, width, height);
  context.restore(); // without the clip
  if (view.boxes) outline(context, view.boxes[weights.indexOf(Math.max(...weights))], width, height);
}

function gridHeatmap(weights, grid) {
  const side = Math.sqrt(weights.length);
  const [columns, rows] = [0, 1].map((axis) => gaussianWeights(side, grid[axis], grid[axis + 2]));
  return rows.map((row) => {
    const sums = Array.from({ length: side }, (_, c) =>
      row.reduce((sum, weight, r) => sum + weight * weights[side * r + c], 0));
    return columns.map((column) => column.reduce((sum, weight, c) => sum + weight * sums[c], 0));
  });
}

// A cell has the sum of the weights of the boxes that its centre lies in.
function boxHeatmap(weights, boxes) {
  const heatmap = Array.from({ length: FINE }, () => new Array(FINE).fill(0));
  const first = (side) => Math.max(0, Math.ceil(side * FINE - 0.5));
  boxes.forEach(([left, top, right, bottom], r) => {
    for (let y = first(top); y < Math.min(FINE, first(bottom)); y += 1)
      for (let x = first(left); x < Math.min(FINE, first(right)); x += 1) heatmap[y][x] += weights[r];
  });
  return heatmap;
}

// A line around the box of the greatest weight.
function outline(context, [left, top, right, bottom], width, height) {
  context.strokeStyle = "rgb(255, 59, 48)"; // as in box_attention.py
  context.lineWidth = 2;
  context.strokeRect(left * width, top * height, (right - left) * width, (bottom - top) * height);
}

// The weight of each of `side` regions for each of FINE cells along an axis: FINE arrays.
function gaussianWeights(side, first, length) {
  return Array.from({ length: FINE }, (_, i) => {
    const position = ((i + 0.5) / FINE - first) / length * side - 0.5;
    return Array.from({ length: side }, (_, j) => Math.exp(-0.5 * (position - j) ** 2));
  });
}

function clearAttention(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

// A picture with a canvas over it and a label for the current word: [element, canvas].
function framed(picture) {
  const canvas = element("canvas", { "aria-hidden": "true" });
  const label = element("span", { className: "label", "aria-hidden": "true", hidden: true });
  return [element("div", { className: "picture" }, picture, canvas, label), canvas];
}

// A caption whose words are one stop of the Tab key; arrow keys or a pointer select a word. Words at
// the positions `caption.hallucinated` are underlined.
// `weights(i)` returns the attention of word i; it is null without attention.
function captionLine(caption, canvas, view, weights, name) {
  const line = element("p", { className: "caption", dir: "auto" });
  if (!caption.words.length) {
    line.append(caption.text || element("span", { className: "quiet" }, "(no words)"));
    return line;
  }
  const wrong = new Set(caption.hallucinated);
  if (!weights && !caption.probabilities.length && !wrong.size) {
    line.append(caption.text);
    return line;
  }
  line.setAttribute("role", "toolbar");
  line.setAttribute("aria-label", `${name}: ${caption.text}`);
  const words = caption.words.map((word, i) => wordButton(word, caption.probabilities[i], i === 0, wrong.has(i)));
  const show = (i) => {
    words.forEach((word, j) => word.classList.toggle("now", i === j));
    label(canvas, words[i].title);
    const shown = weights?.(i);
    if (shown) drawAttention(canvas, shown, view);
  };
  const hide = () => {
    words.forEach((word) => word.classList.remove("now"));
    label(canvas, "");
    if (weights) clearAttention(canvas);
  };
  words.forEach((word, i) => {
    word.addEventListener("pointerenter", () => show(i));
    word.addEventListener("focus", () => show(i));
    word.addEventListener("click", () => {
      if (!String(getSelection())) word.focus(); // a selection stays
      show(i);
    });
    word.addEventListener("blur", hide);
    word.addEventListener("keydown", (event) => step(event, words, i));
    line.append(word, " ");
  });
  line.addEventListener("pointerleave", () => line.contains(document.activeElement) || hide());
  return line;
}

function label(canvas, text) {
  if (!canvas.nextElementSibling) return; // the picture was removed
  canvas.nextElementSibling.textContent = text;
  canvas.nextElementSibling.hidden = !text;
}

// A word that takes the focus as a button does, and whose text can be selected, which a button's cannot.
function wordButton(word, probability, first, wrong) {
  const percent = probability === undefined ? "" : `, ${Math.round(100 * probability)} %`;
  const title = word + percent + (wrong ? ", not in the picture" : "");
  return element("span", {
    role: "button", className: wrong ? "word hallucinated" : "word", tabIndex: first ? 0 : -1, title,
    "aria-label": title,
  }, word);
}

function step(event, words, i) {
  const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: words.length - 1 }[event.key];
  if (event.key === "Escape") event.target.blur();
  if (to === undefined || !words[to]) return;
  event.preventDefault();
  words[i].tabIndex = -1;
  words[to].tabIndex = 0;
  words[to].focus();
}
