/** The rotation of activations that a GGUF file declares in `prism.hadamard.*` (PrismML's llama.cpp, versions 1 and 2;
 * `checkpoint/gguf/hadamard.py`). A declaration with an unknown key or value is refused. */

import { FormatError, UnsupportedError } from "../errors.ts";
import type { Metadata } from "../files/gguf.ts";
import type { Described } from "./builder.ts";
import type { HadamardConfig } from "./config.ts";
import { Keys } from "./keys.ts";

const PREFIX = "prism.hadamard";
const FIXED: Record<string, string> = {
  transform: "normalized-sylvester-walsh-hadamard",
  axis: "input-last-dimension",
};
const LISTS = ["weight_names", "inverse_weight_names", "sign_widths", "sign_values"];
const KNOWN = new Set([
  ...Object.keys(FIXED),
  ...LISTS,
  "version",
  "block_size",
  "sign_mode",
  "gdn_v_grouped",
  "tied_output",
]);
const MAX_BLOCK = 4096;
const EMBEDDING = "token_embd.weight";
const ROTATED = /^(?:blk\.\d+\.(?:attn_[qkv]|attn_output|ffn_gate|ffn_up|ffn_down)|output)\.weight$/;

export function readHadamard(metadata: Metadata, tensors: ReadonlyMap<string, Described>): HadamardConfig | null {
  const given = [...metadata.keys()].filter((key) => key.startsWith(`${PREFIX}.`));
  if (!given.length) return null;
  const keys = new Keys(metadata, PREFIX);
  const version = keys.get("version");
  if (version !== 1 && version !== 2)
    throw new UnsupportedError(`The file's rotation has the version ${version}; 1 and 2 are known.`);
  for (const key of given.map((name) => name.slice(PREFIX.length + 1)))
    if (!KNOWN.has(key)) throw new UnsupportedError(`The file's rotation has a key '${key}', which is not known.`);
  for (const [key, wanted] of Object.entries(FIXED))
    if ((keys.get(key) ?? wanted) !== wanted)
      throw new UnsupportedError(`The file's rotation has the ${key} '${keys.get(key)}', which is not known.`);
  if ((keys.get("gdn_v_grouped") ?? false) !== false)
    throw new UnsupportedError("The file's rotation is that of gated delta nets, which do not run in a browser yet.");
  const block = keys.integer("block_size");
  if (block < 2 || block > MAX_BLOCK || block & (block - 1))
    throw new FormatError(`The file's rotation has blocks of ${block}, no power of two up to ${MAX_BLOCK}.`);
  const weights = new Set(names(metadata, "weight_names", tensors));
  const inverse = new Set(names(metadata, "inverse_weight_names", tensors));
  const tied = keys.get("tied_output") ?? false;
  if (tied !== (version === 2) || (tied && (tensors.has("output.weight") || !inverse.has(EMBEDDING))))
    throw new FormatError("The file's rotation contradicts itself about the output matrix.");
  if ([...inverse].some((name) => name !== EMBEDDING) || ![...weights].every((name) => ROTATED.test(name)))
    throw new UnsupportedError("The file's rotation names a tensor that is not rotated here.");
  if (tied) weights.add(EMBEDDING);
  for (const name of [...weights, ...inverse]) {
    const shape = (tensors.get(name) as Described).shape;
    if (shape[shape.length - 1] % block)
      throw new FormatError(`The file's rotation has blocks of ${block}, which do not fill the rows of '${name}'.`);
  }
  return { block_size: block, weights, inverse, signs: readSigns(metadata, keys) };
}

function names(metadata: Metadata, key: string, tensors: ReadonlyMap<string, Described>): string[] {
  const value = metadata.get(`${PREFIX}.${key}`) ?? [];
  if (!Array.isArray(value) || !value.every((name) => typeof name === "string"))
    throw new FormatError(`The file's rotation has no list of names as its ${key}.`);
  for (const name of value)
    if (!tensors.has(name)) throw new FormatError(`The file's rotation names '${name}', a tensor that is not there.`);
  return value;
}

/** The signs of the columns, by width: `sign_values` has them one width after the other. */
function readSigns(metadata: Metadata, keys: Keys): Map<number, number[]> {
  const mode = keys.get("sign_mode") ?? "identity";
  const signs = new Map<number, number[]>();
  if (mode === "identity") return signs;
  if (mode !== "explicit") throw new UnsupportedError(`The file's rotation has the sign_mode '${mode}'.`);
  const [widths, values] = ["sign_widths", "sign_values"].map((key) => {
    const list = metadata.get(`${PREFIX}.${key}`);
    if (typeof list !== "object") throw new FormatError("The file's rotation has no lists of signs.");
    return Array.from(list as ArrayLike<number>, Number);
  });
  if (!values.every((value) => value === 1 || value === -1))
    throw new FormatError("The file's rotation has a sign that is neither 1 nor -1.");
  let at = 0;
  for (const width of widths) {
    if (signs.has(width) || !(width >= 1)) throw new FormatError("The file's rotation has signs that do not fit.");
    signs.set(width, values.slice(at, at + width));
    at += width;
  }
  if (at !== values.length) throw new FormatError("The file's rotation has signs that do not fit their widths.");
  return signs;
}
