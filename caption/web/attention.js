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
// `box` is what the encoder saw: left, top, width and height as shares of the picture.
function shine(canvas, weights, box) {
  const side = Math.sqrt(weights.length);
  const greatest = Math.max(...weights, 1e-12);
  const small = element("canvas", { width: side, height: side });
  const pixels = new ImageData(side, side);
  weights.forEach((weight, place) => {
    pixels.data[4 * place + 3] = Math.round(255 * VEIL * (1 - weight / greatest));
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  canvas.width = canvas.clientWidth || 320;
  canvas.height = canvas.clientHeight || 320;
  const [left, top, width, height] = [0, 1, 0, 1].map(
    (axis, i) => Math.round(box[i] * (axis ? canvas.height : canvas.width)));
  const context = canvas.getContext("2d");
  context.fillStyle = `rgba(0, 0, 0, ${VEIL})`;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.clearRect(left, top, width, height);
  context.drawImage(small, left, top, width, height); // smoothed between the regions' centres
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
function captionLine(caption, canvas, box, weights, name) {
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
    if (shown) shine(canvas, shown, box);
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
