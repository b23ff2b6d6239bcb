import { describe, expect, test } from "vitest";
import { parseMarkdown } from "../src/markdown/blocks.ts";
import { parseInline } from "../src/markdown/inline.ts";
import type { Inline } from "../src/markdown/tree.ts";

const strong = (...content: Inline[]): Inline => ({ kind: "strong", content });
const emphasis = (...content: Inline[]): Inline => ({ kind: "emphasis", content });
const link = (address: string, ...content: Inline[]): Inline => ({ kind: "link", address, content });
const code = (text: string): Inline => ({ kind: "code", text });
const paragraph = (...content: Inline[]) => ({ kind: "paragraph", content });

describe("inline", () => {
  test.each<[string, Inline[]]>([
    ["plain", ["plain"]],
    ["a **b** c", ["a ", strong("b"), " c"]],
    ["*a* _b_ ~~c~~", [emphasis("a"), " ", emphasis("b"), " ", { kind: "strike", content: ["c"] }]],
    ["***a***", [strong(emphasis("a"))]],
    ["**a *b* c**", [strong("a ", emphasis("b"), " c")]],
    ["*a **b***", [emphasis("a ", strong("b"))]],
    ["snake_case_name and 2 * 3 * 4", ["snake_case_name and 2 * 3 * 4"]],
    ["`a *b*` ``c`d``", [code("a *b*"), " ", code("c`d")]],
    ["\\*a\\* \\q", ["*a* \\q"]],
    ["one\ntwo", ["one", { kind: "break" }, "two"]],
    ["[a *b*](https://x.org/y)", [link("https://x.org/y", "a ", emphasis("b"))]],
    ['[a](https://x.org "title")', [link("https://x.org/", "a")]],
    ["[a](https://x.org/b_(c))", [link("https://x.org/b_(c)", "a")]],
    [
      "See https://x.org/a?b=c, or <https://y.org>.",
      [
        "See ",
        link("https://x.org/a?b=c", "https://x.org/a?b=c"),
        ", or ",
        link("https://y.org/", "https://y.org"),
        ".",
      ],
    ],
    ["(https://x.org/a)", ["(", link("https://x.org/a", "https://x.org/a"), ")"]],
    ["a[1] and [b]", ["a[1] and [b]"]],
  ])("%s", (text, expected) => expect(parseInline(text)).toEqual(expected));

  test.each(["**a", "*a", "`a", "``a`", "[a", "[a](", "![a](", "a**", "~~a", "~a~", "<b", "**", "****"])(
    "%s is not complete, and stays text",
    (text) => expect(parseInline(text)).toEqual([text]),
  );

  test.each([
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "<a href='javascript:alert(1)'>a</a>",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](data:text/html,b)",
    "[a](vbscript:b)",
    "[a](//x.org)",
    "[a](/v1/models)",
    "[a](https://)",
    "&lt;b&gt; &#106;",
  ])("%s stays text", (text) => expect(parseInline(text)).toEqual([text]));

  test("an image is a link to it, and in a link its text", () => {
    expect(parseInline("![a tern](https://x.org/a.png)")).toEqual([link("https://x.org/a.png", "a tern")]);
    expect(parseInline("[![b](https://x.org/b.png)](https://y.org)")).toEqual([link("https://y.org/", "b")]);
  });

  test("an address is the one that URL makes of it", () => {
    expect(parseInline("[a](HTTPS://X.org/<b>)")).toEqual(["[a](HTTPS://X.org/<b>)"]);
    expect(parseInline("[a](HTTPS://X.org/ü)")).toEqual([link("https://x.org/%C3%BC", "a")]);
  });

  test.each(["[", "*a ", "**a _b ", "`", "![", "](", "~~a", "[a](", "<h", "`` ` ", "https://", "\\", "[a](https://x "])(
    "so much of %s that quadratic time would be too long stays flat",
    (piece) => expect(depthOf(parseInline(piece.repeat(100_000 / piece.length)))).toBeLessThan(200),
  );
});

describe("blocks", () => {
  test("paragraphs, headings and rules", () => {
    expect(parseMarkdown("# A\nb\nc\n\n---\n### D ##\n#e")).toEqual([
      { kind: "heading", level: 1, content: ["A"] },
      paragraph("b", { kind: "break" }, "c"),
      { kind: "rule" },
      { kind: "heading", level: 3, content: ["D"] },
      paragraph("#e"),
    ]);
  });

  test("code between fences, also while it is written", () => {
    const block = { kind: "code", language: "python", text: "if a:\n    *b*" };
    expect(parseMarkdown("```python\nif a:\n    *b*\n```\nc")).toEqual([block, paragraph("c")]);
    expect(parseMarkdown("~~~~ python x\nif a:\n    *b*")).toEqual([block]);
    expect(parseMarkdown("````\n```\n````")).toEqual([{ kind: "code", language: "", text: "```" }]);
  });

  test("lists, nested and with blocks in them", () => {
    expect(parseMarkdown("1. a\n   - b\n   - c\n2. d\n\n   e\nf\n\ng")).toEqual([
      {
        kind: "list",
        start: 1,
        items: [
          [paragraph("a"), { kind: "list", start: null, items: [[paragraph("b")], [paragraph("c")]] }],
          [paragraph("d"), paragraph("e", { kind: "break" }, "f")],
        ],
      },
      paragraph("g"),
    ]);
    expect(parseMarkdown("3) a\n\n4) b")).toEqual([
      { kind: "list", start: 3, items: [[paragraph("a")], [paragraph("b")]] },
    ]);
    expect(parseMarkdown("- a\n  ```\n  b\n  ```")).toEqual([
      { kind: "list", start: null, items: [[paragraph("a"), { kind: "code", language: "", text: "b" }]] },
    ]);
    expect(parseMarkdown("He was born in\n1984. A year")).toEqual([
      paragraph("He was born in", { kind: "break" }, "1984. A year"),
    ]);
  });

  test("quotes", () => {
    expect(parseMarkdown("> a\n> > b\n\nc")).toEqual([
      { kind: "quote", blocks: [paragraph("a"), { kind: "quote", blocks: [paragraph("b")] }] },
      paragraph("c"),
    ]);
  });

  test("tables", () => {
    expect(parseMarkdown("| a | b |\n|:--|--:|\n| 1 | *2* | 3 |\n| x \\| y |\n\nc")).toEqual([
      {
        kind: "table",
        align: ["left", "right"],
        head: [["a"], ["b"]],
        rows: [
          [["1"], [emphasis("2")]],
          [["x | y"], []],
        ],
      },
      paragraph("c"),
    ]);
    expect(parseMarkdown("a | b\nc")).toEqual([paragraph("a | b", { kind: "break" }, "c")]);
  });

  test.each([
    "> ",
    "- ",
    "1. ",
    "# ",
    "| ",
    "```\n",
    "-|\n",
    "\n",
    "  ",
    "* * ",
    "- \n\n",
    "~",
    "#",
    "|a|\n|-|\n",
    "a\n1. ",
  ])("so much of %j that quadratic time would be too long stays flat", (piece) => {
    for (const end of ["", "x", "`"]) {
      expect(depthOf(parseMarkdown(piece.repeat(50_000 / piece.length) + end))).toBeLessThan(100);
    }
  });
});

function depthOf(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).slice(0, 1000).map(depthOf));
}
