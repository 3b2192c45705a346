// A link to a moment: #trace=3,7&step=41&clock=ms. Traces and steps are numbered from 1 and 0 (nothing yet). Pure.

import { CLOCKS } from "./clock.js";

export const MOST_SIDE_BY_SIDE = 3;

/** {traces, step, clock} of a hash, traces as indices from 0; null if it names no trace that is here. */
export function parseLink(hash, count) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const numbers = (given.get("trace") ?? "").split(",").filter((text) => /^\d{1,9}$/.test(text)).map(Number);
  const traces = [...new Set(numbers)].filter((n) => n >= 1 && n <= count).map((n) => n - 1);
  if (!traces.length) return null;
  const step = /^\d{1,9}$/.test(given.get("step") ?? "") ? Number(given.get("step")) : 0;
  const clock = given.get("clock");
  return { traces: traces.slice(0, MOST_SIDE_BY_SIDE), step, clock: Object.hasOwn(CLOCKS, clock ?? "") ? clock : "step" };
}

export function formatLink({ traces, step, clock }) {
  const clocked = clock === "step" ? "" : `&clock=${clock}`;
  return `#trace=${traces.map((i) => i + 1).join(",")}&step=${step}${clocked}`;
}
