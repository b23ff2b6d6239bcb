/** The dispatches of golden plans for several tokens are the steps that Python's engine of GPUs has
 * (`sterna/gpu/fuse.py`). */

import { describe, expect, test } from "vitest";
import { UnsupportedError } from "../src/errors.ts";
import { compile, type Program } from "../src/gpu/compile.ts";
import type { Gpu } from "../src/gpu/device.ts";
import { KvCache } from "../src/gpu/kv.ts";
import type { Step } from "../src/gpu/step.ts";
import { Loader } from "../src/gpu/weights.ts";
import type { Norm, Plan, Rope } from "../src/model/plan.ts";
import { json } from "./files.ts";
import { type Golden, golden } from "./golden.ts";

interface Steps {
  steps: unknown[];
  head: unknown;
}

const ACTIVATIONS = ["relu2", "silu", "sigmoid", "gelu"];

/** What compiling asks of a GPU: buffers that know their names. */
const GPU = {
  maxBytes: 2 ** 30,
  buffer: (size: number, label: string) => ({ size, label, destroy: () => {} }),
  allocating: (_what: string, allocate: () => Promise<void>) => allocate(),
  check: () => {},
  device: {
    queue: { writeBuffer: () => {}, submit: () => {}, onSubmittedWorkDone: async () => {} },
    createCommandEncoder: () => ({ copyBufferToBuffer: () => {}, finish: () => {} }),
  },
} as unknown as Gpu;

/** A dispatch by the names of what it reads and writes. */
function described(step: Step, plan: Plan, { slots }: Program): unknown {
  const { constants } = step;
  const buffers = step.buffers();
  const views = Object.keys(plan.slots).map((name) => ({ name, view: slots.view(name) }));
  const slot = (buffer: string, at: string) => {
    const found = views.find(({ view }) => view.buffer === buffers[buffer] && view.at === constants[at]);
    return found?.name ?? buffers[buffer].label;
  };
  const label = (buffer: string) => buffers[buffer]?.label ?? null;
  const [out, x] = [() => slot("out", "OUT_AT"), () => slot("x", "X_AT")];
  const cache = () => label("keys")?.replace(/ keys$/, "");
  switch (step.kernel) {
    case "embed":
      return { kernel: "embed", out: out(), weight: label("weights"), factor: constants.FACTOR };
    case "row":
      return {
        kernel: "row",
        out: out(),
        x: x(),
        up: constants.GATED ? slot("x", "UP_AT") : null,
        activation: ACTIVATIONS.find((name) => constants[name.toUpperCase()]) ?? null,
        norm: label("weight"),
        quantize: ["int8", "int15"].find((kind) => constants[kind.toUpperCase()]) ?? null,
      };
    case "norm_add":
      return { kernel: "norm_add", out: out(), x: x(), norm: label("weight") };
    case "heads":
      return {
        kernel: "heads",
        q: slot("qkv", "Q_AT"),
        cache: cache(),
        style: constants.INTERLEAVED ? "interleaved" : "half",
        turns: label("turns")?.replace(/^turns /, ""),
        norms: constants.NORM ? [label("q_weight"), label("k_weight")] : [],
      };
    case "attention":
      return { kernel: "attention", q: slot("q", "Q_AT"), out: out(), cache: cache() };
    case "hadamard":
      return {
        kernel: "hadamard",
        out: out(),
        x: x(),
        direction: constants.FORWARD ? "forward" : "inverse",
        block: constants.BLOCK,
      };
    default:
      return {
        kernel: "linear",
        out: out(),
        x: x(),
        weight: label("weights"),
        rows: constants.ROWS,
        activations: !("codes" in buffers) ? "none" : constants.INT15 ? "int15" : "int8",
        residual: constants.RESIDUAL,
        bias: constants.BIAS,
      };
  }
}

function compiled(model: Golden, kv: KvCache): Promise<Program> {
  const { plan, tensors, source, tokens } = model;
  const loader = new Loader(GPU, source, tensors, new Map(), () => {});
  const [state, ids, logits] = ["state", "tokens", "logits"].map((label) => GPU.buffer(16, label));
  const tuning = { lanes: 1, subgroups: false, dot: "packed", rowThreads: 4 } as const;
  return compile(GPU, plan, tensors, loader, kv, { state, tokens: ids, logits }, tuning, tokens.length);
}

describe("steps of golden plans", () => {
  test.each(Object.entries(json<Record<string, Steps>>("web/engine/test/fixtures/steps.json")))(
    "%s has Python's",
    async (name, expected) => {
      const model = golden(name);
      const { plan, tokens } = model;
      const kv = new KvCache(GPU, plan, "f16", tokens.length);
      await kv.reserve(tokens.length, tokens.length);
      const program = await compiled(model, kv);
      // Where one token is computed, an attention's rows lie in parts until the next step has read them.
      expect(program.prefill.map((step) => described(step, plan, program))).toEqual(expected.steps);
      expect(described(program.head[program.head.length - 1], plan, program)).toEqual(expected.head);
    },
  );
});

type Before = [q: Norm, k: Norm, q: Rope, k: Rope];

test.each<[string, (before: Before) => (Norm | Rope)[]]>([
  ["norms after the rotation", ([q, k, turnQ, turnK]) => [turnQ, turnK, q, k]],
  ["a norm of q alone", ([q, , turnQ, turnK]) => [q, turnQ, turnK]],
  ["norms with other epsilons", ([q, k, turnQ, turnK]) => [q, { ...k, eps: 0.5 }, turnQ, turnK]],
  ["a norm of the whole of k", ([q, k, turnQ, turnK]) => [q, { ...k, heads: 1 }, turnQ, turnK]],
  ["a k that is rotated otherwise", ([q, k, turnQ, turnK]) => [q, k, turnQ, { ...turnK, frequencies: "others" }]],
  ["a q that is rotated twice", ([q, k, turnQ]) => [q, k, turnQ, turnQ]],
])("an attention with %s is refused", async (_, changed) => {
  const model = golden("qwen3");
  const { operations } = model.plan;
  const end = operations.findIndex((one) => one.kind === "attention");
  const before = changed(operations.slice(end - 4, end) as Before);
  const plan = { ...model.plan, operations: [...operations.slice(0, end - 4), ...before, ...operations.slice(end)] };
  const kv = new KvCache(GPU, plan, "f16", model.tokens.length);
  await expect(compiled({ ...model, plan }, kv)).rejects.toThrow(UnsupportedError);
});
