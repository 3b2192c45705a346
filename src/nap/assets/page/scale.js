// From data to pixels, and round numbers for an axis. Pure.

/** A scale {at, ticks} from `low..high` to the pixels `from..to`. */
export function linear(low, high, from, to, count = 5) {
  const span = high - low || 1;
  const rough = span / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((candidate) => candidate >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + span * 1e-9; i += 1) ticks.push(tidy(i * step));
  return { at: (value) => from + ((value - low) / span) * (to - from), ticks };
}

/** As `linear`, doubling from tick to tick. */
export function doubling(low, high, from, to) {
  const a = Math.log2(low), span = Math.log2(high) - a || 1;
  const ticks = [];
  for (let i = Math.ceil(a - 1e-9); i <= Math.log2(high) + 1e-9; i += 1) ticks.push(2 ** i);
  return { at: (value) => from + ((Math.log2(value) - a) / span) * (to - from), ticks };
}

const tidy = (value) => Number(value.toPrecision(12));

/** The lowest and highest of the values that are known. */
export function extent(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  return known.length ? [known.reduce((a, b) => Math.min(a, b)), known.reduce((a, b) => Math.max(a, b))] : null;
}
