/** Of one session, or of one `subscriptions/listen`: each is compared with what changes, and kept until it ends. */
export const MAX_SUBSCRIBED = 1000;
/** Several times the longest address of ours. What is none of ours is not refused: it may become one in a later version. */
const MAX_URI_CHARS = 1_024;
const SHOWN_CHARS = 100;

/** Why a client cannot have what it subscribes to: all of it is kept for as long as the subscription lasts. */
export function whyNotSubscribed(uris: readonly string[]): string | undefined {
  if (uris.length > MAX_SUBSCRIBED) {
    return `${uris.length} resources are more than the ${MAX_SUBSCRIBED} that one subscription may name. Name fewer, or leave resources out and use resourcesListChanged.`;
  }
  const long = uris.find((uri) => uri.length > MAX_URI_CHARS);
  if (long === undefined) return undefined;
  return `The address ${JSON.stringify(`${long.slice(0, SHOWN_CHARS)}…`)} has ${long.length} characters, more than ${MAX_URI_CHARS}. Subscribe to an address of resources/list, or of resources/templates/list with its variable filled in.`;
}
