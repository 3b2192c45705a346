// Two maps of where and when: one trace's commits by position and step, and a whole setting's in bins.

import { h, unit, whenWide } from "./dom.js";
import { COMMIT, EDIT, REMASK } from "./order.js";
import { slotName } from "./trace.js";
import { explain } from "./tip.js";

const MAP_HEIGHT = 150, LEFT = 30, BOTTOM = 16, TOP = 4;

/** Canvas position (across) by step (down) of one trace; the steps still to come are faint. A click goes to a step. */
export class TraceMap {
  constructor(trace, textOf, goTo) {
    Object.assign(this, { trace, done: 0 });
    // Padding is folded away here as in the lanes.
    this.positions = trace.region.map((_, p) => p).filter((p) => trace.region[p] >= 0 && !trace.padding.has(p));
    this.place = new Map(this.positions.map((position, place) => [position, place]));
    this.canvas = h("canvas", { class: "map", role: "img", "aria-label": `Map of ${trace.steps} steps by canvas position, without padding. Left to right would be a falling diagonal.` });
    this.element = h("div", { class: "mapbox" }, this.canvas);
    this.redraw = whenWide(this.element, (width) => this.draw(width));
    this.canvas.addEventListener("click", (event) => goTo(this.stepAt(event.offsetY / unit()) + 1));
    explain(this.canvas, (event) => this.explainAt(event.offsetX / unit(), event.offsetY / unit(), textOf));
  }

  get span() {
    return Math.max(this.positions.length, 1);
  }

  x(place) {
    return LEFT + (place / this.span) * (this.width - LEFT);
  }

  y(step) {
    return TOP + (step / Math.max(this.trace.steps, 1)) * (MAP_HEIGHT - BOTTOM - TOP);
  }

  stepAt(y) {
    const step = Math.floor(((y - TOP) / (MAP_HEIGHT - BOTTOM - TOP)) * this.trace.steps);
    return Math.min(Math.max(step, 0), this.trace.steps - 1);
  }

  explainAt(x, y, textOf) {
    const position = this.positions[Math.floor(((x - LEFT) / (this.width - LEFT)) * this.span)];
    const step = this.stepAt(y), near = Math.max(this.trace.steps / 60, 1);
    const found = this.trace.events.find((event) => event.position === position && Math.abs(event.step - step) < near);
    return [`step ${(found?.step ?? step) + 1}`, found ? `position ${position}: ${textOf(found.token)}` : "click: go to this step"];
  }

  moveTo(done) {
    this.done = done;
    this.redraw();
  }

  draw(pixels) {
    const width = (this.width = pixels / unit());
    const pen = penOf(this.canvas, width, MAP_HEIGHT), colour = getComputedStyle(this.canvas);
    pen.font = `11px ${colour.fontFamily}`;
    this.drawSlots(pen, colour.getPropertyValue("--faint"), colour.color);
    const w = Math.max((width - LEFT) / this.span, 1.6), tall = Math.max((MAP_HEIGHT - BOTTOM - TOP) / Math.max(this.trace.steps, 1), 1.6);
    for (const event of this.trace.events) {
      if (!this.place.has(event.position)) continue;
      pen.fillStyle = event.kind === COMMIT ? colour.getPropertyValue("--mark") : colour.color;
      pen.globalAlpha = event.step < this.done ? 0.35 + 0.65 * (event.probability ?? 1) : 0.14;
      const inset = event.kind === REMASK ? w * 0.3 : event.kind === EDIT ? w * 0.15 : 0;
      pen.fillRect(this.x(this.place.get(event.position)) + inset, this.y(event.step), w - 2 * inset, tall);
    }
    pen.globalAlpha = 1;
    pen.fillStyle = colour.color;
    pen.fillRect(LEFT, this.y(this.done) - 0.75, width - LEFT, 1.5);
  }

