// The page: a verdict and one picture, then figures, table, replay, maps and how to run it again, of one task at a time.

import { paceName } from "./charts.js";
import { baseName, h, printable, section } from "./dom.js";
import { glance, headlines } from "./glance.js";
import { parseLink } from "./link.js";
import { mapsSection } from "./maps.js";
import { ReplaySection } from "./replays.js";
import { settingsSection } from "./settings.js";
import { sweepSection, tableOf } from "./sweep.js";
import { themeButton, watchTheme } from "./theme.js";
import { installTip } from "./tip.js";
import { unpack } from "./trace.js";

const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");

/** Runs of one task are shown together; a run that names none stands alone. */
function groupsOf(runs) {
  const groups = new Map();
  runs.forEach((run, number) => {
    const name = run.task || run.name;
    groups.set(name, [...(groups.get(name) ?? []), number]);
  });
  return [...groups].map(([name, numbers]) => ({ name, numbers, runs: numbers.map((n) => runs[n]), records: recordsOf(numbers) }));
}

/** Records with the names that they are shown under. */
function recordsOf(numbers) {
  return numbers.flatMap((number) => data.runs[number].records.map((record) => ({
    ...record, run: number, runName: baseName(data.runs[number].name), asked: record.curve, policy: printable(record.policy), curve: printable(record.curve),
    shownModel: record.label,
  })));
}

const traces = data.traces.map((packed, index) => ({
  ...unpack(packed), index, shownModel: packed.label,
  label: `${packed.label} · ${printable(packed.policy)} · ${paceName(packed.pace)}`,
}));

/** The whole page: its heading with a tab a task, and under it what these runs say. */
function whole() {
  const groups = groupsOf(data.runs), main = h("main"), replay = new ReplaySection(traces, data);
  const radios = groups.map((group, i) => h("input", { type: "radio", name: "task", checked: i === 0, onchange: () => show(group) }));

  function show(group, link = null) {
    radios[groups.indexOf(group)].checked = true;
    main.replaceChildren(...[glance(group, data), sweepSection(group), replay.show(group, link), mapsSection(group, data.bins), settingsSection(group)].filter(Boolean));
  }

  /** Open what a link names, in the tab of its task. Whether it names anything. */
  function follow() {
    const link = parseLink(location.hash, traces.length);
    if (link) show(groups.find((group) => group.numbers.includes(traces[link.traces[0]].run)), link);
    return link;
  }

  page.replaceChildren(heading(groups, radios), main,
    h("footer", {}, `Made by NAP ${data.nap}, which decodes diffusion language models. A token counts once, where it was written last, and not if it is padding or an end of text; a forward is one call of the model for one problem. Intervals are over problems, not over training seeds. The rest of how numbers are counted is in NAP's documentation (counting.md).`));
  if (follow()) requestAnimationFrame(() => replay.element.scrollIntoView());
  else show(groups[0]);
  addEventListener("hashchange", follow);
}

function heading(groups, radios) {
  const runs = data.runs.map((run) => printable(run.name, 80)).join(", ");
  const tabs = groups.length > 1 && h("fieldset", { class: "tabs" }, h("legend", {}, "Task"),
    groups.map((group, i) => h("label", {}, radios[i], h("span", {}, printable(baseName(group.name))))));
  return h("header", { class: "top" }, h("div", {}, h("h1", {}, "Does it decode in parallel?"), h("p", {}, `NAP report of ${runs}`)), tabs, themeButton());
}

/** What a notebook shows: the traces side by side, or the verdict and the table of a run. */
function part() {
  const title = h("h1", { class: "unseen" }, data.only === "replay" ? "Replay" : "Does it decode in parallel?");
  page.replaceChildren(h("main", { class: "only" }, h("div", { class: "corner" }, themeButton()), title, data.only === "replay" ? new ReplaySection(traces, data).alone() : tableAlone(groupsOf(data.runs)[0])));
}

function tableAlone(group) {
  return section("glance", null, null, headlines(group), tableOf(group));
}

installTip();
watchTheme();
if (data.only) part();
else whole();
