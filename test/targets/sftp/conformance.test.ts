import { mkdtempSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe } from "vitest";
import { SftpTarget } from "../../../src/targets/sftp/sftp-target.ts";
import { targetConformance } from "../../conformance/target.ts";
import { SftpServer } from "../../support/sftp-server.ts";

describe.skipIf(!SftpServer.isInstalled)("with a server", () => {
  let server: SftpServer;
  beforeAll(async () => {
    server = await SftpServer.start();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const fresh = (): string => join("data", basename(mkdtempSync(join(server.folder, "data/"))));

  targetConformance("sftp, OpenSSH", async () => ({ target: new SftpTarget(server.spec(fresh())) }));

  targetConformance("sftp, OpenSSH, made on the first put", async () => ({
    target: new SftpTarget(server.spec(join(fresh(), "not/yet"), { create: true })),
  }));
});
