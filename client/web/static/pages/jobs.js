import { el } from "../dom.js";

export const title = "Jobs";

export async function mount(main) {
  main.append(el("p.state", {}, "Not here yet."));
}
