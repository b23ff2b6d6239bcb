/** Models and fixtures that tests read. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { BytesSource } from "../src/files/source.ts";

export function path(relative: string): string {
  return fileURLToPath(new URL(`../../../${relative}`, import.meta.url));
}

export function bytes(relative: string): Uint8Array {
  return new Uint8Array(readFileSync(path(relative)));
}

export function source(relative: string): BytesSource {
  return new BytesSource(bytes(relative), relative);
}

export function json<T>(relative: string): T {
  return JSON.parse(readFileSync(path(relative), "utf-8"));
}

export const EMBEDDED = "src/sterna/models/sterna-tern.gguf";
