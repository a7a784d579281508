import type { Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { networkOf } from "./gates/ip.ts";

export interface ConnectionLimits {
  /** Connections at a time. */
  most: number;
  /** Of one address, as long as no request on them had a valid token. */
  perAddress: number;
  /** Whether many clients connect from this address. */
  isProxy(address: string): boolean;
}

/** The connections of a listener, bounded so that no address and no caller can use up all of them. */
export interface Connections {
  /** Marks the connection as used until the response has ended. */
  use(socket: Socket, response: ServerResponse): void;
  /** Called for a request that has passed all gates. */
  admit(socket: Socket, caller: string): void;
  readonly size: number;
}

interface Connection {
  socket: Socket;
  address: string;
  /** Undefined until a request on it has passed the gates. */
  caller: string | undefined;
  /** Responses that are not finished. */
  open: number;
}

/**
 * At a limit, an idle connection is closed for the new one: at that of an address, its longest unused one without a token;
 * at the total, one of the caller, or of the address without a token, that has the most.
 */
export function openConnections(server: Server, { most, perAddress, isProxy }: ConnectionLimits): Connections {
  /** In the order of their last use. */
  const connections = new Map<Socket, Connection>();

  const drop = ({ socket }: Connection): void => {
    connections.delete(socket);
    socket.destroy();
  };
  /** The longest unused one of the caller, or of the address without a token, that has the most. */
  const idle = (): Connection | undefined => {
    const groups = new Map<string, Connection[]>();
    for (const connection of connections.values()) {
      const { caller, address } = connection;
      const of = JSON.stringify([caller ?? null, caller === undefined ? address : ""]);
      const group = groups.get(of);
      if (group) group.push(connection);
      else groups.set(of, [connection]);
    }
    const bySize = [...groups.values()].sort((a, b) => b.length - a.length);
    return bySize.flatMap((group) => group.find(({ open }) => open === 0) ?? [])[0];
  };

  server.on("connection", (socket: Socket) => {
    const connection: Connection = {
      socket,
      address: networkOf(socket.remoteAddress ?? ""),
      caller: undefined,
      open: 0,
    };
    const { address } = connection;
    const unknown = [...connections.values()].filter((each) => each.caller === undefined && each.address === address);
    if (unknown.length >= perAddress && !isProxy(socket.remoteAddress ?? "")) {
      drop(unknown.find(({ open }) => open === 0) ?? connection);
    } else if (connections.size >= most) {
      drop(idle() ?? connection);
    }
    if (socket.destroyed) return;
    connections.set(socket, connection);
    socket.once("close", () => connections.delete(socket));
  });

  return {
    use: (socket, response) => {
      const connection = connections.get(socket);
      if (!connection) return;
      connection.open++;
      connections.delete(socket);
      connections.set(socket, connection);
      response.once("close", () => connection.open--);
    },
    admit: (socket, caller) => {
      const connection = connections.get(socket);
      if (connection) connection.caller = caller;
    },
    get size() {
      return connections.size;
    },
  };
}
