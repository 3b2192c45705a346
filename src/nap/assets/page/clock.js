// One clock for traces side by side: by step, by forward or by milliseconds. Pure.

export const CLOCKS = { step: "steps", forward: "forwards", ms: "ms" };

/** When each step of the trace is over, in units of the clock; null if the trace does not know. */
export function times(trace, clock) {
  if (clock === "ms" && trace.ms.length < trace.steps) return null;
  let sum = 0;
  return Array.from({ length: trace.steps }, (_, step) => {
    if (clock === "step") return step + 1;
    if (clock === "forward") return trace.forwardsAt(step);
    sum += trace.ms[step];
    return sum;
  });
}

/** The times at which anything happens, from 0. */
export function moments(allTimes) {
  const distinct = new Set([0, ...allTimes.flat()]);
  return [...distinct].sort((a, b) => a - b);
}

/** How many of the steps that end at `ends` (rising) are over at `time`. */
export function doneAt(ends, time) {
  let low = 0, high = ends.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The first moment at which `done` steps that end at `ends` are over. */
export function momentOf(all, ends, done) {
  return done <= 0 ? 0 : all.indexOf(ends[Math.min(done, ends.length) - 1]);
}
