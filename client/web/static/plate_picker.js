// Choosing a plate: folders of the server, a typed path, or dropped files.

import * as api from "./api.js";
import { dialog, el, fill, notify } from "./dom.js";

const PLACE = "segmatte-folder";
const PICTURES = /\.(exr|dpx|tiff?|png|jpe?g)$/i;

/** Ask for a plate: {plate, name, first, last, count} or null. */
export function pickPlate() {
  return dialog("Choose a plate", (close) => {
    const path = el("input", { type: "text", placeholder: "/shows/a/plate.####.exr", "aria-label": "Path on the server", spellcheck: false });
    const words = "Drop the pictures of one plate here, or click to choose them";
    const list = el("ul.files", { tabIndex: -1 });
    const drop = el("label.drop", {}, words, el("input", { type: "file", multiple: true, onchange: (event) => send([...event.target.files]) }));
    const open = async (folder) => {
      fill(list, el("li.dim", {}, "Loading …"));
      let found;
      try {
        found = await api.get("/api/folder", { path: folder });
      } catch (error) {
        if (folder) notify(error.message, "error");
        else fill(list, el("li.problem", {}, error.message));
        if (folder) await open("");
        return;
      }
      localStorage.setItem(PLACE, found.path);
      path.value = found.path;
      const rows = [];
      if (found.path) {
        const parent = found.path.replace(/\/[^/]*\/?$/, "");
        rows.push(row("↰", "..", () => open(found.path === "/" ? "" : parent || "/")));
      }
      const child = (name) => (found.path ? `${found.path.replace(/\/$/, "")}/${name}` : name);
      rows.push(...found.folders.map((name) => row("▸", name, () => open(child(name)))));
      rows.push(...found.plates.map((p) => row("▦", p.name, () => choose(p), p.count ? `${p.first}–${p.last}${p.count === p.last - p.first + 1 ? "" : `, ${p.count} there`}` : "movie")));
      if (!found.folders.length && !found.plates.length) rows.push(el("li.dim", {}, "No plates and no folders here."));
      if (found.truncated) rows.push(el("li.dim", {}, "There is more than is listed. Type the path above."));
      fill(list, rows);
    };
    const choose = async (p) => {
      const last = p.count ? p.last : await askLength();
      if (last === null) return;
      close({ plate: { path: p.path }, name: p.name, first: p.count ? p.first : 1, last, count: p.count || last });
    };
    const typed = async () => {
      const text = path.value.trim();
      const folder = text.replace(/\/[^/]*$/, "") || "/";
      try {
        const found = await api.get("/api/folder", { path: folder });
        const plate = found.plates.find((p) => p.path === text || p.path.replace(/#+/, "#") === text.replace(/#+|@+|%0?\d*d/, "#"));
        if (plate) return choose(plate);
      } catch {
        // What it is is said by opening it as a folder.
      }
      await open(text);
    };
    const send = async (files) => {
      const found = await sendPictures(files, (text) => (drop.firstChild.textContent = text));
      if (found) close(found);
      else drop.firstChild.textContent = words;
    };
    takeDrops(drop, send);
    open(localStorage.getItem(PLACE) ?? "");
    return el(
      "div.picker",
      {},
      el("form.row", { onsubmit: (event) => { event.preventDefault(); typed(); } }, path, el("button", { type: "submit" }, "Open")),
      list,
      drop,
    );
  });
}

/** The frames of a movie are not counted by the server's listing: ask. */
function askLength() {
  return dialog("How many frames has the movie?", (close) => {
    const input = el("input", { type: "number", min: 1, value: "100", required: true, "aria-label": "Frames" });
    const done = (event) => {
      event.preventDefault();
      close(Number(input.value));
    };
    return el("form.row.picker", { onsubmit: done }, input, el("button.primary", { type: "submit" }, "Open"));
  });
}

/** Send pictures as one plate, as pickPlate answers; null if that fails, which is shown. */
export async function sendPictures(files, report) {
  const pictures = files.filter((f) => PICTURES.test(f.name));
  if (!pictures.length) {
    notify("Pictures are exr, dpx, tif, png and jpg.", "error");
    return null;
  }
  try {
    return await api.upload(pictures, (done, total) => {
      report(done < total ? `Sending ${done + 1} of ${total} …` : "Sending to the server …");
    });
  } catch (error) {
    notify(error.message, "error");
    return null;
  }
}

/** Let files be dropped on an element. */
export function takeDrops(element, taken) {
  element.ondragover = (event) => {
    event.preventDefault();
    element.classList.add("over");
  };
  element.ondragleave = () => element.classList.remove("over");
  element.ondrop = (event) => {
    event.preventDefault();
    element.classList.remove("over");
    taken([...event.dataTransfer.files]);
  };
}

function row(sign, name, run, note = "") {
  return el("li", {}, el("button.file", { onclick: run }, el("i", {}, sign), el("span", {}, name), el("span.dim", {}, note)));
}
