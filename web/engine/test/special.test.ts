import { expect, test } from "vitest";
import { SpecialSplitter } from "../src/tokenizer/special.ts";

const splitter = new SpecialSplitter(
  new Map([
    ["<s>", 1],
    ["§", 2],
    ["<s><s>", 3],
  ]),
);

test("special tokens are those of a template, the longest at each place", () => {
  expect(splitter.split("a<s><s>§b")).toEqual(["a", 3, 2, "b"]);
});

test.each(["<s>", "§", "a§<s>b", "<<s><s>>", "§§"])("%s stays text where somebody typed it", (text) => {
  expect(splitter.split(splitter.typed(text))).toEqual([text]);
  expect(splitter.split(`§${splitter.typed(text)}<s>`)).toEqual([2, text, 1]);
});
