// Loaded into a server under test, with --expose-gc: on SIGUSR2 it says what is left of its heap after a collection.
process.on("SIGUSR2", () => {
  globalThis.gc();
  const { heapUsed } = process.memoryUsage();
  const handles = process.getActiveResourcesInfo().length;
  process.stderr.write(`${JSON.stringify({ message: "heap", kib: Math.round(heapUsed / 1024), handles })}\n`);
});
