// Poses of different origin, joined without a jump: the twin of avatarpool.blendshapes.Crossfade.

import { smooth } from "./idle.js";
import { joined, unit } from "./keyframe.js";

/** Shows one source after another; what was shown more than the new source shows fades in `seconds`. */
export class Crossfade {
  #seconds;
  #shown = null;
  #source;
  #difference = null;
  #changed = 0; // when the source did

  constructor(seconds = 0.3) {
    if (!(Number.isFinite(seconds) && seconds > 0)) throw new RangeError(`a fade of ${seconds} s is no time`);
    this.#seconds = seconds;
  }

  /** Returns what to show: `now` in seconds goes on from one source to the next. */
  pose(now, keyframe, source) {
    if (this.#shown && source !== this.#source) {
      this.#difference = joined(this.#shown, keyframe, (shown, next) => shown - next);
      this.#changed = now;
    }
    this.#source = source;
    const share = 1 - smooth((now - this.#changed) / this.#seconds);
    let shown = keyframe;
    if (this.#difference && share > 0) {
      shown = joined(keyframe, this.#difference, (next, lead) => next + share * lead);
      shown.eye_lid = shown.eye_lid.map(unit);
    } else {
      this.#difference = null;
    }
    return (this.#shown = shown);
  }
}
