// Where and when each setting finalises its tokens: a map each, all in the colours of one key.

import { paceName } from "./charts.js";
import { h, printable, section } from "./dom.js";
import { cellMap, colourKey } from "./heat.js";

const LEAD = "Across are the slots side by side, first the paths, last the summary, with their tokens and without padding. Down is time. A falling diagonal means left to right; three short diagonals side by side mean three paths at once.";

export function mapsSection(group, bins) {
  const rows = new Map();
  for (const map of group.runs.flatMap((run) => run.heat)) {
    const name = `${map.label} · ${printable(map.policy)}`;
    rows.set(name, [...(rows.get(name) ?? []), map]);
  }
  if (!rows.size) return null;
  const most = Math.max(...[...rows.values()].map((members) => members.length));
  // A setting with a single pace would leave a row nearly empty: these share rows.
  const full = [...rows].filter(([, members]) => members.length > 1 || most === 1 && rows.size === 1);
  const single = [...rows].filter(([name]) => !full.some(([other]) => other === name));
  const tile = (caption) => (map) => cellMap(map, bins, caption(map));
  const row = (name, maps) => h("div", { class: "maprow" }, h("h3", {}, name), h("div", { class: "mapset" }, maps));
  const element = section("maps", "Where and when", LEAD, colourKey(), h("div", { class: "maps" },
    full.map(([name, members]) => row(name, members.map(tile((map) => paceName(map.pace))))),
    single.length > 0 && row("At one pace each", single.map(([name, [map]]) => tile(() => `${name} · ${paceName(map.pace)}`)(map)))));
  element.style.setProperty("--most", Math.max(most, 2));
  return element;
}
