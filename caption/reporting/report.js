// The report: fills the page, and connects its controls.

function fill(select, names) {
  select.append(...names.map((name) => element("option", { value: name }, name)));
}

const best = data.scores[0]["CIDEr-D"];
at("title").textContent = data.runs.map((run) => run.name).join(" against ") +
  (best ? `: CIDEr-D ${data.scores.map((s) => s["CIDEr-D"][0].toFixed(3)).join(" against ")}` : "");
at("summary").textContent = `${count(data.rows.length)} pictures of the ${data.split} split of ${data.data}`;
at("hint").textContent = data.rows.some((row) => row.captions.some((c) => c.looked)) ?
  "Point at a word, tap it, or use Tab and the arrow keys, to see where the decoder looked when it chose that word. " +
  "Press a picture to enlarge it." : "Press a picture to enlarge it.";
for (const row of data.rows) {
  row.name = row.file.toLowerCase();
  row.said = row.captions.map((c) => c.text.toLowerCase());
  row.people = row.references.join("\n").toLowerCase();
  row.text = [row.name, ...row.said, row.people].join("\n");
}
fill(at("order"), Object.keys(ORDERS));
fill(at("kind"), Object.keys(KINDS));
fill(at("field"), Object.keys(FIELDS));
showHeadline();
showHistogram();
readAddress();
at("histogram").mark();
choose();
showScores();
showCaptionStatistics();
showCurves();
showWords();
showOrigin();
at("tools").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["tools", "histogram-box"]) at(id).addEventListener("input", changed);
at("further").addEventListener("click", further);
at("export").addEventListener("click", saveCsv);
at("close").addEventListener("click", () => at("enlarged").close());
at("reset").addEventListener("click", () => {
  for (const id of Object.keys(DEFAULTS)) at(id).value = DEFAULTS[id];
  range = null;
  changed();
});
window.addEventListener("hashchange", () => {
  if (!location.hash.includes("=")) return; // a link to a heading
  readAddress();
  at("histogram").mark();
  choose();
});
new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && further(),
  { rootMargin: "800px" }).observe(at("further"));
