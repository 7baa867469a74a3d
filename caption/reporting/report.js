// The report: tables from the numbers, and a gallery that is drawn a screenful at a time.

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const SCREENFUL = 48;
const two = data.runs.length > 1;
const cider = (row, run = 0) => row.captions[run].cider ?? -1;
const gain = (row) => cider(row, 0) - (two ? cider(row, 1) : 0);
const count = (x) => x.toLocaleString("en");
const length = (row) => row.captions[0].words.length;

const ORDERS = { // the first one is in force when the page opens
  ...(two && {
    [`${data.runs[0].name} better`]: (a, b) => gain(b) - gain(a),
    [`${data.runs[1].name} better`]: (a, b) => gain(a) - gain(b),
  }),
  "worst first": (a, b) => cider(a) - cider(b),
  "best first": (a, b) => cider(b) - cider(a),
  "as in the data": () => 0,
  "shortest first": (a, b) => length(a) - length(b),
  "longest first": (a, b) => length(b) - length(a),
};
const has = (fault) => (row) => row.captions.some((caption) => caption.faults.includes(fault));
const KINDS = {
  "all": () => true,
  "CIDEr-D below 0.5": (row) => row.captions.some((c) => c.cider !== null && c.cider < 0.5),
  "bad ending": has("bad ending"),
  "repetition": has("repetition"),
  "empty": has("empty"),
  "training caption": has("training caption"),
  "new caption": (row) => !has("training caption")(row),
  "no picture": (row) => row.trouble,
  ...(two && { "different captions": (row) => row.captions[0].text !== row.captions[1].text }),
};

function table(heads, rows, caption) {
  const head = element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)));
  const body = rows.map(([first, ...rest]) => element("tr", {},
    element("th", { scope: "row" }, first), ...rest.map((cell) => element("td", {}, cell))));
  const made = element("table", { "aria-label": caption },
    element("thead", {}, head), element("tbody", {}, ...body));
  return element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": caption },
    made);
}

// A run's name beside its colour, which is that of its curves.
function named(i) {
  return element("span", { className: two ? `run run${i}` : "run" }, data.runs[i].name);
}

const signed = (x, digits) => `${x > 0 ? "+" : ""}${x.toFixed(digits)}`.replace("-", "−");

function showScores() {
  const fixed = (x) => x.toFixed(3).replace("-", "−");
  const withRange = (text, low, high) => element("span", {}, text,
    element("small", { className: "range" }, `${fixed(low)} to ${fixed(high)}`));
  const heads = ["metric", ...data.runs.map((_, i) => named(i)), ...(two ? ["difference", "p"] : [])];
  const rows = Object.keys(data.scores[0]).map((name) => {
    const pair = data.comparison?.[name];
    return [name, ...data.scores.map(({ [name]: [x, low, high] }) => withRange(fixed(x), low, high)),
      ...(pair ? [withRange(signed(pair.difference, 3), pair.low, pair.high),
        element(pair.p < 0.05 ? "strong" : "span", {}, pair.p.toFixed(4))] : [])];
  });
  at("scores").append(table(heads, rows, "Scores"));
  at("scores").firstChild.classList.add("tight");
  const about = data.provenance;
  const words = [`${count(about.images)} pictures, ${count(about.references)} references.`,
    "Below each score its 95 % interval: bootstrap over the pictures.",
    two ? `Difference: ${data.runs[0].name} less ${data.runs[1].name}, on the same pictures; ` +
      "p from a paired randomisation test, bold below 0.05." : "", ...data.warnings];
  at("scores").append(element("p", { className: "quiet note" }, words.join(" ")));
}

function showHealth() {
  const share = (x) => (x === null ? "unknown" : `${(100 * x).toFixed(1)} %`);
  const plain = (x) => (Number.isInteger(x) ? count(x) : x.toFixed(2));
  const rows = [["differ from each other", "unique", share], ["not in the training data", "novel", share],
    ["end in a word like “a” or “with”", "bad_endings", share],
    ["say something twice", "repeated", share], ["empty", "empty", share],
    ["words used", "vocabulary", plain],
    ["of the training vocabulary", "training_vocabulary_used", share],
    ["words a caption", "mean_length", plain]];
  at("health").append(table(["captions", ...data.runs.map((_, i) => named(i))],
    rows.map(([label, key, how]) => [label, ...data.health.map((h) => how(h[key]))]), "Health"));
}

function showCurves() {
  if (!data.curves) return;
  at("curves-section").hidden = false;
  at("curves").src = data.curves;
  at("curves").alt = "Curves over epochs: training and validation loss on the left, validation " +
    "CIDEr-D on the right. " + data.runs.map(({ name, origin }) => origin.validation ?
    `The best of ${name}: CIDEr-D ${origin.validation["CIDEr-D"]?.toFixed(3)} at epoch ` +
    `${origin.validation.epoch}.` : "").join(" ");
}

