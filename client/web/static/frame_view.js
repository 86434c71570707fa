// A plate's frame to zoom and pan in, with layers drawn over it, and the source of its pictures.
//
// Coordinates are plate pixels from the top left of the display window, as in every call.

import * as api from "./api.js";
import { el } from "./dom.js";

const PROXY = 800;
const STILL_MILLISECONDS = 180;
const SHARP_MILLISECONDS = 300;
const KEPT_BYTES = 400 << 20;
const PLATE = -1; // the size that asks for all plate pixels

export class FrameView {
  /** The element it lives in. */
  host;
  #picture = el("canvas.picture");
  #overlay = el("canvas.overlay");
  #message = el("div.view-message");
  #bitmap = null;
  #frame = null; // {plate: [w, h], pixel_aspect, rect}
  #scale = 1; // CSS pixels per plate line
  #origin = [0, 0]; // of the plate, in CSS pixels of the view
  #fitted = true;
  #drawing = 0;
  #gamma;
  #space = false;
  #pan = null;
  /** Functions (context, view) that draw in plate pixels; `view.unit` is one CSS pixel. */
  layers = [];
  /** Hears {type: "down" | "move" | "up" | "leave", x, y, button, alt, shift, event}. */
  onPointer = () => {};
  /** Hears that zoom or position have changed. */
  onView = () => {};

