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
// height as shares of the picture. The grid's edges go on as they are, as in overlay.py.
function shine(canvas, weights, view) {
  const side = Math.sqrt(weights.length);
  const greatest = Math.max(...weights, 1e-12);
  const small = element("canvas", { width: 3 * side, height: 3 * side });
  const pixels = new ImageData(3 * side, 3 * side);
  const inside = (i) => Math.min(Math.max(i - side, 0), side - 1);
  for (let y = 0; y < 3 * side; y++) {
    for (let x = 0; x < 3 * side; x++) {
      const weight = weights[side * inside(y) + inside(x)];
      pixels.data[4 * (3 * side * y + x) + 3] = Math.round(255 * VEIL * (1 - weight / greatest));
    }
  }
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
  const [left, top, across, down] = view.grid.map((share, i) => share * (i % 2 ? height : width));
  context.drawImage(small, left - across, top - down, 3 * across, 3 * down); // smoothed in between
  context.restore(); // without the clip
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
