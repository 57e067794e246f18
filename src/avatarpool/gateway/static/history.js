// The last minutes as a chart: percentiles as steps, or counts as bars, slice by slice.

import { Plot } from "./plot.js";

const NICE = [1, 2, 5, 10];

/** The next number above that reads well: 1, 2 or 5 and zeros. */
function nice(number) {
  const unit = 10 ** Math.floor(Math.log10(number));
  return unit * NICE.find((factor) => factor * unit >= number * 0.9999);
}

export class HistoryChart extends Plot {
  #lines;
  #words;
  #least;
  #isBars;
  #series = null;
  #sliceSeconds = 5;

  /**
   * @param lines The series' names, which are those of their colours, too.
   * @param words Writes the scale's end.
   * @param least What the scale ends at, at least.
   */
  constructor(canvas, lines, { words, least, isBars = false }) {
    super(canvas);
    this.#lines = lines;
    this.#words = words;
    this.#least = least;
    this.#isBars = isBars;
    const theme = new MutationObserver(() => this.repaint());
    theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    this.repaint();
  }

  /** Draws series of equal lengths, the oldest slice first; returns whether there was anything. */
  show(series, sliceSeconds) {
    this.#series = series;
    this.#sliceSeconds = sliceSeconds;
    this.#draw();
    return this.#lines.some((line) => series[line].some((value) => value));
  }

  repaint() {
    super.repaint();
    this.#draw();
  }

  #draw() {
    const { pen, width, height } = this;
    pen.clearRect(0, 0, width, height);
    if (!this.#series) return;
    const values = this.#lines.flatMap((line) => this.#series[line]);
    const top = nice(Math.max(this.#least, ...values));
    const slices = this.#series[this.#lines[0]].length;
    this.#scale(top, slices);
    const x = (slice) => (slice / slices) * width;
    const floor = height - this.axis;
    const y = (value) => floor - (floor - this.axis) * (value / top); // above is the scale's end
    for (const line of this.#lines) {
      const draw = this.#isBars ? this.#bars : this.#steps;
      draw.call(this, line, x, y);
    }
  }

  /** Draws the time below, minute by minute, and what the full height is. */
  #scale(top, slices) {
    const { pen, width, height, axis } = this;
    const floor = height - axis;
    const minute = (60 / this.#sliceSeconds / slices) * width;
    pen.font = this.font;
    pen.textBaseline = "middle";
    pen.fillStyle = this.color("line");
    pen.fillRect(0, floor, width, this.lineWidth / 2);
    pen.fillRect(0, axis, width, this.lineWidth / 4);
    for (let ago = 1; ago * minute < width + 1; ago++) {
      pen.fillStyle = this.color("line");
      pen.fillRect(width - ago * minute, floor, this.lineWidth / 2, axis);
      pen.fillStyle = this.color("quiet");
      pen.fillText(`\u2212${ago} min`, width - ago * minute + 0.3 * axis, floor + axis / 2);
    }
    pen.fillStyle = this.color("quiet");
    pen.fillText(this.#words(top), 0.4 * axis, axis / 2);
  }

  /** Draws a step for each slice, which is what its percentile tells of. */
  #steps(line, x, y) {
    const { pen } = this;
    pen.strokeStyle = this.color(line);
    pen.lineWidth = 1.4 * this.lineWidth;
    pen.lineJoin = "round";
    pen.beginPath();
    let isDown = false;
    this.#series[line].forEach((value, slice) => {
      if (value !== null) {
        pen[isDown ? "lineTo" : "moveTo"](x(slice), y(value));
        pen.lineTo(x(slice + 1), y(value));
      }
      isDown = value !== null;
    });
    pen.stroke();
  }

  #bars(line, x, y) {
    const { pen, lineWidth } = this;
    pen.fillStyle = this.color(line);
    this.#series[line].forEach((value, slice) => {
      const gap = Math.min(lineWidth, (x(1) - x(0)) / 4);
      pen.fillRect(x(slice) + gap / 2, y(value), x(1) - x(0) - gap, y(0) - y(value));
    });
  }
}
