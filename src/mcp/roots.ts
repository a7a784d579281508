import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { McpServer } from "@modelcontextprotocol/server";

const ROOTS_TIMEOUT_MS = 2_000;

/**
 * The folders that the client has open, requested once, and again after the client reports a change. Only of 2025
 * clients: the 2026 revision has no requests from the server.
 */
export function clientRoots(server: McpServer, enabled: boolean): () => Promise<string[]> {
  if (!enabled) return async () => [];
  let requested: Promise<string[]> | undefined;

  const request = async (): Promise<string[]> => {
    if (!server.server.getClientCapabilities()?.roots) return [];
    try {
      const { roots } = await server.server.listRoots(undefined, { timeout: ROOTS_TIMEOUT_MS });
      return roots.flatMap(({ uri }) => folderOf(uri));
    } catch {
      // No answer means no folders; the next call requests them again.
      requested = undefined;
      return [];
    }
  };

  server.server.setNotificationHandler("notifications/roots/list_changed", () => {
    requested = undefined;
  });
  return () => (requested ??= request());
}

/** None for a root that is not a local folder, and none for the root of the file system. */
function folderOf(uri: string): string[] {
  try {
    const folder = fileURLToPath(uri);
    return dirname(folder) === folder ? [] : [folder];
  } catch {
    return [];
  }
}
