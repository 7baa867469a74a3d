// The tables of the report: headline, scores, caption statistics, words, provenance.

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const two = data.runs.length > 1;
const count = (x) => x.toLocaleString("en");

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
  return element("span", { className: two ? `run run${i % 2}` : "run" }, data.runs[i].name);
}

const signed = (x, digits) => `${x > 0 ? "+" : ""}${x.toFixed(digits)}`.replace("-", "−");

const fixed = (x) => x.toFixed(3).replace("-", "−");
const percent = (x) => `${(100 * x).toFixed(1)} %`;

function withRange(text, low, high) {
  return element("span", {}, text,
    element("small", { className: "range" }, `${fixed(low)} to ${fixed(high)}`));
}

// What matters first: each run with its decoder, encoder, data, date and CIDEr-D, and what to compare.
function showHeadline() {
  const baseline = data.baselines ?? {};
  const rows = data.runs.map((run, i) => {
    const score = data.scores[i]["CIDEr-D"];
    const facts = [run.config.decoder ?? "", run.origin.encoder ?? "", run.date ?? ""];
    return [element("span", {}, named(i), element("small", { className: "narrow" }, facts.join(" · "))), ...facts,
      score ? withRange(fixed(score[0]), score[1], score[2]) : ""];
  });
  if (baseline.people) rows.push(["people", "", "", "", fixed(baseline.people)]);
  if (baseline.constant) {
    const [text, score] = baseline.constant;
    rows.push([element("span", { title: text }, `one caption for all: “${text}”`), "", "", "", fixed(score)]);
  }
  const heads = ["captions of", "decoder", "encoder", "date", "CIDEr-D"];
  at("headline").append(table(heads, rows, "Overview"));
}

const probability = (p) =>
  element(p < 0.05 ? "strong" : "span", {}, p < 0.001 ? "< 0.001" : p.toFixed(3));

function showScores() {
  const others = data.runs.slice(1);
  const heads = ["metric", ...data.runs.map((_, i) => named(i)),
    ...others.flatMap((run) => [others.length > 1 ? `${run.name} less ${data.runs[0].name}` : "difference", "p"])];
  const rows = Object.keys(data.scores[0]).map((name) => {
    const pairs = (data.comparisons ?? []).map((found) => found[name]);
    return [name, ...data.scores.map(({ [name]: [x, low, high] }) => withRange(fixed(x), low, high)),
      ...pairs.flatMap((pair) => (pair ? [withRange(signed(pair.difference, 3), pair.low, pair.high),
        probability(pair.p_holm ?? pair.p)] : ["", ""]))];
  });
  at("scores").append(table(heads, rows, "Scores"));
  at("scores").firstChild.classList.add("tight");
  const about = data.provenance;
  const words = [`${count(about.images)} pictures, ${count(about.references)} references.`,
    "Below each score its 95 % interval: bootstrap over the pictures.",
    two ? `Difference: the other run less ${data.runs[0].name}, on the same pictures, as in eval.score ` +
      "--against; p from a permutation test over the pictures" + (others.length > 1 ? ", corrected for " +
      `${others.length} comparisons by Holm's method` : "") + ", bold below 0.05." : "", ...data.warnings];
  at("scores").append(element("p", { className: "quiet note" }, words.join(" ")));
}

// The caption statistics of the runs and of people, whose references are the last column.
function showCaptionStatistics() {
  const share = (x) => (x === null ? "" : percent(x));
  const plain = (x) => (x === null ? "" : Number.isInteger(x) ? count(x) : x.toFixed(2));
  const rows = [["differ from each other", "unique", share], ["not in the training data", "novel", share],
    ["end in a word like “a” or “with”", "bad_endings", share],
    ["say three words in a row twice", "repeated", share], ["empty", "empty", share],
    ["different words", "vocabulary", plain],
    ["of the training vocabulary", "training_vocabulary_used", share],
    ["words a caption", "mean_length", plain]];
  const chair = data.chair.every((h) => h.CHAIRs === null) ? [] :
    [["name an object that is not there (CHAIRs)", "CHAIRs"],
      ["named objects that are not there (CHAIRi)", "CHAIRi"]];
  at("health").append(table(["captions", ...data.runs.map((_, i) => named(i)), "people"],
    [...rows.map(([label, key, how]) => [label, ...data.health.map((h) => how(h[key]))]),
      ...chair.map(([label, key]) => [label, ...data.chair.map((h) => share(h[key])), ""])], "Caption statistics"));
  if (!chair.length) return;
  at("health").append(element("p", { className: "quiet note" }, "Underlined words of a caption name an " +
    `object that is not there, by ${data.chair_against}.`));
}

// What a run never says, and what it says too often, each word with its share of captions.
function showWords() {
  (data.words ?? []).forEach((words, i) => {
    const list = (found, text) => element("p", {}, ...found.flatMap((row) =>
      [element("span", { className: "word-share" }, row[0], element("small", {}, text(row))), " "]));
    at("words").append(element("h3", {}, named(i), ` never says ${count(words.never_count)} of the words ` +
      `that people say at least three times${words.never_count > words.never.length ? "; the commonest are" : ""}`),
    list(words.never, ([, people]) => ` people ${percent(people)}`),
    element("h3", {}, named(i), " says more often than people"),
    list(words.often, ([, own, people]) => ` ${percent(own)}, people ${percent(people)}`));
  });
  at("words").prepend(element("p", { className: "quiet" }, "The share of captions that contain the word."));
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

// Provenance as a table: a row a fact, a column a run.
function showOrigin() {
  const flat = (value, name) => (value !== null && typeof value === "object" && !Array.isArray(value) ?
    Object.entries(value).flatMap(([key, inner]) => flat(inner, name ? `${name} ${key}` : key)) :
    [[name.replaceAll("_", " "), Array.isArray(value) ? value.join(", ") : String(value ?? "")]]);
  const facts = data.runs.map((run) => new Map(flat({ captions: run.captions, ...run.origin,
    decoding: run.decoding, config: run.config }, "")));
  const names = [...new Set(facts.flatMap((known) => [...known.keys()]))];
  at("origin").append(table(["", ...data.runs.map((_, i) => named(i))],
    names.map((name) => [name, ...facts.map((known) => known.get(name) ?? "")]), "Provenance"));
  at("origin").lastChild.classList.add("facts");
}
