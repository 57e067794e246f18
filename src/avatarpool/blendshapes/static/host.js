// Speeches over the gateway's WebSocket for host mode: audio up, messages down.

import { errorOf, FaceError } from "./error.js";
import { Speech } from "./speech.js";
import { decodeMessage, MAX_MESSAGE_BYTES, Pieces } from "./wire.js";

const [AUDIO, ANIMATION, METADATA, ERROR] = [1, 2, 3, 4];
const LAST = 1; // of the flags
const MAX_PIECE_BYTES = 64 * 1024;
const MAX_UNSENT_BYTES = 4 * 1024 * 1024; // two minutes of audio

/** A speech whose audio goes up through a connection. */
class SpokenSpeech extends Speech {
  hasBegun = false; // whether audio went up
  hasEnded = false; // whether its end did
  isAnswered = false; // whether the gateway has said that it is over
  isDropped = false; // whether the gateway was told to forget it
  #hear;

  constructor(hear, stop) {
    super(stop);
    this.#hear = hear;
  }

  /** Sends audio: mono samples at the connection's rate, 16-bit whole numbers or floats of -1 to 1. */
  send(samples) {
    this.#hear(this, pcmOf(samples), false);
  }

  /** Ends the audio; the rest of the keyframes is still to come. */
  endAudio() {
    this.#hear(this, new Uint8Array(), true);
  }
}

function pcmOf(samples) {
  if (samples instanceof Float32Array) {
    return pcmOf(Int16Array.from(samples, (value) => Math.round(32767 * Math.max(-1, Math.min(1, value)))));
  }
  if (samples instanceof ArrayBuffer) return new Uint8Array(samples);
  if (samples instanceof Int16Array || samples instanceof Uint8Array) {
    return new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  }
  throw new FaceError("audio is an Int16Array, a Float32Array, or the bytes of 16-bit samples");
}

export class HostConnection {
  /** What the gateway has said of itself: connection_id, avatar_id, sample_rate. */
  metadata = {};
  #socket;
  #latest = null; // the speech that audio may be sent of
  #unanswered = []; // speeches whose last message is to come, in their order
  #opened; // settles `open`
  #error = null; // what the gateway said before it closed

  constructor(socket, opened) {
    this.#socket = socket;
    this.#opened = opened;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.#guarded(data);
    socket.onclose = (event) => this.#closed(event);
  }

  /** Connects, and resolves once audio may come; rejects with a FaceError. */
  static async open(url, { key = "", avatarId = "", sampleRate = 16000 } = {}) {
    const address = new URL(url, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address, key ? ["avatarpool", `avatarpool.${key}`] : []);
    return new Promise((resolve, reject) => {
      const connection = new HostConnection(socket, { resolve: () => resolve(connection), reject });
      socket.onopen = () => {
        socket.send(JSON.stringify({ action: "start", avatar_id: avatarId, sample_rate: sampleRate }));
      };
    });
  }

  get isOpen() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /** Begins a speech; one that is under way is interrupted. */
  speak() {
    if (!this.isOpen) throw this.#error ?? new FaceError("the connection is closed: open another one");
    this.#latest?.interrupt();
    this.#settle(this.#latest); // also one that has failed before its audio's end
    const speech = new SpokenSpeech((...audio) => this.#hear(...audio), () => this.#settle(speech));
    return (this.#latest = speech);
  }

  /** Ends the speech that is under way, at once. */
  interrupt() {
    this.#latest?.interrupt();
  }

  /** Closes the connection, and so ends what is under way. */
  close() {
    this.interrupt();
    this.#socket.close();
  }

  // --- audio -----------------------------------------------------------------------

  /** Sends audio of a speech; what comes after its end by itself, or an interrupt, is dropped. */
  #hear(speech, pcm, isLast) {
    if (speech !== this.#latest || speech.isOver || !this.isOpen) return;
    if (speech.hasEnded) throw new FaceError("the speech's audio has ended: begin another speech");
    if (pcm.length % 2) throw new FaceError("audio is no whole number of 16-bit samples");
    if (this.#socket.bufferedAmount > MAX_UNSENT_BYTES) throw new FaceError("the gateway takes no more audio: wait");
    if (isLast && !speech.hasBegun) return speech.end(); // there is nothing to animate
    if (!speech.hasBegun) this.#unanswered.push(speech);
    speech.hasBegun = true;
    speech.hasEnded = isLast;
    for (let at = 0; at < pcm.length || isLast; at += MAX_PIECE_BYTES) {
      const piece = pcm.subarray(at, at + MAX_PIECE_BYTES);
      const message = new Uint8Array(2 + piece.length);
      message.set([AUDIO, isLast ? LAST : 0]);
      message.set(piece, 2);
      this.#socket.send(message);
      if (isLast) return;
    }
  }

  /** Has the gateway forget a speech that it may still work on, or wait for the rest of. */
  #settle(speech) {
    if (!speech?.hasBegun || speech.isDropped || (speech.hasEnded && speech.isAnswered)) return;
    speech.isDropped = true;
    if (this.isOpen) this.#socket.send('{"action":"interrupt"}');
  }

  // --- what comes ------------------------------------------------------------------

  #guarded(data) {
    try {
      this.#received(data);
    } catch (error) {
      this.#error = error instanceof FaceError ? error : new FaceError("the gateway sent what cannot be read");
      this.#socket.close();
    }
  }

  #received(data) {
    if (!(data instanceof ArrayBuffer) || data.byteLength < 2 || data.byteLength > MAX_MESSAGE_BYTES) {
      throw new FaceError("the gateway sent what is no message of host mode");
    }
    const bytes = new Uint8Array(data);
    const [type, flags] = bytes;
    const payload = bytes.subarray(2);
    if (type === ANIMATION) this.#animated(payload, Boolean(flags & LAST));
    else if (type === ERROR) this.#failed(errorOf(told(payload), "the gateway failed"));
    else if (type === METADATA) {
      this.metadata = told(payload);
      this.#opened.resolve();
    }
  }

  #animated(payload, isLast) {
    const speech = this.#unanswered[0];
    const pieces = new Pieces();
    for (const bytes of pieces.take(payload.subarray(4))) { // after their count
      const message = decodeMessage(bytes);
      if (message.kind === "animation") speech?.take(message.keyframes);
    }
    if (!pieces.isWhole) throw new FaceError("the gateway sent a message that is cut off");
    if (!isLast || !speech) return;
    this.#answered();
    speech.end();
  }

  #failed(error) {
    const speech = this.#answered();
    if (!speech) this.#error = error; // it closes now, or has not begun
    speech?.fail(error);
    this.#opened.reject(error);
  }

  #answered() {
    const speech = this.#unanswered.shift();
    if (speech) speech.isAnswered = true;
    return speech;
  }

  #closed({ code, reason }) {
    const why = reason || (code === 1006 ? "it was refused, or the gateway cannot be reached" : `code ${code}`);
    const error = this.#error ?? new FaceError(`the connection is closed: ${why}`);
    for (const speech of this.#unanswered.splice(0)) speech.fail(error);
    this.#latest?.fail(error);
    this.#opened.reject(error);
  }
}

function told(payload) {
  const value = JSON.parse(new TextDecoder().decode(payload));
  return value !== null && typeof value === "object" ? value : {};
}
