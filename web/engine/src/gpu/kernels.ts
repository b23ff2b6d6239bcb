/** The kernels' texts, completed: constants before them, and the parts that their conditions keep. */

import attention from "../shaders/attention.wgsl?raw";
import dotFloat from "../shaders/dot_float.wgsl?raw";
import dotPacked from "../shaders/dot_packed.wgsl?raw";
import dotShifts from "../shaders/dot_shifts.wgsl?raw";
import embed from "../shaders/embed.wgsl?raw";
import hadamard from "../shaders/hadamard.wgsl?raw";
import heads from "../shaders/heads.wgsl?raw";
import linearBytes from "../shaders/linear_bytes.wgsl?raw";
import linearFloat from "../shaders/linear_float.wgsl?raw";
import linearRow from "../shaders/linear_row.wgsl?raw";
import linearTernary from "../shaders/linear_ternary.wgsl?raw";
import linearTernaryTile from "../shaders/linear_ternary_tile.wgsl?raw";
import normAdd from "../shaders/norm_add.wgsl?raw";
import place from "../shaders/place.wgsl?raw";
import row from "../shaders/row.wgsl?raw";
import sample from "../shaders/sample.wgsl?raw";
import state from "../shaders/state.wgsl?raw";
import type { Dot } from "./device.ts";

/** Numbers become constants of the kernel (whole ones u32, others f32); true ones are conditions that hold. */
export type Constants = Record<string, number | boolean>;

const KERNELS: Record<string, string> = {
  attention: place + attention,
  embed,
  hadamard,
  heads: place + heads,
  linear_bytes: linearRow + linearBytes,
  linear_float: linearRow + linearFloat,
  linear_ternary: linearRow + linearTernary,
  linear_ternary_tile: linearTernaryTile,
  norm_add: normAdd,
  row,
  sample,
};
const DOTS: Record<Dot, string> = { packed: dotPacked, shifts: dotShifts, float: dotFloat };

/** Constants that are float32 even where their value is whole. */
const FLOATS = new Set(["EPS", "SCALE", "FACTOR", "LIMIT", "LEAST", "NORMALIZER"]);

export function kernelCode(kernel: string, constants: Constants, dot?: Dot): string {
  const numbers = Object.entries(constants).flatMap(([name, value]) => {
    if (typeof value === "boolean") return [];
    return `const ${name} = ${FLOATS.has(name) ? `f32(${value})` : `${value}u`};`;
  });
  const holds = new Set(Object.entries(constants).flatMap(([name, value]) => (value === true ? [name] : [])));
  return [
    dot === "packed" ? "requires packed_4x8_integer_dot_product;" : "",
    holds.has("SUBGROUPS") ? "enable subgroups;" : "",
    ...numbers,
    state,
    dot ? DOTS[dot] : "",
    kept(KERNELS[kernel], holds),
  ].join("\n");
}

/** A text without the lines whose `//#if NAME` does not hold. */
function kept(text: string, holds: ReadonlySet<string>): string {
  const open: boolean[] = [];
  return text
    .split("\n")
    .filter((line) => {
      const [, directive, name] = /^\s*\/\/#(if|else|endif)\s*(\w*)/.exec(line) ?? [];
      if (directive === "if") open.push(holds.has(name));
      else if (directive === "else") open.push(!open.pop());
      else if (directive === "endif") open.pop();
      return !directive && open.every(Boolean);
    })
    .join("\n");
}

/** The bindings of a kernel's text by their names. */
export function bindings(kernel: string, constants: Constants): Map<string, number> {
  const code = kernelCode(kernel, constants);
  const found = code.matchAll(/@binding\((\d+)\)\s*var<[^>]*>\s*(\w+)/g);
  return new Map(Array.from(found, (match) => [match[2], Number(match[1])]));
}
