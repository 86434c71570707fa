// The prompt bench: what a text prompt finds, on one frame or four, for one prompt or two.
//
// The decision to know: a look and a job are made from one and the same object (`order`), so that
// what is submitted is what was seen.

import * as api from "../api.js";
import { counted, dialog, el, fill, notify, slider } from "../dom.js";
import { FrameSource, FrameView, tinted } from "../frame_view.js";
import { pickPlate, sendPictures, takeDrops } from "../plate_picker.js";
import { Scrubber } from "../scrubber.js";

export const title = "Prompt bench";

const PLACE = "segmatte-bench";
const SETTLED_MILLISECONDS = 250;
const TYPED_MILLISECONDS = 700;
const SLOW_MILLISECONDS = 3000;
const KEPT_LOOKS = 200;
const FATES = ["kept", "discarded", "merged"];
const COLOURS = ["#54c98c", "#e0a33e", "#b18cf0", "#4fc3d9", "#e77fb3", "#a5cf4c", "#f0835a", "#7f9bff"];
const GONE = { discarded: "#ff7a70", merged: "#7fb3e6" };
const DASHES = { kept: [], discarded: [7, 4], merged: [2, 3] };

export async function mount(main, { me, keys }) {
  document.head.append(el("link", { rel: "stylesheet", href: "/static/bench.css" }));
  new Bench(main, me, keys);
}

/** What became of a candidate: "kept", "discarded" or "merged". */
function fate(candidate) {
  if (!candidate.reason) return "kept";
  return candidate.reason.startsWith("merged") ? "merged" : "discarded";
}

class Bench {
  #state;
  #models;
  #looks;
  #source = null;
  #cells = [];
  #chosen = 0; // position in #cells
  #lit = null; // the candidate under the mouse
  #panes = el("div.panes");
  #found = el("section.found", { "aria-label": "Found on the chosen frame" });
  #parts = {};
  #scrubber;
  #timer = 0;

