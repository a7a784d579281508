import type { Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { networkOf } from "./gates/ip.ts";

export interface ConnectionLimits {
  /** All together. */
  most: number;
  /** Of one address, before a token was shown on them. */
  perAddress: number;
  /** Whether one address stands for many clients. */
  isProxy(address: string): boolean;
}

/** The connections of a listener: none of one address, and none of one caller, keep others from theirs. */
export interface Connections {
  /** The connection is in use until the response has ended. */
  use(socket: Socket, response: ServerResponse): void;
  /** A request on it has passed all gates. */
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
 * Where there are too many, one on which nothing is answered gives way to the new one: of an address, the oldest of those
 * without a token; of all, one of the caller, or of the address without a token, that has most of them.
 */
export function openConnections(server: Server, { most, perAddress, isProxy }: ConnectionLimits): Connections {
  /** In the order they were last used. */
  const connections = new Map<Socket, Connection>();

  const drop = ({ socket }: Connection): void => {
    connections.delete(socket);
    socket.destroy();
  };
  /** The one not used for longest of whoever has most of them: a caller, or an address without a token. */
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
