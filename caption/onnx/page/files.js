"use strict";
// The files beside the page, whole or an Error that names the file and says what is wrong with it.

// The bytes of a file; `fact` has its size and its hash, as captioner.json says them.
async function load(url, fact, progress) {
  const name = decodeURIComponent(new URL(url).pathname.split("/").pop());
  const own = globalThis.crypto?.subtle ? "" : fact.integrity;
  const bytes = await download(url, name, fact.bytes, progress, own);
  if (bytes.length !== fact.bytes)
    throw new Error(`${name} has ${bytes.length} of ${fact.bytes} bytes: truncated, or of another export`);
  const digest = await digestOf(bytes);
  if (digest && digest !== fact.integrity)
    throw new Error(`${name} is damaged, or of another export: its hash is not the expected one`);
  return bytes;
}

// Where pages have no cryptography (http from another machine), the browser checks the hash itself.
async function download(url, name, size, progress, integrity) {
  let answer;
  try {
    answer = await fetch(url, { cache: "no-cache", ...(integrity && { integrity }) });
  } catch {
    const damaged = integrity ? ", or is damaged" : "";
    throw new Error(`${name} cannot be fetched from ${new URL(url).host}${damaged}; is there a network?`);
  }
  if (!answer.ok) throw new Error(`${name} is missing (status ${answer.status})`);
  const parts = [];
  let count = 0;
  try {
    for (const reader = answer.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      count += value.length;
      if (size && count > size) break; // of another export, or without end
      progress(value.length);
    }
  } catch {
    throw new Error(`${name} broke off after ${count} bytes`);
  }
  const bytes = new Uint8Array(count);
  let start = 0;
  for (const part of parts) {
    bytes.set(part, start);
    start += part.length;
  }
  return bytes;
}

// "sha256-..." of bytes; null where the browser has no cryptography.
async function digestOf(bytes) {
  if (!globalThis.crypto?.subtle) return null;
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return `sha256-${btoa(String.fromCharCode(...hash))}`;
}

// captioner.json, checked. Its words are data: they reach the page as text only.
async function loadManifest(url) {
  const bytes = await download(url, "captioner.json", 0, () => {});
  let about;
  try {
    about = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new Error("captioner.json is not JSON: truncated or damaged");
  }
  const wrong = CHECKS.find(([, holds]) => {
    try {
      return !holds(about);
    } catch {
      return true;
    }
  });
  if (wrong) throw new Error(`captioner.json has no valid "${wrong[0]}": damaged, or of another version`);
  return about;
}

const whole = (value, low, high) => Number.isInteger(value) && value >= low && value <= high;
const CHECKS = [
  ["version", ({ version }) => version === 1],
  ["words", ({ words }) => Array.isArray(words) && words.length && words.every((word) => typeof word === "string")],
  ["spelling", ({ spelling }) => Object.values(spelling).every((text) => typeof text === "string")],
  ["bad_endings", ({ bad_endings: tokens, words }) => tokens.every((token) => whole(token, 1, words.length))],
  ["transform", ({ transform: t }) => ["short", "square"].includes(t.mode) && Object.hasOwn(FILTERS, t.interpolation) &&
    whole(t.resize, t.crop, 8192) && whole(t.crop, 1, 8192) && ["round", "ceil"].includes(t.rounding)],
  ["regions", ({ regions }) => whole(regions, 0, 256)],
  ["extent", ({ extent }) => Number.isFinite(extent.start) && extent.length > 0],
  ["state", ({ state }) => whole(state.image, 0, 1000) && whole(state.rows, 1, 1000)],
  ["decoding", ({ decoding: d }) => whole(d.beam, 1, 1000) && whole(d.max_length, 1, 1000) &&
    whole(d.min_length, 0, 1000) && ["none", "avg", "wu"].includes(d.length_rule)],
  ["about", ({ about }) => ["name", "trained_on", "licence"].every((key) => typeof about[key] === "string")],
  ["files", ({ files }) => GRAPHS.every((name) => whole(files[`${name}.onnx`].bytes, 1, 2 ** 40) &&
    typeof files[`${name}.onnx`].integrity === "string")],
];
