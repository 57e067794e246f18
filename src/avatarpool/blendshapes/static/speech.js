// One speech's keyframes by media time, as they come.

import { FaceError } from "./error.js";
import { FRAMES_PER_SECOND, joined } from "./keyframe.js";

const MAX_SECONDS = 3600;

export class Speech {
  keyframes = [];
  isOver = false; // whether no more come
  isInterrupted = false;
  error = null; // why it failed
  #waiting = []; // called at the next change
  #stop;

  /** `stop` is called when it is interrupted before its end. */
  constructor(stop = () => {}) {
    this.#stop = stop;
  }

  /** Seconds of the keyframes so far. */
  get length() {
    return this.keyframes.length / FRAMES_PER_SECOND;
  }

  /** Takes the keyframes that come next; once it is over, none. In a gap before them the newest pose is held. */
  take(keyframes, startsAt = this.length) {
    if (this.isOver || !keyframes.length) return;
    const gap = Math.round(startsAt * FRAMES_PER_SECOND) - this.keyframes.length;
    if (!(startsAt >= 0 && this.length + (gap + keyframes.length) / FRAMES_PER_SECOND <= MAX_SECONDS)) {
      this.fail(new FaceError(`keyframes of a speech are not within its first ${MAX_SECONDS} s`));
      return;
    }
    const held = Array(Math.max(gap, 0)).fill(this.keyframes.at(-1) ?? keyframes[0]);
    for (const keyframe of [...held, ...keyframes.slice(Math.max(-gap, 0))]) {
      this.keyframes.push({ ...keyframe, time: this.length });
    }
    this.#changed();
  }

  end() {
    this.isOver = true;
    this.#changed();
  }

  fail(error) {
    if (this.isOver) return;
    this.error = error;
    this.end();
    this.#stop();
  }

  /** Ends it at once, here and at the service. */
  interrupt() {
    if (this.isOver) return;
    this.isInterrupted = true;
    this.end();
    this.#stop();
  }

  /** Returns the pose at a time in seconds, blended between the middles of keyframes; null without any. */
  at(time) {
    const newest = this.keyframes.length - 1;
    if (newest < 0) return null;
    const place = Math.min(newest, Math.max(0, time * FRAMES_PER_SECOND - 0.5));
    const [before, after] = [this.keyframes[Math.floor(place)], this.keyframes[Math.ceil(place)]];
    const share = place % 1;
    if (!share) return before;
    return { ...joined(before, after, (a, b) => a * (1 - share) + b * share), time };
  }

  /** Resolves once that many seconds are there, or all; rejects if it failed. */
  async ready(seconds = 0.2) {
    while (this.length < seconds && !this.isOver) await new Promise((resolve) => this.#waiting.push(resolve));
    if (this.error) throw this.error;
  }

  /** Resolves once all are there, or it was interrupted; rejects if it failed. */
  done() {
    return this.ready(Infinity);
  }

  #changed() {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
