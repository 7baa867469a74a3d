"use strict";
// The captioner: onnxruntime, the three graphs, and their calls, as caption/onnx/session.py.

const GRAPHS = ["encoder", "begin", "step"];

// The module of onnxruntime-web, which came as bytes that were checked.
async function loadRuntime({ script, wasm }, base, progress) {
  const [code, wasmBinary] = await Promise.all([script, wasm].map((file) =>
    load(new URL(file.src, base).href, file, progress)));
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const runtime = await import(url);
  URL.revokeObjectURL(url);
  Object.assign(runtime.env.wasm, { wasmBinary, numThreads: 1 });
  return runtime;
}

// showProgress(bytes, of) is called as the files come in.
async function loadCaptioner(base, runtimeFiles, showProgress) {
  const about = await loadManifest(new URL("captioner.json", base).href);
  const facts = [...Object.values(runtimeFiles), ...GRAPHS.map((name) => about.files[`${name}.onnx`])];
  const total = facts.reduce((sum, { bytes }) => sum + bytes, 0);
  let sum = 0;
  const progress = (bytes) => {
    sum += bytes;
    showProgress(sum, total);
  };
  const [runtime, ...graphs] = await Promise.all([
    loadRuntime(runtimeFiles, base, progress),
    ...GRAPHS.map((name) =>
      load(new URL(`${name}.onnx`, base).href, about.files[`${name}.onnx`], progress)),
  ]);
  const sessions = {};
  for (const [i, name] of GRAPHS.entries()) {
    try {
      sessions[name] = await runtime.InferenceSession.create(graphs[i], { logSeverityLevel: 3 });
    } catch (error) {
      throw new Error(`${name}.onnx is not a graph that onnxruntime reads (${error.message ?? error})`);
    }
  }
  return { about, runtime, sessions };
}

// The n best captions of a picture; `asked` may hold n and beam.
async function caption({ about, runtime, sessions }, blob, asked) {
  const started = performance.now();
  const options = { ...about.decoding, n: 1, ...asked };
  options.beam = Math.max(options.beam, options.n);
  const { pixels, width, height } = await read(blob, about.transform);
  const { crop } = about.transform;
  const state = await begin(runtime, sessions, pixels, crop);
  const step = stepOf(runtime, sessions.step, state.slice(0, about.state.image), about.state.rows);
  const take = (rows, parents) => rows.map((row) => taken(runtime, row, parents));
  const found = await search(step, take, state.slice(about.state.image), options, about);
  return {
    captions: found.map((one) => asJson(one, about)),
    view: viewOf(width, height, about),
    seconds: (performance.now() - started) / 1000,
  };
}

// The tensors before the first token, of one hypothesis.
async function begin({ Tensor }, sessions, pixels, crop) {
  const features = await sessions.encoder.run({ pixels: new Tensor("uint8", pixels, [1, 3, crop, crop]) });
  const found = await sessions.begin.run(feeds(sessions.begin, features));
  return sessions.begin.outputNames.map((name) => found[name]);
}

function stepOf({ Tensor }, session, image, count) {
  const named = (prefix, tensors) => Object.fromEntries(tensors.map((t, i) => [`${prefix}_${i}`, t]));
  return async (tokens, rows) => {
    const given = new Tensor("int64", BigInt64Array.from(tokens, BigInt), [1, tokens.length]);
    const found = await session.run(feeds(session,
      { tokens: given, ...named("image", image), ...named("rows", rows) }));
    const [logProbs, ...rest] = session.outputNames.map((name) => found[name]);
    return {
      logProbs: lines(logProbs), rows: rest.slice(0, count),
      attention: rest.length > count ? lines(rest[count]) : null,
    };
  };
}

// Those of the tensors that the graph takes.
function feeds(session, tensors) {
  return Object.fromEntries(session.inputNames.map((name) => [name, tensors[name]]));
}

// A tensor (1, K, N) as K arrays.
function lines({ data, dims: [, count, size] }) {
  return Array.from({ length: count }, (_, k) => data.slice(k * size, (k + 1) * size));
}

// tensor[:, parents] of a tensor (1, K, ...).
function taken({ Tensor }, { data, dims, type }, parents) {
  const size = data.length / dims[1];
  const found = new data.constructor(parents.length * size);
  parents.forEach((parent, k) => found.set(data.subarray(parent * size, (parent + 1) * size), k * size));
  return new Tensor(type, found, [dims[0], parents.length, ...dims.slice(2)]);
}

function asJson({ tokens, logProbs, attention }, { words, spelling }) {
  const said = tokens.map((token) => words[token - 1]);
  const written = said.map((word) => (Object.hasOwn(spelling, word) ? spelling[word] : ` ${word}`));
  return {
    caption: written.join("").replace(/^ /, ""),
    words: said,
    log_prob: logProbs.reduce((sum, value) => sum + value, 0),
    probabilities: logProbs.slice(0, said.length).map(Math.exp),
    attention: attention.length ? attention.slice(0, said.length).map((weights) => [...weights]) : null,
  };
}
