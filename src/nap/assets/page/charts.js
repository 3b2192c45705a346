// The figures of a sweep, from its records.

import { chart } from "./chart.js";
import { h, percent, short } from "./dom.js";
import { mean } from "./order.js";
import { extent } from "./scale.js";
import { sample, seriesOf } from "./series.js";

const AR = "global_arness@1", PATH = "path_global_arness@1";

/** The picture of the first screen: accuracy against speed of a few settings, `shown` as [{part, records}]. */
export function picture(shown) {
  const series = seriesOf(shown.flatMap(({ records }) => records));
  const parts = new Map(shown.map(({ part, records }) => [`${records[0]?.shownModel} | ${records[0]?.curve}`, part]));
  const figure = accuracy(series);
  const label = (one) => `${parts.get(one.key) ? `${parts.get(one.key)}: ` : ""}${one.model} · ${one.policy}`;
  const pinned = new Set();
  const press = (key, button) => {
    if (!pinned.delete(key)) pinned.add(key);
    button.setAttribute("aria-pressed", String(pinned.has(key)));
    pin(figure, pinned);
  };
  return h("div", { class: "picture" }, legend("Series: press to keep its 95 % band", series, label, figure, false, press), figure);
}

/** A legend and the figures of these records; the legend shows and hides series. */
export function charts(records, depths) {
  const all = seriesOf(records), hidden = new Set();
  const grid = h("div", { class: "charts" });
  const draw = () => {
    const shown = all.filter((series) => !hidden.has(series.key));
    grid.replaceChildren(...[accuracy(shown), figure2(shown), globalAndPath(shown), critical(shown, depths)].filter(Boolean));
  };
  const press = (key, button) => {
    if (!hidden.delete(key)) hidden.add(key);
    button.setAttribute("aria-pressed", String(!hidden.has(key)));
    draw();
  };
  draw();
  return h("div", {}, legend("Series: press to hide or show", all, (one) => `${one.model} · ${one.policy}`, grid, true, press), grid);
}

/** The series with their lines and markers; one that is pointed at stands out in the figures, with its intervals. */
function legend(label, all, nameOf, figures, pressed, press) {
  const entry = (series) => {
    const button = h("button", {
      type: "button", "aria-pressed": String(pressed), onclick: () => press(series.key, button),
      onpointerenter: () => emphasise(figures, series.key), onpointerleave: () => emphasise(figures, null),
      onfocus: () => emphasise(figures, series.key), onblur: () => emphasise(figures, null),
    }, sample(series), h("span", {}, nameOf(series)));
    return h("li", {}, button);
  };
  return h("ul", { class: "legend", "aria-label": label }, all.map(entry));
}

function emphasise(figures, key) {
  for (const group of figures.querySelectorAll("[data-series]")) {
    group.classList.toggle("dimmed", key !== null && group.getAttribute("data-series") !== key);
    group.classList.toggle("pointed", group.getAttribute("data-series") === key);
  }
}

function pin(figure, keys) {
  for (const group of figure.querySelectorAll("[data-series]")) group.classList.toggle("pinned", keys.has(group.getAttribute("data-series")));
}

const name = (r) => [`${r.shownModel} · ${r.policy} · ${paceName(r.pace)}`];
const accuracyText = (r) => `accuracy ${percent(r.accuracy)} % [${r.accuracy_interval.map(percent).join(", ")}] of ${r.problems}`;

/** `4/step` for people. */
export function paceName(pace) {
  const [tokens, unit] = pace.split("/");
  if (pace === "own") return "own pace";
  return unit ? `${tokens} token${tokens === "1" ? "" : "s"} a step` : pace;
}

function padded(values) {
  const [, high] = extent(values);
  return { low: 0, high: high > 0 ? high * 1.06 : 1 };
}

/** An axis of shares that fits them, and all that shares can be a click away. */
function share(values, format = short) {
  const [low, high] = extent(values) ?? [0, 1];
  const fit = { low: Math.max(0, Math.floor(low * 20 - 0.2) / 20), high: Math.min(1, Math.ceil(high * 20 + 0.2) / 20) };
  return { ...fit, format, whole: { low: 0, high: 1 } };
}

function doublingAxis(values) {
  const [low, high] = extent(values.filter((value) => value > 0)) ?? [1, 2];
  return { doubling: true, low: low / 1.08, high: Math.max(high * 1.08, 2 * low) };
}

const accuracyAxis = (series) => ({ label: "right answers, %", ...share(series.flatMap((one) => one.records.flatMap((r) => r.accuracy_interval)), percent) });
const AR_ENDS = (r, key) => [r[key], ...(r[`${key}_interval`] ?? [])];

function accuracy(series) {
  const values = series.flatMap((one) => one.records.flatMap((r) => [r.tpf, ...(r.tpf_interval ?? [])]));
  return chart({
    title: "Accuracy against tokens per forward",
    note: "Right and up is better. Point at a series for its 95 % intervals over problems.",
    column: series.every((one) => new Set(one.records.map((r) => r.cell)).size < 2),
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
    note: "The paper's Figure 2. 1 is strict left to right. Left and up is better: right answers without serial order.",
    x: { label: "Global-ARness@1", ...share(records.flatMap((r) => AR_ENDS(r, AR))) },
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
  const across = share(records.flatMap((r) => [...AR_ENDS(r, AR), ...AR_ENDS(r, PATH), r[`${AR}_random`], r[`${PATH}_random`]]));
  const random = mean(records.map((r) => r[`${AR}_random`])), within = mean(records.map((r) => r[`${PATH}_random`]));
  return chart({
    title: "ARness: whole canvas and within paths",
    note: "On the diagonal both are equal. Far above it: serial inside each path, and parallel only across paths. Dotted: a random order.",
    x: { label: "Global-ARness@1 of the whole canvas", ...across },
    y: { label: "within a path (mean)", ...across },
    guides: [
      { points: [[0, 0], [1, 1]], label: "" },
      random !== null && { points: [[random, 0], [random, 1]], label: "" },
      within !== null && { points: [[0, within], [1, within]], label: "random order" },
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
  const high = padded(depths.map((d) => d.forwards)), [near, far] = extent(depths.map((d) => d.critical_path));
  return chart({
    title: "Forwards against the critical path",
    note: "The dotted line is the longest chain of dependent steps, which is meant as a yardstick for decoders. Parallel efficiency says how close a point is to it.",
    x: { label: "critical path of the problem", format: (n) => (Number.isInteger(n) ? String(n) : ""), low: near - 0.25, high: far + 0.25 },
    y: { label: "forwards (mean)", format: String, low: 0, high: high.high },
    guides: [{ points: [[0, 0], [far + 1, far + 1]], label: "as few as possible" }],
    lines: series.flatMap((one) => one.records.map((r) => ({
      series: one,
      points: depths.filter((d) => d.cell === r.cell && d.run === r.run).map((d) => ({
        x: d.critical_path, y: d.forwards,
        text: [...name(r), `${short(d.forwards, 1)} forwards for a critical path of ${d.critical_path}`, `efficiency ${short(d.critical_path / d.forwards)}, ${d.problems} problems`],
      })),
    }))),
  });
}
