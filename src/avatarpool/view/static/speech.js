// One request to the page's server: audio out, frames in.

export const FRAMES_PER_SECOND = 25;

export class Speech {
  frames = []; // {pose, jaw_rad, lids, loudness_db}, 40 ms each
  requestId = "";
  firstFrameMs = null;
  isStarted = false; // whether its audio was started
  isAwaited = false; // whether its audio waits for frames
  isOver = false; // whether no more frames come
  #abort = new AbortController();

  constructor(name) {
    this.name = name; // of the audio, as the page calls it
  }

  /** Sends the audio; resolves after the last frame. `onChange` is called as frames come. */
  async request(blob, onChange) {
    const began = performance.now();
    try {
      const response = await fetch("animate", { method: "POST", body: blob, signal: this.#abort.signal });
      if (!response.ok) throw new Error((await response.json()).error);
      for await (const line of lines(response.body)) {
        if (line.error) throw new Error(line.error);
        if (line.request_id) this.requestId = line.request_id;
        if (line.pose) {
          this.firstFrameMs ??= performance.now() - began;
          this.frames.push(line);
        }
        onChange();
      }
    } finally {
      this.isOver = true;
    }
  }

  cancel() {
    this.#abort.abort();
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

async function* lines(body) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    text += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const whole = text.split("\n");
    text = whole.pop();
    for (const line of whole) yield JSON.parse(line);
    if (done) return;
  }
}
