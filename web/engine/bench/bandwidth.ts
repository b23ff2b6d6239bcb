/** How many bytes a second a GPU reads. */

import { Gpu } from "../src/gpu/device.ts";

const MOST_BYTES = 1 << 28;
const THREADS = 256;
const GROUPS = 1024;
const TRIALS = 5;

const CODE = `
@group(0) @binding(0) var<storage, read> numbers: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> sums: array<u32>;

@compute @workgroup_size(${THREADS})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  var sum = vec4<u32>();
  for (var i = id.x; i < arrayLength(&numbers); i += ${THREADS * GROUPS}u) {
    sum += numbers[i];
  }
  sums[id.x] = sum.x + sum.y + sum.z + sum.w;
}`;

/** The best of some trials. Every thread adds numbers that lie beside those of its neighbours. */
export async function bandwidth(): Promise<number> {
  const gpu = await Gpu.open();
  const { device } = gpu;
  const bytes = Math.min(MOST_BYTES, gpu.maxBytes);
  const module = device.createShaderModule({ code: CODE });
  const pipeline = device.createComputePipeline({ layout: "auto", compute: { module } });
  const buffers = [gpu.buffer(bytes, "numbers"), gpu.buffer(THREADS * GROUPS * 4, "sums")];
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  let best = 0;
  for (let trial = 0; trial < TRIALS; trial++) {
    const begin = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(GROUPS);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    best = Math.max(best, bytes / ((performance.now() - begin) / 1000));
  }
  device.destroy();
  return best;
}
