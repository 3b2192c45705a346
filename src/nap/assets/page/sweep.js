// The figures of a task's sweep, and its table: one row a setting.

import { charts, paceName } from "./charts.js";
import { baseName, h, percent, section, short } from "./dom.js";
import { table } from "./table.js";

export function sweepSection(group) {
  if (!group.records.length) return null;
  const depths = group.numbers.flatMap((n, i) => group.runs[i].depths.map((depth) => ({ ...depth, run: n })));
  const several = group.runs.filter((run) => run.findings.length).length > 1;
  const findings = group.runs.filter((run) => run.findings.length).map((run) => [
    several && h("h3", {}, baseName(run.name)), h("ul", { class: "findings" }, run.findings.map((sentence) => h("li", {}, sentence)))]);
  return section("sweep", "Every setting", null, findings, charts(group.records, depths), tableOf(group));
}

const TIES = "; ties: where equally sure candidates are taken from the right and from the left (docs/ties.md)";

export function tableOf({ records, numbers }) {
  const columns = [
    setting(numbers.length > 1),
    { ...numeric("accuracy %", "accuracy", "right answers, 95 % Wilson interval"), show: accuracyCell },
    { ...words("pace", "pace"), csv: [], show: (r) => paceName(r.pace) },
    numeric("TPF", "tpf", "tokens per forward"),
    { ...numeric("queries", "queries", "positions computed in all forwards of a problem"), show: (r) => short(r.queries, 0) },
    numeric("ARness", "global_arness@1", `Global-ARness@1; in brackets: that of a random order${TIES}`, "global_arness@1_random"),
    numeric("ARness/path", "path_global_arness@1", `the same within each path; in brackets: a random order${TIES}`, "path_global_arness@1_random"),
    numeric("AFP", "afp", "tokens per finalising step"),
    numeric("tau-b", "tau_b", `Kendall's tau-b between position and step${TIES}`),
    { ...numeric("gain", "gain", "accuracy less the baseline's, in points"), show: (r) => (r.gain === null ? "–" : signed(100 * r.gain)) },
    { ...numeric("p (Holm)", "p_holm", "exact McNemar, corrected over the sweep"), show: (r) => (r.p_holm === null ? "–" : r.p_holm < 0.001 ? "<.001" : short(r.p_holm, 3)) },
    { ...numeric("AUP", "aup", "accuracy under parallelism"), show: (r) => short(r.aup, 0) },
    { ...numeric("efficiency", "parallel_efficiency", "critical path / forwards"), show: (r) => short(r.parallel_efficiency, 3) },
    { ...numeric("s/problem", "seconds", "seconds a problem, shared in the batch") },
    { ...numeric("problems", "problems", ""), show: (r) => String(r.problems) },
  ];
  const used = columns.filter((column) => column.text || records.some((r) => column.value(r) !== null));
  return table({ label: "Every setting of the sweep", columns: used, rows: records, file: "nap-sweep.csv" });
}

/** The column that stays in place: model and policy, and where there is little room the pace as well. */
function setting(severalRuns) {
  const parts = [severalRuns && words("run", "runName"), words("model", "shownModel"), words("policy", "policy")].filter(Boolean);
  return {
    name: "setting", text: true, head: true, parts, value: (r) => parts.map((part) => part.value(r)).join(" "),
    csv: [...parts.map((part) => [part.name, part.value]), ["pace", (r) => r.pace]],
    show: (r) => [...parts.map((part) => h("span", {}, part.value(r))), h("span", { class: "narrow" }, paceName(r.pace))],
  };
}

const words = (name, key) => ({ name, text: true, value: (r) => r[key] });

function numeric(name, key, title, random) {
  const value = (r) => r[key] ?? null;
  const bound = (side) => (r) => r[`${key}_interval`]?.[side] ?? null;
  const show = (r) => {
    const beside = [halfWidth(r[`${key}_interval`]), against(random && r[random])].filter(Boolean).join(" ");
    return [short(value(r)), beside && h("small", {}, beside), tieBand(r.ties[key])];
  };
  return { name, title, value, show, csv: [[key, value], [`${key}_low`, bound(0)], [`${key}_high`, bound(1)]] };
}

/** How far ties move a metric, and whether that leaves it apart from a random order under the policy's own rules. */
function tieBand(band) {
  if (!band) return null;
  const [right, left, random, identified] = band;
  const title = `a random order under the policy's own rules has ${short(random)}`;
  return h("small", { class: "ties", title }, `ties ${short(right)} to ${short(left)}`, !identified && h("span", {}, "not identified"));
}

const against = (random) => random !== undefined && random !== null && `(${short(random)})`;
const halfWidth = (interval) => interval && `±${short((interval[1] - interval[0]) / 2)}`;
const signed = (points) => `${points > 0 ? "+" : points < 0 ? "−" : ""}${Math.abs(points).toFixed(1)}`;
const accuracyCell = (r) => [percent(r.accuracy), h("small", {}, `[${r.accuracy_interval.map(percent).join(", ")}]`)];
