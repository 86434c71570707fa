// Pointer events on a frame as clicks and boxes, in plate pixels.

const DRAG_PIXELS = 5;

export class Gestures {
  #drag = null; // {from, start, negative, shift, box}
  #view;
  /** Whether a drag makes a box. */
  takesBoxes = () => true;
  /** Hears ([x, y], {negative, shift}) of a click on the plate. */
  onClick = () => {};
  /** Hears [x0, y0, x1, y1] of a drag. */
  onBox = () => {};

  constructor(view) {
    this.#view = view;
  }

  /** The box that is being dragged, or null. */
  get box() {
    return this.#drag?.box ?? null;
  }

  /** Take an event of the view. */
  take({ type, x, y, button, alt, shift, event }) {
    if (type === "down") this.#drag = { from: [x, y], start: [event.clientX, event.clientY], negative: button === 2 || alt, shift, box: null };
    const drag = this.#drag;
    if (!drag) return;
    if (type === "move") {
      const far = Math.hypot(event.clientX - drag.start[0], event.clientY - drag.start[1]) > DRAG_PIXELS;
      if ((far || drag.box) && !drag.negative && this.takesBoxes()) {
        drag.box = this.#between(drag.from, [x, y]);
        this.#view.redraw();
      }
    }
    if (type === "up") {
      this.#drag = null;
      const { box } = drag;
      if (!box) this.#click(drag);
      else if (box[2] - box[0] >= 1 && box[3] - box[1] >= 1) this.onBox(box);
      this.#view.redraw();
    }
  }

  #click({ from: [x, y], negative, shift }) {
    const [w, h] = this.#view.frame.plate;
    if (x >= 0 && y >= 0 && x < w && y < h) this.onClick([x, y], { negative, shift });
  }

  /** The box between two points, inside the plate. */
  #between([ax, ay], [bx, by]) {
    const [w, h] = this.#view.frame.plate;
    const inside = (v, most) => Math.min(most, Math.max(0, v));
    return [inside(Math.min(ax, bx), w), inside(Math.min(ay, by), h), inside(Math.max(ax, bx), w), inside(Math.max(ay, by), h)];
  }
}

/** Put a click into a prompt; with `shift` take the nearest one away, the box when there is none. */
export function clickInto(prompt, [x, y], { negative, shift }) {
  if (!shift) return void prompt.points.push({ x: round(x), y: round(y), positive: !negative });
  const distance = (p) => Math.hypot(p.x - x, p.y - y);
  const nearest = [...prompt.points].sort((a, b) => distance(a) - distance(b))[0];
  prompt.points = prompt.points.filter((p) => p !== nearest);
  if (!nearest) prompt.box = null;
}

const round = (v) => Math.round(v * 100) / 100;
