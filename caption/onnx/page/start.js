"use strict";
// The page begins: the model, the cards of earlier visits, or why there is none.

ready.then(({ about, regions, words, decoding }) => {
  models = [{ name: about.name, seen: about.trained_on, regions,
    vocabulary: words.length, scenes: false }];
  showModels();
  at("beam").value = Math.min(10, decoding.beam);
  at("licence").textContent = `Terms of the weights: ${about.licence}.`;
}, () => {
  at("model").setAttribute("role", "alert");
  at("model").textContent = `No captions: ${failure}.`;
  at("model").classList.add("fault");
});
restore();
