// The traces of the page, to choose from.

import { paceName } from "./charts.js";
import { h, printable, short } from "./dom.js";
import { verdict } from "./pane.js";
import { table } from "./table.js";

export function gallery(traces, open, beside) {
  const measured = (name, title, key, random) => ({
    name, title, value: (t) => t.measured[key] ?? null,
    show: (t) => [short(t.measured[key]), random && h("small", {}, ` (${short(t.measured[random])})`)],
  });
  const columns = [
    {
      name: "trace", text: true, head: true, value: (t) => t.label, show: (t) => [h("span", {}, t.shownModel), h("span", {}, printable(t.policy)), h("span", { class: "narrow" }, paceName(t.pace))],
      parts: [{ name: "model", value: (t) => t.shownModel }, { name: "policy", value: (t) => printable(t.policy) }],
      csv: [["model", (t) => t.shownModel], ["policy", (t) => printable(t.policy)], ["pace", (t) => t.pace]],
    },
    { name: "replay", value: null, show: (t) => h("span", { class: "acts" }, act("Replay", `Replay trace ${t.index + 1}`, () => open(t.index)), act("Beside", `Trace ${t.index + 1} beside what is shown`, () => beside(t.index))) },
    { name: "#", value: (t) => t.index + 1 },
    { name: "pace", text: true, value: (t) => t.pace, csv: [], show: (t) => paceName(t.pace) },
    { name: "problem", text: true, value: (t) => t.problem, show: (t) => h("bdi", {}, printable(t.problem, 30)) },
    { name: "answer", text: true, value: (t) => ({ true: "right", false: "wrong", null: "not checked" })[t.correct], show: verdict },
    measured("ARness", "Global-ARness@1; in brackets: a random order", "global_arness@1", "global_arness@1_random"),
    measured("in path", "the same within each path", "path_global_arness@1"),
    measured("tau-b", "Kendall's tau-b", "tau_b"),
    measured("AFP", "tokens a finalising step", "afp"),
    measured("TPF", "tokens a forward", "tpf"),
    { name: "why it is here", text: true, value: (t) => t.why.join(", ") },
  ];
  return table({ label: "Traces in this page", columns, rows: traces, file: "nap-traces.csv" });
}

const act = (text, label, onclick) => h("button", { type: "button", "aria-label": label, onclick }, text);
