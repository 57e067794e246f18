// The service's messages, as far as a face needs them: proto3, by the fields of message.proto.
// Whatever comes may be broken or hostile: it is an error, and a bounded one.

import { FaceError } from "./error.js";
import { FIELDS, FRAMES_PER_SECOND } from "./keyframe.js";

export const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
const MAX_KEYFRAMES = 10_000; // of a message
const MAX_VALUES = 1000; // of a keyframe's field

const [NUMBER, EIGHT_BYTES, BYTES, FOUR_BYTES] = [0, 1, 2, 5]; // wire types
const tag = (field, type) => 8 * field + type;
const text = new TextDecoder("utf-8", { fatal: true });

function broken(why) {
  return new FaceError(`a message of the service cannot be read: ${why}`, { code: "protocolError" });
}

/** Yields [tag, value] of each field: a number, or the bytes of what has a length. */
function* fieldsOf(bytes) {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let place = 0; place < 10 && at < bytes.length; place++) {
      const byte = bytes[at++];
      value += (byte & 127) * 2 ** (7 * place);
      if (byte < 128) return value;
    }
    throw broken("a number is cut off");
  };
  const take = (length) => {
    if (length > bytes.length - at) throw broken("a field is cut off");
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const key = number();
    if (key < 8) throw broken("a field has no number");
    const type = key % 8;
    if (type === NUMBER) yield [key, number()];
    else if (type === BYTES) yield [key, take(number())];
    else if (type === FOUR_BYTES) yield [key, take(4)];
    else if (type === EIGHT_BYTES) yield [key, take(8)];
    else throw broken(`wire type ${type} is unknown`);
  }
}

function readText(bytes) {
  try {
    return text.decode(bytes);
  } catch {
    throw broken("a text is no UTF-8");
  }
}

function readKeyframe(bytes) {
  const keyframe = { time: 0 };
  for (const name of FIELDS) keyframe[name] = [];
  for (const [key, value] of fieldsOf(bytes)) {
    const [type, name] = [key % 8, FIELDS[Math.floor(key / 8) - 1]];
    if (!name || (type !== BYTES && type !== FOUR_BYTES)) continue;
    const values = keyframe[name];
    if (value.length % 4) throw broken(`${name} is cut off`);
    if (values.length + value.length / 4 > MAX_VALUES) throw broken(`${name} has more than ${MAX_VALUES} values`);
    const floats = new DataView(value.buffer, value.byteOffset, value.length);
    for (let at = 0; at < value.length; at += 4) {
      const one = floats.getFloat32(at, true);
      values.push(Number.isFinite(one) ? one : 0); // a face that is nowhere cannot be drawn
    }
  }
  return keyframe;
}

function readKeyframes(bytes, keyframes) {
  for (const [key, value] of fieldsOf(bytes)) {
    if (key !== tag(1, BYTES)) continue;
    if (keyframes.length === MAX_KEYFRAMES) throw broken(`it has more than ${MAX_KEYFRAMES} keyframes`);
    keyframes.push({ ...readKeyframe(value), time: keyframes.length / FRAMES_PER_SECOND });
  }
}

function readAnimation(bytes, into) {
  for (const [key, value] of fieldsOf(bytes)) {
    if (key === tag(1, BYTES)) into.connectionId = readText(value);
    else if (key === tag(2, BYTES)) into.reqId = readText(value);
    else if (key === tag(3, NUMBER)) into.end = value !== 0;
    else if (key === tag(4, BYTES)) readKeyframes(value, into.keyframes);
    else if (key === tag(5, BYTES)) into.avatarId = readText(value);
  }
}

function readError(bytes, into) {
  for (const [key, value] of fieldsOf(bytes)) {
    if (key === tag(1, BYTES)) into.connectionId = readText(value);
    else if (key === tag(2, BYTES)) into.reqId = readText(value);
    else if (key === tag(3, NUMBER)) into.code = value;
    else if (key === tag(4, BYTES)) into.message = readText(value);
  }
}

/** Reads one serialised `Message`; throws a FaceError if it is none. */
export function decodeMessage(message) {
  const bytes = message instanceof ArrayBuffer ? new Uint8Array(message) : message;
  if (bytes.length > MAX_MESSAGE_BYTES) throw broken(`it has ${bytes.length} bytes`);
  const ids = { connectionId: "", reqId: "" };
  let read = { kind: "other" };
  for (const [key, value] of fieldsOf(bytes)) {
    if (key === tag(6, BYTES)) {
      if (read.kind !== "animation") {
        read = { kind: "animation", ...ids, avatarId: "", end: false, keyframes: [] };
      }
      readAnimation(value, read);
    } else if (key === tag(5, BYTES)) {
      if (read.kind !== "error") read = { kind: "error", ...ids, code: 0, message: "" };
      readError(value, read);
    }
  }
  return read;
}

/** Takes messages apart that each come after their length, a big-endian uint32, in any pieces. */
export class Pieces {
  #rest = new Uint8Array();

  /** Returns the messages that are whole now. */
  take(piece) {
    let bytes = piece;
    if (this.#rest.length) {
      bytes = new Uint8Array(this.#rest.length + piece.length);
      bytes.set(this.#rest);
      bytes.set(piece, this.#rest.length);
    }
    const whole = [];
    let at = 0;
    while (bytes.length - at >= 4) {
      const length = new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(0);
      if (length > MAX_MESSAGE_BYTES) throw broken(`it has ${length} bytes`);
      if (bytes.length - at - 4 < length) break;
      whole.push(bytes.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    this.#rest = bytes.subarray(at);
    return whole;
  }

  /** Whether nothing is left that waits for its rest. */
  get isWhole() {
    return this.#rest.length === 0;
  }
}
