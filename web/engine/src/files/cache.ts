/** Models from URLs in the browser's own file system (OPFS), so that they open again without a network. A browser copies a
 * file to write more into it, so a model is kept in parts, each a file that is written once. An interrupted download goes
 * on behind the parts that are there. */

import { SourceError } from "../errors.ts";
import { addressOf, BlobSource, type ByteSource, type UrlSource } from "./source.ts";

const FOLDER = "sterna-models";
const PART_BYTES = 1 << 22;

/** A model in the cache. */
export interface CachedModel {
  url: string;
  bytes: number;
  /** Whether all of it is there. */
  whole: boolean;
}

/** What is kept beside the parts. */
interface Label {
  url: string;
  version: string;
  size: number;
}

async function folder(): Promise<FileSystemDirectoryHandle | null> {
  try {
    const root = await navigator.storage.getDirectory();
    return await root.getDirectoryHandle(FOLDER, { create: true });
  } catch {
    return null; // a browser without it, or one in private mode
  }
}

async function nameOf(url: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(url));
  return Array.from(new Uint8Array(hash).subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function readLabel(directory: FileSystemDirectoryHandle, name: string): Promise<Label | null> {
  try {
    const file = await (await directory.getFileHandle(`${name}.json`)).getFile();
    return JSON.parse(await file.text());
  } catch {
    return null; // there is none, or the page went away while it was written
  }
}

/** A source that keeps the file: `keep` downloads what is not there yet, and tells `progress` the bytes that are,
 * whenever some have come. Where the browser has no file system of its own, or no room in it, bytes come from the URL. */
export async function cachedSource(url: UrlSource, progress: (bytes: number) => void): Promise<ByteSource> {
  const directory = await folder();
  if (!directory) return url;
  const kept = await wholeFile(directory, url.url);
  if (kept?.version !== url.version || kept.source.size !== url.size)
    return new DownloadedSource(url, directory, progress);
  progress(url.size);
  return kept.source;
}

/** Asks the browser not to clear what it keeps when it needs room; only a page can, not a worker. */
export function persist(): void {
  globalThis.navigator?.storage?.persist?.().catch(() => {}); // a person may be asked; nothing waits for it
}

/** The model of a URL that is whole in the cache, without asking the network; null where there is none. */
export async function fromCache(url: string | URL): Promise<ByteSource | null> {
  const directory = await folder();
  if (!directory) return null;
  return (await wholeFile(directory, addressOf(url)))?.source ?? null;
}

async function wholeFile(directory: FileSystemDirectoryHandle, address: string) {
  const name = await nameOf(address);
  const label = await readLabel(directory, name);
  const parts = label && (await partsOf(directory, name, label.size));
  if (!parts || bytesOf(parts) !== label.size) return null;
  return { version: label.version, source: new BlobSource(new Blob(parts), address) };
}

/** The parts of a model of `size` bytes that are there, up to the first that is missing or not whole. */
async function partsOf(directory: FileSystemDirectoryHandle, name: string, size: number): Promise<File[]> {
  const parts: File[] = [];
  for (let at = 0; at < size; at += PART_BYTES) {
    const part = await fileOf(directory, `${name}.${parts.length}`);
    if (!part || part.size !== Math.min(PART_BYTES, size - at)) break;
    parts.push(part);
  }
  return parts;
}

function bytesOf(parts: readonly File[]): number {
  return parts.reduce((sum, part) => sum + part.size, 0);
}

async function fileOf(directory: FileSystemDirectoryHandle, name: string): Promise<File | null> {
  try {
    return await (await directory.getFileHandle(name)).getFile();
  } catch {
    return null;
  }
}

class DownloadedSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  private kept: ByteSource | undefined;

  constructor(
    private readonly url: UrlSource,
    private readonly directory: FileSystemDirectoryHandle,
    private readonly progress: (bytes: number) => void,
  ) {
    this.name = url.name;
    this.size = url.size;
  }

  read(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array> {
    return (this.kept ?? this.url).read(start, end, signal);
  }

  async keep(signal?: AbortSignal): Promise<void> {
    const name = await nameOf(this.url.url);
    // Pages that load the same model keep it one after another: the second finds what the first has kept.
    await navigator.locks.request(`${FOLDER} ${name}`, { ...(signal && { signal }) }, async () => {
      try {
        this.kept = new BlobSource(new Blob(await this.download(name, signal)), this.name);
      } catch (error) {
        if (!isFull(error)) throw error;
        await remove(this.directory, name); // parts of a file for which there is no room
      }
    });
  }

  private async download(name: string, signal?: AbortSignal): Promise<File[]> {
    const label = { url: this.url.url, version: this.url.version, size: this.size };
    const before = await readLabel(this.directory, name);
    const isSame = before?.version === label.version && before.size === label.size;
    const parts = isSame ? await partsOf(this.directory, name, label.size) : [];
    // The label is written first, and a page may go away at any time: another version's parts must not lie beside it.
    if (!parts.length) await remove(this.directory, name);
    let done = bytesOf(parts);
    const { quota, usage } = (await navigator.storage.estimate?.()) ?? {};
    if (quota !== undefined && usage !== undefined && this.size - done > quota - usage)
      throw new DOMException("There is no room for the file.", FULL);
    await write(this.directory, `${name}.json`, JSON.stringify(label));
    this.progress(done);
    while (done < this.size) {
      const bytes = await this.url.read(done, Math.min(done + PART_BYTES, this.size), signal);
      parts.push(await write(this.directory, `${name}.${parts.length}`, bytes as Uint8Array<ArrayBuffer>));
      done += bytes.length;
      this.progress(done);
    }
    return parts;
  }
}

const FULL = "QuotaExceededError";

function isFull(error: unknown): boolean {
  return error instanceof DOMException && error.name === FULL;
}

/** Writes a whole file; what was written is there only when all of it is. */
async function write(
  directory: FileSystemDirectoryHandle,
  name: string,
  data: string | Uint8Array<ArrayBuffer>,
): Promise<File> {
  const handle = await directory.getFileHandle(name, { create: true });
  const writable = await handle.createWritable();
  try {
    await writable.write(data);
    await writable.close();
  } catch (error) {
    await writable.abort().catch(() => {});
    throw error;
  }
  return handle.getFile();
}

/** The models in the cache. */
export async function listModels(): Promise<CachedModel[]> {
  const directory = await folder();
  const found: CachedModel[] = [];
  if (!directory) return found;
  for await (const entry of directory.keys()) {
    if (!entry.endsWith(".json")) continue;
    const name = entry.slice(0, -".json".length);
    const label = await readLabel(directory, name);
    if (!label) continue;
    const bytes = bytesOf(await partsOf(directory, name, label.size));
    found.push({ url: label.url, bytes, whole: bytes === label.size });
  }
  return found;
}

/** Takes a model out of the cache. */
export async function removeModel(url: string | URL): Promise<void> {
  const directory = await folder();
  if (!directory) throw new SourceError("This browser keeps no models.");
  await remove(directory, await nameOf(addressOf(url)));
}

async function remove(directory: FileSystemDirectoryHandle, name: string): Promise<void> {
  const entries: string[] = [];
  for await (const entry of directory.keys()) if (entry.startsWith(`${name}.`)) entries.push(entry);
  for (const entry of entries)
    await directory.removeEntry(entry).catch((error) => {
      if (error.name !== "NotFoundError") throw error; // another page has removed it meanwhile
    });
}
