"use strict";
// Pictures come in: chosen, dropped, pasted or photographed; and what the buttons do with the cards.

function addAll(files) {
  if (!files.length) return;
  const added = files.map((file) => makeCard(file.name || "pasted picture", URL.createObjectURL(file), file));
  jobs.unshift(...added);
  at("cards").prepend(...added.map((job) => job.box));
  enlarge(added[0].box);
  updateLayout();
  added.forEach(captionSoon);
}

// The cards of earlier visits.
function restore() {
  for (const { name, thumbnail, answers } of stored()) {
    const job = makeCard(name, thumbnail, null);
    jobs.push(job);
    at("cards").append(job.box);
    job.show(answers);
    job.say("from an earlier visit");
  }
  if (jobs.length) enlarge(jobs[0].box);
  updateLayout();
}

at("choose").addEventListener("click", () => at("files").click());
at("photograph").addEventListener("click", () => at("photo").click());
at("live").addEventListener("click", startCamera);
at("stop").addEventListener("click", stopCamera);
for (const input of [at("files"), at("photo")]) {
  input.addEventListener("change", () => { addAll([...input.files]); input.value = ""; });
}
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
  updateLayout();
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
