// What is drawn over a frame: prompts, and the masks that answer them, in plate pixels.

import { tinted } from "../frame_view.js";

const GOOD = "#35e07f";
const BAD = "#ff5148";

/** A mask {data, rect} in a colour; `again` is called once it can be drawn. */
export function drawMask(context, mask, colour, { fill }, again) {
  const name = `${colour} ${fill}`;
  const canvas = (mask.canvases ??= new Map()).get(name);
  if (canvas) return void context.drawImage(canvas, ...mask.rect);
  tinted(mask.data, colour, { fill }).then((made) => {
    mask.canvases.set(name, made);
    again();
  });
}

/** Clicks and box of a prompt; `strong` for the one that is worked on. */
export function drawPrompt(context, view, prompt, colour, { strong }) {
  if (!prompt) return;
  context.globalAlpha = strong ? 1 : 0.5;
  if (prompt.box) rectangle(context, view, prompt.box, colour);
  for (const point of prompt.points) dot(context, view, point, strong);
  context.globalAlpha = 1;
}

/** A box that is being dragged. */
export function drawDragged(context, view, box) {
  rectangle(context, view, box, "#ffffff", [5 * view.unit, 4 * view.unit]);
}

function dot(context, { unit, aspect }, { x, y, positive }, strong) {
  const radius = (strong ? 5.5 : 4) * unit;
  context.beginPath();
  context.ellipse(x, y, radius / aspect, radius, 0, 0, 2 * Math.PI);
  context.fillStyle = positive ? GOOD : BAD;
  context.fill();
  context.lineWidth = 1.5 * unit;
  context.strokeStyle = "#000";
  context.stroke();
  context.beginPath(); // + or −, so that colour is not the only sign
  context.moveTo(x - radius / 2 / aspect, y);
  context.lineTo(x + radius / 2 / aspect, y);
  if (positive) {
    context.moveTo(x, y - radius / 2);
    context.lineTo(x, y + radius / 2);
  }
  context.stroke();
}

function rectangle(context, { unit }, [x0, y0, x1, y1], colour, dash = []) {
  context.setLineDash(dash);
  for (const [width, style] of [[3, "#000a"], [1.5, colour]]) {
    context.lineWidth = width * unit;
    context.strokeStyle = style;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  context.setLineDash([]);
}
