"use strict";
// What runs beside the page: it loads the captioner once, then captions pictures in turn.
//
// {start: {base, runtime}} -> {progress: [bytes, of]}, then {ready: captioner.json} or {failed: words}
// {id, picture: Blob, asked: {n, beam}} -> {id, answer} or {id, error: words}

let captioner = null;
let turn = Promise.resolve(); // the last picture's; onnxruntime takes one at a time

async function start({ base, runtime }) {
  try {
    captioner = await loadCaptioner(base, runtime, (...bytes) => postMessage({ progress: bytes }));
    postMessage({ ready: captioner.about });
  } catch (error) {
    postMessage({ failed: error.message });
  }
}

async function answer({ id, picture, asked }) {
  try {
    postMessage({ id, answer: await caption(captioner, picture, asked) });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
}

addEventListener("message", ({ data }) => {
  if (data.start) start(data.start);
  else turn = turn.then(() => answer(data));
});
