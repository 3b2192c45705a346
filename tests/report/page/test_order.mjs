// The page's metrics are NAP's own, on the traces and with the numbers that tests/test_report.py gives.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { develop, metrics, orderOf } from "../../../src/nap/assets/page/order.js";
import { unpack } from "../../../src/nap/assets/page/trace.js";

const near = (a, b, what) => {
  if (a === null || b === null) assert.equal(a, b, what);
  else assert.ok(Math.abs(a - b) < 1e-9, `${what}: ${a} is not ${b}`);
};

const given = process.env.NAP_ORDERS;
test("the metrics of whole traces are those of nap.order", { skip: given ? false : "run by tests/test_report.py" }, () => {
  const cases = JSON.parse(readFileSync(given, "utf8"));
  assert.ok(cases.length > 20);
  for (const { packed, expected } of cases) {
    const all = metrics(unpack(packed));
    const last = all[all.length - 1];
    for (const [name, value] of Object.entries(expected)) near(last[name], value, `${packed.problem} ${name}`);
  }
});

const trace = (events, more = {}) => unpack({
  initial: [-1, -1, -1, -1], region: [[0, 4]], uncounted: [], forwards: 4, steps: Math.max(...events.map((e) => e[0] + 1)), ms: [],
  step: events.map((e) => e[0]), kind: events.map((e) => e[1]), position: events.map((e) => e[2]), token: events.map((e) => e[3]),
  probability: events.map(() => 500), ...more,
});

test("left to right is 1 at every step, right to left never a hit but the last", () => {
  const right = metrics(trace([0, 1, 2, 3].map((i) => [i, 0, i, 5])));
  assert.deepEqual(right.map((m) => m.arness), [1, 1, 1, 1]);
  assert.deepEqual(right.map((m) => m.tau), [null, 1, 1, 1]);
  const left = metrics(trace([0, 1, 2, 3].map((i) => [i, 0, 3 - i, 5])));
  assert.deepEqual(left.map((m) => m.arness), [0, 0, 0, 1 / 4]);
  assert.equal(left[3].tau, -1);
});

test("all in one step is what a random order has, and has no tau", () => {
  const [only] = metrics(trace([0, 1, 2, 3].map((p) => [0, 0, p, 5]), { forwards: 1 }));
  near(only.arness, (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, "ARness");
  near(only.random, only.arness, "random");
  assert.equal(only.tau, null);
  assert.equal(only.afp, 4);
});

test("a masked-again position counts at its last commit, an edit moves nothing, padding and fills do not count", () => {
  const remasked = orderOf(trace([[0, 0, 0, 5], [1, 1, 0, 0], [2, 0, 0, 6]]));
  assert.deepEqual([remasked.positions, remasked.steps], [[0], [2]]);
  const edited = orderOf(trace([[0, 0, 1, 5], [3, 2, 1, 6]]));
  assert.deepEqual([edited.positions, edited.steps], [[1], [0]]);
  assert.deepEqual(orderOf(trace([[0, 0, 1, 5], [0, 3, 2, 9]], { uncounted: [5] })).positions, []);
});

test("steps that finalise nothing repeat what was", () => {
  const after = develop({ positions: [0, 1], steps: [0, 3] }, 5);
  assert.deepEqual(after.map((now) => now.count), [1, 1, 1, 2, 2]);
});
