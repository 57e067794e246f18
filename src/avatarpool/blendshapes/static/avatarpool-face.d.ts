/** Keyframes per second of audio. */
export const FRAMES_PER_SECOND: 25;

/**
 * One pose of the face, under the names that the gateway's JSON has. Rotations are axis-angle in
 * radians: x to the person's left, y up, z out of the face. What is left out counts as 0.
 */
export interface Keyframe {
  /** When it begins, in seconds from the beginning of its speech. */
  time?: number;
  /** 3 values: the head's place. */
  translation?: number[];
  /** 3 values: the head's rotation. */
  rotation?: number[];
  /** 3 values: the neck's, inside that of the head. */
  neck_pose?: number[];
  /** 3 values; the first opens the jaw. */
  jaw_pose?: number[];
  /** 6 values: left eye, right eye. */
  eye_pose?: number[];
  /** 2 values, left and right: 0 open, 1 closed. */
  eye_lid?: number[];
  /** Coefficients of the service's expression basis. */
  expression?: number[];
}

/** Values by name: blend shapes 0 to 1, angles in radians. */
export type Weights = Record<string, number>;

/** A service's expression basis, as `Basis.save` writes it in Python. */
export interface Basis {
  /** Radians by which the jaw turns for a `jawOpen` of 1. */
  jaw_open: number;
  /** How each ARKit name follows: rest + jaw x angle + expression · coefficients, kept in 0 to 1. */
  shapes: Record<string, { rest: number; jaw: number; expression: number[] }>;
}

/** The basis of avatarpool's local service. */
export const LOCAL: Basis;

/** Checks a basis that was read as JSON. Throws a FaceError that says what is wrong. */
export function readBasis(basis: unknown): Basis;

/**
 * ARKit's weights, and yaw, pitch and roll of `head`, `leftEye` and `rightEye`. Without a basis, jaw,
 * lids, eyes and head are there, and what cannot be known is absent, not 0.
 */
export function arkit(keyframe: Keyframe, basis?: Basis | null): Weights;

/** The 15 Oculus visemes, which sum to 1; without a basis `aa`, by the jaw, and `sil`, the rest. */
export function visemes(keyframe: Keyframe, basis?: Basis | null): Weights;

/** VRM 1.0's expressions but the emotions; without a basis `aa` is the one vowel. */
export function vrm(keyframe: Keyframe, basis?: Basis | null): Weights;

/**
 * The pose of a face that nobody moves, at a time in seconds; `seed` is a whole number. Throws a RangeError
 * if it is not, or if there is no such time.
 */
export function idle(seed: number, seconds: number): Required<Keyframe>;

/**
 * Joins poses of different origin without a jump: the difference where the source changes fades. Meanwhile,
 * values that are infinite or no numbers count as 0.
 */
export class Crossfade {
  /** Throws a RangeError unless `seconds`, the length of a fade (0.3), is finite and more than 0. */
  constructor(seconds?: number);
  /** Returns what to show; `now`, in seconds, goes on from one source to the next. */
  pose(now: number, keyframe: Keyframe, source: unknown): Keyframe;
}

/** One speech's keyframes by media time, as they come; an hour at most. */
export class Speech {
  /** `stop` is called if it fails or is interrupted before its end. */
  constructor(stop?: () => void);
  readonly keyframes: Required<Keyframe>[];
  /** Seconds of the keyframes so far. */
  readonly length: number;
  /** Whether no more come. */
  readonly isOver: boolean;
  readonly isInterrupted: boolean;
  /** Why it failed, or null. */
  readonly error: FaceError | null;
  /**
   * Takes the keyframes that come next, of whatever has them, and counts their time. Where they begin later,
   * at `startsAt` seconds, the newest pose is held until then; what comes twice is taken once.
   */
  take(keyframes: Keyframe[], startsAt?: number): void;
  /** Says that these were all. */
  end(): void;
  /** Says why no more come. */
  fail(error: FaceError): void;
  /** The pose at a time, blended between the middles of keyframes; null while there is none. */
  at(time: number): Keyframe | null;
  /** Resolves once that many seconds (0.2) are there, or all. Rejects with its `error`. */
  ready(seconds?: number): Promise<void>;
  /** Resolves once all are there, or it was interrupted. Rejects with its `error`. */
  done(): Promise<void>;
  /** Ends it at once, here and at the service. */
  interrupt(): void;
}

