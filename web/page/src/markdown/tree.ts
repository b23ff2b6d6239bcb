// What a Markdown text means. Texts are plain: nothing in them is markup any more.

export type Block =
  | { kind: "paragraph"; content: Inline[] }
  | { kind: "heading"; level: number; content: Inline[] }
  | { kind: "code"; language: string; text: string }
  | { kind: "quote"; blocks: Block[] }
  | { kind: "list"; start: number | null; items: Block[][] }
  | { kind: "table"; align: Align[]; head: Inline[][]; rows: Inline[][][] }
  | { kind: "rule" };

export type Align = "left" | "center" | "right" | null;

export type Inline =
  | string
  | { kind: "strong" | "emphasis" | "strike"; content: Inline[] }
  | { kind: "code"; text: string }
  | { kind: "link"; address: string; content: Inline[] }
  | { kind: "break" };
