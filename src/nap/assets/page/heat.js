// Two maps of where and when: one trace's commits by position and step, and a whole setting's in bins.

import { h, unit, whenWide } from "./dom.js";
import { COMMIT, EDIT, REMASK } from "./order.js";
import { slotName } from "./trace.js";
import { explain } from "./tip.js";

const MAP_HEIGHT = 150, LEFT = 30, BOTTOM = 16, TOP = 4;

/** Canvas position (across) by step (down) of one trace; the steps still to come are faint. A click goes to a step. */
export class TraceMap {
  constructor(trace, textOf, goTo) {
    Object.assign(this, { trace, done: 0, first: trace.region.findIndex((code) => code >= 0) });
    this.canvas = h("canvas", { class: "map", role: "img", "aria-label": `Map of ${trace.steps} steps by canvas position. Left to right would be a falling diagonal.` });
    this.element = h("div", { class: "mapbox" }, this.canvas);
    this.redraw = whenWide(this.element, (width) => this.draw(width));
    this.canvas.addEventListener("click", (event) => goTo(this.stepAt(event.offsetY / unit()) + 1));
    explain(this.canvas, (event) => this.explainAt(event.offsetX / unit(), event.offsetY / unit(), textOf));
  }

  get span() {
    return Math.max(this.trace.region.length - this.first, 1);
  }

  x(position) {
    return LEFT + ((position - this.first) / this.span) * (this.width - LEFT);
  }

  y(step) {
    return TOP + (step / Math.max(this.trace.steps, 1)) * (MAP_HEIGHT - BOTTOM - TOP);
  }

  stepAt(y) {
    const step = Math.floor(((y - TOP) / (MAP_HEIGHT - BOTTOM - TOP)) * this.trace.steps);
    return Math.min(Math.max(step, 0), this.trace.steps - 1);
  }

  explainAt(x, y, textOf) {
    const position = this.first + Math.floor(((x - LEFT) / (this.width - LEFT)) * this.span);
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
      if (this.trace.region[event.position] < 0) continue;
      pen.fillStyle = event.kind === COMMIT ? colour.getPropertyValue("--mark") : colour.color;
      pen.globalAlpha = event.step < this.done ? 0.35 + 0.65 * (event.probability ?? 1) : 0.14;
      const inset = event.kind === REMASK ? w * 0.3 : event.kind === EDIT ? w * 0.15 : 0;
      pen.fillRect(this.x(event.position) + inset, this.y(event.step), w - 2 * inset, tall);
    }
    pen.globalAlpha = 1;
    pen.fillStyle = colour.color;
    pen.fillRect(LEFT, this.y(this.done) - 0.75, width - LEFT, 1.5);
  }

  drawSlots(pen, faint, text) {
    let begin = this.first;
    const codes = [...this.trace.region, null];
    for (let p = this.first + 1; p < codes.length; p += 1) {
      if (codes[p] === codes[begin]) continue;
      if (codes[begin] >= 0) {
        pen.fillStyle = faint;
        pen.fillRect(this.x(begin), TOP, this.x(p) - this.x(begin), MAP_HEIGHT - BOTTOM - TOP);
        pen.fillStyle = text;
        const name = slotName(this.trace, codes[begin]);
        if (pen.measureText(name).width < this.x(p) - this.x(begin)) pen.fillText(name, this.x(begin), MAP_HEIGHT - 4);
      }
      begin = p;
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

/** The binned map of one setting, see heat_maps in nap/gallery.py. */
export function cellMap(map, bins, caption) {
  const canvas = h("canvas", { class: "map", role: "img", "aria-label": `Where and when ${map.cell} finalises tokens: ${diagonal(map.counts, bins)}` });
  const box = h("div", { class: "square" }, canvas);
  whenWide(box, (width) => drawBins(canvas, map.counts, bins, width));
  document.addEventListener("themechange", () => drawBins(canvas, map.counts, bins, box.clientWidth));
  return h("figure", { class: "cellmap" }, box, h("figcaption", {}, caption));
}

function drawBins(canvas, counts, bins, pixels) {
  const size = pixels / unit(), pen = penOf(canvas, size, size), most = Math.max(...counts, 1), cell = size / bins;
  const colour = getComputedStyle(canvas);
  pen.fillStyle = colour.getPropertyValue("--faint");
  pen.fillRect(0, 0, size, size);
  pen.fillStyle = colour.getPropertyValue("--mark");
  counts.forEach((count, i) => {
    // The square root lets the rare be seen beside the frequent.
    pen.globalAlpha = Math.sqrt(count / most);
    pen.fillRect((i % bins) * cell, Math.floor(i / bins) * cell, cell + 0.3, cell + 0.3);
  });
}

function diagonal(counts, bins) {
  const all = counts.reduce((a, b) => a + b, 0) || 1;
  const near = counts.reduce((sum, count, i) => sum + (Math.abs((i % bins) - Math.floor(i / bins)) <= 2 ? count : 0), 0);
  return `${Math.round((100 * near) / all)} % lie near the left-to-right diagonal`;
}
