// What a face shows: speech by its audio's clock, and idle motion otherwise.

import { arkit, readBasis } from "./arkit.js";
import { Crossfade } from "./crossfade.js";
import { idle } from "./idle.js";
import { visemes, vrm } from "./visemes.js";

const STILL = { time: 0, eye_lid: [0, 0] };

/** One animation frame's pose; the weights are worked out when they are asked for. */
class Shown {
  #basis;
  #made = {};

  constructor(keyframe, speech, time, basis) {
    this.keyframe = keyframe;
    this.speech = speech;
    this.time = time;
    this.#basis = basis;
  }

  get arkit() {
    return (this.#made.arkit ??= arkit(this.keyframe, this.#basis));
  }

  get visemes() {
    return (this.#made.visemes ??= visemes(this.keyframe, this.#basis));
  }

  get vrm() {
    return (this.#made.vrm ??= vrm(this.keyframe, this.#basis));
  }
}

export class Face {
  #basis;
  #seed;
  #idles;
  #crossfade;
  #speech = null;
  #clock = null; // seconds of the speech's audio
  #hasEnded = null; // whether that is over: an element's time stands then, before the last keyframe's end

  constructor({ basis = null, seed = Math.floor(Math.random() * 2 ** 32), idles = true, fade = 0.3 } = {}) {
    this.#basis = basis && readBasis(basis);
    idle((this.#seed = seed), 0); // throws here, and not in each frame, at a seed that is none
    this.#idles = idles;
    this.#crossfade = new Crossfade(fade);
  }

  /** The speech that is shown, or will be once its audio begins. */
  get speech() {
    return this.#speech;
  }

  /** Shows a speech by a clock, in place of another: a function, or what has a `currentTime`. */
  play(speech, clock, startsAt = 0) {
    if (typeof clock !== "function" && typeof clock?.currentTime !== "number") {
      throw new TypeError("a speech is played by a clock: a function, or what has a currentTime, in seconds");
    }
    const seconds = typeof clock === "function" ? clock : () => clock.currentTime;
    if (speech !== this.#speech) this.interrupt();
    this.#speech = speech;
    this.#clock = () => seconds() - startsAt;
    this.#hasEnded = () => clock.ended === true;
  }

  /** Ends the speech at once, and what is still to come of it. */
  interrupt() {
    this.#speech?.interrupt();
    this.#speech = null;
  }

  /** Returns what to show `now`, in seconds of the page's clock. */
  shown(now = performance.now() / 1000) {
    let time = this.#speech ? this.#clock() : 0;
    if (this.#hasPassed(time)) this.#speech = null;
    const speech = this.#speech;
    const keyframe = time >= 0 && speech ? speech.at(time) : null;
    if (!keyframe) time = 0;
    const pose = keyframe ?? (this.#idles ? idle(this.#seed, now) : STILL);
    const shown = this.#crossfade.pose(now, pose, keyframe ? speech : "idle");
    return new Shown(shown, keyframe && speech, time, this.#basis);
  }

  /** Calls back for each animation frame; returns what ends that. */
  run(callback) {
    let request = 0;
    const each = () => {
      request = requestAnimationFrame(each); // first: whatever the callback throws, the next one comes
      callback(this.shown());
    };
    request = requestAnimationFrame(each);
    return () => cancelAnimationFrame(request);
  }

  #hasPassed(time) {
    const speech = this.#speech;
    return speech?.isOver && (speech.isInterrupted || time >= speech.length || this.#hasEnded());
  }
}
