"use strict";
// The demo page: what its buttons do, and what the program says of itself.

function addAll(files) {
  if (!files.length) return;
  const added = files.map((file) => makeCard(file.name || "pasted picture", URL.createObjectURL(file), file));
  jobs.unshift(...added);
  at("cards").prepend(...added.map((job) => job.box));
  enlarge(added[0].box);
  settle();
  added.forEach(captionSoon);
}

async function addExample({ src, name }) {
  const answer = await fetch(src).catch(() => null);
  if (answer?.ok) addAll([new File([await answer.blob()], name)]);
  else at("status").textContent = "The program does not answer; start it again.";
}

function showExamples(examples) {
  at("examples").hidden = !examples.length;
  at("examples").append(element("span", { className: "quiet" }, "or try one of these:"));
  for (const example of examples) {
    const picture = element("img", { src: example.src, alt: "" });
    const button = element("button", { type: "button", "aria-label": `Caption ${example.name}`,
      title: `${example.name} (${example.credit})` }, picture);
    button.addEventListener("click", () => addExample(example));
    at("examples").append(button);
  }
}

function describe(model) {
  const seen = model.scenes ? "has seen drawn shapes only, so it cannot describe photographs" :
    `was trained on ${model.seen}`;
  return `The model ${model.name} ${seen}; it knows ${model.vocabulary} words.`;
}

function showModels() {
  const looks = models.some((model) => model.regions) ? " Point at a word of a caption, tap it, or use " +
    "the arrow keys: bright parts are where the model looked. It does not see edges that stay dark." : "";
  at("model").textContent = models.map(describe).join(" ") + looks;
}

at("choose").addEventListener("click", () => at("files").click());
at("photograph").addEventListener("click", () => at("photo").click());
at("live").addEventListener("click", startCamera);
at("stop").addEventListener("click", stopCamera);
for (const input of [at("files"), at("photo")]) {
  input.addEventListener("change", () => { addAll([...input.files]); input.value = ""; });
}
at("how").addEventListener("change", () => {
  const draws = at("how").value === "sample";
  at("beam-label").hidden = at("must-label").hidden = draws;
  at("temperature-label").hidden = at("top-label").hidden = !draws;
});
at("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  for (const job of jobs) if (job.file && !queue.includes(job)) captionSoon(job);
});
at("copy-all").addEventListener("click", () => copy(at("copy-all"),
  rows(jobs).map(({ file, caption }) => `${file}\t${caption}`).join("\n")));
at("csv").addEventListener("click", () => save("captions.csv", "text/csv", asCsv(rows(jobs))));
at("json").addEventListener("click", () => save("captions.json", "application/json",
  JSON.stringify(rows(jobs), null, 1)));
at("clear").addEventListener("click", () => {
  jobs.length = queue.length = 0;
  at("cards").replaceChildren();
  at("status").textContent = "";
  remember(jobs);
  settle();
  at("choose").focus();
});
document.addEventListener("paste", (event) => addAll([...event.clipboardData.files]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") addAll([...event.dataTransfer.files]);
  });
}
fetch("/health").then((answer) => answer.json()).then((health) => {
  models = health.models;
  showModels();
  showExamples(health.examples);
  at("beam").value = health.model.decoding.beam;
  for (const { name, thumbnail, answers } of stored()) {
    const job = makeCard(name, thumbnail, null);
    jobs.push(job);
    at("cards").append(job.box);
    job.show(answers);
    job.say("from an earlier visit");
  }
  if (jobs.length) enlarge(jobs[0].box);
  settle();
}).catch(() => { at("model").textContent = "The program does not answer; start it again."; });
