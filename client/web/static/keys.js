// Keys of a page, and the list of them under "?".

import { dialog, el } from "./dom.js";

export class Keys {
  #known = [];

  constructor() {
    this.add({ key: "?", does: "This list", group: "Pages", run: () => this.show() });
    addEventListener("keydown", (event) => this.#pressed(event));
  }

  /**
   * Make a key known. `key` is as in KeyboardEvent.key, with "Ctrl+", "Alt+", "Shift+" before it;
   * several with a space between. Without `run` it is only listed (mouse, held keys).
   */
  add({ key, does, group = "This page", run }) {
    this.#known.push({ key, does, group, run });
  }

  show() {
    if (document.querySelector("dialog[open]")) return;
    const groups = [...new Set(this.#known.map((k) => k.group))].reverse();
    dialog("Keys", () =>
      el(
        "div.keys",
        {},
        groups.map((group) =>
          el(
            "section",
            {},
            el("h3", {}, group),
            el(
              "dl",
              {},
              this.#known
                .filter((k) => k.group === group)
                .flatMap((k) => [el("dt", {}, k.key.split(" ").map((part) => el("kbd", {}, shown(part)))), el("dd", {}, k.does)]),
            ),
          ),
        ),
      ),
    );
  }

  #pressed(event) {
    const typing = event.target.closest?.("input:not([type=range]):not([type=checkbox]), textarea, select");
    if (typing || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const held = [event.ctrlKey || event.metaKey ? "Ctrl" : "", event.altKey ? "Alt" : ""].filter(Boolean);
    const key = event.key.length === 1 && (event.ctrlKey || event.altKey) ? event.key.toLowerCase() : event.key;
    const names = [[...held, key].join("+"), [...held, "Shift", key].join("+")];
    const wanted = event.shiftKey ? [names[1], event.key.length === 1 ? names[0] : ""] : [names[0]];
    const means = (k, name) => k.key.split(" ").some((part) => (part === "Space" ? " " : part) === name);
    const found = wanted.map((name) => this.#known.find((k) => k.run && means(k, name))).find(Boolean);
    if (!found) return;
    event.preventDefault();
    found.run(event);
  }
}

function shown(key) {
  const single = key.replace(/(^|\+)([a-z])$/, (_, before, letter) => before + letter.toUpperCase());
  return single.replace("Escape", "Esc").replace("ArrowLeft", "←").replace("ArrowRight", "→").replace("ArrowUp", "↑").replace("ArrowDown", "↓").replace("Delete", "Del");
}
