// The keys of the page; `does` is what it does on each, shared with the panel's buttons.

export function addKeys(keys, does) {
  const add = (group) => (key, text, run) => keys.add({ key, does: text, group, run });
  const view = add("View");
  view("Wheel", "Zoom at the pointer");
  view("Middle-drag", "Pan, or hold Space and drag");
  view("f", "Fit the frame", does.fit);
  view("1", "One plate pixel as one screen pixel", does.actual);
  view("+ =", "Zoom in", () => does.zoom(1.25));
  view("-", "Zoom out", () => does.zoom(0.8));
  view("m", "Masks filled, as outlines, off", does.nextLook);
  const frames = add("Frames");
  frames(",", "Keyframe before", () => does.toKeyframe(-1));
  frames(".", "Next keyframe", () => does.toKeyframe(1));
  const click = add("Clicks");
  click("Click", "On the object");
  click("Right-click", "On what is not the object, or Alt and click");
  click("Drag", "A box around the object");
  click("Shift+Click", "Take the nearest click away");
  click("Backspace", "Clear this object's clicks on this frame", does.clear);
  click("Ctrl+z", "Undo", does.undo);
  click("Ctrl+Shift+z Ctrl+y", "Redo", does.redo);
  const object = add("Objects");
  object("n", "New object", does.add);
  object("ArrowUp", "Choose the object above", () => does.chooseBy(-1));
  object("ArrowDown", "Choose the object below", () => does.chooseBy(1));
  object("r F2", "Rename", does.rename);
  object("h", "Hide or show", does.toggle);
  object("Delete", "Delete the object", does.remove);
  const shot = add("Shot");
  shot("o", "Choose a plate", does.choosePlate);
  shot("q", "Prompts or result", does.nextMode);
  shot("Ctrl+Enter", "Track, or re-track a correction", does.track);
  shot("c", "Correct the chosen object on this frame", does.correct);
  shot("b", "Hold: the mattes before the correction", (event) => event.repeat || does.compare(true));
  shot("Escape", "Leave a correction", does.giveUp);
  addEventListener("keyup", (event) => event.key === "b" && does.compare(false));
}
