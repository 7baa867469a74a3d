"use strict";
// What the report and the demo share: elements without markup, captions word by word, and the veil
// over a picture that lifts where the decoder looked.

const VEIL = 0.75; // how much light a place loses where the decoder did not look; as overlay.py

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

// Darken `canvas`, which lies over a picture, but where `weights` (side * side, row by row) are.
// `view` is what the encoder sees, `seen`, and where its regions lie, `grid`: left, top, width and
// height as shares of the picture. The same light as in overlay.py, in FINE * FINE places.
const FINE = 64;
function shine(canvas, weights, view) {
  const side = Math.sqrt(weights.length);
  const [columns, rows] = [0, 1].map((axis) => sight(side, view.grid[axis], view.grid[axis + 2]));
  const light = rows.map((row) => {
    const sums = Array.from({ length: side }, (_, c) =>
      row.reduce((sum, share, r) => sum + share * weights[side * r + c], 0));
    return columns.map((column) => column.reduce((sum, share, c) => sum + share * sums[c], 0));
  });
  const within = (i, axis) => (i + 0.5) / FINE > view.seen[axis] &&
    (i + 0.5) / FINE < view.seen[axis] + view.seen[axis + 2];
  const greatest = light.filter((_, y) => within(y, 1)).reduce(
    (most, line) => Math.max(most, ...line.filter((_, x) => within(x, 0))), 1e-12);
  const small = element("canvas", { width: FINE, height: FINE });
  const pixels = new ImageData(FINE, FINE);
  light.flat().forEach((value, place) => {
    pixels.data[4 * place + 3] = Math.round(255 * VEIL * (1 - Math.min(value / greatest, 1)));
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  const width = canvas.width = canvas.clientWidth || 320;
  const height = canvas.height = canvas.clientHeight || 320;
  const context = canvas.getContext("2d");
  context.fillStyle = `rgba(0, 0, 0, ${VEIL})`;
  context.fillRect(0, 0, width, height);
  const [x, y, w, h] = view.seen.map((share, i) => Math.round(share * (i % 2 ? height : width)));
  context.save();
  context.beginPath();
  context.rect(x, y, w, h);
  context.clip();
  context.clearRect(x, y, w, h);
  context.drawImage(small, 0, 0, width, height);
  context.restore(); // without the clip
}

// What each of `side` regions along an axis sees of each of FINE places: FINE arrays of shares.
function sight(side, first, length) {
  return Array.from({ length: FINE }, (_, i) => {
    const place = ((i + 0.5) / FINE - first) / length * side - 0.5;
    return Array.from({ length: side }, (_, j) => Math.exp(-0.5 * (place - j) ** 2));
  });
}

function lift(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

// A picture under its veil, and a label for the word that is shown: [the whole, the canvas].
function framed(picture) {
  const canvas = element("canvas", { "aria-hidden": "true" });
  const label = element("span", { className: "label", "aria-hidden": "true", hidden: true });
  return [element("div", { className: "picture" }, picture, canvas, label), canvas];
}

// A caption whose words are one stop of the Tab key: arrow keys, or a pointer, go from word to word.
// `weights(i)` gives the attention of word i, or is null where there is none to show.
function captionLine(caption, canvas, view, weights, name) {
  const line = element("p", { className: "caption", dir: "auto" });
  if (!caption.words.length) {
    line.append(caption.text || element("span", { className: "quiet" }, "(no words)"));
    return line;
  }
  if (!weights && !caption.probabilities.length) {
    line.append(caption.text);
    return line;
  }
  line.setAttribute("role", "toolbar");
  line.setAttribute("aria-label", `${name}: ${caption.text}`);
  const words = caption.words.map((word, i) => wordButton(word, caption.probabilities[i], i === 0));
  const show = (i) => {
    words.forEach((word, j) => word.classList.toggle("now", i === j));
    label(canvas, words[i].title);
    const shown = weights?.(i);
    if (shown) shine(canvas, shown, view);
  };
  const hide = () => {
    words.forEach((word) => word.classList.remove("now"));
    label(canvas, "");
    if (weights) lift(canvas);
  };
  words.forEach((word, i) => {
    word.addEventListener("pointerenter", () => show(i));
    word.addEventListener("focus", () => show(i));
    word.addEventListener("click", () => { word.focus(); show(i); });
    word.addEventListener("blur", hide);
    word.addEventListener("keydown", (event) => step(event, words, i));
    line.append(word, " ");
  });
  line.addEventListener("pointerleave", () => line.contains(document.activeElement) || hide());
  return line;
}

function label(canvas, text) {
  if (!canvas.nextElementSibling) return; // the picture is gone
  canvas.nextElementSibling.textContent = text;
  canvas.nextElementSibling.hidden = !text;
}

function wordButton(word, probability, first) {
  const percent = probability === undefined ? "" : `, ${Math.round(100 * probability)} %`;
  return element("button", {
    type: "button", className: "word", tabIndex: first ? 0 : -1, title: word + percent,
    "aria-label": word + percent,
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
