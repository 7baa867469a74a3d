"use strict";
// Greedy decoding and beam search of one picture, the same as caption/onnx/search.py to the last bit:
// scores are float32, and of equal values the first comes first.
//
// step(tokens, rows) -> {logProbs: [Float32Array (V + 1)], rows, attention: [Float32Array (R)] or null}
// take(rows, parents) -> the rows of these hypotheses

const float32 = Math.fround;

// A caption as tokens without the end, with the log-probability and the attention of each and the end.
const NONE = { tokens: [], logProbs: [], attention: [] };
function extend({ tokens, logProbs, attention }, token, logProb, weights) {
  return {
    tokens: token ? [...tokens, token] : tokens,
    logProbs: [...logProbs, logProb],
    attention: weights ? [...attention, weights] : attention,
  };
}

// The options.n best captions. `about` is captioner.json.
async function search(step, take, rows, options, about) {
  const forbid = (logProbs, captions) =>
    logProbs.forEach((row, k) => forbidTokens(row, captions[k].tokens, options, about));
  return options.beam === 1 ? [await greedy(step, rows, options, forbid)] :
    beamSearch(step, take, rows, options, forbid);
}

async function greedy(step, rows, options, forbid) {
  let best = NONE, token = 0;
  for (let position = 0; position < options.max_length; position += 1) {
    const found = await step([token], rows);
    forbid(found.logProbs, [best]);
    rows = found.rows;
    [token] = largest(found.logProbs[0], 1);
    best = extend(best, token, found.logProbs[0][token], found.attention?.[0]);
    if (token === 0) break;
  }
  return best;
}

// Captions that were cut off at the maximal length rank below those that ended.
async function beamSearch(step, take, rows, options, forbid) {
  const { beam: width, max_length: length, length_rule: rule, n } = options;
  let beams = [NONE], scores = [0], tokens = [0], finished = [];
  for (let position = 1; position <= length; position += 1) {
    const found = await step(tokens, rows);
    forbid(found.logProbs, beams);
    const best = continuations(scores, found.logProbs, width);
    const divide = (score, by) => float32(score / float32(divisor(rule, by)));
    const parents = best.map(({ parent }) => parent);
    beams = best.map(({ parent, token }) =>
      extend(beams[parent], token, found.logProbs[parent][token], found.attention?.[parent]));
    tokens = best.map(({ token }) => token);
    best.forEach(({ token, score }, k) => {
      if (token === 0 && score > -Infinity) finished.push({ rank: divide(score, position), caption: beams[k] });
    });
    finished = finished.sort((a, b) => b.rank - a.rank).slice(0, n); // a stable order
    scores = best.map(({ token, score }) => (token === 0 ? -Infinity : score));
    const worst = finished.length === n ? finished[n - 1].rank : -Infinity;
    if (!(Math.max(...scores.map((score) => divide(score, length))) > worst))
      return finished.map(({ caption }) => caption);
    rows = take(found.rows, parents);
  }
  const cut = largest(scores, width).filter((k) => scores[k] > -Infinity).map((k) => beams[k]);
  return [...finished.map(({ caption }) => caption), ...cut].slice(0, n);
}

// The `width` best continuations of all beams; fewer exist at a first step.
function continuations(scores, logProbs, width) {
  const all = logProbs.flatMap((row, parent) => largest(row, width).map((token) =>
    ({ parent, token, score: float32(scores[parent] + row[token]) })));
  const best = largest(all.map(({ score }) => score), width).map((i) => all[i]);
  while (best.length < width) best.push({ parent: 0, token: 0, score: -Infinity });
  return best;
}

// The indices of the `count` largest values, the largest first.
function largest(values, count) {
  const found = [];
  for (let i = 0; i < values.length; i += 1) {
    if (found.length === count && !(values[i] > values[found[count - 1]])) continue;
    let place = Math.min(found.length, count - 1);
    while (place > 0 && values[i] > values[found[place - 1]]) {
      found[place] = found[place - 1];
      place -= 1;
    }
    found[place] = i;
  }
  return found;
}

function divisor(rule, length) {
  return { none: 1, avg: length, wu: ((5 + length) / 6) ** 0.7 }[rule];
}

// Sets the log-probabilities of forbidden tokens to -Infinity. Without any token a caption ends.
function forbidTokens(row, history, options, about) {
  const end = row[0], last = history.length - 1;
  const endings = options.block_bad_endings ? about.bad_endings : [];
  const unk = options.suppress_unk ? about.words.indexOf("UNK") + 1 : 0;
  if (unk) row[unk] = -Infinity;
  if (history.length < options.min_length) row[0] = -Infinity;
  if (options.block_repeats && history.length) row[history[last]] = -Infinity;
  if (options.block_trigrams) {
    for (let i = 0; i + 2 <= last; i += 1)
      if (history[i] === history[last - 1] && history[i + 1] === history[last]) row[history[i + 2]] = -Infinity;
  }
  if (history.length === options.max_length - 1) for (const token of endings) row[token] = -Infinity;
  if (endings.includes(history[last])) row[0] = -Infinity;
  if (row[0] === -Infinity && row.every((value) => value === -Infinity)) row[0] = end;
}
