import { expect, test } from "vitest";
import { StopStrings } from "../src/tokenizer/stops.ts";

function run(stops: string[], pieces: string[]): [string, boolean] {
  const strings = new StopStrings(stops);
  const text = pieces.map((piece) => (strings.found ? "" : strings.push(piece))).join("") + strings.flush();
  return [text, strings.found];
}

test("a stop string ends the text wherever it is cut, and its beginning alone does not", () => {
  expect(run(["\nUser:"], ["Hi", "\nUs", "er", ": more"])).toEqual(["Hi", true]);
  expect(run(["\nUser:"], ["Hi\nUs", "age"])).toEqual(["Hi\nUsage", false]);
  expect(run(["aab"], ["aa", "ab"])).toEqual(["a", true]);
  expect(run(["xyz", "y"], ["wx", "yz"])).toEqual(["w", true]);
  expect(run(["", "y"], ["wx", "yz"])).toEqual(["wx", true]);
  expect(run([], ["all", " of it"])).toEqual(["all of it", false]);
});
