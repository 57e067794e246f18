// What a face does while nobody speaks: the twin of avatarpool.blendshapes.idle, which explains it.

import { unit } from "./keyframe.js";

const CELL = 4; // seconds in which there is one blink
const [BLINK_FROM, BLINK_SPREAD] = [0.3, 3.2]; // where in them it begins
const [CLOSING, OPENING] = [0.08, 0.16]; // seconds
const MAX_SECONDS = 1e12; // beyond it, a number tells no blink from the next
const BREATHS_HERTZ = 0.25;
const BREATH_RADIANS = 0.006;
const BREATH_METRES = 0.0015;

// Radians and two frequencies of each of the head's angles: x, y, z; of the eyes' x and y.
const SWAY = [[0.012, 0.13, 0.29], [0.022, 0.11, 0.23], [0.01, 0.17, 0.37]];
const GAZE = [[0.015, 0.19, 0.41], [0.03, 0.07, 0.31]];

/** Returns the idle pose at a time in seconds; `seed`, a whole number, tells one face from another. */
export function idle(seed, seconds) {
  if (!Number.isInteger(seed)) throw new RangeError(`a seed of ${seed} is no whole number`);
  if (!(Math.abs(seconds) <= MAX_SECONDS)) throw new RangeError(`${seconds} s is no time`);
  const lid = lidAt(seed, seconds);
  const breath = sine(BREATHS_HERTZ * seconds + noise(seed, -1));
  const [x, y, z] = SWAY.map((sway, i) => drift(seed, i - 10, seconds, sway));
  const gaze = GAZE.map((sway, i) => drift(seed, i - 20, seconds, sway));
  return {
    time: seconds,
    translation: [0, BREATH_METRES * breath, 0],
    rotation: [x, y, z],
    neck_pose: [0.4 * x - BREATH_RADIANS * breath, 0.4 * y, 0.4 * z],
    jaw_pose: [0, 0, 0],
    eye_pose: [...gaze, 0, ...gaze, 0],
    eye_lid: [lid, lid],
    expression: [],
  };
}

/** Returns a number of 0 to 1 that a seed and a number decide, by 32-bit arithmetic. */
export function noise(seed, number) {
  let h = seed ^ Math.imul(0x9e3779b1, number);
  for (let round = 0; round < 2; round++) h = Math.imul(h ^ (h >>> 16), 0x45d9f3b);
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32;
}

/** Goes from 0 to 1 without an edge at either end: 3u² - 2u³, u kept in 0 to 1. */
export function smooth(share) {
  const u = unit(share);
  return u * u * (3 - 2 * u);
}

const sine = (turns) => Math.sin(2 * Math.PI * turns);

function lidAt(seed, seconds) {
  const cell = Math.floor(seconds / CELL);
  const into = seconds - cell * CELL - BLINK_FROM - BLINK_SPREAD * noise(seed, cell);
  if (into < 0 || into >= CLOSING + OPENING) return 0;
  return smooth(into < CLOSING ? into / CLOSING : 1 - (into - CLOSING) / OPENING);
}

/** Two sines of other phases; the fast one has a third of the slow one's size. */
function drift(seed, number, seconds, [size, slow, fast]) {
  const first = sine(slow * seconds + noise(seed, 2 * number));
  const second = sine(fast * seconds + noise(seed, 2 * number + 1));
  return size * (0.75 * first + 0.25 * second);
}
