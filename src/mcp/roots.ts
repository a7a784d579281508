import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { McpServer } from "@modelcontextprotocol/server";

const ROOTS_TIMEOUT_MS = 2_000;

/**
 * The folders the client has open, asked for once and again after it says they changed. Only 2025 clients can be asked:
 * the 2026 revision has no requests from the server.
 */
export function clientRoots(server: McpServer, enabled: boolean): () => Promise<string[]> {
  if (!enabled) return async () => [];
  let asked: Promise<string[]> | undefined;

  const ask = async (): Promise<string[]> => {
    if (!server.server.getClientCapabilities()?.roots) return [];
    try {
      const { roots } = await server.server.listRoots(undefined, { timeout: ROOTS_TIMEOUT_MS });
      return roots.flatMap(({ uri }) => folderOf(uri));
    } catch {
      // A client that does not answer offers nothing; it is asked again at the next call.
      asked = undefined;
      return [];
    }
  };

  server.server.setNotificationHandler("notifications/roots/list_changed", () => {
    asked = undefined;
  });
  return () => (asked ??= ask());
}

/** A root that is no folder of this machine offers nothing, and neither does the whole disk. */
function folderOf(uri: string): string[] {
  try {
    const folder = fileURLToPath(uri);
    return dirname(folder) === folder ? [] : [folder];
  } catch {
    return [];
  }
}
