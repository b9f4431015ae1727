/** Where a sparse file has data. */
import { constants } from "node:os";
import { lastErrno, libc, posixSupport, throwErrno } from "./libc.ts";

/** A run of data, bytes. */
export interface DataRange {
  readonly offset: number;
  readonly length: number;
}

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/**
 * The data of an open file of `size` bytes in order; holes are left out, so a file that is all hole gives nothing.
 * Where holes cannot be told, one range over everything. Moves the descriptor's offset: read with positions.
 */
export function dataRanges(fd: number, size: number): DataRange[] {
  if (size === 0) return [];
  if (!posixSupport().available) return [{ offset: 0, length: size }];
  const raw = libc();
  const ranges: DataRange[] = [];
  for (let position = 0; position < size;) {
    const start = raw.lseek(fd, position, SEEK_DATA);
    if (start < 0) {
      const errno = lastErrno();
      if (errno === constants.errno.ENXIO) break;
      if (errno === constants.errno.EINVAL && position === 0) return [{ offset: 0, length: size }];
      throwErrno("lseek");
    }
    if (start >= size) break;
    const hole = raw.lseek(fd, start, SEEK_HOLE);
    // ENXIO: the file was cut short between the two calls.
    if (hole < 0 && lastErrno() !== constants.errno.ENXIO) throwErrno("lseek");
    const end = hole < 0 ? size : Math.min(hole, size);
    ranges.push({ offset: start, length: end - start });
    position = end;
  }
  return ranges;
}
