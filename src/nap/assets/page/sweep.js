// The table of a sweep: one row a setting.

import { paceName } from "./charts.js";
import { h, percent, short } from "./dom.js";
import { table } from "./table.js";

export function sweepTable(records, severalRuns) {
  const columns = [
    severalRuns && words("run", "runName"), words("model", "shownModel"), words("policy", "policy"),
    { ...words("pace", "pace"), show: (r) => paceName(r.pace) },
    { ...numeric("accuracy %", "accuracy", "right answers, 95 % Wilson interval"), show: accuracyCell },
    numeric("TPF", "tpf", "tokens per forward"),
    { ...numeric("queries", "queries", "positions computed in all forwards of a problem"), show: (r) => short(r.queries, 0) },
    numeric("ARness", "global_arness@1", "Global-ARness@1; in brackets: what a random order has", "global_arness@1_random"),
    numeric("ARness/path", "path_global_arness@1", "the same within each path; in brackets: a random order", "path_global_arness@1_random"),
    numeric("AFP", "afp", "tokens per finalising step"),
    numeric("tau-b", "tau_b", "Kendall's tau-b between position and step"),
    { ...numeric("gain", "gain", "accuracy less the baseline's, in points"), show: (r) => (r.gain === null ? "–" : signed(100 * r.gain)) },
    { ...numeric("p (Holm)", "p_holm", "exact McNemar, corrected over the sweep"), show: (r) => (r.p_holm === null ? "–" : r.p_holm < 0.001 ? "<.001" : short(r.p_holm, 3)) },
    { ...numeric("AUP", "aup", "accuracy under parallelism"), show: (r) => short(r.aup, 0) },
    { ...numeric("efficiency", "parallel_efficiency", "critical path / forwards"), show: (r) => short(r.parallel_efficiency, 3) },
    { ...numeric("s/problem", "seconds", "seconds a problem, shared in the batch") },
    { ...numeric("problems", "problems", ""), show: (r) => String(r.problems) },
  ].filter(Boolean);
  const used = columns.filter((column) => column.text || records.some((r) => column.value(r) !== null));
  return table({ label: "Every setting of the sweep", columns: used, rows: records, file: "nap-sweep.csv" });
}

const words = (name, key) => ({ name, text: true, value: (r) => r[key] });

function numeric(name, key, title, random) {
  const value = (r) => r[key] ?? null;
  const bound = (side) => (r) => r[`${key}_interval`]?.[side] ?? null;
  const show = (r) => [short(value(r)), halfWidth(r[`${key}_interval`]), against(random && r[random])];
  return { name, title, value, show, csv: [[key, value], [`${key}_low`, bound(0)], [`${key}_high`, bound(1)]] };
}

const against = (random) => random !== undefined && random !== null && h("small", {}, ` (${short(random)})`);
const halfWidth = (interval) => interval && h("small", {}, ` ±${short((interval[1] - interval[0]) / 2)}`);
const signed = (points) => `${points > 0 ? "+" : points < 0 ? "−" : ""}${Math.abs(points).toFixed(1)}`;
const accuracyCell = (r) => [percent(r.accuracy), h("small", {}, ` [${r.accuracy_interval.map(percent).join(", ")}]`)];
