// One trace of the replay: what it is, its lanes, its map, what this step did.

import { h, printable } from "./dom.js";
import { TraceMap } from "./heat.js";
import { describeStep, Lanes } from "./lanes.js";
import { metrics } from "./order.js";
import { Canvas } from "./trace.js";
import { whyLane } from "./why.js";

export class Pane {
  constructor(player, index, place) {
    const trace = player.traces[index];
    Object.assign(this, { player, index, trace, letter: "ABC"[place], look: `p${place}`, ends: [] });
    this.metrics = metrics(trace);
    this.canvas = new Canvas(trace);
    this.lanes = new Lanes(trace, player.vocabulary, this.canvas);
    this.lanes.element.setAttribute("aria-label", `Canvas of ${this.letter}`);
    this.why = whyLane(trace, (done) => this.goToStep(done));
    this.map = new TraceMap(trace, (token) => this.lanes.text(token), (done) => this.goToStep(done));
    this.status = h("p", { class: "status" });
    this.element = h("section", { class: `pane ${this.look}`, "aria-label": `Trace ${index + 1}: ${trace.label}` },
      this.heading(), this.lanes.element, this.why?.element ?? "", this.status, this.map.element);
  }

  heading() {
    const { trace, player } = this;
    const close = player.chosen.length > 1 && h("button", { type: "button", class: "close", "aria-label": `Close ${this.letter}`, onclick: () => player.remove(this.index) }, "×");
    return h("header", {}, h("span", { class: "letter", "aria-hidden": "true" }, this.letter),
      h("div", {}, h("h3", {}, trace.label), h("p", {}, h("bdi", {}, printable(trace.problem, 80)), " · ", verdict(trace), answer(trace))), close);
  }

  /** Go to where this trace has done so many steps. */
  goToStep(done) {
    const moment = this.player.moments.indexOf(this.ends[Math.max(done, 1) - 1]);
    this.player.goTo(done ? moment : 0);
  }

  moveTo(done) {
    if (done !== this.canvas.done || !this.status.textContent) {
      this.lanes.update(this.canvas.moveTo(done));
      this.map.moveTo(done);
      this.why?.moveTo(done);
    }
    this.status.textContent = describeStep(this.trace, this.player.vocabulary, done, this.canvas.fresh);
  }
}

/** Right or wrong, by a sign and a word. */
export function verdict(trace) {
  const [kind, text] = trace.correct === true ? ["right", "✓ right"] : trace.correct === false ? ["wrong", "✗ wrong"] : ["open", "? not checked"];
  return h("span", { class: `verdict ${kind}` }, text);
}

function answer(trace) {
  return trace.answer === null ? ", no answer" : [", answer ", h("bdi", {}, printable(trace.answer, 60))];
}
