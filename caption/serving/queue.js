"use strict";
// The pictures that wait for captions, AT_ONCE at a time; answersOf(file, wait) gives the answers.

// A canvas with what `source` shows, `side` pixels long at most.
function scaled(source, width, height, side) {
  const scale = Math.min(1, side / Math.max(width, height, 1));
  const canvas = element("canvas", {
    width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas;
}

const queue = [];
let working = 0;
let total = 0; // pictures since the queue was last empty
let failed = 0;

function captionSoon(job) {
  job.say("waiting for its turn…");
  queue.push(job);
  total += 1;
  next();
}

async function next() {
  count();
  if (working >= AT_ONCE || !queue.length) return;
  working += 1;
  const job = queue.shift();
  try {
    job.say("captioning…");
    job.show(await answersOf(job.file, (why) => job.say(why)));
  } catch (error) {
    failed += 1;
    job.fail(error.message);
  }
  working -= 1;
  next();
}

// "12 of 40", or how it ended.
function count() {
  const left = queue.length + working;
  if (left) {
    at("status").textContent = `${total - left} of ${total}`;
  } else if (total) {
    const good = total - failed;
    const pictures = `${good} ${good === 1 ? "picture" : "pictures"} captioned`;
    at("status").textContent = failed ? `${pictures}, ${failed} failed.` : `Done. ${pictures}.`;
    total = failed = 0;
  }
}
