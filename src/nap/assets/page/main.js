// The page: what the runs say, then figures, table, replay, and how to run it again.

import { charts, paceName } from "./charts.js";
import { baseName, h, printable } from "./dom.js";
import { gallery } from "./gallery.js";
import { cellMap } from "./heat.js";
import { parseLink } from "./link.js";
import { Player } from "./player.js";
import { sweepTable } from "./sweep.js";
import { themeButton } from "./theme.js";
import { installTip } from "./tip.js";
import { unpack } from "./trace.js";

const data = JSON.parse(document.getElementById("data").textContent);
const section = (id, title, lead, ...content) => h("section", { id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), lead && h("p", { class: "lead" }, lead), ...content);

/** Runs of one task are shown together; a run that names none stands alone. */
function groupsOf(runs) {
  const groups = new Map();
  runs.forEach((run, number) => {
    const name = run.task || run.name;
    groups.set(name, [...(groups.get(name) ?? []), number]);
  });
  return [...groups].map(([name, numbers]) => ({ name, numbers }));
}

/** Records with the names that they are shown under: a model that two runs have says which run. */
function recordsOf(numbers) {
  return numbers.flatMap((number) => data.runs[number].records.map((record) => ({
    ...record, run: number, runName: baseName(data.runs[number].name), policy: printable(record.policy),
    shownModel: shownModel(record.label ?? baseName(record.model), number, numbers, record.cell),
  })));
}

function shownModel(label, number, numbers, cell) {
  const twice = numbers.some((other) => other !== number && data.runs[other].records.some((record) => record.cell === cell));
  return twice ? `${label} (${baseName(data.runs[number].name)})` : label;
}

function heading() {
  const runs = data.runs.map((run) => printable(run.name, 80)).join(", ");
  return h("header", { class: "top" }, h("div", {}, h("h1", {}, "Does it decode in parallel?"), h("p", {}, `NAP report of ${runs}`)), themeButton());
}

function glance() {
  const several = data.runs.filter((run) => run.findings.length).length > 1;
  const findings = data.runs.filter((run) => run.findings.length).map((run) => [
    several && h("h3", {}, `${run.task || "run"}: ${baseName(run.name)}`),
    h("ul", { class: "findings" }, run.findings.map((sentence) => h("li", {}, sentence))),
  ]);
  const missing = [...data.notes, ...data.runs.flatMap((run) => run.notes.map((note) => `${baseName(run.name)}: ${note}`))];
  return section("glance", "At a glance", null, ...findings.flat(),
    !findings.length && h("p", {}, "There are no scored rows in these runs, so there is no accuracy to show."),
    missing.length && h("aside", { class: "notes" }, h("h3", {}, "What to know about this page"), h("ul", {}, missing.map((note) => h("li", {}, printable(note, 600))))));
}

function sweep() {
  const groups = groupsOf(data.runs).filter((group) => group.numbers.some((n) => data.runs[n].records.length));
  if (!groups.length) return null;
  const place = h("div");
  const show = ({ numbers }) => {
    const records = recordsOf(numbers);
    const depths = numbers.flatMap((n) => data.runs[n].depths.map((depth) => ({ ...depth, run: n })));
    place.replaceChildren(charts(records, depths), sweepTable(records, numbers.length > 1));
  };
  show(groups[0]);
  return section("sweep", "The sweep", null, groups.length > 1 && tabs("Task", groups, show), place);
}

function tabs(label, groups, show) {
  return h("fieldset", { class: "tabs" }, h("legend", {}, label), groups.map((group, i) => {
    const radio = h("input", { type: "radio", name: label, checked: i === 0, onchange: () => show(group) });
    return h("label", {}, radio, h("span", {}, printable(baseName(group.name))));
  }));
}

function maps() {
  const all = data.runs.flatMap((run) => run.heat);
  if (!all.length) return null;
  const rows = new Map();
  for (const map of all) {
    const name = `${baseName(map.model)} · ${printable(map.policy)}`;
    rows.set(name, [...(rows.get(name) ?? []), map]);
  }
  const row = ([name, members]) => h("div", { class: "maprow" }, h("h3", {}, name), h("div", { class: "mapset" }, members.map((map) => cellMap(map, data.bins, paceName(map.pace)))));
  return section("maps", "Where and when", "Across: position in the canvas, paths first, the summary last. Down: time. The darker, the more tokens became final there. A falling diagonal is left to right; three short ones side by side are three paths at once.", h("div", { class: "maps" }, [...rows].map(row)));
}

