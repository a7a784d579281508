import { startsWithName } from "../magic.ts";
import type { FormatSpec } from "../types.ts";

export const arrow: FormatSpec = {
  title: "Arrow IPC",
  extensions: ["arrow", "feather", "ipc"],
  // A stream starts with a continuation marker instead of a name.
  isStart: (start) => startsWithName(start, "ARROW1") || start.toString("hex", 0, 4) === "ffffffff",
  isInferred: false,
  takesCsvOptions: false,
  isColumnar: true,
  isOneThread: false,
  converter: async () => (await import("./arrow.ts")).convertArrow,
};