  constructor(main, me, keys) {
    this.#models = me.models;
    this.#state = restored();
    this.#looks = new Looks(() => this.#refresh());
    const scrubber = el("div");
    const viewer = el("div.viewer", {}, this.#tools(), this.#panes);
    main.append(el("div.workspace.bench", {}, viewer, scrubber, this.#panel()));
    this.#scrubber = new Scrubber(scrubber);
    this.#scrubber.onFrame = (frame) => this.#go(frame);
    this.#keys(keys);
    takeDrops(viewer, (files) => this.#dropped(files));
    if (this.#state.plate) this.#open(this.#state.plate, this.#state.frame);
    else this.#layOut();
  }

  // ------------------------------------------------------------------------------- the request

  /** What is asked for with a prompt: the part that looks and jobs share. */
  #order(text) {
    const { plate, settings } = this.#state;
    const set = Object.entries(settings).filter(([, value]) => value !== null && value !== "");
    return { plate: plate.plate, options: {}, text: text.trim(), settings: Object.fromEntries(set) };
  }

  #look(cell) {
    const text = this.#state.prompts[cell.prompt].trim();
    if (!text || !this.#state.plate) return null;
    return { ...this.#order(text), frame: cell.frame, boxes_only: !this.#state.masks };
  }

  /** Ask for what the cells show, once nothing has changed for a moment. */
  #ask(pause = SETTLED_MILLISECONDS) {
    sessionStorage.setItem(PLACE, JSON.stringify(this.#state));
    clearTimeout(this.#timer);
    this.#refresh();
    this.#timer = setTimeout(() => {
      const first = this.#cells[this.#chosen];
      const cells = [first, ...this.#cells.filter((cell) => cell !== first)].filter(Boolean);
      this.#looks.want(cells.map((cell) => this.#look(cell)).filter(Boolean));
      this.#refresh();
    }, pause);
  }

  // --------------------------------------------------------------------------------- the plate

  async #choose() {
    const found = await pickPlate();
    if (found) this.#open(found, null);
  }

  async #dropped(files) {
    const before = this.#parts.span.textContent;
    const found = await sendPictures(files, (text) => (this.#parts.span.textContent = text));
    if (found) this.#open(found, null);
    else this.#parts.span.textContent = before;
  }

  #open(plate, frame) {
    this.#source?.stop();
    if (frame === null) this.#state.spread = null;
    this.#state.plate = plate;
    this.#state.frame = Math.min(plate.last, Math.max(plate.first, frame ?? Math.round((plate.first + plate.last) / 2)));
    this.#source = new FrameSource(plate.plate, {});
    this.#source.onPicture = ({ bitmap, frame: shown, number }) => {
      for (const cell of this.#cells) if (cell.frame === number) cell.picture(bitmap, shown);
    };
    this.#source.onError = (number, error) => {
      for (const cell of this.#cells) if (cell.frame === number) cell.failed(error);
    };
    this.#parts.plate.textContent = plate.name;
    this.#parts.plate.title = plate.plate.path ?? plate.name;
    this.#parts.span.textContent = `${plate.first}–${plate.last}, ${counted(plate.count)}`;
    this.#scrubber.range(plate.first, plate.last);
    this.#scrubber.go(this.#state.frame);
    this.#layOut();
  }

  #frames() {
    const { plate, four, frame } = this.#state;
    if (!four) return [frame];
    const span = plate.last - plate.first;
    const spread = [0, 1, 2, 3].map((i) => plate.first + Math.round((i * span) / 3));
    return this.#state.spread?.length === 4 ? this.#state.spread : (this.#state.spread = spread);
  }

  #go(frame) {
    const cell = this.#cells[this.#chosen];
    if (!cell) return;
    this.#state.frame = frame;
    const position = cell.position;
    if (this.#state.four) this.#state.spread[position] = frame;
    for (const other of this.#cells) if (other.position === position) other.frame = frame;
    this.#pictures();
    this.#ask();
  }

  #pictures() {
    if (!this.#state.four) return this.#source.want(this.#state.frame);
    this.#source.stop();
    for (const number of new Set(this.#cells.map((cell) => cell.frame))) {
      this.#source.load(number).then(
        ({ bitmap, frame }) => this.#source.onPicture({ bitmap, frame, number }),
        (error) => this.#source.onError(number, error),
      );
    }
  }

  // --------------------------------------------------------------------------------- the views

  /** Make the cells anew: one or two prompts × one or four frames. */
  #layOut() {
    const { plate, compare, four } = this.#state;
    this.#parts.second.hidden = !compare;
    this.#parts.letter.hidden = !compare;
    for (const [name, on] of Object.entries({ compare, four, masks: this.#state.masks, boxes: !this.#state.masks })) {
      this.#parts[name].setAttribute("aria-pressed", String(on));
    }
    fill(this.#parts.submits, (compare ? [0, 1] : [0]).map((prompt) => this.#submitButton(prompt, compare)));
    this.#cells = [];
    this.#chosen = 0;
    if (!plate) {
      fill(
        this.#panes,
        el(
          "div.state",
          {},
          el("h2", {}, "Try a prompt before you submit it"),
          el("p", {}, "Choose a plate on the server, or drop its pictures here. Then name what you need, like “person, car”, and see what is found on any frame."),
          el("button.primary", { onclick: () => this.#choose(), title: "Choose a plate (O)" }, "Choose a plate …"),
        ),
      );
      this.#refresh();
      return;
    }
    const panes = (compare ? [0, 1] : [0]).map((prompt) => {
      const cells = this.#frames().map((frame, position) => {
        const cell = new Cell({ prompt, frame, position });
        cell.view.layers = [(context, view) => this.#draw(cell, context, view)];
        cell.view.onView = () => !four && this.#source.sharpen(this.#cells.some((other) => other.view.isCoarse));
        cell.view.onPointer = (event) => this.#pointed(cell, event);
        cell.grade(this.#state.exposure, this.#state.gamma);
        return cell;
      });
      this.#cells.push(...cells);
      const line = el("span.dim.ellipsis");
      for (const cell of cells) cell.line = line;
      const header = el("header", {}, compare ? el("b", {}, "AB"[prompt]) : null, line);
      return el("section.pane", {}, header, el(four ? "div.cells.four" : "div.cells", {}, cells.map((cell) => cell.element)));
    });
    fill(this.#panes, panes);
    this.#select(this.#cells[0]);
    this.#pictures();
    this.#ask(0);
  }

  #select(cell) {
    this.#chosen = this.#cells.indexOf(cell);
    for (const other of this.#cells) other.element.setAttribute("aria-current", String(other === cell));
    this.#state.frame = cell.frame;
    this.#scrubber.go(cell.frame);
    this.#refresh();
  }

  #pointed(cell, { type, x, y }) {
    if (type === "down") this.#select(cell);
    if (type === "leave") return this.#light(null);
    if (type !== "move") return;
    const inside = this.#shown(cell).filter(({ box }) => x >= box[0] && x < box[2] && y >= box[1] && y < box[3]);
    const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
    this.#light(inside.sort((a, b) => area(a) - area(b))[0] ?? null);
  }

  #light(candidate) {
    if (candidate === this.#lit) return;
    this.#lit = candidate;
    for (const row of this.#found.querySelectorAll(".candidate")) row.classList.toggle("lit", row.candidate === candidate);
    for (const cell of this.#cells) cell.view.redraw();
  }

  #shown(cell) {
    return (cell.look?.candidates ?? []).filter((c) => this.#state.show[fate(c)]);
  }

  #draw(cell, context, view) {
    const least = this.#state.settings.detect_threshold ?? 0;
    const candidates = this.#shown(cell);
    for (const candidate of candidates) {
      if (candidate.tint) context.drawImage(candidate.tint, ...view.frame.rect);
    }
    for (const candidate of candidates) {
      const [x0, y0, x1, y1] = candidate.box;
      const lit = candidate === this.#lit;
      // What a higher threshold will drop fades at once, before the answer is here.
      context.globalAlpha = candidate.score < least && !candidate.object ? 0.25 : 1;
      context.strokeStyle = candidate.colour;
      context.lineWidth = (lit ? 3 : 1.5) * view.unit;
      context.setLineDash(DASHES[fate(candidate)].map((length) => length * view.unit));
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
      if (!this.#state.four || lit) label(context, view, candidate, lit);
    }
    context.globalAlpha = 1;
  }

  /** Show what is known by now: in the cells, their notes, and the list. */
  #refresh() {
    for (const cell of this.#cells) {
      const look = this.#look(cell);
      const answer = look ? this.#looks.answer(look) : null;
      cell.take(answer, { wanted: Boolean(look), waits: look && this.#looks.waits(look), boxes: !this.#state.masks });
      if (answer?.found) this.#tint(answer.found);
    }
    this.#list();
  }

  #tint(found) {
    if (found.tinting) return;
    found.tinting = true;
    for (const candidate of found.candidates.filter((c) => c.mask)) {
      tinted(candidate.mask, candidate.colour).then((canvas) => {
        candidate.tint = canvas;
        for (const cell of this.#cells) cell.view.redraw();
      });
    }
  }

  #list() {
    const cell = this.#cells[this.#chosen];
    const found = cell?.look?.candidates ?? [];
    for (const name of FATES) {
      const count = found.filter((c) => fate(c) === name).length;
      this.#parts[name].lastChild.textContent = ` ${count}`;
    }
    if (!cell?.look) {
      const failed = cell?.element.dataset.state === "error";
      fill(
        this.#found,
        el("h3", {}, "Found"),
        el(failed ? "p.problem" : "p.dim", {}, cell?.said ?? "Choose a plate first."),
        failed ? el("p", {}, el("button", { onclick: () => this.#ask(0) }, "Try again")) : null,
      );
      return;
    }
    const heading = { kept: this.#state.masks ? "Kept" : "Boxes", discarded: "Discarded", merged: "Merged" };
    const sections = FATES.flatMap((name) => {
      const own = found.filter((c) => fate(c) === name);
      if (!own.length && name !== "kept") return [];
      const rows = own.map((candidate) => this.#row(candidate));
      const where = this.#state.four ? ` on ${cell.frame}` : "";
      return [el("h3", {}, `${heading[name]} ${own.length}${where}`), ...(rows.length ? rows : [el("p.dim", {}, "Nothing found. Lower the threshold, or name it another way.")])];
    });
    const scrolled = this.#found.scrollTop;
    fill(this.#found, sections);
    this.#found.scrollTop = scrolled;
  }

  #row(candidate) {
    const place = candidate.box.map((v) => Math.round(v)).join(" ");
    const row = el(
      "button.candidate",
      {
        "data-fate": fate(candidate),
        title: `Box ${place} (x0 y0 x1 y1, plate pixels)`,
        onpointerenter: () => this.#light(candidate),
        onpointerleave: () => this.#light(null),
        onfocus: () => this.#light(candidate),
        onblur: () => this.#light(null),
      },
      el("i", { style: { borderColor: candidate.colour, borderStyle: candidate.reason ? "dashed" : "solid" } }),
      el("span.ellipsis", {}, `${candidate.number} ${candidate.object || candidate.category}`),
      el("span.score.mono", {}, candidate.score.toFixed(2)),
      candidate.reason ? el("span.reason", {}, candidate.reason) : null,
    );
    row.candidate = candidate;
    return row;
  }

  // ------------------------------------------------------------------------------ the controls

  #tools() {
    const toggle = (name, text, tip, run) => (this.#parts[name] = el("button", { title: tip, "aria-pressed": "false", onclick: run }, text));
    const shown = FATES.map((name) => {
      const tips = { kept: "Show what is kept (1)", discarded: "Show what is discarded, with its reason in the list (2)", merged: "Show what was merged into another mask (3)" };
      const button = toggle(name, "", tips[name], () => this.#toggleShown(name));
      button.setAttribute("aria-pressed", String(this.#state.show[name]));
      fill(button, el(`i.swatch.${name}`), name, el("span.mono", {}, " 0"));
      return button;
    });
    const grade = () => this.#cells.forEach((cell) => cell.grade(this.#state.exposure, this.#state.gamma));
    this.#parts.exposure = slider({
      label: "Exposure", tip: "Brightens the picture on your screen alone, for dark plates (E and Shift+E).",
      min: -6, max: 6, step: 0.25, value: 0, show: (v) => `${v > 0 ? "+" : ""}${v}`,
      change: (v) => { this.#state.exposure = v; grade(); },
    });
    this.#parts.gamma = slider({
      label: "Gamma", tip: "Opens or closes the mid tones on your screen alone (G and Shift+G).",
      min: 0.4, max: 3, step: 0.05, value: 1, change: (v) => { this.#state.gamma = v; grade(); },
    });
    this.#parts.exposure.set(this.#state.exposure, true);
    this.#parts.gamma.set(this.#state.gamma, true);
    return el(
      "div.bench-tools",
      {},
      el(
        "div.group",
        {},
        toggle("compare", "Two prompts", "Compare two prompts side by side (C)", () => this.#set({ compare: !this.#state.compare })),
        toggle("four", "Four frames", "Four frames spread over the shot, since one frame misleads (4)", () => this.#set({ four: !this.#state.four, spread: null })),
      ),
      el(
        "div.group",
        {},
        toggle("boxes", "Boxes", "Stage 1 alone: boxes, faster (M)", () => this.#set({ masks: false })),
        toggle("masks", "Masks", "Stage 2 as well: masks, and what the clean-up discards and merges (M)", () => this.#set({ masks: true })),
      ),
      el("div.group", {}, shown),
      el("span.spacer"),
      this.#parts.exposure.element,
      this.#parts.gamma.element,
    );
  }

  #set(change) {
    Object.assign(this.#state, change);
    this.#layOut();
  }

  #toggleShown(name) {
    this.#state.show[name] = !this.#state.show[name];
    this.#parts[name].setAttribute("aria-pressed", String(this.#state.show[name]));
    for (const cell of this.#cells) cell.view.redraw();
    sessionStorage.setItem(PLACE, JSON.stringify(this.#state));
  }

  #panel() {
    const prompt = (index) => {
      const input = el("input", {
        type: "text", value: this.#state.prompts[index], spellcheck: false, maxLength: 2000,
        placeholder: index ? "another wording" : "person, car", "aria-label": `Prompt ${"AB"[index]}`,
        title: "Things to find, separated by commas, singular (/ to get here, Enter to look)",
        oninput: () => { this.#state.prompts[index] = input.value; this.#ask(TYPED_MILLISECONDS); },
        onkeydown: (event) => {
          if (event.key === "Enter" && !event.ctrlKey) this.#ask(0);
          if (event.key === "Enter" && event.ctrlKey) { event.preventDefault(); this.#submit(index); }
          if (event.key === "Escape") input.blur();
        },
      });
      this.#parts[index ? "promptB" : "promptA"] = input;
      return input;
    };
    this.#parts.letter = el("b", {}, "A");
    this.#parts.plate = el("b.ellipsis", {}, "No plate");
    this.#parts.span = el("span.dim", {}, "Choose one to begin");
    this.#parts.submits = el("section.submit");
    this.#parts.second = el("label.prompt", {}, el("b", {}, "B"), prompt(1));
    return el(
      "aside.panel",
      {},
      el(
        "section",
        {},
        el("div.row", {}, el("div.grow", {}, el("div.row", {}, this.#parts.plate), this.#parts.span), el("button", { title: "Choose a plate on the server, or files of yours (O)", onclick: () => this.#choose() }, "Plate …")),
      ),
      el("section", {}, el("label.prompt", {}, this.#parts.letter, prompt(0)), this.#parts.second),
      el(
        "section",
        {},
        this.#knob("detect_threshold", { label: "Threshold", usual: 0.04, max: 0.95, tip: "Least score of a box. Raise it when wrong things are found, lower it when things are missed ([ and ])." }),
        this.#knob("suppress_iou", { label: "Same box", usual: 0.19, max: 1, tip: "Boxes of one category that overlap by this share are one. Lower it when one thing gets two boxes. Usual: 0.70." }),
        this.#more(),
      ),
      this.#found,
      this.#parts.submits,
    );
  }

  /** A threshold whose lowest position means: as the model or site has it. */
  #knob(name, { label: text, usual, max, tip }) {
    const made = slider({
      label: text, tip: `${tip} Far left: the usual value.`, min: usual, max, step: 0.01, value: usual,
      show: (v) => (v <= usual ? "usual" : v.toFixed(2)),
      change: (v) => {
        this.#state.settings[name] = v <= usual ? null : v;
        for (const cell of this.#cells) cell.view.redraw();
        this.#ask();
      },
    });
    made.set(this.#state.settings[name] ?? usual, true);
    this.#parts[name] = made;
    return made.element;
  }

  #more() {
    const settings = this.#state.settings;
    const choice = (name, text, tip, options) =>
      el(
        "label",
        { title: tip },
        text,
        el(
          "select",
          { onchange: (event) => { settings[name] = options[event.target.selectedIndex][0]; this.#ask(); } },
          options.map(([value, shown, disabled]) => el("option", { value: String(value ?? ""), selected: (settings[name] ?? "") === (value ?? ""), disabled: Boolean(disabled) }, shown)),
        ),
      );
    const models = (kind) => {
      const offered = this.#models.filter((m) => m.kind === kind);
      const usual = offered.find((m) => m.default);
      const note = (m) => `${m.name}${m.demo && !m.name.includes("demo") ? " (demo)" : ""}${m.ready ? "" : " (not fetched)"}`;
      return [[null, usual ? `usual: ${usual.name}` : "usual"], ...offered.filter((m) => !m.default).map((m) => [m.name, note(m), !m.ready])];
    };
    return el(
      "details",
      {},
      el("summary", {}, "Models and clean-up"),
      el(
        "div.more",
        {},
        choice("detector", "Detector", "The model that finds boxes for words.", models("detector")),
        choice("segmenter", "Segmenter", "The model that makes masks and tracks them.", models("segmenter")),
        choice("joint_caption", "Words", "All words asked at once (usual), or each word for itself: slower, and words do not influence each other.", [[null, "usual"], [true, "all at once"], [false, "each for itself"]]),
        choice("clean_up", "Clean-up", "Inside each category (usual), or over all categories at once as the paper reads.", [[null, "usual"], ["category", "inside a category"], ["paper", "as in the paper"]]),
        choice("working_size", "Working size", "Longest side at which masks are made and tracked. Larger keeps thin things, and takes longer.", [[null, "usual"], [512, "512"], [1024, "1024"], [1536, "1536"], [2048, "2048"]]),
      ),
    );
  }

  #keys(keys) {
    this.#scrubber.keys(keys);
    const add = (key, does, run, group = "Prompt bench") => keys.add({ key, does, run, group });
    const nudge = (part, by) => this.#parts[part].set(Number((this.#parts[part].value + by).toFixed(2)));
    add("o", "Choose a plate", () => this.#choose());
    add("/", "Type the prompt", () => this.#parts.promptA.select());
    add("c", "Two prompts side by side", () => this.#set({ compare: !this.#state.compare }));
    add("4", "Four frames spread over the shot", () => this.#set({ four: !this.#state.four, spread: null }));
    add("n", "Choose the next picture", () => this.#cells.length && this.#select(this.#cells[(this.#chosen + 1) % this.#cells.length]));
    add("m", "Boxes alone, or masks too", () => this.#set({ masks: !this.#state.masks }));
    FATES.forEach((name, index) => add(String(index + 1), `Show ${name}`, () => this.#toggleShown(name)));
    add("[", "Lower the threshold", () => nudge("detect_threshold", -0.05));
    add("]", "Raise the threshold", () => nudge("detect_threshold", 0.05));
    add("Ctrl+Enter", "Submit this", () => this.#submit(this.#cells[this.#chosen]?.prompt ?? 0));
    add("e", "Brighter", () => nudge("exposure", 0.5), "View");
    add("Shift+E", "Darker", () => nudge("exposure", -0.5), "View");
    add("g", "More gamma", () => nudge("gamma", 0.1), "View");
    add("Shift+G", "Less gamma", () => nudge("gamma", -0.1), "View");
    add("0", "Exposure and gamma as they were", () => { this.#parts.exposure.set(0); this.#parts.gamma.set(1); }, "View");
    add("f", "Fit the picture", () => this.#cells.forEach((cell) => cell.view.fit()), "View");
    add("=", "Zoom in (or wheel)", () => this.#cells.forEach((cell) => cell.view.zoom(1.5)), "View");
    add("-", "Zoom out", () => this.#cells.forEach((cell) => cell.view.zoom(1 / 1.5)), "View");
  }

  // -------------------------------------------------------------------------------- submitting

  /** The model taken where none is chosen, if `name` is a kind of model. */
  #usual(name) {
    return this.#models.find((m) => m.kind === name && m.default)?.name;
  }

  #submitButton(prompt, compare) {
    return el("button.primary", { title: "Start the job with exactly these settings (Ctrl+Enter)", onclick: () => this.#submit(prompt) }, compare ? `Submit ${"AB"[prompt]} …` : "Submit this …");
  }

  async #submit(prompt) {
    const { plate } = this.#state;
    const text = this.#state.prompts[prompt].trim();
    if (!plate) return notify("Choose a plate first.", "error");
    if (!text) {
      notify("Type a prompt first, like “person, car”.", "error");
      return this.#parts[prompt ? "promptB" : "promptA"].focus();
    }
    const order = this.#order(text);
    const id = api.newId();
    await dialog("Submit this shot", (close) => {
      const end = (value, name) => el("input", { type: "number", value: String(value), min: plate.first, max: plate.last, required: true, "aria-label": name });
      const [first, last] = [end(plate.first, "First frame"), end(plate.last, "Last frame")];
      const button = el("button.primary", { type: "submit", autofocus: true }, "Submit");
      const problem = el("p.problem", { role: "alert" });
      const send = async (event) => {
        event.preventDefault();
        const range = [Number(first.value), Number(last.value)];
        const whole = range[0] === plate.first && range[1] === plate.last;
        button.disabled = true;
        problem.textContent = "";
        try {
          const job = await api.post("/api/jobs", { ...order, range: whole ? null : range, request_id: id });
          close();
          location.assign(`/jobs?job=${encodeURIComponent(job.id)}`);
        } catch (error) {
          problem.textContent = error.message;
          button.disabled = false;
        }
      };
      return el(
        "form.order",
        { onsubmit: send },
        el(
          "dl",
          {},
          ...line("Plate", plate.plate.path ?? plate.name),
          el("dt", {}, "Frames"),
          el("dd.row", {}, first, "to", last),
          ...line("Prompt", order.text),
          ...Object.entries(NAMES).flatMap(([name, shown]) => line(shown, said(order.settings[name], this.#usual(name)))),
        ),
        el("p.dim", {}, "Exposure and gamma are for your screen alone and are not part of the job."),
        problem,
        el("div.row", {}, el("button", { type: "button", onclick: () => close() }, "Back"), button),
      );
    });
  }
}

const NAMES = {
  detect_threshold: "Threshold", suppress_iou: "Same box", detector: "Detector", segmenter: "Segmenter",
  joint_caption: "Words", clean_up: "Clean-up", working_size: "Working size",
};

function said(value, usual) {
  if (value === undefined) return usual ? `usual: ${usual}` : "usual";
  if (typeof value === "boolean") return value ? "all at once" : "each for itself";
  return String(value);
}

function line(name, value) {
  return [el("dt", {}, name), el("dd", {}, value)];
}

function restored() {
  const fresh = {
    plate: null, frame: null, spread: null, prompts: ["person", ""], compare: false, four: false, masks: true,
    settings: { detect_threshold: null, suppress_iou: null, detector: null, segmenter: null, joint_caption: null, clean_up: null, working_size: null },
    show: { kept: true, discarded: true, merged: true }, exposure: 0, gamma: 1,
  };
  try {
    return { ...fresh, ...JSON.parse(sessionStorage.getItem(PLACE) ?? "{}") };
  } catch {
    return fresh;
  }
}

/** One picture with what was found on it. */
class Cell {
  view;
  look = null; // the answer that is drawn
  said = ""; // how it stands, in words
  line = null; // element of the pane's heading
  #note = el("div.view-note");
  #broken = false;

  constructor({ prompt, frame, position }) {
    Object.assign(this, { prompt, frame, position });
    const host = el("div");
    this.element = el("div.cell", { "data-prompt": String(prompt), "data-position": String(position) }, host, this.#note);
    this.view = new FrameView(host);
    this.view.say("Loading the picture …");
  }

  grade(exposure, gamma) {
    this.view.grade(exposure, gamma);
  }

  picture(bitmap, frame) {
    this.#broken = false;
    this.view.say(null);
    this.view.show(bitmap, frame);
  }

  failed(error) {
    this.#broken = true;
    this.view.clear();
    this.view.say(error.message, { title: "This frame cannot be shown" });
  }

  /** Show an answer ({found} or {error}), or that one is awaited; the one before stays until then. */
  take(answer, { wanted, waits, boxes }) {
    const state = !wanted ? "empty" : answer ? (answer.error ? "error" : "ready") : "loading";
    if (state !== "loading") this.look = answer?.found ?? null;
    const fates = FATES.map((name) => [name, this.look?.candidates.filter((c) => fate(c) === name).length ?? 0]);
    const counts = fates.filter(([name, count]) => count || name === "kept").map(([name, count]) => `${count} ${name}`);
    const text = {
      empty: "Type what to find, for example: person, car",
      loading: waits,
      ready: boxes ? `${fates[0][1]} box${fates[0][1] === 1 ? "" : "es"}` : counts.join(", "),
      error: answer?.error?.message,
    }[state];
    this.said = text;
    this.element.dataset.state = state;
    this.element.dataset.frame = String(this.frame);
    this.#note.textContent = this.#broken ? "" : `${this.frame} · ${text}`;
    if (this.line && this.position === 0) {
      this.line.textContent = this.look ? `${boxes ? "Boxes" : "Boxes and masks"} · ${this.look.seconds.toFixed(1)} s on the server` : "\u00a0";
    }
    this.view.redraw();
  }
}

/** Answers to looks, asked for one after the other; what nobody wants any more is not asked for. */
class Looks {
  #known = new Map();
  #wanted = [];
  #changed;
  #running = "";
  #slow = false;

  constructor(changed) {
    this.#changed = changed;
  }

  /** {found} or {error} of a look, if it is here. */
  answer(look) {
    return this.#known.get(JSON.stringify(look)) ?? null;
  }

  /** What to say while a look is not answered. */
  waits(look) {
    if (JSON.stringify(look) !== this.#running) return "waiting …";
    return this.#slow ? "looking … (the first time loads the models)" : "looking …";
  }

  want(looks) {
    this.#wanted = looks;
    for (const look of looks) if (this.answer(look)?.error) this.#known.delete(JSON.stringify(look));
    this.#next();
  }

  async #next() {
    if (this.#running) return;
    const look = this.#wanted.find((item) => !this.answer(item));
    if (!look) return;
    this.#running = JSON.stringify(look);
    const waiting = setTimeout(() => { this.#slow = true; this.#changed(); }, SLOW_MILLISECONDS);
    this.#changed();
    let answer;
    try {
      answer = { found: numbered(await api.post("/api/preview", look)) };
    } catch (error) {
      answer = { error };
    }
    clearTimeout(waiting);
    this.#known.set(this.#running, answer);
    this.#running = "";
    this.#slow = false;
    if (this.#known.size > KEPT_LOOKS) this.#known.delete(this.#known.keys().next().value);
    this.#changed();
    this.#next();
  }
}

/** Give every candidate its number and colour. */
function numbered(found) {
  found.candidates.forEach((candidate, index) => {
    candidate.number = index + 1;
    candidate.colour = GONE[fate(candidate)] ?? COLOURS[index % COLOURS.length];
  });
  return found;
}

/** "3 person 0.87" at the corner of a box, as large at every zoom. */
function label(context, view, candidate, lit) {
  const text = `${candidate.number} ${candidate.object || candidate.category} ${candidate.score.toFixed(2)}`;
  context.save();
  context.translate(candidate.box[0], candidate.box[1]);
  context.scale(view.unit / view.aspect, view.unit);
  context.font = "11px system-ui, sans-serif";
  const width = context.measureText(text).width + 8;
  const top = candidate.box[1] > 18 * view.unit ? -16 : 1;
  context.fillStyle = lit ? candidate.colour : "#1b1b1bd9";
  context.fillRect(-1, top, width, 15);
  context.fillStyle = lit ? "#1b1b1b" : candidate.colour;
  context.fillText(text, 3, top + 11);
  context.restore();
}
