// Runs in the audio thread: the microphone at 16,000 samples a second, in pieces of 40 ms.

const SAMPLE_RATE = 16000;
const PIECE = 640; // samples
// Zero crossings on each side of the kernel, and where it cuts: aliases stay 70 dB down.
const CROSSINGS = 16;
const CUTOFF = 0.9;

/** Another sample rate by windowed sinc, block by block: it keeps what the next one needs. */
class Resampler {
  #up;
  #down;
  #half; // input samples on each side of an output sample
  #kernels = []; // by phase, each made when first needed
  #held;
  #at = 0; // where in what is held the next output sample's window begins
  #phase = 0; // how far behind an input sample it lies, in parts of 1 / up

  constructor(from, to) {
    const divisor = (a, b) => (b ? divisor(b, a % b) : a);
    const common = divisor(from, to);
    [this.#up, this.#down] = [to / common, from / common];
    this.cutoff = CUTOFF * Math.min(1, to / from);
    this.#half = Math.ceil(CROSSINGS / this.cutoff);
    this.#held = new Float32Array(this.#half - 1); // silence before the first sample
  }

  *resample(block) {
    const held = new Float32Array(this.#held.length + block.length);
    held.set(this.#held);
    held.set(block, this.#held.length);
    while (this.#at + 2 * this.#half <= held.length) {
      const kernel = (this.#kernels[this.#phase] ??= this.#kernel(this.#phase / this.#up));
      let sum = 0;
      for (let i = 0; i < kernel.length; i++) sum += kernel[i] * held[this.#at + i];
      yield sum;
      this.#phase += this.#down;
      this.#at += Math.floor(this.#phase / this.#up);
      this.#phase %= this.#up;
    }
    this.#held = held.slice(this.#at);
    this.#at = 0;
  }

  /** Returns the weights of the input samples around a point between two of them. */
  #kernel(offset) {
    const weights = Float32Array.from({ length: 2 * this.#half }, (_, i) => {
      const x = i + 1 - this.#half - offset;
      const turn = (Math.PI * x) / this.#half;
      const blackman = 0.42 + 0.5 * Math.cos(turn) + 0.08 * Math.cos(2 * turn);
      const angle = Math.PI * this.cutoff * x;
      return blackman * (angle ? Math.sin(angle) / angle : 1);
    });
    const sum = weights.reduce((a, b) => a + b); // each phase passes a constant unchanged
    return weights.map((weight) => weight / sum);
  }
}

class Microphone extends AudioWorkletProcessor {
  #resampler = new Resampler(Math.round(sampleRate), SAMPLE_RATE);
  #piece = new Int16Array(PIECE);
  #filled = 0;

  process([[block]]) {
    if (!block) return true; // nothing is connected yet
    for (const sample of this.#resampler.resample(block)) {
      this.#piece[this.#filled++] = Math.round(32767 * Math.max(-1, Math.min(1, sample)));
      if (this.#filled < PIECE) continue;
      this.port.postMessage(this.#piece, [this.#piece.buffer]);
      this.#piece = new Int16Array(PIECE);
      this.#filled = 0;
    }
    return true; // its output stays silent: nobody is to hear themselves
  }
}

registerProcessor("microphone", Microphone);
