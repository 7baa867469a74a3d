"use strict";
// The captions of earlier visits, in the browser's storage; results as text, CSV and JSON.

const KEPT = 24; // pictures
const STORE = "captions";

function stored() {
  try {
    const found = JSON.parse(localStorage.getItem(STORE) || "[]");
    return Array.isArray(found) ? found.filter((one) => Array.isArray(one.answers)) : [];
  } catch {
    return [];
  }
}

// Keep the newest cards, fewer if the storage is full.
function remember(jobs) {
  const kept = jobs.filter((job) => job.answers && job.thumbnail).slice(0, KEPT)
    .map(({ name, thumbnail, answers }) => ({ name, thumbnail, answers }));
  for (let size = kept.length; size >= 0; size -= 4) {
    try {
      localStorage.setItem(STORE, JSON.stringify(kept.slice(0, Math.max(0, size))));
      return;
    } catch { /* try fewer */ }
  }
}

// One row a caption: {file, run, caption, log_prob}.
function rows(jobs) {
  return jobs.filter((job) => job.answers).flatMap((job) => job.answers.flatMap((answer, run) =>
    answer.captions.map(({ caption, log_prob }) =>
      ({ file: job.name, run: models[run]?.name ?? "", caption, log_prob }))));
}

function asCsv(found) {
  // a cell that starts with = + - @ would be a formula in a spreadsheet
  const safe = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);
  const cell = (value) => `"${String(typeof value === "string" ? safe(value) : value).replaceAll('"', '""')}"`;
  const lines = found.map((row) => [row.file, row.run, row.caption, row.log_prob].map(cell).join(","));
  return ["file,run,caption,log_prob", ...lines].join("\r\n") + "\r\n";
}

function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// Copy a text; the button says that it is done.
async function copy(button, text) {
  const words = button.dataset.words ??= button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select the text";
  }
  setTimeout(() => { button.textContent = words; }, 1500);
}
