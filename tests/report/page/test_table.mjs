// Sorting, filtering, CSV, scales.

import assert from "node:assert/strict";
import { test } from "node:test";
import { toCsv } from "../../../src/nap/assets/page/csv.js";
import { doubling, extent, linear } from "../../../src/nap/assets/page/scale.js";
import { matches, ordered } from "../../../src/nap/assets/page/table.js";
import { printable, short } from "../../../src/nap/assets/page/dom.js";

const column = { value: (row) => row.x };
const rows = [{ x: 10 }, { x: null }, { x: 9 }];

test("numbers sort as numbers and what is missing stays last, both ways", () => {
  assert.deepEqual(ordered(rows, column, false).map((r) => r.x), [9, 10, null]);
  assert.deepEqual(ordered(rows, column, true).map((r) => r.x), [10, 9, null]);
  assert.deepEqual(ordered([{ x: "p10" }, { x: "p9" }], column, false).map((r) => r.x), ["p9", "p10"]);
});

test("a filter wants every word, in any column and case", () => {
  const columns = [{ value: (r) => r.a }, { value: (r) => r.b }, { value: null }];
  assert.ok(matches({ a: "Arith-NAP", b: "threshold" }, columns, "nap THRESH"));
  assert.ok(!matches({ a: "arith-nap", b: "threshold" }, columns, "nap random"));
});

test("a CSV cell can neither break its line nor be a formula; numbers stay numbers", () => {
  assert.equal(toCsv(["a", "b"], [['x,"y"\n', -1.5], ["=1+1", null]]), 'a,b\r\n"x,""y""\n",-1.5\r\n\'=1+1,\r\n');
});

test("ticks are round and inside", () => {
  assert.deepEqual(linear(0, 1, 0, 100).ticks, [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(doubling(0.6, 9, 0, 1).ticks, [1, 2, 4, 8]);
  assert.equal(linear(0, 10, 50, 0).at(5), 25);
  assert.ok(Number.isFinite(linear(3, 3, 0, 1).at(3)));
});

test("an extent leaves out what is not known", () => {
  assert.deepEqual(extent([null, 3, undefined, -1]), [-1, 3]);
  assert.equal(extent([null]), null);
});

test("text that is invisible or turns the text around it is shown as what it is", () => {
  assert.equal(printable("\u202eevil\u0007\n"), "\\u{202e}evil\\u{7}⏎");
  assert.equal(printable("   "), "␣␣␣");
  assert.equal(printable(""), "∅");
  assert.equal(printable("x".repeat(1e6)).length, 40);
  assert.equal(short(-0.5), "−.50");
  assert.equal(short(null), "–");
});
