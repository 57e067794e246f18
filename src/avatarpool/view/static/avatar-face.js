// <avatar-face>: draws rig.json, by the rules that face.py tells. Set `pose` to move it.

import { local } from "./face/arkit.js";

const rig = await (await fetch(new URL("rig.json", import.meta.url))).json();
const NAME = /-?[a-zA-Z]\w+/g; // of a point; a path's own commands have one letter
let faces = 0;

function element(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Returns the face's parameters in a keyframe. */
export function poseOf(keyframe) {
  const pose = {};
  for (const [name, { of, range: [low, high] }] of Object.entries(rig.parameters)) {
    let value = 0;
    for (const [field, place, factor] of of) {
      const index = field === "expression" ? local.coefficients.indexOf(place) : place;
      value += factor * (keyframe[field]?.[index] ?? 0);
    }
    pose[name] = Math.min(high, Math.max(low, value));
  }
  return pose;
}

/** Returns the function that says, as path data, where a point is in this pose. */
function placing(pose) {
  const { yaw = 0, pitch = 0, tilt = 0 } = pose;
  const known = new Map(); // most points are named several times
  return function place(name, isMirrored) {
    if (name.startsWith("-")) return place(name.slice(1), !isMirrored);
    const key = isMirrored ? `-${name}` : name;
    let placed = known.get(key);
    if (placed === undefined) known.set(key, (placed = placeAnew(name, isMirrored)));
    return placed;
  };

  function placeAnew(name, isMirrored) {
    const { at, head = 1, ...moves } = rig.points[name];
    let [x, y, depth] = at;
    const side = isMirrored ? "Right" : "Left";
    for (const [parameter, [right, down]] of Object.entries(moves)) {
      const value = pose[parameter] ?? pose[parameter + side] ?? 0;
      x += value * right;
      y += value * down;
    }
    if (isMirrored) x = -x;
    const turnedX = x + head * (yaw * depth + tilt * (y - rig.neckY));
    const turnedY = y + head * (pitch * depth - tilt * x);
    return `${turnedX.toFixed(2)} ${turnedY.toFixed(2)}`;
  }
}

/** The drawing of one element: made once, its outlines renewed for each pose. */
class Drawing {
  #outlines = []; // [path element, outline with names, whether mirrored]
  #prefix = `face${++faces}`; // ids are the document's in older browsers

  constructor() {
    const gradients = Object.entries(rig.paints).map(([name, paint]) => this.#gradient(name, paint));
    const clips = Object.entries(rig.clips).flatMap(([name, clip]) =>
      this.#paths(clip, (side) => [element("clipPath", { id: this.#clipId(name, side) }), {}]));
    const shapes = rig.shapes.flatMap((shape) =>
      this.#paths(shape, (side) => [null, this.#attributes(shape, side)]));
    this.svg = element("svg", { viewBox: rig.viewBox.join(" "), "aria-hidden": "true" },
      element("defs", {}, ...gradients, ...clips), ...shapes);
  }

  show(pose) {
    const place = placing(pose);
    for (const [path, outline, isMirrored] of this.#outlines) {
      path.setAttribute("d", outline.replace(NAME, (name) => place(name, isMirrored)));
    }
  }

  #paths(shape, wrapping) {
    return (shape.mirror ? [false, true] : [false]).map((isMirrored) => {
      const [wrap, attributes] = wrapping(isMirrored);
      const path = element("path", attributes);
      this.#outlines.push([path, shape.d, isMirrored]);
      wrap?.append(path);
      return wrap ?? path;
    });
  }

  #gradient(name, { kind, stops, ...where }) {
    return element(`${kind}Gradient`, { id: `${this.#prefix}-${name}`, ...where },
      ...stops.map(([offset, color, opacity]) =>
        element("stop", { offset, "stop-color": color, "stop-opacity": opacity })));
  }

  #attributes({ d, clip, mirror, ...attributes }, isMirrored) {
    if (attributes.fill in rig.paints) attributes.fill = `url(#${this.#prefix}-${attributes.fill})`;
    if (clip) attributes["clip-path"] = `url(#${this.#clipId(clip, isMirrored)})`;
    return attributes;
  }

  #clipId(name, isMirrored) {
    const suffix = isMirrored && rig.clips[name].mirror ? "-mirrored" : "";
    return `${this.#prefix}-in-${name}${suffix}`;
  }
}

/** The face: `pose` is an object of the rig's parameters; one that is left out is 0. */
class AvatarFace extends HTMLElement {
  #drawing = new Drawing();
  #pose = {};

  constructor() {
    super();
    const style = new CSSStyleSheet(); // a <style> would need an exception in the page's policy
    style.replaceSync(":host { display: block } svg { display: block; width: 100%; height: 100% }");
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [style];
    root.append(this.#drawing.svg);
    this.#drawing.show({});
  }

  connectedCallback() {
    if (!this.hasAttribute("role")) this.setAttribute("role", "img");
    if (!this.hasAttribute("aria-label")) this.setAttribute("aria-label", "A face");
  }

  get pose() {
    return this.#pose;
  }

  set pose(pose) {
    this.#pose = pose;
    this.#drawing.show(pose);
  }
}

customElements.define("avatar-face", AvatarFace);
