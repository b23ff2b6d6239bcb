/** WebGPU in Node: Dawn over SwiftShader, which Debian's chromium brings along. */

import { existsSync } from "node:fs";

const CHROMIUM = "/usr/lib/chromium";
const DRIVER = `${CHROMIUM}/vk_swiftshader_icd.json`;
const LOADER = `${CHROMIUM}/libvulkan.so.1`;
const RTLD_NOW_AND_NODELETE = 0x1002;

let made: GPU | undefined;

/** Null where this machine has neither a driver of its own nor SwiftShader. */
export async function dawn(): Promise<GPU | null> {
  if (made) return made;
  if (!process.env.VK_ICD_FILENAMES) {
    if (!existsSync(DRIVER)) return null;
    process.env.VK_ICD_FILENAMES = DRIVER;
    // Dawn looks for Vulkan's loader by its name alone, which finds one that is in memory. It is no module of Node's, so
    // Node complains after it has loaded it.
    try {
      process.dlopen({ exports: {} }, LOADER, RTLD_NOW_AND_NODELETE);
    } catch {}
  }
  const { create, globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  made = create([]) as GPU; // kept here: it must not be collected
  return made;
}
