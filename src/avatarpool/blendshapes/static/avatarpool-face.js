// Animations of the gateway for a face in a browser. What each name is: avatarpool-face.d.ts.
// @ts-self-types="./avatarpool-face.d.ts"

export { animate } from "./animations.js";
export { arkit, LOCAL, readBasis } from "./arkit.js";
export { Crossfade } from "./crossfade.js";
export { FaceError } from "./error.js";
export { Face } from "./face.js";
export { HostConnection } from "./host.js";
export { idle } from "./idle.js";
export { FRAMES_PER_SECOND } from "./keyframe.js";
export { Speech } from "./speech.js";
export { visemes, vrm } from "./visemes.js";
export { decodeMessage } from "./wire.js";
