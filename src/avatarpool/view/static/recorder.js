// The microphone, as a WAV file.

const SAMPLE_RATE = 16000;

export class Recorder {
  #media = null;
  #isStopped = false;
  #isDiscarded = false;

  constructor(longest) {
    this.longest = longest; // seconds
  }

  /** Records until `stop()` or the longest time; resolves to the WAV file, or null if discarded. */
  async record(onStart) {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const pieces = [];
    try {
      await new Promise((resolve, reject) => {
        this.#media = new MediaRecorder(stream);
        this.#media.ondataavailable = ({ data }) => pieces.push(data);
        this.#media.onstop = resolve;
        this.#media.onerror = ({ error }) => reject(error);
        this.#media.start();
        setTimeout(() => this.stop(), 1000 * this.longest);
        if (this.#isStopped) this.stop();
        onStart();
      });
    } finally {
      for (const track of stream.getTracks()) track.stop();
    }
    if (this.#isDiscarded) return null;
    // Browsers record in formats of their own; all of them can read it back.
    const recording = await new Blob(pieces, { type: this.#media.mimeType }).arrayBuffer();
    const decoded = await new OfflineAudioContext(1, 1, SAMPLE_RATE).decodeAudioData(recording);
    return wav(decoded.getChannelData(0));
  }

  discard() {
    this.#isDiscarded = true;
    this.stop();
  }

  stop() {
    this.#isStopped = true;
    if (this.#media?.state === "recording") this.#media.stop();
  }
}

/** Returns mono 16-bit WAV of samples from -1 to 1. */
function wav(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((l, i) => view.setUint8(at + i, l.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // bytes of the format
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channel
  view.setUint32(24, SAMPLE_RATE, true);
  view.setUint32(28, 2 * SAMPLE_RATE, true); // bytes per second
  view.setUint16(32, 2, true); // bytes per sample
  view.setUint16(34, 16, true); // bits per sample
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => {
    view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, value))), true);
  });
  return new Blob([view], { type: "audio/wav" });
}
