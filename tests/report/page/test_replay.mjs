// What stands where after any step, the common clock, and links to a moment.

import assert from "node:assert/strict";
import { test } from "node:test";
import { doneAt, momentOf, moments, times } from "../../../src/nap/assets/page/clock.js";
import { formatLink, parseLink } from "../../../src/nap/assets/page/link.js";
import { Canvas, MASK, slots, unpack } from "../../../src/nap/assets/page/trace.js";

// prompt, header, path 1, header, path 2, header, summary
const packed = {
  initial: [7, 8, -1, -1, 8, -1, 8, -1], region: [[-2, 1], [-1, 1], [0, 2], [-1, 1], [1, 1], [-1, 1], [2, 1]],
  uncounted: [], forwards: 6, steps: 3, ms: [10, 20, 30],
  step: [0, 0, 1, 2, 2], kind: [0, 0, 1, 0, 2], position: [2, 5, 2, 2, 5], token: [1, 2, 0, 3, 4], probability: [900, null, null, 100, 1000],
};

test("a canvas is the same forwards, backwards and by jumps", () => {
  const trace = unpack(packed), canvas = new Canvas(trace);
  const tokens = () => canvas.cells.map((cell) => cell.token);
  const states = [0, 1, 2, 3].map((done) => { canvas.moveTo(done); return tokens(); });
  assert.deepEqual(states[1], [7, 8, 1, -1, 8, 2, 8, -1]);
  assert.deepEqual(states[2], [7, 8, MASK, -1, 8, 2, 8, -1]);
  assert.deepEqual(states[3], [7, 8, 3, -1, 8, 4, 8, -1]);
  for (const done of [1, 3, 0, 2, 1]) {
    canvas.moveTo(done);
    assert.deepEqual(tokens(), states[done]);
  }
});

test("a step on reports the positions that change look: its own and those of the step before", () => {
  const canvas = new Canvas(unpack(packed));
  canvas.moveTo(1);
  assert.deepEqual([...canvas.moveTo(2)].sort(), [2, 5]);
  assert.equal(canvas.moveTo(0), null);
});

test("slots are paths, then the summary; a plain canvas is one path", () => {
  assert.deepEqual(slots(unpack(packed)).map((slot) => [slot.name, slot.positions]), [["path 1", [2, 3]], ["path 2", [5]], ["summary", [7]]]);
  assert.deepEqual(slots(unpack({ ...packed, region: [[0, 8]] })).map((slot) => slot.name), ["path 1"]);
});

test("the clock goes by step, by forward or by milliseconds, and says where a trace has no seconds", () => {
  const trace = unpack(packed);
  assert.deepEqual(times(trace, "step"), [1, 2, 3]);
  assert.deepEqual(times(trace, "forward"), [2, 4, 6]);
  assert.deepEqual(times(trace, "ms"), [10, 30, 60]);
  assert.equal(times(unpack({ ...packed, ms: [] }), "ms"), null);
});

test("on one clock a short trace waits at its end while the long one goes on", () => {
  const long = [1, 2, 3, 4, 5], short = [2, 4];
  const all = moments([long, short]);
  assert.deepEqual(all, [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(all.map((time) => [doneAt(long, time), doneAt(short, time)]), [[0, 0], [1, 0], [2, 1], [3, 1], [4, 2], [5, 2]]);
  assert.equal(momentOf(all, short, 2), 4);
});

test("a link names traces from 1 and a step, and reads back", () => {
  const moment = { traces: [2, 6], step: 41, clock: "ms" };
  assert.equal(formatLink(moment), "#trace=3,7&step=41&clock=ms");
  assert.deepEqual(parseLink("#trace=3,7&step=41&clock=ms", 9), moment);
  assert.deepEqual(parseLink("#trace=3&step=41", 9), { traces: [2], step: 41, clock: "step" });
});

test("a link to what is not here is no link, and its odd parts are left out", () => {
  for (const hash of ["", "#sweep", "#trace=0", "#trace=10", "#trace=x&step=1", "#trace=-1", "#trace=1e3"]) assert.equal(parseLink(hash, 9), null);
  assert.deepEqual(parseLink("#trace=1,1,2,3,4&step=-5&clock=constructor", 9), { traces: [0, 1, 2], step: 0, clock: "step" });
});

test("what explains a trace goes to its steps, and to the positions that these committed", () => {
  const explained = [[0, 0.5, 0.1, [0, 1.5]], [2, null, null, [-0.25]]];
  const found = unpack({ ...packed, explained }).explained;
  assert.deepEqual([...found.keys()], [0, 2]);
  assert.deepEqual(found.get(0), { correlation: 0.5, error: 0.1, tokens: new Map([[2, 0], [5, 1.5]]), violation: 1.5 });
  assert.deepEqual([...found.get(2).tokens], [[2, -0.25]]);
  assert.equal(unpack(packed).explained, undefined);
});
