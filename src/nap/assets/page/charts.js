// The figures of a sweep, from its records.

import { chart } from "./chart.js";
import { h, percent, short } from "./dom.js";
import { mean } from "./order.js";
import { extent } from "./scale.js";
import { sample, seriesOf } from "./series.js";

const AR = "global_arness@1", PATH = "path_global_arness@1";

/** A legend and the figures of these records; the legend shows and hides series. */
export function charts(records, depths) {
  const all = seriesOf(records), hidden = new Set();
  const grid = h("div", { class: "charts" });
  const draw = () => {
    const shown = all.filter((series) => !hidden.has(series.key));
    grid.replaceChildren(...[accuracy(shown), figure2(shown), globalAndPath(shown), critical(shown, depths)].filter(Boolean));
  };
  draw();
  return h("div", {}, legend(all, hidden, draw, grid), grid);
}

function legend(all, hidden, draw, grid) {
  const entry = (series) => {
    const button = h("button", {
      type: "button", "aria-pressed": "true",
      onclick: () => {
        if (!hidden.delete(series.key)) hidden.add(series.key);
        button.setAttribute("aria-pressed", String(!hidden.has(series.key)));
        draw();
      },
      onpointerenter: () => emphasise(grid, series.key), onpointerleave: () => emphasise(grid, null),
      onfocus: () => emphasise(grid, series.key), onblur: () => emphasise(grid, null),
    }, sample(series), h("span", {}, `${series.model} · ${series.policy}`));
    return h("li", {}, button);
  };
  return h("ul", { class: "legend", "aria-label": "Series: press to hide or show" }, all.map(entry));
}

function emphasise(grid, key) {
  for (const group of grid.querySelectorAll("[data-series]")) {
    group.classList.toggle("dimmed", key !== null && group.getAttribute("data-series") !== key);
  }
}

const name = (r) => [`${r.shownModel} · ${r.policy} · ${paceName(r.pace)}`];
const accuracyText = (r) => `accuracy ${percent(r.accuracy)} % [${r.accuracy_interval.map(percent).join(", ")}] of ${r.problems}`;

/** `4/step` for people. */
export function paceName(pace) {
  const [tokens, unit] = pace.split("/");
  if (pace === "own") return "own pace";
  return unit ? `${tokens} token${tokens === "1" ? "" : "s"} a step` : pace;
}

function padded(values, least = 0) {
  const [low, high] = extent(values) ?? [0, 1];
  return { low: Math.min(low, least), high: high > least ? high * 1.06 : least + 1 };
}

/** 0 to 1, or half of it where nothing is above. */
function share(values) {
  const [, high] = extent(values) ?? [0, 1];
  return { low: 0, high: high > 0.5 ? 1 : high > 0.25 ? 0.5 : 0.25 };
}

function doublingAxis(values) {
  const [low, high] = extent(values.filter((value) => value > 0)) ?? [1, 2];
  return { doubling: true, low: low / 1.08, high: Math.max(high * 1.08, 2 * low) };
}

const accuracyAxis = (series) => ({
  label: "right answers, %", format: percent, ...share(series.flatMap((one) => one.records.map((r) => r.accuracy_interval[1]))),
});

function accuracy(series) {
  const values = series.flatMap((one) => one.records.flatMap((r) => [r.tpf, ...(r.tpf_interval ?? [])]));
  return chart({
    title: "Accuracy against tokens per forward",
    note: "Right and up is better. Bands and bars: 95 % intervals over problems.",
    x: { label: "tokens per forward (doubling)", format: String, ...doublingAxis(values) },
    y: accuracyAxis(series),
    lines: series.map((one) => ({
      series: one,
      points: sorted(one.records, "tpf").map((r) => ({
        x: r.tpf, y: r.accuracy, ys: r.accuracy_interval, xs: r.tpf_interval,
        text: [...name(r), accuracyText(r), `TPF ${short(r.tpf)}`],
      })),
    })),
  });
}

const sorted = (records, key) => records.filter((r) => r[key] !== null).sort((a, b) => a[key] - b[key]);

function figure2(series) {
  const records = series.flatMap((one) => one.records);
  return chart({
    title: "ARness against accuracy",
    note: "The paper's Figure 2. 1 is strict left to right. Left and up is better: right without being serial.",
    x: { label: "Global-ARness@1", format: String, ...share(records.map((r) => r[`${AR}_interval`]?.[1] ?? r[AR])) },
    y: accuracyAxis(series),
    lines: series.map((one) => ({
      series: one, joined: false,
      points: sorted(one.records, AR).map((r) => ({
        x: r[AR], y: r.accuracy, xs: r[`${AR}_interval`], ys: r.accuracy_interval,
        text: [...name(r), accuracyText(r), `ARness ${short(r[AR])} (random ${short(r[`${AR}_random`])})`],
      })),
    })),
  });
}

function globalAndPath(series) {
  const records = series.flatMap((one) => one.records).filter((r) => r[AR] !== null && r[PATH] !== null);
  if (!records.length) return null;
  const top = share(records.flatMap((r) => [r[AR], r[PATH]])).high;
  const random = mean(records.map((r) => r[`${AR}_random`])), within = mean(records.map((r) => r[`${PATH}_random`]));
  return chart({
    title: "ARness: whole canvas and within paths",
    note: "On the diagonal both are equal. Far above it: serial inside each path, and parallel only across paths. Dotted: a random order.",
    x: { label: "Global-ARness@1 of the whole canvas", format: String, low: 0, high: top },
    y: { label: "within a path (mean)", format: String, low: 0, high: top },
    guides: [
      { points: [[0, 0], [top, top]], label: "" },
      random !== null && { points: [[random, 0], [random, top]], label: "" },
      within !== null && { points: [[0, within], [top, within]], label: "random order" },
    ],
    lines: series.map((one) => ({
      series: one, joined: false,
      points: one.records.filter((r) => r[AR] !== null && r[PATH] !== null).map((r) => ({
        x: r[AR], y: r[PATH], xs: r[`${AR}_interval`], ys: r[`${PATH}_interval`],
        text: [...name(r), `whole canvas ${short(r[AR])} (random ${short(r[`${AR}_random`])})`, `within a path ${short(r[PATH])} (random ${short(r[`${PATH}_random`])})`],
      })),
    })),
  });
}

function critical(series, depths) {
  if (!depths.length) return null;
  const high = padded(depths.map((d) => d.forwards)), far = padded(depths.map((d) => d.critical_path));
  const reach = Math.min(high.high, far.high);
  return chart({
    title: "Forwards against the critical path",
    note: "The longest chain of steps that need each other is the least that any decoder could take: the dotted line. Parallel efficiency is how near a point is to it.",
    x: { label: "critical path of the problem", format: String, low: 0, high: far.high },
    y: { label: "forwards (mean)", format: String, low: 0, high: high.high },
    guides: [{ points: [[0, 0], [reach, reach]], label: "as few as possible" }],
    lines: series.flatMap((one) => one.records.map((r) => ({
      series: one,
      points: depths.filter((d) => d.cell === r.cell && d.run === r.run).map((d) => ({
        x: d.critical_path, y: d.forwards,
        text: [...name(r), `${short(d.forwards, 1)} forwards for a critical path of ${d.critical_path}`, `efficiency ${short(d.critical_path / d.forwards)}, ${d.problems} problems`],
      })),
    }))),
  });
}
