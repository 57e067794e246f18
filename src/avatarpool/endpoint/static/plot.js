// A canvas for charts: as sharp as the screen, in the theme's colours, with the page's text.

export class Plot {
  lineWidth = 1;
  axis = 0; // the height that is kept for text below the curves
  font = "";
  #canvas;
  #style;

  /** Has `repaint` called whenever the element's size changes; who extends it draws there. */
  constructor(canvas) {
    this.#canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.#style = getComputedStyle(canvas); // which goes with the theme
    new ResizeObserver(() => this.repaint()).observe(canvas);
  }

  get width() {
    return this.#canvas.width;
  }

  get height() {
    return this.#canvas.height;
  }

  /** The theme's colour of that name. */
  color(name) {
    return this.#style.getPropertyValue(`--${name}`);
  }

  /** Takes the element's size, and is empty then. */
  repaint() {
    const size = parseFloat(this.#style.fontSize) * devicePixelRatio;
    this.lineWidth = 0.12 * size;
    this.axis = 1.5 * size;
    this.font = `${0.75 * size}px ${this.#style.fontFamily}`;
    this.#canvas.width = this.#canvas.clientWidth * devicePixelRatio;
    this.#canvas.height = this.#canvas.clientHeight * devicePixelRatio;
  }
}
