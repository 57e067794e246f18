// How loud the microphone is: a bar, a number with a word, and the time.

const PIECES_PER_SECOND = 25;
const HOLD = 12; // pieces, half a second, for which numbers stand still to be read
const FALL = 1.5; // dB a piece

export class Meter {
  #bar;
  #text;
  #clock;
  #stillness;
  #peak = -100; // since the numbers were told
  #shown = -100;
  #pieces = 0;

  /** Shows a level in a `<meter>` and in words, and the seconds heard; steadier with less motion. */
  constructor(bar, text, clock, stillness) {
    [this.#bar, this.#text, this.#clock, this.#stillness] = [bar, text, clock, stillness];
  }

  begin(longest) {
    this.longest = longest; // seconds
    this.#pieces = 0;
    this.#peak = this.#shown = -100;
    this.#bar.value = this.#bar.min;
    this.#bar.setAttribute("aria-valuetext", (this.#text.textContent = "nothing yet"));
    this.#clock.textContent = `0:00 of ${time(longest)}`;
  }

  /** Takes the level of the next piece, in dB of full scale. */
  show(level_db) {
    this.#peak = Math.max(this.#peak, level_db);
    this.#shown = Math.max(level_db, this.#shown - FALL);
    const isTold = this.#pieces++ % HOLD === 0;
    if (isTold || !this.#stillness.matches) {
      this.#bar.value = this.#stillness.matches ? this.#peak : this.#shown;
    }
    if (!isTold) return;
    this.#bar.setAttribute("aria-valuetext", (this.#text.textContent = words(this.#peak)));
    this.#clock.textContent = `${time(this.#pieces / PIECES_PER_SECOND)} of ${time(this.longest)}`;
    this.#peak = -100;
  }
}

function words(level_db) {
  if (level_db < -60) return "nothing is heard";
  const word = level_db < -45 ? "very quiet" : level_db > -6 ? "too loud" : "good";
  return `${Math.round(level_db)} dB, ${word}`.replace("-", "\u2212");
}

function time(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
