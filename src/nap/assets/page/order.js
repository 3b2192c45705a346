// Which step finalised each position, and the metrics as they develop. The counting rules of nap/order.py and
// nap/order: tests/report/page/test_order.mjs holds this file to their numbers. Pure.

export const COMMIT = 0, REMASK = 1, EDIT = 2, FILL = 3;

/** The counted positions of a trace, rising, with the step and the slot of each. */
export function orderOf(trace) {
  const committed = new Map(), last = trace.initial.slice();
  for (const event of trace.events) {
    last[event.position] = event.token;
    if (trace.region[event.position] < 0) continue;
    if (event.kind === COMMIT) committed.set(event.position, event.step);
    if (event.kind === REMASK) committed.delete(event.position);
  }
  const positions = [...committed.keys()].filter((p) => !trace.uncounted.has(last[p])).sort((a, b) => a - b);
  return {
    positions,
    steps: positions.map((p) => committed.get(p)),
    region: positions.map((p) => trace.region[p]),
  };
}

/** The part of an order that is in one slot. */
export function slotOf(order, code) {
  const kept = order.positions.map((_, i) => i).filter((i) => order.region[i] === code);
  return { positions: kept.map((i) => order.positions[i]), steps: kept.map((i) => order.steps[i]) };
}

/** Counts of a growing set of ranks, each in logarithmic time (Fenwick). */
class Counter {
  constructor(size) {
    this.tree = new Array(size + 1).fill(0);
  }
  add(rank) {
    for (let i = rank + 1; i < this.tree.length; i += i & -i) this.tree[i] += 1;
  }
  below(rank) {
    let sum = 0;
    for (let i = rank; i > 0; i -= i & -i) sum += this.tree[i];
    return sum;
  }
}

/** Ranks of the positions that each step finalised: [step, ranks rising], by step. */
function groups(order) {
  const found = new Map();
  order.steps.forEach((step, rank) => found.set(step, [...(found.get(step) ?? []), rank]));
  return [...found].sort((a, b) => a[0] - b[0]);
}

/**
 * After every step 0..steps-1: how many tokens are final, and over these
 *   hits, random   sums of the Global-ARness@1 hits of the whole order, and of a random one's
 *   finalising     steps that finalised something
 *   discordant, tied   pairs of positions, for tau-b
 */
export function develop(order, steps) {
  const n = order.positions.length, done = new Counter(n), after = [];
  let now = { count: 0, hits: 0, random: 0, finalising: 0, discordant: 0, tied: 0 };
  let next = 0;
  const all = groups(order);
  for (let step = 0; step < steps; step += 1) {
    if (next < all.length && all[next][0] === step) now = grown(now, all[next++][1], done, n);
    after.push(now);
  }
  return after;
}

function grown(before, ranks, done, n) {
  const now = { ...before, finalising: before.finalising + 1 };
  ranks.forEach((rank, together) => {
    const left = done.below(rank);
    // Of those to the left some come later: none may, and of those in this step this one must come first by chance.
    if (rank - left - together === 0) now.hits += 1 / (together + 1);
    now.random += 1 / (n - now.count);
    now.discordant += before.count - left;
    now.tied += together;
    now.count += 1;
  });
  ranks.forEach((rank) => done.add(rank));
  return now;
}

const ratio = (a, b) => (b > 0 ? a / b : null);

/** Kendall's tau-b of the final positions, null where every pair is tied. */
export function tauB({ count, discordant, tied }) {
  const pairs = (count * (count - 1)) / 2;
  return pairs > tied ? (pairs - tied - 2 * discordant) / Math.sqrt(pairs * (pairs - tied)) : null;
}

/** The metrics after every step, see `develop`; ARness within paths is the mean over the paths that have a value. */
export function metrics(trace) {
  const order = orderOf(trace), whole = develop(order, trace.steps);
  const paths = Array.from({ length: trace.paths }, (_, code) => develop(slotOf(order, code), trace.steps));
  return whole.map((now, step) => ({
    count: now.count,
    arness: ratio(now.hits, now.count),
    random: ratio(now.random, now.count),
    pathArness: mean(paths.map((path) => ratio(path[step].hits, path[step].count))),
    afp: ratio(now.count, now.finalising),
    tau: tauB(now),
    tpf: ratio(now.count, trace.forwardsAt(step)),
  }));
}

export function mean(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}
