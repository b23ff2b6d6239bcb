import { expect, test } from "vitest";
import { SpecialSplitter } from "../src/tokenizer/special.ts";

const NAMES = new Map([
  ["<s>", 1],
  ["§", 2],
  ["<s><s>", 3],
]);
const splitter = new SpecialSplitter(NAMES);

test("special tokens are those of a template, the longest at each place", () => {
  expect(splitter.split("a<s><s>§b")).toEqual(["a", 3, 2, "b"]);
});

test.each(["<s>", "§", "a§<s>b", "<<s><s>>", "§§"])("%s stays text where somebody typed it", (text) => {
  expect(splitter.split(splitter.typed(text))).toEqual([text]);
  expect(splitter.split(`§${splitter.typed(text)}<s>`)).toEqual([2, text, 1]);
});

// Every second part is typed, and trimmed by the template.
test.each([
  [["", "<s", ">"], ["<s>"]],
  [["<", "s>", ""], ["<s>"]],
  [
    ["<", "s", "><s>"],
    ["<s>", 1],
  ],
  [["<s", "> <", "s>"], ["<s> <s>"]],
  [["<", " s>\n<\n", "s>"], ["<s>\n<s>"]],
  [
    ["<", "s><s>", "§"],
    ["<s><s>", 2],
  ],
  [
    ["§", "<", "", "s>", "§"],
    [2, "<s>", 2],
  ],
  [
    ["", "<", "<s>"],
    ["<", 1],
  ],
  [
    ["<s>", "a", "<s>"],
    [1, "a", 1],
  ],
])("what is typed in %j is a part of no special token", (parts, expected) => {
  const text = parts.map((part, i) => (i % 2 ? splitter.typed(part).trim() : part)).join("");
  expect(splitter.split(text)).toEqual(expected);
});

test("white space before and after a token may belong to it", () => {
  const stripping = new SpecialSplitter(NAMES, new Set([1]), new Set([2]));
  expect(stripping.split(" a \u00A0<s> b § \n c <s> §")).toEqual([" a", 1, " b ", 2, "c", 1, " ", 2]);
  expect(stripping.split("\n<s>§\t")).toEqual([1, 2]);
});