function showOrigin() {
  for (const run of data.runs) {
    const parts = { captions: run.captions, ...run.origin, decoding: run.decoding, config: run.config };
    at("origin").append(element("details", {}, element("summary", {}, run.name),
      element("pre", { tabIndex: 0 }, JSON.stringify(parts, null, 1))));
  }
}

// What is too large for the list of rows: {src, attention}, in an element of its own that is read
// when the picture is drawn; null while the file has not come so far.
function part(row) {
  const held = document.getElementById(`part-${row.part}`);
  return held && JSON.parse(held.textContent);
}

// The attention of a caption's words, from its bytes, when a word asks for it.
function attentionOf(row, run) {
  let bytes = null;
  return (i) => {
    const packed = part(row)?.attention[run];
    if (!packed) return null;
    bytes ??= Uint8Array.from(atob(packed.bytes), (c) => c.charCodeAt(0));
    const regions = bytes.length / row.captions[run].words.length;
    return Array.from(bytes.slice(i * regions, (i + 1) * regions),
      (share) => share / 255 * packed.greatest[i]);
  };
}

const late = []; // what fills pictures that were drawn before their bytes were here
document.addEventListener("DOMContentLoaded", () => late.splice(0).forEach((fill) => fill()));

function pictureOf(row) {
  if (row.trouble) {
    const canvas = element("canvas");
    return [element("div", { className: "lacking" }, `${row.file}: ${row.trouble}`), canvas];
  }
  const img = element("img", { loading: "lazy", decoding: "async", alt: row.captions[0].text ||
    row.file, width: row.width, height: row.height });
  const fill = () => { img.src = part(row).src; };
  if (part(row)) fill();
  else late.push(fill);
  return framed(img);
}

function card(row) {
  const [picture, canvas] = pictureOf(row);
  const details = element("div", { className: "details" });
  row.captions.forEach((caption, i) => {
    const name = two ? data.runs[i].name : "caption";
    const weights = caption.looked && !row.trouble ? attentionOf(row, i) : null;
    details.append(captionLine(caption, canvas, row.views[i], weights, name));
    const fact = caption.cider === null ? "no references" : `CIDEr-D ${caption.cider.toFixed(2)}`;
    const faults = caption.faults.filter((fault) => fault !== "training caption");
    details.append(element("small", { className: "fact" }, two ? named(i) : null, two ? " · " : "",
      fact, two && i === 0 && caption.cider !== null ? ` (${signed(gain(row), 2)})` : "",
      faults.length ? element("span", { className: "fault" }, ` · ${faults.join(", ")}`) : ""));
  });
  const references = row.references.map((text) => element("li", { dir: "auto" }, text));
  details.append(element("ul", { className: "references", "aria-label": "references" }, ...references),
    element("small", {}, row.file));
  return element("article", { className: "card", "aria-label": row.file }, picture, details);
}

let chosen = [];
let shown = 0;

function further() {
  const next = chosen.slice(shown, shown + SCREENFUL);
  at("cards").append(...next.map(card));
  shown += next.length;
  at("further").hidden = shown >= chosen.length;
}

function choose() {
  const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const least = Number(at("least").value || 0);
  const most = at("most").value === "" ? Infinity : Number(at("most").value);
  const kind = KINDS[at("kind").value];
  chosen = data.rows.filter((row) => kind(row) && length(row) >= least && length(row) <= most &&
    words.every((word) => row.text.includes(word)));
  chosen.sort(ORDERS[at("order").value]);
  at("count").textContent = `${count(chosen.length)} of ${count(data.rows.length)} pictures`;
  at("cards").replaceChildren();
  shown = 0;
  further();
}

function fill(select, names) {
  select.append(...names.map((name) => element("option", { value: name }, name)));
}

at("title").textContent = data.runs.map((run) => run.name).join(" against ");
at("summary").textContent = `${count(data.rows.length)} pictures of the ${data.split} split of ${data.data}`;
at("hint").textContent = data.rows.some((row) => row.captions.some((c) => c.looked)) ?
  "Point at a word, tap it, or go to a caption with Tab and through it with the arrow keys, to see where " +
  "the decoder looked when it chose that word." : "";
for (const row of data.rows) {
  row.text = [row.file, ...row.captions.map((c) => c.text), ...row.references].join("\n").toLowerCase();
}
showScores();
showHealth();
showCurves();
showOrigin();
fill(at("order"), Object.keys(ORDERS));
fill(at("kind"), Object.keys(KINDS));
at("tools").addEventListener("submit", (event) => event.preventDefault());
at("tools").addEventListener("input", choose);
at("further").addEventListener("click", further);
new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && further(),
  { rootMargin: "800px" }).observe(at("further"));
choose();
