// The gateway's events as they come, over a connection that is made anew whenever it breaks.
//
// Not an EventSource: that sends no key.

const PATIENCE_MS = 5000; // without an event, of which one is due each second
const PAUSES_MS = [500, 1000, 2000, 5000]; // before each attempt after a failure; the last one ever after
const MOST_CHARACTERS = 8 * 1024 * 1024; // of one event

/** An answer that no further attempt would change. */
export class Refusal extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

export class Stream {
  #onEvent;
  #onTrouble;
  #attempt = null; // an AbortController

  /** Calls `onEvent(name, data)`, and `onTrouble(error)` when events stop; a `Refusal` ends it all. */
  constructor(onEvent, onTrouble) {
    this.#onEvent = onEvent;
    this.#onTrouble = onTrouble;
  }

  /** Begins anew, with this key or without one. */
  async open(key) {
    this.close();
    const mine = (this.#attempt = new AbortController());
    for (let failures = 0; ; ) {
      try {
        await this.#read(key, mine.signal, () => (failures = 0));
      } catch (error) {
        if (mine.signal.aborted) return;
        this.#onTrouble(error);
        if (error instanceof Refusal) return;
      }
      const pause = PAUSES_MS[Math.min(failures++, PAUSES_MS.length - 1)];
      await new Promise((go) => setTimeout(go, pause));
      if (mine.signal.aborted) return;
    }
  }

  close() {
    this.#attempt?.abort();
  }

  async #read(key, closed, onEvent) {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), PATIENCE_MS);
    try {
      const response = await fetch("v1/events", {
        headers: key ? { "X-Api-Key": key } : {},
        cache: "no-store",
        signal: AbortSignal.any([closed, silence.signal]),
      });
      if (!response.ok) throw await trouble(response);
      let text = "";
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) throw new Error("the gateway has closed the connection");
        text += value;
        if (text.length > MOST_CHARACTERS) throw new Error("the gateway sends no events");
        const events = text.split("\n\n");
        text = events.pop();
        for (const event of events) {
          clearTimeout(timer);
          timer = setTimeout(() => silence.abort(), PATIENCE_MS);
          const [, name, data] = event.match(/^event: (\w+)\ndata: (.*)$/);
          onEvent();
          this.#onEvent(name, JSON.parse(data));
        }
      }
    } finally {
      clearTimeout(timer);
    }
  }
}

/** What a refusal says, in its own words where it has some. */
export async function trouble(response) {
  let sentence = `the gateway answers ${response.status}`;
  try {
    const { detail } = await response.json();
    if (typeof detail === "string" && detail) sentence = detail;
  } catch {
    // no JSON: the status says it
  }
  const isFinal = response.status >= 400 && response.status < 500 && response.status !== 429;
  return isFinal ? new Refusal(response.status, sentence) : new Error(sentence);
}
