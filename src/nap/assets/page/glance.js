// The first screen: what the numbers say of the question, in one sentence and one picture, for the task in view.

import { picture } from "./charts.js";
import { baseName, h, printable, section } from "./dom.js";

export function glance(group, data) {
  const judged = group.runs.filter((run) => run.verdict);
  const missing = [...data.notes, ...group.runs.flatMap((run) => run.notes.map((note) => `${baseName(run.name)}: ${note}`))];
  return section("glance", null, null,
    headlines(group), judged.length > 0 && h("div", { class: "answered" }, picture(seriesShown(group)), inWords(judged, data.rules.verdict)),
    missing.length && h("aside", { class: "notes", "aria-label": "What to know about this page" }, h("h3", {}, "What to know about this page"), h("ul", {}, missing.map((note) => h("li", {}, printable(note, 600))))));
}

/** The answer of each run that has one. */
export function headlines(group) {
  const judged = group.runs.filter((run) => run.verdict);
  if (!judged.length) return h("h2", { id: "glance-title" }, "There are no scored rows in these runs, so there is no accuracy to show.");
  return judged.map((run, i) => headline(run, i, judged.length > 1));
}

function headline(run, place, several) {
  const [answer, sentence] = run.verdict.headline;
  return h("h2", { class: "answer", id: place ? null : "glance-title" }, several && h("span", {}, `${baseName(run.name)}: `),
    h("b", { class: answer === "Yes" ? "good" : answer === "No" ? "bad" : "open" }, `${answer}:`), ` ${printable(sentence, 600)}`);
}

/** What stands beside the picture: who is best, the other models, and the rule. */
function inWords(judged, rule) {
  return h("div", { class: "words" },
    judged.map(({ verdict }) => [
      verdict.best && h("p", {}, printable(verdict.best, 900)),
      verdict.others.map(([answer, sentence]) => h("p", {}, h("b", {}, `${answer}:`), ` ${printable(sentence, 600)}`)),
    ]),
    h("details", {}, h("summary", {}, "By what rule"), h("p", { class: "hint" }, rule)));
}

/** The records of the picture, each with what it is there for: of several runs those of the first that has a verdict. */
function seriesShown(group) {
  const number = group.numbers[group.runs.findIndex((run) => run.verdict)];
  const { verdict } = group.runs.find((run) => run.verdict);
  return verdict.series.map(([part, model, policy]) => ({
    part, records: group.records.filter((r) => r.run === number && r.model === model && r.asked === policy),
  }));
}
