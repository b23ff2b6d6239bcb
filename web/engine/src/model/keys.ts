import { FormatError, UnsupportedError } from "../errors.ts";
import type { Metadata } from "../files/gguf.ts";

/** Metadata keys that begin with a prefix and a dot, with their types checked. */
export class Keys {
  constructor(
    readonly metadata: Metadata,
    readonly prefix: string,
  ) {}

  get(key: string): number | boolean | string | undefined {
    const value = this.metadata.get(`${this.prefix}.${key}`);
    if (typeof value === "object")
      throw new UnsupportedError(`${this.prefix}.${key} is a list, where one value for all layers is needed.`);
    return value;
  }

  number(key: string, fallback?: number): number {
    const value = this.get(key) ?? fallback;
    if (value === undefined) throw new FormatError(`The file has no metadata key ${this.prefix}.${key}.`);
    if (typeof value !== "number") throw new FormatError(`${this.prefix}.${key} is no number.`);
    return value;
  }

  integer(key: string, fallback?: number): number {
    const value = this.number(key, fallback);
    if (!Number.isSafeInteger(value) || value < 0)
      throw new FormatError(`${this.prefix}.${key} is ${value}, and must be a whole number.`);
    return value;
  }
}
