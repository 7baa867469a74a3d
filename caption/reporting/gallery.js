// The gallery: cards, drawn a screenful at a time, and the enlarged card.

const SCREENFUL = 48;
const cider = (row, run = 0) => row.captions[run].cider ?? -1;
const gain = (row, run = 1) => (two ? cider(row, run) - cider(row, 0) : 0);

// What is too large for the list of rows: {src, attention}, in an element of its own that is read
// when the picture is drawn; null while the file has not come so far.
function part(row) {
  const held = document.getElementById(`part-${row.part}`);
  return held && JSON.parse(held.textContent);
}

const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

// The boxes of regions from 16-bit fractions, low byte first: [[left, top, right, bottom], ...].
function boxesOf(text) {
  const bytes = bytesOf(text);
  const side = (i) => (bytes[2 * i] + 256 * bytes[2 * i + 1]) / 65535;
  return Array.from({ length: bytes.length / 8 }, (_, r) => [0, 1, 2, 3].map((j) => side(4 * r + j)));
}

// The attention of a caption's words, from its bytes, when a word asks for it. The boxes of the
// regions, if there are any, become part of `view`.
function attentionOf(row, run, view) {
  let bytes = null;
  return (i) => {
    const packed = part(row)?.attention[run];
    if (!packed) return null;
    if (packed.boxes) view.boxes ??= boxesOf(packed.boxes);
    bytes ??= bytesOf(packed.bytes);
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
    const view = { ...row.views[i] };
    const weights = caption.looked && !row.trouble ? attentionOf(row, i, view) : null;
    details.append(captionLine(caption, canvas, view, weights, name));
    const fact = caption.cider === null ? "no references" : `CIDEr-D ${caption.cider.toFixed(2)}`;
    const faults = caption.faults.filter((fault) => fault !== "training caption")
      .map((fault) => (fault === "hallucination" ? "names what is not there" : fault));
    details.append(element("small", { className: "fact" }, two ? named(i) : null, two ? " · " : "",
      fact, i > 0 && caption.cider !== null ? ` (${signed(gain(row, i), 2)})` : "",
      faults.length ? ` · ${faults.join(", ")}` : ""));
  });
  const references = row.references.map((text) => element("li", { dir: "auto" }, text));
  const enlarge = element("button", { type: "button", className: "enlarge" }, "Enlarge");
  enlarge.addEventListener("click", () => showLarge(row));
  if (references.length) details.append(element("small", { className: "fact" }, "people said"));
  details.append(element("ul", { className: "references", "aria-label": "references" }, ...references),
    element("div", { className: "foot" }, element("small", {}, row.file), enlarge));
  picture.addEventListener("click", () => showLarge(row));
  picture.style.setProperty("--ratio", row.width / row.height);
  return element("article", { className: "card", "aria-label": row.file }, picture, details);
}

function showLarge(row) {
  if (at("enlarged").open) return;
  const large = card(row);
  large.querySelector(".enlarge").remove();
  at("enlarged-card").replaceChildren(large);
  at("enlarged").showModal();
}

let chosen = [];
let shown = 0;

function further() {
  const next = chosen.slice(shown, shown + SCREENFUL);
  at("cards").append(...next.map(card));
  shown += next.length;
  at("further").hidden = shown >= chosen.length;
}

function showRows(rows) {
  chosen = rows;
  at("count").textContent = `${count(rows.length)} of ${count(data.rows.length)} pictures`;
  at("none").hidden = rows.length > 0;
  at("cards").replaceChildren();
  shown = 0;
  further();
}

// The chosen rows as CSV; a cell that starts with = + - @ would be a formula in a spreadsheet.
function asCsv(rows) {
  const cell = (value) => {
    const text = String(value ?? "");
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return `"${safe.replaceAll('"', '""')}"`;
  };
  const heads = ["file", ...data.runs.flatMap(({ name }) => [`caption of ${name}`, `CIDEr-D of ${name}`]),
    "references"];
  const lines = rows.map((row) => [row.file, ...row.captions.flatMap((c) => [c.text, c.cider]),
    row.references.join(" | ")]);
  return [heads, ...lines].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

function saveCsv() {
  const url = URL.createObjectURL(new Blob([asCsv(chosen)], { type: "text/csv" }));
  element("a", { href: url, download: "captions.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
