"use strict";
// The demo: pictures in, captions from this machine's program out, two pictures at a time.

const at = (id) => document.getElementById(id);
const MOST = 10 * 1024 * 1024; // bytes of a picture, as the server has it
const AT_ONCE = 2;
const TRIES = 20; // of a picture that the server has no room for yet
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function parameters() {
  const asked = { n: at("n").value || "1" };
  if (at("how").value === "sample") {
    asked.sample = `temperature=${at("temperature").value || 1},top-p=${at("top").value || 1}`;
    asked.seed = Math.floor(Math.random() * 2 ** 31);
  } else {
    asked.beam = at("beam").value || "1";
  }
  return new URLSearchParams(asked);
}

// The server's answer; an Error whose message says in words what failed.
async function ask(picture, asked, wait) {
  for (let tries = 1; ; tries += 1) {
    let answer;
    try {
      answer = await fetch(`/api/caption?${asked}`, { method: "POST", body: picture });
    } catch {
      throw new Error("the program on this machine does not answer; is it still running?");
    }
    if (answer.status === 429 && tries < TRIES) {
      wait();
      await pause(1000 * Number(answer.headers.get("Retry-After") || 1));
      continue;
    }
    const content = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(content.error || `the server answered ${answer.status}`);
    return content;
  }
}

const queue = [];
let working = 0;

function captionSoon(job) {
  job.say("waiting for its turn…");
  queue.push(job);
  next();
}

async function next() {
  if (working >= AT_ONCE || !queue.length) return;
  working += 1;
  const job = queue.shift();
  try {
    if (job.file.size > MOST) throw new Error("it has more than 10 MB; make it smaller");
    job.say("captioning…");
    job.show(await ask(job.file, parameters(), () => job.say("the model is busy; waiting…")));
  } catch (error) {
    job.fail(error.message);
  }
  working -= 1;
  if (!working && !queue.length) at("status").textContent = "Done.";
  next();
}

const jobs = [];

function add(file) {
  const name = file.name || "pasted picture";
  const url = URL.createObjectURL(file);
  const img = element("img", { src: url, alt: name });
  const [picture, canvas] = framed(img);
  const state = element("p", { className: "quiet state", role: "status" });
  const captions = element("div", {});
  const again = element("button", { type: "button", hidden: true }, "Try again");
  const away = element("button", { type: "button" }, "Remove");
  const box = element("article", { className: "card", "aria-label": name }, picture,
    element("div", { className: "details" }, captions, state,
      element("div", { className: "foot" }, element("small", {}, name), again, away)));
  img.addEventListener("error", () => {
    picture.replaceChildren(element("div", { className: "lacking" }, "no preview"));
  });
  const job = {
    file,
    say(text, failed = false) {
      state.textContent = text;
      state.classList.toggle("failed", failed);
      again.hidden = !failed;
    },
    fail(reason) {
      captions.replaceChildren();
      job.say(`No caption: ${reason}.`, true);
    },
    show(answer) {
      captions.replaceChildren(...answer.captions.flatMap((c, i) => lines(c, i, answer, canvas)));
      img.alt = answer.captions[0]?.caption || name;
      job.say(`captioned in ${Math.round(1000 * answer.seconds)} ms`);
    },
  };
  again.addEventListener("click", () => captionSoon(job));
  away.addEventListener("click", () => {
    const focus = box.nextElementSibling?.querySelector("button:last-of-type") || at("choose");
    for (const list of [jobs, queue]) if (list.includes(job)) list.splice(list.indexOf(job), 1);
    URL.revokeObjectURL(url);
    box.remove();
    focus.focus();
  });
  at("cards").prepend(box);
  jobs.push(job);
  captionSoon(job);
}

function lines(caption, i, answer, canvas) {
  const weights = caption.attention?.length ? (word) => caption.attention[word] : null;
  const shown = { ...caption, text: caption.caption };
  const line = captionLine(shown, canvas, answer.view, weights, `caption ${i + 1}`);
  line.classList.toggle("first", i === 0);
  const percent = 100 * Math.exp(caption.log_prob);
  const likely = `probability ${percent >= 0.1 ? percent.toFixed(1) : percent.toExponential(1)} %`;
  return [line, element("small", { className: "fact" }, likely)];
}

function addAll(files) {
  if (!files.length) return;
  at("status").textContent = files.length > 1 ? `${files.length} pictures.` : "One picture.";
  for (const file of files) add(file);
}

// Live captions: the next frame leaves when the last one's caption is here.
let stream = null;

async function startCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    at("status").textContent = `No camera: ${error.message || error.name}.`;
    return;
  }
  at("status").textContent = "";
  at("video").srcObject = stream;
  at("camera").hidden = false;
  at("live").setAttribute("aria-pressed", "true");
  at("live").textContent = "Stop the camera";
  await at("video").play();
  at("camera").scrollIntoView({ block: "center" });
  watch(stream);
}

function stopCamera() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  at("camera").hidden = true;
  at("live").setAttribute("aria-pressed", "false");
  at("live").textContent = "Live captions from the camera";
}

async function watch(mine) {
  const video = at("video");
  const frame = element("canvas");
  const asked = new URLSearchParams({ n: 1, beam: 1, attention: 0 });
  let last = performance.now();
  while (stream === mine) {
    const scale = Math.min(1, 480 / Math.max(video.videoWidth, video.videoHeight, 1));
    frame.width = Math.max(1, video.videoWidth * scale);
    frame.height = Math.max(1, video.videoHeight * scale);
    frame.getContext("2d").drawImage(video, 0, 0, frame.width, frame.height);
    const picture = await new Promise((done) => frame.toBlob(done, "image/jpeg", 0.8));
    try {
      const answer = await ask(picture, asked, () => { at("rate").textContent = "busy; waiting…"; });
      const now = performance.now();
      at("now").textContent = answer.captions[0].caption;
      at("rate").textContent = `${(1000 / (now - last)).toFixed(1)} captions a second`;
      last = now;
    } catch (error) {
      at("rate").textContent = `No caption: ${error.message}.`;
      await pause(1000);
    }
    await new Promise(requestAnimationFrame);
  }
}

at("choose").addEventListener("click", () => at("files").click());
at("photograph").addEventListener("click", () => at("photo").click());
at("live").addEventListener("click", () => (stream ? stopCamera() : startCamera()));
for (const input of [at("files"), at("photo")]) {
  input.addEventListener("change", () => { addAll([...input.files]); input.value = ""; });
}
at("how").addEventListener("change", () => {
  const draws = at("how").value === "sample";
  at("beam-label").hidden = draws;
  at("temperature-label").hidden = at("top-label").hidden = !draws;
});
at("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  for (const job of jobs) if (!queue.includes(job)) captionSoon(job);
});
document.addEventListener("paste", (event) => addAll([...event.clipboardData.files]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") addAll([...event.dataTransfer.files]);
  });
}
fetch("/health").then((answer) => answer.json()).then(({ model }) => {
  at("model").textContent = `${model.decoder ?? "a decoder"}, ${model.vocabulary} words` +
    (model.regions ? `, attention over ${model.regions} × ${model.regions} regions: point at a word, ` +
      "tap it, or go through a caption with the arrow keys, to see where." : ".");
  at("beam").value = model.decoding.beam;
}).catch(() => { at("model").textContent = "The program on this machine does not answer."; });
