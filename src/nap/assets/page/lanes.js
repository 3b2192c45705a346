// The canvas of one trace as lanes of tokens: what is there, what this step did, how sure the model was.

import { h, printable, short } from "./dom.js";
import { COMMIT, EDIT, FILL, REMASK } from "./order.js";
import { HEADER, MASK, PROMPT, slotName, slots } from "./trace.js";
import { sayWhy } from "./why.js";

const DID = { [COMMIT]: "written", [REMASK]: "masked again", [EDIT]: "edited", [FILL]: "filled" };

export class Lanes {
  constructor(trace, vocabulary, canvas) {
    Object.assign(this, { trace, vocabulary, canvas, tokens: new Map(), counts: new Map() });
    this.slots = slots(trace);
    this.widest = this.longest();
    this.element = h("div", { class: "lanes", tabindex: 0, role: "region" }, this.prompt(), this.slots.map((slot) => this.lane(slot)));
    this.update(null);
  }

  text(token) {
    return token === MASK ? "·" : printable(this.vocabulary[token] ?? "?");
  }

  /** The longest text that each position ever holds. */
  longest() {
    const found = new Map();
    for (const { position, token } of this.trace.events) {
      const text = this.text(token);
      if (text.length >= (found.get(position) ?? "·").length) found.set(position, text);
    }
    return found;
  }

  prompt() {
    const ids = this.trace.initial.filter((_, position) => this.trace.region[position] === PROMPT);
    if (!ids.length) return null;
    const tokens = ids.map((token) => h("bdi", { class: "token" }, this.text(token)));
    return h("details", { class: "prompt" }, h("summary", {}, `Prompt, ${ids.length} tokens`), h("div", { class: "flow" }, tokens));
  }

  lane({ code, name, positions }) {
    const count = h("span", { class: "count" });
    this.counts.set(code, count);
    const padding = positions.filter((position) => this.trace.padding.has(position)).length;
    const flow = h("div", { class: "flow", role: "group", "aria-label": name }, this.header(positions[0]), positions.map((position) => this.cell(position)),
      padding > 0 && h("span", { class: "folded" }, `+ ${padding} padding`));
    const kind = code > 0 && code === this.trace.paths ? "lane summary" : "lane";
    return h("div", { class: kind }, h("div", { class: "label" }, h("b", {}, name), count), flow);
  }

  /** A position: as wide from the first as the longest text that it will hold, so that nothing moves in a replay. */
  cell(position) {
    const { when, padding, steps } = this.trace;
    const element = h("bdi", { class: "token masked", "data-position": position, "data-widest": this.widest.get(position) ?? this.text(this.trace.initial[position]) }, "·");
    if (when.has(position)) {
      element.dataset.final = "";
      element.style.setProperty("--share", String(when.get(position) / Math.max(steps - 1, 1)));
    }
    element.dataset.end = padding.has(position) ? "padding" : "text";
    this.tokens.set(position, element);
    return element;
  }

  /** The clamped opening tag before a slot. */
  header(first) {
    const found = [];
    for (let p = first - 1; p >= 0 && this.trace.region[p] === HEADER; p -= 1) found.unshift(this.trace.initial[p]);
    return found.map((token) => h("bdi", { class: "token header" }, this.text(token)));
  }

  /** Redraw the positions that changed (a set), or all of them (null). */
  update(changed) {
    for (const position of changed ?? this.tokens.keys()) this.redraw(position);
    for (const { code, positions } of this.slots) {
      const filled = positions.filter((position) => this.canvas.cells[position].token !== MASK).length;
      this.counts.get(code).textContent = `${filled} of ${positions.length}`;
    }
  }

  redraw(position) {
    const element = this.tokens.get(position);
    if (!element) return;
    const { token, event } = this.canvas.cells[position];
    const fresh = event !== null && event.step === this.canvas.done - 1;
    // What a slot held before the first step is the given text of an infilling.
    const given = token !== MASK && event === null;
    const kind = given ? "given" : token === MASK ? "masked" : event?.kind === FILL ? "filled" : event?.kind === EDIT ? "edited" : "written";
    element.className = `token ${kind}${fresh ? ` fresh did${event.kind}` : ""}${token !== MASK && this.trace.uncounted.has(token) ? " uncounted" : ""}`;
    element.textContent = this.text(token);
    element.style.setProperty("--sure", String(event?.probability ?? 0));
    element.title = event ? describeEvent(this, event) : `position ${position}, ${given ? "given" : "masked"}`;
  }
}

/** `position 17, written at step 4, probability .93`. */
function describeEvent(lanes, event) {
  const sure = event.probability === null ? "" : `, probability ${short(event.probability)}`;
  const nats = event.kind === COMMIT ? lanes.trace.explained?.get(event.step)?.tokens.get(event.position) : undefined;
  const against = nats === undefined ? "" : `, violation ${short(nats)} nats`;
  return `${printable(lanes.vocabulary[event.token] ?? "mask", 200)} · position ${event.position}, ${DID[event.kind]} at step ${event.step + 1}${sure}${against}`;
}

/** One line on what a step did, for everyone: how many tokens, where, how sure. */
export function describeStep(trace, vocabulary, done, fresh) {
  if (!done) return `Nothing yet: ${trace.steps} steps to come.`;
  const counts = [COMMIT, EDIT, REMASK, FILL].map((kind) => [DID[kind], fresh.filter((event) => event.kind === kind).length]);
  const did = counts.filter(([, n]) => n).map(([what, n]) => `${n} ${what}`).join(", ");
  const sure = fresh.map((event) => event.probability).filter((p) => p !== null);
  const mean = sure.length ? `, mean probability ${short(sure.reduce((a, b) => a + b, 0) / sure.length)}` : "";
  const some = fresh.slice(0, 4).map((event) => {
    const text = event.token === MASK ? "mask" : printable(vocabulary[event.token] ?? "?", 12);
    return `${slotName(trace, trace.region[event.position])}: ${text}${event.probability === null ? "" : ` ${short(event.probability)}`}`;
  });
  const found = trace.explained?.get(done - 1), why = found ? `, ${sayWhy(found)}` : "";
  return `Step ${done} of ${trace.steps}: ${did || "nothing"}${mean}${why}. ${some.join(" · ")}${fresh.length > 4 ? " …" : ""}`;
}
