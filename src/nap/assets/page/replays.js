// The replay of a task: the player, what its marks mean, and the traces to choose from.

import { h, section } from "./dom.js";
import { gallery } from "./gallery.js";
import { Player } from "./player.js";

export class ReplaySection {
  constructor(traces, { vocabulary, rules, opening, kept }) {
    Object.assign(this, { traces, rules, opening, kept, player: new Player(traces, vocabulary), element: null });
    document.addEventListener("keydown", (event) => this.key(event));
  }

  /** The section of a group of runs, at the link or at what opens it. */
  show(group, link) {
    const own = this.traces.filter((trace) => group.numbers.includes(trace.run));
    if (!own.length) return (this.element = section("replay", "Replay", "There is no trace to replay."));
    const open = (chosen) => { this.player.open(chosen); this.element.scrollIntoView(); };
    this.element = section("replay", "Replay", `It opens half way through the shorter of two traces: ${this.rules.pair}.`, keyToMarks(own), this.player.element,
      h("div", { class: "gallery" }, h("h3", {}, "Choose a trace"), h("p", { class: "lead" }, this.ruleText()),
        gallery(own, (i) => open([i]), (i) => { this.player.add(i); this.element.scrollIntoView(); })));
    if (link) this.player.open(link.traces, link);
    else this.player.openInTheMiddle(this.opened(own));
    return this.element;
  }

  /** The traces that the run says to open with, which stand first of it; else the first. */
  opened(own) {
    const { run } = own[0];
    const pair = own.filter((trace) => trace.run === run && trace.why.includes(this.opening));
    // The slow or wrong one stands on the left.
    pair.sort((a, b) => b.steps - a.steps);
    return (pair.length ? pair : [own[0]]).map((trace) => trace.index);
  }

  /** The player with all its traces and nothing else. */
  alone() {
    this.element = h("div", {}, this.player.element);
    this.player.openInTheMiddle(this.traces.map((_, i) => i));
    return this.element;
  }

  ruleText() {
    return this.traces.length < this.kept ? `${this.traces.length} of ${this.kept}: ${this.rules.gallery}, as many as fit.` : `All ${this.kept} traces that were kept; marked are ${this.rules.gallery}.`;
  }

  key(event) {
    if (!this.player.shown) return;
    const here = this.element?.contains(event.target) || (event.target === document.body && inView(this.player.element));
    const own = event.target.closest("select, input, textarea") || (event.key === " " && event.target.closest("button, summary, a"));
    if (here && !own && !event.ctrlKey && !event.metaKey && !event.altKey && this.player.key(event)) event.preventDefault();
  }
}

function keyToMarks(traces) {
  const mark = (look, text, meaning) => h("div", {}, h("dt", {}, h("span", { class: `token ${look}` }, text)), h("dd", {}, meaning));
  return h("dl", { class: "marks" }, mark("masked", "·", "masked"), mark("written", "word", "written; the bar below it: how sure"), mark("written fresh did0", "word", "written in this step"),
    mark("masked fresh did1", "·", "masked again"), mark("edited fresh did2", "word", "edited"), mark("filled", "pad", "filled without the model"), mark("given", "word", "given text"),
    traces.some((trace) => trace.explained) && h("div", {}, h("dt", {}, h("span", { class: "nats against" }, "1.5")), h("dd", {}, "how far the tokens of one step contradict each other, as the model says, in nats; below 0 they support each other")));
}

function inView(element) {
  const box = element.getBoundingClientRect();
  return box.top < innerHeight * 0.7 && box.bottom > innerHeight * 0.3;
}
