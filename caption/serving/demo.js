"use strict";
// The demo page: the program's examples, and the kinds of captions.

async function addExample({ src, name, credit }) {
  const answer = await fetch(src).catch(() => null);
  if (answer?.ok) addAll([new File([await answer.blob()], `${name} (${credit})`)]);
  else at("status").textContent = "The program does not answer; start it again.";
}

function showExamples(examples) {
  at("examples").hidden = !examples.length;
  at("examples").append(element("span", { className: "quiet" }, "or try one of these:"));
  for (const example of examples) {
    const picture = element("img", { src: example.src, alt: "" });
    const button = element("button", { type: "button", "aria-label": `Caption ${example.name}`,
      title: `${example.name} (${example.credit})` }, picture);
    button.addEventListener("click", () => addExample(example));
    at("examples").append(button);
  }
}

at("how").addEventListener("change", () => {
  const draws = at("how").value === "sample";
  at("beam-label").hidden = at("must-label").hidden = draws;
  at("temperature-label").hidden = at("top-label").hidden = !draws;
});
fetch("/health").then((answer) => answer.json()).then((health) => {
  models = health.models;
  showModels();
  showExamples(health.examples);
  at("beam").value = health.model.decoding.beam;
  restore();
}).catch(() => { at("model").textContent = "The program does not answer; start it again."; });
