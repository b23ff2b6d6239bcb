import { DeviceLost, OutOfMemory, WebGPUUnavailable } from "../errors.ts";
import { bindings, kernelCode } from "./kernels.ts";
import type { Step } from "./step.ts";

/** How products of bytes are computed: by an instruction for packed bytes, with shifts, or in float32. */
export type Dot = "packed" | "shifts" | "float";

export interface DeviceOptions {
  /** Another implementation of WebGPU than the browser's (Dawn in Node). */
  gpu?: GPU;
  powerPreference?: GPUPowerPreference;
  /** Most bytes of one buffer; larger matrices are split. Default: what the GPU can do. */
  maxBindingBytes?: number;
  /** Leaves features off that the adapter has, to test without them. */
  without?: readonly ("subgroups" | "packed")[];
}

/** A GPU: its device, what it can do, and the pipelines that were made on it. */
export class Gpu {
  private readonly pipelines = new Map<string, Promise<GPUComputePipeline>>();
  /** Settles when the device is gone; `error` says why. */
  readonly lost: Promise<DeviceLost>;
  error: DeviceLost | undefined;

  private constructor(
    readonly device: GPUDevice,
    readonly adapterName: string,
    readonly subgroups: boolean,
    readonly packed: boolean,
    /** The processor itself computes (SwiftShader): threads of a workgroup gain nothing. */
    readonly isProcessor: boolean,
    /** The most bytes of one buffer. */
    readonly maxBytes: number,
  ) {
    this.lost = device.lost.then((info) => {
      this.error = new DeviceLost(`The GPU went away (${info.message || info.reason}); load the model again.`);
      return this.error;
    });
  }

  static async open(options: DeviceOptions = {}): Promise<Gpu> {
    const gpu = options.gpu ?? (typeof navigator === "undefined" ? undefined : navigator.gpu);
    if (!gpu) throw new WebGPUUnavailable("This browser has no WebGPU: use a new Chrome, Edge, Safari or Firefox.");
    const adapter = await gpu.requestAdapter({ powerPreference: options.powerPreference ?? "high-performance" });
    if (!adapter) throw new WebGPUUnavailable("WebGPU finds no GPU on this machine, or it is turned off.");
    const { info, limits, features } = adapter;
    const without = options.without ?? [];
    const subgroups = features.has("subgroups") && !without.includes("subgroups");
    const packed = gpu.wgslLanguageFeatures.has("packed_4x8_integer_dot_product") && !without.includes("packed");
    const device = await adapter.requestDevice({
      requiredFeatures: subgroups ? ["subgroups"] : [],
      requiredLimits: {
        maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
        maxBufferSize: limits.maxBufferSize,
      },
    });
    const isProcessor = info.architecture === "swiftshader" || /swiftshader|llvmpipe/i.test(info.description);
    const name = [info.vendor, info.architecture, info.description].filter(Boolean).join(" ") || "GPU";
    const most = Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize);
    return new Gpu(device, name, subgroups, packed, isProcessor, Math.min(most, options.maxBindingBytes ?? most));
  }

  /** The pipeline of a step's kernel with its constants, made once. */
  pipeline({ kernel, constants, dot }: Step): Promise<GPUComputePipeline> {
    const code = kernelCode(kernel, constants, dot);
    let pipeline = this.pipelines.get(code);
    if (!pipeline) {
      const module = this.device.createShaderModule({ code, label: kernel });
      const compute = { module, entryPoint: "main" };
      pipeline = this.device.createComputePipelineAsync({ layout: "auto", compute, label: kernel });
      this.pipelines.set(code, pipeline);
    }
    return pipeline;
  }

  /** A step's buffers at their places in its pipeline. */
  bind({ kernel, constants, buffers }: Step, pipeline: GPUComputePipeline): GPUBindGroup {
    const given = buffers();
    const entries = Array.from(bindings(kernel, constants), ([name, binding]) => ({
      binding,
      resource: { buffer: given[name] },
    }));
    return this.device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  }

  /** A buffer of at least `bytes`. Raises OutOfMemory where one buffer of this GPU cannot have as many. */
  buffer(bytes: number, label: string, usage = 0): GPUBuffer {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.device.limits;
    const most = Math.min(maxBufferSize, maxStorageBufferBindingSize);
    if (bytes > most)
      throw new OutOfMemory(`A buffer of this GPU has at most ${most} bytes, and '${label}' needs ${bytes}.`);
    const all = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC | usage;
    return this.device.createBuffer({ size: Math.max(16, Math.ceil(bytes / 4) * 4), usage: all, label });
  }

  /** Runs what allocates memory; rejects with OutOfMemory where it is not there. */
  async allocating<T>(what: string, run: () => Promise<T>): Promise<T> {
    this.device.pushErrorScope("out-of-memory");
    const [outcome] = await Promise.allSettled([run()]);
    const error = await this.device.popErrorScope().catch(() => null); // a lost device has no scopes
    if (error) throw new OutOfMemory(`The GPU has too little memory for ${what}.`);
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  }

  /** Raises DeviceLost where the device is gone. */
  check(): void {
    if (this.error) throw this.error;
  }
}
