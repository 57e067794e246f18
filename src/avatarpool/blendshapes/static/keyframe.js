// Keyframes: FLAME's parameters, under the names that the gateway's JSON has for them.

export const FRAMES_PER_SECOND = 25;

export const FIELDS = ["translation", "rotation", "neck_pose", "jaw_pose", "eye_pose", "eye_lid", "expression"];

const finite = (value) => (Number.isFinite(value) ? value : 0);

/** Joins all values of two keyframes; those that are not there, or not finite, are 0. The time is the first's. */
export function joined(one, other, how) {
  const made = { time: one.time };
  for (const name of FIELDS) {
    const [a, b] = [one[name] ?? [], other[name] ?? []];
    const values = (made[name] = new Array(Math.max(a.length, b.length)));
    for (let i = 0; i < values.length; i++) values[i] = how(finite(a[i]), finite(b[i]));
  }
  return made;
}

/** Keeps a value from 0 to 1; what is no number is 0. */
export const unit = (value) => (value > 0 ? Math.min(1, value) : 0);