  constructor(host) {
    this.host = host;
    host.classList.add("frame-view");
    this.#gamma = filter(host);
    host.append(this.#picture, this.#overlay, this.#message);
    new ResizeObserver(() => this.#resized()).observe(host);
    const top = this.#overlay;
    top.tabIndex = 0;
    top.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    top.addEventListener("contextmenu", (event) => event.preventDefault());
    top.addEventListener("auxclick", (event) => event.preventDefault());
    top.addEventListener("pointerdown", (event) => this.#down(event));
    top.addEventListener("pointermove", (event) => this.#move(event));
    top.addEventListener("pointerup", (event) => this.#up(event));
    top.addEventListener("pointercancel", (event) => this.#up(event));
    top.addEventListener("pointerleave", (event) => this.#tell("leave", event));
    addEventListener("keydown", (event) => this.#held(event, true));
    addEventListener("keyup", (event) => this.#held(event, false));
    addEventListener("blur", () => (this.#space = false));
  }

  /** Show a picture of a frame: an ImageBitmap and what lies where (X-Segmatte-Frame). */
  show(bitmap, frame) {
    const before = this.#frame;
    this.#bitmap = bitmap;
    this.#frame = frame;
    if (!before || before.plate.join() !== frame.plate.join() || this.#fitted) this.fit();
    this.redraw();
  }

  /** Show nothing but a sentence (with `title`, as an empty or error state); null takes it away. */
  say(text, { title = "", kind = "" } = {}) {
    this.#message.className = `view-message ${kind}`;
    this.#message.replaceChildren(...(text === null ? [] : [title ? el("h2", {}, title) : "", el("p", {}, text)]));
  }

  /** What is shown: {plate, pixel_aspect, rect, width, height} or null. */
  get frame() {
    return this.#frame;
  }

  /** CSS pixels per plate line. */
  get scale() {
    return this.#scale;
  }

  /** Whether the screen could show more pixels of the plate than the picture has. */
  get isCoarse() {
    if (!this.#bitmap) return false;
    const width = this.#frame.rect[2] * this.#frame.pixel_aspect;
    return this.#bitmap.width < width - 1 && this.#bitmap.width < width * this.#scale * devicePixelRatio;
  }

  clear() {
    this.#bitmap = this.#frame = null;
    this.redraw();
  }

  fit() {
    if (!this.#frame) return;
    const [w, h] = this.#size();
    const [width, height] = this.#frame.plate;
    const aspect = this.#frame.pixel_aspect;
    this.#scale = Math.min((w - 16) / (width * aspect), (h - 16) / height);
    this.#origin = [(w - width * aspect * this.#scale) / 2, (h - height * this.#scale) / 2];
    this.#fitted = true;
    this.redraw();
  }

  /** Zoom by a factor around a point of the view (CSS pixels; default its middle). */
  zoom(factor, at = this.#size().map((v) => v / 2)) {
    if (!this.#frame) return;
    const scale = Math.min(64, Math.max(0.02, this.#scale * factor));
    this.#origin = this.#origin.map((v, i) => at[i] - ((at[i] - v) * scale) / this.#scale);
    this.#scale = scale;
    this.#fitted = false;
    this.redraw();
  }

  /** One plate pixel as one pixel of the screen. */
  actual() {
    this.zoom(1 / devicePixelRatio / this.#scale);
  }

  /** Exposure in stops and gamma of the shown picture alone; models see the plate as it is. */
  grade(stops, gamma) {
    this.#picture.style.filter = stops === 0 && gamma === 1 ? "" : this.#gamma(stops, gamma);
  }

  /** Where plate pixels lie in the window, in CSS pixels. */
  toWindow(x, y) {
    const box = this.#overlay.getBoundingClientRect();
    const aspect = this.#frame.pixel_aspect;
    return [box.left + this.#origin[0] + x * this.#scale * aspect, box.top + this.#origin[1] + y * this.#scale];
  }

  redraw() {
    this.#drawing ||= requestAnimationFrame(() => this.#draw());
  }

  set cursor(name) {
    this.#overlay.style.cursor = name;
  }

  #size() {
    return [this.host.clientWidth, this.host.clientHeight];
  }

  #resized() {
    for (const canvas of [this.#picture, this.#overlay]) {
      canvas.width = Math.max(1, Math.round(this.host.clientWidth * devicePixelRatio));
      canvas.height = Math.max(1, Math.round(this.host.clientHeight * devicePixelRatio));
    }
    if (this.#fitted) this.fit();
    // At once: a resized canvas is empty until it is drawn, which would flicker.
    this.#draw();
  }

  #draw() {
    cancelAnimationFrame(this.#drawing);
    this.#drawing = 0;
    const [below, above] = [this.#picture.getContext("2d"), this.#overlay.getContext("2d")];
    for (const context of [below, above]) {
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, this.#picture.width, this.#picture.height);
    }
    if (!this.#frame || !this.#bitmap) return;
    const ratio = devicePixelRatio;
    const aspect = this.#frame.pixel_aspect;
    for (const context of [below, above]) {
      context.setTransform(this.#scale * aspect * ratio, 0, 0, this.#scale * ratio, this.#origin[0] * ratio, this.#origin[1] * ratio);
    }
    const [x, y, w, h] = this.#frame.rect;
    below.imageSmoothingEnabled = (this.#scale * w) / this.#bitmap.width < 3;
    below.imageSmoothingQuality = "high";
    below.drawImage(this.#bitmap, x, y, w, h);
    const view = { unit: 1 / this.#scale, aspect, frame: this.#frame };
    for (const layer of this.layers) {
      above.save();
      layer(above, view);
      above.restore();
    }
    this.onView();
  }

  #at(event) {
    const box = this.#overlay.getBoundingClientRect();
    const aspect = this.#frame?.pixel_aspect ?? 1;
    return [(event.clientX - box.left - this.#origin[0]) / (this.#scale * aspect), (event.clientY - box.top - this.#origin[1]) / this.#scale];
  }

  #tell(type, event) {
    if (!this.#frame) return;
    const [x, y] = this.#at(event);
    this.onPointer({ type, x, y, button: event.button, alt: event.altKey, shift: event.shiftKey, event });
  }

  #wheel(event) {
    event.preventDefault();
    const box = this.#overlay.getBoundingClientRect();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.zoom(Math.exp(-event.deltaY * lines * 0.0016), [event.clientX - box.left, event.clientY - box.top]);
  }

  #down(event) {
    this.#overlay.focus({ preventScroll: true });
    this.#overlay.setPointerCapture(event.pointerId);
    if (event.button === 1 || this.#space) {
      event.preventDefault();
      this.#pan = [event.clientX, event.clientY];
    } else this.#tell("down", event);
  }

  #move(event) {
    if (!this.#pan) return this.#tell("move", event);
    this.#origin = [this.#origin[0] + event.clientX - this.#pan[0], this.#origin[1] + event.clientY - this.#pan[1]];
    this.#pan = [event.clientX, event.clientY];
    this.#fitted = false;
    this.redraw();
  }

  #up(event) {
    if (this.#pan) this.#pan = null;
    else this.#tell("up", event);
  }

  #held(event, down) {
    if (event.key !== " " || event.target.closest?.("input, textarea, select, button, dialog")) return;
    event.preventDefault();
    this.#space = down;
  }
}

/** Pictures of a plate: at once as a proxy, as the models see it once the frame stays, in all plate
 * pixels where somebody looks that close (`sharpen`). */
export class FrameSource {
  #plate;
  #options;
  #kept = new Map();
  #wanted = null;
  #loading = null;
  #still = 0;
  #sharp = 0;
  #bytes = 0;
  /** Hears ({bitmap, frame, number, full}) for the frame wanted last. */
  onPicture = () => {};
  /** Hears (number, error). */
  onError = () => {};

  constructor(plate, options = {}) {
    this.#plate = plate;
    this.#options = options;
  }

  /** Show this frame as soon as it is there; what was wanted before and has not come is dropped. */
  want(number) {
    this.#wanted = number;
    clearTimeout(this.#still);
    clearTimeout(this.#sharp);
    this.#sharp = 0;
    const full = this.#kept.get(`${number} ${PLATE}`) ?? this.#kept.get(`${number} 0`);
    if (full) return this.onPicture({ ...full, number, full: true });
    const proxy = this.#kept.get(`${number} ${PROXY}`);
    if (proxy) this.onPicture({ ...proxy, number, full: false });
    else this.#next();
    this.#still = setTimeout(() => this.#full(number), STILL_MILLISECONDS);
  }

  /** Get all plate pixels of the wanted frame, if `needed` lasts. */
  sharpen(needed) {
    if (needed === this.#sharp > 0) return;
    // First comes the usual picture, which may well be fine enough.
    if (needed && !this.#kept.has(`${this.#wanted} 0`)) return;
    clearTimeout(this.#sharp);
    this.#sharp = needed ? setTimeout(() => this.#full(this.#wanted, PLATE), SHARP_MILLISECONDS) : 0;
  }

  /** One picture: {bitmap, frame}; `size` 0 is what the models see. */
  async load(number, size = PROXY, signal = undefined) {
    const name = `${number} ${size}`;
    const kept = this.#kept.get(name);
    if (kept) return kept;
    const response = await api.getRaw("/api/picture", { plate: this.#plate, options: this.#options, frame: number, size }, { signal });
    const frame = JSON.parse(response.headers.get("X-Segmatte-Frame"));
    const found = { bitmap: await createImageBitmap(await response.blob()), frame };
    this.#kept.set(name, found);
    this.#bytes += bytes(found);
    while (this.#bytes > KEPT_BYTES && this.#kept.size > 1) {
      const [oldest, picture] = this.#kept.entries().next().value;
      this.#kept.delete(oldest);
      this.#bytes -= bytes(picture);
    }
    return found;
  }

  stop() {
    this.#wanted = null;
    clearTimeout(this.#still);
    clearTimeout(this.#sharp);
  }

  // One proxy is on its way at a time; when it arrives, what is wanted by then is asked for next.
  async #next() {
    if (this.#loading !== null) return;
    const number = (this.#loading = this.#wanted);
    let failed = null;
    try {
      const found = await this.load(number);
      if (this.#wanted !== null) this.onPicture({ ...found, number, full: false });
    } catch (error) {
      failed = error;
    }
    this.#loading = null;
    if (this.#wanted === null) return;
    if (this.#wanted !== number) this.#next();
    else if (failed) this.onError(number, failed);
  }

  async #full(number, size = 0) {
    try {
      const found = await this.load(number, size);
      if (this.#wanted === number) this.onPicture({ ...found, number, full: true });
    } catch {
      // The proxy's failure has been told.
    }
  }
}

/** A grey picture (data address) as a canvas in one colour: filled softly, with a firm outline. */
export async function tinted(address, colour, { fill = 0.42, outline = true } = {}) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = el("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { width, height } = canvas;
  const pixels = context.getImageData(0, 0, width, height);
  const grey = new Uint8Array(width * height);
  for (let i = 0; i < grey.length; i++) grey[i] = pixels.data[i * 4];
  paint(pixels, (i) => (grey[i] >= 128 ? 1 : 0), grey, () => colour, { fill, outline, width });
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** Colour an ImageData by labels: `label(i)` (0 = nothing), soft `level[i]` and `colourOf(label)`. */
export function paint(pixels, label, level, colourOf, { fill, outline, width }) {
  const data = pixels.data;
  const colours = new Map();
  for (let i = 0; i < level.length; i++) {
    const own = label(i);
    const at = i * 4;
    if (!own) {
      data[at + 3] = 0;
      continue;
    }
    if (!colours.has(own)) colours.set(own, rgb(colourOf(own)));
    const [r, g, b] = colours.get(own);
    const x = i % width;
    const edge = outline && level[i] >= 128 && (inside(i - 1, x > 0) || inside(i + 1, x < width - 1) || inside(i - width, i >= width) || inside(i + width, i + width < level.length));
    data[at] = r;
    data[at + 1] = g;
    data[at + 2] = b;
    data[at + 3] = edge ? 255 : Math.round(level[i] * fill);

    function inside(j, exists) {
      return exists && (label(j) !== own || level[j] < 128);
    }
  }
}

/** [r, g, b] of "#rrggbb". */
export function rgb(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

const bytes = ({ bitmap }) => bitmap.width * bitmap.height * 4;

function filter(host) {
  const space = "http://www.w3.org/2000/svg";
  const make = (tag, attributes, parent) => {
    const node = document.createElementNS(space, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    parent.append(node);
    return node;
  };
  const id = `grade-${Math.random().toString(36).slice(2)}`;
  const svg = make("svg", { width: 0, height: 0, class: "hidden-filter", "aria-hidden": "true" }, host);
  const box = make("filter", { id, "color-interpolation-filters": "sRGB", x: 0, y: 0, width: 1, height: 1 }, svg);
  const transfer = make("feComponentTransfer", {}, box);
  const parts = ["R", "G", "B"].map((c) => make(`feFunc${c}`, { type: "gamma", amplitude: 1, exponent: 1, offset: 0 }, transfer));
  return (stops, gamma) => {
    for (const part of parts) {
      part.setAttribute("amplitude", String(2 ** (stops / 2.2 / gamma)));
      part.setAttribute("exponent", String(1 / gamma));
    }
    return `url(#${id})`;
  };
}
