// Keeps the page's own files, and answers with them where the network does not.
const CACHE = "sterna-demo";
const isKept = (url) => url.origin === location.origin && !url.pathname.endsWith(".gguf");

// Without room there is nothing kept, and the page works all the same.
async function keep(request, reply) {
  try {
    await (await caches.open(CACHE)).put(request, reply);
  } catch {}
}

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !isKept(new URL(request.url))) return;
  event.respondWith(
    fetch(request)
      .then(async (reply) => {
        if (reply.status === 200) await keep(request, reply.clone()); // not parts of files
        return reply;
      })
      .catch(async (error) => {
        const kept = await caches.match(request);
        if (kept) return kept;
        throw error;
      }),
  );
});
