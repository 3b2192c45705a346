// A chart of series of points with intervals, drawn as SVG at the width that there is.

import { h, s, unit, whenWide } from "./dom.js";
import { doubling, linear } from "./scale.js";
import { marker } from "./series.js";
import { explain } from "./tip.js";

const MARGIN = { left: 46, right: 14, top: 10, bottom: 40 };
let drawn = 0; // charts so far, each with an area of its own that lines are cut at

/**
 * A figure. `spec` is
 *   title, note    what it shows and how to read it
 *   x, y           {label, low, high, doubling?, format, whole?}: `whole` is the range that a click shows instead
 *   lines          [{series, points: [{x, y, xs?, ys?, text}]}]: xs and ys are intervals; `joined: false` draws no line
 *   guides         [{points: [[x, y], ...], label}]: what to compare with
 *   column         true where all points are of one setting of x
 * Points in a single column make no curve: they are listed instead.
 */
export function chart(spec) {
  const caption = h("figcaption", {}, h("h3", {}, spec.title), h("p", {}, spec.note));
  if (spec.column || isColumn(spec)) return h("figure", { class: "chart" }, caption, listed(spec));
  const plot = h("div", { class: "plot" });
  const whole = (axis) => ({ ...axis, ...(axis.whole ?? {}) });
  let shown = spec;
  const redraw = whenWide(plot, (width) => plot.replaceChildren(draw(shown, width)));
  const button = [spec.x, spec.y].some((axis) => axis.whole && (axis.low > axis.whole.low || axis.high < axis.whole.high)) && h("button", {
    type: "button", class: "whole", "aria-pressed": "false", onclick: () => {
      const fitted = shown !== spec;
      shown = fitted ? spec : { ...spec, x: whole(spec.x), y: whole(spec.y) };
      button.setAttribute("aria-pressed", String(!fitted));
      redraw();
    },
  }, "whole range");
  caption.append(button || "");
  return h("figure", { class: "chart" }, caption, plot);
}

const pointsOf = (spec) => spec.lines.flatMap(({ points }) => points.filter((point) => point.x !== null && point.y !== null));

function isColumn(spec) {
  return new Set(pointsOf(spec).map((point) => point.x.toPrecision(3))).size < 2;
}

/** What a chart of one column says. */
function listed(spec) {
  return h("ul", { class: "listed" }, pointsOf(spec).map((point) => h("li", {}, point.text.join(", "))));
}

function draw(spec, pixels) {
  const width = Math.round(pixels / unit());
  const height = Math.round(Math.min(Math.max(width * 0.56, 230), 400));
  const scale = (axis, from, to) => (axis.doubling ? doubling : linear)(axis.low, axis.high, from, to);
  const x = scale(spec.x, MARGIN.left, width - MARGIN.right), y = scale(spec.y, height - MARGIN.bottom, MARGIN.top);
  const area = `area${(drawn += 1)}`;
  return s("svg", { viewBox: `0 0 ${width} ${height}`, width: pixels, height: height * unit(), role: "img", "aria-label": describe(spec) },
    s("clipPath", { id: area }, s("rect", { x: MARGIN.left, y: 0, width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.bottom })),
    axes(spec, x, y, width, height),
    s("g", { "clip-path": `url(#${area})` }, (spec.guides ?? []).filter(Boolean).map((guide) => drawGuide(guide, spec, x, y))),
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

function drawGuide(guide, spec, x, y) {
  const [bx, by] = guide.points[guide.points.length - 1];
  const path = guide.points.map(([px, py]) => `${x.at(px).toFixed(1)},${y.at(py).toFixed(1)}`).join(" ");
  return s("g", { class: "guide" },
    s("polyline", { points: path }),
    s("text", { x: x.at(Math.min(bx, spec.x.high)) - 4, y: y.at(by) - 5, "text-anchor": "end" }, guide.label));
}

function drawLine({ series, points, joined = true }, x, y) {
  const known = points.filter((point) => point.x !== null && point.y !== null);
  const at = known.map((point) => [x.at(point.x), y.at(point.y)]);
  const dash = series.dash || null;
  const group = s("g", { class: `series c${series.colour}`, "data-series": series.key },
    joined && band(known, x, y),
    joined && at.length > 1 && s("polyline", { class: "line", points: at.map(pair).join(" "), "stroke-dasharray": dash }),
    known.map((point, i) => drawPoint(series, point, at[i], x, y)));
  for (const [type, on] of [["pointerenter", true], ["pointerleave", false]]) group.addEventListener(type, () => group.classList.toggle("pointed", on));
  return group;
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
