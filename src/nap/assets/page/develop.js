// How the order metrics develop, a small chart each, a line for each trace side by side.

import { h, s, short, unit, whenWide } from "./dom.js";
import { extent, linear } from "./scale.js";

const SPARK = 76;
const SHOWN = [
  { key: "arness", name: "Global-ARness@1", low: 0, high: 1, guide: "random" },
  { key: "pathArness", name: "ARness within paths", low: 0, high: 1 },
  { key: "tau", name: "Kendall's tau-b", low: -1, high: 1 },
  { key: "afp", name: "AFP, tokens a step", low: 0 },
  { key: "tpf", name: "tokens a forward", low: 0 },
];

/** `tracks` are [{metrics, ends, look, letter}]: metrics after each step, and when on the clock the step is over. */
export class Developing {
  constructor(tracks, end) {
    this.tracks = tracks;
    this.charts = SHOWN.map((shown) => this.small(shown, end));
    this.element = h("div", { class: "develop" }, this.charts.map((chart) => chart.element));
  }

  small(shown, end) {
    const plot = h("div", { class: "spark" }), values = h("div", { class: "values" });
    const chart = { shown, values, cursor: null, x: null, time: 0 };
    whenWide(plot, (width) => {
      plot.replaceChildren(this.draw(chart, width, end));
      place(chart, chart.time);
    });
    chart.element = h("div", { class: "small" }, h("div", { class: "name" }, shown.name), plot, values);
    return chart;
  }

  draw(chart, pixels, end) {
    const { shown } = chart, width = Math.round(pixels / unit());
    const all = this.tracks.flatMap((track) => track.metrics.map((m) => m[shown.key]));
    const high = shown.high ?? Math.max(extent(all)?.[1] ?? 1, 1) * 1.1;
    const y = linear(shown.low, high, SPARK - 4, 4);
    chart.x = linear(0, end, 1, width - 1);
    chart.cursor = s("line", { class: "cursor", y1: 0, y2: SPARK });
    const path = (track, key) => track.metrics.map((m, i) => [track.ends[i], m[key]]).filter(([, v]) => v !== null)
      .map(([t, v]) => `${chart.x.at(t).toFixed(1)},${y.at(v).toFixed(1)}`).join(" ");
    return s("svg", { width: pixels, height: SPARK * unit(), viewBox: `0 0 ${width} ${SPARK}`, "aria-hidden": "true" },
      [shown.low, high].map((v) => s("line", { class: "grid", x1: 0, x2: width, y1: y.at(v), y2: y.at(v) })),
      shown.low < 0 && s("line", { class: "grid", x1: 0, x2: width, y1: y.at(0), y2: y.at(0) }),
      s("text", { x: width - 2, y: 14, "text-anchor": "end" }, short(high, high < 10 ? 1 : 0)),
      this.tracks.map((track) => [
        shown.guide && s("polyline", { class: `guideline ${track.look}`, points: path(track, shown.guide) }),
        s("polyline", { class: `line ${track.look}`, points: path(track, shown.key) }),
      ]),
      chart.cursor);
  }

  /** Show the values after so many steps of each track, and the cursor at the time. */
  moveTo(time, done) {
    for (const chart of this.charts) {
      chart.values.replaceChildren(...this.tracks.map((track, i) => {
        const now = done[i] ? track.metrics[done[i] - 1] : null;
        const random = chart.shown.guide && now ? h("small", {}, ` random ${short(now[chart.shown.guide])}`) : null;
        return h("span", { class: track.look }, h("b", {}, track.letter), ` ${short(now?.[chart.shown.key] ?? null)}`, random ?? "");
      }));
      place(chart, time);
    }
  }
}

function place(chart, time) {
  chart.time = time;
  if (!chart.cursor) return;
  chart.cursor.setAttribute("x1", chart.x.at(time));
  chart.cursor.setAttribute("x2", chart.x.at(time));
}
