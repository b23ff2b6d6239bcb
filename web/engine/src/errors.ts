/** Base of every error that this package throws on purpose: one plain sentence each. Each class writes its name out, as
 * a build shortens the names of classes, and a worker sends an error by its name. */
export class SternaError extends Error {
  override name = "SternaError";
}

/** A file that breaks its format, or contradicts itself. */
export class FormatError extends SternaError {
  override name = "FormatError";
}

/** A file or a request that is valid, and that this engine does not run. */
export class UnsupportedError extends SternaError {
  override name = "UnsupportedError";
}

/** An argument that cannot work. */
export class ArgumentError extends SternaError {
  override name = "ArgumentError";
}

/** A source whose bytes cannot be had. */
export class SourceError extends SternaError {
  override name = "SourceError";
}

/** This browser, or this machine, has no WebGPU. */
export class WebGPUUnavailable extends SternaError {
  override name = "WebGPUUnavailable";
}

/** The GPU has too little memory for the model and its context. */
export class OutOfMemory extends SternaError {
  override name = "OutOfMemory";
}

/** The GPU went away: the model has to be loaded again. */
export class DeviceLost extends SternaError {
  override name = "DeviceLost";
}
