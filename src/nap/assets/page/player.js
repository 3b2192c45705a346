// The replay: one trace or several of them side by side on one clock.

import { CLOCKS, doneAt, momentOf, moments, times } from "./clock.js";
import { Developing } from "./develop.js";
import { h, printable } from "./dom.js";
import { formatLink, MOST_SIDE_BY_SIDE } from "./link.js";
import { Pane } from "./pane.js";

const PLAY_SECONDS = 14; // of a whole replay at speed 1
const FASTEST = 30; // milliseconds between two moments

export class Player {
  constructor(traces, vocabulary) {
    Object.assign(this, { traces, vocabulary, chosen: [], clock: "step", moment: 0, speed: 1, timer: null });
    this.build();
  }

  build() {
    const button = (label, text, onclick) => h("button", { type: "button", "aria-label": label, title: label, onclick }, text);
    this.playButton = button("Play", "▶", () => this.toggle());
    this.slider = h("input", { type: "range", min: 0, value: 0, "aria-label": "Moment", oninput: () => this.goTo(Number(this.slider.value)) });
    this.when = h("output", { class: "when" });
    this.clockChoice = this.choice("Clock", Object.keys(CLOCKS).map((name) => [name, `by ${name}`]), (name) => this.setClock(name));
    this.speedChoice = this.choice("Speed", [[0.5, "½×"], [1, "1×"], [2, "2×"], [4, "4×"]], (speed) => (this.speed = Number(speed)));
    this.speedChoice.value = "1";
    this.viewChoice = this.choice("View", [["tokens", "tokens"], ["order", "order of steps"]], (view) => this.setView(view));
    this.paddingBox = h("input", { type: "checkbox", onchange: () => this.element.classList.toggle("unfolded", this.paddingBox.checked) });
    this.live = h("p", { class: "unseen", "aria-live": "polite" });
    this.said = h("span", { class: "said", role: "status" });
    this.besides = h("select", { "aria-label": "Add a trace of the same problem beside it", onchange: () => this.addChosen() });
    this.bar = h("div", { class: "bar", role: "group", "aria-label": "Replay" },
      button("To the start", "⇤", () => this.goTo(0)), button("One step back", "←", () => this.goTo(this.moment - 1)),
      this.playButton, button("One step on", "→", () => this.goTo(this.moment + 1)), button("To the end", "⇥", () => this.goTo(Infinity)),
      this.slider, this.when, this.viewChoice, this.clockChoice, this.speedChoice, this.besides,
      h("label", { class: "check" }, this.paddingBox, "padding"),
      h("button", { type: "button", class: "link", onclick: () => this.copyLink() }, "Copy link"), this.said);
    this.panes = h("div", { class: "panes" });
    this.developing = h("div");
    this.element = h("div", { class: "player" }, this.bar, this.live, stepKey(), this.panes, this.developing,
      h("p", { class: "hint" }, "Space plays, arrows step (with Shift ten at a time), Home and End jump. A click in a map goes to that step."));
    document.addEventListener("themechange", () => this.shown?.forEach((pane) => pane.map.redraw()));
  }

  choice(label, options, pick) {
    const select = h("select", { "aria-label": label, onchange: () => pick(select.value) },
      options.map(([value, text]) => h("option", { value }, text)));
    return select;
  }

  /** Tokens as texts, or each position as a cell in the colour of the step that finalised it. */
  setView(view) {
    this.element.classList.toggle("byorder", view === "order");
  }

  /** Show these traces where the shortest is half done. */
  openInTheMiddle(chosen) {
    this.open(chosen);
    const shortest = this.shown.reduce((a, b) => (b.trace.steps < a.trace.steps ? b : a));
    shortest.goToStep(Math.ceil(shortest.trace.steps / 2));
  }

  /** Show these traces from their start. */
  open(chosen, { step = 0, clock = this.clock } = {}) {
    this.pause();
    this.chosen = chosen.slice(0, MOST_SIDE_BY_SIDE);
    this.shown = this.chosen.map((index, place) => new Pane(this, index, place));
    this.panes.replaceChildren(...this.shown.map((pane) => pane.element));
    this.panes.className = `panes of${this.shown.length}`;
    this.offerBesides();
    this.setClock(this.clockChoice.querySelector(`[value=${clock}]`) ? clock : "step", step);
  }

  offerBesides() {
    const problem = this.traces[this.chosen[0]].problem;
    const others = this.traces.map((trace, index) => ({ trace, index })).filter(({ trace, index }) => trace.problem === problem && !this.chosen.includes(index));
    const full = this.chosen.length >= MOST_SIDE_BY_SIDE || !others.length;
    this.besides.replaceChildren(h("option", { value: "" }, others.length ? "+ beside…" : "no other trace"),
      ...others.map(({ trace, index }) => h("option", { value: index }, `${index + 1}: ${trace.label}`)));
    this.besides.disabled = full;
  }

  addChosen() {
    if (this.besides.value !== "") this.add(Number(this.besides.value));
  }

