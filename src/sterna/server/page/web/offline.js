// Keeps the page's own files, and answers with them where the network does not.
const CACHE = "sterna-demo";
const isKept = (url) => url.origin === location.origin && !url.pathname.endsWith(".gguf");

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !isKept(new URL(request.url))) return;
  event.respondWith(
    fetch(request)
      .then(async (reply) => {
        if (reply.ok) await (await caches.open(CACHE)).put(request, reply.clone());
        return reply;
      })
      .catch(async (error) => {
        const kept = await caches.match(request);
        if (kept) return kept;
        throw error;
      }),
  );
});
