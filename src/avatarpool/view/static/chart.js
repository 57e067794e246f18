// A strip chart: at most six seconds of jaw, lids and loudness around what is heard now.

import { Plot } from "./plot.js";
import { FRAMES_PER_SECOND } from "./speech.js";

const NARROWEST = 2; // seconds
export const WIDEST = 6;
const HEARD = 2 / 3; // the share of a moving window that was heard already
// Each curve's share of the height, from the bottom.
const CURVES = [
  { name: "loudness", isFilled: true, value: ({ loudness_db }) => Math.max(0, 1 + loudness_db / 60) },
  { name: "lids", value: ({ lids }) => lids },
  { name: "jaw", value: ({ jaw_rad }) => jaw_rad / 0.25 },
];

export class Chart extends Plot {
  #last = [[], 0, 0];

  constructor(canvas) {
    super(canvas);
    this.repaint();
  }

  /** Draws anew, in the theme's colours and the element's size. */
  repaint() {
    super.repaint();
    this.draw(...this.#last);
  }

  draw(frames, time, duration) {
    this.#last = [frames, time, duration];
    const { width, height, pen } = this;
    const length = duration || frames.length / FRAMES_PER_SECOND || WIDEST;
    const span = Math.min(WIDEST, Math.max(NARROWEST, length));
    const from = Math.max(0, Math.min(length - span, time - HEARD * span));
    const x = (seconds) => ((seconds - from) / span) * width;
    pen.clearRect(0, 0, width, height);
    pen.lineWidth = this.lineWidth;
    this.#seconds(from, span, x);
    if (!frames.length) return;
    pen.lineJoin = "round";
    const first = Math.max(0, Math.floor(from * FRAMES_PER_SECOND) - 1);
    const shown = frames.slice(first, first + span * FRAMES_PER_SECOND + 3);
    const middle = (i) => x((first + i + 0.5) / FRAMES_PER_SECOND);
    for (const curve of CURVES) this.#curve(curve, shown, middle);
    pen.fillStyle = this.color("card");
    pen.globalAlpha = 0.6; // what is still to be heard is pale
    pen.fillRect(x(time), 0, width, height - this.axis);
    pen.globalAlpha = 1;
    pen.fillStyle = this.color("ink");
    pen.fillRect(x(time) - pen.lineWidth / 2, 0, pen.lineWidth, height - this.axis);
  }

  /** Draws the axis of time, below the curves. */
  #seconds(from, span, x) {
    const { width, height, pen } = this;
    const top = height - this.axis;
    pen.font = this.font;
    pen.textBaseline = "middle";
    pen.fillStyle = this.color("line");
    pen.fillRect(0, top, width, pen.lineWidth / 2);
    for (let second = Math.ceil(from); second < from + span; second++) {
      pen.fillStyle = this.color("line");
      pen.fillRect(x(second), top, pen.lineWidth / 2, this.axis);
      pen.fillStyle = this.color("quiet");
      pen.fillText(`${second} s`, x(second) + 0.3 * this.axis, top + this.axis / 2);
    }
  }

  #curve({ name, isFilled, value }, shown, middle) {
    const pen = this.pen;
    const height = this.height - this.axis;
    const y = (share) => height * (0.97 - 0.9 * Math.min(1, share));
    pen.beginPath();
    shown.forEach((frame, i) => pen.lineTo(middle(i), y(value(frame))));
    if (isFilled) {
      pen.lineTo(middle(shown.length - 1), y(0));
      pen.lineTo(middle(0), y(0));
      pen.fillStyle = this.color(name);
      pen.globalAlpha = 0.35;
      pen.fill();
      pen.globalAlpha = 1;
    } else {
      pen.strokeStyle = this.color(name);
      pen.stroke();
    }
  }
}
