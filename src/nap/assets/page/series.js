// One look for each model and curve (a policy, or one with a setting that varies) in every figure: colour, line, marker. No two differ by colour alone.

import { s } from "./dom.js";

export const COLOURS = 8;
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];
const MARKERS = [
  "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", "M-3.6,-3.6h7.2v7.2h-7.2z", "M0,-4.8L4.6,3.4H-4.6z", "M0,-5L5,0L0,5L-5,0z",
  "M0,4.8L4.6,-3.4H-4.6z", "M-4.6,-1.5h3.1v-3.1h3v3.1h3.1v3h-3.1v3.1h-3v-3.1h-3.1z",
  "M0,-5L4.8,-1.5L2.9,4H-2.9L-4.8,-1.5z", "M-4,-4L0,-1.4L4,-4L1.4,0L4,4L0,1.4L-4,4L-1.4,0z",
];

/** The series of records: {key, model, policy (the curve), records, colour, dash, marker, hollow}. */
export function seriesOf(records) {
  const models = [...new Set(records.map((r) => r.shownModel))], policies = [...new Set(records.map((r) => r.curve))];
  const byModel = models.length >= policies.length;
  const found = new Map();
  for (const record of records) {
    const key = `${record.shownModel} | ${record.curve}`;
    if (!found.has(key)) {
      const model = models.indexOf(record.shownModel), policy = policies.indexOf(record.curve);
      found.set(key, {
        key, model: record.shownModel, policy: record.curve, records: [],
        colour: (byModel ? model : policy) % COLOURS,
        dash: DASHES[model % DASHES.length], hollow: model % 2 === 1, marker: MARKERS[policy % MARKERS.length],
      });
    }
    found.get(key).records.push(record);
  }
  return [...found.values()];
}

/** The marker of a series at a place. */
export function marker(series, x, y) {
  const look = series.hollow ? "marker hollow" : "marker";
  return s("path", { class: look, d: series.marker, transform: `translate(${x.toFixed(1)},${y.toFixed(1)})` });
}

/** The line and marker of a series, for a legend. */
export function sample(series) {
  return s("svg", { class: `sample c${series.colour}`, viewBox: "0 0 34 14", "aria-hidden": "true" },
    s("line", { class: "line", x1: 1, x2: 33, y1: 7, y2: 7, "stroke-dasharray": series.dash || null }), marker(series, 17, 7));
}
