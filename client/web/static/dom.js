// Building elements. Texts only ever become text nodes, so a name can never become markup.

/**
 * el("button.primary", {title: "…", onclick: run}, "Submit")
 * Properties: `on…` handlers, `class`, `data-…`/`aria-…` attributes, everything else is assigned.
 */
export function el(form, properties = {}, ...children) {
  const [tag, ...classes] = form.split(".");
  const element = document.createElement(tag || "div");
  element.classList.add(...classes);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "class") element.classList.add(...value.split(" ").filter(Boolean));
    else if (name.includes("-")) element.setAttribute(name, value);
    else if (name === "style") Object.assign(element.style, value);
    else element[name] = value;
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

/** Replace what is in an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

/** A slider with its name, value and reset on double click; `change` hears the number. */
export function slider({ label, tip, min, max, step, value, show = (v) => v.toFixed(2), change }) {
  const shown = el("output", {}, show(value));
  const input = el("input", { type: "range", min, max, step, value: String(value), "aria-label": label });
  const set = (v, quiet = false) => {
    input.value = String(v);
    shown.textContent = show(Number(input.value));
    if (!quiet) change(Number(input.value));
  };
  input.oninput = () => set(input.value);
  input.ondblclick = () => set(value);
  const element = el("label.slider", { title: `${tip} Double click: ${show(value)}.` }, el("span", {}, label), input, shown);
  return { element, set, get value() { return Number(input.value); } };
}

/** A small modal window; resolves with what `close` is called with, or null. */
export function dialog(title, build) {
  return new Promise((resolve) => {
    const box = el("dialog", { "aria-label": title });
    let answer = null;
    const close = (value = null) => {
      answer = value;
      box.close();
    };
    box.append(
      el("header", {}, el("h2", {}, title), el("button.quiet", { title: "Close (Esc)", onclick: () => close() }, "✕")),
      build(close),
    );
    box.onclose = () => {
      box.remove();
      resolve(answer);
    };
    document.body.append(box);
    box.showModal();
  });
}

/** A sentence at the bottom for a few seconds; errors stay until they are clicked away. */
export function notify(text, kind = "info") {
  let place = document.getElementById("notes");
  if (!place) document.body.append((place = el("div", { id: "notes", "aria-live": "polite" })));
  const note = el(`button.note.${kind}`, { title: "Dismiss", onclick: () => note.remove() }, text);
  place.append(note);
  while (place.children.length > 4) place.firstChild.remove();
  if (kind !== "error") setTimeout(() => note.remove(), 5000);
}

/** Run something asynchronous; its failure is shown. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") notify(error.message, "error");
    return undefined;
  }
}

/** "1 frame", "3 frames". */
export function counted(count, what = "frame") {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

/** "1:05" or "2:03:04". */
export function duration(seconds) {
  const whole = Math.round(seconds);
  const pad = (n) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}
