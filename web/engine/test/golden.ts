/** Golden plans (tests/golden_plans.py): a plan, its tensors as a source of bytes, and the output of each operation. */

import { ENCODINGS, type EncodingName } from "../src/files/encodings.ts";
import type { TensorInfo } from "../src/files/gguf.ts";
import { BytesSource } from "../src/files/source.ts";
import type { Plan } from "../src/model/plan.ts";
import { bytes, json } from "./files.ts";

interface Stored {
  plan: Plan;
  tokens: number[];
  tensors: Record<string, { encoding: string; shape: number[]; scale: number }>;
}

export interface Golden {
  plan: Plan;
  tokens: number[];
  source: BytesSource;
  tensors: Map<string, TensorInfo>;
  /** The output of operation i, [tokens, width]. */
  steps: Float32Array[];
}

export function golden(name: string): Golden {
  const stored = json<Stored>(`tests/data/plans/${name}.json`);
  const arrays = safetensors(bytes(`tests/data/plans/${name}.safetensors`));
  const tensors = new Map<string, TensorInfo>();
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const [key, { encoding, shape, scale }] of Object.entries(stored.tensors)) {
    const data = arrays.get(`tensor.${key}`) as Uint8Array;
    const tail = new Uint8Array(32);
    new DataView(tail.buffer).setFloat32(0, scale, true);
    const known = ENCODINGS[encoding as EncodingName];
    if (known) tensors.set(key, { name: key, shape, encoding: known, offset, bytes: data.length });
    parts.push(data, tail);
    offset += data.length + tail.length;
  }
  const joined = new Uint8Array(offset);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  const steps = stored.plan.operations.map((_, i) => floats(arrays.get(`step.${i}`) as Uint8Array));
  return { plan: stored.plan, tokens: stored.tokens, source: new BytesSource(joined), tensors, steps };
}

export function floats(data: Uint8Array): Float32Array {
  return new Float32Array(data.slice().buffer);
}

/** The arrays of a safetensors file, as bytes. */
function safetensors(file: Uint8Array): Map<string, Uint8Array> {
  const size = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header: Record<string, { data_offsets: [number, number] }> = JSON.parse(
    new TextDecoder().decode(file.subarray(8, 8 + size)),
  );
  const entries = Object.entries(header).filter(([name]) => name !== "__metadata__");
  return new Map(
    entries.map(
      ([
        name,
        {
          data_offsets: [begin, end],
        },
      ]) => [name, file.subarray(8 + size + begin, 8 + size + end)],
    ),
  );
}
