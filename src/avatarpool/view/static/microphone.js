// The microphone: pieces of 40 ms, 16-bit samples at 16,000 a second; and recordings of them.

const SAMPLE_RATE = 16000;
const PIECES_PER_SECOND = 25;

export class Microphone {
  #isClosed = false;
  #stream = null;
  #context = null;
  #node = null; // what makes pieces
  #over = () => {};

  constructor(longest) {
    this.longest = longest; // seconds
  }

  /** Asks for the microphone, and gets ready to `listen`. */
  async open() {
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    this.#context = new AudioContext();
    try {
      await this.#context.audioWorklet.addModule(new URL("microphone-worklet.js", import.meta.url));
      if (this.#isClosed) return;
      this.#node = new AudioWorkletNode(this.#context, "microphone", {
        channelCount: 1,
        channelCountMode: "explicit",
      });
      this.#context.createMediaStreamSource(this.#stream).connect(this.#node);
    } catch (error) {
      this.close();
      throw error;
    } finally {
      if (this.#isClosed) this.#release();
    }
  }

  /** Calls `onPiece(samples, level_db)`; resolves once it is closed, unplugged, or on for long enough. */
  async listen(onPiece) {
    if (this.#isClosed) return;
    let left = this.longest * PIECES_PER_SECOND;
    this.#node.port.onmessage = ({ data }) => {
      if (this.#isClosed) return;
      onPiece(data, level(data));
      if (--left <= 0) this.close();
    };
    for (const track of this.#stream.getTracks()) track.onended = () => this.close();
    this.#node.connect(this.#context.destination); // silent, but what leads nowhere need not be run
    this.#context.resume();
    await new Promise((resolve) => (this.#over = resolve));
  }

  close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#release();
    this.#over();
  }

  #release() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    if (this.#context && this.#context.state !== "closed") this.#context.close();
  }
}

/** Returns the loudness of samples, dB of full scale. */
function level(samples) {
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length / 32768 ** 2;
  return Math.max(-100, 10 * Math.log10(power));
}

/** Returns pieces as a mono 16-bit WAV file. */
export function wav(pieces) {
  const view = new DataView(new ArrayBuffer(44));
  const size = pieces.reduce((bytes, piece) => bytes + piece.byteLength, 0);
  const text = (at, letters) => [...letters].forEach((l, i) => view.setUint8(at + i, l.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + size, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // bytes of the format
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channel
  view.setUint32(24, SAMPLE_RATE, true);
  view.setUint32(28, 2 * SAMPLE_RATE, true); // bytes per second
  view.setUint16(32, 2, true); // bytes per sample
  view.setUint16(34, 16, true); // bits per sample
  text(36, "data");
  view.setUint32(40, size, true);
  return new Blob([view, ...pieces], { type: "audio/wav" });
}
