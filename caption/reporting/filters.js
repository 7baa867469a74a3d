// The filters of the gallery, which the address bar keeps: search, field, order, kind, length, scores.

const length = (row) => row.captions[0].words.length;
const has = (fault) => (row) => row.captions.some((caption) => caption.faults.includes(fault));
const names = data.runs.map((run) => run.name);

const byPlace = (a, b) => a.place - b.place; // the order of html.py, in which the parts are in the file
const ORDERS = { // the first one is in force when the page opens
  ...Object.fromEntries(names.slice(1).flatMap((name, i) => [
    [`${names[0]} worse than ${name}`, i ? (a, b) => gain(b, i + 1) - gain(a, i + 1) : byPlace],
    [`${name} worse than ${names[0]}`, (a, b) => gain(a, i + 1) - gain(b, i + 1)],
  ])),
  "worst first": two ? (a, b) => cider(a) - cider(b) : byPlace,
  "best first": (a, b) => cider(b) - cider(a),
  "as in the data": () => 0,
  "shortest first": (a, b) => length(a) - length(b),
  "longest first": (a, b) => length(b) - length(a),
};
const KINDS = {
  "all": () => true,
  "CIDEr-D below 0.5": (row) => row.captions.some((c) => c.cider !== null && c.cider < 0.5),
  "bad ending": has("bad ending"),
  "repetition": has("repetition"),
  "object that is not there": has("hallucination"),
  "empty": has("empty"),
  "training caption": has("training caption"),
  "new caption": (row) => !has("training caption")(row),
  "no picture": (row) => row.trouble,
  ...(two && { "different captions": (row) => row.captions.some((c) => c.text !== row.captions[0].text) }),
};
// Whether a row has the term; "wrongly" means that a run says it and no person does.
const FIELDS = {
  "everything": (row, term) => term.in(row.text),
  ...Object.fromEntries(names.map((name, i) => [`captions of ${name}`, (row, term) => term.in(row.said[i])])),
  ...Object.fromEntries(names.map((name, i) => [`wrongly said by ${name}`,
    (row, term) => term.in(row.said[i]) && !term.in(row.people)])),
  "people's captions": (row, term) => term.in(row.people),
  "file names": (row, term) => term.in(row.name),
};
const BINS = 20;
const DEFAULTS = { search: "", field: "everything", order: Object.keys(ORDERS)[0], kind: "all", least: "", most: "" };
let range = null; // [low, high] of the first run's CIDEr-D

// The words and "quoted phrases" of a search. A quoted phrase matches whole words.
function terms(text) {
  return [...text.toLowerCase().matchAll(/["“]([^"”]+)["”]?|(\S+)/g)].map(([, phrase, word]) =>
    (phrase ? { in: (where) => ` ${where.replace(/[^\p{L}\p{N}]+/gu, " ")} `.includes(` ${phrase.trim()} `) } :
      { in: (where) => where.includes(word.replace(/["“”]/g, "")) }));
}

function choose() {
  const wanted = terms(at("search").value);
  const least = Number(at("least").value || 0);
  const most = at("most").value === "" ? Infinity : Number(at("most").value);
  const kind = KINDS[at("kind").value];
  const field = FIELDS[at("field").value];
  const rows = data.rows.filter((row) => kind(row) && length(row) >= least && length(row) <= most &&
    (!range || (cider(row) >= range[0] && cider(row) < range[1])) &&
    wanted.every((term) => field(row, term)));
  showRows(rows.sort(ORDERS[at("order").value]));
}

function writeAddress() {
  const kept = Object.keys(DEFAULTS).filter((id) => at(id).value !== DEFAULTS[id]).map((id) => [id, at(id).value]);
  if (range) kept.push(["scores", range.join("-")]);
  try {
    history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
  } catch { /* some browsers refuse it for files, and for too many changes in a short time */ }
}

function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const id of Object.keys(DEFAULTS)) {
    at(id).value = DEFAULTS[id];
    if (asked.has(id)) at(id).value = asked.get(id);
    if (at(id).selectedIndex === -1) at(id).value = DEFAULTS[id];
  }
  const ends = (asked.get("scores") ?? "").split("-").map(Number);
  range = ends.length === 2 && ends.every(Number.isFinite) ? ends : null;
  if (range || at("least").value || at("most").value) at("histogram-box").open = true;
}

// Bars of the first run's scores; drag over them, or press one, to choose a range.
function showHistogram() {
  const scores = data.rows.map((row) => cider(row)).filter((score) => score >= 0);
  const top = scores.reduce((a, b) => Math.max(a, b), 0) || 1;
  const step = top / BINS;
  const bins = Array(BINS).fill(0);
  for (const score of scores) bins[Math.min(BINS - 1, Math.floor(score / step))] += 1;
  const ends = (i) => [Number((i * step).toFixed(3)), i === BINS - 1 ? 99 : Number(((i + 1) * step).toFixed(3))];
  const shown = (score) => (score === 99 ? top : score).toFixed(2);
  const bars = bins.map((n, i) => {
    const title = `${ends(i).map(shown).join(" to ")}: ${count(n)}`;
    const bar = element("button", { type: "button", title, "aria-label": `CIDEr-D from ${title} pictures` },
      element("span", {}));
    bar.firstChild.style.height = `${100 * n / Math.max(...bins, 1)}%`;
    bar.addEventListener("click", (event) => event.detail === 0 && brush(i, i)); // by a key
    return bar;
  });
  const brush = (from, to) => {
    const wanted = [ends(from)[0], ends(to)[1]];
    range = String(range) === String(wanted) ? null : wanted;
    changed();
  };
  const press = (from, to) => bars.forEach((bar, i) => bar.setAttribute("aria-pressed", String(i >= from && i <= to)));
  const box = at("histogram");
  box.append(...bars);
  box.mark = () => {
    const within = bars.map((_, i) => range !== null && ends(i)[0] >= range[0] && ends(i)[1] <= range[1]);
    press(within.indexOf(true) === -1 ? BINS : within.indexOf(true), within.lastIndexOf(true));
    at("range").textContent = `CIDEr-D of ${names[0]}: ${range ? `${range.map(shown).join(" to ")} is chosen; press it ` +
      "again to end that" : "drag over bars, or press one, to see these pictures only"}.`;
  };
  at("top").textContent = top.toFixed(2);
  dragOver(box, press, brush);
}

// Pressing and dragging over the bars of `box`: `press` shows what would be chosen, `brush` chooses it.
function dragOver(box, press, brush) {
  let first = null;
  const under = (event) => {
    const { left, width } = box.getBoundingClientRect();
    return Math.max(0, Math.min(BINS - 1, Math.floor((event.clientX - left) / width * BINS)));
  };
  const span = (event) => [Math.min(first, under(event)), Math.max(first, under(event))];
  box.addEventListener("pointerdown", (event) => {
    first = under(event);
    box.setPointerCapture(event.pointerId);
    press(...span(event));
  });
  box.addEventListener("pointermove", (event) => first !== null && press(...span(event)));
  box.addEventListener("pointerup", (event) => {
    const chosen = span(event);
    first = null;
    brush(...chosen);
  });
  box.addEventListener("pointercancel", () => { first = null; box.mark(); });
}

function changed() {
  at("histogram").mark();
  writeAddress();
  choose();
}
