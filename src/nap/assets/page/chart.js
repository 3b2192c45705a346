// A chart of series of points with intervals, drawn as SVG at the width that there is.

import { h, s, unit, whenWide } from "./dom.js";
import { doubling, linear } from "./scale.js";
import { marker } from "./series.js";
import { explain } from "./tip.js";

const MARGIN = { left: 46, right: 14, top: 10, bottom: 40 };

/**
 * A figure. `spec` is
 *   title, note    what it shows and how to read it
 *   x, y           {label, low, high, doubling?, format}
 *   lines          [{series, points: [{x, y, xs?, ys?, text}]}]: xs and ys are intervals; `joined: false` draws no line
 *   guides         [{points: [[x, y], ...], label}]: what to compare with
 */
export function chart(spec) {
  const plot = h("div", { class: "plot" });
  const figure = h("figure", { class: "chart" },
    h("figcaption", {}, h("h3", {}, spec.title), h("p", {}, spec.note)), plot);
  whenWide(plot, (width) => plot.replaceChildren(draw(spec, width)));
  return figure;
}

function draw(spec, pixels) {
  const width = Math.round(pixels / unit());
  const height = Math.round(Math.min(Math.max(width * 0.62, 230), 420));
  const scale = (axis, from, to) => (axis.doubling ? doubling : linear)(axis.low, axis.high, from, to);
  const x = scale(spec.x, MARGIN.left, width - MARGIN.right), y = scale(spec.y, height - MARGIN.bottom, MARGIN.top);
  return s("svg", { viewBox: `0 0 ${width} ${height}`, width: pixels, height: height * unit(), role: "img", "aria-label": describe(spec) },
    axes(spec, x, y, width, height),
    (spec.guides ?? []).filter(Boolean).map((guide) => drawGuide(guide, x, y)),
    spec.lines.map((line) => drawLine(line, x, y)));
}

function describe(spec) {
  const names = spec.lines.map((line) => line.series.key).join(", ");
  return `${spec.title}. ${spec.note} Series: ${names}. Every number is in the table of the sweep.`;
}

function axes(spec, x, y, width, height) {
  const bottom = height - MARGIN.bottom;
  return s("g", { class: "axes" },
    y.ticks.map((tick) => [
      s("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y.at(tick), y2: y.at(tick) }),
      s("text", { x: MARGIN.left - 7, y: y.at(tick), dy: "0.32em", "text-anchor": "end" }, spec.y.format(tick)),
    ]),
    x.ticks.map((tick) => [
      s("line", { class: "tick", x1: x.at(tick), x2: x.at(tick), y1: bottom, y2: bottom + 4 }),
      s("text", { x: x.at(tick), y: bottom + 17, "text-anchor": "middle" }, spec.x.format(tick)),
    ]),
    s("line", { class: "axis", x1: MARGIN.left, x2: width - MARGIN.right, y1: bottom, y2: bottom }),
    s("text", { class: "name", x: (MARGIN.left + width - MARGIN.right) / 2, y: height - 5, "text-anchor": "middle" }, spec.x.label),
    s("text", { class: "name", transform: `translate(12,${(MARGIN.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, spec.y.label));
}

function drawGuide(guide, x, y) {
  const [bx, by] = guide.points[guide.points.length - 1];
  const path = guide.points.map(([px, py]) => `${x.at(px).toFixed(1)},${y.at(py).toFixed(1)}`).join(" ");
  return s("g", { class: "guide" },
    s("polyline", { points: path }),
    s("text", { x: x.at(bx) - 4, y: y.at(by) - 5, "text-anchor": "end" }, guide.label));
}

function drawLine({ series, points, joined = true }, x, y) {
  const known = points.filter((point) => point.x !== null && point.y !== null);
  const at = known.map((point) => [x.at(point.x), y.at(point.y)]);
  const dash = series.dash || null;
  return s("g", { class: `series c${series.colour}`, "data-series": series.key },
    joined && band(known, x, y),
    joined && at.length > 1 && s("polyline", { class: "line", points: at.map(pair).join(" "), "stroke-dasharray": dash }),
    known.map((point, i) => drawPoint(series, point, at[i], x, y)));
}

const pair = ([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`;

function band(points, x, y) {
  const sided = points.filter((point) => point.ys);
  if (sided.length < 2) return null;
  const upper = sided.map((point) => [x.at(point.x), y.at(point.ys[1])]);
  const lower = sided.map((point) => [x.at(point.x), y.at(point.ys[0])]).reverse();
  return s("polygon", { class: "band", points: [...upper, ...lower].map(pair).join(" ") });
}

function drawPoint(series, point, [px, py], x, y) {
  const whisker = (x1, x2, y1, y2) => s("line", { class: "whisker", x1, x2, y1, y2 });
  const group = s("g", { class: "point" },
    point.ys && whisker(px, px, y.at(point.ys[0]), y.at(point.ys[1])),
    point.xs && whisker(x.at(point.xs[0]), x.at(point.xs[1]), py, py),
    s("circle", { class: "reach", cx: px, cy: py, r: 11 }), marker(series, px, py));
  explain(group, () => point.text);
  return group;
}