/** A speech whose audio goes up as it comes: what `HostConnection.speak` begins. */
export interface SpokenSpeech extends Speech {
  /**
   * Sends mono samples at the connection's rate: 16-bit, or floats of -1 to 1. Once the speech is over it
   * does nothing. Throws a FaceError while four megabytes are still to be sent.
   */
  send(samples: Int16Array | Float32Array | Uint8Array | ArrayBuffer): void;
  /** Ends the audio; the rest of the keyframes is still to come. */
  endAudio(): void;
}

/** What to show in one animation frame; the weights are worked out when they are asked for. */
export interface Shown {
  readonly keyframe: Keyframe;
  /** The speech that it is of; null while the face idles. */
  readonly speech: Speech | null;
  /** Seconds of that speech, 0 while the face idles. */
  readonly time: number;
  readonly arkit: Weights;
  readonly visemes: Weights;
  readonly vrm: Weights;
}

/** What tells the audio's time in seconds: an AudioContext, a media element, a function. */
export type Clock = (() => number) | { readonly currentTime: number };

/** Decides what is shown: speech by its audio's clock, idle motion otherwise, and no jump between. */
export class Face {
  /**
   * `basis` is the service's (none: what cannot be known stays absent), `seed` that of the idle motion
   * (a whole number; any), `idles: false` holds the face still between speeches, `fade` is in seconds (0.3).
   */
  constructor(options?: { basis?: Basis | null; seed?: number; idles?: boolean; fade?: number });
  /** The speech that is shown, or will be once its audio begins; null once it has passed. */
  readonly speech: Speech | null;
  /**
   * Shows a speech, in place of another one, which is interrupted. Its beginning is where the clock
   * says `startsAt` (0): before that the face idles, and where keyframes are late it waits.
   */
  play(speech: Speech, clock: Clock, startsAt?: number): void;
  /** Ends the speech at once, and what is still to come of it. The audio is yours to stop. */
  interrupt(): void;
  /** Returns what to show `now`, in seconds of a clock that never stops (the page's). */
  shown(now?: number): Shown;
  /** Calls back once for each animation frame; returns what ends that. */
  run(callback: (shown: Shown) => void): () => void;
}

/** A WebSocket in the gateway's host mode: one speech after the other. */
export class HostConnection {
  /**
   * Connects, and resolves once audio may come. `url` is `.../v1/host`; `key` a client's key or session
   * token; `avatarId` left out is the gateway's choice; `sampleRate` (16000) is that of the audio.
   * Rejects with a FaceError; a browser does not tell why an upgrade was refused.
   */
  static open(url: string | URL, options?: { key?: string; avatarId?: string; sampleRate?: number }): Promise<HostConnection>;
  /** What the gateway has said: `connection_id`, `avatar_id`, `sample_rate`, `channels`. */
  readonly metadata: Record<string, unknown>;
  readonly isOpen: boolean;
  /** Begins a speech; one that is under way is interrupted. Throws a FaceError once it is closed. */
  speak(): SpokenSpeech;
  /** Ends the speech that is under way, at once. */
  interrupt(): void;
  /** Closes the connection, and so ends what is under way. */
  close(): void;
}

/**
 * Has a clip animated by `POST .../v1/animations`. The speech is there at once, its keyframes as they
 * come, and why it failed if it does: await `ready()` or `done()`.
 */
export function animate(
  url: string | URL,
  audio: BodyInit,
  options?: { key?: string; avatarId?: string; contentType?: string },
): Speech;

/** A message of the service. */
export type Message =
  | {
      kind: "animation";
      connectionId: string;
      reqId: string;
      avatarId: string;
      end: boolean;
      keyframes: Required<Keyframe>[];
    }
  | { kind: "error"; connectionId: string; reqId: string; code: number; message: string }
  | { kind: "other" };

/**
 * Reads one serialised `Message`, for those with a transport of their own. Keyframes have the time from
 * the message's beginning; values that are infinite or no numbers are 0. Throws a FaceError if it is
 * broken or larger than 4 MiB.
 */
export function decodeMessage(bytes: Uint8Array | ArrayBuffer): Message;

/** What went wrong, in one sentence. */
export class FaceError extends Error {
  constructor(message: string, options?: { code?: string; retryAfter?: number | null; cause?: unknown });
  /** The gateway's stable code, "" without one. */
  readonly code: string;
  /** Seconds after which the gateway asks to be tried again, or null. */
  readonly retryAfter: number | null;
}
