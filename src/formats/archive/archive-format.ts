import { HoldfastError } from "../../base/errors.ts";
import type { Format } from "../format.ts";
import { ArchiveStore } from "./archive-store.ts";
import { createStoreConfig, readStoreId } from "./store-config.ts";
import { writeArchive } from "./write-archive.ts";

/** One plain tar a snapshot, in parts, beside an index of its entries. Nothing is shared, compressed or encrypted. */
export const archiveFormat: Format = {
  kind: "archive",

  async exists(options) {
    return (await readStoreId(options.access.target, options.name, options.signal)) !== undefined;
  },

  async open(options, _unlockings) {
    const id = await readStoreId(options.access.target, options.name, options.signal);
    if (id !== undefined) return new ArchiveStore(id, options);
    throw new HoldfastError("repository_missing", `Target ${options.name} holds no archives yet`, {
      hint: "`holdfast apply` prepares it. If there should be some, check the path and that its disk is mounted.",
    });
  },

  async create(options, unlocking, _kdf, _kin) {
    if (unlocking !== undefined)
      throw new HoldfastError("config_invalid", `Target ${options.name} keeps archives, and archives cannot be encrypted`, {
        hint: "Remove its encryption, or set its format to repository.",
      });
    return new ArchiveStore(await createStoreConfig(options, options.signal), options);
  },

  async write(stores, request) {
    const destinations = stores.map((store) => {
      if (!(store instanceof ArchiveStore)) throw new HoldfastError("internal", `${store.name} is no archive store`);
      return { id: store.id, options: store.options };
    });
    return await writeArchive(destinations, request);
  },
};
