// How a run was made, and the command that makes it again.

import { h, printable, section } from "./dom.js";

const SHORTENED = "Absolute paths are shortened to their last parts: run the command where these folders and files are.";

export function settingsSection(group) {
  return section("setting", "Setting, and how to run it again", SHORTENED, group.runs.map((run) => h("div", { class: "setting" }, h("h3", {}, printable(run.name, 200)),
    run.command ? h("pre", { tabindex: 0 }, h("code", {}, printable(run.command, 4000))) : h("p", {}, "This run has no record of its command."),
    run.setting.length > 0 && h("details", {}, h("summary", {}, `All ${run.setting.length} settings`), h("dl", { class: "all" }, run.setting.flatMap(([name, value]) => [h("dt", {}, printable(name, 100)), h("dd", {}, printable(value, 300))]))))));
}