const named = (packed, index) => ({
  ...unpack(packed), index, shownModel: baseName(packed.model),
  label: `${baseName(packed.model)} · ${printable(packed.policy)} · ${paceName(packed.pace)}`,
});

function replay() {
  const traces = data.traces.map(named);
  if (!traces.length) return section("replay", "Replay", "There is no trace to replay.");
  const player = new Player(traces, data.vocabulary);
  const part = section("replay", "Replay", null, keyToMarks(), player.element,
    h("h3", {}, "Choose a trace"), h("p", { class: "lead" }, ruleText()), gallery(traces, (i) => show([i]), (i) => { player.add(i); part.scrollIntoView(); }));
  const show = (chosen) => { player.open(chosen); part.scrollIntoView(); };
  listen(player, part, traces.length);
  return part;
}

function ruleText() {
  return data.traces.length < data.kept ? `${data.traces.length} of ${data.kept}: ${data.rule}, as many as fit.` : `All ${data.kept} traces that were kept; marked are ${data.rule}.`;
}

function keyToMarks() {
  const mark = (look, text, meaning) => h("div", {}, h("dt", {}, h("span", { class: `token ${look}` }, text)), h("dd", {}, meaning));
  return h("dl", { class: "marks" }, mark("masked", "·", "masked"), mark("written", "word", "written; the bar below it: how sure"), mark("written fresh did0", "word", "written in this step"),
    mark("masked fresh did1", "·", "masked again"), mark("edited fresh did2", "word", "edited"), mark("filled", "pad", "filled without the model"), mark("given", "word", "given text"));
}

function listen(player, part, count) {
  const follow = () => {
    const link = parseLink(location.hash, count);
    player.open(link?.traces ?? opening(player.traces), link ?? {});
    return link;
  };
  if (follow()) requestAnimationFrame(() => part.scrollIntoView());
  addEventListener("hashchange", () => parseLink(location.hash, count) && follow());
  document.addEventListener("keydown", (event) => {
    const here = part.contains(event.target) || (event.target === document.body && inView(player.element));
    const own = event.target.closest("select, input, textarea") || (event.key === " " && event.target.closest("button, summary, a"));
    if (here && !own && !event.ctrlKey && !event.metaKey && !event.altKey && player.key(event)) event.preventDefault();
  });
}

function inView(element) {
  const box = element.getBoundingClientRect();
  return box.top < innerHeight * 0.7 && box.bottom > innerHeight * 0.3;
}

/** What is shown first: a trace, and of the same problem and pace one of another model, else of another policy. */
function opening(traces) {
  const [first] = traces;
  const rank = (t) => (t.problem === first.problem ? 8 : 0) + (t.model !== first.model ? 4 : 0) + (t.pace === first.pace ? 2 : 0) + (t.policy.startsWith("parallel_forced") ? 1 : 0);
  const other = traces.slice(1).reduce((best, t) => (best === null || rank(t) > rank(best) ? t : best), null);
  return other && rank(other) >= 8 ? [0, other.index] : [0];
}

function settings() {
  return section("setting", "Setting, and how to run it again", null, ...data.runs.map((run) => h("div", { class: "setting" }, h("h3", {}, printable(run.name, 200)),
    run.command ? h("pre", { tabindex: 0 }, h("code", {}, printable(run.command, 4000))) : h("p", {}, "This run does not say how it was made."),
    run.setting.length && h("details", {}, h("summary", {}, `All ${run.setting.length} settings`), h("dl", { class: "all" }, run.setting.flatMap(([name, value]) => [h("dt", {}, printable(name, 100)), h("dd", {}, printable(value, 300))]))))));
}

/** The traces side by side, as a notebook shows them. */
function onlyReplay() {
  const player = new Player(data.traces.map(named), data.vocabulary);
  player.open(data.traces.map((_, i) => i));
  return h("main", { class: "only" }, player.element);
}

installTip();
if (data.replay_only) document.getElementById("page").replaceChildren(onlyReplay());
else document.getElementById("page").replaceChildren(heading(), h("main", {}, ...[glance(), sweep(), replay(), maps(), settings()].filter(Boolean)),
  h("footer", {}, `Made by NAP ${data.nap}. Intervals are over problems, not over training seeds. How each number is counted: docs/counting.md.`));
