// One live request: a microphone's pieces up, frames down while somebody still speaks.

import { WIDEST } from "./chart.js";
import { Playout } from "./playout.js";
import { Speech } from "./speech.js";

const MOST_UNSENT = 160_000; // bytes, 5 s: the service is not coming after
const PIECE_SECONDS = 0.04;

const seconds = () => performance.now() / 1000;

export class LiveSpeech extends Speech {
  #socket = null;
  #isReady = false;
  #levels = []; // dB, of the pieces that were sent
  #spokenAt = null; // when the first one began
  #playout = new Playout();
  #settle = {};

  /** Waits for a session; `hear` may be called then. `onReady` is called, and `onChange` as frames come. */
  async request(onReady, onChange) {
    const socket = (this.#socket = new WebSocket(new URL("live", location.href.replace(/^http/, "ws"))));
    try {
      await new Promise((resolve, reject) => {
        this.#settle = { resolve, reject };
        socket.onmessage = ({ data }) => {
          const line = JSON.parse(data);
          if (line.error) return reject(new Error(line.error));
          if (line.is_ready) {
            this.#isReady = true;
            return onReady();
          }
          this.#take(line);
          onChange();
        };
        socket.onclose = ({ code }) => (code === 1000 ? resolve() : reject(new TypeError("the server is gone")));
      });
    } finally {
      this.isOver = true;
      socket.close();
    }
  }

  #take(line) {
    const index = this.frames.length;
    if (line.pose) this.#playout.arrived(index, seconds());
    this.take({ ...line, loudness_db: this.#levels[index] ?? -100 });
  }

  /** Sends a piece; what comes too early or too late is dropped. */
  hear(samples, level_db) {
    if (!this.#isReady || this.#socket.readyState !== WebSocket.OPEN) return;
    if (this.#socket.bufferedAmount > MOST_UNSENT) {
      this.#settle.reject(new Error("the service takes no more audio: try again"));
      return;
    }
    if (this.#spokenAt === null) {
      this.#spokenAt = seconds() - PIECE_SECONDS;
      this.began();
    }
    this.#levels.push(level_db);
    this.#socket.send(samples);
  }

  /** Ends the audio; the last frames are still to come. */
  end() {
    if (this.#spokenAt === null) this.cancel(); // there is nothing to end
    else if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send("end");
  }

  cancel() {
    this.#settle.resolve?.();
    this.#socket?.close();
  }

  /** Whether the face shows it now. */
  get isShown() {
    return !(this.isOver && this.#playout.at(seconds()) > this.length);
  }

  /** The frames' time that is to be shown now, in seconds. */
  get time() {
    return Math.min(this.#playout.at(seconds()), this.length);
  }

  /** Seconds of time for the chart to show: what is to come is nobody's guess. */
  get duration() {
    return Math.max(WIDEST, this.length);
  }

  /** How long after a sound the face shows it, in seconds; null before the first frame. */
  get lag() {
    return this.#playout.delay === null ? null : this.#playout.delay - this.#spokenAt;
  }
}
