import { parseInline } from "./inline.ts";
import type { Align, Block, Inline } from "./tree.ts";

/** How deep quotes and lists may lie in each other; what is deeper stays text. */
const DEEPEST = 12;

const FENCE = /^ {0,3}(?:(`{3,})([^`]*)|(~{3,})(.*))$/;
const HEADING = /^ {0,3}(#{1,6})(?=\s|$)(.*)$/;
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const QUOTE = /^ {0,3}>\s?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:( {1,4})(?=\S)|\s*$|\s)/;
const DELIMITER = /^:?-+:?$/;

/** Parses a text of CommonMark's most used blocks and GitHub's tables. A line break in a paragraph is one in the text.
 * The text may break off anywhere, as it does while it is written: a fence that is still open is code. */
export function parseMarkdown(text: string): Block[] {
  return parseBlocks(text.replace(/\r\n?/g, "\n").replaceAll("\t", "    ").split("\n"), 0);
}

function parseBlocks(lines: string[], depth: number): Block[] {
  const blocks: Block[] = [];
  let paragraph: string[] = [];

  function endParagraph(): void {
    const text = paragraph.join("\n").trim();
    if (text) blocks.push({ kind: "paragraph", content: parseInline(text) });
    paragraph = [];
  }

  for (let at = 0; at < lines.length; ) {
    const found = blockAt(lines, at, depth, paragraph.length > 0);
    if (found) {
      endParagraph();
      blocks.push(found.block);
      at = found.end;
      continue;
    }
    const line = lines[at] ?? "";
    if (line.trim() === "") endParagraph();
    else paragraph.push(line.trim());
    at++;
  }
  endParagraph();
  return blocks;
}

interface Found {
  block: Block;
  end: number;
}

/** The block, other than a paragraph, that begins at a line. */
function blockAt(lines: string[], at: number, depth: number, inParagraph: boolean): Found | null {
  const line = lines[at] ?? "";
  const fence = FENCE.exec(line);
  if (fence) return code(lines, at, fence[1] ?? fence[3] ?? "", fence[2] ?? fence[4] ?? "");
  const heading = HEADING.exec(line);
  if (heading) {
    const content = parseInline(
      (heading[2] ?? "")
        .trim()
        .replace(/(^|\s)#+$/, "")
        .trim(),
    );
    return { block: { kind: "heading", level: heading[1]?.length ?? 1, content }, end: at + 1 };
  }
  if (RULE.test(line)) return { block: { kind: "rule" }, end: at + 1 };
  const table = line.includes("|") ? tableAt(lines, at) : null;
  if (table) return table;
  if (depth >= DEEPEST) return null;
  if (QUOTE.test(line)) return quote(lines, at, depth);
  const item = ITEM.exec(line);
  // A number in a paragraph begins no list, unless it is 1: it may be a year at the start of a line.
  if (item && !(inParagraph && /^\d/.test(item[2] ?? "") && Number.parseInt(item[2] ?? "", 10) !== 1))
    return list(lines, at, item[2] ?? "", depth);
  return null;
}

function code(lines: string[], at: number, fence: string, info: string): Found {
  const indent = /^ */.exec(lines[at] ?? "")?.[0].length ?? 0;
  const closing = new RegExp(`^ {0,3}\\${fence[0]}{${fence.length},}\\s*$`);
  let end = at + 1;
  while (end < lines.length && !closing.test(lines[end] ?? "")) end++;
  const text = lines.slice(at + 1, end).map((line) => withoutIndent(line, indent));
  const language = /^[\w+#.-]{1,30}/.exec(info.trim())?.[0] ?? "";
  return { block: { kind: "code", language, text: text.join("\n") }, end: end + 1 };
}

function quote(lines: string[], at: number, depth: number): Found {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end] ?? "")) end++;
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return { block: { kind: "quote", blocks: parseBlocks(inner, depth + 1) }, end };
}

function list(lines: string[], from: number, marker: string, depth: number): Found {
  const kind = marker.slice(-1);
  const items: Block[][] = [];
  let at = from;
  while (at < lines.length) {
    const item = ITEM.exec(lines[at] ?? "");
    if (!item || item[2]?.slice(-1) !== kind || RULE.test(lines[at] ?? "")) break;
    const indent = (item[1]?.length ?? 0) + (item[2]?.length ?? 0) + (item[3]?.length ?? 1);
    const end = itemEnd(lines, at, indent);
    const inner = lines.slice(at, end).map((line, index) => (index ? withoutIndent(line, indent) : line.slice(indent)));
    items.push(parseBlocks(inner, depth + 1));
    at = end;
    // Items may have empty lines between them; other blocks end the list.
    const next = nextFilled(lines, at);
    if (next > at && ITEM.exec(lines[next] ?? "")?.[2]?.slice(-1) === kind) at = next;
  }
  const start = /^\d/.test(marker) ? Number.parseInt(marker, 10) : null;
  return { block: { kind: "list", start, items }, end: at };
}

/** Where an item ends: at a line that is indented less, and is no continuation of its paragraph. */
function itemEnd(lines: string[], from: number, indent: number): number {
  let end = from + 1;
  while (end < lines.length) {
    const line = lines[end] ?? "";
    if (line.trim() === "") {
      const next = nextFilled(lines, end);
      if (indentOf(lines[next] ?? "") < indent) break;
      end = next;
    } else if (indentOf(line) >= Math.min(indent, 2) || !startsBlock(line)) {
      if (indentOf(line) < indent && startsBlock(line)) break;
      end++;
    } else break;
  }
  return end;
}

function startsBlock(line: string): boolean {
  return [FENCE, HEADING, RULE, QUOTE, ITEM].some((pattern) => pattern.test(line));
}

function nextFilled(lines: string[], from: number): number {
  let at = from;
  while (at < lines.length && lines[at]?.trim() === "") at++;
  return at;
}

function indentOf(line: string): number {
  return line.length - line.trimStart().length;
}

function withoutIndent(line: string, most: number): string {
  return line.slice(Math.min(most, indentOf(line)));
}

function tableAt(lines: string[], at: number): Found | null {
  const head = cells(lines[at] ?? "");
  const delimiters = cells(lines[at + 1] ?? "");
  if (head.length !== delimiters.length || !delimiters.every((each) => DELIMITER.test(each))) return null;
  const align = delimiters.map(alignOf);
  let end = at + 2;
  const rows: Inline[][][] = [];
  for (; end < lines.length && lines[end]?.includes("|"); end++) {
    const row = cells(lines[end] ?? "");
    rows.push(align.map((_, column) => parseInline(row[column] ?? "")));
  }
  return { block: { kind: "table", align, head: head.map(parseInline), rows }, end };
}

function cells(line: string): string[] {
  const bare = line
    .trim()
    .replace(/^\|/, "")
    .replace(/(?<!\\)\|$/, "");
  return bare.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function alignOf(delimiter: string): Align {
  const left = delimiter.startsWith(":");
  const right = delimiter.endsWith(":");
  return left && right ? "center" : right ? "right" : left ? "left" : null;
}
