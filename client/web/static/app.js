// The frame around every page: navigation, keys, sign-in. A page is a module in pages/ that exports
// `title` and `mount(main, {me, keys})`.

import * as api from "./api.js";
import { attempt, el, fill } from "./dom.js";
import { Keys } from "./keys.js";

const PAGES = [
  ["bench", "Prompt bench"],
  ["click", "Click"],
  ["jobs", "Jobs"],
];

const name = location.pathname.slice(1);
const main = document.getElementById("page");

if (name === "sign-in") signIn();
else start();

async function start() {
  const keys = new Keys();
  try {
    const me = await api.me();
    bar(me, keys);
    const page = await import(`./pages/${name}.js`);
    document.title = `${page.title} – Segmatte`;
    fill(main);
    main.dataset.page = name;
    await page.mount(main, { me, keys });
    main.dataset.ready = "";
  } catch (error) {
    if (error.status === 401) return;
    fill(
      main,
      el(
        "section.state",
        {},
        el("h2", {}, "The page cannot be shown"),
        el("p", {}, error.message),
        el("button", { onclick: () => location.reload() }, "Try again"),
      ),
    );
  }
}

function bar(me, keys) {
  const links = PAGES.map(([path, title], index) => {
    keys.add({ key: `Alt+${index + 1}`, does: `Page “${title}”`, group: "Pages", run: () => location.assign(`/${path}`) });
    const here = path === name;
    return el("a", { href: `/${path}`, title: `${title} (Alt+${index + 1})`, "aria-current": here ? "page" : undefined }, title);
  });
  const leave = async () => {
    await attempt(() => api.post("/api/sign-out"));
    localStorage.clear(); // drafts are this person's
    sessionStorage.clear();
    location.assign("/sign-in");
  };
  fill(
    document.getElementById("bar"),
    el("strong", {}, "Segmatte"),
    el("nav", {}, links),
    el("span.spacer"),
    el("span.dim", { title: `Server ${me.server}, version ${me.version}` }, `${me.user} @ ${me.server}`),
    el("button.quiet", { title: "Keys (?)", onclick: () => keys.show() }, "?"),
    el("button.quiet", { onclick: leave, title: "Sign out" }, "Sign out"),
  );
}

function signIn() {
  document.title = "Sign in – Segmatte";
  const token = el("input", { type: "password", autocomplete: "off", required: true, "aria-label": "Token", autofocus: true });
  const problem = el("p.problem", { role: "alert" });
  const button = el("button.primary", { type: "submit" }, "Sign in");
  const form = el(
    "form.sign-in",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        button.disabled = true;
        try {
          await api.post("/api/sign-in", { token: token.value });
          location.assign("/");
        } catch (error) {
          problem.textContent = error.message;
          button.disabled = false;
          token.select();
        }
      },
    },
    el("h1", {}, "Sign in"),
    el("p.dim", {}, "With the token that “segmatte users add” printed for you. On the machine of your own server, the address that “segmatte web” printed signs you in."),
    el("label", {}, "Token", token),
    problem,
    button,
  );
  fill(main, form);
  token.focus();
}
