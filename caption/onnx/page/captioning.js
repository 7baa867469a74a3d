"use strict";
// Pictures to the worker, which captions them in this browser, and captions back.

const AT_ONCE = 1; // pictures
const script = document.currentScript.src;
const worker = new Worker(script);
const waiting = new Map(); // by number: what ends the promise
let failure = ""; // why there is no captioner, in words

// The captions of a picture, in the form of the demo's server; `asked` are URLSearchParams.
async function ask(picture, asked) {
  await ready;
  const id = waiting.size ? Math.max(...waiting.keys()) + 1 : 0;
  const numbers = Object.fromEntries([...asked].map(([name, value]) => [name, Number(value)]));
  return new Promise((done, fail) => {
    waiting.set(id, { done, fail });
    worker.postMessage({ id, picture, asked: numbers });
  });
}

async function answersOf(file, wait) {
  if (!models[0].name) wait("waiting for the model…");
  await ready.catch(() => {}); // `ask` says why
  wait("captioning…");
  const whole = (id) => Math.min(10, Math.max(1, Math.round(Number(at(id).value) || 1)));
  return [await ask(file, new URLSearchParams({ n: whole("n"), beam: whole("beam") }))];
}

function finish({ id, answer, error }) {
  const { done, fail } = waiting.get(id);
  waiting.delete(id);
  if (error) fail(new Error(error));
  else done(answer);
}

function showProgress([bytes, total]) {
  if (failure) return; // other files may still come in
  const [done, all] = [bytes, total].map((count) => (count / 1e6).toFixed(1));
  at("model").textContent = `Loading the model: ${done} of ${all} MB…`;
}

// Resolves when the captioner is there; it fails with what is wrong, in words.
const ready = new Promise((done, fail) => {
  worker.addEventListener("message", ({ data }) => {
    if (data.progress) showProgress(data.progress);
    else if (data.ready) done(data.ready);
    else if (data.failed) fail(new Error(failure = data.failed));
    else finish(data);
  });
  worker.addEventListener("error", () => fail(new Error(failure = "this browser cannot run the captioner")));
});
const runtime = JSON.parse(at("runtime").textContent);
worker.postMessage({ start: { base: document.baseURI, runtime } });