  drawSlots(pen, faint, text) {
    const codes = [...this.positions.map((p) => this.trace.region[p]), null];
    for (let begin = 0, place = 1; place < codes.length; place += 1) {
      if (codes[place] === codes[begin]) continue;
      const left = this.x(begin), wide = this.x(place) - left - 2, name = slotName(this.trace, codes[begin]);
      pen.fillStyle = faint;
      pen.fillRect(left, TOP, wide, MAP_HEIGHT - BOTTOM - TOP);
      pen.fillStyle = text;
      if (pen.measureText(name).width < wide) pen.fillText(name, left, MAP_HEIGHT - 4);
      begin = place;
    }
    pen.fillStyle = text;
    pen.fillText("1", 0, TOP + 9);
    pen.fillText(String(this.trace.steps), 0, MAP_HEIGHT - BOTTOM);
  }
}

/** A pen in units (see `unit`) on a canvas of this size, sharp on any screen. */
function penOf(canvas, width, height) {
  const ratio = unit() * Math.min(devicePixelRatio || 1, 3);
  Object.assign(canvas, { width: width * ratio, height: height * ratio });
  Object.assign(canvas.style, { width: `${width * unit()}px`, height: `${height * unit()}px` });
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  return pen;
}

/** The map of one setting, see heat_maps in nap/report/maps.py. */
export function cellMap(map, bins, caption) {
  const canvas = h("canvas", { class: "map", role: "img", "aria-label": `Where and when ${map.cell} finalises tokens: ${diagonal(map.shares, bins)}` });
  const box = h("div", { class: "square" }, canvas);
  const redraw = whenWide(box, (width) => drawBins(canvas, map, bins, width));
  onTheme(box, redraw);
  return h("figure", { class: "cellmap" }, box, h("figcaption", {}, caption));
}

/** Redraw with every change of colours while the element is in the page, or has not come there yet. */
function onTheme(element, redraw) {
  let seen = false;
  document.addEventListener("themechange", function changed() {
    seen ||= element.isConnected;
    if (seen && !element.isConnected) document.removeEventListener("themechange", changed);
    else redraw();
  });
}

/** How strong the colour of a share is. The square root lets the rare be seen beside the frequent. */
const strength = (share) => Math.sqrt(share);

function drawBins(canvas, { shares, slots }, bins, pixels) {
  const size = pixels / unit(), pen = penOf(canvas, size, size), colour = getComputedStyle(canvas);
  pen.fillStyle = colour.getPropertyValue("--faint");
  pen.fillRect(0, 0, size, size);
  pen.fillStyle = colour.getPropertyValue("--mark");
  // Edges on whole pixels: neighbours neither overlap nor leave lines between them.
  const ratio = canvas.width / size, edge = (i) => Math.round((i * canvas.width) / bins) / ratio;
  shares.forEach((share, i) => {
    const x = i % bins, y = Math.floor(i / bins);
    pen.globalAlpha = strength(share / 1000);
    pen.fillRect(edge(x), edge(y), edge(x + 1) - edge(x), edge(y + 1) - edge(y));
  });
  pen.globalAlpha = 1;
  pen.fillStyle = colour.color;
  for (const end of slots.slice(0, -1)) pen.fillRect(end * size - 0.5, 0, 1, size);
}

/** The key to the colours of every map: they mean the same in all. */
export function colourKey() {
  const box = (percent) => {
    const patch = h("span", { class: "patch" }, h("span"));
    patch.firstChild.style.opacity = strength(percent / 100);
    return h("span", { class: "entry" }, patch, `${percent} %`);
  };
  return h("p", { class: "colourkey" }, [0, 1, 4, 25, 50, 100].map(box), h("span", {}, "of the tokens at a place became final at that time; 4 % everywhere is no order at all. Thin lines divide the slots."));
}

function diagonal(shares, bins) {
  const all = shares.reduce((a, b) => a + b, 0) || 1;
  const near = shares.reduce((sum, share, i) => sum + (Math.abs((i % bins) - Math.floor(i / bins)) <= 2 ? share : 0), 0);
  return `${Math.round((100 * near) / all)} % lie near the left-to-right diagonal`;
}
