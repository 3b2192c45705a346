// The one tooltip of the page. What it says is also in the table or in a label: it is no only source.

import { h } from "./dom.js";

const tip = h("div", { class: "tip", "aria-hidden": "true", hidden: true });

export function installTip() {
  document.body.append(tip);
}

/** Show the lines of `text()` beside the pointer while it is on the element. */
export function explain(element, text) {
  element.addEventListener("pointermove", (event) => {
    const lines = text(event);
    tip.hidden = !lines;
    if (!lines) return;
    tip.replaceChildren(...lines.map((line) => h("div", {}, line)));
    const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const y = event.clientY + 18 + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : event.clientY + 18;
    tip.style.transform = `translate(${Math.max(x, 4)}px, ${y}px)`;
  });
  element.addEventListener("pointerleave", () => (tip.hidden = true));
}
