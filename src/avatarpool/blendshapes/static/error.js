// What went wrong, in one sentence.

export class FaceError extends Error {
  name = "FaceError";

  /** `code` is the gateway's, "" without one; `retryAfter` the seconds it asks for, or null. */
  constructor(message, { code = "", retryAfter = null, ...options } = {}) {
    super(message, options);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

const text = (value, most) => (typeof value === "string" ? value.slice(0, most) : "");

/** Makes the error that a problem or an error of the gateway's describes: an object, or anything. */
export function errorOf(told, otherwise) {
  const { detail, error, code, retry_after: wait } = told ?? {};
  return new FaceError(text(detail ?? error, 500) || otherwise, {
    code: text(code, 100),
    retryAfter: Number.isFinite(wait) && wait >= 0 ? wait : null,
  });
}
