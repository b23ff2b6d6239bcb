import { element } from "../dom.ts";
import { copyButton } from "../views/copy.ts";
import type { Block, Inline } from "./tree.ts";

/** The nodes of a block. Texts become text nodes; there are no images, and links leave without a trace of this page. */
export function renderBlock(block: Block): HTMLElement {
  switch (block.kind) {
    case "paragraph":
      return element("p", { dir: "auto" }, ...renderInline(block.content));
    case "heading":
      return heading(block.level, block.content);
    case "code":
      return code(block.language, block.text);
    case "quote":
      return element("blockquote", { dir: "auto" }, ...block.blocks.map(renderBlock));
    case "list":
      return list(block.start, block.items);
    case "table":
      return table(block);
    case "rule":
      return element("hr");
  }
}

function renderInline(content: Inline[]): Node[] {
  return content.map(renderPiece);
}

function renderPiece(piece: Inline): Node {
  if (typeof piece === "string") return document.createTextNode(piece);
  switch (piece.kind) {
    case "strong":
      return element("strong", {}, ...renderInline(piece.content));
    case "emphasis":
      return element("em", {}, ...renderInline(piece.content));
    case "strike":
      return element("del", {}, ...renderInline(piece.content));
    case "code":
      return element("code", {}, piece.text);
    case "link": {
      const leaves = { href: piece.address, target: "_blank", rel: "noopener noreferrer" };
      return element("a", leaves, ...renderInline(piece.content));
    }
    case "break":
      return element("br");
  }
}

/** A heading below the page's own, which are h1 and h2. */
function heading(level: number, content: Inline[]): HTMLElement {
  const tag = level === 1 ? "h3" : level === 2 ? "h4" : level === 3 ? "h5" : "h6";
  return element(tag, { dir: "auto" }, ...renderInline(content));
}

/** Code is written from left to right in every language. */
function code(language: string, text: string): HTMLElement {
  const head = element(
    "div",
    { class: "code-head" },
    element("span", {}, language),
    copyButton("Copy the code", () => text),
  );
  const body = element("pre", { tabindex: 0, "aria-label": language ? `Code in ${language}` : "Code", role: "region" });
  body.append(element("code", {}, text));
  return element("div", { class: "code", dir: "ltr" }, head, body);
}

function list(start: number | null, items: Block[][]): HTMLElement {
  const made = element(start === null ? "ul" : "ol", { dir: "auto", start: start ?? undefined });
  made.append(
    ...items.map((blocks) => {
      const [first, ...rest] = blocks;
      const lead = first?.kind === "paragraph" ? renderInline(first.content) : first ? [renderBlock(first)] : [];
      return element("li", { dir: "auto" }, ...lead, ...rest.map(renderBlock));
    }),
  );
  return made;
}

function table(block: Extract<Block, { kind: "table" }>): HTMLElement {
  const cell = (tag: "th" | "td", content: Inline[], column: number) =>
    element(tag, { dir: "auto", class: block.align[column] ?? undefined }, ...renderInline(content));
  const row = (tag: "th" | "td", contents: Inline[][]) =>
    element("tr", {}, ...contents.map((content, column) => cell(tag, content, column)));
  return element(
    "div",
    { class: "table", tabindex: 0, role: "region", "aria-label": "Table" },
    element(
      "table",
      {},
      element("thead", {}, row("th", block.head)),
      element("tbody", {}, ...block.rows.map((contents) => row("td", contents))),
    ),
  );
}
