"use strict";
// The models that caption: what the head of the page says of them.

const at = (id) => document.getElementById(id);
let models = [{}]; // the name of each, what it has seen, the size of its vocabulary

// Models that have seen the same are described once.
function describe(model) {
  const like = models.filter((other) => other.seen === model.seen && other.vocabulary === model.vocabulary);
  if (like[0] !== model) return "";
  const several = like.length > 1;
  const seen = model.scenes ? `${several ? "have" : "has"} seen drawn shapes only, so ` +
    `${several ? "they" : "it"} cannot describe photographs` :
    `${several ? "were" : "was"} trained on ${model.seen}`;
  return `The ${several ? "models" : "model"} ${like.map((one) => one.name).join(" and ")} ${seen}; ` +
    `${several ? "they know" : "it knows"} ${(model.vocabulary ?? 0).toLocaleString("en")} words. `;
}

function showModels() {
  const looks = models.some((model) => model.regions) ? "Point at a word of a caption, tap it, or use " +
    "the arrow keys: bright parts are where the model looked. It does not see edges that stay dark." : "";
  at("model").textContent = models.map(describe).join("") + looks;
}