  /** Put a trace beside those shown; they go on from where they are. */
  add(index) {
    const done = this.shown[0]?.canvas.done ?? 0;
    if (!this.chosen.includes(index)) this.open([...this.chosen.slice(0, MOST_SIDE_BY_SIDE - 1), index], { step: done });
  }

  remove(index) {
    const rest = this.chosen.filter((other) => other !== index);
    if (rest.length) this.open(rest, { step: this.shown.find((pane) => pane.index === rest[0]).canvas.done });
  }

  setClock(clock, step = this.shown[0].canvas.done) {
    const all = this.shown.map((pane) => times(pane.trace, clock));
    if (all.includes(null)) return this.refuseClock(step);
    this.clock = this.clockChoice.value = clock;
    this.shown.forEach((pane, i) => (pane.ends = all[i]));
    this.moments = moments(all);
    this.slider.max = this.moments.length - 1;
    this.drawDeveloping();
    this.goTo(momentOf(this.moments, all[0], Math.min(step, all[0].length)));
  }

  refuseClock(step) {
    this.setClock("step", step);
    this.note("These traces do not say how long their steps took.");
  }

  drawDeveloping() {
    const tracks = this.shown.map(({ metrics, ends, look, letter }) => ({ metrics, ends, look, letter }));
    this.charts = new Developing(tracks, this.moments[this.moments.length - 1] || 1);
    this.developing.replaceChildren(this.charts.element);
  }

  goTo(moment) {
    this.moment = Math.min(Math.max(moment, 0), this.moments.length - 1);
    const time = this.moments[this.moment];
    for (const pane of this.shown) pane.moveTo(doneAt(pane.ends, time));
    this.slider.value = this.moment;
    this.when.textContent = `${this.number(time)} / ${this.number(this.moments[this.moments.length - 1])} ${CLOCKS[this.clock]}`;
    this.slider.setAttribute("aria-valuetext", this.when.textContent);
    this.charts.moveTo(time, this.shown.map((pane) => pane.canvas.done));
    if (this.timer === null) this.settle();
  }

  number(time) {
    return this.clock === "ms" ? time.toFixed(time < 100 ? 1 : 0) : String(Math.round(100 * time) / 100);
  }

  /** What is done only when nothing plays: the link, and a word to screen readers. */
  settle() {
    this.say(this.shown.map((pane) => `${pane.letter}: ${pane.status.textContent}`).join(" "));
    // A frame of a notebook has no address.
    if (!location.href.startsWith("about:")) history.replaceState(null, "", this.link());
  }

  link() {
    return formatLink({ traces: this.chosen, step: this.shown[0].canvas.done, clock: this.clock });
  }

  say(text) {
    this.live.textContent = printable(text, 400);
  }

  toggle() {
    if (this.timer !== null) return this.pause();
    if (this.moment === this.moments.length - 1) this.goTo(0);
    this.named(this.playButton, "Pause", "❚❚");
    this.timer = 0;
    this.tick();
  }

  tick() {
    this.timer = setTimeout(() => {
      this.goTo(this.moment + 1);
      if (this.moment === this.moments.length - 1) this.pause();
      else this.tick();
    }, this.delay());
  }

  /** Until the next moment: time on the clock, drawn out so that the whole takes PLAY_SECONDS. */
  delay() {
    const end = this.moments[this.moments.length - 1];
    const share = (this.moments[this.moment + 1] - this.moments[this.moment]) / end;
    return Math.max((share * PLAY_SECONDS * 1000) / this.speed, FASTEST);
  }

  pause() {
    if (this.timer === null) return;
    clearTimeout(this.timer);
    this.timer = null;
    this.named(this.playButton, "Play", "▶");
    this.settle();
  }

  named(button, label, text) {
    button.setAttribute("aria-label", label);
    button.title = label;
    button.textContent = text;
  }

  async copyLink() {
    const url = location.href.split("#")[0] + this.link();
    try {
      await navigator.clipboard.writeText(url);
      this.note("copied");
    } catch {
      this.note("it is in the address bar");
    }
  }

  /** A word on what was asked for, for a moment. */
  note(text) {
    clearTimeout(this.noted);
    this.said.textContent = text;
    this.noted = setTimeout(() => (this.said.textContent = ""), 4000);
  }

  /** Keys that play and step; true if this was one. */
  key(event) {
    const many = event.shiftKey ? 10 : 1;
    const moves = { ArrowLeft: this.moment - many, ArrowRight: this.moment + many, Home: 0, End: Infinity };
    if (event.key === " ") this.toggle();
    else if (Object.hasOwn(moves, event.key)) this.goTo(moves[event.key]);
    else return false;
    return true;
  }
}

/** The key to the cells' colours. A run's own first step and last are its ends, however many steps it took. */
function stepKey() {
  return h("p", { class: "stepkey" }, "A cell is a position, its colour the step that finalised it: first", h("span", { class: "ramp" }), "last step of the run. Hollow: still to come.");
}
