// ARKit's weights of a keyframe: the twin of avatarpool.blendshapes.arkit and its basis.

import { FaceError } from "./error.js";
import { unit } from "./keyframe.js";

/** The local service's own words: its coefficients, mouths and basis. */
export const local = await (await fetch(new URL("local.json", import.meta.url))).json();

/** The basis of the local service. */
export const LOCAL = local.basis;

const JAW_OPEN = 0.4; // radians for a jawOpen of 1, unless a basis knows better
const FULL_SIDE = 0.2; // radians for a jawLeft of 1
export const FULL_GAZE = 0.6; // radians for a look of 1
const MAX_COEFFICIENTS = 1000;

// --- bases -------------------------------------------------------------------------

/** Checks what `Basis.save` wrote, parsed; returns it, or throws a FaceError. */
export function readBasis(basis) {
  const wrong = (why) => new FaceError(`that is no basis: ${why}`);
  const { jaw_open: jawOpen, shapes } = basis ?? {};
  if (!(Number.isFinite(jawOpen) && jawOpen >= 0.05 && jawOpen <= 2)) throw wrong("its jaw_open is not within 0.05 to 2 rad");
  if (shapes === null || typeof shapes !== "object" || Array.isArray(shapes)) throw wrong("it has no shapes");
  for (const [name, shape] of Object.entries(shapes)) {
    if (!Object.hasOwn(LOCAL.shapes, name)) throw wrong(`${name.slice(0, 60)} is no ARKit name that a basis tells`);
    const { rest, jaw, expression } = shape ?? {};
    if (!Array.isArray(expression) || expression.length > MAX_COEFFICIENTS) {
      throw wrong(`${name} has no list of at most ${MAX_COEFFICIENTS} numbers, "expression"`);
    }
    if (![rest, jaw, ...expression].every(Number.isFinite)) throw wrong(`${name} has a value that is no number`);
  }
  return basis;
}

function weight({ rest, jaw, expression }, keyframe) {
  const values = keyframe.expression ?? [];
  let sum = 0;
  for (let i = 0; i < expression.length && i < values.length; i++) sum += expression[i] * values[i];
  return unit(rest + jaw * (keyframe.jaw_pose?.[0] ?? 0) + sum);
}

// --- rotations ---------------------------------------------------------------------

function quaternion([x = 0, y = 0, z = 0]) {
  const angle = Math.hypot(x, y, z);
  if (!(angle > 0 && angle < Infinity)) return [1, 0, 0, 0];
  const share = Math.sin(angle / 2) / angle;
  return [Math.cos(angle / 2), x * share, y * share, z * share];
}

/** The rotation that is the inner one, turned by the outer one (Hamilton's product). */
function product([a, b, c, d], [w, x, y, z]) {
  return [
    a * w - b * x - c * y - d * z,
    a * x + b * w + c * z - d * y,
    a * y - b * z + c * w + d * x,
    a * z + b * y - c * x + d * w,
  ];
}

/** First the yaw, then the pitch, then the roll, each of the turned: from the matrix Ry Rx Rz. */
function angles([w, x, y, z]) {
  return {
    yaw: Math.atan2(2 * (x * z + w * y), 1 - 2 * (x * x + y * y)),
    pitch: Math.asin(Math.min(1, Math.max(-1, 2 * (w * x - y * z)))),
    roll: Math.atan2(2 * (x * y + w * z), 1 - 2 * (x * x + z * z)),
  };
}

// --- weights -----------------------------------------------------------------------

/** How far the jaw is open, 0 to 1. */
export function jawOpen(keyframe, basis = null) {
  return unit((keyframe.jaw_pose?.[0] ?? 0) / (basis ? basis.jaw_open : JAW_OPEN));
}

/** ARKit's weights, and the angles of head and eyes; what cannot be known without a basis is absent. */
export function arkit(keyframe, basis = null) {
  const { rotation = [], neck_pose: neck = [], jaw_pose: jaw = [], eye_pose: eyes = [], eye_lid: lids = [] } = keyframe;
  const side = (jaw[1] ?? 0) / FULL_SIDE;
  const head = angles(product(quaternion(rotation), quaternion(neck)));
  const left = angles(quaternion(eyes.slice(0, 3)));
  const right = angles(quaternion(eyes.slice(3, 6)));
  const weights = {
    jawOpen: jawOpen(keyframe, basis),
    jawLeft: unit(side),
    jawRight: unit(-side),
    eyeBlinkLeft: unit(lids[0]),
    eyeBlinkRight: unit(lids[1]),
    eyeLookOutLeft: unit(left.yaw / FULL_GAZE),
    eyeLookInLeft: unit(-left.yaw / FULL_GAZE),
    eyeLookInRight: unit(right.yaw / FULL_GAZE),
    eyeLookOutRight: unit(-right.yaw / FULL_GAZE),
    eyeLookDownLeft: unit(left.pitch / FULL_GAZE),
    eyeLookUpLeft: unit(-left.pitch / FULL_GAZE),
    eyeLookDownRight: unit(right.pitch / FULL_GAZE),
    eyeLookUpRight: unit(-right.pitch / FULL_GAZE),
  };
  for (const name in basis?.shapes) weights[name] = weight(basis.shapes[name], keyframe);
  for (const [part, turned] of [["head", head], ["leftEye", left], ["rightEye", right]]) {
    weights[`${part}Yaw`] = turned.yaw;
    weights[`${part}Pitch`] = turned.pitch;
    weights[`${part}Roll`] = turned.roll;
  }
  return weights;
}
