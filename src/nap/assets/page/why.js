// A lane of one trace: how far the tokens of each step of several contradict each other, as its model says (nap trace explain).

import { h, short } from "./dom.js";

// The nats at which a bar is full.
const FULL = 3;

/** The lane, or null for a trace that no model was asked about. */
export function whyLane(trace, goTo) {
  return trace.explained && new WhyLane(trace, goTo);
}

class WhyLane {
  constructor(trace, goTo) {
    Object.assign(this, { trace, cells: new Map(), count: h("span", { class: "count" }) });
    const steps = [...trace.explained];
    const flow = h("div", { class: "flow", role: "group", "aria-label": "violation of each step of several tokens, in nats" },
      steps.length ? steps.map(([step, found]) => this.cell(step, found, goTo)) : "no step wrote several tokens");
    this.element = h("div", { class: "lane why" }, h("div", { class: "label" }, h("b", {}, "violation"), this.count), flow);
  }

  cell(step, found, goTo) {
    const element = h("span", { class: `nats ${found.violation > 0 ? "against" : "along"}`, title: `step ${step + 1}: ${found.tokens.size} tokens, ${sayWhy(found)}`, onclick: () => goTo(step + 1) }, tenths(found.violation));
    element.style.setProperty("--share", String(Math.min(Math.abs(found.violation) / FULL, 1)));
    this.cells.set(step, element);
    return element;
  }

  /** Mark the step that was just done, and the sum so far. */
  moveTo(done) {
    let sum = 0;
    for (const [step, element] of this.cells) {
      element.classList.toggle("fresh", step === done - 1);
      element.classList.toggle("coming", step >= done);
      if (step < done) sum += this.trace.explained.get(step).violation;
    }
    this.count.textContent = `${tenths(sum)} nats`;
  }
}

/** To one digit, and without the sign of a zero. */
function tenths(nats) {
  return Math.abs(nats) < 0.05 ? "0" : short(nats, 1);
}

/** `violation .83 nats, correlation .12 ± .03`. */
export function sayWhy({ violation, correlation, error }) {
  const spread = error ? ` ± ${short(error)}` : "";
  return `violation ${short(violation)} nats${correlation === null ? "" : `, correlation ${short(correlation)}${spread}`}`;
}
