// Dark, light, or as the system says.

import { h } from "./dom.js";

const NEXT = { auto: "dark", dark: "light", light: "auto" };

export function themeButton() {
  let theme = "auto";
  const button = h("button", { type: "button", class: "theme", onclick: () => set(NEXT[theme]) });
  const announce = () => document.dispatchEvent(new Event("themechange"));
  function set(name) {
    theme = name;
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
    announce();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", announce);
  set("auto");
  return button;
}
