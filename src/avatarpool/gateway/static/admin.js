// The admin key, which this module alone has, and what it allows.

import { trouble } from "./stream.js";
import { sentence } from "./words.js";

const at = (id) => document.getElementById(id);
const DONE = {
  pause: "Paused: new requests are refused until you resume.",
  resume: "Resumed.",
  drain: "Every session is replaced as it comes free.",
  resize: "Resized.",
};

export class Administration {
  #key = "";
  #onKey;

  /** Calls `onKey(key)` with one that was entered, and with an empty one when it is forgotten. */
  constructor(onKey) {
    this.#onKey = onKey;
    at("entry").addEventListener("submit", (event) => {
      event.preventDefault();
      const key = at("key").value.trim();
      at("key").value = "";
      if (!/^[!-~]+$/.test(key)) {
        this.#say("That is no key: it has letters, digits and signs, and no spaces.", true);
        return; // no header could carry it
      }
      this.#key = key;
      this.#say("Trying the key…");
      onKey(key);
    });
    at("forget").addEventListener("click", () => {
      this.#key = "";
      this.#show(false);
      this.#say("Forgotten.");
      at("key").focus();
      onKey("");
    });
    for (const verb of ["pause", "resume", "drain"]) {
      at(verb).addEventListener("click", () => this.#do(verb));
    }
    at("resize").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#do("resize", { sessions: at("size").valueAsNumber });
    });
  }

  /** Whether a key is tried or in use. */
  get hasKey() {
    return this.#key !== "";
  }

  /** Offers what the gateway says that may be done. */
  allow({ may_administer, has_admin_key }) {
    at("admin").hidden = !(may_administer || has_admin_key);
    if (this.#key && !may_administer) {
      this.refuse();
      return;
    }
    if (this.#key && at("verbs").hidden) {
      this.#show(true);
      this.#say("The key is good.");
      at("pause").focus();
      return;
    }
    this.#show(may_administer);
  }

  /** Asks for the key, without which nothing is to be seen; one that was tried was wrong. */
  refuse() {
    at("admin").hidden = false;
    this.#show(false);
    if (!this.#key) return;
    this.#key = "";
    this.#say("That is not the admin key.", true);
    at("key").focus();
    this.#onKey("");
  }

  #show(isAllowed) {
    at("verbs").hidden = !isAllowed;
    at("entry").hidden = isAllowed;
    at("forget").hidden = !this.#key;
  }

  async #do(verb, told) {
    this.#say("…");
    try {
      const response = await fetch(`v1/admin/${verb}`, {
        method: "POST",
        headers: {
          ...(this.#key && { "X-Api-Key": this.#key }),
          ...(told && { "Content-Type": "application/json" }),
        },
        body: told && JSON.stringify(told),
      });
      if (!response.ok) throw await trouble(response);
      this.#say(DONE[verb]);
    } catch (error) {
      const text = error instanceof TypeError ? "the gateway does not answer" : error.message;
      this.#say(sentence(text), true);
    }
  }

  #say(text, isProblem = false) {
    at("said").textContent = text;
    at("said").classList.toggle("problem", isProblem);
  }
}
