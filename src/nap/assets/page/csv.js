// Rows as CSV. Pure.

/** Lines of comma-separated cells. A text that a spreadsheet would run as a formula gets an apostrophe before it. */
export function toCsv(header, rows) {
  return [header, ...rows].map((row) => row.map(cell).join(",") + "\r\n").join("");
}

function cell(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
