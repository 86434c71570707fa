// Click segmentation: objects by clicks and boxes on some frames, tracked, looked at, corrected.
//
// Two modes. "Prompts": clicks make keyframes of named objects, each answered by a mask. "Result":
// a job's mattes over the plate; one object can be corrected on a frame and re-tracked from there.
// The page joins the parts in click_*.js: it says what happens on a key, a button, a frame.

import * as api from "../api.js";
import { attempt, el } from "../dom.js";
import { pickPlate, sendPictures, takeDrops } from "../plate_picker.js";
import { Scrubber } from "../scrubber.js";
import { drawDragged, drawMask, drawPrompt } from "./click_drawing.js";
import { clickInto, Gestures } from "./click_gestures.js";
import { FollowedJob } from "./click_job.js";
import { addKeys } from "./click_keys.js";
import { Masks } from "./click_masks.js";
import { Objects, emptyPrompt, isEmpty } from "./click_objects.js";
import { Panel } from "./click_panel.js";
import { PlateView } from "./click_plate.js";
import { Result } from "./click_result.js";
import { keepDraft, keepShot, readDraft, shotOf } from "./click_shots.js";

export const title = "Click";

const SETTLED_MILLISECONDS = 250;
const LOOKS = [{ fill: 0.42 }, { fill: 0 }, null]; // masks filled, as outlines, off

export async function mount(main, { me, keys }) {
  document.head.append(el("link", { rel: "stylesheet", href: "/static/click.css" }));
  const page = new ClickPage(main, keys);
  await page.begin(new URLSearchParams(location.search).get("job"));
  return me;
}

class ClickPage {
  #shot = null; // {plate, name, first, last, options}
  #masks = null; // Masks of the shot
  #mode = "prompts";
  #look = 0;
  #asking = 0;
  #objects = new Objects();
  #job = new FollowedJob();
  #scrubber;
  #plate;
  #view;
  #gestures;
  #result;
  #panel;

