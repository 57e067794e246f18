// What one request has brought so far.

export const FRAMES_PER_SECOND = 25;

export class Speech {
  frames = []; // {pose, jaw_rad, lids, loudness_db}, 40 ms each
  requestId = "";
  firstFrameMs = null; // after the audio began to be sent
  isOver = false; // whether no more frames come
  #began = null;

  constructor(name) {
    this.name = name; // of the audio, as the page calls it
  }

  /** Notes that the first of the audio is being sent. */
  began() {
    this.#began = performance.now();
  }

  /** Takes an object of the server's. */
  take(line) {
    if (line.request_id) this.requestId = line.request_id;
    if (line.pose) {
      this.firstFrameMs ??= performance.now() - this.#began;
      this.frames.push(line);
    }
  }

  /** Seconds of the frames so far. */
  get length() {
    return this.frames.length / FRAMES_PER_SECOND;
  }

  /** Returns the frame at a time in seconds, poses blended between the middles of frames. */
  at(time) {
    if (!this.frames.length) return null;
    const newest = this.frames.length - 1;
    const place = Math.min(newest, Math.max(0, time * FRAMES_PER_SECOND - 0.5));
    const [before, after] = [this.frames[Math.floor(place)], this.frames[Math.ceil(place)]];
    const share = place % 1;
    const pose = {};
    for (const name in before.pose) pose[name] = before.pose[name] * (1 - share) + after.pose[name] * share;
    return { ...(share < 0.5 ? before : after), pose };
  }
}
