"use strict";
// A card: a picture beside its captions. The large card is the one that was added or chosen last.

const jobs = []; // in the order of the page

// How sure the model was of a caption, from the geometric mean of its words' probabilities.
function sureness(caption) {
  const mean = Math.exp(caption.log_prob / (caption.words.length + 1));
  if (mean >= 0.7) return "very sure";
  if (mean >= 0.45) return "fairly sure";
  return mean >= 0.25 ? "not very sure" : "guessing";
}

// The different captions of an answer, each with the number of times that it was drawn.
function different(captions) {
  const found = new Map();
  for (const caption of captions) {
    const known = found.get(caption.caption);
    if (known) known.times += 1;
    else found.set(caption.caption, { ...caption, text: caption.caption, times: 1 });
  }
  return [...found.values()];
}

function lineOf(caption, i, answer, canvas) {
  const weights = caption.attention?.length ? (word) => caption.attention[word] : null;
  const line = captionLine(caption, canvas, answer.view, weights, `caption ${i + 1}`);
  line.classList.toggle("first", i === 0);
  const percent = 100 * Math.exp(caption.log_prob);
  const chance = `chance of exactly this sentence: ${percent >= 0.1 ? percent.toFixed(1) :
    percent.toExponential(1)} % (log-probability ${caption.log_prob.toFixed(3)})`;
  const times = caption.times > 1 ? `, said ${caption.times} times` : "";
  const button = element("button", { type: "button", "aria-label": `Copy caption ${i + 1}` }, "Copy");
  button.addEventListener("click", () => copy(button, caption.text));
  return element("div", { className: "said" }, element("div", {}, line,
    element("small", { className: "fact", title: chance }, sureness(caption) + times)), button);
}

// The captions of each run, under its name if there are several.
function captionsOf(answers, canvas) {
  return answers.map((answer, run) => element("div", {},
    answers.length > 1 ? element("h3", {}, models[run]?.name ?? `run ${run + 1}`) : null,
    ...different(answer.captions).map((caption, i) => lineOf(caption, i, answer, canvas))));
}

function enlarge(box) {
  for (const other of document.querySelectorAll(".card.large")) other.classList.remove("large");
  box.classList.add("large");
  at("cards").prepend(box);
}

// A card without captions yet. `src` of its picture; `file` is null for one of an earlier visit.
function makeCard(name, src, file) {
  const img = element("img", { src, alt: name });
  const [picture, canvas] = framed(img);
  const state = element("p", { className: "quiet state", role: "status" });
  const captions = element("div", { className: "both" });
  const again = element("button", { type: "button", hidden: true }, "Try again");
  const large = element("button", { type: "button", className: "enlarge" }, "Show large");
  const away = element("button", { type: "button" }, "Remove");
  const box = element("article", { className: "card", "aria-label": name }, picture,
    element("div", { className: "details" }, captions, state,
      element("div", { className: "foot" }, element("small", {}, name), again, large, away)));
  img.addEventListener("error", () => {
    picture.replaceChildren(element("div", { className: "lacking" }, "no preview"));
  });
  const job = {
    name, file, box, answers: null, thumbnail: src.startsWith("data:") ? src : null,
    say(text, isError = false) {
      state.textContent = text;
      state.classList.toggle("failed", isError);
      again.hidden = !isError;
    },
    fail(reason) {
      const what = job.answers ? "No new caption" : "No caption"; // earlier ones stay
      job.say(`${what}: ${/[.?!]$/.test(reason) ? reason : `${reason}.`}`, true);
    },
    show(answers) {
      job.answers = answers;
      captions.replaceChildren(...captionsOf(answers, canvas));
      img.alt = answers[0].captions[0]?.caption || name;
      const seconds = answers.reduce((sum, answer) => sum + answer.seconds, 0);
      job.say(`captioned in ${seconds.toFixed(2)} s`);
      at("results").hidden = false;
      if (file) keep(job, img);
    },
  };
  again.addEventListener("click", () => captionSoon(job));
  large.addEventListener("click", () => { enlarge(box); away.focus(); window.scrollTo(0, 0); });
  away.addEventListener("click", () => remove(job, src));
  return job;
}

async function keep(job, img) {
  await img.decode().catch(() => {});
  if (img.naturalWidth) {
    job.thumbnail = scaled(img, img.naturalWidth, img.naturalHeight, 320).toDataURL("image/jpeg", 0.7);
  }
  remember(jobs);
}

function remove(job, src) {
  const focus = job.box.nextElementSibling?.querySelector("button:last-of-type") || at("choose");
  for (const list of [jobs, queue]) if (list.includes(job)) list.splice(list.indexOf(job), 1);
  if (src.startsWith("blob:")) URL.revokeObjectURL(src);
  job.box.remove();
  if (!document.querySelector(".card.large") && jobs.length) enlarge(jobs[0].box);
  focus.focus();
  remember(jobs);
  updateLayout();
}

// The head of the page is short while there are cards.
function updateLayout() {
  document.body.classList.toggle("busy", jobs.length > 0);
  at("results").hidden = !jobs.some((job) => job.answers);
}
