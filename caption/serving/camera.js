"use strict";
// Live captions: the next frame leaves when the last one's caption is here.

let stream = null;

async function startCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    const reason = error.name === "NotAllowedError" ? "allow it in your browser's settings" :
      "connect one, or choose a picture";
    at("status").textContent = `No camera: ${reason}.`;
    return;
  }
  at("status").textContent = "";
  at("video").srcObject = stream;
  at("camera").hidden = false;
  document.body.classList.add("filming");
  at("live").setAttribute("aria-pressed", "true");
  at("live").hidden = true;
  await at("video").play();
  at("stop").focus();
  watch(stream);
}

function stopCamera() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  at("camera").hidden = true;
  document.body.classList.remove("filming");
  at("live").setAttribute("aria-pressed", "false");
  at("live").hidden = false;
  at("live").focus();
}

// Each caption shows where the model looked at one of its words, and the next caption at the next.
async function watch(mine) {
  const video = at("video");
  const asked = new URLSearchParams({ n: 1, beam: 1 });
  let last = performance.now();
  for (let turn = 0; stream === mine; turn += 1) {
    const frame = scaled(video, video.videoWidth, video.videoHeight, 480);
    const picture = await new Promise((done) => frame.toBlob(done, "image/jpeg", 0.8));
    try {
      const answer = await ask(picture, asked, (why) => { at("rate").textContent = why; });
      const now = performance.now();
      showLive(answer, turn);
      at("rate").textContent = `${(1000 / (now - last)).toFixed(1)} captions a second`;
      last = now;
    } catch (error) {
      at("rate").textContent = `No caption: ${error.message}.`;
      await pause(1000);
    }
    await new Promise(requestAnimationFrame);
  }
}

function showLive(answer, turn) {
  const [caption] = answer.captions;
  const chosen = caption.words.length ? turn % caption.words.length : 0;
  const attended = caption.attention?.length > 0;
  if (!attended || !caption.words.length) {
    at("now").textContent = caption.caption;
    return;
  }
  at("now").replaceChildren(...caption.words.flatMap((word, i) =>
    [element("span", { className: i === chosen ? "word now" : "word" }, word), " "]));
  drawAttention(at("attended"), caption.attention[chosen], answer.view);
  label(at("attended"), caption.words[chosen]);
}
