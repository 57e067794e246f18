// Numbers as people read them.

/** Seconds with one unit. */
export function seconds(value) {
  if (value === null) return "–";
  if (value < 120) return `${Math.round(value)} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`;
}

/** Milliseconds, or seconds where there are many. */
export function milliseconds(value) {
  return value < 1000 ? `${Math.round(value)} ms` : `${Number((value / 1000).toPrecision(3))} s`;
}

/** A percentile, where there is anything it could be of. */
export function percentile({ count }, value) {
  return count ? milliseconds(value) : "–";
}

/** A sentence, from the way errors begin and end. */
export function sentence(text) {
  return text[0].toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}
