// A trace as the page holds it: unpacked columns, and what stands at each position after any step. Pure.

import { COMMIT, REMASK } from "./order.js";

export const MASK = -1, PROMPT = -2, HEADER = -1;

/** The trace of a packed record (nap/pack.py): run lengths and columns become arrays and events. */
export function unpack(packed) {
  const region = packed.region.flatMap(([code, count]) => new Array(count).fill(code));
  const events = packed.step.map((step, i) => ({
    step,
    kind: packed.kind[i],
    position: packed.position[i],
    token: packed.kind[i] === REMASK ? MASK : packed.token[i],
    probability: packed.probability[i] === null ? null : packed.probability[i] / 1000,
  }));
  const last = packed.initial.slice(), when = new Map();
  for (const { kind, position, token, step } of events) {
    last[position] = token;
    if (kind === COMMIT) when.set(position, step);
  }
  const uncounted = new Set(packed.uncounted);
  return {
    ...packed,
    region,
    events,
    paths: Math.max(1, ...new Set(region)),
    uncounted,
    explained: packed.explained && explainedSteps(packed.explained, events),
    when, // the step that finalised a position
    padding: new Set(region.map((_, p) => p).filter((p) => region[p] >= 0 && uncounted.has(last[p]))),
    // A step of ours is a forward. Where another system's is not, its forwards are spread evenly.
    forwardsAt: (step) => ((step + 1) * packed.forwards) / Math.max(packed.steps, 1),
  };
}

/** By step of several commits: its violation and that of each token by position, and its correlation, in nats. */
function explainedSteps(columns, events) {
  const commits = new Map(columns.map(([step]) => [step, []]));
  for (const event of events) if (event.kind === COMMIT) commits.get(event.step)?.push(event.position);
  return new Map(columns.map(([step, correlation, error, each]) => {
    const tokens = new Map(each.map((nats, i) => [commits.get(step)[i], nats]));
    return [step, { correlation, error, tokens, violation: each.reduce((a, b) => a + b, 0) }];
  }));
}

/** The slots in canvas order: {code, name, positions}. The prompt is not among them. */
export function slots(trace) {
  const found = new Map();
  trace.region.forEach((code, position) => {
    if (code >= 0) found.set(code, [...(found.get(code) ?? []), position]);
  });
  return [...found].sort((a, b) => a[0] - b[0]).map(([code, positions]) => ({ code, positions, name: slotName(trace, code) }));
}

export function slotName(trace, code) {
  return code > 0 && code === trace.paths ? "summary" : `path ${code + 1}`;
}

/** The events of each step, by step. */
export function eventsByStep(trace) {
  const found = Array.from({ length: trace.steps }, () => []);
  for (const event of trace.events) found[event.step].push(event);
  return found;
}

/**
 * What stands at every position after `done` steps: {token, event}, event being the last that touched the position.
 * Kept by step, so that a replay in order costs what its events cost.
 */
export class Canvas {
  constructor(trace) {
    this.trace = trace;
    this.byStep = eventsByStep(trace);
    this.rewind();
  }

  rewind() {
    this.done = 0;
    this.cells = this.trace.initial.map((token) => ({ token, event: null }));
  }

  /** Go to the state after `done` steps; the positions that changed on the way, or null for "all of them". */
  moveTo(done) {
    const backwards = done < this.done;
    if (backwards) this.rewind();
    const changed = new Set(this.done > 0 ? this.byStep[this.done - 1].map((event) => event.position) : []);
    for (; this.done < done; this.done += 1) {
      for (const event of this.byStep[this.done]) {
        this.cells[event.position] = { token: event.token, event };
        changed.add(event.position);
      }
    }
    return backwards ? null : changed;
  }

  /** What the last step did. */
  get fresh() {
    return this.done > 0 ? this.byStep[this.done - 1] : [];
  }
}
