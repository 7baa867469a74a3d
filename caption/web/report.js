// The report: tables from the numbers, and a gallery that is drawn a screenful at a time.

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const SCREENFUL = 48;
const two = data.runs.length > 1;
const cider = (row, run = 0) => row.captions[run].cider ?? -1;
const gain = (row) => cider(row, 0) - (two ? cider(row, 1) : 0);
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
  "no picture": (row) => !row.src,
  ...(two && { "different captions": (row) => row.captions[0].text !== row.captions[1].text }),
};

function table(heads, rows, caption) {
  const cell = (tag, text, more) => element(tag, more, text);
  const head = element("tr", {}, ...heads.map((text) => cell("th", text, { scope: "col" })));
  const body = rows.map(([first, ...rest]) => element("tr", {},
    cell("th", first, { scope: "row" }), ...rest.map((text) => cell("td", text))));
  const made = element("table", { "aria-label": caption },
    element("thead", {}, head), element("tbody", {}, ...body));
  return element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": caption },
    made);
}

function showScores() {
  const fixed = (x) => x.toFixed(3).replace("-", "−");
  const range = (low, high) => `${fixed(low)} to ${fixed(high)}`;
  const heads = ["metric", ...data.runs.flatMap((run) => [run.name, "95 % interval"]),
    ...(two ? ["difference", "95 % interval", "p"] : [])];
  const rows = Object.keys(data.scores[0]).map((name) => {
    const pair = data.comparison?.[name];
    return [name, ...data.scores.flatMap(({ [name]: [x, low, high] }) => [fixed(x), range(low, high)]),
      ...(pair ? [(pair.difference > 0 ? "+" : "") + fixed(pair.difference),
        range(pair.low, pair.high), pair.p.toFixed(4)] : [])];
  });
  at("scores").append(table(heads, rows, "Scores"));
  const about = data.provenance;
  const words = [`${about.images} pictures, ${about.references} references.`,
    "Intervals: bootstrap over the pictures.",
    two ? `Difference: ${data.runs[0].name} less ${data.runs[1].name}, on the same pictures; ` +
      "p from a randomisation test." : "", ...data.warnings];
  at("scores").append(element("p", { className: "quiet" }, words.join(" ")));
}

function showHealth() {
  const share = (x) => (x === null ? "unknown" : `${(100 * x).toFixed(1)} %`);
  const plain = (x) => (Number.isInteger(x) ? String(x) : x.toFixed(2));
  const rows = [["captions that differ", "unique", share], ["not in the training data", "novel", share],
    ["end in a word like “a” or “with”", "bad_endings", share],
    ["say something twice", "repeated", share], ["empty", "empty", share],
    ["words used", "vocabulary", plain],
    ["of the training vocabulary", "training_vocabulary_used", share],
    ["words a caption", "mean_length", plain]];
  at("health").append(table(["", ...data.runs.map((run) => run.name)],
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

// The attention of a caption's words, from its bytes; null where there is none.
function unpacked(caption) {
  if (!caption.attention || !caption.words.length) return null;
  const bytes = Uint8Array.from(atob(caption.attention.bytes), (c) => c.charCodeAt(0));
  const regions = bytes.length / caption.words.length;
  return (i) => Array.from(bytes.slice(i * regions, (i + 1) * regions),
    (share) => share / 255 * caption.attention.greatest[i]);
}

function pictureOf(row, canvas) {
  if (!row.src) {
    return element("div", { className: "lacking" }, `${row.file}: ${row.trouble}`);
  }
  const img = element("img", { loading: "lazy", decoding: "async", alt: row.captions[0].text ||
    row.file, width: row.width, height: row.height, src: row.src });
  return element("div", { className: "picture" }, img, canvas);
}

function card(row) {
  const canvas = element("canvas", { "aria-hidden": "true" });
  const told = element("div", { className: "told" });
  row.captions.forEach((caption, i) => {
    const name = two ? data.runs[i].name : "caption";
    const weights = row.src ? unpacked(caption) : null;
    told.append(captionLine(caption, canvas, row.box, weights, name));
    const facts = [two ? name : "", caption.cider === null ? "no references" :
      `CIDEr-D ${caption.cider.toFixed(2)}`].filter(Boolean).join(" · ");
    const faults = caption.faults.filter((fault) => fault !== "training caption");
    told.append(element("small", {}, facts, faults.length ?
      element("span", { className: "fault" }, ` · ${faults.join(", ")}`) : ""));
  });
  const references = row.references.map((text) => element("li", { dir: "auto" }, text));
  told.append(element("ul", { className: "references", "aria-label": "references" }, ...references),
    element("small", {}, row.file));
  return element("article", { className: "card", "aria-label": row.file },
    pictureOf(row, canvas), told);
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
  at("count").textContent = `${chosen.length} of ${data.rows.length} pictures`;
  at("cards").replaceChildren();
  shown = 0;
  further();
}

function fill(select, names) {
  select.append(...names.map((name) => element("option", { value: name }, name)));
}

at("title").textContent = data.runs.map((run) => run.name).join(" against ");
at("summary").textContent = `${data.rows.length} pictures of the ${data.split} split of ${data.data}`;
at("hint").textContent = data.rows.some((row) => row.captions.some((c) => c.attention)) ?
  "Point at a word, or go to a caption with Tab and through it with the arrow keys, to see where " +
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
