// Oculus visemes and VRM's expressions: the twins of avatarpool.blendshapes.visemes and vrm.

import { arkit, FULL_GAZE, jawOpen, LOCAL, local } from "./arkit.js";
import { unit } from "./keyframe.js";
import { nonnegative } from "./nonnegative.js";

const EVENNESS = 0.001; // prefers an even mix among mouths that look alike
const REST_EVENNESS = 0.003; // prefers a mouth at rest to no other
const SUM = 10; // holds the sum at 1

// What each viseme's mouth looks like in ARKit's terms.
const seen = {};
for (const [viseme, mouth] of Object.entries(local.mouths)) {
  const expression = local.coefficients.map((name) => mouth[name] ?? 0);
  seen[viseme] = arkit({ jaw_pose: [local.jaw_radians * (mouth.jaw ?? 0), 0, 0], expression }, LOCAL);
}
const VISEMES = Object.keys(seen);
const TELLING = Object.keys(seen.sil).filter((name) => VISEMES.some((viseme) => seen[viseme][name]));

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/** Returns the mix of some visemes that comes nearest to a keyframe's ARKit weights. */
function mixed(weights, mouths) {
  const names = TELLING.filter((name) => name in weights);
  const rows = mouths.map((mouth) => names.map((name) => seen[mouth][name]));
  rows.push(names.map(() => 0)); // at rest, which counts as `sil`, whose lips are pressed
  const evenness = [...mouths.map(() => EVENNESS), REST_EVENNESS];
  const gram = rows.map((a, i) => rows.map((b) => SUM + dot(a, b) + (a === b ? evenness[i] : 0)));
  const mouth = names.map((name) => weights[name]);
  const found = nonnegative(gram, rows.map((row) => SUM + dot(row, mouth)));
  const total = found.reduce((sum, value) => sum + value, 0);
  const mix = Object.fromEntries(mouths.map((name, i) => [name, found[i] / total]));
  mix.sil += found[mouths.length] / total;
  return mix;
}

/** The 15 visemes, which sum to 1; without a basis `aa`, by the jaw, and `sil`, the rest. */
export function visemes(keyframe, basis = null) {
  if (basis) return mixed(arkit(keyframe, basis), VISEMES);
  const aa = unit(jawOpen(keyframe) / seen.aa.jawOpen);
  return { sil: 1 - aa, aa };
}

const VOWELS = { aa: "aa", ih: "ih", ou: "ou", E: "ee", oh: "oh" };

/** VRM 1.0's expressions; without a basis `aa` is the one vowel. Speech tells no emotions. */
export function vrm(keyframe, basis = null) {
  const weights = arkit(keyframe, basis);
  const { eyeBlinkLeft: left, eyeBlinkRight: right } = weights;
  const both = Math.min(left, right);
  const yaw = (weights.leftEyeYaw + weights.rightEyeYaw) / 2 / FULL_GAZE;
  const pitch = (weights.leftEyePitch + weights.rightEyePitch) / 2 / FULL_GAZE;
  const known = {
    blink: both,
    blinkLeft: left - both,
    blinkRight: right - both,
    lookUp: unit(-pitch),
    lookDown: unit(pitch),
    lookLeft: unit(yaw),
    lookRight: unit(-yaw),
  };
  if (!basis) return { aa: visemes(keyframe).aa, ...known };
  const mix = mixed(weights, ["sil", "PP", ...Object.keys(VOWELS)]);
  for (const [viseme, name] of Object.entries(VOWELS)) known[name] = mix[viseme];
  return known;
}
