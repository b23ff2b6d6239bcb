/** What tests do with a GPU: bytes to it, dispatches, and numbers back. */

import type { Gpu } from "../src/gpu/device.ts";
import type { Step } from "../src/gpu/step.ts";

export function upload(gpu: Gpu, values: ArrayBufferView): GPUBuffer {
  const buffer = gpu.buffer(values.byteLength, "test");
  gpu.device.queue.writeBuffer(buffer, 0, values as Uint32Array<ArrayBuffer>);
  return buffer;
}

/** Runs steps in one pass of n tokens. */
export async function dispatch(gpu: Gpu, steps: readonly Step[], n: number): Promise<void> {
  const encoder = gpu.device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  for (const step of steps) {
    const pipeline = await gpu.pipeline(step);
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, gpu.bind(step, pipeline));
    pass.dispatchWorkgroups(...step.groups(n));
  }
  pass.end();
  gpu.device.queue.submit([encoder.finish()]);
}

/** A copy of a buffer's bytes. */
export async function readBytes(gpu: Gpu, buffer: GPUBuffer, bytes = buffer.size): Promise<ArrayBuffer> {
  const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ;
  const staging = gpu.device.createBuffer({ size: bytes, usage });
  const encoder = gpu.device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, bytes);
  gpu.device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const copy = staging.getMappedRange().slice(0);
  staging.destroy();
  return copy;
}

export async function readFloats(gpu: Gpu, buffer: GPUBuffer, count: number): Promise<Float32Array> {
  return new Float32Array(await readBytes(gpu, buffer, count * 4));
}
