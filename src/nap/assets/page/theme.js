// Dark, light, or as the system says.

import { h } from "./dom.js";

const NEXT = { auto: "dark", dark: "light", light: "auto" };

export function themeButton() {
  let theme = "auto";
  const button = h("button", { type: "button", class: "theme", onclick: () => set(NEXT[theme]) });
  function set(name) {
    theme = name;
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
    announce();
  }
  set("auto");
  return button;
}

/** Tell what is drawn in pixels when colours change: with the system's theme, and on paper, which is light. */
export function watchTheme() {
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", announce);
}

const announce = () => document.dispatchEvent(new Event("themechange"));
