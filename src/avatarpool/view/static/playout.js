// When to show frames that come one by one while somebody speaks: with the smallest steady delay.

import { FRAMES_PER_SECOND } from "./speech.js";

const REMEMBERED = 5 * FRAMES_PER_SECOND; // frames whose lateness says what delay is needed
const CATCHING_UP = 0.05; // how much faster than life the face moves after a delay that is over

/** A clock of the frames' own time, in seconds; `now` is the page's. */
export class Playout {
  delay = null; // from the frames' time to the page's
  #needed = []; // by each of the last frames
  #last = 0;

  arrived(index, now) {
    // The face moves towards a frame from the middle of the one before on.
    this.#needed.push(now - (index - 0.5) / FRAMES_PER_SECOND);
    if (this.#needed.length > REMEMBERED) this.#needed.shift();
    this.delay = Math.max(this.delay ?? -Infinity, this.#needed.at(-1));
  }

  at(now) {
    if (this.delay === null) return 0;
    const saved = CATCHING_UP * (now - this.#last);
    this.delay = Math.max(this.delay - saved, ...this.#needed);
    this.#last = now;
    return now - this.delay;
  }
}