  constructor(main, keys) {
    const line = el("div");
    const does = this.#actions();
    this.#scrubber = new Scrubber(line);
    this.#plate = new PlateView(this.#scrubber);
    this.#view = this.#plate.view;
    this.#gestures = new Gestures(this.#view);
    this.#result = new Result(this.#job, this.#scrubber);
    this.#panel = new Panel({ objects: this.#objects, result: this.#result, job: this.#job, does });
    main.append(el("div.workspace", {}, this.#plate.element, line, this.#panel.element));
    this.#hear();
    this.#scrubber.keys(keys);
    addKeys(keys, does);
    takeDrops(this.#plate.element, (files) => this.#dropped(files));
    addEventListener("pagehide", () => this.#masks?.close());
  }

  async begin(job) {
    if (job) return attempt(() => this.#openJob(job));
    const draft = readDraft();
    if (draft?.shot) {
      this.#objects.begin(draft.objects);
      this.#openShot(draft.shot);
    } else this.#refresh();
    return undefined;
  }

  // ------------------------------------------------------------------------- joining the parts

  /** What the page does on its buttons and keys. */
  #actions() {
    const selected = (work) => this.#mode === "prompts" && this.#objects.selected && work(this.#objects.selected);
    const either = (prompts, result) => (this.#mode === "prompts" ? prompts() : result());
    return {
      fit: () => this.#view.fit(),
      actual: () => this.#view.actual(),
      zoom: (factor) => this.#view.zoom(factor),
      grade: (stops, gamma) => this.#view.grade(stops, gamma),
      nextLook: () => {
        this.#look = (this.#look + 1) % LOOKS.length;
        this.#view.redraw();
      },
      choosePlate: async () => this.#openPicked(await pickPlate()),
      colorspace: (colorspace) => this.#shot && this.#openShot({ ...this.#shot, options: { ...this.#shot.options, colorspace } }),
      toKeyframe: (way) => this.#toKeyframe(way),
      setMode: (mode) => this.#setMode(mode),
      nextMode: () => this.#setMode(this.#mode === "prompts" ? "result" : "prompts"),
      add: () => this.#shot && this.#mode === "prompts" && this.#objects.add(),
      chooseBy: (step) => either(() => this.#objects.chooseBy(step), () => this.#result.pickBy(step)),
      rename: () => selected((object) => this.#panel.rename(object)),
      toggle: () => either(() => selected((object) => this.#objects.toggleVisible(object)), () => this.#result.toggle()),
      remove: () => selected((object) => this.#objects.remove(object)),
      clear: () => this.#clear(),
      undo: () => this.#step(() => this.#objects.undo()),
      redo: () => this.#step(() => this.#objects.redo()),
      save: () => this.#save(),
      submit: () => this.#submit(),
      track: () => (this.#result.correction ? this.#retrack() : this.#submit()),
      correct: () => this.#mode === "result" && this.#result.beginCorrection(),
      retrack: () => this.#retrack(),
      giveUp: () => this.#result.endCorrection(),
      compare: (before) => this.#mode === "result" && this.#result.compare(before),
    };
  }

  #hear() {
    this.#view.layers = [(context, view) => this.#drawMasks(context, view), (context, view) => this.#drawPrompts(context, view)];
    this.#view.onPointer = (pointer) => {
      this.#plate.pointed(pointer);
      this.#gestures.take(pointer);
    };
    this.#gestures.takesBoxes = () => this.#takesPrompts();
    this.#gestures.onBox = (box) => this.#prompt((prompt) => (prompt.box = box));
    this.#gestures.onClick = (at, how) => {
      if (this.#takesPrompts()) this.#prompt((prompt) => clickInto(prompt, at, how));
      else this.#result.pickAt(...at);
    };
    this.#scrubber.onFrame = () => this.#frameChanged();
    this.#plate.onMissing = () => this.#mode === "result" && this.#result.load();
    this.#objects.onChange = () => {
      keepDraft(this.#shot, this.#objects.list);
      this.#refresh();
    };
    this.#result.onChange = () => this.#refresh();
    this.#result.onMatte = (matte) => this.#plate.standIn(matte);
    this.#job.onNews = (frames) => {
      if (frames.includes(this.#scrubber.frame) && this.#mode === "result") this.#result.load();
      this.#refresh();
    };
    this.#job.onEnd = async ({ id }) => {
      if (this.#mode === "result") await this.#result.load();
      this.#panel.element.dataset.ended = id;
      this.#refresh();
    };
    this.#job.onResumed = (job) => this.#enterJob(job, () => this.#job.goOn(job));
  }

  #refresh() {
    if (!this.#shot) this.#plate.sayEmpty();
    this.#panel.show({ shot: this.#shot, mode: this.#mode, frame: this.#scrubber.frame });
    this.#scrubber.mark(this.#mode === "prompts" ? this.#objects.marks : this.#result.marks);
    this.#plate.tellPlace();
    this.#view.redraw();
  }

  // ------------------------------------------------------------------------- plate and frames

  async #dropped(files) {
    this.#openPicked(await sendPictures(files, (text) => this.#plate.say(text)));
  }

  #openPicked(found) {
    if (!found) return this.#refresh();
    this.#leaveJob();
    this.#objects.begin();
    this.#openShot({ plate: found.plate, name: found.name, first: found.first, last: found.last, options: {} });
    return this.#view.fit();
  }

  #openShot(shot) {
    this.#masks?.close();
    this.#shot = shot;
    this.#masks = new Masks(shot);
    this.#masks.onWait = (text) => this.#plate.say(text);
    this.#masks.onMask = () => this.#refresh();
    this.#plate.open(shot);
    this.#scrubber.range(shot.first, shot.last);
    this.#panel.open(shot);
    keepDraft(shot, this.#objects.list);
    this.#frameChanged();
  }

  #frameChanged() {
    if (!this.#shot) return;
    const frame = this.#scrubber.frame;
    const { correction } = this.#result;
    this.#plate.want(frame);
    if (correction && correction.frame !== frame) this.#result.endCorrection();
    if (this.#mode === "result") this.#result.load();
    else {
      // Not while scrubbing: a frame has to be encoded before it can answer.
      clearTimeout(this.#asking);
      this.#asking = setTimeout(() => this.#askAll(frame), SETTLED_MILLISECONDS);
    }
    this.#refresh();
  }

  #toKeyframe(way) {
    const frames = this.#objects.keyframes.map((k) => k.frame).filter((f) => (f - this.#scrubber.frame) * way > 0);
    if (frames.length) this.#scrubber.go(way > 0 ? Math.min(...frames) : Math.max(...frames));
  }

  #setMode(mode) {
    if (mode === "result" && !this.#job.job) return;
    if (this.#result.correction) this.#result.endCorrection();
    this.#mode = mode;
    if (this.#shot) this.#frameChanged();
    else this.#refresh();
  }

  // --------------------------------------------------------------------------------- prompts

  /** Whether clicks and boxes are prompts; else a click chooses a matte. */
  #takesPrompts() {
    return this.#mode === "prompts" || this.#result.correction !== null;
  }

  /** Change the prompt of the chosen object, or of the correction, on this frame, and ask. */
  #prompt(change) {
    const frame = this.#scrubber.frame;
    const { correction } = this.#result;
    if (correction) this.#result.prompt(change);
    this.#masks.ask(frame, correction ? correction.prompt : this.#objects.prompt(frame, change));
  }

  #clear() {
    const { correction } = this.#result;
    if (correction) this.#result.prompt((prompt) => Object.assign(prompt, emptyPrompt()));
    else this.#objects.clear(this.#scrubber.frame);
  }

  #step(work) {
    const { correction } = this.#result;
    if (correction) {
      this.#result.undo();
      this.#masks.ask(correction.frame, correction.prompt);
    } else if (this.#mode === "prompts") {
      work();
      this.#askAll(this.#scrubber.frame);
    }
  }

  #askAll(frame) {
    for (const { keyframes } of this.#objects.list) if (!isEmpty(keyframes[frame])) this.#masks.ask(frame, keyframes[frame]);
  }

  async #save() {
    this.#panel.save.disabled = true;
    await attempt(async () => {
      const objects = this.#objects.prompts();
      for (const object of objects) {
        for (const keyframe of object.keyframes) {
          const mask = await this.#masks.ask(keyframe.frame, keyframe);
          if (!mask) return;
          Object.assign(keyframe, { mask: mask.data, rect: mask.rect });
        }
      }
      const { plate, pixel_aspect } = this.#view.frame;
      const response = await api.postRaw("/api/prompt-set", { objects, plate_size: plate, pixel_aspect });
      api.save(await response.blob(), `${this.#shot.name.replace(/[.#@%].*$/, "") || "prompts"}.prompts.zip`);
    });
    this.#refresh();
  }

  // ------------------------------------------------------------------------------------ jobs

  async #submit() {
    const panel = this.#panel;
    if (panel.submit.disabled || this.#mode !== "prompts") return;
    panel.submit.disabled = true;
    const job = await attempt(() =>
      api.post("/api/jobs", {
        request_id: api.newId(),
        plate: this.#shot.plate,
        options: this.#shot.options,
        range: [Number(panel.first.value), Number(panel.last.value)],
        objects: this.#objects.prompts(),
        text: panel.text.value.trim(),
        labels: { page: "click" },
      }),
    );
    if (job) this.#enterJob(job, () => this.#job.follow(job));
    this.#refresh();
  }

  async #retrack() {
    const { correction } = this.#result;
    if (!correction || this.#panel.retrack.disabled) return;
    this.#panel.retrack.disabled = true;
    const { frame, name, prompt } = correction;
    const job = await attempt(() =>
      api.post(`/api/jobs/${encodeURIComponent(this.#job.job.id)}/correct`, {
        request_id: api.newId(),
        object: name,
        keyframe: { frame, ...prompt },
        labels: { page: "click" },
      }),
    );
    if (job) {
      this.#enterJob(job, () => this.#job.follow(job, { corrects: true }));
      this.#result.load();
    }
    this.#refresh();
  }

  async #openJob(id) {
    const job = await api.get(`/api/jobs/${encodeURIComponent(id)}`);
    const { shot, objects } = await shotOf(job);
    this.#objects.begin(objects);
    this.#shot = shot;
    this.#enterJob(job, () => this.#job.follow(job));
    this.#openShot(shot);
  }

  #enterJob(job, follow) {
    follow();
    this.#result.clear();
    keepShot(job, this.#shot, this.#objects.list);
    history.replaceState(null, "", `/click?job=${encodeURIComponent(job.id)}`);
    this.#mode = "result";
  }

  #leaveJob() {
    this.#job.leave();
    this.#result.clear();
    this.#mode = "prompts";
    history.replaceState(null, "", "/click");
  }

  // --------------------------------------------------------------------------------- drawing

  #drawMasks(context, view) {
    const look = LOOKS[this.#look];
    if (!look) return;
    context.imageSmoothingEnabled = view.unit * 3 > 1;
    const again = () => this.#view.redraw();
    const [frame, masks] = [this.#scrubber.frame, this.#masks];
    if (this.#mode === "result") return void this.#result.draw(context, { look, colours: this.#objects.colours, masks, again });
    for (const { visible, colour, keyframes } of this.#objects.list) {
      const mask = visible ? masks.find(frame, keyframes[frame]) : null;
      if (mask) drawMask(context, mask, colour, look, again);
    }
  }

  #drawPrompts(context, view) {
    const { correction } = this.#result;
    const { list, selected } = this.#objects;
    const frame = this.#scrubber.frame;
    if (correction) drawPrompt(context, view, correction.prompt, "#ffffff", { strong: true });
    else if (this.#mode === "prompts") {
      for (const object of list) if (object !== selected && object.visible) drawPrompt(context, view, object.keyframes[frame], object.colour, { strong: false });
      if (selected) drawPrompt(context, view, selected.keyframes[frame], selected.colour, { strong: true });
    }
    if (this.#gestures.box) drawDragged(context, view, this.#gestures.box);
  }
}
