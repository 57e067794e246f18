// A clip's animation over plain HTTP: `POST /v1/animations`.

import { errorOf, FaceError } from "./error.js";
import { Speech } from "./speech.js";
import { decodeMessage, Pieces } from "./wire.js";

const CUT_OFF = "the animation was cut off: try again";

/** Has a clip animated; the speech is there at once, and its keyframes as they come. */
export function animate(url, audio, { key = "", avatarId = "", contentType = "" } = {}) {
  const abort = new AbortController();
  const speech = new Speech(() => abort.abort());
  const address = new URL(url, location.href);
  if (avatarId) address.searchParams.set("avatar", avatarId);
  const headers = { Accept: "application/vnd.avatarpool.messages" };
  if (key) headers["X-Api-Key"] = key;
  if (contentType) headers["Content-Type"] = contentType;
  follow(speech, address, { method: "POST", body: audio, headers, signal: abort.signal }).catch((error) => {
    const why = error instanceof FaceError ? error : new FaceError(CUT_OFF, { cause: error });
    speech.fail(why); // whose interrupt ended it has it no more
  });
  return speech;
}

async function follow(speech, address, request) {
  let response;
  try {
    response = await fetch(address, request);
  } catch (error) {
    throw new FaceError("the gateway cannot be reached, or does not let this page", { cause: error });
  }
  if (!response.ok) throw await refusal(response);
  const [pieces, reader] = [new Pieces(), response.body.getReader()];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new FaceError(CUT_OFF);
    for (const bytes of pieces.take(value)) {
      const message = decodeMessage(bytes);
      if (message.kind === "error") throw new FaceError(message.message.slice(0, 500) || "the service failed");
      if (message.kind !== "animation") continue;
      speech.take(message.keyframes);
      if (message.end) return speech.end();
    }
  }
}

async function refusal(response) {
  const problem = await response.json().catch(() => null);
  const error = errorOf(problem, `the gateway answered ${response.status}`);
  const wait = Number(response.headers.get("Retry-After") ?? NaN);
  return new FaceError(error.message, { code: error.code, retryAfter: wait >= 0 ? wait : null });
}
