// One clip's request to the page's server: a file of audio out, frames in.

import { Speech } from "./speech.js";

export class Clip extends Speech {
  isStarted = false; // whether its audio was started
  isAwaited = false; // whether its audio waits for frames
  #abort = new AbortController();
  #audio;

  /** Names the audio as the page calls it, and the element that plays it. */
  constructor(name, audio) {
    super(name);
    this.#audio = audio;
  }

  /** Sends the audio; resolves after the last frame. `onChange` is called as frames come. */
  async request(blob, onChange) {
    this.began();
    try {
      const response = await fetch("animate", { method: "POST", body: blob, signal: this.#abort.signal });
      if (!response.ok) throw new Error((await response.json()).error);
      for await (const line of lines(response.body)) {
        if (line.error) throw new Error(line.error);
        this.take(line);
        onChange();
      }
    } finally {
      this.isOver = true;
    }
  }

  cancel() {
    this.#abort.abort();
  }

  /** Whether the face shows it now. */
  get isShown() {
    const { ended, paused, currentTime } = this.#audio;
    return this.isStarted && !ended && (!paused || currentTime > 0);
  }

  /** The audio's time, in seconds. */
  get time() {
    return this.#audio.currentTime;
  }

  /** The audio's length in seconds, not known at first. */
  get duration() {
    return this.#audio.duration;
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
