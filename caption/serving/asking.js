"use strict";
// Pictures to the program that serves the page, and captions back.

const MOST = 10 * 1024 * 1024; // bytes of a picture, as the server has it
const LARGE = 2 * 1024 * 1024; // bytes from which a picture is shrunk before it is sent
const SIDE = 1600; // pixels of the longer side of a shrunk picture
const AT_ONCE = 2; // pictures
const TRIES = 20; // of a picture that the server has no room for yet
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// What the options ask for, for the run with this index.
function parameters(run) {
  const asked = { n: at("n").value || "1" };
  if (at("how").value === "sample") {
    asked.sample = `temperature=${at("temperature").value || 1},top-p=${at("top").value || 1}`;
    asked.seed = Math.floor(Math.random() * 2 ** 31);
  } else {
    asked.beam = at("beam").value || "1";
    if (at("must").value.trim()) asked.must = at("must").value.trim();
  }
  if (at("never").value.trim()) asked.never = at("never").value.trim();
  if (run) asked.run = run;
  return new URLSearchParams(asked);
}

// A server's error, with the label of an option where it has the option's name.
function inWords(error) {
  return error?.replace(/^(must|never): /, (_, name) => `“${at(name).parentElement.firstChild.textContent.trim()}”: `);
}

// The server's answer; an Error whose message says in words what failed, and what to do.
async function ask(picture, asked, wait) {
  for (let tries = 1; ; tries += 1) {
    let answer;
    try {
      answer = await fetch(`/api/caption?${asked}`, { method: "POST", body: picture });
    } catch {
      throw new Error("the program does not answer; start it again (python -m caption.demo), then try again");
    }
    if (answer.status === 429 && tries < TRIES) {
      wait("the model is busy; waiting…");
      await pause(1000 * Number(answer.headers.get("Retry-After") || 1));
      continue;
    }
    const content = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(inWords(content.error) || `the server answered ${answer.status}; try again`);
    return content;
  }
}

// The picture as a file of at most SIDE pixels, if its file is large and the browser can read it.
async function shrunk(file) {
  if (file.size <= LARGE) return file;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    if (file.size <= MOST) return file;
    throw new Error("the file has more than 10 MB and your browser cannot shrink it; make it smaller");
  }
  const small = scaled(bitmap, bitmap.width, bitmap.height, SIDE);
  return new Promise((done) => small.toBlob(done, "image/jpeg", 0.92));
}

// The answer of each run for a picture's file.
async function answersOf(file, wait) {
  const picture = await shrunk(file);
  const answers = [];
  for (const run of models.keys()) answers.push(await ask(picture, parameters(run), wait));
  return answers;
}
