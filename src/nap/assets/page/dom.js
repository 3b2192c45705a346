// Elements and texts. Text from a run only ever becomes text nodes and attributes: there is no innerHTML in this page.

const SVG = "http://www.w3.org/2000/svg";

/** An element: properties that are functions are listeners (onclick), `null` and `false` leave one out. */
export function h(tag, props = {}, ...children) {
  return dress(document.createElement(tag), props, children);
}

/** As `h`, an SVG element. */
export function s(tag, props = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), props, children);
}

function dress(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A number for people: `digits` after the point, no zero before it; a dash for none. */
export function short(value, digits = 2) {
  if (value === null || value === undefined) return "–";
  return value.toFixed(digits).replace(/^(-?)0\./, "$1.").replace("-", "−");
}

export function percent(value) {
  return value === null || value === undefined ? "–" : (100 * value).toFixed(0);
}

const VISIBLE = new Map([["\n", "⏎"], ["\t", "⇥"]]);

/** A token's text with what is invisible, or could turn the text around it, made visible; cut at `most`. */
export function printable(text, most = 40) {
  if (text === "") return "∅";
  const shown = text.trim() ? text.replace(/^ /, "") : text.replaceAll(" ", "␣");
  const safe = Array.from(shown.slice(0, 2 * most), visible).join("");
  return safe.length > most ? `${safe.slice(0, most - 1)}…` : safe;
}

function visible(c) {
  if (VISIBLE.has(c)) return VISIBLE.get(c);
  return /[\p{C}\p{Zl}\p{Zp}]/u.test(c) ? `\\u{${c.codePointAt(0).toString(16)}}` : c;
}

/** The last part of a folder or hub name. */
export function baseName(name) {
  return printable(name.replace(/\/+$/, "").split("/").pop() || name, 60);
}

/** Call `draw(width)` now and whenever the element gets another width. */
export function whenWide(element, draw) {
  let width = 0;
  const watch = new ResizeObserver(() => {
    const now = Math.floor(element.clientWidth);
    if (now && now !== width) draw((width = now));
  });
  watch.observe(element);
  return () => width && draw(width);
}

/** CSS pixels of one unit of a drawing, which grows with the text of the page. */
export function unit() {
  return parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
}

/** Offer a text as a file. */
export function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** A section of the page with its heading; without a title its content has one, of the id `ID-title`. */
export function section(id, title, lead, ...content) {
  return h("section", { id, "aria-labelledby": `${id}-title` }, title && h("h2", { id: `${id}-title` }, title), lead && h("p", { class: "lead" }, lead), content);
}
