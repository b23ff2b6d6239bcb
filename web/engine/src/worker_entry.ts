/** What a Worker runs: `new Worker(new URL("@sterna/web/worker", import.meta.url), { type: "module" })`. */

import { type Endpoint, serve } from "./worker.ts";

serve(globalThis as unknown as Endpoint);
