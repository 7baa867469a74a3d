"use strict";
// The models that caption: what the head of the page says of them.

const at = (id) => document.getElementById(id);
let models = [{}]; // the name of each, what it has seen, the size of its vocabulary

function describe(model) {
  const seen = model.scenes ? "has seen drawn shapes only, so it cannot describe photographs" :
    `was trained on ${model.seen}`;
  return `The model ${model.name} ${seen}; it knows ${model.vocabulary} words.`;
}

function showModels() {
  const looks = models.some((model) => model.regions) ? " Point at a word of a caption, tap it, or use " +
    "the arrow keys: bright parts are where the model looked. It does not see edges that stay dark." : "";
  at("model").textContent = models.map(describe).join(" ") + looks;
}
