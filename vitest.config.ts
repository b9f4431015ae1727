import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    pool: "forks",
    // Two at a time even on two cores: suites wait for disks and children as much as they compute.
    maxWorkers: 2,
    // Against hangs only, and far above what a slow or busy machine needs: no test asserts a time.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    projects: [
      { extends: true, test: { name: "unit", include: ["test/**/*.test.ts"], exclude: ["test/e2e/**", "test/faults/**"] } },
      { extends: true, test: { name: "e2e", include: ["test/e2e/**/*.test.ts"], fileParallelism: false } },
      { extends: true, test: { name: "faults", include: ["test/faults/**/*.test.ts"], fileParallelism: false } },
    ],
  },
});
